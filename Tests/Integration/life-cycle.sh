# pause, unpause, shutdown, destroy, list, info.

test_paused_guest_is_silent_and_goes_on() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 20 answers 10.1.0.2
  chaos pause a
  chaos pause a
  expect_equal state paused "$(info a .state)"
  ! answers 10.1.0.2 || fail 'a paused guest answers'
  chaos unpause a
  wait_until 20 answers 10.1.0.2
  expect_equal state running "$(info a .state)"
}

test_shutdown_is_orderly_and_leaves_nothing() {
  before=$(resources)
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  chaos shutdown --wait --timeout 60 a
  expect_equal guests 0 "$(chaos list --format json | jq '.guests | length')"
  expect_resources "$before"
}

test_shutdown_of_several_and_errors_are_told_apart() {
  create a
  create b
  status=0
  chaos shutdown --wait --timeout 60 a nobody b 2>/tmp/error || status=$?
  expect_equal status 3 "$status"
  grep -q nobody /tmp/error
  expect_equal guests 0 "$(chaos list --format json | jq '.guests | length')"
}

test_guests_are_found_by_name_uuid_and_domain_id() {
  create a
  for reference in a "$(info a .uuid)" "$(info a .domid)"; do
    expect_equal "name of $reference" a "$(info "$reference" .name)"
  done
}

test_wait_times_out_for_an_image_that_says_nothing() {
  chaos create --image $noop_image --name p --paused >/dev/null
  status=0
  curl -s --unix-socket /run/chaos/chaosd.sock 'http://c/v1/guests/p/wait?for=ready&timeout=1' | grep -q '"timeout"' || status=1
  expect_equal status 0 "$status"
}

test_list_prints_a_table_and_json() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  chaos list | grep -qE '^a +[0-9]+ +running +8 MiB +1 +10\.1\.0\.2'
  expect_equal 'JSON name' a "$(chaos list --format json | jq -r '.guests[0].name')"
  expect_equal 'JSON tap exists' yes "$(test -e /sys/class/net/"$(info a '.vifs[0].tap')" && echo yes)"
}

test_device_page_is_reported_intact() {
  create a
  expect_equal tampered false "$(info a .tampered)"
}
