# Beside another toolstack.

test_domains_of_xl_are_never_touched() {
  cat >/tmp/foreign.cfg <<END
name = "foreign"
type = "pvh"
kernel = "$PWD/$noop_image"
memory = 16
vcpus = 1
END
  xl create -p /tmp/foreign.cfg >/dev/null
  create ours
  expect_equal 'guests of chaos' ours "$(chaos list --format json | jq -r '.guests[].name')"
  kill_chaosd
  start_chaosd
  chaos destroy --all
  xl list | grep -q '^foreign' || fail 'the foreign domain is gone'
  xl destroy foreign
}

test_xl_lists_chaos_guests_without_harm() {
  create seen --vif bridge=$bridge,ip=10.1.0.2/16
  xl list >/dev/null
  xl list "$(info seen .domid)" | grep -q "$(info seen .domid)"
  wait_until 20 answers 10.1.0.2
}

test_create_is_refused_where_dom0_has_no_fixed_memory() {
  # What xl wants to find before it changes dom0's limit.
  xenstore-write /local/domain/0/memory/target 1048576
  xl mem-max 0 100000
  refused 5 'dom0_mem=' chaos create --image $host_image --no-pool
  expect_equal fixed false "$(chaos host --format json | jq .dom0MemoryFixed)"
  xl mem-max 0 1024
  chaos create --image $host_image --no-pool --name after >/dev/null
}

test_guest_destroyed_by_somebody_else_is_forgotten() {
  before=$(resources)
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  xl destroy "$(info a .domid)"
  gone() { ! chaos info a >/dev/null 2>&1; }
  wait_until 20 gone
  expect_resources "$before"
}

test_name_and_uuid_of_a_foreign_domain_make_it_nobody_elses() {
  uuid=6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e60
  cat >/tmp/twin.cfg <<END
name = "twin"
uuid = "$uuid"
type = "pvh"
kernel = "$PWD/$noop_image"
memory = 16
vcpus = 1
END
  xl create -p /tmp/twin.cfg >/dev/null
  refused 4 'uuid: domain' chaos create --image $host_image --name twin --uuid $uuid
  # Its name is xl's alone.
  create twin
  chaos restart twin >/dev/null
  chaos destroy twin
  kill_chaosd
  start_chaosd
  chaos destroy --all
  xl list | grep -q '^twin' || fail 'the foreign domain is gone'
  xl destroy twin
}
