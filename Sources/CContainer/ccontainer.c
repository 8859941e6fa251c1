// setns(2)
#define _GNU_SOURCE

#include "ccontainer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Returns a descriptor of the thread's own namespace for leave(), or a negated errno.
static int enter(int namespace_descriptor) {
  int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) return -errno;
  if (setns(namespace_descriptor, CLONE_NEWNET) == 0) return own;
  int answer = -errno;
  close(own);
  return answer;
}

static void leave(int own) {
  if (setns(own, CLONE_NEWNET) != 0) abort();
  close(own);
}

// /proc/sys/net shows the settings of the namespace that its reader is in.
static int write_zero(const char *path) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT ? 0 : -errno;
  int answer = write(file, "0", 1) < 0 ? -errno : 0;
  close(file);
  return answer;
}

int ccontainer_enable_ipv6(int namespace_descriptor, const char *interface_name) {
  char path[96];
  int length = snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface_name);
  if (length < 0 || (size_t)length >= sizeof path) return -ENAMETOOLONG;
  int own = enter(namespace_descriptor);
  if (own < 0) return own;
  int answer = write_zero(path);
  leave(own);
  return answer;
}

int ccontainer_open_packet_socket(int namespace_descriptor, int interface_index, unsigned short protocol) {
  int own = enter(namespace_descriptor);
  if (own < 0) return own;
  int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int answer = descriptor < 0 ? -errno : descriptor;
  leave(own);
  if (descriptor < 0) return answer;
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = interface_index};
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
    answer = -errno;
    close(descriptor);
  }
  return answer;
}

int ccontainer_exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
