/*
 * The C library for a build in Embedded Swift, which has no Glibc module: its headers, and inline functions for
 * what Swift cannot import from them (macros that are not constants, functions with variable arguments).
 */
#ifndef CHAOS_CPOSIX_H
#define CHAOS_CPOSIX_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static inline int cposix_errno(void) { return errno; }

static inline int cposix_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

static inline void cposix_reset_signal(int number) { signal(number, SIG_DFL); }

static inline char **cposix_environment(void) { return __environ; }

#endif
