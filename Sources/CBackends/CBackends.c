#define _GNU_SOURCE
#include "cbackends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

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
