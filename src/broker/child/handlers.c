/* SPDX-License-Identifier: MIT */
/*
 * handlers.c - carries out the frames that a worker's shim sends
 *
 * Opening, calling and mapping may take the driver long, so each is a job of
 * the pool: X_run() makes the driver's call, on any thread; X_done() answers,
 * on the leader's. A handler reads its frame whole before it does anything,
 * appends its answers with conn_out(), and returns 0; -EAGAIN, and then it has
 * done nothing; or another -errno that ends the connection (conn.h).
 */
#include "broker/child/handlers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/log.h"
#include "broker/child/call_plan.h"
#include "broker/child/call_wire.h"
#include "broker/child/frame.h"
#include "broker/child/hello.h"
#include "broker/child/session.h"

/* Calls, and as many OPENs and MAPs. */
#define MAX_JOBS (2 * SESSION_MAX_CALLS)

#define OPEN_FLAGS (O_ACCMODE | O_NONBLOCK)

static_assert((int)DRV_CTL == ISO_DEV_CTL && (int)DRV_GPU == ISO_DEV_GPU &&
	      (int)DRV_UVM == ISO_DEV_UVM &&
	      (int)DRV_UVM_TOOLS == ISO_DEV_UVM_TOOLS &&
	      (int)DRV_KIND_COUNT == ISO_DEV__COUNT,
	      "a device kind is the same number on the wire");

/* ---- OPEN and CLOSE ----------------------------------------------------- */

static int on_close(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct file *f = idmap_del(&s->files, hdr->file);

	(void)body;
	if (!f)
		return -EPROTO;
	session_file_close(f);
	return 0;
}

struct open_job {
	struct job job;
	struct session *session;	/* held by the job */
	uint32_t tag;
	enum drv_kind kind;
	uint32_t minor, flags;
	struct drv_cred cred;
	struct drv_file *drv;
	int err;
};

/* Answers an OPEN: err is 0 or a positive errno. */
static void put_opened(struct session *s, uint32_t tag, uint32_t file, int err)
{
	struct wr *out = conn_out(&s->conn);

	if (err)
		s->child->metrics.open_refused++;
	frame_header(out, sizeof(struct iso_hdr) + sizeof(struct iso_opened),
		     ISO_OPENED, tag, file);
	wr_u32(out, (uint32_t)err);
	wr_u32(out, 0);
}

static void open_run(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct drv *drv = o->session->child->drv;

	o->err = -drv->ops->open(drv, o->kind, o->minor, o->flags, &o->cred,
				 &o->drv);
}

static void open_done(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct session *s = o->session;
	struct file *f = NULL;

	session_job_over(s);
	if (o->err)
		s->child->n_files--;
	else
		f = session_file_add(s, o->drv, o->cred.tgid, &o->err);
	if (f && s->state == SESSION_ENDED)
		session_file_close(idmap_del(&s->files, f->id));
	else
		put_opened(s, o->tag, f ? f->id : 0, o->err);
	free(o);
}

static int on_open(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct open_job *o;
	uint32_t kind = rd_u32(body), minor = rd_u32(body);
	uint32_t flags = rd_u32(body), tgid = rd_u32(body);
	uint32_t uid = rd_u32(body);

	rd_zero(body, 4);
	if (!rd_done(body) || kind >= ISO_DEV__COUNT ||
	    flags & ~(uint32_t)OPEN_FLAGS || session_jobs(s) >= MAX_JOBS)
		return -EPROTO;
	s->child->metrics.opens++;
	if (s->child->n_files >= s->child->setup.quota.max_files) {
		put_opened(s, hdr->tag, 0, EMFILE);
		return 0;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		put_opened(s, hdr->tag, 0, ENOMEM);
		return 0;
	}
	*o = (struct open_job){
		.job = { .run = open_run, .done = open_done },
		.session = s, .tag = hdr->tag, .kind = (enum drv_kind)kind,
		.minor = minor, .flags = flags,
		.cred = { .tgid = tgid, .uid = uid },
	};
	s->child->n_files++;
	session_submit(s, &o->job);
	return 0;
}

/* ---- IOCTL, MORE, CANCEL ------------------------------------------------ */

/* Answers the call and ends it. ran: whether the driver has had it. */
static void call_answer(struct call *call, bool ran)
{
	call_result(call, ran, conn_out(&call->session->conn));
	session_call_end(call);
}

static void ioctl_run(struct job *job)
{
	struct call *call = container_of(job, struct call, job);

	call_run(call, call->file->drv);
}

static void ioctl_done(struct job *job)
{
	struct call *call = container_of(job, struct call, job);
	struct session *s = call->session;

	session_job_over(s);
	call->ran = true;
	call_restore(call);
	policy_filter(&s->child->policy, call);
	call_answer(call, true);
}

static void call_submit(struct call *call)
{
	call->state = CALL_RUNS;
	policy_begin(&call->session->child->policy, call);
	session_submit(call->session, &call->job);
}

/* Goes on with a call that passed: has the shim bring what the call lacks, or
 * hands it to the driver. 0 or -EPROTO. */
static int call_start(struct call *call)
{
	struct session *s = call->session;
	size_t had = call->bytes;
	bool answered;
	int r = call_plan(call, s->child->drv->abi, session_file_hold,
			  &answered);

	if (r < 0)
		return r;
	if (call->bytes > had &&
	    !budget_take(&s->child->budget, BUDGET_CALLS,
			 call->bytes - had)) {
		call->bytes = had;
		call->err = ENOMEM; /* budget_take() has counted it */
	} else if (!call_fits(call, s->max_frame)) {
		call->err = EINVAL;
	}
	if (call->err || answered) {
		call_answer(call, false);
	} else if (r == 1) {
		s->child->metrics.needs++;
		call->state = CALL_NEEDS;
		call_need(call, conn_out(&s->conn));
	} else {
		call_submit(call);
	}
	return 0;
}

static int on_ioctl(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct file *f = session_file(s, hdr->file);
	struct child *child = s->child;
	struct call *call;
	int r;

	if (!f || s->n_calls == SESSION_MAX_CALLS || session_call(s, hdr->tag))
		return -EPROTO;
	r = call_new(child->drv->abi, f->kind, body, &s->spare, &call);
	if (r < 0)
		return r;
	if (!budget_take(&child->budget, BUDGET_CALLS, call->bytes)) {
		call_free(call, &s->spare);
		return -EAGAIN;
	}
	child->metrics.calls++;
	f->refs++;
	call->job = (struct job){ .run = ioctl_run, .done = ioctl_done };
	call->session = s;
	call->file = f;
	call->tag = hdr->tag;
	s->call[s->n_calls++] = call;
	if (!policy_check(&child->policy, call, s->caps)) {
		call_answer(call, false);
		return 0;
	}
	return call_start(call);
}

static int on_more(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct call *call = session_call(s, hdr->tag);
	int r;

	if (!call || call->state != CALL_NEEDS || hdr->file != call->file->id)
		return -EPROTO;
	r = call_more(call, body, session_file_hold);
	if (r < 0)
		return r;
	if (call->cancelled && !call->err)
		call->err = EINTR;
	if (call->err)
		call_answer(call, false);
	else
		call_submit(call);
	return 0;
}

static int on_cancel(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct call *call = session_call(s, hdr->tag);

	(void)body;
	s->child->metrics.cancels++;
	/* If there is no such call, its RESULT has crossed this frame. A call
	 * that RUNS stays with the driver. One that NEEDS something gets it
	 * first, for the shim answers every NEED. */
	if (call)
		call->cancelled = true;
	return 0;
}

/* ---- MAP, UNMAP and POLL ------------------------------------------------ */

struct map_job {
	struct job job;
	struct session *session;	/* held by the job */
	struct file *file;		/* held */
	uint32_t tag;
	struct drv_map map;
	int err;
};

static void map_run(struct job *job)
{
	struct map_job *m = container_of(job, struct map_job, job);

	m->err = -m->file->drv->drv->ops->mmap(m->file->drv, &m->map);
	/* There is no window yet in which the worker could see a mapping. */
	if (!m->err)
		m->err = EOPNOTSUPP;
}

static void map_done(struct job *job)
{
	struct map_job *m = container_of(job, struct map_job, job);
	struct wr *out = conn_out(&m->session->conn);

	session_job_over(m->session);
	frame_header(out, sizeof(struct iso_hdr) + sizeof(struct iso_mapped),
		     ISO_MAPPED, m->tag, m->file->id);
	wr_u32(out, (uint32_t)m->err);
	wr_zero(out, sizeof(struct iso_mapped) - 4);
	session_file_put(m->file);
	free(m);
}

static int on_map(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct drv_map map = { 0 };
	struct map_job *m;

	map.off = rd_u64(body);
	map.len = rd_u64(body);
	map.prot = rd_u32(body);
	rd_zero(body, 4);
	if (!rd_done(body) || !session_file(s, hdr->file) ||
	    session_jobs(s) >= MAX_JOBS)
		return -EPROTO;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct map_job){
		.job = { .run = map_run, .done = map_done }, .session = s,
		.file = session_file_hold(s, hdr->file), .tag = hdr->tag,
		.map = map,
	};
	session_submit(s, &m->job);
	return 0;
}

/* There is no window yet, so no place in one has a mapping to give back. A
 * place without one is left alone, as by munmap(). */
static int on_unmap(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	uint64_t off = rd_u64(body), len = rd_u64(body);

	if (!rd_done(body) || !session_file(s, hdr->file) || len == 0 ||
	    len > UINT64_MAX - off)
		return -EPROTO;
	return 0;
}

/* A file has one watch; a later POLL takes the place of an earlier one. */
static int on_poll(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	struct file *f = session_file(s, hdr->file);
	uint32_t events = rd_u32(body);
	int fd;

	rd_zero(body, 4);
	if (!rd_done(body) || !f)
		return -EPROTO;
	fd = f->drv->drv->ops->poll_fd(f->drv);
	if (fd < 0)
		return 0;
	f->poll.fd = fd;
	return loop_set(&s->child->pool.loop, &f->poll,
			events & (POLLIN | POLLPRI | POLLOUT));
}

/* ---- the link ----------------------------------------------------------- */

static int on_ping(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	uint64_t cookie = rd_u64(body);
	struct wr *out = conn_out(&s->conn);

	(void)hdr;
	frame_header(out, sizeof(struct iso_hdr) + sizeof(struct iso_ping),
		     ISO_PONG, 0, 0);
	wr_u64(out, cookie);
	return 0;
}

static int on_bye(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	(void)s;
	(void)hdr;
	(void)body;
	return -ESHUTDOWN;
}

/* The only way into SESSION_RUNNING. */
static int on_hello(struct session *s, const struct iso_hdr *hdr,
		    struct rd *body)
{
	uint16_t major = rd_u16(body);
	const struct hello hello = {
		.drv = s->child->drv, .caps = s->caps,
		.session = s->child->setup.session,
		.max_calls = SESSION_MAX_CALLS,
		.max_files = s->child->setup.quota.max_files,
	};
	int r;

	(void)hdr;
	if (major != ISO_WIRE_MAJOR) {
		if (log_limit_ok(&s->child->log))
			log_warn("connection closed: the shim speaks version %u of the wire, not %u",
				 major, ISO_WIRE_MAJOR);
		return -EPROTONOSUPPORT;
	}
	rd_u16(body); /* any minor will do */
	rd_zero(body, 4);
	s->max_frame = rd_u32(body);
	rd_zero(body, 4);
	if (!rd_done(body) || s->max_frame < 128 * 1024)
		return -EPROTO;
	r = hello_put(conn_out(&s->conn), &hello);
	if (r == 0)
		s->state = SESSION_RUNNING;
	return r;
}

/* ---- the table ---------------------------------------------------------- */

#define TAG 0x1		/* the frame uses hdr.tag; otherwise it is zero */
#define FILE_ 0x2	/* and hdr.file */
#define RATED 0x4	/* counts against MAX_RATE */

struct frame_row {
	int (*fn)(struct session *s, const struct iso_hdr *hdr,
		  struct rd *body);
	enum session_state state;	/* in which it is allowed */
	unsigned int flags;
	uint32_t min, max;	/* bytes of the body */
};

#define EXACT(type) sizeof(struct type), sizeof(struct type)
#define ATLEAST(type) sizeof(struct type), ISO_MAX_FRAME

static const struct frame_row frames[] = {
	[ISO_HELLO] = { on_hello, SESSION_NEW, 0, EXACT(iso_hello) },
	[ISO_OPEN] = { on_open, SESSION_RUNNING, TAG | RATED, EXACT(iso_open) },
	[ISO_CLOSE] = { on_close, SESSION_RUNNING, FILE_, 0, 0 },
	[ISO_IOCTL] = { on_ioctl, SESSION_RUNNING, TAG | FILE_ | RATED,
			ATLEAST(iso_ioctl) },
	[ISO_MORE] = { on_more, SESSION_RUNNING, TAG | FILE_,
		       ATLEAST(iso_more) },
	[ISO_CANCEL] = { on_cancel, SESSION_RUNNING, TAG, 0, 0 },
	[ISO_POLL] = { on_poll, SESSION_RUNNING, FILE_, EXACT(iso_poll) },
	[ISO_MAP] = { on_map, SESSION_RUNNING, TAG | FILE_ | RATED,
		      EXACT(iso_map) },
	[ISO_UNMAP] = { on_unmap, SESSION_RUNNING, FILE_, EXACT(iso_unmap) },
	[ISO_PING] = { on_ping, SESSION_RUNNING, 0, EXACT(iso_ping) },
	[ISO_BYE] = { on_bye, SESSION_RUNNING, 0, EXACT(iso_bye) },
};
static_assert(ARRAY_SIZE(frames) == ISO_TYPE__COUNT, "a row for each type");

/* Checks a frame against its row of the table, then calls the row's handler. */
static int on_frame(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct session *s = session_of(c);
	const struct frame_row *row;
	int r;

	if (hdr->type >= ARRAY_SIZE(frames))
		return -EPROTO;
	row = &frames[hdr->type];
	if (!row->fn || row->state != s->state || body->left < row->min ||
	    body->left > row->max || (hdr->tag && !(row->flags & TAG)) ||
	    (hdr->file && !(row->flags & FILE_)))
		return -EPROTO;
	if (row->flags & RATED && !budget_token(&s->child->budget))
		return -EAGAIN;
	r = row->fn(s, hdr, body);
	if (r != -EAGAIN)
		s->child->metrics.frames++;
	else if (row->flags & RATED)
		budget_untoken(&s->child->budget);
	return r;
}

int handlers_accept(struct child *child, int fd, uint32_t caps)
{
	static const struct conn_ops ops = { .on_frame = on_frame,
					     .on_end = session_ended };

	return session_new(child, fd, caps, &ops);
}
