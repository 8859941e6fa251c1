/* What Swift cannot import of threads. No logic. */
#ifndef CTHREADS_H
#define CTHREADS_H

/* prctl(PR_SET_NAME), which has variable arguments: names the calling thread; at most 15 bytes count. */
void cthreads_name(const char *name);

#endif
