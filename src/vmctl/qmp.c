/* SPDX-License-Identifier: MIT */
/*
 * qmp.c - sends requests to QEMU
 *
 * A request is a line of JSON. QEMU answers it with a line that begins with
 * "return" or "error"; lines for events come in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "vmctl/peer.h"

#define MAX_LINE (64u << 10)

struct qmp {
	struct peer peer;
	int pass;		/* to go with the first request; or -1 */
	char line[MAX_LINE + 1];
	size_t len;		/* received, of this line and the next */
	size_t used;		/* of this line */
};

static void parse_options(int argc, char **argv, struct qmp *q)
{
	static const struct option longs[] = {
		PEER_LONGS,
		{ "pass", required_argument, NULL, 'f' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'f') {
			peer_option(&q->peer, c, optarg);
			continue;
		}
		q->pass = open(optarg, O_RDWR | O_CLOEXEC);
		if (q->pass < 0)
			die(ISO_EX_NOINPUT, "%s: %s", optarg, strerror(errno));
	}
	if (!q->peer.have_addr || optind == argc)
		die(ISO_EX_USAGE, "qmp: missing or unexpected operand; see -h");
}

/* The next line, without its end. */
static const char *read_line(struct qmp *q)
{
	char *end;

	memmove(q->line, q->line + q->used, q->len - q->used);
	q->len -= q->used;
	q->used = 0;
	while (!(end = memchr(q->line, '\n', q->len))) {
		if (q->len == MAX_LINE)
			die(ISO_EX_DATA, "%s: a line of more than %u bytes",
			    q->peer.addr.path, MAX_LINE);
		q->len += peer_read(&q->peer, q->line + q->len,
				    MAX_LINE - q->len);
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

/* Sends a request, the first one with the file to pass. */
static void send_line(struct qmp *q, const char *text)
{
	int r;

	if (q->pass >= 0) {
		/* the fd goes with the first byte */
		r = sock_send_fds(q->peer.fd, text, 1, &q->pass, 1);
		if (r < 0)
			die(ISO_EX_UNAVAILABLE, "%s: %s", q->peer.addr.path,
			    strerror(-r));
		close_fd(&q->pass);
		text++;
	}
	/* no newline: QEMU may have ended before it is written */
	peer_write(&q->peer, text, strlen(text));
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
	static struct qmp q = { .pass = -1 };
	int pass;

	parse_options(argc, argv, &q);
	peer_connect(&q.peer);
	if (!begins(read_line(&q), "{\"QMP\""))
		die(ISO_EX_DATA, "%s: the answer is not QEMU's",
		    q.peer.addr.path);
	pass = q.pass;
	q.pass = -1;
	if (!begins(ask(&q, "{\"execute\":\"qmp_capabilities\"}"), "{\"return\""))
		die(ISO_EX_DATA, "%s: %s", q.peer.addr.path, q.line);
	q.pass = pass;
	for (int i = optind; i < argc; i++) {
		const char *answer = ask(&q, argv[i]);

		puts(answer);
		if (begins(answer, "{\"error\""))
			return ISO_EX_NO;
	}
	return ISO_EX_OK;
}
