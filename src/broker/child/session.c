/* SPDX-License-Identifier: MIT */
/* session.c - keeps the files and calls of a connection, until it ends */
#include "broker/child/session.h"

#include <errno.h>

#include "base/log.h"
#include "broker/child/frame.h"

#define HELLO_MS 5000	/* from the connection's arrival to a whole HELLO */

struct session *session_of(struct conn *c)
{
	return container_of(c, struct session, conn);
}

/* ---- jobs --------------------------------------------------------------- */

void session_submit(struct session *s, struct job *job)
{
	s->conn.item.holds++;
	pool_submit(&s->child->pool, job);
}

void session_job_over(struct session *s)
{
	s->conn.item.holds--;
}

uint32_t session_jobs(const struct session *s)
{
	return s->conn.item.holds;
}

/* ---- files -------------------------------------------------------------- */

static void close_run(struct job *job)
{
	struct file *f = container_of(job, struct file, close);

	f->drv->drv->ops->close(f->drv);
}

static void close_done(struct job *job)
{
	struct file *f = container_of(job, struct file, close);

	session_job_over(f->session);
	f->session->child->n_files--;
	free(f);
}

/* The driver has an event that the shim waits for, which it is told once. */
static void file_event(struct iso_ev *ev, uint32_t events)
{
	struct file *f = container_of(ev, struct file, poll);
	struct wr *out = conn_out(&f->session->conn);

	loop_del(&f->session->child->pool.loop, ev);
	frame_header(out, sizeof(struct iso_hdr) + sizeof(struct iso_poll),
		     ISO_EVENT, 0, f->id);
	wr_u32(out, events);
	wr_u32(out, 0);
}

struct file *session_file_add(struct session *s, struct drv_file *drv,
			      uint32_t tgid, int *ret_err)
{
	struct file *f = calloc(1, sizeof(*f));
	uint32_t id;
	int r = f ? idmap_add(&s->files, f, &id) : -ENOMEM;

	if (r < 0) {
		drv->drv->ops->close(drv);
		s->child->n_files--;
		free(f);
		*ret_err = r == -ENOSPC ? EMFILE : ENOMEM;
		return NULL;
	}
	*f = (struct file){
		.drv = drv, .session = s, .id = id, .kind = drv->kind,
		.tgid = tgid, .refs = 1,
		.close = { .run = close_run, .done = close_done },
		.poll = { .fd = -1, .fn = file_event },
	};
	return f;
}

struct file *session_file(const struct session *s, uint32_t id)
{
	return idmap_get(&s->files, id);
}

struct file *session_file_hold(struct session *s, uint32_t id)
{
	struct file *f = session_file(s, id);

	if (f)
		f->refs++;
	return f;
}

void session_file_put(struct file *f)
{
	if (--f->refs == 0)
		session_submit(f->session, &f->close);
}

void session_file_close(struct file *f)
{
	struct child *child = f->session->child;

	f->closed = true;
	loop_del(&child->pool.loop, &f->poll);
	policy_close(&child->policy, f);
	session_file_put(f);
}

/* ---- calls -------------------------------------------------------------- */

struct call *session_call(const struct session *s, uint32_t tag)
{
	for (uint32_t i = 0; i < s->n_calls; i++)
		if (s->call[i]->tag == tag)
			return s->call[i];
	return NULL;
}

void session_call_end(struct call *call)
{
	struct session *s = call->session;
	struct file *f = call->file;

	policy_end(&s->child->policy, call);
	for (uint32_t i = 0; i < s->n_calls; i++)
		if (s->call[i] == call) {
			s->call[i] = s->call[--s->n_calls];
			break;
		}
	for (uint32_t i = 0; i < call->drv.n_fd; i++)
		if (call->held[i])
			session_file_put(call->held[i]);
	budget_give(&s->child->budget, BUDGET_CALLS, call->bytes);
	call_free(call, &s->spare);
	session_file_put(f);
}

/* ---- the session -------------------------------------------------------- */

int session_new(struct child *child, int fd, uint32_t caps,
		const struct conn_ops *ops)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->child = child;
	s->caps = caps;
	s->hello_by_ns = now_ns() + HELLO_MS * UINT64_C(1000000);
	idmap_init(&s->files, child->setup.quota.max_files);
	r = conn_open(&s->conn, &child->conns, fd, ops);
	if (r < 0) {
		free(s);
		return r;
	}
	session_check_hello(child);
	return 0;
}

void session_ended(struct conn *c)
{
	struct session *s = session_of(c);

	s->state = SESSION_ENDED;
	for (uint32_t i = s->n_calls; i-- > 0;)
		if (s->call[i]->state != CALL_RUNS)
			session_call_end(s->call[i]);
	for (uint32_t i = 0; i < s->files.n_slots; i++) {
		struct file *f = idmap_at(&s->files, i);

		if (f)
			session_file_close(f);
	}
}

void session_check_hello(struct child *child)
{
	uint64_t now = now_ns(), next = UINT64_MAX;
	struct conn *c;

	list_each(c, &child->conns.all, item) {
		const struct session *s = session_of(c);

		if (s->state != SESSION_NEW || c->state != CONN_OPEN)
			continue;
		if (s->hello_by_ns > now) {
			next = MIN(next, s->hello_by_ns);
			continue;
		}
		child->metrics.hello_late++;
		if (log_limit_ok(&child->log))
			log_warn("connection closed: no HELLO within %u ms",
				 HELLO_MS);
		conn_end(c);
	}
	if (next != UINT64_MAX)
		loop_timer_set(child->hello_timer.fd,
			       (next - now) / 1000000 + 1);
}

static void release(struct list_item *item)
{
	struct session *s = session_of(container_of(item, struct conn, item));

	idmap_free(&s->files);
	free(s->spare);
	free(s);
}

void session_reap(struct child *child)
{
	conn_reap(&child->conns, release);
}
