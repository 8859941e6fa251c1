// setns(2)
#define _GNU_SOURCE

#include "ccontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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
  int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) return -errno;
  int answer = setns(namespace_descriptor, CLONE_NEWNET) < 0 ? -errno : 0;
  if (answer == 0) {
    answer = write_zero(path);
    if (setns(own, CLONE_NEWNET) != 0) abort();
  }
  close(own);
  return answer;
}

int ccontainer_exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
