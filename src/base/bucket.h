/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - a token bucket: a burst at once, then a token in a fixed time
 *
 * A full bucket holds `burst` tokens. Whatever is taken comes back, one token
 * in `each_ns`, until the bucket is full again. The bucket keeps a single
 * number and no clock of its own: the caller says what time it is.
 */
#ifndef ISO_BUCKET_H
#define ISO_BUCKET_H

#include "base/base.h"

struct bucket_rate {
	uint32_t burst;		/* tokens in a full bucket, at least 1 */
	uint64_t each_ns;	/* until a token is there again */
};

/*
 * A zeroed bucket is full. One that shall begin empty has
 * full_ns = now + burst * each_ns.
 */
struct bucket {
	uint64_t full_ns;	/* when it is full; in the past: it is */
};

/*
 * Takes a token at the time `now`, that of now_ns(). 0, or how many
 * nanoseconds, at least 1, are left until there is a token to take.
 */
_must_check_ uint64_t bucket_take(struct bucket *b,
				  const struct bucket_rate *rate,
				  uint64_t now);

/* Puts back the token that bucket_take() has just given. */
void bucket_give(struct bucket *b, const struct bucket_rate *rate);

#endif /* ISO_BUCKET_H */
