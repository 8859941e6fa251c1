// unshare(2), setns(2)
#define _GNU_SOURCE

#include "cnetlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

const int cnetlink_devconf_disable_ipv6 = DEVCONF_DISABLE_IPV6;

static int result(int answer) { return answer < 0 ? -errno : 0; }

struct sockaddr_nl cnetlink_kernel(void) {
  return (struct sockaddr_nl){.nl_family = AF_NETLINK};
}

int cnetlink_tun_attach(int descriptor, const char *name, int flags) {
  struct ifreq request = {.ifr_flags = (short)flags};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return result(ioctl(descriptor, TUNSETIFF, &request));
}

int cnetlink_tun_flags(int descriptor, int *flags) {
  struct ifreq request = {0};
  int answer = result(ioctl(descriptor, TUNGETIFF, &request));
  *flags = (unsigned short)request.ifr_flags;
  return answer;
}

int cnetlink_tun_set_persistent(int descriptor, int persistent) {
  return result(ioctl(descriptor, TUNSETPERSIST, (unsigned long)persistent));
}

int cnetlink_tun_set_header_size(int descriptor, int size) {
  return result(ioctl(descriptor, TUNSETVNETHDRSZ, &size));
}

int cnetlink_tun_set_little_endian(int descriptor, int little_endian) {
  return result(ioctl(descriptor, TUNSETVNETLE, &little_endian));
}

int cnetlink_tun_set_offloads(int descriptor, unsigned int offloads) {
  return result(ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)offloads));
}

int cnetlink_enter_new_namespace(void) { return result(unshare(CLONE_NEWNET)); }

int cnetlink_check_network_namespace(int descriptor) {
  // Only of its own file system: another file's driver may take the request for one of its own.
  struct statfs system;
  if (fstatfs(descriptor, &system) != 0) return -errno;
  if (system.f_type != NSFS_MAGIC) return -EINVAL;
  return ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET ? 0 : -EINVAL;
}

static int open_socket(int protocol) {
  int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  return descriptor < 0 ? -errno : descriptor;
}

int cnetlink_open_socket(int namespace_descriptor, int protocol) {
  if (namespace_descriptor < 0) return open_socket(protocol);
  int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) return -errno;
  int answer = result(setns(namespace_descriptor, CLONE_NEWNET));
  if (answer == 0) {
    answer = open_socket(protocol);
    if (setns(own, CLONE_NEWNET) != 0) abort();
  }
  close(own);
  return answer;
}

int cnetlink_spawn_close_rest(void *file_actions)
{
    return posix_spawn_file_actions_addclosefrom_np(file_actions, 3);
}
