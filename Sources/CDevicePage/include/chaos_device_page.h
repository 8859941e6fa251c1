/*
 * chaos device page, ABI version 1: where everything is.
 *
 * This header is the one definition: the toolstack (Sources/DevicePages) and the images' runtime
 * (images/runtime) both compile from it. docs/device-page.md says what each field means and what a guest
 * may rely on. Only plain integer macros stand here, so that C, assembly and Swift read the same numbers.
 *
 * All fields are little-endian. Offsets and sizes are in bytes, frames are 4 KiB guest frame numbers.
 */
#ifndef CHAOS_DEVICE_PAGE_H
#define CHAOS_DEVICE_PAGE_H

/* ---- Guest frames of the special region: [0xE0000000, 0xF0000000), never RAM ---------------------- */
#define CHAOS_SPECIAL_REGION_GPA          0xE0000000
#define CHAOS_SPECIAL_REGION_SIZE         0x10000000
#define CHAOS_START_INFO_GFN              0xE0000
#define CHAOS_DEVICE_PAGE_GFN             0xE0001
#define CHAOS_CONSOLE_GFN                 0xE0002
#define CHAOS_POWERCTL_GFN                0xE0003
#define CHAOS_SHARED_INFO_GFN             0xE0004
#define CHAOS_GRANT_TABLE_GFN             0xE0005
/* The window of vif i starts at CHAOS_VIF_WINDOW_GFN + i * CHAOS_VIF_WINDOW_STRIDE (frames). */
#define CHAOS_VIF_WINDOW_GFN              0xE1000
#define CHAOS_VIF_WINDOW_STRIDE           0x1000

/* ---- Event-channel ports: a function of the slot -------------------------------------------------- */
#define CHAOS_PORT_CONSOLE                1
#define CHAOS_PORT_POWERCTL               2
#define CHAOS_PORT_VIF0                   3
#define CHAOS_MAX_VIFS                    15

/* ---- Header ---------------------------------------------------------------------------------------- */
#define CHAOS_PAGE_MAGIC                  0x50444843 /* "CHDP" */
#define CHAOS_PAGE_VERSION                1
#define CHAOS_PAGE_LENGTH                 3464

#define CHAOS_HEADER_MAGIC                0    /* u32 */
#define CHAOS_HEADER_VERSION              4    /* u16 */
#define CHAOS_HEADER_DEVICE_COUNT         6    /* u16: entries in the device table */
#define CHAOS_HEADER_LENGTH               8    /* u32: bytes of the page in use */
#define CHAOS_HEADER_GENERATION           12   /* u32: seqlock, odd while dom0 writes */
#define CHAOS_HEADER_DEVICE_TABLE         16   /* u32: offset of the first entry */
#define CHAOS_HEADER_DEVICE_ENTRY_SIZE    20   /* u32 */
#define CHAOS_HEADER_COMMAND_LINE         24   /* u32: offset of the command line */
#define CHAOS_HEADER_MEMORY_KIB           28   /* u32: guest memory, windows and special pages included */
#define CHAOS_HEADER_CLOCK_OFFSET         32   /* s64: nanoseconds to add to pvclock and wall-clock time */
#define CHAOS_HEADER_SHARED_INFO          40   /* u64: gfn */
#define CHAOS_HEADER_START_INFO           48   /* u64: gfn */
#define CHAOS_HEADER_GRANT_TABLE          56   /* u64: gfn */

/* ---- Identity -------------------------------------------------------------------------------------- */
#define CHAOS_IDENTITY_UUID               64   /* u8[16], RFC 4122 byte order */
#define CHAOS_IDENTITY_CREATED            80   /* u64: nanoseconds since 1970-01-01T00:00:00Z */
#define CHAOS_IDENTITY_IMAGE_DIGEST       88   /* u8[32]: SHA-256 of the kernel image */
#define CHAOS_IDENTITY_NAME_LENGTH        120  /* u16 */
#define CHAOS_IDENTITY_COMMAND_LENGTH     122  /* u16 */
#define CHAOS_IDENTITY_VCPUS              124  /* u32 */
#define CHAOS_IDENTITY_NAME               128  /* u8[64]: UTF-8, NUL padded, at most 63 bytes used */
#define CHAOS_NAME_MAX                    63
/* 192..255 reserved, zero */

/* ---- Device table ---------------------------------------------------------------------------------- */
#define CHAOS_DEVICE_TABLE                256
#define CHAOS_DEVICE_ENTRY_SIZE           128
#define CHAOS_DEVICE_MAX                  17   /* console, powerctl, 15 vifs */

#define CHAOS_DEVICE_TYPE                 0    /* u16 */
#define CHAOS_DEVICE_INDEX                2    /* u16: number within its type */
#define CHAOS_DEVICE_STATE                4    /* u16 */
#define CHAOS_DEVICE_FLAGS                6    /* u16: reserved, zero */
#define CHAOS_DEVICE_PORT                 8    /* u32: event-channel port on the guest's side */
#define CHAOS_DEVICE_GRANT                12   /* u32: first grant reference, 0: not granted */
#define CHAOS_DEVICE_FIRST_FRAME          16   /* u64: gfn of the ring page or window */
#define CHAOS_DEVICE_FRAME_COUNT          24   /* u32 */
/* 28..31 reserved, zero; 32..127 belong to the type */

#define CHAOS_TYPE_NONE                   0
#define CHAOS_TYPE_CONSOLE                1    /* ring: xen/io/console.h */
#define CHAOS_TYPE_POWERCTL               2
#define CHAOS_TYPE_VIF                    3    /* two virtio 1.x split virtqueues */

#define CHAOS_STATE_ABSENT                0
#define CHAOS_STATE_CONNECTED             1
#define CHAOS_STATE_CLOSING               2

/* vif: the type's own fields, offsets within the entry. Ring offsets are bytes from the window's start. */
#define CHAOS_VIF_MAC                     32   /* u8[6] */
#define CHAOS_VIF_MTU                     38   /* u16 */
#define CHAOS_VIF_FEATURES                40   /* u64: virtio feature bits in force, not negotiated */
#define CHAOS_VIF_RX_SIZE                 48   /* u16: entries in the receive queue (power of two) */
#define CHAOS_VIF_TX_SIZE                 50   /* u16: entries in the transmit queue (power of two) */
#define CHAOS_VIF_RX_DESCRIPTORS          52   /* u32 */
#define CHAOS_VIF_RX_AVAILABLE            56   /* u32 */
#define CHAOS_VIF_RX_USED                 60   /* u32 */
#define CHAOS_VIF_TX_DESCRIPTORS          64   /* u32 */
#define CHAOS_VIF_TX_AVAILABLE            68   /* u32 */
#define CHAOS_VIF_TX_USED                 72   /* u32 */
#define CHAOS_VIF_BUFFERS                 76   /* u32: first byte of the window free for buffers */
#define CHAOS_VIF_ADDRESSES               80   /* u8: which addresses are given */
#define CHAOS_VIF_IPV4_PREFIX             81   /* u8 */
#define CHAOS_VIF_IPV6_PREFIX             82   /* u8 */
/* 83 reserved, zero */
#define CHAOS_VIF_IPV4                    84   /* u8[4] */
#define CHAOS_VIF_IPV4_GATEWAY            88   /* u8[4] */
/* 92..95 reserved, zero */
#define CHAOS_VIF_IPV6                    96   /* u8[16] */
#define CHAOS_VIF_IPV6_GATEWAY            112  /* u8[16] */

#define CHAOS_ADDRESS_IPV4                1
#define CHAOS_ADDRESS_IPV4_GATEWAY        2
#define CHAOS_ADDRESS_IPV6                4
#define CHAOS_ADDRESS_IPV6_GATEWAY        8

/* ---- Command line ----------------------------------------------------------------------------------- */
#define CHAOS_COMMAND_LINE                2432 /* u8[1032]: NUL padded, at most 1024 bytes used */
#define CHAOS_COMMAND_LINE_MAX            1024

/* ---- Powerctl page: the first 64 bytes are written by dom0, the next 64 by the guest ---------------- */
#define CHAOS_POWERCTL_REQUESTS           0    /* u32: request bits, set by dom0 */
#define CHAOS_POWERCTL_RESET_VIFS         4    /* u32: bit n asks to reset vif n */
#define CHAOS_POWERCTL_ACKNOWLEDGED       64   /* u32: request bits the guest has taken up */
#define CHAOS_POWERCTL_STATUS             68   /* u32: status bits, set by the guest */
#define CHAOS_POWERCTL_RESET_VIFS_DONE    72   /* u32: bit n: vif n was reset */
#define CHAOS_POWERCTL_GENERATION_SEEN    76   /* u32: page generation the guest last read */

#define CHAOS_REQUEST_POWEROFF            1
#define CHAOS_REQUEST_REBOOT              2
#define CHAOS_REQUEST_GENERATION          4    /* the device page changed */
#define CHAOS_REQUEST_RESET_VIFS          8

#define CHAOS_STATUS_READY                1    /* the guest serves; `create --wait` waits for it */

/* ---- The image's ELF note: name "chaos", type CHAOS_NOTE_RUNTIME, descriptor of 16 bytes ------------ */
#define CHAOS_NOTE_RUNTIME                1
#define CHAOS_NOTE_ABI_VERSION            0    /* u32: device page version the image speaks */
#define CHAOS_NOTE_FLAGS                  4    /* u32: reserved, zero */
#define CHAOS_NOTE_VIF_FEATURES           8    /* u64: virtio-net offload bits the image can take */
#define CHAOS_NOTE_LENGTH                 16

#endif
