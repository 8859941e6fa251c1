# The integration tests' harness, in dom0 with chaosd up and an empty pool; for tests of several hosts see hosts.sh.
#
# A test is a function named test_WHAT_IT_SHOWS. It runs in a subshell with errexit, so that the first command
# that fails ends it; it starts and ends with no guest (the harness destroys what is left and counts that).

set -uo pipefail

bridge=br0
passed=0 failed=0
host_image=images/build/host.elf
noop_image=images/build/noop.elf

# --- What tests say

fail() {
  echo "FAILED: $*" >&2
  return 1
}

# expect_equal WHAT WANTED GOT
expect_equal() {
  [[ $2 == "$3" ]] || fail "$1: wanted '$2', got '$3'"
}

# wait_until SECONDS COMMAND...: polls; boxes slow down under load, so limits are generous.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || fail "waited in vain for: $*" || return 1
    sleep 0.05
  done
}

# wait_for_step SECONDS 'STEP': the same for shell code, with its last output when it never succeeds.
wait_for_step() {
  local end=$((SECONDS + $1)) said
  until said=$(eval "$2" 2>&1); do
    ((SECONDS < end)) || fail "waited $1 s in vain; it says: $said" || return 1
    sleep 0.05
  done
  [[ -z $said ]] || echo "$said"
}

# refused STATUS PATTERN COMMAND...: exits with STATUS, says one line on stderr that matches, and makes nothing.
refused() {
  local status=$1 pattern=$2 before after error got=0
  shift 2
  before=$(resources)
  error=$("$@" 2>&1 >/dev/null) || got=$?
  expect_equal "status of '$*' ($error)" "$status" "$got" || return 1
  expect_equal "lines of '$error'" 1 "$(wc -l <<<"$error")" || return 1
  [[ $error =~ $pattern ]] || fail "'$*' said '$error', not '$pattern'" || return 1
  after=$(resources)
  expect_equal "resources after '$*'" "$before" "$after"
}

# --- What tests use

add_bridge() {
  ip link show "$bridge" >/dev/null 2>&1 && return
  ip link add "$bridge" type bridge
  ip addr add 10.1.0.1/16 dev "$bridge"
  ip -6 addr add fd00:1::1/64 dev "$bridge" nodad
  ip link set "$bridge" up
}

# create NAME [OPTION...]: a guest of the host image, ready.
create() {
  local name=$1
  shift
  chaos create --image "$host_image" --name "$name" --wait --timeout 60 "$@" >/dev/null
}

answers() { ping -q -c 1 -W 2 "$1" >/dev/null 2>&1; }

info() { chaos info "$1" --format json | jq -r "$2"; }

# What guests cost the host, one line, the same before and after. Tests ask for it often, and what the shell finds out
# by itself costs an emulated processor a tenth of a program's start.
resources() (
  shopt -s nullglob
  chaosd='' backend='' vhost=0 processes=0
  for file in /proc/[0-9]*/comm; do
    read -r name 2>/dev/null <"$file" || continue
    case $name in
      vhost-*) vhost=$((vhost + 1)) ;;
      chaos*) processes=$((processes + 1)) ;;&
      chaosd) chaosd=${file%/comm} ;;
      chaos-backend) backend=${file%/comm} ;;
    esac
  done
  [[ $(chaos host --format json) =~ \{[^{}]*\"domains\"[^{}]*\} && ${BASH_REMATCH[0]} =~ \"used\":\ *([0-9]+) ]]
  mapfile -t channels < <(lsevtchn 0)
  echo "domains=${BASH_REMATCH[1]}" \
    "taps=$(count /sys/class/net/ch*)" \
    "lans=$(count /etc/chaos/lans/*)/$(count /sys/class/net/{lan,vxlan,kt-}*)" \
    "channels=${#channels[@]}" \
    "vhost=$vhost" \
    "files=$(shopt -s dotglob && count /run/chaos/domains/* /var/log/chaos/console/*)" \
    "backend-descriptors=$(count "$backend"/fd/*)" \
    "maps=$(privcmd_maps "$chaosd")/$(privcmd_maps "$backend")" \
    "processes=$processes"
)

count() { echo $#; }

privcmd_maps() {
  local line count=0
  while read -r line; do [[ $line != *privcmd* ]] || count=$((count + 1)); done <"$1/maps"
  echo $count
}

# expect_resources WANTED: what guests cost comes down to WANTED; the kernel and the hypervisor let go in their time.
expect_resources() {
  local end=$((SECONDS + 20)) got
  until got=$(resources) && [[ $got == "$1" ]]; do
    ((SECONDS < end)) || fail "resources: wanted '$1', got '$got'" || return 1
    sleep 0.1
  done
}

# Each daemon's resident memory, descriptors and threads, a line each, in the order that join wants.
daemon_sizes() {
  local name process
  for name in chaos-backend chaosd; do
    process=/proc/$(pidof $name)
    echo "$name:descriptors $(ls "$process/fd" | wc -l)"
    echo "$name:KiB $(awk '/^VmRSS:/ { print $2 }' "$process/status")"
    echo "$name:threads $(ls "$process/task" | wc -l)"
  done | LC_ALL=C sort
}

# expect_bounded SIZES [KIB DESCRIPTORS THREADS]: each daemon is larger than it was by so much at most. Unless said, by what
# a dozen guests with two vifs each take: a few MiB and fewer than 200 descriptors, and threads come and go; a backlog or a
# leak has no end.
expect_bounded() {
  local name before after allowed
  while read -r name before after; do
    case $name in
      *:KiB) allowed=${2:-24576} ;;
      *:descriptors) allowed=${3:-250} ;;
      *) allowed=${4:-50} ;;
    esac
    ((after - before <= allowed)) || fail "$name went from $before to $after" || return 1
  done < <(LC_ALL=C join <(echo "$1") <(daemon_sizes))
}

# The list comes at once: the best of five, since the processor is shared with guests that spin.
answers_in_time() {
  local try start took
  for try in {1..5}; do
    start=${EPOCHREALTIME/./}
    timeout 30 chaos list >/dev/null || fail 'no list' || return 1
    took=$((${EPOCHREALTIME/./} - start))
    ((took >= 1000000)) || return 0
  done
  fail "chaos list took $((took / 1000)) ms"
}

start_chaosd() {
  chaosd --dom0-weight 4096 "$@" >>/var/log/chaos/chaosd.log 2>&1 &
  disown
  wait_until 60 daemon_answers
}

daemon_answers() { chaos version >/dev/null 2>&1; }

kill_chaosd() {
  local pid
  pid=$(pidof chaosd)
  kill -9 "$pid"
  wait_until 20 test ! -d "/proc/$pid"
}

# --- Running

# No guest, no flavour, no shell, no LAN: what one test set up must not be refilled under the next.
clean_up() {
  local flavour
  pidof chaosd >/dev/null || start_chaosd
  chaos destroy --all >/dev/null
  chaos pool status --format json | jq -c '.flavours[] | {memoryMiB, vcpus, vifs, windowKiB, low: 0, high: 0}
    + (if .image then {image: (.image.name // .image.digest)} else {} end)' | while read -r flavour; do
    curl -s --unix-socket /run/chaos/chaosd.sock -X PUT -d "$flavour" http://chaos/v1/pool/flavours >/dev/null
  done
  chaos pool drain >/dev/null
  clean_up_lans
}

clean_up_lans() {
  local name
  ! declare -F containers_clean_up >/dev/null || containers_clean_up
  for name in $(ip netns list | cut -d ' ' -f 1); do ip netns delete "$name"; done
  for name in $(chaos lan list --format json | jq -r '.lans[].name'); do chaos lan delete --force "$name" >/dev/null; done
  ! chaos lan evpn status --format json | jq -e .enabled >/dev/null || chaos lan evpn disable >/dev/null
}

show_logs() { tail -n 5 /var/log/chaos/*.log; }

# run_file FILE: each test of a file, or those whose name matches CHAOS_TEST.
run_file() {
  local name
  file=$1
  unset -f $(compgen -A function test_) 2>/dev/null
  source "Tests/Integration/$file.sh"
  for name in $(compgen -A function test_); do
    [[ ! $name =~ ${CHAOS_TEST:-.} ]] || run_test "$name"
  done
}

run_test() {
  local name=$1 start=$SECONDS log
  log=$(mktemp)
  # Not inside the condition: there bash would ignore errexit. In the background: a wait can be interrupted.
  (
    set -e
    "$name"
  ) >"$log" 2>&1 </dev/null &
  wait $!
  if (($? == 0)); then
    passed=$((passed + 1))
    echo "ok      ${file}: ${name#test_} ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    echo "NOT OK  ${file}: ${name#test_} ($((SECONDS - start)) s)"
    sed 's/^/    | /' "$log"
    show_logs 2>&1 | sed 's/^/    : /'
  fi
  rm -f "$log"
  clean_up
}
