/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * rd.h - a cursor over received bytes
 *
 * After a short read the cursor is bad for good: rd_span() gives NULL, and
 * rd_done() says so once at the end.
 */
#ifndef SHIM_RD_H
#define SHIM_RD_H

#include <linux/string.h>
#include <linux/types.h>
#include <asm/byteorder.h>

#include "iso_wire.h"

/* Little-endian numbers at any address. */
static inline u32 rd_get32(const void *p)
{
	__le32 v;

	memcpy(&v, p, sizeof(v));
	return le32_to_cpu(v);
}

static inline u64 rd_get64(const void *p)
{
	__le64 v;

	memcpy(&v, p, sizeof(v));
	return le64_to_cpu(v);
}

static inline void rd_put32(u32 n, void *p)
{
	__le32 v = cpu_to_le32(n);

	memcpy(p, &v, sizeof(v));
}

struct rd {
	const u8 *p;
	size_t left;
	bool bad;
};

static inline struct rd rd_init(const void *p, size_t n)
{
	return (struct rd){ .p = p, .left = n };
}

/* The next n bytes, valid as long as the buffer below, or NULL. */
static inline const void *rd_span(struct rd *r, size_t n)
{
	const u8 *p = r->p;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

/* n bytes and the zeroes that bring them to a multiple of 8. */
static inline const void *rd_span_pad8(struct rd *r, size_t n)
{
	const u8 *p = rd_span(r, n);
	size_t pad = -n & 7;
	const u8 *z = rd_span(r, pad);

	if (z && memchr_inv(z, 0, pad))
		r->bad = true;
	return r->bad ? NULL : p;
}

/* True if everything was there and nothing is left. */
static inline bool rd_done(const struct rd *r)
{
	return !r->bad && !r->left;
}

#endif /* SHIM_RD_H */
