/* SHA-256 from libmd, under names that import. */
#ifndef CDIGEST_H
#define CDIGEST_H
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>
#include <sha2.h>
#endif
