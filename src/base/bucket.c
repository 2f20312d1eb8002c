/* SPDX-License-Identifier: MIT */
/* bucket.c - counts the tokens of a bucket by the time at which it is full */
#include "base/bucket.h"

uint64_t bucket_take(struct bucket *b, const struct bucket_rate *rate,
		     uint64_t now)
{
	uint64_t full = MAX(b->full_ns, now) + rate->each_ns;
	uint64_t limit = now + rate->burst * rate->each_ns;

	if (full > limit)
		return full - limit;
	b->full_ns = full;
	return 0;
}

void bucket_give(struct bucket *b, const struct bucket_rate *rate)
{
	b->full_ns -= rate->each_ns;
}
