# Daemons that die: guests stay, and a crash at any step leaves all of an operation or nothing.

test_killed_chaosd_finds_its_guests_and_shells() {
  chaos pool set --memory 6 --vifs 1 --low 0 --high 2 >/dev/null
  chaos pool fill --wait >/dev/null
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  create b --vif bridge=$bridge,ip=10.1.0.3/16
  before=$(chaos list --format json | jq -c '[.guests[] | {name, uuid, domid, vifs}]')
  shells=$(ls /run/chaos/domains | wc -l)
  ping -i 0.2 -c 25 10.1.0.2 >/tmp/pings &
  pinger=$!
  kill_chaosd
  start_chaosd
  expect_equal guests "$before" "$(chaos list --format json | jq -c '[.guests[] | {name, uuid, domid, vifs}]')"
  expect_equal records "$shells" "$(ls /run/chaos/domains | wc -l)"
  expect_equal 'ready shells' 2 "$(chaos pool status --format json | jq '.flavours[] | select(.memoryMiB == 6).ready')"
  wait $pinger
  grep -q ' 0% packet loss' /tmp/pings || fail "$(tail -2 /tmp/pings)"
  expect_equal ready true "$(info a .ready)"
  expect_equal shell blank "$(chaos create --image $noop_image --memory 6 --vif bridge=$bridge --format json | jq -r .shell)"
  chaos destroy a b
  chaos pool set --memory 6 --vifs 1 --low 0 --high 0 >/dev/null
}

test_killed_backend_is_replaced_and_guests_go_on() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 20 answers 10.1.0.2
  for round in 1 2 3; do
    old=$(pidof chaos-backend)
    kill -9 "$old"
    replaced() { new=$(pidof chaos-backend) && [[ $new != "$old" ]]; }
    wait_until 30 replaced
    wait_until 30 answers 10.1.0.2
  done
  curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary $'\r' http://c/v1/guests/a/console
  said() { chaos logs a | grep -q 'packets in'; }
  wait_until 20 said
  chaos shutdown --wait --timeout 60 a
}

test_stopped_backend_holds_nobody_up_and_goes_on() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 20 answers 10.1.0.2
  backend=$(pidof chaos-backend)
  kill -STOP "$backend"
  for round in 1 2 3; do
    status=0
    error=$(timeout 30 chaos shutdown a 2>&1) || status=$?
    expect_equal status 6 "$status"
    [[ $error == *'chaos-backend does not answer'* ]] || fail "$error"
  done
  # What does not need it goes on, however many wait for it.
  for round in {1..40}; do (timeout 30 chaos shutdown a >/dev/null 2>&1 || true) & done
  answers_in_time
  create b --no-pool 2>/dev/null && fail 'a guest without a back-end'
  answers_in_time
  wait
  kill -CONT "$backend"
  goes_on() { chaos shutdown --wait --timeout 60 a 2>/dev/null; }
  wait_until 60 goes_on
  expect_equal back-end "$backend" "$(pidof chaos-backend)"
}

test_backend_has_given_up_what_it_does_not_need() {
  create a
  status=$(cat "/proc/$(pidof chaos-backend)/status")
  for line in $'CapEff:\t0000000000000000' $'NoNewPrivs:\t1' $'Seccomp:\t2'; do
    grep -qx "$line" <<<"$status" || fail "not: $line"
  done
  ! grep -qP '^Uid:\t0' <<<"$status" || fail 'it is root'
}

test_second_daemon_is_refused() {
  status=0
  error=$(chaosd 2>&1) || status=$?
  expect_equal status 1 "$status"
  [[ $error == *'another chaosd'* ]] || fail "$error"
}

# steps_of OPERATION...: as chaosd lists them, so that a new step is covered too.
steps_of() {
  local operation
  for operation in "$@"; do chaosd --list-steps | grep "^$operation: "; done
}

crashing_chaosd() {
  kill_chaosd
  CHAOS_CRASH_AT=$1 start_chaosd
}

chaosd_is_dead() { ! pidof chaosd >/dev/null; }

# A chaosd, whether the last one came to the step where it was to be killed or not.
ensure_chaosd() {
  daemon_answers && return
  wait_until 20 chaosd_is_dead
  start_chaosd
}

test_guest_killed_while_it_is_made_again_is_there_again() {
  chaos pool drain
  create victim --no-pool --vif bridge=$bridge,ip=10.1.0.2/16
  uuid=$(info victim .uuid)
  before=$(resources)
  while read -r step; do
    crashing_chaosd "$step"
    chaos restart victim >/dev/null 2>&1 || true
    ensure_chaosd
    wait_until 30 answers 10.1.0.2
    expect_equal "UUID after a crash at '$step'" "$uuid" "$(info victim .uuid)"
    expect_resources "$before"
  done < <(steps_of destroy && steps_of prepare create | grep -v 'paused\|schedule\|wanted\|create: record')
}

test_failed_tear_down_is_tried_again() {
  before=$(resources)
  create a --no-pool --vif bridge=$bridge,ip=10.1.0.2/16
  # A stopped back-end keeps the domain mapped.
  kill -STOP "$(pidof chaos-backend)"
  ! chaos destroy a 2>/dev/null || fail 'destroyed while the back-end holds it'
  answers_in_time
  kill -CONT "$(pidof chaos-backend)"
  gone() { (($(chaos list -q | wc -l) == 0)); }
  wait_until 30 gone
  expect_resources "$before"
}

test_daemon_starts_beside_a_stopped_backend() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  kill -STOP "$(pidof chaos-backend)"
  kill_chaosd
  start_chaosd
  expect_equal guests a "$(chaos list -q)"
  kill -CONT "$(pidof chaos-backend)"
  wait_until 30 answers 10.1.0.2
  wait_until 30 chaos health
  chaos shutdown --wait --timeout 60 a
}

test_full_run_keeps_nobody_from_destroying() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 20 answers 10.1.0.2
  before=$(resources)
  create b --vif bridge=$bridge,ip=10.1.0.3/16
  dd if=/dev/zero of=/run/fill bs=1M 2>/dev/null || true
  status=0
  error=$(chaos create --image $host_image --name c 2>&1) || status=$?
  answers_in_time
  answers 10.1.0.2
  chaos destroy b
  rm /run/fill
  expect_equal "status of a create on a full /run ($error)" 5 "$status"
  expect_equal lines 1 "$(wc -l <<<"$error")"
  expect_resources "$before"
  create c
  chaos destroy a c
}

test_foreign_interfaces_that_look_like_taps_stay() {
  ip link add ch1.5 type dummy
  ip tuntap add ch1.6 mode tap
  kill_chaosd
  start_chaosd
  sleep 1
  ip link show ch1.5 >/dev/null
  ip link show ch1.6 >/dev/null
  ip link delete ch1.5
  ip link delete ch1.6
}

test_record_of_a_later_chaosd_is_refused_in_one_line() {
  kill_chaosd
  record=/run/chaos/domains/6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f
  echo '{"version":99,"uuid":"6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f"}' >$record
  status=0
  error=$(chaosd 2>&1 >/dev/null | grep -v ' notice ') || true
  rm $record
  [[ $error == *'version 99'*'start that chaosd again'* ]] || fail "$error"
  start_chaosd
}

test_interface_that_xen_does_not_speak_is_refused_in_one_line() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  what_is_there() {
    chaos host --format json | jq '.limits[] | select(.name == "domains").used'
    ls /run/chaos/domains
    chaos list --format json | jq -c '[.guests[] | {name, domid}]'
  }
  spoken=$(chaos version --format json | jq -r .daemon.xenInterface)
  expect_equal 'interface of host' "$spoken" "$(chaos host --format json | jq -r .xenInterface)"
  before=$(what_is_there)
  kill_chaosd
  status=0
  error=$(chaosd --xen-interface 0x99 2>&1 >/dev/null | grep -v ' notice ') || status=$?
  expect_equal lines 1 "$(wc -l <<<"$error")"
  [[ $error == *"Xen $(xl info xen_version)"*'does not speak domctl interface 0x99'* ]] || fail "$error"
  chaosd --xen-interface newest 2>/tmp/error && fail 'a version that is none'
  grep -q "^chaosd: --xen-interface: not a version such as 0x19: 'newest'" /tmp/error || fail "$(cat /tmp/error)"
  start_chaosd
  expect_equal 'domains, records and guests' "$before" \
    "$(what_is_there)"
  answers 10.1.0.2
  chaos destroy a
}

test_bridge_made_again_gets_its_guests_back() {
  ip link add br7 type bridge
  ip link set br7 up
  create a --vif bridge=br7,ip=10.7.0.2/24
  tap=$(info a '.vifs[0].tap')
  ip link delete br7
  ip link add br7 type bridge
  ip addr add 10.7.0.1/24 dev br7
  ip link set br7 up
  on_bridge() { [[ $(readlink "/sys/class/net/$tap/master") == */br7 ]]; }
  wait_until 10 on_bridge
  wait_until 10 answers 10.7.0.2
  chaos destroy a
  ip link delete br7
}

test_failed_step_is_undone() {
  before=$(resources)
  # Without its device no vif can be made: prepare fails in the middle and is undone.
  mv /dev/vhost-net /dev/vhost-net.away
  status=0
  error=$(chaos create --image $host_image --no-pool --vif bridge=$bridge 2>&1) || status=$?
  mv /dev/vhost-net.away /dev/vhost-net
  expect_equal status 1 "$status"
  expect_equal lines 1 "$(wc -l <<<"$error")"
  expect_resources "$before"
}

test_client_that_goes_away_gets_its_guests() {
  guests() { chaos list -q | wc -l; }
  chaos create --image $host_image --memory 4 --count 60 --name left >/dev/null &
  client=$!
  begun() { (($(guests) > 0)); }
  wait_until 60 begun
  kill -9 $client
  (($(guests) < 60)) || fail 'the client was not killed in the middle'
  all() { (($(guests) == 60)); }
  wait_until 60 all
}
