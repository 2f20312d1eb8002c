/* SPDX-License-Identifier: MIT */
/*
 * fuzz_hybrid.c - fuzzes the answer of a hybrid socket
 *
 * The first byte says where the answer is cut in two. However its bytes arrive,
 * the verdict and the rest of the stream are the same.
 */
#include <errno.h>
#include <string.h>

#include "base/hybrid.h"

static int feed(const uint8_t *p, size_t n, size_t step, size_t *ret_used)
{
	struct hybrid h = { .n = 0 };
	size_t at = 0, used = 0;
	int r = 0;

	while (r == 0 && at < n) {
		r = hybrid_feed(&h, p + at, MIN(step, n - at), &used);
		if (r < 0)
			break;
		if (used > MIN(step, n - at) || (r == 0 && used == 0))
			abort();
		at += used;
	}
	*ret_used = at;
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t whole, parts;
	int a, b;

	if (n < 1)
		return 0;
	a = feed(p + 1, n - 1, SIZE_MAX, &whole);
	b = feed(p + 1, n - 1, p[0] % 16 + 1u, &parts);
	if (a != b || (a == 1 && whole != parts))
		abort();
	if (a == 1 && (whole < 5 || memcmp(p + 1, "OK ", 3) != 0 ||
		       p[whole] != '\n'))
		abort();
	return 0;
}
