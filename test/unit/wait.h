/* SPDX-License-Identifier: MIT */
/*
 * wait.h - waits in tests for things that send no event
 *
 *	uint64_t end = 0;
 *
 *	while (!there() && wait_more(&end, 5000))
 *		;
 *
 * Every wait has a deadline, so the test then checks whether the thing came.
 */
#ifndef ISO_TEST_WAIT_H
#define ISO_TEST_WAIT_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/base.h"
#include "base/sock.h"

/* Sleeps for a millisecond. False once ms have passed since *end_ns was 0,
 * which is how a wait begins. */
static inline bool wait_more(uint64_t *end_ns, unsigned int ms)
{
	uint64_t now = now_ns();

	if (*end_ns == 0)
		*end_ns = now + ms * UINT64_C(1000000);
	if (now >= *end_ns)
		return false;
	poll(NULL, 0, 1);
	return true;
}

/* Whether the fd becomes readable, or ends, within ms. */
static inline bool wait_readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* Connects to a Unix socket as soon as something listens there. The fd,
 * blocking, or -errno after ms. */
static inline int wait_connect(const char *path, unsigned int ms)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	uint64_t end = 0;
	int fd;

	if (snprintf(a.path, sizeof(a.path), "%s", path) >=
	    (int)sizeof(a.path))
		return -ENAMETOOLONG;
	do {
		fd = sock_connect(&a, 1000);
	} while (fd < 0 && wait_more(&end, ms));
	return fd;
}

#endif /* ISO_TEST_WAIT_H */
