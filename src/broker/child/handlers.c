/* SPDX-License-Identifier: MIT */
/*
 * Frames of a worker's shim: which are allowed when, and what they do. Opening,
 * calling, mapping and closing may take the driver long, so each is a job of the
 * pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "broker/child/conn.h"

/* OPEN and MAP, beside the calls. */
#define MAX_JOBS (2 * CONN_MAX_CALLS)

#define OPEN_FLAGS (O_ACCMODE | O_NONBLOCK)

static_assert((int)DRV_CTL == ISO_DEV_CTL && (int)DRV_GPU == ISO_DEV_GPU &&
	      (int)DRV_UVM == ISO_DEV_UVM &&
	      (int)DRV_UVM_TOOLS == ISO_DEV_UVM_TOOLS &&
	      (int)DRV_KIND_COUNT == ISO_DEV__COUNT,
	      "a device kind is the same number on the wire");

static void submit(struct conn *c, struct job *job)
{
	c->jobs++;
	pool_submit(&c->child->pool, job);
}

static void job_over(struct conn *c)
{
	c->jobs--;
	if (c->state == CONN_ENDED)
		c->child->reap = true;
}

/* ---- files ---------------------------------------------------------------- */

static struct file *file_hold(struct conn *c, uint32_t id)
{
	struct file *f = idmap_get(&c->files, id);

	if (f)
		f->refs++;
	return f;
}

static void close_run(struct job *job)
{
	struct file *f = container_of(job, struct file, close);

	f->drv->drv->ops->close(f->drv);
}

static void close_done(struct job *job)
{
	struct file *f = container_of(job, struct file, close);

	job_over(f->conn);
	f->conn->child->n_files--;
	free(f);
}

static void file_put(struct file *f)
{
	if (--f->refs == 0)
		submit(f->conn, &f->close);
}

/* The guest has no more use for it; calls on it may still be out. */
static void file_close(struct file *f)
{
	f->closed = true;
	loop_del(&f->conn->child->pool.loop, &f->poll);
	policy_close(&f->conn->child->policy, f);
	file_put(f);
}

static int on_close(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct file *f = idmap_del(&c->files, hdr->file);

	(void)body;
	if (!f)
		return -EPROTO;
	file_close(f);
	return 0;
}

/* ---- OPEN ----------------------------------------------------------------- */

struct open_job {
	struct job job;
	struct conn *conn;
	uint32_t tag;
	enum drv_kind kind;
	uint32_t minor, flags;
	struct drv_cred cred;
	struct drv_file *drv;
	int err;
};

static void opened(struct conn *c, uint32_t tag, uint32_t file, int err)
{
	if (err)
		c->child->metrics.open_refused++;
	frame_header(&c->out,
		     sizeof(struct iso_hdr) + sizeof(struct iso_opened),
		     ISO_OPENED, tag, file);
	wr_u32(&c->out, (uint32_t)err);
	wr_u32(&c->out, 0);
	conn_flush(c);
}

static void open_run(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct drv *drv = o->conn->child->drv;

	o->err = -drv->ops->open(drv, o->kind, o->minor, o->flags, &o->cred,
				 &o->drv);
}

static void file_event(struct iso_ev *ev, uint32_t events)
{
	struct file *f = container_of(ev, struct file, poll);
	struct conn *c = f->conn;

	loop_del(&c->child->pool.loop, ev);
	frame_header(&c->out, sizeof(struct iso_hdr) + sizeof(struct iso_poll),
		     ISO_EVENT, 0, f->id);
	wr_u32(&c->out, events);
	wr_u32(&c->out, 0);
	conn_flush(c);
}

/* Gives the driver's file an id. Takes it over; 0 or positive errno. */
static int file_new(struct open_job *o, uint32_t *ret_id)
{
	struct conn *c = o->conn;
	struct file *f = calloc(1, sizeof(*f));
	int r = f ? idmap_add(&c->files, f, ret_id) : -ENOMEM;

	if (r < 0) {
		o->drv->drv->ops->close(o->drv);
		c->child->n_files--;
		free(f);
		return r == -ENOSPC ? EMFILE : ENOMEM;
	}
	*f = (struct file){
		.drv = o->drv, .conn = c, .id = *ret_id, .kind = o->kind,
		.tgid = o->cred.tgid, .refs = 1,
		.close = { .run = close_run, .done = close_done },
		.poll = { .fd = -1, .fn = file_event },
	};
	return 0;
}

static void open_done(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct conn *c = o->conn;
	uint32_t id = 0;

	job_over(c);
	if (o->err)
		c->child->n_files--;
	else
		o->err = file_new(o, &id);
	if (c->state == CONN_RUNNING)
		opened(c, o->tag, id, o->err);
	else if (!o->err)
		file_close(idmap_del(&c->files, id));
	free(o);
}

static int on_open(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct open_job *o;
	uint32_t kind = rd_u32(body), minor = rd_u32(body);
	uint32_t flags = rd_u32(body), tgid = rd_u32(body);
	uint32_t uid = rd_u32(body);

	rd_zero(body, 4);
	if (!rd_done(body) || kind >= ISO_DEV__COUNT ||
	    flags & ~(uint32_t)OPEN_FLAGS || c->jobs >= MAX_JOBS)
		return -EPROTO;
	c->child->metrics.opens++;
	if (c->child->n_files >= c->child->setup.quota.max_files) {
		opened(c, hdr->tag, 0, EMFILE);
		return 0;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		opened(c, hdr->tag, 0, ENOMEM);
		return 0;
	}
	*o = (struct open_job){
		.job = { .run = open_run, .done = open_done },
		.conn = c, .tag = hdr->tag, .kind = (enum drv_kind)kind,
		.minor = minor, .flags = flags,
		.cred = { .tgid = tgid, .uid = uid },
	};
	c->child->n_files++;
	submit(c, &o->job);
	return 0;
}

/* ---- IOCTL, MORE, CANCEL -------------------------------------------------- */

static struct call *call_find(const struct conn *c, uint32_t tag)
{
	for (uint32_t i = 0; i < c->n_calls; i++)
		if (c->call[i]->tag == tag)
			return c->call[i];
	return NULL;
}

/* Takes the call out of the connection and lets go of all it holds. */
static void call_end(struct call *call)
{
	struct conn *c = call->conn;
	struct file *f = call->file;

	policy_end(&c->child->policy, call);
	for (uint32_t i = 0; i < c->n_calls; i++)
		if (c->call[i] == call) {
			c->call[i] = c->call[--c->n_calls];
			break;
		}
	for (uint32_t i = 0; i < call->drv.n_fd; i++)
		if (call->held[i])
			file_put(call->held[i]);
	budget_give(&c->child->budget, BUDGET_CALLS, call->bytes);
	call_free(call, &c->spare);
	file_put(f);
}

static void call_answer(struct call *call, bool ran)
{
	struct conn *c = call->conn;

	/* Should sending end the connection, the call is still ours. */
	call->state = CALL_OUT;
	if (c->state == CONN_RUNNING) {
		call_result(call, ran, &c->out);
		conn_flush(c);
	}
	call_end(call);
}

static void ioctl_run(struct job *job)
{
	struct call *call = container_of(job, struct call, job);

	call_run(call, call->file->drv);
}

static void ioctl_done(struct job *job)
{
	struct call *call = container_of(job, struct call, job);
	struct conn *c = call->conn;

	job_over(c);
	call->ran = true;
	call_restore(call);
	policy_filter(&c->child->policy, call);
	call_answer(call, true);
}

static void call_submit(struct call *call)
{
	call->state = CALL_OUT;
	policy_begin(&call->conn->child->policy, call);
	submit(call->conn, &call->job);
}

/* A call that passed: fetch what it needs, or hand it to the driver. 0 or
 * -EPROTO. */
static int call_start(struct call *call)
{
	struct conn *c = call->conn;
	size_t had = call->bytes;
	bool answered;
	int r = call_plan(call, c->child->abi, file_hold, &answered);

	if (r < 0)
		return r;
	if (call->bytes > had &&
	    !budget_take(&c->child->budget, BUDGET_CALLS, call->bytes - had)) {
		call->bytes = had;
		call->err = ENOMEM;
		c->child->metrics.refused_quota++;
	} else if (!call_fits(call, c->max_frame)) {
		call->err = EINVAL;
	}
	if (call->err || answered) {
		call_answer(call, false);
	} else if (r == 1) {
		c->child->metrics.needs++;
		call->state = CALL_WAITS;
		call_need(call, &c->out);
	} else {
		call_submit(call);
	}
	return 0;
}

static int on_ioctl(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct file *f = idmap_get(&c->files, hdr->file);
	struct child *child = c->child;
	struct call *call;
	int r;

	if (!f || c->n_calls == CONN_MAX_CALLS || call_find(c, hdr->tag))
		return -EPROTO;
	r = call_new(child->abi, f->kind, body, &c->spare, &call);
	if (r < 0)
		return r;
	if (!budget_take(&child->budget, BUDGET_CALLS, call->bytes)) {
		call_free(call, &c->spare);
		return -EAGAIN;
	}
	child->metrics.calls++;
	f->refs++;
	call->job = (struct job){ .run = ioctl_run, .done = ioctl_done };
	call->conn = c;
	call->file = f;
	call->tag = hdr->tag;
	c->call[c->n_calls++] = call;
	if (!policy_check(&child->policy, call)) {
		call_answer(call, false);
		return 0;
	}
	return call_start(call);
}

static int on_more(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct call *call = call_find(c, hdr->tag);
	int r;

	if (!call || call->state != CALL_WAITS || hdr->file != call->file->id)
		return -EPROTO;
	r = call_more(call, body, file_hold);
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

static int on_cancel(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct call *call = call_find(c, hdr->tag);

	(void)body;
	c->child->metrics.cancels++;
	/* None: its RESULT has crossed this frame. One that is with the driver
	 * stays there; one that waits for MORE gets that first, for the shim
	 * answers every NEED. */
	if (call)
		call->cancelled = true;
	return 0;
}

/* ---- MAP, POLL and the rest ------------------------------------------------- */

struct map_job {
	struct job job;
	struct conn *conn;
	struct file *file;
	uint32_t tag;
	struct drv_map map;
	int err;
};

static void map_run(struct job *job)
{
	struct map_job *m = container_of(job, struct map_job, job);

	m->err = -m->file->drv->drv->ops->mmap(m->file->drv, &m->map);
	/* There is no window yet into which a mapping could go. */
	if (!m->err)
		m->err = EOPNOTSUPP;
}

static void map_done(struct job *job)
{
	struct map_job *m = container_of(job, struct map_job, job);
	struct conn *c = m->conn;

	job_over(c);
	if (c->state == CONN_RUNNING) {
		frame_header(&c->out,
			     sizeof(struct iso_hdr) + sizeof(struct iso_mapped),
			     ISO_MAPPED, m->tag, m->file->id);
		wr_u32(&c->out, (uint32_t)m->err);
		wr_zero(&c->out, sizeof(struct iso_mapped) - 4);
		conn_flush(c);
	}
	file_put(m->file);
	free(m);
}

static int on_map(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct drv_map map = { 0 };
	struct map_job *m;

	map.off = rd_u64(body);
	map.len = rd_u64(body);
	map.prot = rd_u32(body);
	rd_zero(body, 4);
	if (!rd_done(body) || !idmap_get(&c->files, hdr->file) ||
	    c->jobs >= MAX_JOBS)
		return -EPROTO;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct map_job){
		.job = { .run = map_run, .done = map_done }, .conn = c,
		.file = file_hold(c, hdr->file), .tag = hdr->tag, .map = map,
	};
	submit(c, &m->job);
	return 0;
}

/* A file has one watch; a later POLL takes the place of an earlier one. */
static int on_poll(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	struct file *f = idmap_get(&c->files, hdr->file);
	uint32_t events = rd_u32(body);
	int fd;

	rd_zero(body, 4);
	if (!rd_done(body) || !f)
		return -EPROTO;
	fd = f->drv->drv->ops->poll_fd(f->drv);
	if (fd < 0)
		return 0;
	f->poll.fd = fd;
	return loop_set(&c->child->pool.loop, &f->poll,
			events & (POLLIN | POLLPRI | POLLOUT));
}

static int on_ping(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	uint64_t cookie = rd_u64(body);

	(void)hdr;
	frame_header(&c->out, sizeof(struct iso_hdr) + sizeof(struct iso_ping),
		     ISO_PONG, 0, 0);
	wr_u64(&c->out, cookie);
	return 0;
}

static int on_bye(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	(void)c;
	(void)hdr;
	(void)body;
	return -ESHUTDOWN;
}

static int on_hello(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	uint16_t major = rd_u16(body);
	int r;

	(void)hdr;
	if (major != ISO_WIRE_MAJOR) {
		if (log_limit_ok(&c->child->log))
			log_warn("the shim speaks version %u of the wire, not %u",
				 major, ISO_WIRE_MAJOR);
		return -EPROTONOSUPPORT;
	}
	rd_u16(body); /* any minor will do */
	rd_zero(body, 4);
	c->max_frame = rd_u32(body);
	rd_zero(body, 4);
	if (!rd_done(body) || c->max_frame < 128 * 1024)
		return -EPROTO;
	r = hello_answer(c);
	if (r == 0)
		c->state = CONN_RUNNING;
	return r;
}

/* ---- the table ------------------------------------------------------------ */

#define TAG 0x1		/* the frame uses hdr.tag; otherwise it is zero */
#define FILE_ 0x2	/* and hdr.file */
#define RATED 0x4	/* counts against MAX_RATE */

struct frame_row {
	int (*fn)(struct conn *c, const struct iso_hdr *hdr, struct rd *body);
	enum conn_state state;	/* in which it is allowed */
	unsigned int flags;
	uint32_t min, max;	/* bytes of the body */
};

#define EXACT(type) sizeof(struct type), sizeof(struct type)
#define ATLEAST(type) sizeof(struct type), ISO_MAX_FRAME

static const struct frame_row frames[] = {
	[ISO_HELLO] = { on_hello, CONN_NEW, 0, EXACT(iso_hello) },
	[ISO_OPEN] = { on_open, CONN_RUNNING, TAG | RATED, EXACT(iso_open) },
	[ISO_CLOSE] = { on_close, CONN_RUNNING, FILE_, 0, 0 },
	[ISO_IOCTL] = { on_ioctl, CONN_RUNNING, TAG | FILE_ | RATED,
			ATLEAST(iso_ioctl) },
	[ISO_MORE] = { on_more, CONN_RUNNING, TAG | FILE_, ATLEAST(iso_more) },
	[ISO_CANCEL] = { on_cancel, CONN_RUNNING, TAG, 0, 0 },
	[ISO_POLL] = { on_poll, CONN_RUNNING, FILE_, EXACT(iso_poll) },
	[ISO_MAP] = { on_map, CONN_RUNNING, TAG | FILE_ | RATED,
		      EXACT(iso_map) },
	[ISO_PING] = { on_ping, CONN_RUNNING, 0, EXACT(iso_ping) },
	[ISO_BYE] = { on_bye, CONN_RUNNING, 0, EXACT(iso_bye) },
};
static_assert(ARRAY_SIZE(frames) == ISO_TYPE__COUNT, "a row for each type");

int dispatch_frame(struct conn *c, const struct iso_hdr *hdr, struct rd *body)
{
	const struct frame_row *row;
	int r;

	if (hdr->type >= ARRAY_SIZE(frames))
		return -EPROTO;
	row = &frames[hdr->type];
	if (!row->fn || row->state != c->state || body->left < row->min ||
	    body->left > row->max || (hdr->tag && !(row->flags & TAG)) ||
	    (hdr->file && !(row->flags & FILE_)))
		return -EPROTO;
	if (row->flags & RATED && !budget_token(&c->child->budget))
		return -EAGAIN;
	r = row->fn(c, hdr, body);
	if (r != -EAGAIN)
		c->child->metrics.frames++;
	return r;
}

void dispatch_end(struct conn *c)
{
	for (uint32_t i = c->n_calls; i-- > 0;)
		if (c->call[i]->state != CALL_OUT)
			call_end(c->call[i]);
	for (uint32_t i = 0; i < c->files.n_slots; i++) {
		struct file *f = idmap_at(&c->files, i);

		if (f)
			file_close(f);
	}
}
