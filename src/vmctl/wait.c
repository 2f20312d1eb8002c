/* SPDX-License-Identifier: MIT */
/* wait.c - waits for a line of a log */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/log.h"
#include "vmctl/vmctl.h"

#define MAX_LINE 1024

struct waiter {
	const char *file, *line, *fail;
	uint64_t timeout_ms, pid, start;
	int log_fd, pidfd, inotify;
	off_t pos;
	char text[MAX_LINE];	/* of the line that is not whole yet */
	size_t len;
};

/* Whether the line is `want`, or begins with `want` and a space. */
static bool is_line(const struct waiter *w, const char *want)
{
	size_t n = want ? strlen(want) : 0;

	return want && w->len >= n && memcmp(w->text, want, n) == 0 &&
	       (w->len == n || w->text[n] == ' ');
}

/* Takes one byte. -1, or the exit status that it decides. */
static int take(struct waiter *w, char c)
{
	int status = -1;

	if (c != '\n') {
		if (c != '\r' && w->len < sizeof(w->text))
			w->text[w->len++] = c;
		return -1;
	}
	if (is_line(w, w->line)) {
		printf("%llu\n", (unsigned long long)now_ns());
		status = ISO_EX_OK;
	} else if (is_line(w, w->fail)) {
		printf("%.*s\n", (int)w->len, w->text);
		status = ISO_EX_NO;
	}
	w->len = 0;
	return status;
}

/* Reads the bytes that are new. -1, or the exit status that they decide. */
static int read_log(struct waiter *w)
{
	char buf[4096];
	struct stat st;
	ssize_t n;

	if (fstat(w->log_fd, &st) == 0 && st.st_size < w->pos) {
		/* its writer has emptied it */
		w->pos = 0;
		w->len = 0;
	}
	while ((n = pread(w->log_fd, buf, sizeof(buf), w->pos)) > 0) {
		w->pos += n;
		for (ssize_t i = 0; i < n; i++) {
			int status = take(w, buf[i]);

			if (status >= 0)
				return status;
		}
	}
	if (n < 0)
		die(ISO_EX_IO, "%s: %s", w->file, strerror(errno));
	return -1;
}

static void parse_options(int argc, char **argv, struct waiter *w)
{
	static const struct option longs[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "line", required_argument, NULL, 'l' },
		{ "fail", required_argument, NULL, 'x' },
		{ "timeout-ms", required_argument, NULL, 'm' },
		{ "pid", required_argument, NULL, 'p' },
		{ "start-time", required_argument, NULL, 't' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			w->file = optarg;
			break;
		case 'l':
			w->line = optarg;
			break;
		case 'x':
			w->fail = optarg;
			break;
		case 'm':
			w->timeout_ms = option_u64("timeout-ms", optarg, 1,
						   86400000);
			break;
		case 'p':
			w->pid = option_u64("pid", optarg, 1, INT32_MAX);
			break;
		case 't':
			w->start = option_u64("start-time", optarg, 0,
					      UINT64_MAX - 1);
			break;
		default:
			die(ISO_EX_USAGE, "see -h");
		}
	}
	if (optind != argc || !w->file || !w->line || !w->timeout_ms ||
	    !w->pid != (w->start == UINT64_MAX))
		die(ISO_EX_USAGE, "wait: missing or unexpected operand; see -h");
}

/* Opens the log, its watch, and the process if one was given. */
static void open_all(struct waiter *w)
{
	w->log_fd = open(w->file, O_RDONLY | O_CLOEXEC);
	if (w->log_fd < 0)
		die(ISO_EX_NOINPUT, "%s: %s", w->file, strerror(errno));
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify < 0 ||
	    inotify_add_watch(w->inotify, w->file, IN_MODIFY) < 0)
		die(ISO_EX_IO, "%s: cannot be watched: inotify: %s", w->file,
		    strerror(errno));
	if (!w->pid)
		return;
	w->pidfd = process_open((pid_t)w->pid, w->start);
	if (w->pidfd < 0 && w->pidfd != -ESRCH)
		die(ISO_EX_IO, "process %d: %s", (int)w->pid,
		    strerror(-w->pidfd));
}

/* Waits for the next event. False at the deadline. */
static bool next_event(struct waiter *w, uint64_t deadline, bool *ret_ended)
{
	struct pollfd p[] = {
		{ .fd = w->inotify, .events = POLLIN },
		{ .fd = w->pidfd, .events = POLLIN },
	};
	char events[4096];
	uint64_t now = now_ns();

	if (now >= deadline)
		return false;
	if (poll(p, ARRAY_SIZE(p), (int)((deadline - now + 999999) / 1000000)) <
	    0 && errno != EINTR)
		die(ISO_EX_IO, "poll: %s", strerror(errno));
	if ((p[0].revents & POLLIN) &&
	    read(w->inotify, events, sizeof(events)) < 0 && errno != EAGAIN)
		die(ISO_EX_IO, "inotify: %s", strerror(errno));
	*ret_ended = p[1].revents & POLLIN;
	return true;
}

int wait_main(int argc, char **argv)
{
	struct waiter w = { .pidfd = -1, .start = UINT64_MAX };
	uint64_t deadline;
	bool ended = false;
	int status;

	parse_options(argc, argv, &w);
	deadline = now_ns() + w.timeout_ms * 1000000;
	open_all(&w);
	ended = w.pidfd == -ESRCH;
	for (;;) {
		/* read once more after the process ended: its last line
		 * counts */
		status = read_log(&w);
		if (status >= 0)
			return status;
		if (ended) {
			printf("process %d has ended\n", (int)w.pid);
			return ISO_EX_NO;
		}
		if (!next_event(&w, deadline, &ended))
			die(ISO_EX_TEMPFAIL, "%s: no line '%s' within %llu ms",
			    w.file, w.line, (unsigned long long)w.timeout_ms);
	}
}
