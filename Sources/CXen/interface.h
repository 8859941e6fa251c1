/*
 * The layouts of the domctl and sysctl interface (xen/include/public/{domctl,sysctl}.h), as far as chaos speaks it.
 *
 * Written out here and not taken from the headers that happen to be installed: Xen changes the interface from release
 * to release, and one build has to speak them all. Whatever a structure does not say otherwise is the same from Xen
 * 4.17 to 4.22. Tests/XenTests/Layouts holds them to the headers of several releases.
 */
#ifndef CXEN_INTERFACE_H
#define CXEN_INTERFACE_H

#include <stdint.h>
#include <stddef.h>

/* ---- Numbers of the operations; they have never changed ---------------------------------------------- */
enum {
    DOMCTL_CREATEDOMAIN = 1,
    DOMCTL_DESTROYDOMAIN = 2,
    DOMCTL_PAUSEDOMAIN = 3,
    DOMCTL_UNPAUSEDOMAIN = 4,
    DOMCTL_GETDOMAININFO = 5,
    DOMCTL_SETVCPUAFFINITY = 9,
    DOMCTL_MAX_MEM = 11,
    DOMCTL_GETVCPUCONTEXT = 13,
    DOMCTL_MAX_VCPUS = 15,
    DOMCTL_SCHEDULER_OP = 16,
    DOMCTL_SETDOMAINHANDLE = 17,
    DOMCTL_GETHVMCONTEXT = 33,
    DOMCTL_SETHVMCONTEXT = 34,
    DOMCTL_SETTSCINFO = 60,
    DOMCTL_GET_CPU_POLICY = 82,
    DOMCTL_SET_CPU_POLICY = 83,
    DOMCTL_SET_PAGING_MEMPOOL_SIZE = 86,
    SYSCTL_PHYSINFO = 3,
    SYSCTL_GETDOMAININFOLIST = 6,
};

/* ---- domctl --------------------------------------------------------------------------------------------- */

/* The head of struct xen_domctl_createdomain, up to grant_opts. What follows differs: struct createdomain_tail, after
 * the altp2m word that domctl 0x17 put between. */
struct createdomain_head {
    uint32_t ssidref;
    uint8_t handle[16];
    uint32_t flags;
    uint32_t iommu_opts;
    uint32_t max_vcpus;
    uint32_t max_evtchn_port;
    int32_t max_grant_frames;
    int32_t max_maptrack_frames;
    uint32_t grant_opts;
};

struct createdomain_tail {
    uint32_t vmtrace_size;
    uint32_t cpupool_id;
    uint32_t emulation_flags;
    uint32_t misc_flags;
};

enum {
    CREATEDOMAIN_HVM = 1 << 0,
    CREATEDOMAIN_HAP = 1 << 1,
    CREATEDOMAIN_GRANT_VERSION_1 = 1,
    EMULATE_LAPIC = 1 << 0,
};

/* struct xen_domctl_getdomaininfo, which the domain list has too. */
struct domaininfo {
    uint16_t domain;
    uint16_t pad1;
    uint32_t flags;
    uint64_t tot_pages;
    uint64_t max_pages;
    uint64_t outstanding_pages;
    uint64_t shr_pages;
    uint64_t paged_pages;
    uint64_t shared_info_frame;
    uint64_t cpu_time;
    uint32_t nr_online_vcpus;
    uint32_t max_vcpu_id;
    uint32_t ssidref;
    uint8_t handle[16];
    uint32_t cpupool;
    uint8_t gpaddr_bits;
    uint8_t pad2[7];
    uint32_t emulation_flags;
    uint32_t misc_flags;
};

/* struct xenctl_bitmap. */
struct bitmap {
    uint64_t address;
    uint32_t bits;
    uint32_t pad;
};

/* struct xen_domctl_vcpuaffinity. */
struct vcpuaffinity {
    uint32_t vcpu;
    uint32_t flags;
    struct bitmap hard;
    struct bitmap soft;
};
enum { VCPUAFFINITY_HARD = 1 << 0 };

/* struct xen_domctl_scheduler_op, of which only credit2's parameters. */
struct scheduler_op {
    uint32_t scheduler;
    uint32_t command;
    uint16_t weight;
    uint16_t cap;
    uint32_t rest[3];
};
enum { SCHEDULER_CREDIT2 = 6, SCHEDULER_PUT = 0, SCHEDULER_GET = 1 };

/* struct xen_domctl_hvmcontext. */
struct hvmcontext {
    uint32_t size;
    uint32_t pad;
    uint64_t address;
};

/* struct xen_domctl_vcpucontext. */
struct vcpucontext {
    uint32_t vcpu;
    uint32_t pad;
    uint64_t address;
};

/* struct xen_domctl_cpu_policy. */
struct cpu_policy {
    uint32_t nr_leaves;
    uint32_t nr_msrs;
    uint64_t leaves;
    uint64_t msrs;
    uint32_t err_leaf;
    uint32_t err_subleaf;
    uint32_t err_msr;
};

/* struct xen_domctl_tsc_info. */
struct tsc_info {
    uint32_t tsc_mode;
    uint32_t gtsc_khz;
    uint32_t incarnation;
    uint32_t pad;
    uint64_t elapsed_nsec;
};

/* struct xen_domctl. */
struct domctl {
    uint32_t command;
    uint32_t version;
    uint16_t domain;
    uint16_t pad[3];
    union {
        uint8_t bytes[128];
        struct createdomain_head create;
        struct domaininfo info;
        struct vcpuaffinity affinity;
        struct scheduler_op scheduler;
        struct hvmcontext context;
        struct vcpucontext vcpu_context;
        struct cpu_policy policy;
        struct tsc_info tsc;
        uint64_t max_memory_kib;
        uint64_t paging_pool_bytes;
        uint32_t max_vcpus;
        uint8_t handle[16];
    } u;
};

/* ---- sysctl --------------------------------------------------------------------------------------------- */

/* struct xen_sysctl_physinfo. */
struct physinfo {
    uint32_t threads_per_core;
    uint32_t cores_per_socket;
    uint32_t nr_cpus;
    uint32_t max_cpu_id;
    uint32_t nr_nodes;
    uint32_t max_node_id;
    uint32_t cpu_khz;
    uint32_t capabilities;
    uint32_t arch_capabilities;
    uint32_t pad;
    uint64_t total_pages;
    uint64_t free_pages;
    uint64_t scrub_pages;
    uint64_t outstanding_pages;
    uint64_t max_mfn;
    uint32_t hw_cap[8];
};

/* struct xen_sysctl_getdomaininfolist. */
struct getdomaininfolist {
    uint16_t first_domain;
    uint16_t pad;
    uint32_t max_domains;
    uint64_t address;
    uint32_t num_domains;
    uint32_t pad2;
};

/* struct xen_sysctl. */
struct sysctl {
    uint32_t command;
    uint32_t version;
    union {
        uint8_t bytes[128];
        struct physinfo physinfo;
        struct getdomaininfolist list;
    } u;
};

_Static_assert(sizeof(struct createdomain_head) == 48, "createdomain");
_Static_assert(sizeof(struct domaininfo) == 112, "getdomaininfo");
_Static_assert(sizeof(struct vcpuaffinity) == 40, "vcpuaffinity");
_Static_assert(sizeof(struct scheduler_op) == 24, "scheduler_op");
_Static_assert(sizeof(struct domctl) == 144, "domctl");
_Static_assert(sizeof(struct physinfo) == 112, "physinfo");
_Static_assert(sizeof(struct getdomaininfolist) == 24, "getdomaininfolist");
_Static_assert(sizeof(struct sysctl) == 136, "sysctl");

#endif
