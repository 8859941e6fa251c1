/*
 * The hypervisor's interfaces, through Xen's stable libraries (xencall, xendevicemodel, xenevtchn, xenforeignmemory):
 * one build speaks to every Xen from 4.17 on. What differs from release to release stands in one table in Control.c.
 *
 * Functions return 0 or a positive result on success; on failure they return a negative value and leave
 * the reason in errno, as the libraries do. Swift reads errno at once.
 */
#ifndef CXEN_H
#define CXEN_H

/* The public headers keep what only a toolstack sees from everybody else. */
#define __XEN_TOOLS__ 1

#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>
#include <xencall.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xentoollog.h>
#include <xen/xen.h>
#include <xen/memory.h>
#include <xen/version.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#include <xen/hvm/save.h>

/* ---- What a domain is up to (XEN_DOMINF_*, xen/include/public/domctl.h) ------------------------------------- */
static const uint32_t cxen_domain_dying = 1u << 0;
static const uint32_t cxen_domain_shutdown = 1u << 2;
static const uint32_t cxen_domain_paused = 1u << 3;
static const uint32_t cxen_domain_blocked = 1u << 4;
static const uint32_t cxen_domain_running = 1u << 5;

/* ---- Library handles ------------------------------------------------------------------------------- */
/* Their logger keeps the last message of the calling thread instead of printing. */
xendevicemodel_handle *cxen_devicemodel_open(void);
xenforeignmemory_handle *cxen_foreignmemory_open(void);
xencall_handle *cxen_call_open(void);
xenevtchn_handle *cxen_evtchn_fdopen(int fd);
/* The last message a Xen library logged on this thread, "" when none; reading it clears it. */
const char *cxen_take_message(void);

/* ---- Which interface of domctl and sysctl -------------------------------------------------------------- */
/* Xen says EACCES to every version but its own, and does not tell that. */
struct cxen_interface {
    /* XEN_DOMCTL_INTERFACE_VERSION. */
    uint32_t domctl;
    /* The releases that speak it. */
    const char *releases;
    /* Bytes between createdomain's grant_opts and vmtrace_size. */
    uint8_t altp2m_bytes;
    /* The domid that asks Xen for any. */
    uint16_t any_domain;
    /* Whether a Xen that speaks it has been tried; the others are held to the headers only. */
    uint8_t tested;
};
/* In the order of their versions. */
const struct cxen_interface *cxen_interfaces_start(void);
extern const size_t cxen_interfaces_count;
const uint32_t *cxen_sysctl_versions_start(void);
extern const size_t cxen_sysctl_versions_count;

/* What makes domctls and sysctls. Borrows call. Speaks nothing until it is told what. */
struct cxen_control;
struct cxen_control *cxen_control_new(xencall_handle *call);
void cxen_control_free(struct cxen_control *control);
void cxen_control_speak(struct cxen_control *control, struct cxen_interface interface, uint32_t sysctl);
/* Calls that read and change nothing (getdomaininfo of domain 0, physinfo). */
int cxen_probe_domctl(struct cxen_control *control, uint32_t version);
int cxen_probe_sysctl(struct cxen_control *control, uint32_t version);

/* ---- Domains (domctl, sysctl) ---------------------------------------------------------------------------- */
struct cxen_domain_limits {
    uint8_t handle[16];
    uint32_t max_vcpus;
    uint32_t max_event_channel_port;
    int32_t max_grant_frames;
};
/* Creates an HVM domain with hardware-assisted paging and an emulated local APIC, nothing else emulated
 * (what a PVH guest has). Returns the new domid. */
int cxen_domain_create(struct cxen_control *control, const struct cxen_domain_limits *limits);
int cxen_domain_destroy(struct cxen_control *control, uint16_t domain);
int cxen_domain_pause(struct cxen_control *control, uint16_t domain);
int cxen_domain_unpause(struct cxen_control *control, uint16_t domain);
/* handle: 16 bytes. */
int cxen_domain_set_handle(struct cxen_control *control, uint16_t domain, const uint8_t *handle);
int cxen_domain_set_max_memory(struct cxen_control *control, uint16_t domain, uint64_t kibibytes);
int cxen_domain_set_paging_pool(struct cxen_control *control, uint16_t domain, uint64_t bytes);
int cxen_domain_set_max_vcpus(struct cxen_control *control, uint16_t domain, uint32_t count);

struct cxen_domain_info {
    uint16_t domain;
    uint32_t flags;
    uint64_t pages, max_pages;
    /* Nanoseconds. */
    uint64_t cpu_time;
    /* The guest frame that shows shared_info; beyond any guest's memory where none does. */
    uint64_t shared_info_frame;
    uint8_t handle[16];
};
/* Up to limit domains from first on, in the order of their numbers; returns how many. */
int cxen_domain_list(struct cxen_control *control, uint16_t first, uint32_t limit, struct cxen_domain_info *out);

/* Sets a domain's weight under the credit2 scheduler and keeps its cap (XEN_DOMCTL_scheduler_op). */
int cxen_set_credit2_weight(struct cxen_control *control, uint16_t domain, uint16_t weight);
/* Sets both; cap is in percent of one processor, 0 for none. */
int cxen_set_credit2(struct cxen_control *control, uint16_t domain, uint16_t weight, uint16_t cap);
/* Pins a vCPU to physical processors (XEN_DOMCTL_setvcpuaffinity, hard). EINVAL for one that this host cannot have. */
int cxen_set_affinity(struct cxen_control *control, uint16_t domain, uint32_t vcpu, const uint32_t *cpus,
                      size_t count);

struct cxen_host_info {
    uint32_t cpus, max_cpu_id;
    uint64_t total_pages, free_pages;
};
int cxen_host_info(struct cxen_control *control, struct cxen_host_info *out);

/* The domain's HVM context (xen/arch-x86/hvm/save.h). With a size of 0 the length that it may have. */
int cxen_get_context(struct cxen_control *control, uint16_t domain, uint8_t *out, uint32_t size);
int cxen_set_context(struct cxen_control *control, uint16_t domain, const uint8_t *context, uint32_t size);

/* What a vCPU does, in the form that dumps have (vcpu_guest_context_t, xen/include/public/arch-x86/xen.h): writes
 * CXEN_VCPU_CONTEXT_BYTES. ESRCH where there is no such vCPU, ENODATA where it never ran. */
enum { CXEN_VCPU_CONTEXT_BYTES = sizeof(vcpu_guest_context_t) };
int cxen_get_vcpu_context(struct cxen_control *control, uint16_t domain, uint32_t vcpu, uint8_t *out);

/* A CPUID leaf of a domain (xen_cpuid_leaf_t, xen/include/public/arch-x86/xen.h). A leaf without subleaves has the
 * subleaf cxen_no_subleaf (XEN_CPUID_NO_SUBLEAF). */
struct cxen_cpuid_leaf {
    uint32_t leaf, subleaf;
    uint32_t a, b, c, d;
};
static const uint32_t cxen_no_subleaf = 0xffffffffu;
/* What CPUID tells a domain (XEN_DOMCTL_get_cpu_policy). Returns how many leaves there are; ENOBUFS when that is more
 * than count. */
int cxen_get_cpu_policy(struct cxen_control *control, uint16_t domain, struct cxen_cpuid_leaf *out, uint32_t count);
/* Replaces these leaves (XEN_DOMCTL_set_cpu_policy), before the domain first runs. */
int cxen_set_cpu_policy(struct cxen_control *control, uint16_t domain, const struct cxen_cpuid_leaf *leaves,
                        uint32_t count);
/* Xen's choice of how the domain reads the TSC, with time starting now on all its vCPUs (XEN_DOMCTL_settscinfo,
 * XEN_CPUID_TSC_MODE_DEFAULT). */
int cxen_set_tsc_default(struct cxen_control *control, uint16_t domain);

/* ---- Memory, ports, parameters, version (stable) --------------------------------------------------------- */
/* Gives memory at all extents, each 2^order frames long. ENOMEM when Xen has not enough for all. */
int cxen_populate(xencall_handle *call, uint16_t domain, const uint64_t *extents, size_t count, uint32_t order);
/* space: XENMAPSPACE_*. */
int cxen_add_to_physmap(xencall_handle *call, uint16_t domain, uint32_t space, uint64_t index, uint64_t frame);
/* An entry of the e820 table, as the BIOS call gives it. */
struct cxen_memory_range {
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));
/* What XENMEM_memory_map tells the domain. */
int cxen_set_memory_map(xencall_handle *call, uint16_t domain, const struct cxen_memory_range *ranges, size_t count);
/* HVMOP_get_mem_type. Returns hvmmem_type_t or -1. */
int cxen_mem_type(xencall_handle *call, uint16_t domain, uint64_t frame);
static const int cxen_mem_type_ram_ro = HVMMEM_ram_ro;
/* Allocates the domain's lowest free port for dom0 to bind; returns it. */
int cxen_allocate_port(xencall_handle *call, uint16_t domain);
/* index: HVM_PARAM_*. */
int cxen_set_parameter(xencall_handle *call, uint16_t domain, uint32_t index, uint64_t value);
/* The running hypervisor's version (major << 16 | minor), its extra version and its capabilities. */
int cxen_version(xencall_handle *call);
int cxen_version_extra(xencall_handle *call, char *out, size_t size);
int cxen_version_capabilities(xencall_handle *call, char *out, size_t size);
/* What Xen says of itself in a dump of a domain: struct xen_dumpcore_elfnote_xen_version_desc of
 * tools/libs/guest/xg_core.h, which docs/misc/dump-core-format.txt describes. */
struct cxen_version_description {
    uint64_t major, minor;
    xen_extraversion_t extra;
    xen_compile_info_t compile_info;
    xen_capabilities_info_t capabilities;
    xen_changeset_info_t changeset;
    xen_platform_parameters_t platform;
    uint64_t page_size;
};
int cxen_describe_version(xencall_handle *call, struct cxen_version_description *out);

/* ---- vCPU context ------------------------------------------------------------------------------------ */
/* The records of a Xen HVM context that start one vCPU (xen/arch-x86/hvm/save.h), in stream order. */
struct cxen_vcpu_context {
    struct hvm_save_descriptor header_descriptor;
    struct hvm_save_header header;
    struct hvm_save_descriptor mtrr_descriptor;
    struct hvm_hw_mtrr mtrr;
    struct hvm_save_descriptor cpu_descriptor;
    struct hvm_hw_cpu cpu;
    struct hvm_save_descriptor end_descriptor;
} __attribute__((packed));
/* The state of a vCPU in a context, from a position on, which is moved behind it. Returns its number; -1 with ENOENT when
 * there is none any more, with EINVAL for what is no context. */
int cxen_next_vcpu(const uint8_t *context, size_t length, size_t *position, struct hvm_hw_cpu *out);
/* Fills the descriptors and takes HEADER and MTRR from a context that cxen_hvm_context read.
 * Returns -1 with EINVAL when a record is missing or has another length. */
int cxen_vcpu_context_init(struct cxen_vcpu_context *out, const uint8_t *context, size_t length);

/* ---- Descriptors restricted to one domain ------------------------------------------------------------ */
/* IOCTL_PRIVCMD_RESTRICT on an open /dev/xen/privcmd. */
int cxen_privcmd_restrict(int fd, uint16_t domid);
/* IOCTL_EVTCHN_RESTRICT_DOMID on an open /dev/xen/evtchn. */
int cxen_evtchn_restrict_fd(int fd, uint16_t domid);
/* IOCTL_PRIVCMD_MMAPBATCH_V2: maps count frames of domid at address, which was mmapped from fd. */
int cxen_privcmd_map(int fd, uint16_t domid, void *address, const xen_pfn_t *frames, int *errors,
                     unsigned int count);

/* ---- For the tests ------------------------------------------------------------------------------------------ */
/* A member of the structures that domctls and sysctls are made of, by its name in Xen's headers. */
struct cxen_member {
    const char *name;
    size_t offset, size;
};
const struct cxen_member *cxen_members_start(void);
extern const size_t cxen_members_count;
/* The domctl that creates a domain, CXEN_DOMCTL_BYTES of it. */
enum { CXEN_DOMCTL_BYTES = 144 };
void cxen_encode_create_bytes(const struct cxen_interface *interface, const struct cxen_domain_limits *limits,
                              uint8_t *out);

#endif
