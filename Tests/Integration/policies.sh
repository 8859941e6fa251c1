# What becomes of guests that end by themselves, and guests that come back with the host.

# An image that ends as soon as it starts.
ending_image=images/build/hostile.elf

restarts() { (($(info "$1" .restarts) >= $2)); }

test_reboot_keeps_who_a_guest_is() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16,mtu=1400
  before=$(info a '[.name, .uuid, .vifs[0].mac, .vifs[0].bridge, .vifs[0].mtu]')
  domid=$(info a .domid)
  chaos reboot a
  wait_until 30 restarts a 1
  wait_until 30 answers 10.1.0.2
  expect_equal identity "$before" "$(info a '[.name, .uuid, .vifs[0].mac, .vifs[0].bridge, .vifs[0].mtu]')"
  [[ $domid != "$(info a .domid)" ]] || fail 'the same domain'
}

test_restart_and_forced_reboot_need_no_guest() {
  chaos create --image $noop_image --name p --paused --vif bridge=$bridge >/dev/null
  uuid=$(info p .uuid)
  chaos restart p >/dev/null
  expect_equal uuid "$uuid" "$(info p .uuid 2>/dev/null || echo "$uuid")"
}

test_reboot_storm_is_held_back() {
  chaos create --image $ending_image --cmdline "mode=end on=poweroff when=start" --name storm --on-poweroff restart >/dev/null
  wait_until 20 restarts storm 2
  sleep 6
  (($(info storm .restarts) <= 6)) || fail "$(info storm .restarts) restarts in a few seconds"
  create calm --vif bridge=$bridge,ip=10.1.0.3/16
  wait_until 20 answers 10.1.0.3
  chaos destroy storm
}

test_preserved_guest_stays_and_wakes_who_waits() {
  chaos create --image $ending_image --cmdline "mode=end on=poweroff when=start" --name kept --on-poweroff preserve >/dev/null
  timeout 20 chaos wait kept --for stopped --timeout 20
  expect_equal state shutdown "$(info kept .state)"
  expect_equal reason poweroff "$(chaos history kept --format json | jq -r 'select(.kind == "ended").reason')"
  chaos destroy kept
}

test_crashed_guest_wakes_who_waits_and_stays() {
  chaos create --image $ending_image --cmdline "mode=end on=crash when=start" --name broken >/dev/null
  timeout 20 chaos wait broken --for stopped --timeout 20
  expect_equal state crashed "$(info broken .state)"
  chaos logs broken >/dev/null
  chaos create --image $ending_image --cmdline "mode=end on=watchdog when=start" --name bitten --on-crash destroy >/dev/null
  timeout 20 chaos wait bitten --for gone --timeout 20 || true
  expect_equal reason watchdog "$(chaos list --all --format json | jq -r '.ended[] | select(.name == "bitten").reason' | head -n 1)"
}

test_end_is_remembered_with_its_reason() {
  create a
  uuid=$(info a .uuid)
  chaos shutdown --wait --timeout 60 a
  expect_equal reason poweroff "$(chaos list --all --format json | jq -r --arg u "$uuid" '.ended[] | select(.uuid == $u).reason')"
  kinds=$(chaos history "$uuid" --format json | jq -r .kind | paste -sd ' ')
  expect_equal events 'created ready ended' "$kinds"
  # Numbers go on where they stood, whoever keeps them.
  last=$(chaos history --format json | tail -n 1 | jq .number)
  kill_chaosd
  start_chaosd
  create b
  first=$(chaos events --since "$last" --format json | head -n 1 | jq -r '"\(.number) \(.kind) \(.guest)"')
  expect_equal 'event after a restart' "$((last + 1)) created b" "$first"
}

test_rename_is_known_to_all() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  create taken
  chaos rename a fresh
  refused 3 'no such guest' chaos info a
  refused 4 taken chaos rename fresh taken
  kill_chaosd
  start_chaosd
  expect_equal name fresh "$(info fresh .name)"
  chaos logs fresh >/dev/null
  chaos shutdown --wait --timeout 60 fresh
}

test_scheduling_is_set_and_shown() {
  create a --weight 512 --cap 50 --cpus 0
  expect_equal scheduling '512 50 0' "$(info a '"\(.scheduling.weight) \(.scheduling.cap) \(.scheduling.cpus)"')"
  chaos set a --weight 300 --cpus all >/dev/null
  expect_equal weight 300 "$(info a .scheduling.weight)"
  refused 2 'cpus' chaos set a --cpus 999
  refused 2 'weight' chaos set a --weight 0
}

# As after a reboot of the host: /run is empty, no guest runs.
forget_boot() {
  cp -r /etc/chaos/guests /tmp/wanted
  chaos destroy --all >/dev/null
  kill_chaosd
  rm -f /run/chaos/wanted-guests-started
  cp /tmp/wanted/* /etc/chaos/guests/
  rm -r /tmp/wanted
}

test_wanted_guests_come_back_in_order() {
  chaos image add host $host_image >/dev/null
  chaos create --image host --name second --autostart --after first --vif bridge=$bridge,ip=10.1.0.3/16 >/dev/null
  chaos create --image host --name first --autostart --vif bridge=$bridge,ip=10.1.0.2/16 >/dev/null
  chaos create --image host --name third --vif bridge=$bridge,ip=10.1.0.4/16 >/dev/null
  chaos autostart on third
  chaos autostart off third
  uuids=$(chaos list --format json | jq -r '.guests[] | select(.autostart).uuid' | sort)
  last=$(chaos history --format json | tail -n 1 | jq .number)
  forget_boot
  start_chaosd
  wait_until 60 answers 10.1.0.2
  wait_until 60 answers 10.1.0.3
  expect_equal 'the same guests' "$uuids" "$(chaos list --format json | jq -r '.guests[].uuid' | sort)"
  order=$(chaos events --since "$last" --format json | jq -r 'select(.kind == "created").guest' | paste -sd ' ')
  expect_equal order 'first second' "$order"
  # A second start of chaosd in the same boot brings nothing back that ended.
  chaos shutdown --wait --timeout 60 first
  kill_chaosd
  start_chaosd
  sleep 2
  expect_equal guests second "$(chaos list -q)"
  # Destroyed is not wanted.
  chaos destroy second
  expect_equal wanted first "$(jq -r .request.name /etc/chaos/guests/*.json)"
  rm /etc/chaos/guests/*.json
}

test_autostart_wants_a_stored_image() {
  refused 4 'autostart' chaos create --image $noop_image --name a --autostart
}

test_uuid_of_another_domain_is_refused() {
  create a
  uuid=$(info a .uuid)
  # A retry is the same guest; another name is not.
  chaos create --image $host_image --name a --uuid "$uuid" >/dev/null
  refused 4 'uuid' chaos create --image $host_image --name b --uuid "$uuid"
}

test_client_uuid_takes_a_pooled_shell_and_every_party_learns_of_it() {
  chaos image add host $host_image >/dev/null
  chaos pool set --image host --vifs 1 --low 0 --high 1 >/dev/null
  chaos pool fill --wait >/dev/null
  uuid=6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f
  expect_equal shell hot "$(chaos create --image host --name a --uuid $uuid --vif bridge=$bridge,ip=10.1.0.2/16 --wait --timeout 30 --format json | jq -r .shell)"
  expect_equal ready true "$(info a .ready)"
  chaos vif add a bridge=$bridge,ip=10.1.0.5/16 >/dev/null
  wait_until 20 answers 10.1.0.5
  kill_chaosd
  start_chaosd
  sleep 1
  wait_until 20 answers 10.1.0.2
  kill -9 "$(pidof chaos-backend)"
  wait_until 30 answers 10.1.0.2
  chaos vif remove a 1
  chaos shutdown --wait --timeout 60 a
}

# race COMMAND...: run three times at once, one of them is done and the others are refused in one line.
race() {
  local number statuses=''
  for number in 1 2 3; do
    ("$@" >/dev/null 2>"/tmp/race.$number" && echo 0 >"/tmp/status.$number" || echo $? >"/tmp/status.$number") &
  done
  wait
  for number in 1 2 3; do
    statuses+=$(<"/tmp/status.$number")
    [[ $(<"/tmp/status.$number") == 0 ]] || expect_equal lines 1 "$(wc -l <"/tmp/race.$number")"
  done
  [[ $statuses == 044 || $statuses == 404 || $statuses == 440 ]] || fail "statuses $statuses: $(cat /tmp/race.*)"
}

test_of_creates_at_once_one_wins() {
  before=$(resources)
  race chaos create --image $host_image --name a --no-pool
  chaos lan create blue --mode local >/dev/null
  race chaos create --image $host_image --no-pool --vif lan=blue,mac=52:54:00:00:00:01
  expect_equal guests 2 "$(chaos list -q | wc -l)"
  chaos destroy --all >/dev/null
  chaos lan delete blue
  expect_resources "$before"
}

test_guests_destroyed_at_once_leave_nothing() {
  chaos pool set --memory 8 --vifs 1 --low 0 --high 0 >/dev/null
  chaos pool drain >/dev/null
  before=$(resources)
  chaos create --image $noop_image --memory 4 --name many --count 20 --vif bridge=$bridge >/dev/null
  destroyers=()
  for number in {1..20}; do
    chaos destroy "many-$number" &
    destroyers+=($!)
  done
  for destroyer in "${destroyers[@]}"; do wait "$destroyer"; done
  expect_resources "$before"
}

test_create_with_the_UUID_of_a_dying_guest_is_refused() {
  uuid=6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f
  create a --no-pool --uuid $uuid --vif bridge=$bridge,ip=10.1.0.2/16
  # A stopped back-end keeps the domain mapped.
  backend=$(pidof chaos-backend)
  kill -STOP "$backend"
  ! chaos destroy a 2>/dev/null || fail 'destroyed while the back-end holds it'
  status=0
  error=$(timeout 30 chaos create --image $host_image --name a --no-pool --uuid $uuid 2>&1) || status=$?
  kill -CONT "$backend"
  expect_equal "status ($error)" 4 "$status"
  expect_equal lines 1 "$(wc -l <<<"$error")"
  again() { chaos create --image $host_image --name a --no-pool --uuid $uuid >/dev/null 2>&1; }
  wait_until 30 again
}

test_pool_is_set_by_many_at_once() {
  setters=()
  for high in {1..10}; do
    chaos pool set --memory 6 --vifs 1 --low 0 --high "$high" >/dev/null &
    setters+=($!)
  done
  for setter in "${setters[@]}"; do wait "$setter"; done
  expect_equal flavours 1 "$(chaos pool status --format json | jq '[.flavours[] | select(.memoryMiB == 6)] | length')"
  expect_equal 'on disk' "$(chaos pool status --format json | jq '.flavours[] | select(.memoryMiB == 6).high')" \
    "$(jq '.. | objects | select(.memoryMiB? == 6).high' /etc/chaos/pool.json)"
}
