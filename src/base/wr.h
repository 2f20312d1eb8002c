/* SPDX-License-Identifier: MIT */
/*
 * wr.h - builds a message in a growing buffer
 *
 * It turns bad for good when memory runs out or `max` is passed: nothing is
 * added any more, and one wr_ok() at the end tells.
 */
#ifndef ISO_WR_H
#define ISO_WR_H

#include "base/base.h"

struct wr {
	uint8_t *p;	/* owned; wr_free() */
	size_t len;
	size_t cap;
	size_t max;	/* bytes, at most */
	bool bad;
};

void wr_init(struct wr *w, size_t max);
void wr_free(struct wr *w);
void wr_reset(struct wr *w);

/* Adds n bytes of zeroes, for the caller to fill in; NULL if bad. */
void *wr_room(struct wr *w, size_t n);
void wr_bytes(struct wr *w, const void *p, size_t n);
void wr_zero(struct wr *w, size_t n);
/* n bytes and zeroes up to a multiple of 8. */
void wr_pad8(struct wr *w, const void *p, size_t n);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);

static inline _must_check_ bool wr_ok(const struct wr *w)
{
	return !w->bad;
}

#endif /* ISO_WR_H */
