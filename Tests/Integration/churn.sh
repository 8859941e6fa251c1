# Operations at random, and daemons that are killed at random in the middle of them: no command hangs, the guests that are
# there are whole, and in the end nothing is left of any of it. In a box with --xenstore.
#
# A few rounds here; `make soak` makes it many by CHAOS_ROUNDS and CHAOS_CLIENT_SECONDS. A failed test says its seed, with
# which CHAOS_SEED makes it choose the same again (what is under way when a daemon dies is never quite the same).

rounds=${CHAOS_ROUNDS:-20}
client_seconds=${CHAOS_CLIENT_SECONDS:-20}

test_random_operations_and_kills_leave_nothing() {
  local round
  choose_seed
  begin
  for ((round = 1; round <= rounds; round++)); do
    one_round
    ((round % 10)) || guests_are_whole
    ((round % 100)) || echo "round $round: $(resources) $(daemon_sizes | tr '\n' ' ')"
  done
  guests_are_whole
  end
}

test_clients_beside_xl_guests_while_daemons_are_killed() {
  local client clients=() foreign limit=$((SECONDS + client_seconds))
  choose_seed
  begin
  foreign=$(foreign_guest foreign)
  for client in {1..8}; do
    client "$client" &
    clients+=($!)
  done
  foreign_guests_come_and_go &
  clients+=($!)
  while ((SECONDS < limit)); do
    sleep "$((RANDOM % 4)).$((RANDOM % 10))"
    kill_daemons "${victims[RANDOM % 3]}"
    revive
  done
  for client in "${clients[@]}"; do wait "$client"; done
  guests_are_whole
  expect_equal 'domain of xl' "$foreign" "$(xl domid foreign)"
  xl destroy foreign
  end
}

# --- What is done

victims=(chaosd chaos-backend both)
operations=(create create create destroy pause unpause shutdown add_vif remove_vif list info logs type set_pool drain
  make_lan delete_lan add_image remove_image)
# Verbs that this chaos may not have.
for verb in rename reboot; do ! chaos help | grep -q "^  $verb " || operations+=("$verb" "$verb"); done

# An operation on some guest; during every other one a daemon dies.
one_round() {
  local operation=${operations[RANDOM % ${#operations[@]}]} number=$((RANDOM % 5 + 1)) luck=$((RANDOM % 6)) job
  local moment=0.$((RANDOM % 5))$((RANDOM % 10))
  # Chosen here: a subshell has random numbers of its own.
  choice=$RANDOM
  (perform "$operation" "$number" "g$number") &
  job=$!
  if ((luck < 3)); then
    sleep "$moment"
    kill_daemons "${victims[luck]}"
  fi
  wait "$job"
  revive
}

# perform OPERATION NUMBER GUEST: the guest may not be there, or in no state for it.
perform() {
  case $1 in
    create) attempt chaos create --image $host_image --name "$3" --vif "bridge=$bridge,ip=10.1.0.$((100 + $2))/16" ;;
    destroy | pause | unpause | reboot) attempt chaos "$1" "$3" ;;
    shutdown) attempt chaos shutdown --wait --timeout 20 "$3" ;;
    rename) attempt chaos rename "$3" "other-$3" && attempt chaos rename "other-$3" "$3" ;;
    add_vif) attempt chaos vif add "$3" "$(some_network)" ;;
    # The first one has the address that the guest is looked for at.
    remove_vif) attempt chaos vif remove "$3" 1 ;;
    list) attempt chaos list ;;
    info) attempt chaos info "$3" ;;
    logs) attempt chaos logs "$3" ;;
    type) curl -s --max-time 30 --unix-socket /run/chaos/chaosd.sock -d x "http://c/v1/guests/$3/console" >/dev/null ||
      expect_not 28 $? ;;
    set_pool) attempt chaos pool set --memory 8 --vifs 1 --low 0 --high $((choice % 4)) && attempt chaos pool fill ;;
    drain) attempt chaos pool drain ;;
    make_lan) attempt chaos lan create churn --mode local ;;
    delete_lan) attempt chaos lan delete churn ;;
    add_image) attempt chaos image add churn $noop_image ;;
    remove_image) attempt chaos image remove churn ;;
  esac
}

some_network() { ((choice % 2)) && echo bridge=$bridge || echo lan=churn; }

# A command that may be refused, or lose its daemon. It ends in time, and with a status that stands in its help.
attempt() {
  local said status=0
  said=$(timeout 60 "$@" 2>&1 >/dev/null) || status=$?
  ((status <= 7)) || fail "'$*' ended with status $status: $said"
}

expect_not() { (($1 != $2)) || fail "status $1"; }

# client NUMBER: has guests of its own.
client() {
  local number=$1 choice
  RANDOM=$((seed + number))
  while ((SECONDS < limit)); do
    choice=$RANDOM
    case $((choice % 8)) in
      0 | 1) perform create $((number * 10)) "c$number" ;;
      2) attempt chaos create --image $noop_image --name "c$number" --count $((choice % 3 + 2)) --vif bridge=$bridge ;;
      3) perform rename "$number" "c$number" ;;
      4) perform reboot "$number" "c$number" ;;
      5 | 6) attempt chaos list ;;
      7) attempt chaos destroy "c$number" && attempt chaos destroy "c$number-1" "c$number-2" "c$number-3" "c$number-4" ;;
    esac
  done
}

foreign_guests_come_and_go() {
  while ((SECONDS < limit)); do
    foreign_guest passing >/dev/null
    xl destroy passing
  done
}

# foreign_guest NAME: a paused domain of xl. Prints its number.
foreign_guest() {
  printf '%s\n' "name = '$1'" 'type = "pvh"' "kernel = '$PWD/$noop_image'" 'memory = 16' 'vcpus = 1' >"/tmp/$1.cfg"
  xl create -p "/tmp/$1.cfg" >/dev/null
  xl domid "$1"
}

# --- Daemons

kill_daemons() {
  local name victims=("$1")
  [[ $1 != both ]] || victims=(chaosd chaos-backend)
  # shellcheck disable=SC2046  # words; one may be dead already
  for name in "${victims[@]}"; do kill -9 $(pidof "$name") 2>/dev/null || true; done
}

# chaosd starts its back-end itself.
revive() {
  # A process that was killed is there for a moment yet.
  wait_until 20 no_dead_chaosd
  pidof chaosd >/dev/null || start_chaosd
  wait_until 60 daemon_answers
}

no_dead_chaosd() { ! ps -C chaosd -o stat= | grep -q '^Z'; }

# --- What must hold

choose_seed() {
  seed=${CHAOS_SEED:-$((EPOCHSECONDS % 30000))}
  RANDOM=$seed
  echo "CHAOS_SEED=$seed"
}

# What a host looks like on which both daemons were started again and a guest was once.
begin() {
  kill_daemons both
  revive
  create warm-up --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 30 answers 10.1.0.2
  chaos destroy warm-up
  before=$(resources)
  sizes=$(daemon_sizes)
}

end() {
  clean_up
  attempt chaos image remove churn
  expect_resources "$before"
  expect_bounded "$sizes"
}

# Each guest that runs and has the address, answers; or it has meanwhile ended.
guests_are_whole() {
  local name address
  while read -r name address; do
    serves() { answers "$address" || [[ $(info "$name" .state 2>/dev/null) != running ]]; }
    wait_until 60 serves
  done < <(chaos list --format json |
    jq -r '.guests[] | select(.state == "running" and .vifs[0].ip) | "\(.name) \(.vifs[0].ip | split("/")[0])"')
}
