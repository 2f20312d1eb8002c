/* SPDX-License-Identifier: MIT */
/*
 * bench.h - reports pairs of measurements
 *
 * Two things are measured in turn, so that noise of the machine disturbs both;
 * each pair gives one ratio. One JSON object a line says the medians, the
 * quartiles of the ratio, and whether its median keeps the limit.
 */
#ifndef ISO_BENCH_H
#define ISO_BENCH_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_PAIRS 51
#define BENCH_PAIRS_MAX 101

struct bench_pairs {
	const char *name;	/* what is measured, e.g. bridge_round_trip_us */
	const char *ours, *theirs;
	size_t n;
	double a[BENCH_PAIRS_MAX], b[BENCH_PAIRS_MAX];
};

static inline void bench_add(struct bench_pairs *p, double ours, double theirs)
{
	if (p->n == BENCH_PAIRS_MAX)
		abort();
	p->a[p->n] = ours;
	p->b[p->n++] = theirs;
}

static inline int bench_cmp(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

/* The q-quantile (0..1) of n values, nearest rank. */
static inline double bench_quantile(const double *v, size_t n, double q)
{
	double s[BENCH_PAIRS_MAX];

	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), bench_cmp);
	return s[(size_t)(q * (double)(n - 1) + 0.5)];
}

/* Prints the line. `limit` bounds the median of ours/theirs: from above if
 * at_most, else from below. True if it is kept. */
static inline bool bench_say(const struct bench_pairs *p, double limit,
			     bool at_most)
{
	double ratio[BENCH_PAIRS_MAX], mid;
	bool kept;

	for (size_t i = 0; i < p->n; i++)
		ratio[i] = p->a[i] / p->b[i];
	mid = bench_quantile(ratio, p->n, 0.5);
	kept = at_most ? mid <= limit : mid >= limit;
	printf("{\"bench\":\"%s\",\"n\":%zu,\"%s\":%.3f,\"%s\":%.3f,"
	       "\"ratio\":%.3f,\"ratio_q1\":%.3f,\"ratio_q3\":%.3f,"
	       "\"%s\":%.2f,\"kept\":%s}\n",
	       p->name, p->n, p->ours, bench_quantile(p->a, p->n, 0.5),
	       p->theirs, bench_quantile(p->b, p->n, 0.5), mid,
	       bench_quantile(ratio, p->n, 0.25),
	       bench_quantile(ratio, p->n, 0.75),
	       at_most ? "at_most" : "at_least", limit,
	       kept ? "true" : "false");
	fflush(stdout);
	return kept;
}

#endif /* ISO_BENCH_H */
