/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * iso_wire.h - the wire between a worker's shim and gpu-broker, version 1
 *
 * One byte stream per connection. Everything is little-endian. The stream is a
 * sequence of frames: a struct iso_hdr, then a body whose shape the type fixes.
 * hdr.len counts both. Trailing bytes, non-zero padding, an unknown type, a
 * wrong length or a frame out of state end the connection.
 *
 *   bridge                shim                          broker
 *   IDENT ------------------------------------------->  the worker's name
 *                         HELLO --------------------->
 *                               <-------------------- HELLO_OK (the tables)
 *                         OPEN ---------------------->
 *                               <-------------------- OPENED (hdr.file)
 *                         IOCTL --------------------->
 *                               <-------------------- NEED  (0..4 rounds)
 *                         MORE  --------------------->
 *                               <-------------------- RESULT
 *                         CANCEL  (RESULT still comes, and is dropped)
 *                         CLOSE --------------------->  (no answer)
 *                         POLL ---------------------->
 *                               <-------------------- EVENT
 *                         MAP ----------------------->
 *                               <-------------------- MAPPED
 *                         UNMAP --------------------->  (no answer)
 *                         PING <-------------------->  PONG (either side)
 *                         BYE  <-------------------->  reason; then close
 *
 * The host's bridge sends IDENT before it passes on the first byte of the
 * worker; a second IDENT is out of state. HELLO is the worker's first frame,
 * due within five seconds.
 *
 * hdr.tag names a request: the requester picks it, the answer repeats it. Many
 * tags may be in flight; answers come in any order. A tag may be used again
 * after its answer. hdr.file names an open file of this connection: the broker
 * picks it in OPENED. NEED, MORE and RESULT repeat the file of their IOCTL.
 * A frame that has no use for tag or file has zero there.
 *
 * IOCTL carries the argument and the buffers that its pointer fields name
 * ("depth one"), as the device row of HELLO_OK describes. Addresses of the
 * worker have no meaning on the wire: pointer fields are opaque bytes to the
 * broker. If the call's own table says that there is more to fetch, because a
 * buffer holds a pointer or an fd, the broker answers NEED with buffer, field
 * and length. The shim reads the pointer from its own copy of the buffer and
 * sends MORE. Buffers are numbered: 0 is the argument, 1..n are the depth-one
 * buffers in the row's order, then come the ranges of each NEED in order.
 *
 * CANCEL says that the caller is gone. It ends nothing by itself: the shim
 * still answers a NEED, and the RESULT still comes. POLL has no tag: a file has
 * one watch, which a later POLL replaces and EVENT ends.
 *
 * In a declared fd field the shim replaces the fd by the file id of the
 * caller's own open shim file (ISO_NO_FILE for -1), and puts the fd back into
 * what the caller gets.
 *
 * RESULT carries the argument and the output spans, in buffer order (1..n),
 * each at most as long as the one sent or promised. A span of length 0 leaves
 * the caller's memory alone. With err != 0, nothing is written back.
 *
 * On AF_VSOCK, taking the last bytes out of a socket makes the kernel send the
 * peer a packet that gives credit back. Either end therefore parses a frame
 * while it is still in the socket (MSG_PEEK), and takes all but its last bytes
 * only when a frame of its own is on the way, which carries the credit along.
 *
 * No end of stream carries meaning (Firecracker's vsock has no half-close).
 */
#ifndef ISO_WIRE_H
#define ISO_WIRE_H

#include <linux/types.h>

#define ISO_WIRE_MAJOR		1
#define ISO_WIRE_MINOR		0

/* Bytes of the largest frame, with its header. The largest known control takes
 * 88,024 bytes of parameters. */
#define ISO_MAX_FRAME		(1024u * 1024u + 64u * 1024u)
#define ISO_MAX_PTRS		4	/* depth-one pointers of a row */
#define ISO_MAX_FDS		4	/* fd fields of a row */
#define ISO_MAX_RANGES		16	/* ranges of one NEED */
#define ISO_MAX_NEED_ROUNDS	4	/* NEEDs of one call */
#define ISO_MAX_SPANS		(ISO_MAX_PTRS + \
				 ISO_MAX_RANGES * ISO_MAX_NEED_ROUNDS)
#define ISO_MAX_ARG		16384u	/* argument of one ioctl */
#define ISO_MAX_ROWS		300
#define ISO_MAX_CLASSES		300
#define ISO_MAX_GPUS		32
#define ISO_MAX_TEXTS		64	/* files below /proc/driver/nvidia */
#define ISO_MAX_TEXT		4096u	/* bytes of one of them */
#define ISO_NO_FILE		0xffffffffu
#define ISO_SECRET_LEN		32
#define ISO_WORKER_LEN		64	/* with the NUL padding */
#define ISO_VERSION_LEN		32
#define ISO_TEXT_NAME_LEN	56

/* Default vsock port of gpu-broker; the worker connects to CID 2 (host). */
#define ISO_BROKER_PORT		9999

enum iso_type {
	ISO_IDENT = 1,
	ISO_HELLO = 2,
	ISO_HELLO_OK = 3,
	ISO_OPEN = 4,
	ISO_OPENED = 5,
	ISO_CLOSE = 6,
	ISO_IOCTL = 7,
	ISO_NEED = 8,
	ISO_MORE = 9,
	ISO_RESULT = 10,
	ISO_CANCEL = 11,
	ISO_POLL = 12,
	ISO_EVENT = 13,
	ISO_MAP = 14,
	ISO_MAPPED = 15,
	ISO_UNMAP = 16,
	ISO_PING = 17,
	ISO_PONG = 18,
	ISO_BYE = 19,
	ISO_TYPE__COUNT
};

/* Begins every frame. flags is zero in version 1. */
struct iso_hdr {
	__le32 len;	/* header and body, bytes */
	__le16 type;	/* enum iso_type */
	__le16 flags;
	__le32 tag;
	__le32 file;
};

/* IDENT, bridge to broker, first and once. */
#define ISO_CAP_UTILITY		0x1u
#define ISO_CAP_COMPUTE		0x2u
#define ISO_CAP_GRAPHICS	0x4u
#define ISO_CAP_VIDEO		0x8u

struct iso_ident {
	__u8 secret[ISO_SECRET_LEN];
	char worker[ISO_WORKER_LEN];	/* [a-z0-9-]{1,32}, NUL padded */
	__le32 caps;			/* ISO_CAP_* */
	__le32 quota_class;		/* 0 in version 1 */
};

struct iso_hello {
	__le16 major;
	__le16 minor;
	__le32 features;	/* 0 in version 1 */
	__le32 max_frame;	/* bytes that the shim can take, >= 128 KiB */
	__le32 pad;
};

/*
 * HELLO_OK: this, then gpu[n_gpu], row[n_row], class[n_class], then n_text
 * texts, each a struct iso_text and its bytes, zero-padded to 8.
 */
struct iso_hello_ok {
	__le16 major;
	__le16 minor;
	__le32 features;
	__le64 session;		/* a new number for each child */
	__le32 max_frame;
	__le32 max_inflight;	/* calls of this connection in flight */
	__le32 max_files;	/* open files of this connection */
	__le32 ping_ms;		/* send PING after that much silence; the
				 * link is dead after three times that */
	__le16 n_gpu;
	__le16 n_row;
	__le16 n_class;
	__le16 n_text;
	char version[ISO_VERSION_LEN];	/* driver version, NUL padded */
};

/* A GPU: its node, and its identity in PCI configuration space. */
struct iso_gpu {
	__le32 minor;		/* /dev/nvidia<minor> */
	__le32 domain;		/* at most 65535 */
	__le32 class_code;	/* 24 bits */
	__le16 vendor;
	__le16 device;
	__u8 bus;
	__u8 devfn;		/* device << 3 | function */
	__u8 revision;
	__u8 pad[5];
};

/* Device kinds: number in OPEN, bit (1 << kind) in iso_row.dev. */
enum iso_dev {
	ISO_DEV_CTL = 0,	/* /dev/nvidiactl */
	ISO_DEV_GPU = 1,	/* /dev/nvidia<minor> */
	ISO_DEV_UVM = 2,	/* /dev/nvidia-uvm */
	ISO_DEV_UVM_TOOLS = 3,	/* /dev/nvidia-uvm-tools */
	ISO_DEV__COUNT
};

#define ISO_DIR_IN		0x1u	/* caller to driver */
#define ISO_DIR_OUT		0x2u	/* driver to caller */
#define ISO_DIR_PIN		0x4u	/* later: pages move to the window */
#define ISO_DIR_FD		0x8u	/* NEED only: an int fd at that place */

/* How many bytes a depth-one pointer points at. */
#define ISO_LEN_FIXED		0u	/* len bytes */
#define ISO_LEN_FIELD		1u	/* __le32 at offset len of the arg */
#define ISO_LEN_CLASS		2u	/* size of the class whose number is
					 * the __le32 at offset len */

struct iso_ptr {
	__le16 off;		/* of the 8-byte pointer in the argument */
	__u8 dir;		/* ISO_DIR_IN | ISO_DIR_OUT */
	__u8 len_kind;		/* ISO_LEN_* */
	__le32 len;
};

/* The ioctl command is coded by _IOC, with nr and size in it. Else it is
 * raw. */
#define ISO_ROW_SIZED		0x1u
/* The argument is {u32 nr, u32 size, u64 pointer to the real argument}:
 * look up again with those. */
#define ISO_ROW_XFER		0x2u

/*
 * One row allows one ioctl number with sizes min, min + unit, ..., max (unit 0:
 * just min). Several rows may share a number. The table is sorted by (nr, min).
 */
struct iso_row {
	__le32 nr;		/* _IOC_NR if SIZED, else the whole command */
	__le32 min;
	__le32 max;
	__le32 unit;
	__u8 dev;		/* bits (1 << enum iso_dev) */
	__u8 flags;		/* ISO_ROW_* */
	__u8 dir;		/* of the argument */
	__u8 n_ptr;
	__u8 n_fd;
	__u8 pad[3];
	struct iso_ptr ptr[ISO_MAX_PTRS];
	__le16 fd[ISO_MAX_FDS];	/* offsets of int fds in the argument */
};

/* Parameter size of an allocation class, sorted by class. */
struct iso_class {
	__le32 class_id;
	__le32 size;
};

/* A file below /proc/driver/nvidia: [A-Za-z0-9:._-]+ with at most two '/'. */
struct iso_text {
	char name[ISO_TEXT_NAME_LEN];	/* NUL padded */
	__le32 len;
	__le32 pad;
};

/* OPEN; the answer OPENED carries the new file in hdr.file. */
struct iso_open {
	__le32 kind;		/* enum iso_dev */
	__le32 minor;
	__le32 flags;		/* O_ACCMODE | O_NONBLOCK bits, Linux x86 */
	__le32 tgid;		/* of the opener, in the worker */
	__le32 uid;
	__le32 pad;
};

struct iso_opened {
	__le32 err;		/* positive errno, or 0 */
	__le32 pad;
};

#define ISO_SPAN_NULL		0x1u	/* the caller's pointer was NULL */

struct iso_span {
	__le32 len;		/* bytes that follow (zero-padded to 8) */
	__le32 flags;		/* ISO_SPAN_* ; len is 0 then */
};

/*
 * IOCTL: this, span[n_span], the argument padded to 8, then the bytes of each
 * span, padded to 8. The span of a buffer whose row entry has no ISO_DIR_IN
 * says its length and brings no bytes.
 */
struct iso_ioctl {
	__le32 nr;
	__le32 arg_len;
	__le32 n_span;		/* == row.n_ptr */
	__le32 pad;
};

struct iso_range {
	__u8 buf;		/* which buffer holds the pointer */
	__u8 dir;		/* ISO_DIR_* */
	__le16 pad0;
	__le32 off;		/* of the 8-byte pointer (FD: the int) */
	__le32 len;		/* bytes it points at (FD: 4) */
	__le32 pad1;
};

/* NEED: this, then range[n]. The sum of lengths fits a frame. */
struct iso_need {
	__le32 n;
	__le32 pad;
};

/*
 * MORE: this, then span[n], then the bytes of each span that has IN or FD,
 * padded to 8. With err != 0 (a bad pointer: EFAULT, a bad fd: EBADF) there are
 * no spans and the call ends with that errno in its RESULT.
 */
struct iso_more {
	__le32 n;
	__le32 err;
};

/* RESULT: this, span[n_span], argument padded, bytes of the spans padded. */
struct iso_result {
	__le32 err;		/* positive errno, or 0 */
	__le32 arg_len;		/* 0, or as long as it was sent */
	__le32 n_span;
	__le32 pad;
};

/* POLL asks to be told once when `events` become ready; EVENT tells. */
struct iso_poll {
	__le32 events;		/* POLLIN ... as in poll(2) */
	__le32 pad;
};

struct iso_map {
	__le64 off;
	__le64 len;
	__le32 prot;		/* PROT_READ | PROT_WRITE */
	__le32 pad;
};

struct iso_mapped {
	__le32 err;
	__le32 attr;
	__le64 win_off;
	__le64 len;
};

struct iso_unmap {
	__le64 win_off;
	__le64 len;
};

struct iso_ping {
	__le64 cookie;
};

enum iso_bye_reason {
	ISO_BYE_SHUTDOWN = 1,	/* the sender ends */
	ISO_BYE_VERSION = 2,	/* no common version */
	ISO_BYE_QUOTA = 3,	/* too many connections of this worker */
	ISO_BYE_PROTOCOL = 4,	/* the peer broke the protocol */
};

struct iso_bye {
	__le32 reason;
	__le32 pad;
};

#define ISO_PAD8(n)	(((n) + 7u) & ~7u)

#ifndef __KERNEL__
#include <assert.h>
#include <stddef.h>
#define ISO_ASSERT(c)	static_assert(c, #c)
#else
#include <linux/build_bug.h>
#include <linux/stddef.h>
#define ISO_ASSERT(c)	static_assert(c)
#endif
ISO_ASSERT(sizeof(struct iso_hdr) == 16);
ISO_ASSERT(sizeof(struct iso_ident) == 104);
ISO_ASSERT(offsetof(struct iso_ident, caps) == 96);
ISO_ASSERT(sizeof(struct iso_hello) == 16);
ISO_ASSERT(sizeof(struct iso_hello_ok) == 72);
ISO_ASSERT(offsetof(struct iso_hello_ok, n_gpu) == 32);
ISO_ASSERT(offsetof(struct iso_hello_ok, version) == 40);
ISO_ASSERT(sizeof(struct iso_gpu) == 24);
ISO_ASSERT(offsetof(struct iso_gpu, bus) == 16);
ISO_ASSERT(sizeof(struct iso_ptr) == 8);
ISO_ASSERT(sizeof(struct iso_row) == 64);
ISO_ASSERT(offsetof(struct iso_row, ptr) == 24);
ISO_ASSERT(offsetof(struct iso_row, fd) == 56);
ISO_ASSERT(sizeof(struct iso_class) == 8);
ISO_ASSERT(sizeof(struct iso_text) == 64);
ISO_ASSERT(sizeof(struct iso_open) == 24);
ISO_ASSERT(sizeof(struct iso_opened) == 8);
ISO_ASSERT(sizeof(struct iso_span) == 8);
ISO_ASSERT(sizeof(struct iso_ioctl) == 16);
ISO_ASSERT(sizeof(struct iso_range) == 16);
ISO_ASSERT(sizeof(struct iso_need) == 8);
ISO_ASSERT(sizeof(struct iso_more) == 8);
ISO_ASSERT(sizeof(struct iso_result) == 16);
ISO_ASSERT(sizeof(struct iso_poll) == 8);
ISO_ASSERT(sizeof(struct iso_map) == 24);
ISO_ASSERT(sizeof(struct iso_mapped) == 24);
ISO_ASSERT(sizeof(struct iso_unmap) == 16);
ISO_ASSERT(sizeof(struct iso_ping) == 8);
ISO_ASSERT(sizeof(struct iso_bye) == 8);

#endif /* ISO_WIRE_H */
