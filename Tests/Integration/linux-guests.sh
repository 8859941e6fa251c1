# Linux guests, of the kernel and the ramdisk that Tests/Integration/run shares with the box: sourced by test files.

# linux NAME OPTION...: a Linux guest that has come to its init.
linux() {
  local name=$1
  shift
  chaos create --image /share/vmlinux --ramdisk /share/ramdisk.gz --name "$name" \
    --cmdline 'console=hvc0 quiet panic=-1 rdinit=/init' "$@" >/dev/null
  up() { chaos logs "$name" 2>/dev/null | grep -aq 'linux guest: command line:'; }
  wait_until 600 up || { chaos logs "$name" | tail -20; return 1; }
}

# typed NAME LINE: types a line on a guest's console.
typed() { printf '%s\n' "$2" | curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary @- http://c/v1/guests/$1/console; }
# said_of NAME WHAT: the number that the guest's init said last.
said_of() { chaos logs "$1" | sed -n "s/.*linux guest: $2: \([0-9]*\).*/\1/p" | tail -1; }
uptimes() { chaos logs "$1" | sed -n 's/.*linux guest: uptime: \([0-9.]*\).*/\1/p'; }
# uptime_of NAME: asks for it and waits for the answer: "UPTIME ASKED ANSWERED", the last two of this host's clock, so that
# the guest read its own between them.
uptime_of() {
  local before asked answered
  before=$(uptimes "$1" | wc -l)
  asked=$EPOCHREALTIME
  typed "$1" again
  answered() { (($(uptimes "$1" | wc -l) > before)); }
  wait_until 60 answered "$1"
  answered=$EPOCHREALTIME
  echo "$(uptimes "$1" | tail -1) $asked $answered"
}
