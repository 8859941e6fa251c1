#ifndef CNETLINK_H
#define CNETLINK_H

// The kernel's own headers, for the constants and layouts of netlink and of the tun driver. What Swift does not
// import (function-like macros, variadic calls, struct ifreq's unions) is re-exported here. No logic but the steps
// of one call.
//
// No header of the C library's that the Glibc module has too: a whole-module build would take its declarations for
// this module's, and not find them in files that import Glibc alone.

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdint.h>
#include <sys/eventfd.h>

/// The place of disable_ipv6 among an interface's IPv6 settings: DEVCONF_DISABLE_IPV6 of linux/ipv6.h, which
/// declares what the C library does.
extern const int cnetlink_devconf_disable_ipv6;

/// A socket address for the kernel's end (nl_pid 0), or for our end with a number of the kernel's choice.
struct sockaddr_nl cnetlink_kernel(void);

// Each returns 0, or a negated errno.

/// Attaches a descriptor of /dev/net/tun to the interface called `name` (at most IFNAMSIZ - 1 bytes),
/// which is made where there is none.
int cnetlink_tun_attach(int descriptor, const char *name, int flags);

/// The flags (IFF_TAP, IFF_PERSIST, ...) of the interface that a descriptor is attached to.
int cnetlink_tun_flags(int descriptor, int *flags);

/// Whether the interface outlives its last descriptor (TUNSETPERSIST).
int cnetlink_tun_set_persistent(int descriptor, int persistent);

/// The size in bytes of the virtio-net header before each frame (TUNSETVNETHDRSZ).
int cnetlink_tun_set_header_size(int descriptor, int size);

/// Whether that header is little-endian whatever the machine (TUNSETVNETLE).
int cnetlink_tun_set_little_endian(int descriptor, int little_endian);

/// What the reader of the descriptor accepts (TUNSETOFFLOAD; TUN_F_*).
int cnetlink_tun_set_offloads(int descriptor, unsigned int offloads);

/// Moves the calling thread, and no other, into a new network namespace (unshare(2); needs CAP_SYS_ADMIN).
int cnetlink_enter_new_namespace(void);

/// 0 when the descriptor is a network namespace's; -EINVAL for all else (NS_GET_NSTYPE of ioctl_ns(2)).
int cnetlink_check_network_namespace(int descriptor);

/// Opens a raw, close-on-exec netlink socket that speaks to a network namespace: that of the descriptor, or the
/// calling thread's own for -1. The thread is in its own when this returns; where it could not go back, the process
/// ends, because whatever it did from then on would be done to the wrong one (setns(2); needs CAP_SYS_ADMIN).
///
/// Returns the descriptor or a negated errno.
int cnetlink_open_socket(int namespace_descriptor, int protocol);

/// Has a program that is about to be started keep only its standard descriptors: daemons that it leaves behind must
/// not hold this process's sockets open. Returns 0 or an errno.
///
/// @param file_actions a posix_spawn_file_actions_t
int cnetlink_spawn_close_rest(void *file_actions);

#endif
