// Writes a number of its own to each page of nine tenths of the memory that is free, then reads them all back: a page that
// is not there, or there twice, is found. Says how many KiB it was to fill, and how many it filled.
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

static uint64_t available(void) {
  unsigned long kib = 0;
  char line[128];
  FILE *file = fopen("/proc/meminfo", "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "MemAvailable: %lu", &kib) == 1) break;
  return kib;
}

int main(void) {
  const uint64_t page = 4096, pages = available() * 9 / 10 * 1024 / page;
  uint64_t found = 0;
  volatile uint64_t *memory = mmap(0, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("linux guest: to fill: %lu\n", pages * 4);
  fflush(stdout);
  if (memory == MAP_FAILED) return 1;
  // Both ends of each page.
  for (uint64_t i = 0; i < pages; i++) memory[i * 512] = i + 1, memory[i * 512 + 511] = ~i;
  for (uint64_t i = 0; i < pages; i++) found += memory[i * 512] == i + 1 && memory[i * 512 + 511] == ~i;
  printf("linux guest: filled: %lu\n", found * 4);
}
