/* Debian's compression libraries, under names that import. */
#ifndef CDECOMPRESS_H
#define CDECOMPRESS_H
#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <zlib.h>
#include <zstd.h>
#endif
