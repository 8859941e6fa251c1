/*
 * Shims over the stock Xen libraries (4.17 and later): what Swift's importer cannot see. No logic.
 *
 * Functions return 0 or a positive result on success; on failure they return a negative value and leave
 * the reason in errno, as the libraries do. Swift reads errno at once.
 */
#ifndef CXEN_H
#define CXEN_H

#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>
#include <xenctrl.h>
#include <xencall.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xentoollog.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#include <xen/arch-x86/hvm/save.h>

/* ---- Constants whose macros do not import --------------------------------------------------------- */
static const uint32_t cxen_domain_dying = XEN_DOMINF_dying;
static const uint32_t cxen_domain_shutdown = XEN_DOMINF_shutdown;
static const uint32_t cxen_domain_paused = XEN_DOMINF_paused;
static const uint32_t cxen_domain_blocked = XEN_DOMINF_blocked;
static const uint32_t cxen_domain_running = XEN_DOMINF_running;

/* ---- Library handles ------------------------------------------------------------------------------- */
/* Opens libxenctrl with a logger that keeps the last message of the calling thread instead of printing. */
xc_interface *cxen_open(void);
xendevicemodel_handle *cxen_devicemodel_open(void);
xenforeignmemory_handle *cxen_foreignmemory_open(void);
xencall_handle *cxen_call_open(void);
xenevtchn_handle *cxen_evtchn_fdopen(int fd);
/* The last message a Xen library logged on this thread, "" when none; reading it clears it. */
const char *cxen_take_message(void);

/* ---- Domains ---------------------------------------------------------------------------------------- */
/* Creates an HVM domain with hardware-assisted paging and an emulated local APIC, nothing else emulated
 * (what a PVH guest has). handle: 16 bytes. Returns the new domid. */
int cxen_domain_create(xc_interface *xc, const uint8_t *handle, uint32_t max_vcpus,
                       uint32_t max_event_channel_port, int32_t max_grant_frames);
/* HVMOP_get_mem_type, which libxenctrl does not wrap. Returns hvmmem_type_t or -1. */
int cxen_mem_type(xencall_handle *call, uint16_t domid, uint64_t gfn);
static const int cxen_mem_type_ram_ro = HVMMEM_ram_ro;
/* Sets a domain's weight under the credit2 scheduler and keeps its cap (XEN_DOMCTL_scheduler_op). */
int cxen_set_credit2_weight(xc_interface *xc, uint32_t domid, uint16_t weight);
/* Sets both; cap is in percent of one processor, 0 for none. */
int cxen_set_credit2(xc_interface *xc, uint32_t domid, uint16_t weight, uint16_t cap);
/* Pins a vCPU to physical processors (XEN_DOMCTL_setvcpuaffinity, hard). EINVAL for one beyond what Xen was built for. */
int cxen_set_affinity(xc_interface *xc, uint32_t domid, uint32_t vcpu, const uint32_t *cpus, size_t count);
/* The running hypervisor's version (major << 16 | minor), its extra version and its capabilities. */
int cxen_version(xc_interface *xc);
int cxen_version_extra(xc_interface *xc, char *out, size_t size);
int cxen_version_capabilities(xc_interface *xc, char *out, size_t size);

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

#endif
