/* SPDX-License-Identifier: MIT */
/* base.h - small things that every program here uses */
#ifndef ISO_BASE_H
#define ISO_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define _noreturn_ __attribute__((noreturn))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _must_check_ __attribute__((warn_unused_result))

/* Exit statuses (sysexits.h has the same numbers). */
enum iso_exit {
	ISO_EX_OK = 0,
	ISO_EX_NO = 1,
	ISO_EX_USAGE = 64,
	ISO_EX_DATA = 65,
	ISO_EX_NOINPUT = 66,
	ISO_EX_UNAVAILABLE = 69,
	ISO_EX_BUG = 70,
	ISO_EX_IO = 74,
	ISO_EX_TEMPFAIL = 75,
	ISO_EX_NOPERM = 77,
	ISO_EX_CONFIG = 78,
};

/* Owned locals: released when they leave scope, unless taken. */
static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))

/* Hands an owned fd on: returns it and leaves -1. */
static inline int take_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

/* Closes *fd if it is open and leaves -1. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

#define take_ptr(p) \
	__extension__({ __typeof__(p) take_tmp = (p); (p) = NULL; take_tmp; })

/* *ret = a * b; false (and *ret untouched) if that does not fit. */
static inline _must_check_ bool mul_ok(size_t a, size_t b, size_t *ret)
{
	size_t r;

	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*ret = r;
	return true;
}

/* True if [off, off + len) lies within [0, n). */
static inline _must_check_ bool range_ok(uint64_t off, uint64_t len, uint64_t n)
{
	return off <= n && len <= n - off;
}

static inline size_t pad8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* Opens those of fds 0, 1 and 2 that are closed on /dev/null, so that no other
 * file gets such a number; ends the process if that fails. For main. */
void open_std_fds(void);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t now_ns(void);

/* Fills buf with n bytes of the kernel's randomness. 0, or -errno. */
int random_bytes(void *buf, size_t n);

/* Compares n bytes in a time that does not depend on where they differ. */
_must_check_ bool equal_ct(const void *a, const void *b, size_t n);

#endif /* ISO_BASE_H */
