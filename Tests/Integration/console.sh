# The console: log, attach, input.

test_log_holds_what_the_guest_said() {
  create a --cmdline 'spoken words'
  chaos logs a | grep -q 'spoken words'
}

test_log_can_be_followed() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  timeout 60 chaos logs -f a >/tmp/followed &
  follower=$!
  wait_until 20 grep -q 'host: up' /tmp/followed
  curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary $'\r' http://c/v1/guests/a/console
  wait_until 20 grep -q 'packets in' /tmp/followed
  chaos destroy a
  wait_until 20 test ! -d /proc/$follower
}

test_follower_that_leaves_is_forgotten() {
  create a
  descriptors() { ls "/proc/$(pidof chaosd)/fd" | wc -l; }
  before=$(descriptors)
  for i in 1 2 3; do
    timeout 1 chaos logs -f a >/dev/null || true
  done
  as_before() { (($(descriptors) <= before)); }
  wait_until 20 as_before
}

test_typed_line_is_answered_on_the_console() {
  create a
  # chaos console wants a terminal; script gives it one.
  (sleep 1; printf '\r'; sleep 2; printf '\035') | timeout 30 script -qec 'chaos console a' /tmp/typescript >/dev/null
  grep -aq 'packets in' /tmp/typescript
  grep -aqi 'escape\|Ctrl-\]\|\^\]' /tmp/typescript
}

test_log_is_bounded_and_keeps_the_newest() {
  create a
  for i in {1..40}; do
    head -c 8000 /dev/zero | tr '\0' 'y' | curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary @- http://c/v1/guests/a/console
  done
  printf '\r' | curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary @- http://c/v1/guests/a/console
  size=$(stat -c %s /var/log/chaos/console/*.log)
  ((size <= 131072)) || fail "the log has $size bytes"
}
