#ifndef CXEN_HYPERCALL_H
#define CXEN_HYPERCALL_H

#include <errno.h>
#include <xencall.h>

/* Frees a hypercall's buffer and keeps what the hypercall said. */
static inline void release_buffer(xencall_handle *call, void *buffer)
{
    int saved = errno;
    xencall_free_buffer(call, buffer);
    errno = saved;
}

#endif
