#include "cxen.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <xen/sys/privcmd.h>
#include <xen/sys/evtchn.h>

/* ---- Library handles ------------------------------------------------------------------------------- */

static _Thread_local char last_message[256];
static _Thread_local char taken_message[256];

static void keep_message(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list arguments)
{
    (void)logger; (void)context; (void)errnoval;
    if (level >= XTL_WARN) {
        int saved = errno;
        vsnprintf(last_message, sizeof last_message, format, arguments);
        errno = saved;
    }
}

static void no_progress(struct xentoollog_logger *logger, const char *context, const char *doing, int percent,
                        unsigned long done, unsigned long total)
{
    (void)logger; (void)context; (void)doing; (void)percent; (void)done; (void)total;
}

static void no_destroy(struct xentoollog_logger *logger) { (void)logger; }

static struct xentoollog_logger logger = { keep_message, no_progress, no_destroy };

const char *cxen_take_message(void)
{
    memcpy(taken_message, last_message, sizeof taken_message);
    last_message[0] = 0;
    return taken_message;
}

xendevicemodel_handle *cxen_devicemodel_open(void) { return xendevicemodel_open(&logger, 0); }
xenforeignmemory_handle *cxen_foreignmemory_open(void) { return xenforeignmemory_open(&logger, 0); }
xencall_handle *cxen_call_open(void) { return xencall_open(&logger, 0); }
xenevtchn_handle *cxen_evtchn_fdopen(int fd) { return xenevtchn_fdopen(&logger, fd, 0); }

/* ---- vCPU context ------------------------------------------------------------------------------------ */

/* The record at a position, which is moved behind it; its content, or NULL where no whole one is left. */
static const uint8_t *next_record(const uint8_t *context, size_t length, size_t *position,
                                  struct hvm_save_descriptor *descriptor)
{
    size_t at = *position;
    if (at > length || length - at < sizeof *descriptor)
        return NULL;
    memcpy(descriptor, context + at, sizeof *descriptor);
    at += sizeof *descriptor;
    if (descriptor->length > length - at)
        return NULL;
    *position = at + descriptor->length;
    return context + at;
}

static int find_record(const uint8_t *context, size_t length, uint16_t typecode, void *out, size_t size)
{
    size_t position = 0;
    struct hvm_save_descriptor descriptor;
    const uint8_t *content;
    while ((content = next_record(context, length, &position, &descriptor))) {
        if (descriptor.typecode == typecode && descriptor.length == size) {
            memcpy(out, content, size);
            return 0;
        }
    }
    errno = EINVAL;
    return -1;
}

int cxen_next_vcpu(const uint8_t *context, size_t length, size_t *position, struct hvm_hw_cpu *out)
{
    struct hvm_save_descriptor descriptor;
    const uint8_t *content;
    while ((content = next_record(context, length, position, &descriptor))) {
        if (descriptor.typecode == HVM_SAVE_CODE(END)) {
            errno = ENOENT;
            return -1;
        }
        if (descriptor.typecode != HVM_SAVE_CODE(CPU))
            continue;
        if (descriptor.length != sizeof *out)
            break;
        memcpy(out, content, sizeof *out);
        return descriptor.instance;
    }
    errno = EINVAL;
    return -1;
}

static struct hvm_save_descriptor descriptor_of(uint16_t typecode, uint32_t length)
{
    return (struct hvm_save_descriptor){ .typecode = typecode, .instance = 0, .length = length };
}

int cxen_vcpu_context_init(struct cxen_vcpu_context *out, const uint8_t *context, size_t length)
{
    memset(out, 0, sizeof *out);
    out->header_descriptor = descriptor_of(HVM_SAVE_CODE(HEADER), HVM_SAVE_LENGTH(HEADER));
    out->mtrr_descriptor = descriptor_of(HVM_SAVE_CODE(MTRR), HVM_SAVE_LENGTH(MTRR));
    out->cpu_descriptor = descriptor_of(HVM_SAVE_CODE(CPU), HVM_SAVE_LENGTH(CPU));
    out->end_descriptor = descriptor_of(HVM_SAVE_CODE(END), 0);
    struct hvm_save_header header;
    struct hvm_hw_mtrr mtrr;
    if (find_record(context, length, HVM_SAVE_CODE(HEADER), &header, sizeof header) < 0
        || find_record(context, length, HVM_SAVE_CODE(MTRR), &mtrr, sizeof mtrr) < 0)
        return -1;
    out->header = header;
    out->mtrr = mtrr;
    return 0;
}

/* ---- Descriptors restricted to one domain ------------------------------------------------------------ */

int cxen_privcmd_restrict(int fd, uint16_t domid)
{
    domid_t restricted = domid;
    return ioctl(fd, IOCTL_PRIVCMD_RESTRICT, &restricted);
}

int cxen_evtchn_restrict_fd(int fd, uint16_t domid)
{
    struct ioctl_evtchn_restrict_domid restricted = { .domid = domid };
    return ioctl(fd, IOCTL_EVTCHN_RESTRICT_DOMID, &restricted);
}

int cxen_privcmd_map(int fd, uint16_t domid, void *address, const xen_pfn_t *frames, int *errors,
                     unsigned int count)
{
    privcmd_mmapbatch_v2_t batch = {
        .num = count, .dom = domid, .addr = (uint64_t)(uintptr_t)address, .arr = frames, .err = errors };
    return ioctl(fd, IOCTL_PRIVCMD_MMAPBATCH_V2, &batch);
}
