/* SPDX-License-Identifier: MIT */
/*
 * Requests to QEMU's monitor: lines of JSON, each answered by one that begins with
 * "return" or "error"; events come in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sock.h"
#include "vmctl/vmctl.h"

#define MAX_LINE (64u << 10)
#define TIMEOUT_MS 30000

struct qmp {
	struct sock_addr addr;
	bool have_addr;
	uint64_t deadline;
	int fd;
	int pass;		/* goes with the first request; or -1 */
	char line[MAX_LINE + 1];
	size_t len;		/* received, of this line and the next */
	size_t used;		/* of this line */
};

static void parse_options(int argc, char **argv, struct qmp *q)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "pass", required_argument, NULL, 'p' },
		{ "timeout-ms", required_argument, NULL, 'm' },
		{ 0 },
	};
	uint64_t timeout_ms = TIMEOUT_MS;
	char addr[SOCK_PATH_MAX + 8];
	int c, n;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			n = snprintf(addr, sizeof(addr), "unix:%s", optarg);
			q->have_addr = n < (int)sizeof(addr) &&
				       sock_parse(addr, &q->addr) == 0;
			break;
		case 'p':
			q->pass = open(optarg, O_RDWR | O_CLOEXEC);
			if (q->pass < 0)
				die(ISO_EX_NOINPUT, "%s: %s", optarg,
				    strerror(errno));
			break;
		case 'm':
			timeout_ms = option_u64("timeout-ms", optarg, 1,
						600000);
			break;
		default:
			die(ISO_EX_USAGE, "see -h");
		}
	}
	if (!q->have_addr || optind == argc)
		die(ISO_EX_USAGE, "qmp: missing or unexpected operand; see -h");
	q->deadline = now_ns() + timeout_ms * 1000000;
}

static int left_ms(const struct qmp *q)
{
	uint64_t now = now_ns();

	if (now >= q->deadline)
		die(ISO_EX_TEMPFAIL, "%s: no answer in time", q->addr.path);
	return (int)((q->deadline - now + 999999) / 1000000);
}

/* The next line, without its end. */
static const char *read_line(struct qmp *q)
{
	char *end;

	memmove(q->line, q->line + q->used, q->len - q->used);
	q->len -= q->used;
	q->used = 0;
	while (!(end = memchr(q->line, '\n', q->len))) {
		struct pollfd p = { .fd = q->fd, .events = POLLIN };
		ssize_t n;

		if (q->len == MAX_LINE)
			die(ISO_EX_DATA, "%s: a line of more than %u bytes",
			    q->addr.path, MAX_LINE);
		if (poll(&p, 1, left_ms(q)) <= 0)
			continue;
		n = read(q->fd, q->line + q->len, MAX_LINE - q->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die(ISO_EX_UNAVAILABLE, "%s: the monitor ended",
			    q->addr.path);
		q->len += (size_t)n;
	}
	q->used = (size_t)(end - q->line) + 1;
	*end = 0;
	if (end > q->line && end[-1] == '\r')
		end[-1] = 0;
	return q->line;
}

static bool begins(const char *line, const char *key)
{
	return strncmp(line, key, strlen(key)) == 0;
}

static void send_line(struct qmp *q, const char *text)
{
	int r = 0;

	if (q->pass >= 0) {
		/* the fd goes with the first byte */
		char space[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec iov = { (void *)(uintptr_t)text, 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
				    .msg_control = space,
				    .msg_controllen = sizeof(space) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &q->pass, sizeof(int));
		if (sendmsg(q->fd, &m, MSG_NOSIGNAL) != 1)
			r = -errno;
		close_fd(&q->pass);
		text++;
	}
	if (r == 0)
		r = write_full(q->fd, text, strlen(text));
	if (r == 0)
		r = write_full(q->fd, "\n", 1);
	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "%s: %s", q->addr.path, strerror(-r));
}

/* Sends it and gives the answer's line. */
static const char *ask(struct qmp *q, const char *request)
{
	const char *line;

	send_line(q, request);
	do {
		line = read_line(q);
	} while (!begins(line, "{\"return\"") && !begins(line, "{\"error\""));
	return line;
}

int qmp_main(int argc, char **argv)
{
	static struct qmp q = { .fd = -1, .pass = -1 };
	int pass;

	parse_options(argc, argv, &q);
	q.fd = sock_connect(&q.addr, left_ms(&q));
	if (q.fd < 0)
		die(ISO_EX_UNAVAILABLE, "%s: %s", q.addr.path, strerror(-q.fd));
	if (!begins(read_line(&q), "{\"QMP\""))
		die(ISO_EX_DATA, "%s: what answers there is no QEMU",
		    q.addr.path);
	pass = q.pass;
	q.pass = -1;
	if (!begins(ask(&q, "{\"execute\":\"qmp_capabilities\"}"), "{\"return\""))
		die(ISO_EX_DATA, "%s: %s", q.addr.path, q.line);
	q.pass = pass;
	for (int i = optind; i < argc; i++) {
		const char *answer = ask(&q, argv[i]);

		puts(answer);
		if (begins(answer, "{\"error\""))
			return ISO_EX_NO;
	}
	return ISO_EX_OK;
}
