/* domctl and sysctl through libxencall, in the interface that the running Xen speaks. */
#include "cxen.h"
#include "hypercall.h"
#include "interface.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xen/xen.h>

/* ---- Which interface -------------------------------------------------------------------------------------- */

static const struct cxen_interface interfaces[] = {
    /* xen.git 92ea9c54fc; libxen-dev 4.17. A domid of 0 asks Xen for one. */
    { .domctl = 0x15, .releases = "4.17", .altp2m_bytes = 0, .any_domain = 0, .tested = 1 },
    /* xen.git bdb1184d4f: for Arm's sake, x86 as before. */
    { .domctl = 0x16, .releases = "4.18", .altp2m_bytes = 0, .any_domain = 0, .tested = 0 },
    /* xen.git 4c733873b5, 0291089f6e (altp2m_opts); libxen-dev 4.20. */
    { .domctl = 0x17, .releases = "4.19 to 4.21", .altp2m_bytes = 4, .any_domain = 0, .tested = 1 },
    /* xen.git 1afacf7b15, 23e2479ff9: DOMID_ANY asks for a domid. */
    { .domctl = 0x18, .releases = "4.22", .altp2m_bytes = 4, .any_domain = 0x7ff5, .tested = 0 },
};
const size_t cxen_interfaces_count = sizeof interfaces / sizeof *interfaces;
const struct cxen_interface *cxen_interfaces_start(void) { return interfaces; }

/* xen.git 6b2b9b3405 (4.17 to 4.20), 4c3ce492ed (4.21 and 4.22: live patches, nothing else). */
static const uint32_t sysctl_versions[] = { 0x15, 0x16 };
const size_t cxen_sysctl_versions_count = sizeof sysctl_versions / sizeof *sysctl_versions;
const uint32_t *cxen_sysctl_versions_start(void) { return sysctl_versions; }

struct cxen_control {
    xencall_handle *call;
    struct cxen_interface interface;
    uint32_t sysctl;
};

struct cxen_control *cxen_control_new(xencall_handle *call)
{
    struct cxen_control *control = calloc(1, sizeof *control);
    if (control)
        control->call = call;
    return control;
}

void cxen_control_free(struct cxen_control *control) { free(control); }

void cxen_control_speak(struct cxen_control *control, struct cxen_interface interface, uint32_t sysctl)
{
    control->interface = interface;
    control->sysctl = sysctl;
}

/* ---- Calls ------------------------------------------------------------------------------------------------ */

static struct domctl domctl_of(const struct cxen_control *control, uint32_t command, uint16_t domain)
{
    struct domctl op;
    memset(&op, 0, sizeof op);
    op.command = command;
    op.version = control->interface.domctl;
    op.domain = domain;
    return op;
}

static struct sysctl sysctl_of(const struct cxen_control *control, uint32_t command)
{
    struct sysctl op;
    memset(&op, 0, sizeof op);
    op.command = command;
    op.version = control->sysctl;
    return op;
}

/* Makes a hypercall whose one argument is a structure that Xen reads and writes. */
static int make(struct cxen_control *control, unsigned int hypercall, void *op, size_t size)
{
    void *buffer = xencall_alloc_buffer(control->call, size);
    if (!buffer)
        return -1;
    memcpy(buffer, op, size);
    int result = xencall1(control->call, hypercall, (unsigned long)buffer);
    memcpy(op, buffer, size);
    release_buffer(control->call, buffer);
    return result;
}

static int make_domctl(struct cxen_control *control, struct domctl *op)
{
    return make(control, __HYPERVISOR_domctl, op, sizeof *op);
}

static int make_sysctl(struct cxen_control *control, struct sysctl *op)
{
    return make(control, __HYPERVISOR_sysctl, op, sizeof *op);
}

int cxen_probe_domctl(struct cxen_control *control, uint32_t version)
{
    struct domctl op = domctl_of(control, DOMCTL_GETDOMAININFO, 0);
    op.version = version;
    return make_domctl(control, &op);
}

int cxen_probe_sysctl(struct cxen_control *control, uint32_t version)
{
    struct sysctl op = sysctl_of(control, SYSCTL_PHYSINFO);
    op.version = version;
    return make_sysctl(control, &op);
}

/* ---- Domains ---------------------------------------------------------------------------------------------- */

static void encode_create(const struct cxen_interface *interface, const struct cxen_domain_limits *limits,
                          struct domctl *op)
{
    struct createdomain_head head = {
        .flags = CREATEDOMAIN_HVM | CREATEDOMAIN_HAP,
        .max_vcpus = limits->max_vcpus,
        .max_evtchn_port = limits->max_event_channel_port,
        .max_grant_frames = limits->max_grant_frames,
        .max_maptrack_frames = 0,
        .grant_opts = CREATEDOMAIN_GRANT_VERSION_1,
    };
    struct createdomain_tail tail = { .emulation_flags = EMULATE_LAPIC };
    memcpy(head.handle, limits->handle, sizeof head.handle);
    memset(op, 0, sizeof *op);
    op->command = DOMCTL_CREATEDOMAIN;
    op->version = interface->domctl;
    op->domain = interface->any_domain;
    memcpy(op->u.bytes, &head, sizeof head);
    memcpy(op->u.bytes + sizeof head + interface->altp2m_bytes, &tail, sizeof tail);
}

int cxen_domain_create(struct cxen_control *control, const struct cxen_domain_limits *limits)
{
    struct domctl op;
    encode_create(&control->interface, limits, &op);
    int result = make_domctl(control, &op);
    return result < 0 ? result : op.domain;
}

static int plain_domctl(struct cxen_control *control, uint32_t command, uint16_t domain)
{
    struct domctl op = domctl_of(control, command, domain);
    return make_domctl(control, &op);
}

int cxen_domain_destroy(struct cxen_control *control, uint16_t domain)
{
    return plain_domctl(control, DOMCTL_DESTROYDOMAIN, domain);
}

int cxen_domain_pause(struct cxen_control *control, uint16_t domain)
{
    return plain_domctl(control, DOMCTL_PAUSEDOMAIN, domain);
}

int cxen_domain_unpause(struct cxen_control *control, uint16_t domain)
{
    return plain_domctl(control, DOMCTL_UNPAUSEDOMAIN, domain);
}

int cxen_domain_set_handle(struct cxen_control *control, uint16_t domain, const uint8_t *handle)
{
    struct domctl op = domctl_of(control, DOMCTL_SETDOMAINHANDLE, domain);
    memcpy(op.u.handle, handle, sizeof op.u.handle);
    return make_domctl(control, &op);
}

int cxen_domain_set_max_memory(struct cxen_control *control, uint16_t domain, uint64_t kibibytes)
{
    struct domctl op = domctl_of(control, DOMCTL_MAX_MEM, domain);
    op.u.max_memory_kib = kibibytes;
    return make_domctl(control, &op);
}

int cxen_domain_set_paging_pool(struct cxen_control *control, uint16_t domain, uint64_t bytes)
{
    struct domctl op = domctl_of(control, DOMCTL_SET_PAGING_MEMPOOL_SIZE, domain);
    op.u.paging_pool_bytes = bytes;
    return make_domctl(control, &op);
}

int cxen_domain_set_max_vcpus(struct cxen_control *control, uint16_t domain, uint32_t count)
{
    struct domctl op = domctl_of(control, DOMCTL_MAX_VCPUS, domain);
    op.u.max_vcpus = count;
    return make_domctl(control, &op);
}

int cxen_domain_list(struct cxen_control *control, uint16_t first, uint32_t limit, struct cxen_domain_info *out)
{
    struct domaininfo *found = xencall_alloc_buffer(control->call, limit * sizeof *found);
    if (!found)
        return -1;
    struct sysctl op = sysctl_of(control, SYSCTL_GETDOMAININFOLIST);
    op.u.list.first_domain = first;
    op.u.list.max_domains = limit;
    op.u.list.address = (uintptr_t)found;
    int result = make_sysctl(control, &op);
    if (result >= 0)
        result = (int)(op.u.list.num_domains < limit ? op.u.list.num_domains : limit);
    for (int i = 0; i < result; i++) {
        out[i] = (struct cxen_domain_info){
            .domain = found[i].domain, .flags = found[i].flags, .pages = found[i].tot_pages,
            .max_pages = found[i].max_pages, .cpu_time = found[i].cpu_time,
            .shared_info_frame = found[i].shared_info_frame };
        memcpy(out[i].handle, found[i].handle, sizeof out[i].handle);
    }
    release_buffer(control->call, found);
    return result;
}

/* ---- Scheduling ------------------------------------------------------------------------------------------- */

static int credit2(struct cxen_control *control, uint16_t domain, uint32_t command, struct scheduler_op *parameters)
{
    struct domctl op = domctl_of(control, DOMCTL_SCHEDULER_OP, domain);
    op.u.scheduler = *parameters;
    op.u.scheduler.scheduler = SCHEDULER_CREDIT2;
    op.u.scheduler.command = command;
    int result = make_domctl(control, &op);
    *parameters = op.u.scheduler;
    return result;
}

int cxen_set_credit2_weight(struct cxen_control *control, uint16_t domain, uint16_t weight)
{
    struct scheduler_op parameters = { 0 };
    int result = credit2(control, domain, SCHEDULER_GET, &parameters);
    if (result < 0)
        return result;
    parameters.weight = weight;
    return credit2(control, domain, SCHEDULER_PUT, &parameters);
}

int cxen_set_credit2(struct cxen_control *control, uint16_t domain, uint16_t weight, uint16_t cap)
{
    struct scheduler_op parameters = { .weight = weight, .cap = cap };
    return credit2(control, domain, SCHEDULER_PUT, &parameters);
}

static int fill_bitmap(uint8_t *bitmap, size_t bits, const uint32_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] >= bits) {
            errno = EINVAL;
            return -1;
        }
        bitmap[numbers[i] / 8] |= (uint8_t)(1u << (numbers[i] % 8));
    }
    return 0;
}

int cxen_set_affinity(struct cxen_control *control, uint16_t domain, uint32_t vcpu, const uint32_t *cpus,
                      size_t count)
{
    struct cxen_host_info host;
    int result = cxen_host_info(control, &host);
    if (result < 0)
        return result;
    size_t bits = (size_t)host.max_cpu_id + 1;
    uint8_t *bitmap = xencall_alloc_buffer(control->call, (bits + 63) / 64 * 8);
    if (!bitmap)
        return -1;
    memset(bitmap, 0, (bits + 63) / 64 * 8);
    result = fill_bitmap(bitmap, bits, cpus, count);
    if (result == 0) {
        struct domctl op = domctl_of(control, DOMCTL_SETVCPUAFFINITY, domain);
        op.u.affinity.vcpu = vcpu;
        op.u.affinity.flags = VCPUAFFINITY_HARD;
        op.u.affinity.hard = (struct bitmap){ .address = (uintptr_t)bitmap, .bits = (uint32_t)bits };
        result = make_domctl(control, &op);
    }
    release_buffer(control->call, bitmap);
    return result;
}

/* ---- Host ------------------------------------------------------------------------------------------------- */

int cxen_host_info(struct cxen_control *control, struct cxen_host_info *out)
{
    struct sysctl op = sysctl_of(control, SYSCTL_PHYSINFO);
    int result = make_sysctl(control, &op);
    if (result >= 0)
        *out = (struct cxen_host_info){
            .cpus = op.u.physinfo.nr_cpus, .max_cpu_id = op.u.physinfo.max_cpu_id,
            .total_pages = op.u.physinfo.total_pages, .free_pages = op.u.physinfo.free_pages };
    return result;
}

/* ---- HVM context ------------------------------------------------------------------------------------------ */

static int transfer_context(struct cxen_control *control, uint32_t command, uint16_t domain, void *buffer,
                            uint32_t size)
{
    struct domctl op = domctl_of(control, command, domain);
    op.u.context.size = size;
    op.u.context.address = (uintptr_t)buffer;
    int result = make_domctl(control, &op);
    return result < 0 ? result : (int)op.u.context.size;
}

int cxen_get_context(struct cxen_control *control, uint16_t domain, uint8_t *out, uint32_t size)
{
    if (size == 0)
        return transfer_context(control, DOMCTL_GETHVMCONTEXT, domain, NULL, 0);
    void *buffer = xencall_alloc_buffer(control->call, size);
    if (!buffer)
        return -1;
    int length = transfer_context(control, DOMCTL_GETHVMCONTEXT, domain, buffer, size);
    if (length >= 0)
        memcpy(out, buffer, (uint32_t)length < size ? (uint32_t)length : size);
    release_buffer(control->call, buffer);
    return length;
}

int cxen_set_context(struct cxen_control *control, uint16_t domain, const uint8_t *context, uint32_t size)
{
    void *buffer = xencall_alloc_buffer(control->call, size);
    if (!buffer)
        return -1;
    memcpy(buffer, context, size);
    int result = transfer_context(control, DOMCTL_SETHVMCONTEXT, domain, buffer, size);
    release_buffer(control->call, buffer);
    return result < 0 ? result : 0;
}

int cxen_get_vcpu_context(struct cxen_control *control, uint16_t domain, uint32_t vcpu, uint8_t *out)
{
    vcpu_guest_context_t *buffer = xencall_alloc_buffer(control->call, sizeof *buffer);
    if (!buffer)
        return -1;
    struct domctl op = domctl_of(control, DOMCTL_GETVCPUCONTEXT, domain);
    op.u.vcpu_context.vcpu = vcpu;
    op.u.vcpu_context.address = (uintptr_t)buffer;
    int result = make_domctl(control, &op);
    if (result >= 0)
        memcpy(out, buffer, sizeof *buffer);
    release_buffer(control->call, buffer);
    return result;
}

/* ---- CPU policy and time ------------------------------------------------------------------------------------ */

/* leaves is a hypercall buffer. */
static int transfer_policy(struct cxen_control *control, uint32_t command, uint16_t domain,
                           struct cxen_cpuid_leaf *leaves, uint32_t count)
{
    struct domctl op = domctl_of(control, command, domain);
    op.u.policy.nr_leaves = count;
    op.u.policy.leaves = (uintptr_t)leaves;
    int result = make_domctl(control, &op);
    return result < 0 ? result : (int)op.u.policy.nr_leaves;
}

int cxen_get_cpu_policy(struct cxen_control *control, uint16_t domain, struct cxen_cpuid_leaf *out, uint32_t count)
{
    struct cxen_cpuid_leaf *leaves = xencall_alloc_buffer(control->call, count * sizeof *leaves);
    if (!leaves)
        return -1;
    int result = transfer_policy(control, DOMCTL_GET_CPU_POLICY, domain, leaves, count);
    if (result > 0)
        memcpy(out, leaves, ((uint32_t)result < count ? (uint32_t)result : count) * sizeof *leaves);
    release_buffer(control->call, leaves);
    return result;
}

int cxen_set_cpu_policy(struct cxen_control *control, uint16_t domain, const struct cxen_cpuid_leaf *leaves,
                        uint32_t count)
{
    struct cxen_cpuid_leaf *buffer = xencall_alloc_buffer(control->call, count * sizeof *buffer);
    if (!buffer)
        return -1;
    memcpy(buffer, leaves, count * sizeof *buffer);
    int result = transfer_policy(control, DOMCTL_SET_CPU_POLICY, domain, buffer, count);
    release_buffer(control->call, buffer);
    return result < 0 ? result : 0;
}

int cxen_set_tsc_default(struct cxen_control *control, uint16_t domain)
{
    /* All zeroes: the mode, and that the rest is Xen's to choose. */
    struct domctl op = domctl_of(control, DOMCTL_SETTSCINFO, domain);
    return make_domctl(control, &op);
}

/* ---- For the tests ---------------------------------------------------------------------------------------- */

#define MEMBER(ours, member, theirs) { theirs, offsetof(struct ours, member), sizeof(((struct ours *)0)->member) }

static const struct cxen_member members[] = {
    MEMBER(domctl, command, "xen_domctl.cmd"),
    MEMBER(domctl, version, "xen_domctl.interface_version"),
    MEMBER(domctl, domain, "xen_domctl.domain"),
    MEMBER(domctl, u, "xen_domctl.u"),
    MEMBER(sysctl, command, "xen_sysctl.cmd"),
    MEMBER(sysctl, version, "xen_sysctl.interface_version"),
    MEMBER(sysctl, u, "xen_sysctl.u"),
    MEMBER(domaininfo, domain, "xen_domctl_getdomaininfo.domain"),
    MEMBER(domaininfo, flags, "xen_domctl_getdomaininfo.flags"),
    MEMBER(domaininfo, tot_pages, "xen_domctl_getdomaininfo.tot_pages"),
    MEMBER(domaininfo, max_pages, "xen_domctl_getdomaininfo.max_pages"),
    MEMBER(domaininfo, cpu_time, "xen_domctl_getdomaininfo.cpu_time"),
    MEMBER(domaininfo, shared_info_frame, "xen_domctl_getdomaininfo.shared_info_frame"),
    MEMBER(domaininfo, handle, "xen_domctl_getdomaininfo.handle"),
    { "xen_domctl_getdomaininfo", 0, sizeof(struct domaininfo) },
    MEMBER(createdomain_head, handle, "xen_domctl_createdomain.handle"),
    MEMBER(createdomain_head, flags, "xen_domctl_createdomain.flags"),
    MEMBER(createdomain_head, max_vcpus, "xen_domctl_createdomain.max_vcpus"),
    MEMBER(createdomain_head, max_evtchn_port, "xen_domctl_createdomain.max_evtchn_port"),
    MEMBER(createdomain_head, max_grant_frames, "xen_domctl_createdomain.max_grant_frames"),
    MEMBER(createdomain_head, max_maptrack_frames, "xen_domctl_createdomain.max_maptrack_frames"),
    MEMBER(createdomain_head, grant_opts, "xen_domctl_createdomain.grant_opts"),
    MEMBER(vcpuaffinity, vcpu, "xen_domctl_vcpuaffinity.vcpu"),
    MEMBER(vcpuaffinity, flags, "xen_domctl_vcpuaffinity.flags"),
    MEMBER(vcpuaffinity, hard, "xen_domctl_vcpuaffinity.cpumap_hard"),
    MEMBER(scheduler_op, scheduler, "xen_domctl_scheduler_op.sched_id"),
    MEMBER(scheduler_op, command, "xen_domctl_scheduler_op.cmd"),
    MEMBER(scheduler_op, weight, "xen_domctl_scheduler_op.u.credit2.weight"),
    MEMBER(scheduler_op, cap, "xen_domctl_scheduler_op.u.credit2.cap"),
    MEMBER(hvmcontext, size, "xen_domctl_hvmcontext.size"),
    MEMBER(hvmcontext, address, "xen_domctl_hvmcontext.buffer"),
    MEMBER(vcpucontext, vcpu, "xen_domctl_vcpucontext.vcpu"),
    MEMBER(vcpucontext, address, "xen_domctl_vcpucontext.ctxt"),
    MEMBER(cpu_policy, nr_leaves, "xen_domctl_cpu_policy.nr_leaves"),
    MEMBER(cpu_policy, nr_msrs, "xen_domctl_cpu_policy.nr_msrs"),
    MEMBER(cpu_policy, leaves, "xen_domctl_cpu_policy.leaves"),
    MEMBER(cpu_policy, msrs, "xen_domctl_cpu_policy.msrs"),
    MEMBER(cxen_cpuid_leaf, leaf, "xen_cpuid_leaf.leaf"),
    MEMBER(cxen_cpuid_leaf, subleaf, "xen_cpuid_leaf.subleaf"),
    MEMBER(cxen_cpuid_leaf, a, "xen_cpuid_leaf.a"),
    MEMBER(cxen_cpuid_leaf, d, "xen_cpuid_leaf.d"),
    { "xen_cpuid_leaf", 0, sizeof(struct cxen_cpuid_leaf) },
    MEMBER(tsc_info, tsc_mode, "xen_domctl_tsc_info.tsc_mode"),
    MEMBER(tsc_info, gtsc_khz, "xen_domctl_tsc_info.gtsc_khz"),
    MEMBER(tsc_info, incarnation, "xen_domctl_tsc_info.incarnation"),
    MEMBER(tsc_info, elapsed_nsec, "xen_domctl_tsc_info.elapsed_nsec"),
    MEMBER(physinfo, nr_cpus, "xen_sysctl_physinfo.nr_cpus"),
    MEMBER(physinfo, max_cpu_id, "xen_sysctl_physinfo.max_cpu_id"),
    MEMBER(physinfo, total_pages, "xen_sysctl_physinfo.total_pages"),
    MEMBER(physinfo, free_pages, "xen_sysctl_physinfo.free_pages"),
    MEMBER(getdomaininfolist, first_domain, "xen_sysctl_getdomaininfolist.first_domain"),
    MEMBER(getdomaininfolist, max_domains, "xen_sysctl_getdomaininfolist.max_domains"),
    MEMBER(getdomaininfolist, address, "xen_sysctl_getdomaininfolist.buffer"),
    MEMBER(getdomaininfolist, num_domains, "xen_sysctl_getdomaininfolist.num_domains"),
};
const size_t cxen_members_count = sizeof members / sizeof *members;
const struct cxen_member *cxen_members_start(void) { return members; }

void cxen_encode_create_bytes(const struct cxen_interface *interface, const struct cxen_domain_limits *limits,
                              uint8_t *out)
{
    struct domctl op;
    encode_create(interface, limits, &op);
    memcpy(out, &op, sizeof op);
}
