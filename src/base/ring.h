/* SPDX-License-Identifier: MIT */
/*
 * ring.h - a byte queue of fixed size, seen through two iovecs
 *
 * Reads and writes of an fd go straight to and from the ring.
 */
#ifndef ISO_RING_H
#define ISO_RING_H

#include <sys/uio.h>

#include "base/base.h"

struct ring {
	uint8_t *buf;	/* owned; NULL until ring_init */
	size_t cap;	/* power of two */
	size_t head;	/* bytes ever written */
	size_t tail;	/* bytes ever read; head - tail are in it */
};

/* cap: bytes, a power of two. 0 or -ENOMEM. */
int ring_init(struct ring *r, size_t cap);
void ring_free(struct ring *r);

static inline size_t ring_used(const struct ring *r)
{
	return r->head - r->tail;
}

static inline size_t ring_space(const struct ring *r)
{
	return r->cap - ring_used(r);
}

/* The free, or the filled, part as 0..2 iovecs; returns how many. */
int ring_space_iov(const struct ring *r, struct iovec iov[2]);
int ring_used_iov(const struct ring *r, struct iovec iov[2]);
/* Counts n bytes as written to, or taken from, those iovecs. */
void ring_wrote(struct ring *r, size_t n);
void ring_took(struct ring *r, size_t n);
/* Copies n bytes in, no more than ring_space(). */
void ring_put(struct ring *r, const void *p, size_t n);

#endif /* ISO_RING_H */
