/* SPDX-License-Identifier: MIT */
/* child_log.h - the lines that a child writes to its stderr */
#ifndef ISO_BROKER_CHILD_LOG_H
#define ISO_BROKER_CHILD_LOG_H

#include "base/log.h"
#include "loop/loop.h"

#define CHILD_LOG_LINE 500	/* bytes of a line; a longer one is broken */

struct child_log {
	struct loop *loop;	/* borrowed, like the next */
	const char *worker;	/* whose child it is: stands before each line */
	struct iso_ev ev;	/* fd is -1 without a child */
	char line[CHILD_LOG_LINE];
	size_t len;
	struct log_limit limit;
};

/* Takes over a pipe's end. 0 or -errno. */
int child_log_open(struct child_log *cl, int fd);

/* The child is gone: logs its last lines, and closes. Nothing happens if it is
 * not open. */
void child_log_close(struct child_log *cl);

#endif /* ISO_BROKER_CHILD_LOG_H */
