/*
 * What a guest can do that Swift has no word for: instructions, hypercalls, and the fields of pages that Xen and
 * dom0 share with it. The layouts come from Xen's public headers (libxen-dev) and from the device page's header.
 */
#ifndef CHAOS_GUEST_H
#define CHAOS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define __XEN_INTERFACE_VERSION__ 0x00040e00
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/sched.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/io/console.h>

#include <chaos_device_page.h>

#define GUEST_FRAME(gfn) ((uintptr_t)(gfn) << 12)

/* One or two instructions each: a call would cost more. */
#define GUEST_INLINE static inline __attribute__((always_inline))

/* ---- Instructions ------------------------------------------------------------------------------------ */

GUEST_INLINE void guest_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }

/* Orders our stores before our later loads: the one reordering that x86 does. */
GUEST_INLINE void guest_memory_barrier(void) { __asm__ volatile("lock addl $0, (%%rsp)" ::: "memory", "cc"); }

GUEST_INLINE uint16_t guest_load16(uintptr_t address) { return *(volatile uint16_t *)address; }
GUEST_INLINE uint32_t guest_load32(uintptr_t address) { return *(volatile uint32_t *)address; }
GUEST_INLINE void guest_store16(uintptr_t address, uint16_t value) { *(volatile uint16_t *)address = value; }
GUEST_INLINE void guest_store32(uintptr_t address, uint32_t value) { *(volatile uint32_t *)address = value; }

GUEST_INLINE uint64_t guest_timestamp(void) {
  uint32_t low, high;
  __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}

_Noreturn static inline void guest_halt(void) {
  for (;;) __asm__ volatile("cli; hlt" ::: "memory");
}

/* ---- Hypercalls -------------------------------------------------------------------------------------- */

extern unsigned char guest_hypercall_page[4096];

GUEST_INLINE long guest_hypercall(unsigned number, uintptr_t first, uintptr_t second) {
  long result;
  __asm__ volatile("call *%[entry]"
                   : "=a"(result), "+D"(first), "+S"(second)
                   : [entry] "r"(guest_hypercall_page + number * 32)
                   : "rcx", "rdx", "r8", "r10", "r11", "memory", "cc");
  return result;
}

static inline void guest_cpuid(uint32_t leaf, uint32_t words[4]) {
  __asm__ volatile("cpuid" : "=a"(words[0]), "=b"(words[1]), "=c"(words[2]), "=d"(words[3]) : "a"(leaf), "c"(0));
}

/* Finds Xen and has it fill the hypercall page (which also makes it write the wall clock). False: no Xen here. */
static inline bool guest_enter_xen(void) {
  for (uint32_t leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
    uint32_t words[4];
    guest_cpuid(leaf, words);
    if (words[1] == 0x566e6558 && words[2] == 0x65584d4d && words[3] == 0x4d4d566e) { /* "XenVMMXenVMM" */
      guest_cpuid(leaf + 2, words);
      uintptr_t page = (uintptr_t)guest_hypercall_page;
      __asm__ volatile("wrmsr" ::"c"(words[1]), "a"((uint32_t)page), "d"((uint32_t)(page >> 32)) : "memory");
      return true;
    }
    if (words[0] < 0x40000000 || words[0] >= 0x40010000) return false; /* no hypervisor leaves at all */
  }
  return false;
}

static inline void guest_notify(uint32_t port) {
  struct evtchn_send send = {.port = port};
  guest_hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, (uintptr_t)&send);
}

static inline void guest_yield(void) { guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0); }

/* Sleeps until one of the ports is pending or the host's clock has reached timeout, in nanoseconds; 0: no time-out. */
static inline void guest_poll(const uint32_t *ports, uint32_t count, uint64_t timeout) {
  struct sched_poll poll = {.nr_ports = count, .timeout = timeout};
  set_xen_guest_handle(poll.ports, (evtchn_port_t *)ports);
  guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, (uintptr_t)&poll);
}

_Noreturn static inline void guest_shutdown(uint32_t reason) {
  struct sched_shutdown shutdown = {.reason = reason};
  for (;;) guest_hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, (uintptr_t)&shutdown);
}

_Noreturn static inline void guest_power_off(void) { guest_shutdown(SHUTDOWN_poweroff); }
_Noreturn static inline void guest_reboot(void) { guest_shutdown(SHUTDOWN_reboot); }
_Noreturn static inline void guest_crash(void) { guest_shutdown(SHUTDOWN_crash); }

static inline uint64_t guest_hvm_parameter(uint32_t index) {
  struct xen_hvm_param parameter = {.domid = DOMID_SELF, .index = index};
  return guest_hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, (uintptr_t)&parameter) == 0 ? parameter.value : 0;
}

static inline uint64_t guest_console_frame_parameter(void) { return guest_hvm_parameter(HVM_PARAM_CONSOLE_PFN); }
static inline uint32_t guest_console_port_parameter(void) {
  return (uint32_t)guest_hvm_parameter(HVM_PARAM_CONSOLE_EVTCHN);
}

/* ---- shared_info: pending events and time ------------------------------------------------------------- */

static inline struct shared_info *guest_shared_info(void) {
  return (struct shared_info *)GUEST_FRAME(CHAOS_SHARED_INFO_GFN);
}

/* Tests and clears a port's pending bit. */
GUEST_INLINE bool guest_take_event(uint32_t port) {
  uint64_t *word = (uint64_t *)guest_shared_info()->evtchn_pending + port / 64;
  uint64_t bit = port % 64;
  if (!(*(volatile uint64_t *)word >> bit & 1)) return false;
  bool taken;
  __asm__ volatile("lock btrq %2, %0" : "+m"(*word), "=@ccc"(taken) : "r"(bit) : "memory");
  return taken;
}

/* Nanoseconds on the host's clock. */
static inline uint64_t guest_system_time(void) {
  volatile struct vcpu_time_info *time = &guest_shared_info()->vcpu_info[0].time;
  for (;;) {
    uint32_t version = time->version;
    guest_compiler_barrier();
    uint64_t ticks = guest_timestamp() - time->tsc_timestamp;
    int8_t shift = time->tsc_shift;
    ticks = shift < 0 ? ticks >> (-shift & 63) : ticks << (shift & 63);
    uint64_t now = time->system_time + (uint64_t)((unsigned __int128)ticks * time->tsc_to_system_mul >> 32);
    guest_compiler_barrier();
    if (!(version & 1) && time->version == version) return now;
  }
}

/* Nanoseconds since 1970 at which the host's clock stood at zero. */
static inline uint64_t guest_wall_clock_base(void) {
  volatile struct shared_info *info = guest_shared_info();
  for (;;) {
    uint32_t version = info->wc_version;
    guest_compiler_barrier();
    uint64_t seconds = (uint64_t)info->wc_sec_hi << 32 | info->wc_sec;
    uint64_t base = seconds * 1000000000 + info->wc_nsec;
    guest_compiler_barrier();
    if (!(version & 1) && info->wc_version == version) return base;
  }
}

/* ---- Console ring --------------------------------------------------------------------------------------- */

#define GUEST_CONSOLE_IN_SIZE sizeof(((struct xencons_interface *)0)->in)
#define GUEST_CONSOLE_OUT_SIZE sizeof(((struct xencons_interface *)0)->out)

static inline volatile struct xencons_interface *guest_console(uintptr_t address) {
  return (volatile struct xencons_interface *)address;
}

/* Puts one character into the ring. False: the ring is full. */
static inline bool guest_console_put(uintptr_t address, uint8_t character) {
  volatile struct xencons_interface *ring = guest_console(address);
  XENCONS_RING_IDX producer = ring->out_prod;
  if (producer - ring->out_cons >= GUEST_CONSOLE_OUT_SIZE) return false;
  ring->out[producer & (GUEST_CONSOLE_OUT_SIZE - 1)] = (char)character;
  guest_compiler_barrier();
  ring->out_prod = producer + 1;
  return true;
}

/* The next typed character, or -1. */
static inline int guest_console_get(uintptr_t address) {
  volatile struct xencons_interface *ring = guest_console(address);
  XENCONS_RING_IDX consumer = ring->in_cons;
  if (consumer == ring->in_prod) return -1;
  guest_compiler_barrier();
  uint8_t character = (uint8_t)ring->in[consumer & (GUEST_CONSOLE_IN_SIZE - 1)];
  guest_compiler_barrier();
  ring->in_cons = consumer + 1;
  return character;
}

/* The PC's first serial port: where an image that was started without Xen says so. */
static inline void guest_serial_put(uint8_t character) {
  uint8_t status;
  for (int tries = 0; tries < 100000; tries++) {
    __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((uint16_t)0x3fd));
    if (status & 0x20) break;
  }
  __asm__ volatile("outb %0, %1" ::"a"(character), "Nd"((uint16_t)0x3f8));
}

/* ---- Memory that the image leaves free --------------------------------------------------------------------- */

/* Boot.S keeps this room for the state of 15 vifs; Network.swift knows what is in it. */
extern unsigned char guest_interfaces[];

GUEST_INLINE uintptr_t guest_interface_storage(void) { return (uintptr_t)guest_interfaces; }

extern unsigned char guest_image_end[];

static inline uintptr_t guest_heap_start(void) { return (uintptr_t)guest_image_end; }

/* End of the RAM that holds the image, from the start info's memory map. */
static inline uintptr_t guest_heap_end(void) {
  const struct hvm_start_info *info = (const struct hvm_start_info *)GUEST_FRAME(CHAOS_START_INFO_GFN);
  if (info->magic != XEN_HVM_START_MAGIC_VALUE || info->version < 1) return 0;
  const struct hvm_memmap_table_entry *entry = (const struct hvm_memmap_table_entry *)info->memmap_paddr;
  for (uint32_t i = 0; i < info->memmap_entries; i++, entry++) {
    if (entry->type == XEN_HVM_MEMMAP_TYPE_RAM && entry->addr <= guest_heap_start() &&
        guest_heap_start() - entry->addr < entry->size)
      return entry->addr + entry->size;
  }
  return 0;
}

#endif
