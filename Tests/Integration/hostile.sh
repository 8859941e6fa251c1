# Guests that break every rule they can reach (images/hostile), each group beside a neighbour that keeps to them. Whatever they
# do is theirs alone: the neighbour loses no frame, the daemons live and stay small, every guest goes when it is told to,
# and nothing of it is left. Then the same with a back-end that has to take them all over as they have become.

hostile_image=images/build/hostile.elf
places=(start-info device-page powerctl shared-info grant-table rings buffers next-window console all)

test_guests_that_put_ram_over_their_special_frames() { endure "${places[@]/#/mode=remap on=}"; }
test_guests_that_have_their_special_frames_replaced() { endure "${places[@]/#/mode=replace on=}"; }
test_guests_that_give_their_special_frames_away() { endure "${places[@]/#/mode=give-away on=}"; }
test_guests_that_scribble_over_their_special_frames() { endure "${places[@]/#/mode=scribble on=}"; }

test_guests_that_attack_their_frames_before_they_use_them() {
  endure 'mode=remap on=all when=start' 'mode=replace on=all when=start' 'mode=give-away on=all when=start' \
    'mode=scribble on=all when=start'
}

test_virtqueues_with_descriptors_and_chains_that_lead_nowhere() {
  local faults=(outside straddling huge loop next head indirect)
  endure "${faults[@]/#/mode=queue on=}"
}

test_virtqueues_with_absurd_indices_and_headers_and_torn_writes() {
  local faults=(index back used torn short header)
  endure "${faults[@]/#/mode=queue on=}"
}

test_flood_of_events() { endure 'mode=flood on=events'; }
test_flood_of_console_output() { endure 'mode=flood on=console'; }
test_flood_of_powerctl_changes() { endure 'mode=flood on=powerctl'; }

test_flood_of_powerctl_changes_makes_chaosd_look_no_more_than_now_and_then() {
  local before
  lists() { curl -sf --unix-socket /run/chaos/chaosd.sock http://c/v1/counters | jq .hypercalls.domainList; }
  hostile flood 'mode=flood on=powerctl'
  before=$(lists)
  sleep 5
  ((($(lists) - before) <= 100)) || fail "$(($(lists) - before)) lists of all domains in 5 s"
  chaos destroy flood
  # Nothing of the flood is left to be worked through.
  before=$(lists)
  sleep 5
  ((($(lists) - before) <= 20)) || fail "$(($(lists) - before)) lists in the 5 s after"
}

test_hypercalls_of_every_number() { endure 'mode=hypercalls seed=1' 'mode=hypercalls seed=2' 'mode=hypercalls seed=3'; }

test_vif_with_broken_rings_says_so_and_can_be_reset() {
  local breaks
  neighbour
  hostile breaker 'mode=queue on=index'
  is_broken() { [[ $(info breaker '.vifs[0].broken') != null ]]; }
  breaks() { chaos events --format json | jq -s 'map(select(.guest == "breaker" and .kind == "vif-broken")) | length'; }
  wait_until 20 is_broken
  breaks=$(breaks)
  ((breaks >= 1)) || fail "no event says it: $(chaos events)"
  chaos vif reset breaker 0 >/dev/null
  # It does it again, and is heard of again.
  breaks_again() { (($(breaks) > breaks)); }
  wait_until 20 breaks_again
  wait_until 20 is_broken
  # A guest that keeps to the rules goes on with new rings.
  for _ in 1 2 3; do
    chaos vif reset neighbour 0 >/dev/null
    wait_until 20 answers 10.1.0.2
  done
  expect_equal 'what is wrong with it' null "$(info neighbour '.vifs[0].broken')"
  neighbour_is_well
  chaos destroy --all >/dev/null
  expect_resources "$without"
}

test_guest_that_spins() { endure 'mode=end on=spin'; }

test_guests_that_end_by_themselves() {
  local ways=(poweroff reboot suspend crash watchdog soft-reset unknown triple-fault trap)
  endure "${ways[@]/#/mode=end on=}"
}

test_guests_that_end_as_soon_as_they_start() {
  local round
  neighbour
  for round in {1..10}; do hostile "short-$round" 'mode=end on=reboot when=start'; done
  neighbour_is_well
  chaos destroy --all
  expect_resources "$without"
}

# --- What all of them are held to

# endure COMMAND-LINE...: a hostile guest for each, all at once.
endure() {
  local number=0 line
  neighbour
  for line in "$@"; do hostile "hostile-$((++number))" "$line"; done
  neighbour_is_well
  take_new_vifs "$number"
  replace_backend
  neighbour_is_well
  for ((; number; number--)); do goes_when_told "hostile-$number"; done
  chaos destroy neighbour
  expect_resources "$without"
}

# hostile NAME COMMAND-LINE: a guest that does so, and has begun.
hostile() {
  chaos create --image $hostile_image --name "$1" --vif bridge=$bridge --cmdline "$2" >/dev/null
  wait_until 30 has_begun "$1" "$2"
}

# It says what it will do; unless that was washed away by what it did, or it has ended.
has_begun() {
  local said status=0
  said=$(chaos logs "$1" 2>/dev/null | tr -d '\0') || status=$?
  ((status == 3)) || [[ $said == *"$2"* ]] || ((${#said} > 30000))
}

# neighbour: a guest that keeps to the rules, and what the host looks like with and without it.
neighbour() {
  # Of the first guest ever the kernel keeps what it made for it.
  create warm-up --vif bridge=$bridge
  chaos destroy warm-up
  without=$(resources)
  create neighbour --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 30 answers 10.1.0.2
  daemons=$(pidof chaosd chaos-backend)
  sizes=$(daemon_sizes)
}

# Some seconds in which nothing of the neighbour's is lost, and after which the daemons are the same and not much larger.
neighbour_is_well() {
  ping -q -i 0.1 -c 40 -W 10 10.1.0.2 >/tmp/neighbour-pings || true
  grep -q ' 0% packet loss' /tmp/neighbour-pings || fail "neighbour: $(tail -n 2 /tmp/neighbour-pings)" || return 1
  expect_equal 'processes of the daemons' "$daemons" "$(pidof chaosd chaos-backend)" || return 1
  answers_in_time || return 1
  expect_bounded "$sizes"
}

# What is attached to a hostile guest is attached, or refused in a line.
take_new_vifs() {
  local number status error
  for ((number = 1; number <= $1; number++)); do
    status=0
    error=$(timeout 60 chaos vif add "hostile-$number" bridge=$bridge 2>&1 >/dev/null) || status=$?
    ((status != 124)) || fail "vif add to hostile-$number hangs" || return 1
    ((status == 0)) || expect_equal "lines of '$error'" 1 "$(wc -l <<<"$error")" || return 1
  done
}

# kill -9, and its successor takes over guests that are no longer what they were.
replace_backend() {
  local old backend
  old=$(pidof chaos-backend)
  kill -9 "$old"
  replaced() { backend=$(pidof chaos-backend) && [[ $backend != "$old" ]]; }
  wait_until 30 replaced
  wait_until 60 answers 10.1.0.2
  daemons=$(pidof chaosd chaos-backend)
}

goes_when_told() {
  local status=0
  timeout 60 chaos destroy "$1" 2>/tmp/said || status=$?
  # Some have ended by themselves, and are gone.
  ((status == 0 || status == 3)) || fail "destroy $1: status $status: $(cat /tmp/said)"
}
