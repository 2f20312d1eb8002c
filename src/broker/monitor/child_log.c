/* SPDX-License-Identifier: MIT */
/* child_log.c - puts the lines that a child writes on the monitor's log */
#include "broker/monitor/child_log.h"

#include <string.h>

/* Reads of the last lines: more than a pipe can hold. */
#define LAST_READS 16

/* A child may be in its worker's hands, and its text is worth no more than
 * that: it is cleaned (log.h), limited, and named, and its level is the one it
 * claims. */
static void log_line(struct child_log *cl)
{
	static const struct {
		const char *prefix;
		void (*say)(const char *fmt, ...);
	} levels[] = {
		{ "child: error: ", log_error },
		{ "child: warning: ", log_warn },
		{ "child: info: ", log_info },
		{ "child: debug: ", log_debug },
	};

	if (cl->len == 0 || !log_limit_ok(&cl->limit))
		return;
	cl->line[cl->len] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		size_t n = strlen(levels[i].prefix);

		if (strncmp(cl->line, levels[i].prefix, n) == 0) {
			levels[i].say("%s: %s", cl->worker, cl->line + n);
			return;
		}
	}
	log_warn("%s: %s", cl->worker, cl->line);
}

/* False when there is nothing now. */
static bool read_some(struct child_log *cl)
{
	char buf[4096];
	ssize_t n = read(cl->ev.fd, buf, sizeof(buf));

	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n')
			cl->line[cl->len++] = buf[i];
		if (buf[i] == '\n' || cl->len == CHILD_LOG_LINE - 1) {
			log_line(cl);
			cl->len = 0;
		}
	}
	return n > 0;
}

static void log_event(struct iso_ev *ev, uint32_t events)
{
	struct child_log *cl = container_of(ev, struct child_log, ev);

	if (!read_some(cl) && events & (EPOLLHUP | EPOLLERR))
		loop_del(cl->loop, ev);
}

int child_log_open(struct child_log *cl, int fd)
{
	cl->ev.fd = fd;
	cl->ev.fn = log_event;
	return loop_set(cl->loop, &cl->ev, EPOLLIN);
}

void child_log_close(struct child_log *cl)
{
	for (int i = 0; i < LAST_READS && cl->ev.fd >= 0 && read_some(cl); i++)
		;
	loop_del(cl->loop, &cl->ev);
	close_fd(&cl->ev.fd);
	cl->len = 0;
}
