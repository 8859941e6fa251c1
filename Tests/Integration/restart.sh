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

test_second_daemon_is_refused() {
  status=0
  error=$(chaosd 2>&1) || status=$?
  expect_equal status 1 "$status"
  [[ $error == *'another chaosd'* ]] || fail "$error"
}

steps_of() {
  case $1 in
    create)
      printf '%s\n' 'prepare: record' 'prepare: create domain' 'prepare: limit' 'prepare: populate' 'prepare: wire' \
        'prepare: create tap' 'prepare: map pages' 'prepare: attach back-end' 'prepare: load image' \
        'prepare: record shell' 'create: record' 'create: write identity' 'create: join bridges' 'create: unpause'
      ;;
    destroy)
      printf '%s\n' 'destroy: detach back-end' 'destroy: unmap pages' 'destroy: destroy domain' \
        'destroy: delete taps' 'destroy: await end' 'destroy: remove log' 'destroy: remove record'
      ;;
  esac
}

crashing_chaosd() {
  kill_chaosd
  CHAOS_CRASH_AT=$1 start_chaosd
}

test_create_killed_at_any_step_leaves_nothing() {
  chaos pool drain
  before=$(resources)
  while read -r step; do
    crashing_chaosd "$step"
    ! chaos create --image $host_image --name victim --no-pool --vif bridge=$bridge,ip=10.1.0.2/16 2>/dev/null ||
      fail "create survived a crash at '$step'"
    wait_until 20 bash -c '! pidof chaosd >/dev/null'
    start_chaosd
    chaos pool drain >/dev/null
    expect_equal "guests after a crash at '$step'" 0 "$(chaos list --format json | jq '.guests | length')"
    expect_resources "$before"
  done < <(steps_of create)
}

test_destroy_killed_at_any_step_ends_destroyed() {
  chaos pool drain
  before=$(resources)
  while read -r step; do
    crashing_chaosd "$step"
    chaos pool drain >/dev/null 2>&1 || true
    pidof chaosd >/dev/null || start_chaosd
    create victim --no-pool --vif bridge=$bridge,ip=10.1.0.2/16
    chaos destroy victim 2>/dev/null || true
    pidof chaosd >/dev/null || start_chaosd
    chaos pool drain >/dev/null
    chaos destroy victim 2>/dev/null || true
    expect_equal "guests after a crash at '$step'" 0 "$(chaos list --format json | jq '.guests | length')"
    expect_resources "$before"
  done < <(steps_of destroy)
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
  chaos create --image $host_image --memory 4 --count 20 --name left >/dev/null &
  client=$!
  begun() { (($(guests) > 0)); }
  wait_until 60 begun
  kill -9 $client
  (($(guests) < 20)) || fail 'the client was not killed in the middle'
  all() { (($(guests) == 20)); }
  wait_until 60 all
}
