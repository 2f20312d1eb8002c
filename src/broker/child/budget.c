/* SPDX-License-Identifier: MIT */
/* budget.c - counts the resources that one worker uses of its child */
#include "broker/child/budget.h"

#define NS_PER_S UINT64_C(1000000000)
/* After a silence as long as this, as many requests are let through at once as
 * the rate allows in that time. */
#define BURST_S 1

void budget_init(struct budget *b, uint64_t max_bytes, uint32_t max_rate,
		 uint64_t *refused)
{
	*b = (struct budget){ .max_bytes = max_bytes, .refused = refused };
	if (max_rate == 0)
		return;
	b->rate.burst = max_rate * BURST_S;
	b->rate.each_ns = NS_PER_S / max_rate;
	/* Empty at first, so a new child gives its worker no burst. */
	b->tokens.full_ns = now_ns() + b->rate.burst * b->rate.each_ns;
}

bool budget_token(struct budget *b)
{
	if (b->rate.burst == 0 ||
	    bucket_take(&b->tokens, &b->rate, now_ns()) == 0)
		return true;
	b->dry = true;
	return false;
}

void budget_untoken(struct budget *b)
{
	if (b->rate.burst)
		bucket_give(&b->tokens, &b->rate);
}

bool budget_take(struct budget *b, enum budget_mem what, size_t n)
{
	if (!range_ok(b->bytes[what], n, b->max_bytes)) {
		(*b->refused)++;
		return false;
	}
	b->bytes[what] += n;
	return true;
}

void budget_add(struct budget *b, enum budget_mem what, size_t n)
{
	b->bytes[what] += n;
}

void budget_give(struct budget *b, enum budget_mem what, size_t n)
{
	b->bytes[what] -= n;
	b->freed = true;
}
