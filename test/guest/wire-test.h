/* SPDX-License-Identifier: MIT */
/* wire-test.h - the calls that wire-broker answers for the tests of the shim */
#ifndef WIRE_TEST_H
#define WIRE_TEST_H

#include <stdint.h>
#include <string.h>

#define WT_VERSION "1.2.3"
#define WT_INFLIGHT 40 /* max_inflight of its HELLO_OK */

#define WT_ECHO 1 /* any multiple of 4 up to 1024: all bits inverted */
#define WT_PARAMS 2 /* 32: pointer at 16 to u32-at-24 bytes, inverted; their
		     * length comes back at 0, the span's flags at 4 */
#define WT_NESTED 3 /* the same; the params are a pointer and a u32 length */
#define WT_BLOCK 4 /* 16: until WT_RELEASE */
#define WT_RELEASE 5 /* 16: how many it released comes back at 0 */
#define WT_FD 6 /* 16: fd at 4; its file id comes back at 8 */
#define WT_CLASS 7 /* 32: class at 12, its params at 16 */
#define WT_ERR 8 /* 16: fails with the errno at 0 */
#define WT_HOSTILE 9 /* 16: how, at 0 */
#define WT_NEEDFD 10 /* like PARAMS; fd at 4 of the params; its id comes at 0 */
#define WT_EVENT 11 /* 16: tells the events at 0; at 4 whether one watched */
#define WT_STATE 12 /* 16: open files, CANCELs so far, session */
#define WT_XFER 211 /* 16: nr, size, pointer */
#define WT_UVM 0x30000001 /* raw, 16: like ECHO */

#define WT_CLASS_SMALL 0x10 /* 8 bytes */
#define WT_CLASS_BIG 0x20 /* 4096 */

enum wt_hostile {
	WT_LONG_ARG,
	WT_LONG_SPAN,
	WT_BAD_TAG,
	WT_SHORT_LEN,
	WT_HUGE_LEN,
	WT_BAD_TYPE,
	WT_BAD_BUF,
	WT_BAD_OFF,
	WT_BAD_ERRNO,
	WT_SHORT,
	WT_HALF, /* part of a header, then silence */
	WT_CLOSE,
	WT_PINGS, /* questions, and their answers are not read */
	WT_MUTE, /* silence; only the pings tell */
	WT_HOSTILE_COUNT,
};

/* Does to bytes as the driver of wire-broker does. */
static inline void invert(uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		p[i] ^= 0xff;
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

#endif /* WIRE_TEST_H */
