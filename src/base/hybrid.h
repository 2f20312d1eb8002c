/* SPDX-License-Identifier: MIT */
/* hybrid.h - the answer of a hybrid socket to `CONNECT port\n` */
#ifndef ISO_HYBRID_H
#define ISO_HYBRID_H

#include "base/base.h"

#define HYBRID_LINE_MAX 16	/* `OK 4294967295\n` and room to spare */

struct hybrid {
	char line[HYBRID_LINE_MAX];
	size_t n;
};

/*
 * Takes bytes as they come, up to and with the end of the line; *ret_used says
 * how many (what lies behind belongs to the stream). 1 when the line says `OK
 * number`, 0 when more must come, -EPROTO for anything else.
 */
int hybrid_feed(struct hybrid *h, const void *p, size_t n, size_t *ret_used);

#endif /* ISO_HYBRID_H */
