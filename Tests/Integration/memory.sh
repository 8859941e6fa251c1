# Soak: a large Linux fills gigabytes in an emulated machine, and its box takes most of a small machine's memory.
# Memory: 7168
# Linux guests find all the memory they were given, on both sides of 4 GiB, and it holds what is written to it.
source Tests/Integration/linux-guests.sh

# linux_fills MEMORY: a guest of so many MiB; $total and $physical are what it says it has, in KiB.
linux_fills() {
  local filled wanted
  linux linux --memory "$1"
  total=$(said_of linux memory) physical=$(said_of linux physical)
  # Xen's special pages and the first MiB are no RAM to it.
  ((physical <= $1 * 1024 && physical > $1 * 1024 - 1024)) || fail "physical: $physical KiB of $1 MiB"
  typed linux fill
  full() { [[ $(said_of linux filled) ]]; }
  wait_until 600 full || fail "$(chaos logs linux | tail -5)"
  filled=$(said_of linux filled)
  wanted=$(said_of linux 'to fill')
  expect_equal "KiB filled and read back of $1 MiB" "$wanted" "$filled"
  chaos destroy linux
}

# Less than 80 MiB has no room for Debian's kernel, which says so before anything is made.
test_linux_has_the_memory_it_was_given() {
  for memory in 80 128 512 1024; do linux_fills $memory; done
}

# From here on what the kernel itself takes is less than the 5 %.
test_linux_has_gigabytes_up_to_the_hole_and_across_it() {
  for memory in 2048 3584 3686 4608; do
    linux_fills $memory
    ((total >= memory * 1024 * 95 / 100)) || fail "MemTotal: $total KiB of $memory MiB"
  done
}
