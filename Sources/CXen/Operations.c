/* Hypercalls whose interface is stable (xen/include/public/{memory,event_channel,version}.h, hvm/{hvm_op,params}.h),
 * through libxencall. */
#include "cxen.h"
#include "hypercall.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/version.h>

/* Makes a hypercall of two arguments, the second of which is a structure that Xen reads and writes. */
static int operate(xencall_handle *call, unsigned int hypercall, unsigned int operation, void *argument, size_t size)
{
    void *buffer = xencall_alloc_buffer(call, size);
    if (!buffer)
        return -1;
    memcpy(buffer, argument, size);
    int result = xencall2(call, hypercall, operation, (unsigned long)buffer);
    memcpy(argument, buffer, size);
    release_buffer(call, buffer);
    return result;
}

/* ---- Memory ----------------------------------------------------------------------------------------------- */

int cxen_populate(xencall_handle *call, uint16_t domain, const uint64_t *extents, size_t count, uint32_t order)
{
    xen_pfn_t *frames = xencall_alloc_buffer(call, count * sizeof *frames);
    if (!frames)
        return -1;
    for (size_t i = 0; i < count; i++)
        frames[i] = extents[i];
    struct xen_memory_reservation reservation = {
        .nr_extents = count, .extent_order = order, .mem_flags = 0, .domid = domain };
    reservation.extent_start.p = frames;
    int result = operate(call, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &reservation, sizeof reservation);
    release_buffer(call, frames);
    if (result < 0 || (size_t)result == count)
        return result < 0 ? result : 0;
    /* Xen gave what it had. */
    errno = ENOMEM;
    return -1;
}

int cxen_add_to_physmap(xencall_handle *call, uint16_t domain, uint32_t space, uint64_t index, uint64_t frame)
{
    struct xen_add_to_physmap argument = { .domid = domain, .space = space, .idx = index, .gpfn = frame };
    return operate(call, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument, sizeof argument);
}

int cxen_set_memory_map(xencall_handle *call, uint16_t domain, const struct cxen_memory_range *ranges, size_t count)
{
    struct cxen_memory_range *buffer = xencall_alloc_buffer(call, count * sizeof *ranges);
    if (!buffer)
        return -1;
    memcpy(buffer, ranges, count * sizeof *ranges);
    struct xen_foreign_memory_map argument = { .domid = domain, .map = { .nr_entries = (unsigned int)count } };
    argument.map.buffer.p = buffer;
    int result = operate(call, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &argument, sizeof argument);
    release_buffer(call, buffer);
    return result;
}

int cxen_mem_type(xencall_handle *call, uint16_t domain, uint64_t frame)
{
    struct xen_hvm_get_mem_type argument = { .domid = domain, .pfn = frame };
    int result = operate(call, __HYPERVISOR_hvm_op, HVMOP_get_mem_type, &argument, sizeof argument);
    return result < 0 ? result : argument.mem_type;
}

/* ---- Ports and parameters --------------------------------------------------------------------------------- */

int cxen_allocate_port(xencall_handle *call, uint16_t domain)
{
    struct evtchn_alloc_unbound argument = { .dom = domain, .remote_dom = 0 };
    int result = operate(call, __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &argument, sizeof argument);
    return result < 0 ? result : (int)argument.port;
}

int cxen_set_parameter(xencall_handle *call, uint16_t domain, uint32_t index, uint64_t value)
{
    struct xen_hvm_param argument = { .domid = domain, .index = index, .value = value };
    return operate(call, __HYPERVISOR_hvm_op, HVMOP_set_param, &argument, sizeof argument);
}

/* ---- Version ---------------------------------------------------------------------------------------------- */

int cxen_version(xencall_handle *call)
{
    return xencall2(call, __HYPERVISOR_xen_version, XENVER_version, 0);
}

/* One of Xen's texts about itself, which is buffer's size at most and need not end with a zero then. */
static int version_text(xencall_handle *call, unsigned int which, char *buffer, size_t length, char *out, size_t size)
{
    int result = operate(call, __HYPERVISOR_xen_version, which, buffer, length);
    if (result >= 0)
        snprintf(out, size, "%.*s", (int)length, buffer);
    return result;
}

int cxen_version_extra(xencall_handle *call, char *out, size_t size)
{
    xen_extraversion_t extra = { 0 };
    return version_text(call, XENVER_extraversion, extra, sizeof extra, out, size);
}

int cxen_version_capabilities(xencall_handle *call, char *out, size_t size)
{
    xen_capabilities_info_t capabilities = { 0 };
    return version_text(call, XENVER_capabilities, capabilities, sizeof capabilities, out, size);
}

int cxen_describe_version(xencall_handle *call, struct cxen_version_description *out)
{
    memset(out, 0, sizeof *out);
    int version = cxen_version(call);
    int page_size = xencall2(call, __HYPERVISOR_xen_version, XENVER_pagesize, 0);
    if (version < 0 || page_size < 0)
        return -1;
    out->major = (uint32_t)version >> 16;
    out->minor = (uint32_t)version & 0xffff;
    out->page_size = (uint64_t)page_size;
    struct { unsigned int which; void *to; size_t size; } parts[] = {
        { XENVER_extraversion, out->extra, sizeof out->extra },
        { XENVER_compile_info, &out->compile_info, sizeof out->compile_info },
        { XENVER_capabilities, out->capabilities, sizeof out->capabilities },
        { XENVER_changeset, out->changeset, sizeof out->changeset },
        { XENVER_platform_parameters, &out->platform, sizeof out->platform },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (operate(call, __HYPERVISOR_xen_version, parts[i].which, parts[i].to, parts[i].size) < 0)
            return -1;
    }
    return 0;
}
