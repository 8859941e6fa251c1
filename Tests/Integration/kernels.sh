# Kernels that know nothing of chaos: a console of their own and nothing else.

test_linux_boots_with_ramdisk_and_console() {
  chaos create --image /share/vmlinux --ramdisk /share/ramdisk.gz --memory 160 --name linux \
    --cmdline 'console=hvc0 earlyprintk=xen panic=-1 rdinit=/init word=given'
  up() { chaos logs linux 2>/dev/null | grep -aq 'linux guest: command line:.*word=given'; }
  wait_until 600 up || { chaos logs linux | tail -20; return 1; }
  printf 'typed words\n' | curl -sf --unix-socket /run/chaos/chaosd.sock --data-binary @- http://c/v1/guests/linux/console
  heard() { chaos logs linux | grep -aq 'linux guest: typed: typed words'; }
  wait_until 180 heard
  status=0
  error=$(chaos shutdown linux 2>&1) || status=$?
  expect_equal 'status of an orderly shutdown it cannot do' 1 "$status"
  [[ $error == *'chaos destroy'* ]] || fail "$error"
  chaos destroy linux
}

# foreign NAME OPTION...: starts the kernel that says what it finds, and waits until it has said all.
foreign() {
  local name=$1
  shift
  chaos create --image /share/foreign.elf --name "$name" --on-poweroff preserve "$@" >/dev/null
  said_all() { chaos logs "$name" | grep -q '^foreign: done'; }
  wait_until 60 said_all || fail "$(chaos logs "$name")"
}

test_memory_map_is_what_the_start_info_says() {
  for memory in 4 64 1024; do
    foreign f --memory $memory
    map=$(chaos logs f | sed -n 's/^memory map: //p')
    [[ -n $map ]] || fail "$(chaos logs f)"
    expect_equal "map with $memory MiB" "$(chaos logs f | sed -n 's/^start info: //p')" "$map"
    chaos destroy f
  done
}
