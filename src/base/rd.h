/* SPDX-License-Identifier: MIT */
/*
 * rd.h - a cursor over received bytes
 *
 * Every getter checks the length. After a short read the cursor is bad for
 * good: getters then give 0 or NULL, and one rd_done() at the end tells.
 */
#ifndef ISO_RD_H
#define ISO_RD_H

#include <string.h>

#include "base/base.h"

struct rd {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline struct rd rd_init(const void *p, size_t n)
{
	return (struct rd){ .p = p, .left = n, .bad = false };
}

/* The next n bytes, in the buffer itself, or NULL. */
static inline const void *rd_span(struct rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

/* Copies the next n bytes to dst; zeroes dst if they are not there. */
static inline void rd_copy(struct rd *r, void *dst, size_t n)
{
	const void *p = rd_span(r, n);

	if (p)
		memcpy(dst, p, n);
	else
		memset(dst, 0, n);
}

static inline uint16_t rd_u16(struct rd *r)
{
	uint8_t b[2];

	rd_copy(r, b, sizeof(b));
	return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t rd_u32(struct rd *r)
{
	uint8_t b[4];

	rd_copy(r, b, sizeof(b));
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
	       (uint32_t)b[3] << 24;
}

static inline uint64_t rd_u64(struct rd *r)
{
	uint64_t lo = rd_u32(r);

	return lo | (uint64_t)rd_u32(r) << 32;
}

/* Skips n bytes, which must all be zero. */
static inline void rd_zero(struct rd *r, size_t n)
{
	const uint8_t *p = rd_span(r, n);

	for (size_t i = 0; p && i < n; i++)
		if (p[i])
			r->bad = true;
}

/* n bytes and the zero padding that brings them to a multiple of 8. */
static inline const void *rd_span_pad8(struct rd *r, size_t n)
{
	const void *p = rd_span(r, n);

	if (p)
		rd_zero(r, pad8(n) - n);
	return r->bad ? NULL : p;
}

/* True if everything was there and nothing is left. */
static inline _must_check_ bool rd_done(const struct rd *r)
{
	return !r->bad && r->left == 0;
}

#endif /* ISO_RD_H */
