/* SPDX-License-Identifier: MIT */
#include "vmctl/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

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
			die(ISO_EX_USAGE, "--socket: '%s': no path of a socket",
			    value);
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

void peer_connect(struct peer *p)
{
	/* who closes while we write is told as an error */
	signal(SIGPIPE, SIG_IGN);
	if (!p->timeout_ms)
		p->timeout_ms = PEER_TIMEOUT_MS;
	p->deadline = now_ns() + p->timeout_ms * 1000000;
	p->fd = sock_connect(&p->addr, left_ms(p));
	if (p->fd < 0)
		die(ISO_EX_UNAVAILABLE, "%s: %s", p->addr.path,
		    strerror(-p->fd));
}

/* The monitor takes the whole of a request into its socket's buffer. */
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
			    "%s: the monitor ended before it answered",
			    p->addr.path);
		return (size_t)n;
	}
}
