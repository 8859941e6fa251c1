# A host that has run out of something, or whose disk stands still: guests keep their network, the list comes at once, what
# cannot be done says so in one line and in time, and all is well again when the cause is gone, with the same daemons.

hostile_image=images/build/hostile.elf
disk=/tmp/starved-disk
group=/sys/fs/cgroup/starved

# --- A disk that stands still

test_frozen_log_disk_stops_nobody() {
  local number
  trap 'thaw 2>/dev/null || true; leave_log_disk' EXIT
  enter_log_disk
  neighbour
  create doomed --no-pool
  chaos create --image $hostile_image --name loud --vif bridge=$bridge --cmdline 'mode=flood on=console' >/dev/null
  keep_hot host $host_image 1
  keep_hot hostile $hostile_image 1
  fsfreeze --freeze $disk

  # chaos-backend has something to say of this one, to a log that takes nothing.
  chaos create --image hostile --name broken --vif bridge=$bridge --cmdline 'mode=queue on=index' >/dev/null
  wait_until 20 vif_is_broken broken
  neighbour_is_well
  chaos create --image host --name hot --vif bridge=$bridge,ip=10.1.0.4/16 >/dev/null
  wait_until 20 answers 10.1.0.4
  # More than there are threads.
  for number in {1..40}; do ends_in_time chaos create --image host --name "cold-$number" --no-pool & done
  answers_in_time
  wait_for_all
  ends_in_time chaos destroy doomed
  ends_in_time chaos pool drain
  ends_in_time chaos create --image host --name renamed --uuid 6f1f3a5e-2b1c-4a52-9d0e-0a1b2c3d4e5f
  chaos shutdown --wait --timeout 60 hot
  neighbour_is_well

  thaw
  all_is_well
  # What was said and what happened meanwhile is on the disk, too.
  wait_until 40 said_of doomed ended
  wait_until 40 said_of hot ended
  wait_until 20 grep -q 'domain .* vif 0' /var/log/chaos/chaos-backend.log
  curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary $'\r' http://c/v1/guests/neighbour/console
  wait_until 20 eval "chaos logs neighbour | grep -q 'packets in'"
}

test_backend_that_dies_beside_a_frozen_log_disk_is_replaced() {
  local old
  trap 'thaw 2>/dev/null || true; leave_log_disk' EXIT
  enter_log_disk
  neighbour
  old=$(pidof chaos-backend)
  fsfreeze --freeze $disk
  kill -9 "$old"
  wait_until 30 eval "[[ \$(pidof chaos-backend) != $old ]] && pidof chaos-backend >/dev/null"
  wait_until 30 answers 10.1.0.2
  daemons=$(pidof chaosd chaos-backend)
  neighbour_is_well
  thaw
  all_is_well
}

# --- A full disk

test_full_disks_are_told_of() {
  local name
  trap 'leave_small_disks' EXIT
  chaos image add host $host_image >/dev/null
  for name in /var/lib/chaos /var/log/chaos /etc/chaos; do enter_small_disk $name; done
  neighbour
  chaos create --image $hostile_image --name loud --vif bridge=$bridge --cmdline 'mode=flood on=console' >/dev/null
  for name in /var/lib/chaos /var/log/chaos /etc/chaos; do fill $name; done

  refused 5 '^chaos: .*too little room' chaos image add other $noop_image
  refused 5 '^chaos: .*No space left' chaos lan create full --mode local
  refused 5 '^chaos: .*No space left' chaos create --image host --name kept --autostart
  refused 5 '^chaos: .*too little room' chaos create --image $noop_image --name uploaded
  chaos create --image host --name other --no-pool --vif bridge=$bridge,ip=10.1.0.3/16 >/dev/null
  wait_until 20 answers 10.1.0.3
  chaos destroy other
  neighbour_is_well

  for name in /var/lib/chaos /var/log/chaos /etc/chaos; do rm $name/fill; done
  all_is_well
  wait_until 40 said_of other ended
  chaos image add other $noop_image >/dev/null
  chaos image remove other
  chaos lan create full --mode local >/dev/null
  chaos lan delete full
}

# --- No descriptors

test_chaosd_without_descriptors() {
  local pid free hanging
  pid=$(pidof chaosd)
  chaos image add host $host_image >/dev/null
  neighbour
  trap "limit_descriptors $pid 1048576" EXIT
  # From none for a create, to enough for its first steps.
  for free in 1 3 5; do
    limit_descriptors "$pid" $(($(used_descriptors "$pid") + free))
    starved_create
    answers_in_time
  done
  limit_descriptors "$pid" "$(used_descriptors "$pid")"
  timeout 60 chaos list >/tmp/hanging &
  hanging=$!
  neighbour_keeps_its_network
  limit_descriptors "$pid" 1048576
  wait $hanging
  grep -q neighbour /tmp/hanging
  all_is_well
}

test_backend_without_descriptors() {
  local pid free
  pid=$(pidof chaos-backend)
  chaos image add host $host_image >/dev/null
  neighbour
  trap "limit_descriptors $pid 1048576" EXIT
  for free in 0 3 6 9; do
    limit_descriptors "$pid" $(($(used_descriptors "$pid") + free))
    starved_create
    neighbour_is_there
  done
  neighbour_is_well
  limit_descriptors "$pid" 1048576
  all_is_well
}

# --- No threads

test_daemons_without_threads() {
  local pid
  trap leave_group EXIT
  chaos image add host $host_image >/dev/null
  neighbour
  answers_in_time
  enter_group
  echo 0 >$group/pids.max
  # Threads without work end: what comes now finds none but those that always stay.
  wait_until 60 eval '(($(threads chaos-blocking) <= 4))'
  wait_until 20 eval '(($(threads chaosd) <= 3))'
  ends_in_time chaos create --image host --name one --wait --timeout 20 --vif bridge=$bridge,ip=10.1.0.3/16
  answers_in_time
  ends_in_time chaos create --image host --name two --count 3
  ends_in_time chaos logs neighbour
  ends_in_time sh -c 'timeout 2 chaos events -f; true'
  ends_in_time chaos wait --timeout 2 --for gone neighbour
  ends_in_time chaos pool fill
  ends_in_time chaos destroy one
  answers_in_time
  neighbour_is_well
  echo max >$group/pids.max
  all_is_well
}

# --- What all of them are held to

# neighbour: a guest beside whatever happens, and what the host looks like with it.
neighbour() {
  create warm-up --vif bridge=$bridge
  chaos destroy warm-up
  create neighbour --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 30 answers 10.1.0.2
  daemons=$(pidof chaosd chaos-backend)
}

neighbour_keeps_its_network() {
  ping -q -i 0.1 -c 20 -W 10 10.1.0.2 >/tmp/neighbour-pings || true
  grep -q ' 0% packet loss' /tmp/neighbour-pings || fail "neighbour: $(tail -n 2 /tmp/neighbour-pings)" || return 1
  expect_equal 'processes of the daemons' "$daemons" "$(pidof chaosd chaos-backend)"
}

neighbour_is_well() {
  neighbour_keeps_its_network
  answers_in_time
}

# all_is_well: with the same daemons, and without one that has to be started.
all_is_well() {
  neighbour_is_well
  wait_until 30 chaos health
  wait_until 30 eval 'create later --no-pool --vif bridge=$bridge,ip=10.1.0.5/16'
  wait_until 30 answers 10.1.0.5
  chaos destroy later
  chaos list -q | grep -qx neighbour
}

# ends_in_time COMMAND...: done or not, but soon, and with no more than a line for what was not.
ends_in_time() {
  local status=0 error start=$SECONDS
  error=$(timeout -k 1 30 "$@" 2>&1 >/dev/null) || status=$?
  echo "$* took $((SECONDS - start)) s, status $status: $error"
  ((status != 124 && status != 137)) || fail "'$*' has no end" || return 1
  ((status == 0)) || expect_equal "lines of '$error'" 1 "$(wc -l <<<"$error")"
}

wait_for_all() {
  local pid
  for pid in $(jobs -pr); do wait "$pid"; done
}

# --- What is taken from them

keep_hot() {
  chaos image add "$1" "$2" >/dev/null
  chaos pool set --image "$1" --memory 8 --vifs 1 --low 0 --high "$3" >/dev/null
  chaos pool fill --wait >/dev/null
}

thaw() { fsfreeze --unfreeze $disk; }

said_of() { jq -Rr 'fromjson? | select(.guest == "'"$1"'").kind' /var/log/chaos/events.jsonl | grep -q "$2"; }

vif_is_broken() { [[ $(info "$1" '.vifs[0].broken // ""') ]]; }

# All logs are on a disk of their own, those of the daemons among them.
enter_log_disk() {
  local backend
  truncate -s 32M $disk.image
  mkfs.ext4 -q $disk.image
  mkdir -p $disk
  mount -o loop $disk.image $disk
  cp -a /var/log/chaos/. $disk
  kill_chaosd
  mount --bind $disk /var/log/chaos
  backend=$(pidof chaos-backend)
  kill -9 "$backend"
  start_chaosd
}

leave_log_disk() {
  local backend
  chaos destroy --all >/dev/null
  kill_chaosd
  backend=$(pidof chaos-backend)
  kill -9 "$backend"
  umount /var/log/chaos
  umount -l $disk
  start_chaosd
}

enter_small_disk() {
  mkdir -p "/tmp/small$1"
  mount -t tmpfs -o size=2m none "/tmp/small$1"
  cp -a "$1/." "/tmp/small$1"
  mount --move "/tmp/small$1" "$1"
}

fill() { dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null || true; }

leave_small_disks() {
  local name
  chaos destroy --all >/dev/null
  for name in /var/lib/chaos /var/log/chaos /etc/chaos; do umount -l $name; done
}

used_descriptors() { ls "/proc/$1/fd" | wc -l; }

limit_descriptors() { prlimit --pid "$1" --nofile="$2:1048576"; }

starved_create() {
  local status=0 error
  error=$(timeout 30 chaos create --image host --name starved --no-pool --vif bridge=$bridge 2>&1 >/dev/null) || status=$?
  echo "create: $status $error"
  if ((status)); then
    expect_equal "lines of '$error'" 1 "$(wc -l <<<"$error")" || return 1
    expect_equal "status ($error)" 5 "$status" || return 1
  else
    timeout 30 chaos destroy starved
  fi
}

neighbour_is_there() { answers 10.1.0.2 && answers_in_time; }

# threads NAME: of chaosd.
threads() { cat "/proc/$(pidof chaosd)"/task/*/comm 2>/dev/null | grep -cx "$1"; }

enter_group() {
  local pid
  echo +pids >/sys/fs/cgroup/cgroup.subtree_control
  mkdir -p $group
  for pid in $(pidof chaosd chaos-backend); do echo "$pid" >$group/cgroup.procs; done
}

leave_group() {
  local pid
  # The kernel's workers of guests' queues are in it, too, so that it stays.
  echo max >$group/pids.max
  for pid in $(pidof chaosd chaos-backend); do echo "$pid" >/sys/fs/cgroup/cgroup.procs; done
}
