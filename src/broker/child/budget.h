/* SPDX-License-Identifier: MIT */
/*
 * budget.h - how much of this child one worker may use at a time
 *
 * A frame for which too little is left waits: its connection is parked, and it
 * is resumed when memory was given back or time has brought a token. The flags
 * `freed` and `dry` tell the end of the turn of it, which clears them. All of
 * this is the loop leader's.
 */
#ifndef ISO_BROKER_BUDGET_H
#define ISO_BROKER_BUDGET_H

#include "base/base.h"
#include "base/bucket.h"

/* What MAX_INFLIGHT_BYTES bounds, each by itself: a frame that is being read
 * must not wait for memory that its own call would need. */
enum budget_mem {
	BUDGET_INPUT,	/* frames that are being read */
	BUDGET_CALLS,	/* calls, until their results are sent */
	BUDGET_MEM__COUNT
};

struct budget {
	uint64_t max_bytes;		/* for each of these: */
	uint64_t bytes[BUDGET_MEM__COUNT];
	struct bucket_rate rate;	/* burst 0: any rate */
	struct bucket tokens;
	uint64_t *refused;		/* borrowed: a count of refusals */
	bool freed;			/* bytes were given back */
	bool dry;			/* a frame waits for a token */
};

/* max_rate: requests a second, 0 for any. */
void budget_init(struct budget *b, uint64_t max_bytes, uint32_t max_rate,
		 uint64_t *refused);

/* Takes a token of the rate; false if there is none. */
_must_check_ bool budget_token(struct budget *b);
/* Puts it back: its frame has to wait, and takes another when it comes again. */
void budget_untoken(struct budget *b);

/* Counts n bytes as in use; false, and nothing is counted, if they are too
 * many. */
_must_check_ bool budget_take(struct budget *b, enum budget_mem what, size_t n);
/* Counts them whether or not they are too many: they are in use already. */
void budget_add(struct budget *b, enum budget_mem what, size_t n);
void budget_give(struct budget *b, enum budget_mem what, size_t n);

#endif /* ISO_BROKER_BUDGET_H */
