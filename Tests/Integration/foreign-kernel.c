/*
 * A PVH kernel that knows nothing of chaos, as its boot ABI has it (docs/misc/pvh.pandoc): it says what it finds on its
 * console (HVM_PARAM_CONSOLE_PFN) and powers off, or does what its command line says: reboot, crash, triple-fault, stay.
 *
 * 32 bits, paging off: every address is physical.
 */
#define __XEN_TOOLS__ 1
#include <stdint.h>
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/io/console.h>
#include <xen/memory.h>
#include <xen/sched.h>

static struct { char code[4096]; } hypercall_page __attribute__((aligned(4096)));
static struct xencons_interface *console;
static uint32_t console_port;

void *memset(void *out, int byte, unsigned int length)
{
    for (unsigned char *to = out; length; length--)
        *to++ = (unsigned char)byte;
    return out;
}

void *memcpy(void *out, const void *from, unsigned int length)
{
    unsigned char *to = out;
    for (const unsigned char *at = from; length; length--)
        *to++ = *at++;
    return out;
}

/* ---- Hypercalls ------------------------------------------------------------------------------------------ */

struct registers { uint32_t eax, ebx, ecx, edx; };

static struct registers cpuid(uint32_t leaf)
{
    struct registers out;
    asm volatile("cpuid" : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx) : "a"(leaf), "c"(0));
    return out;
}

static void find_hypercalls(void)
{
    asm volatile("wrmsr" : : "c"(cpuid(0x40000002).ebx), "a"((uint32_t)&hypercall_page), "d"(0) : "memory");
}

static int hypercall(unsigned int number, unsigned long operation, void *argument)
{
    long result;
    asm volatile("call *%%eax" : "=a"(result), "+b"(operation), "+c"(argument)
                 : "a"((uint32_t)&hypercall_page + number * 32) : "memory", "edx", "esi", "edi");
    return (int)result;
}

static uint64_t parameter(uint32_t index)
{
    struct xen_hvm_param argument = { .domid = DOMID_SELF, .index = index };
    return hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &argument) < 0 ? 0 : argument.value;
}

/* ---- Console --------------------------------------------------------------------------------------------- */

static void put(char c)
{
    while (console->out_prod - *(volatile XENCONS_RING_IDX *)&console->out_cons >= sizeof console->out)
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
    console->out[MASK_XENCONS_IDX(console->out_prod, console->out)] = c;
    asm volatile("" : : : "memory");
    console->out_prod++;
    if (c == '\n') {
        struct evtchn_send send = { .port = console_port };
        hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
    }
}

static void say(const char *text)
{
    while (*text)
        put(*text++);
}

static void say_number(const char *before, uint64_t number)
{
    say(before);
    say("0x");
    int shift = 60;
    while (shift > 0 && number >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[number >> shift & 15]);
}

/* ---- What is found --------------------------------------------------------------------------------------- */

struct e820_entry { uint64_t address, length; uint32_t type; } __attribute__((packed));

static void say_range(const char *source, uint64_t address, uint64_t length, uint32_t type)
{
    say(source);
    say_number(" ", address);
    say_number(" ", length);
    say_number(" ", type);
    say("\n");
}

static void say_memory_maps(const struct hvm_start_info *start)
{
    static struct e820_entry entries[64];
    struct xen_memory_map map = { .nr_entries = 64 };
    set_xen_guest_handle(map.buffer, entries);
    int result = hypercall(__HYPERVISOR_memory_op, XENMEM_memory_map, &map);
    if (result < 0)
        say("XENMEM_memory_map fails\n");
    for (unsigned int i = 0; result >= 0 && i < map.nr_entries; i++)
        say_range("memory map:", entries[i].address, entries[i].length, entries[i].type);
    const struct hvm_memmap_table_entry *given = (void *)(uint32_t)start->memmap_paddr;
    for (unsigned int i = 0; i < start->memmap_entries; i++)
        say_range("start info:", given[i].addr, given[i].size, given[i].type);
}

static int sums_to_zero(const uint8_t *bytes, uint32_t length)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < length; i++)
        sum += bytes[i];
    return sum == 0;
}

struct acpi_table { char signature[4]; uint32_t length; uint8_t rest[28]; } __attribute__((packed));

static void say_processors(const struct acpi_table *madt)
{
    unsigned int processors = 0;
    for (uint32_t at = 44; at + 2 <= madt->length;) {
        const uint8_t *entry = (const uint8_t *)madt + at;
        if (entry[0] == 0 && entry[4] & 1) {
            processors++;
            say_number("local APIC: ", entry[3]);
            say("\n");
        }
        at += entry[1] ? entry[1] : madt->length;
    }
    say_number("processors: ", processors);
    say("\n");
}

static void say_tables(const struct hvm_start_info *start)
{
    const uint8_t *rsdp = (void *)(uint32_t)start->rsdp_paddr;
    say_number("RSDP: ", start->rsdp_paddr);
    say("\n");
    if (!rsdp)
        return;
    say(sums_to_zero(rsdp, 20) && sums_to_zero(rsdp, 36) ? "RSDP is sound\n" : "RSDP is damaged\n");
    const struct acpi_table *xsdt = (void *)*(const uint32_t *)(rsdp + 24);
    for (uint32_t at = 36; at + 8 <= xsdt->length; at += 8) {
        const struct acpi_table *table = (void *)*(const uint32_t *)((const uint8_t *)xsdt + at);
        say("table ");
        for (int i = 0; i < 4; i++)
            put(table->signature[i]);
        say(sums_to_zero((const uint8_t *)table, table->length) ? "\n" : " is damaged\n");
        if (table->signature[0] == 'A' && table->signature[1] == 'P')
            say_processors(table);
    }
}

/* ---- The end --------------------------------------------------------------------------------------------- */

static int asked_for(const char *command_line, const char *word)
{
    for (; *command_line; command_line++) {
        const char *at = command_line, *wanted = word;
        while (*wanted && *at == *wanted)
            at++, wanted++;
        if (!*wanted)
            return 1;
    }
    return 0;
}

static void end(const char *command_line)
{
    struct sched_shutdown shutdown = { .reason = SHUTDOWN_poweroff };
    while (asked_for(command_line, "stay"))
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0);
    if (asked_for(command_line, "triple-fault")) {
        struct { uint16_t limit; uint32_t base; } __attribute__((packed)) nothing = { 0, 0 };
        asm volatile("lidt %0; ud2" : : "m"(nothing));
    }
    if (asked_for(command_line, "reboot"))
        shutdown.reason = SHUTDOWN_reboot;
    if (asked_for(command_line, "crash"))
        shutdown.reason = SHUTDOWN_crash;
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &shutdown);
}

static void say_value(const char *before, uint64_t number)
{
    say_number(before, number);
    say("\n");
}

/* What the toolstack says of the topology, and the page table that Xen needs on old processors: a guest may not ask where
 * it is, and so looks where chaos has it, in front of the ACPI tables. */
static void say_policy(const struct hvm_start_info *info)
{
    struct registers features = cpuid(1);
    say_value("multithreading: ", features.edx >> 28 & 1);
    say_value("ids of a package: ", features.ebx >> 16 & 0xff);
    say_value("invariant tsc: ", cpuid(0x80000007).edx >> 8 & 1);
    say_value("legacy multiprocessing: ", cpuid(0x80000001).ecx >> 1 & 1);
    const uint32_t *directory = (void *)((uint32_t)info->rsdp_paddr - 4096);
    say_value("identity page table: ", directory[0] == 0xe7 && directory[1023] == 0xffc000e7);
}

void start(const struct hvm_start_info *info)
{
    find_hypercalls();
    console = (void *)(uint32_t)(parameter(HVM_PARAM_CONSOLE_PFN) << 12);
    console_port = (uint32_t)parameter(HVM_PARAM_CONSOLE_EVTCHN);
    say("foreign: hello\n");
    say_memory_maps(info);
    say_tables(info);
    say_policy(info);
    say("foreign: done\n");
    end((const char *)(uint32_t)info->cmdline_paddr);
    for (;;)
        asm volatile("hlt");
}

/* No alignment before the note, as people write it: nothing promises that it starts at a multiple of four. */
asm(".pushsection .note.Xen, \"a\", @note\n"
    ".long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
    ".asciz \"Xen\"\n"
    ".long entry\n"
    ".popsection\n"
    ".globl entry\n"
    "entry: movl $stack_top, %esp\n"
    "pushl %ebx\n"
    "call start\n"
    ".pushsection .bss\n"
    ".balign 16\n"
    ".skip 16384\n"
    "stack_top:\n"
    ".popsection\n");
