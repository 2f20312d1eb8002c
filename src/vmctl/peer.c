/* SPDX-License-Identifier: MIT */
/* peer.c - talks to a VMM over its socket */
#include "vmctl/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define RETRY_MS 5

void peer_option(struct peer *p, int option, const char *value)
{
	char addr[SOCK_PATH_MAX + 8];
	int n;

	switch (option) {
	case 's':
		n = snprintf(addr, sizeof(addr), "unix:%s", value);
		p->have_addr = n < (int)sizeof(addr) &&
			       sock_parse(addr, &p->addr) == 0;
		if (!p->have_addr)
			die(ISO_EX_USAGE, "--socket: '%s': not the path of a socket",
			    value);
		break;
	case 'p':
		p->pid = option_u64("pid", value, 1, INT32_MAX);
		break;
	case 't':
		p->start = option_u64("start-time", value, 1,
				      UINT64_MAX - 1);
		break;
	case 'm':
		p->timeout_ms = option_u64("timeout-ms", value, 1, 600000);
		break;
	default:
		die(ISO_EX_USAGE, "see -h");
	}
}

static int left_ms(const struct peer *p)
{
	uint64_t now = now_ns();

	if (now >= p->deadline)
		die(ISO_EX_TEMPFAIL, "%s: no answer in time", p->addr.path);
	return (int)((p->deadline - now + 999999) / 1000000);
}

/* Whether to try again: the process that is to serve the socket still runs
 * after a moment. The kernel has no event for a socket that begins to be
 * served. */
static bool may_come(const struct peer *p, int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	return (p->fd == -ENOENT || p->fd == -ECONNREFUSED) &&
	       poll(&pfd, 1, MIN(RETRY_MS, left_ms(p))) == 0;
}

void peer_connect(struct peer *p)
{
	_cleanup_close_ int pidfd = -1;

	if (!p->pid != !p->start)
		die(ISO_EX_USAGE, "--pid and --start-time go together; see -h");
	/* a peer that closes while we write gives an error instead */
	signal(SIGPIPE, SIG_IGN);
	if (!p->timeout_ms)
		p->timeout_ms = PEER_TIMEOUT_MS;
	p->deadline = now_ns() + p->timeout_ms * 1000000;
	if (p->pid) {
		pidfd = process_open((pid_t)p->pid, p->start);
		if (pidfd < 0)
			die(ISO_EX_UNAVAILABLE, "process %d: %s", (int)p->pid,
			    strerror(-pidfd));
	}
	do {
		p->fd = sock_connect(&p->addr, left_ms(p));
	} while (p->fd < 0 && p->pid && may_come(p, pidfd));
	if (p->fd < 0)
		die(ISO_EX_UNAVAILABLE, "%s: %s", p->addr.path,
		    strerror(-p->fd));
}

/* Does not wait for long: a whole request fits the socket's buffer. */
void peer_write(struct peer *p, const void *buf, size_t n)
{
	int r = write_full(p->fd, buf, n);

	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "%s: %s", p->addr.path, strerror(-r));
}

size_t peer_read(struct peer *p, void *buf, size_t cap)
{
	for (;;) {
		struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
		ssize_t n;

		if (poll(&pfd, 1, left_ms(p)) <= 0)
			continue;
		n = read(p->fd, buf, cap);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die(ISO_EX_UNAVAILABLE,
			    "%s: the VMM closed it before it answered",
			    p->addr.path);
		return (size_t)n;
	}
}
