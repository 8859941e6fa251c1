#define _GNU_SOURCE
#include "cbackends.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xen/xen.h>
#include <xen/sys/evtchn.h>
#include <xen/sys/privcmd.h>

int cbackends_ioctl(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }

int cbackends_vhost_set_region(int fd, uint64_t guest_address, uint64_t size, uint64_t user_address)
{
    union {
        struct vhost_memory table;
        char room[sizeof(struct vhost_memory) + sizeof(struct vhost_memory_region)];
    } memory;
    memset(&memory, 0, sizeof memory);
    memory.table.nregions = 1;
    memory.table.regions[0].guest_phys_addr = guest_address;
    memory.table.regions[0].memory_size = size;
    memory.table.regions[0].userspace_addr = user_address;
    return ioctl(fd, VHOST_SET_MEM_TABLE, &memory);
}

int cbackends_tap_set_offload(int fd, unsigned long flags) { return ioctl(fd, TUNSETOFFLOAD, flags); }

int cbackends_spawn_close_rest(posix_spawn_file_actions_t *actions)
{
    return posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

int cbackends_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int cbackends_open_peer(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -1;
    return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

int cbackends_set_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * CBACKENDS_MAX_DESCRIPTORS)];
};

ssize_t cbackends_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count)
{
    union control control;
    struct iovec part = { (void *)bytes, length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (count > CBACKENDS_MAX_DESCRIPTORS) {
        errno = E2BIG;
        return -1;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t cbackends_receive(int fd, void *bytes, size_t length, int *descriptors, size_t *count)
{
    union control control;
    struct iovec part = { bytes, length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1,
                              .msg_control = control.room, .msg_controllen = sizeof control.room };
    size_t room = *count;
    *count = 0;
    ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (received < 0)
        return -1;
    int cut = message.msg_flags & MSG_TRUNC ? EMSGSIZE : message.msg_flags & MSG_CTRUNC ? EMFILE : 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < came; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof descriptor);
            if (*count < room)
                descriptors[(*count)++] = descriptor;
            else {
                close(descriptor);
                cut = EMSGSIZE;
            }
        }
    }
    if (cut) {
        for (size_t i = 0; i < *count; i++)
            close(descriptors[i]);
        *count = 0;
        errno = cut;
        return -1;
    }
    return received;
}

/* ---- Confinement ------------------------------------------------------------------------------------ */

int cbackends_give_up_dumps(void)
{
    struct rlimit none = { 0, 0 };
    return setrlimit(RLIMIT_CORE, &none) < 0 ? -1 : prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
/* Goes on with the next statement if the loaded word is value, and after it if not. */
#define IF(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1)
#define ALLOW_IF(value) IF(value), RETURN(SECCOMP_RET_ALLOW)
#define ALLOW(name) ALLOW_IF(__NR_##name)
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)
/* A call whose argument decides: skips the count statements that follow, which must return, for any other call. */
#define CALL(name, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, count)
/* Memory that is not executable: four statements. */
#define NOT_EXECUTABLE                                                                                   \
    LOAD_ARGUMENT(2), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1), REFUSE,                      \
        RETURN(SECCOMP_RET_ALLOW)

int cbackends_confine(int all_threads)
{
    /* x32's calls have a bit that none of these numbers has. */
    struct sock_filter rules[] = {
        LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS), LOAD(nr),
        /* What it lives on, the most frequent first. */
        ALLOW(read), ALLOW(write), ALLOW(writev), ALLOW(epoll_wait), ALLOW(epoll_pwait), ALLOW(futex), ALLOW(clock_gettime),
        ALLOW(sendto), ALLOW(recvfrom), ALLOW(sendmsg), ALLOW(recvmsg), ALLOW(pwrite64), ALLOW(pread64),
        ALLOW(epoll_ctl), ALLOW(eventfd2), ALLOW(close), ALLOW(accept4), ALLOW(fcntl), ALLOW(lseek),
        ALLOW(fstat), ALLOW(ftruncate), ALLOW(setsockopt), ALLOW(shutdown),
        /* Memory. */
        ALLOW(munmap), ALLOW(madvise), ALLOW(brk), ALLOW(mremap), CALL(mmap, 4), NOT_EXECUTABLE,
        CALL(mprotect, 4), NOT_EXECUTABLE,
        /* Threads that begin or wait, and the end. */
        ALLOW(clock_nanosleep), ALLOW(nanosleep), ALLOW(gettimeofday), ALLOW(sched_yield), ALLOW(getrandom),
        ALLOW(getpid), ALLOW(gettid), ALLOW(set_robust_list), ALLOW(rseq), ALLOW(sigaltstack),
        ALLOW(rt_sigprocmask), ALLOW(rt_sigaction), ALLOW(rt_sigreturn), ALLOW(restart_syscall), ALLOW(exit),
        ALLOW(exit_group), CALL(prctl, 4), LOAD_ARGUMENT(0), IF(PR_SET_NAME), RETURN(SECCOMP_RET_ALLOW), REFUSE,
        CALL(tgkill, 4), LOAD_ARGUMENT(0), IF((uint32_t)getpid()), RETURN(SECCOMP_RET_ALLOW), REFUSE,
        /* Devices: vhost-net, taps, event channels and guests' memory. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 1, 0), REFUSE, LOAD_ARGUMENT(1),
        ALLOW_IF(IOCTL_EVTCHN_NOTIFY), ALLOW_IF(IOCTL_EVTCHN_BIND_INTERDOMAIN), ALLOW_IF(IOCTL_EVTCHN_UNBIND),
        ALLOW_IF(IOCTL_PRIVCMD_MMAPBATCH_V2), ALLOW_IF(VHOST_SET_OWNER), ALLOW_IF(VHOST_GET_FEATURES),
        ALLOW_IF(VHOST_SET_FEATURES), ALLOW_IF(VHOST_SET_MEM_TABLE), ALLOW_IF(VHOST_SET_VRING_NUM),
        ALLOW_IF(VHOST_SET_VRING_BASE), ALLOW_IF(VHOST_SET_VRING_ADDR), ALLOW_IF(VHOST_SET_VRING_KICK),
        ALLOW_IF(VHOST_SET_VRING_CALL), ALLOW_IF(VHOST_SET_VRING_ERR), ALLOW_IF(VHOST_NET_SET_BACKEND),
        ALLOW_IF(TUNSETOFFLOAD), REFUSE,
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    long result = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
    if (result > 0)
        errno = ESRCH; /* a thread that could not follow */
    return result == 0 ? 0 : -1;
}
