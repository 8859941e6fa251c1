/*
 * Shims for the device back-ends: variadic ioctls, macros with casts and SCM_RIGHTS, which Swift cannot
 * import. No logic. Functions return -1 and set errno on failure.
 */
#ifndef CBACKENDS_H
#define CBACKENDS_H

#include <stdint.h>
#include <stddef.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <linux/vhost.h>
#include <linux/if_tun.h>

static const unsigned long cbackends_vhost_set_owner = VHOST_SET_OWNER;
static const unsigned long cbackends_vhost_get_features = VHOST_GET_FEATURES;
static const unsigned long cbackends_vhost_set_features = VHOST_SET_FEATURES;
static const unsigned long cbackends_vhost_set_vring_num = VHOST_SET_VRING_NUM;
static const unsigned long cbackends_vhost_set_vring_base = VHOST_SET_VRING_BASE;
static const unsigned long cbackends_vhost_set_vring_addr = VHOST_SET_VRING_ADDR;
static const unsigned long cbackends_vhost_set_vring_kick = VHOST_SET_VRING_KICK;
static const unsigned long cbackends_vhost_set_vring_call = VHOST_SET_VRING_CALL;
static const unsigned long cbackends_vhost_set_vring_err = VHOST_SET_VRING_ERR;
static const unsigned long cbackends_vhost_net_set_backend = VHOST_NET_SET_BACKEND;

/* ioctl(2) with a pointer argument. */
int cbackends_ioctl(int fd, unsigned long request, void *argument);
/* VHOST_SET_MEM_TABLE with the one region a vif has. */
int cbackends_vhost_set_region(int fd, uint64_t guest_address, uint64_t size, uint64_t user_address);
/* TUNSETOFFLOAD: its argument is a value, TUN_F_* bits. */
int cbackends_tap_set_offload(int fd, unsigned long flags);

/* posix_spawn: the child starts a session of its own (POSIX_SPAWN_SETSID, hidden without _GNU_SOURCE). */
static const short cbackends_spawn_setsid = 0x80;
/* posix_spawn: closes every descriptor from 3 on in the child (a GNU extension). */
int cbackends_spawn_close_rest(posix_spawn_file_actions_t *actions);
/* accept4(2) with SOCK_CLOEXEC and SOCK_NONBLOCK. */
int cbackends_accept(int fd);
/* The process that listens at the other end of a connected unix socket (SO_PEERCRED), as a descriptor that is readable
 * once all of its threads have ended and their files are closed (pidfd_open(2)). */
int cbackends_open_peer(int fd);
/* prctl(PR_SET_NO_NEW_PRIVS). */
int cbackends_set_no_new_privileges(void);
/* No core files, and no debugger of another process of this user (PR_SET_DUMPABLE). */
int cbackends_give_up_dumps(void);
/* Bounds the system calls, for good, to those that serve devices which others opened: EPERM for every other. Needs no new
 * privileges to be set. Of the calling thread, or of all there are; threads that these start inherit it. */
int cbackends_confine(int all_threads);

/* Most descriptors one message carries: privcmd, evtchn, log, and tap and vhost for each of 15 vifs. */
#define CBACKENDS_MAX_DESCRIPTORS 33
/* Sends one message with descriptors. */
ssize_t cbackends_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count);
/* Receives one message. On entry *count is the room in descriptors; on return it is how many came, each
 * close-on-exec. Returns -1, all descriptors closed, when something was cut: EMSGSIZE for bytes or descriptors
 * beyond the room, EMFILE for descriptors that this process has no number left for. */
ssize_t cbackends_receive(int fd, void *bytes, size_t length, int *descriptors, size_t *count);

#endif
