# Kills at every step of every operation that chaosd lists: of chaosd, of chaos-backend, and of both. After each one the
# operation is done whole or not at all, the guest beside it answers, another operation succeeds, and nothing is left.

# Whom to kill at which step: read by a chaosd that was started with its name, and removed when the step is reached.
crash_file=/tmp/crash

test_chaosd_killed_at_any_step() { kill_at_every_step chaosd; }

test_backend_killed_at_any_step() { kill_at_every_step chaos-backend; }

test_both_killed_at_any_step() { kill_at_every_step both; }

# kill_at_every_step VICTIM: a new step is covered by itself, and one that no operation here reaches fails.
# CHAOS_STEPS=PATTERN: only the steps that match.
kill_at_every_step() {
  local victim=$1 step before sizes bystander answered=0
  set_up
  while read -r step; do
    kill_at "$step"
    expect_resources "$before" || fail "after a kill of $victim at '$step'"
  done < <(chaosd --list-steps | grep -E "${CHAOS_STEPS:-.}")
  bystander_went_on
  expect_sizes "$sizes"
}

# A guest that runs all the time, a LAN with somebody on it, and an interface of the host to attach to it.
set_up() {
  export CHAOS_CRASH_FILE=$crash_file
  rm -f $crash_file
  ip link add under0 type dummy 2>/dev/null || :
  ip addr replace 10.98.0.1/24 dev under0
  ip link set under0 up
  ip link show nic0 >/dev/null 2>&1 || ip link add nic0 type dummy
  ip netns add far
  ip link add far0 type veth peer name far1 netns far
  ip -n far addr add 10.5.0.9/24 dev far1
  ip -n far link set far1 up
  chaos image add host $host_image >/dev/null
  chaos pool set --memory 8 --vifs 1 --low 0 --high 0 >/dev/null
  chaos pool drain >/dev/null
  kill_chaosd
  start_chaosd
  chaos lan create blue --vni 100 --vtep 10.98.0.1 >/dev/null
  chaos lan attach blue far0 >/dev/null
  create bystander --vif bridge=$bridge,ip=10.1.0.9/16
  bystander_answers
  bystander=$(info bystander '"\(.uuid) \(.domid)"')
  before=$(resources)
  sizes=$(daemon_sizes)
}

bystander_answers() { wait_until 30 answers 10.1.0.9 && answered=$((answered + 1)); }

# It is the same domain, and counts on.
bystander_went_on() {
  expect_equal bystander "$bystander" "$(info bystander '"\(.uuid) \(.domid)"')"
  curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary $'\r' http://c/v1/guests/bystander/console
  counted() { (($(chaos logs bystander | sed -n 's/.* s, \([0-9]*\) packets in.*/\1/p' | tail -n 1) >= answered)); }
  wait_until 20 counted
}

# expect_sizes SIZES: a daemon that lived through all of it is no larger: what one kill leaves would be there many times.
# Threads of pools come when there is something to do, up to 32 and 16.
expect_sizes() { expect_bounded "$1" 8192 12 48; }

# kill_at STEP: in the first way of doing the operation that reaches it.
kill_at() {
  local step=$1 operation=${1%%:*} way
  operation=${operation// /_}
  echo "$step"
  declare -F "ready_$operation" >/dev/null || fail 'no operation for it here' || return
  for way in $(ways_of "$step"); do
    "ready_$operation" "$way"
    echo -n "$victim $step" >$crash_file
    do_it "${command[@]}"
    [[ -e $crash_file ]] || break
    "after_$operation"
  done
  [[ ! -e $crash_file ]] || fail 'no operation here reaches it' || return
  "after_$operation"
  "second_$operation"
  bystander_answers
}

# do_it COMMAND...: in time, and with one line if it fails. Sets status and said.
do_it() {
  status=0
  said=$(timeout 60 "$@" 2>&1 >/dev/null) || status=$?
  if [[ ! -e $crash_file && $victim != chaos-backend ]]; then
    wait_until 20 chaosd_is_dead
    start_chaosd
  fi
  ((!status)) || expect_equal "lines of '$said'" 1 "$(wc -l <<<"$said")"
  ((status <= 7)) || fail "status $status"
}

chaosd_is_dead() { ! pidof chaosd >/dev/null; }

# Creates reach every step in one of these ways.
ways_of() {
  case $1 in
    prepare:*) echo plain ;;
    create:*) echo plain wanted blank ;;
    *) echo only ;;
  esac
}

# Without jq, whose start takes an emulated processor a second.
is_there() { chaos info "$1" >/dev/null 2>&1; }

reaches() { ip netns exec far ping -q -c 1 -W 2 "$1" >/dev/null 2>&1; }

has_vif() { [[ $(chaos vif list bystander) == *$'\n'*( )"$1 "* ]]; }

# --- Creating, destroying

ready_prepare() {
  command=(chaos create --image host --name victim --vif "bridge=$bridge,ip=10.1.0.2/16,mac=02:00:00:00:00:02")
  case $1 in
    plain) command+=(--no-pool) ;;
    wanted) command+=(--no-pool --uuid 6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f --weight 300 --autostart) ;;
    blank)
      command+=(--memory 6 --paused)
      chaos pool set --memory 6 --vifs 1 --low 0 --high 1 >/dev/null
      chaos pool fill --wait >/dev/null
      ;;
  esac
}

after_prepare() {
  if is_there victim; then
    [[ $way != blank ]] || chaos unpause victim >/dev/null
    wait_until 30 answers 10.1.0.2
    chaos destroy victim
  else
    ((status)) || fail 'it succeeded, and there is no guest'
    ! answers 10.1.0.2 || fail 'a guest answers that is not there'
  fi
  expect_equal 'wanted guests' '' "$(ls /etc/chaos/guests)"
  [[ $way != blank ]] || { chaos pool set --memory 6 --vifs 1 --low 0 --high 0 >/dev/null && chaos pool drain >/dev/null; }
}

second_prepare() {
  chaos vif add bystander bridge=$bridge,ip=10.1.0.5/16 >/dev/null
  wait_until 30 answers 10.1.0.5
  chaos vif remove bystander 1
}

ready_create() { ready_prepare "$1"; }
after_create() { after_prepare; }
second_create() { second_prepare; }

ready_destroy() {
  create victim --no-pool --vif bridge=$bridge,ip=10.1.0.2/16,mac=02:00:00:00:00:02
  command=(chaos destroy victim)
}

after_destroy() {
  if is_there victim; then
    ((status)) || fail 'it succeeded, and the guest is there'
    chaos destroy victim
  fi
}

second_destroy() { second_prepare; }

# --- Vifs

ready_add_vif() {
  command=(chaos vif add bystander lan=blue,ip=10.5.0.2/24)
}

after_add_vif() {
  if has_vif 1; then
    ((!status)) || [[ $victim != chaos-backend ]] || fail "it failed, and the vif is there: $said"
    wait_until 20 reaches 10.5.0.2
    chaos vif remove bystander 1
  else
    ((status)) || fail 'it succeeded, and there is no vif'
  fi
}

second_add_vif() {
  create other --no-pool --vif bridge=$bridge,ip=10.1.0.2/16,mac=02:00:00:00:00:02
  wait_until 30 answers 10.1.0.2
  chaos destroy other
}

ready_remove_vif() {
  chaos vif add bystander lan=blue,ip=10.5.0.2/24 >/dev/null
  command=(chaos vif remove bystander 1)
}

after_remove_vif() {
  if has_vif 1; then
    ((status)) || fail 'it succeeded, and the vif is there'
    wait_until 20 reaches 10.5.0.2
    chaos vif remove bystander 1
  fi
}

second_remove_vif() { second_add_vif; }

# --- LANs

has_lan() { chaos lan info "$1" >/dev/null 2>&1; }

devices() { ls /sys/class/net | grep -Ec '^(lan|vxlan)200$' || :; }

ready_create_LAN() {
  command=(chaos lan create red --vni 200 --vtep 10.98.0.1)
}

after_create_LAN() {
  if has_lan red; then
    expect_equal devices 2 "$(devices)"
    [[ $(chaos lan info red --format json) == *'"state":"ready"'* ]] || fail 'it is not ready'
    chaos lan delete red
  else
    ((status)) || fail 'it succeeded, and there is no LAN'
  fi
  expect_equal devices 0 "$(devices)"
}

second_create_LAN() { second_add_vif; }

ready_delete_LAN() {
  chaos lan create red --vni 200 --vtep 10.98.0.1 >/dev/null
  command=(chaos lan delete red)
}

after_delete_LAN() {
  ((status)) || ! has_lan red || fail 'it succeeded, and the LAN is there'
  status=1
  after_create_LAN
}

second_delete_LAN() { second_add_vif; }

ready_change_LAN() {
  command=(chaos lan peer add blue 10.98.0.2)
}

after_change_LAN() {
  local listed=0 forwarded
  [[ $(chaos lan peer list blue --format json) != *10.98.0.2* ]] || listed=1
  forwarded=$(bridge fdb show dev vxlan100 | grep -c 'dst 10.98.0.2' || :)
  expect_equal "peers in the kernel" "$listed" "$forwarded"
  ((status || listed)) || fail 'it succeeded, and there is no peer'
  ((!listed)) || chaos lan peer remove blue 10.98.0.2
}

second_change_LAN() { second_add_vif; }

ready_detach() {
  chaos lan attach blue nic0 >/dev/null
  command=(chaos lan detach blue nic0)
}

after_detach() {
  local master=''
  [[ $(chaos lan info blue --format json) != *'"attached":["'*'"nic0"'*'],"members"'* ]] || master=lan100
  [[ $status != 0 || ! $master ]] || fail 'it succeeded, and the interface is attached'
  on_the_LAN() { [[ $(readlink /sys/class/net/nic0/master) == ${master:+*/}$master ]]; }
  wait_until 20 on_the_LAN
  [[ ! $master ]] || chaos lan detach blue nic0
}

second_detach() { second_add_vif; }
