/* SPDX-License-Identifier: MIT */
/* ring.c - keeps a queue of bytes */
#include "base/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int ring_init(struct ring *r, size_t cap)
{
	assert(cap && (cap & (cap - 1)) == 0);
	*r = (struct ring){ .buf = malloc(cap), .cap = cap };
	return r->buf ? 0 : -ENOMEM;
}

void ring_free(struct ring *r)
{
	free(r->buf);
	*r = (struct ring){ 0 };
}

/* The n bytes that begin at position pos, as 0..2 iovecs; returns how many. */
static int ring_iov(const struct ring *r, size_t pos, size_t n,
		    struct iovec iov[2])
{
	size_t off = pos & (r->cap - 1);
	size_t first = MIN(n, r->cap - off);

	if (n == 0)
		return 0;
	iov[0] = (struct iovec){ r->buf + off, first };
	if (n == first)
		return 1;
	iov[1] = (struct iovec){ r->buf, n - first };
	return 2;
}

int ring_space_iov(const struct ring *r, struct iovec iov[2])
{
	return ring_iov(r, r->head, ring_space(r), iov);
}

int ring_used_iov(const struct ring *r, struct iovec iov[2])
{
	return ring_iov(r, r->tail, ring_used(r), iov);
}

void ring_wrote(struct ring *r, size_t n)
{
	assert(n <= ring_space(r));
	r->head += n;
}

void ring_took(struct ring *r, size_t n)
{
	assert(n <= ring_used(r));
	r->tail += n;
}

void ring_put(struct ring *r, const void *p, size_t n)
{
	struct iovec iov[2];
	int k;

	assert(n <= ring_space(r));
	k = ring_iov(r, r->head, n, iov);
	for (int i = 0; i < k; i++) {
		memcpy(iov[i].iov_base, p, iov[i].iov_len);
		p = (const uint8_t *)p + iov[i].iov_len;
	}
	r->head += n;
}
