/* SPDX-License-Identifier: MIT */
/* hybrid.c - reads the answer of a hybrid socket */
#include "base/hybrid.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

/* 1 if the line, whole with its newline, says `OK number`; else -EPROTO. */
static int check_line(struct hybrid *h)
{
	const char *port = h->line + 3;
	uint64_t v;

	h->line[h->n - 1] = 0;
	if (strlen(h->line) != h->n - 1 || strncmp(h->line, "OK ", 3) != 0 ||
	    strspn(port, "0123456789") != strlen(port) ||
	    parse_u64(port, 0, UINT32_MAX, &v) < 0)
		return -EPROTO;
	return 1;
}

int hybrid_feed(struct hybrid *h, const void *p, size_t n, size_t *ret_used)
{
	const char *b = p;

	for (size_t i = 0; i < n; i++) {
		if (h->n == sizeof(h->line))
			return -EPROTO;
		h->line[h->n++] = b[i];
		if (b[i] == '\n') {
			*ret_used = i + 1;
			return check_line(h);
		}
	}
	*ret_used = n;
	return 0;
}
