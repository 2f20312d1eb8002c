/* SPDX-License-Identifier: MIT */
/*
 * session.h - the files and calls of one connection
 *
 *	   session_new()
 *	        |
 *	        v
 *	   +---------+  HELLO, good   +-----------+
 *	   |   NEW   |--------------->|  RUNNING  |
 *	   +---------+                +-----------+
 *	        |                           |
 *	        | its connection has ENDED: |
 *	        v          session_ended()  v
 *	   +--------------------------------------+
 *	   |                ENDED                 |
 *	   +--------------------------------------+
 *	        | no job of it is in the pool
 *	        v
 *	      freed, by session_reap()
 *
 * NEW: HELLO is the only frame allowed, and it is due by hello_by_ns. RUNNING:
 * any other frame; files and calls come and go. ENDED: no call waits for the
 * worker any more, and each file is closed, or will be when the last call on it
 * is back. A job that comes back still finds its session, its file and its
 * call; it lets go of them, and the answer that it appends is dropped. Only
 * on_hello() of handlers.c enters RUNNING, and only the connection ends a
 * session: a handler that wants it to end returns an error.
 *
 * Everything here is the loop leader's.
 */
#ifndef ISO_BROKER_SESSION_H
#define ISO_BROKER_SESSION_H

#include "base/idmap.h"
#include "broker/child/call.h"
#include "broker/child/child.h"
#include "broker/child/conn.h"
#include "broker/child/file.h"

#define SESSION_MAX_CALLS 256	/* HELLO_OK's max_inflight */

enum session_state { SESSION_NEW, SESSION_RUNNING, SESSION_ENDED };

struct session {
	struct conn conn;	/* its item's holds counts jobs in the pool */
	struct child *child;
	enum session_state state;
	uint64_t hello_by_ns;	/* NEW: ended then */
	uint32_t caps;		/* ISO_CAP_* of its IDENT */
	uint32_t max_frame;	/* that its shim can take */
	struct idmap files;
	struct call *call[SESSION_MAX_CALLS];
	uint32_t n_calls;
	struct call *spare;	/* owned: memory of a past call, or NULL */
};

/* A session on a new connection, whose fd it takes over. 0, or -errno (fd is
 * closed then). ops: on_frame gets the session by session_of(), on_end is
 * session_ended(). */
int session_new(struct child *child, int fd, uint32_t caps,
		const struct conn_ops *ops);

struct session *session_of(struct conn *c);

/* on_end of its connection: ends all calls and files that no job holds. */
void session_ended(struct conn *c);

/* Ends the connections whose HELLO is overdue, and sets child->hello_timer for
 * the next one. */
void session_check_hello(struct child *child);

/* Frees the sessions that have ended and have no job left. */
void session_reap(struct child *child);

/* ---- jobs ---- */

/* Hands a job to the pool; the session lives until session_job_over(). */
void session_submit(struct session *s, struct job *job);
void session_job_over(struct session *s);
uint32_t session_jobs(const struct session *s);

/* ---- files ---- */

/* Gives the driver's open file an id; takes drv over. NULL, and a positive
 * errno in *ret_err, if there is no room: drv is closed then. */
struct file *session_file_add(struct session *s, struct drv_file *drv,
			      uint32_t tgid, int *ret_err);
/* The open file of that id, or NULL. */
struct file *session_file(const struct session *s, uint32_t id);
/* The same, held; session_file_put() lets go. */
struct file *session_file_hold(struct session *s, uint32_t id);
void session_file_put(struct file *file);
/* Closes it for the worker; calls on it may still be running. */
void session_file_close(struct file *file);

/* ---- calls ---- */

struct call *session_call(const struct session *s, uint32_t tag);
/* Takes the call out of the session, lets go of all it holds, and frees it. */
void session_call_end(struct call *call);

#endif /* ISO_BROKER_SESSION_H */
