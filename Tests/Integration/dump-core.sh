# Dumps of guests: what becomes of the guest, and of the file.

# Something of a size that is not through at once.
big() { create big --memory 512 "$@" >/dev/null; }
state() { info "$1" .state; }
is_state() { [[ $(state "$1") == "$2" ]]; }
# dump_slowly NAME: a dump whose reader takes nothing of it before it is let; $dumper is the client.
dump_slowly() {
  rm -f /tmp/let
  mkfifo -m 600 /tmp/slow
  (until [[ -e /tmp/let ]]; do sleep 0.1; done && cat >/dev/null) </tmp/slow &
  chaos dump-core "$1" - >/tmp/slow 2>/tmp/slow.err &
  dumper=$!
  rm /tmp/slow
  wait_until 20 is_state "$1" paused
}
# The client finds out that there is no more.
expect_cut_off() {
  touch /tmp/let
  wait $dumper && fail 'the client takes a part for the whole'
  grep -q "^chaos: the dump of 'big' was cut off" /tmp/slow.err || fail "$(cat /tmp/slow.err)"
}

test_guest_stands_still_for_a_dump_and_goes_on() {
  create web --vif bridge=$bridge,ip=10.1.0.2/16
  mkdir /tmp/dumps
  (umask 0; cd /tmp/dumps; chaos dump-core web core; chaos dump-core web xen --format xen; chaos dump-core web core)
  expect_equal files 'core xen' "$(ls /tmp/dumps | xargs)"
  for file in core xen; do
    expect_equal mode 600 "$(stat -c %a /tmp/dumps/$file)"
    expect_equal magic 7f454c460201 "$(head -c 6 /tmp/dumps/$file | od -An -tx1 | tr -d ' ')"
    # What is zero takes no room.
    (($(stat -c '%b * %B' /tmp/dumps/$file) < 4 << 20)) || fail "$file takes $(du -k /tmp/dumps/$file)"
    (($(stat -c %s /tmp/dumps/$file) > 7 << 20))
  done
  expect_equal 'as it is by a pipe' "$(stat -c %s /tmp/dumps/core)" "$(chaos dump-core web - | wc -c)"
  expect_equal state running "$(state web)"
  wait_until 20 answers 10.1.0.2
  chaos pause web
  chaos dump-core web /tmp/dumps/paused
  expect_equal state paused "$(state web)"
  rm -r /tmp/dumps
}

test_what_cannot_be_dumped_is_refused() {
  create web >/dev/null
  refused 3 nobody chaos dump-core nobody /tmp/core
  refused 2 "expected elf or xen, got 'pdf'" chaos dump-core web /tmp/core --format pdf
  refused 3 /nowhere/core chaos dump-core web /nowhere/core
  refused 2 /tmp chaos dump-core web /tmp
  refused 2 'missing FILE' chaos dump-core web
  expect_equal 'what is left' '' "$(ls /tmp | grep core || :)"
  expect_equal state running "$(state web)"
}

test_full_disk_leaves_no_file() {
  create web --memory 16 >/dev/null
  mkdir /tmp/small
  mount -t tmpfs -o size=64k tmpfs /tmp/small
  trap 'umount /tmp/small; rmdir /tmp/small' EXIT
  refused 5 'No space left' chaos dump-core web /tmp/small/core
  expect_equal 'what is left' '' "$(ls /tmp/small)"
  wait_until 5 is_state web running
}

test_interrupted_dump_leaves_no_file_and_the_guest_goes_on() {
  big
  mkdir /tmp/dumps
  for signal in INT TERM KILL; do
    # Stopped once it writes, however fast the rest goes.
    chaos dump-core big /tmp/dumps/core &
    client=$!
    wait_until 20 test -s /tmp/dumps/core.partial-$client
    kill -$signal $client
    wait $client && fail "$signal: done already"
    wait_until 20 is_state big running
    [[ $signal == KILL ]] || expect_equal "what $signal leaves" '' "$(ls /tmp/dumps)"
  done
  rm -r /tmp/dumps
}

test_nothing_else_is_done_with_a_guest_meanwhile() {
  big
  dump_slowly big
  for command in pause unpause reboot restart shutdown; do
    refused 4 "guest 'big' is being dumped" chaos $command big
  done
  refused 4 "guest 'big' is being dumped" chaos rename big other
  create small >/dev/null
  chaos list >/dev/null
  # Whoever takes nothing of it holds nobody up for long.
  wait_until 20 is_state big running
  expect_cut_off
  chaos pause big
  expect_equal state paused "$(state big)"
}

test_guest_is_destroyed_whoever_dumps_it() {
  big
  dump_slowly big
  chaos destroy big
  expect_cut_off
  big
  dump_slowly big
  chaos destroy --all >/dev/null
  expect_cut_off
  expect_equal guests '' "$(chaos list --quiet)"
}

test_guest_goes_on_whatever_becomes_of_chaosd() {
  big
  dump_slowly big
  kill_chaosd
  expect_cut_off
  start_chaosd
  wait_until 5 is_state big running
  dump_slowly big
  pid=$(pidof chaosd)
  kill -TERM $pid
  gone() { [[ ! -e /proc/$pid ]]; }
  wait_until 20 gone
  expect_cut_off
  # It runs without a chaosd, too: the next has nothing to let go.
  ! grep -q '"held"' /run/chaos/domains/* || fail 'still held'
  start_chaosd
  expect_equal state running "$(state big)"
}

test_crashed_guest_is_dumped_as_it_is() {
  chaos create --image images/build/hostile.elf --cmdline 'mode=end on=crash when=start' --name hostile >/dev/null
  wait_until 20 is_state hostile crashed
  chaos dump-core hostile /tmp/crash.core
  expect_equal state crashed "$(state hostile)"
  rm /tmp/crash.core
}
