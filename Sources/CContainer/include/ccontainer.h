#ifndef CCONTAINER_H
#define CCONTAINER_H

// What Swift cannot call: setns(2) is an extension, and waitpid's answer is taken apart by macros.

/// Lets an interface of another network namespace have IPv6 addresses (net.ipv6.conf.NAME.disable_ipv6 = 0), which
/// rtnetlink cannot say. The calling thread is in its own namespace when this returns; where it could not go back,
/// the process ends, because whatever it did from then on would be done to the wrong one.
///
/// Returns 0, also where the kernel has no IPv6, or a negated errno.
int ccontainer_enable_ipv6(int namespace_descriptor, const char *interface_name);

/// The exit status in what waitpid(2) answered; -1 for a process that a signal ended.
int ccontainer_exit_status(int status);

/// Opens a socket for whole Ethernet frames of an interface of another network namespace (packet(7)), whose frames
/// of `protocol` it receives; none for 0. The calling thread is in its own namespace when this returns, as above.
///
/// Returns the descriptor or a negated errno.
int ccontainer_open_packet_socket(int namespace_descriptor, int interface_index, unsigned short protocol);

#endif
