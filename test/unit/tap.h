/* SPDX-License-Identifier: MIT */
/*
 * tap.h - writes a test program's output, in the Test Anything Protocol
 *
 * ok(condition, format, ...) for each claim; main ends with
 * `return done_testing();`.
 */
#ifndef ISO_TAP_H
#define ISO_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, #cond, __VA_ARGS__)
#define skip(...) tap_skip(__VA_ARGS__)

static int tap_count, tap_failed;

/* Returns cond, for tests that make sense only after it. */
__attribute__((format(printf, 5, 6))) static inline bool
tap_ok(bool cond, const char *file, int line, const char *text,
       const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", cond ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (!cond) {
		tap_failed++;
		printf("#   %s:%d: %s\n", file, line, text);
	}
	fflush(stdout);
	return cond;
}

/* Reports a claim that was not tested, and the reason. */
__attribute__((format(printf, 2, 3))) static inline void
tap_skip(const char *reason, const char *fmt, ...)
{
	va_list ap;

	printf("ok %d - ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" # SKIP %s\n", reason);
	fflush(stdout);
}

static inline int done_testing(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? 1 : 0;
}

#endif /* ISO_TAP_H */
