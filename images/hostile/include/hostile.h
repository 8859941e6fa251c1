/*
 * What only a hostile guest does: any hypercall with any arguments, frames that move under dom0's feet, a processor
 * that cannot go on.
 */
#ifndef CHAOS_HOSTILE_H
#define CHAOS_HOSTILE_H

#include <guest.h>
#include <xen/memory.h>

/* Every entry of the hypercall page begins with "movl $number, %eax"; the instruction into Xen comes after it. */
#define HOSTILE_HYPERCALL_INSTRUCTION 5

/* Five arguments, none of them looked at; numbers for which the page has no entry too. */
static inline long hostile_hypercall(
    uint32_t number, uintptr_t first, uintptr_t second, uintptr_t third, uintptr_t fourth, uintptr_t fifth) {
  register uintptr_t r10 __asm__("r10") = fourth;
  register uintptr_t r8 __asm__("r8") = fifth;
  long result;
  __asm__ volatile("call *%[entry]"
                   : "=a"(result), "+D"(first), "+S"(second), "+d"(third), "+r"(r10), "+r"(r8)
                   : "0"((unsigned long)number), [entry] "r"(guest_hypercall_page + HOSTILE_HYPERCALL_INSTRUCTION)
                   : "rcx", "r9", "r11", "memory", "cc");
  return result;
}

static const uint16_t hostile_self = DOMID_SELF;

/* ---- Frames -------------------------------------------------------------------------------------------- */

/* Takes a frame from one place of the guest's memory and puts it at another, over what is there. */
static inline bool hostile_move_frame(uint64_t from, uint64_t to) {
  struct xen_add_to_physmap move = {.domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = from, .gpfn = to};
  return guest_hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, (uintptr_t)&move) == 0;
}

static inline bool hostile_change_reservation(unsigned operation, uint64_t gfn) {
  xen_pfn_t frame = gfn;
  struct xen_memory_reservation reservation = {.nr_extents = 1, .domid = DOMID_SELF};
  set_xen_guest_handle(reservation.extent_start, &frame);
  return guest_hypercall(__HYPERVISOR_memory_op, operation, (uintptr_t)&reservation) == 1;
}

/* Gives a frame back to Xen: nothing is there any more. */
static inline bool hostile_give_frame(uint64_t gfn) {
  return hostile_change_reservation(XENMEM_decrease_reservation, gfn);
}

/* Has Xen put a fresh frame where there is none. */
static inline bool hostile_take_frame(uint64_t gfn) {
  return hostile_change_reservation(XENMEM_populate_physmap, gfn);
}

/* ---- Time, where shared_info is no more to be trusted ---------------------------------------------------- */

static inline struct vcpu_time_info hostile_time_info(void) { return guest_shared_info()->vcpu_info[0].time; }

/* Nanoseconds on the host's clock, by what shared_info said earlier. */
static inline uint64_t hostile_time(struct vcpu_time_info info) {
  uint64_t ticks = guest_timestamp() - info.tsc_timestamp;
  ticks = info.tsc_shift < 0 ? ticks >> (-info.tsc_shift & 63) : ticks << (info.tsc_shift & 63);
  return info.system_time + (uint64_t)((unsigned __int128)ticks * info.tsc_to_system_mul >> 32);
}

/* ---- Stopping ------------------------------------------------------------------------------------------ */

/* Gives the processor away, for good as far as this guest is concerned. */
static inline void hostile_block(void) { guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0); }

/* An exception without a handler, without a handler for that, and without one for that either. */
_Noreturn static inline void hostile_triple_fault(void) {
  struct { uint16_t limit; uint64_t base; } __attribute__((packed)) none = {0, 0};
  __asm__ volatile("lidt %0; ud2" ::"m"(none));
  __builtin_unreachable();
}

_Noreturn static inline void hostile_spin(void) {
  for (;;) guest_compiler_barrier();
}

#endif
