/* SPDX-License-Identifier: MIT */
/*
 * wire-broker.c - a broker for the tests of the shim
 *
 * usage: wire-broker ADDRESS [SESSION]
 *
 * Listens on ADDRESS, e.g. vsock:any:9999. In place of a driver it has a few
 * calls that tests need, hostile answers among them (wire-test.h). It trusts
 * its peer, so nothing here is a model for the real broker.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/base.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/sock.h"
#include "base/wr.h"

#include "wire-test.h"

#define MAX_CONNS 16
#define MAX_CALLS 256
#define MAX_FILES 256
#define PING_MS 500

struct span {
	uint32_t len;
	uint32_t flags;
	uint32_t reply_len;
	uint8_t *bytes; /* owned; reply_len or len bytes, or NULL */
};

struct call {
	bool used;
	bool blocked;
	uint32_t tag, file, nr, arg_len, n_span;
	uint8_t *arg; /* owned */
	struct span span[8];
};

struct conn {
	int fd; /* -1: free */
	bool mute;
	uint8_t *in; /* ISO_MAX_FRAME bytes */
	size_t in_len;
	struct call call[MAX_CALLS];
	bool file[MAX_FILES];
	bool watched[MAX_FILES];
	uint32_t opens, closes, cancels;
};

static struct conn conns[MAX_CONNS];
static uint64_t session = 1;

/* ---- frames out --------------------------------------------------------- */

static void frame_begin(struct wr *w, uint16_t type, uint32_t tag,
			uint32_t file)
{
	wr_init(w, ISO_MAX_FRAME + 4096);
	wr_u32(w, 0);
	wr_u16(w, type);
	wr_u16(w, 0);
	wr_u32(w, tag);
	wr_u32(w, file);
}

static void frame_end(struct conn *c, struct wr *w)
{
	uint32_t len = (uint32_t)w->len;

	memcpy(w->p, &len, 4);
	if (c->fd >= 0 && !c->mute)
		write_full(c->fd, w->p, w->len);
	wr_free(w);
}

static void send_body(struct conn *c, uint16_t type, uint32_t tag,
		      uint32_t file, const void *body, size_t len)
{
	struct wr w;

	frame_begin(&w, type, tag, file);
	wr_bytes(&w, body, len);
	frame_end(c, &w);
}

static void send_words(struct conn *c, uint16_t type, uint32_t tag,
		       uint32_t file, uint32_t a, uint32_t b)
{
	send_body(c, type, tag, file, (uint32_t[]){ a, b }, 8);
}

static void call_free(struct call *call)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(call->span); i++)
		free(call->span[i].bytes);
	free(call->arg);
	memset(call, 0, sizeof(*call));
}

/* Ends a call with RESULT. */
static void result(struct conn *c, struct call *call, uint32_t err)
{
	struct wr w;

	frame_begin(&w, ISO_RESULT, call->tag, call->file);
	wr_u32(&w, err);
	wr_u32(&w, err ? 0 : call->arg_len);
	wr_u32(&w, err ? 0 : call->n_span);
	wr_u32(&w, 0);
	for (uint32_t i = 0; !err && i < call->n_span; i++) {
		wr_u32(&w, call->span[i].reply_len);
		wr_u32(&w, 0);
	}
	if (!err)
		wr_pad8(&w, call->arg, call->arg_len);
	for (uint32_t i = 0; !err && i < call->n_span; i++)
		if (call->span[i].reply_len)
			wr_pad8(&w, call->span[i].bytes,
				call->span[i].reply_len);
	frame_end(c, &w);
	call_free(call);
}

/* ---- HELLO -------------------------------------------------------------- */

/* A call of `size` bytes on the devices `on`, with or without a pointer. */
#define ROW(call, size, on) \
	.nr = (call), .min = (size), .max = (size), .dev = (on), \
	.flags = ISO_ROW_SIZED, .dir = ISO_DIR_IN | ISO_DIR_OUT
#define PTR(kind, at) \
	.n_ptr = 1, .ptr = { { .off = 16, .len_kind = (kind), .len = (at), \
			       .dir = ISO_DIR_IN | ISO_DIR_OUT } }
#define CTL (1 << ISO_DEV_CTL)
#define ALL (CTL | 1 << ISO_DEV_GPU)

static const struct iso_row rows[] = {
	{ .nr = WT_ECHO, .min = 4, .max = 1024, .unit = 4, .dev = ALL,
	  .flags = ISO_ROW_SIZED, .dir = ISO_DIR_IN | ISO_DIR_OUT },
	{ ROW(WT_PARAMS, 32, ALL), PTR(ISO_LEN_FIELD, 24) },
	{ ROW(WT_NESTED, 32, ALL), PTR(ISO_LEN_FIELD, 24) },
	{ ROW(WT_BLOCK, 16, CTL) },
	{ ROW(WT_RELEASE, 16, CTL) },
	{ ROW(WT_FD, 16, CTL), .n_fd = 1, .fd = { 4 } },
	{ ROW(WT_CLASS, 32, CTL), PTR(ISO_LEN_CLASS, 12) },
	{ ROW(WT_ERR, 16, CTL) },
	{ ROW(WT_HOSTILE, 16, CTL) },
	{ ROW(WT_NEEDFD, 32, CTL), PTR(ISO_LEN_FIELD, 24) },
	{ ROW(WT_EVENT, 16, CTL) },
	{ ROW(WT_STATE, 16, CTL) },
	{ .nr = WT_XFER, .min = 16, .max = 16, .dev = ALL,
	  .flags = ISO_ROW_SIZED | ISO_ROW_XFER, .dir = ISO_DIR_IN },
	{ .nr = WT_UVM, .min = 16, .max = 16, .dev = 1 << ISO_DEV_UVM,
	  .dir = ISO_DIR_IN | ISO_DIR_OUT },
};

static void text(struct wr *w, const char *name, const char *s)
{
	char *room = wr_room(w, ISO_TEXT_NAME_LEN);

	memcpy(room, name, strlen(name));
	wr_u32(w, (uint32_t)strlen(s));
	wr_u32(w, 0);
	wr_pad8(w, s, strlen(s));
}

static void hello_ok(struct conn *c)
{
	const struct iso_gpu gpu = { .vendor = 0x10de, .device = 0x2330,
				     .class_code = 0x030200, .bus = 1 };
	char *version;
	struct wr w;

	frame_begin(&w, ISO_HELLO_OK, 0, 0);
	wr_u16(&w, ISO_WIRE_MAJOR);
	wr_u16(&w, ISO_WIRE_MINOR);
	wr_u32(&w, 0);
	wr_u64(&w, session);
	wr_u32(&w, ISO_MAX_FRAME);
	wr_u32(&w, WT_INFLIGHT);
	wr_u32(&w, MAX_FILES);
	wr_u32(&w, PING_MS);
	wr_u16(&w, 1);
	wr_u16(&w, ARRAY_SIZE(rows));
	wr_u16(&w, 2);
	wr_u16(&w, 2);
	version = wr_room(&w, ISO_VERSION_LEN);
	memcpy(version, WT_VERSION, sizeof(WT_VERSION));
	wr_bytes(&w, &gpu, sizeof(gpu));
	wr_bytes(&w, rows, sizeof(rows));
	wr_u32(&w, WT_CLASS_SMALL);
	wr_u32(&w, 8);
	wr_u32(&w, WT_CLASS_BIG);
	wr_u32(&w, 4096);
	text(&w, "version", WT_VERSION "\n");
	text(&w, "gpus/0000:01:00.0/information", "Model: \t\t test\n");
	frame_end(c, &w);
}

/* ---- calls -------------------------------------------------------------- */

/* Asks for one range. */
static void need(struct conn *c, struct call *call, uint8_t buf, uint8_t dir,
		 uint32_t off, uint32_t len)
{
	struct {
		struct iso_need head;
		struct iso_range range;
	} body = { { .n = 1 },
		   { .buf = buf, .dir = dir, .off = off, .len = len } };

	send_body(c, ISO_NEED, call->tag, call->file, &body, sizeof(body));
}

/* Ends all calls that are blocked, and the one that asked for that. */
static void release_all(struct conn *c, struct call *by)
{
	uint32_t n = 0;

	for (struct call *call = c->call; call < c->call + MAX_CALLS; call++)
		if (call->used && call->blocked) {
			result(c, call, 0);
			n++;
		}
	put32(by->arg, n);
	result(c, by, 0);
}

/* Breaks the protocol. The link must end, and nothing else. */
static void hostile(struct conn *c, struct call *call)
{
	uint32_t tag = call->tag, huge[4] = { 0xfffffff8u, ISO_RESULT, tag, 0 };

	switch (get32(call->arg)) {
	case WT_LONG_ARG:
		call->arg = realloc(call->arg, 24);
		call->arg_len = 24;
		result(c, call, 0);
		return;
	case WT_LONG_SPAN:
		call->n_span = 1;
		call->span[0].reply_len = 8;
		call->span[0].bytes = calloc(1, 8);
		result(c, call, 0);
		return;
	case WT_BAD_TAG:
		call->tag = 0xdeadbeef;
		result(c, call, 0);
		return;
	case WT_SHORT_LEN:
		huge[0] = 8;
		/* fall through */
	case WT_HUGE_LEN:
		write_full(c->fd, huge, sizeof(huge));
		break;
	case WT_BAD_TYPE:
		send_words(c, 77, tag, 0, 0, 0);
		break;
	case WT_BAD_BUF:
		need(c, call, 1, ISO_DIR_IN, 0, 8);
		break;
	case WT_BAD_OFF:
		need(c, call, 0, ISO_DIR_IN, 9, 8);
		break;
	case WT_BAD_ERRNO:
		result(c, call, 512);
		return;
	case WT_SHORT:
		send_words(c, ISO_RESULT, tag, 0, 5, 0);
		break;
	case WT_HALF:
		write_full(c->fd, huge, 7);
		break;
	case WT_CLOSE:
		shutdown(c->fd, SHUT_RDWR);
		break;
	case WT_PINGS:
		for (uint32_t i = 0; i < 30000; i++)
			send_words(c, ISO_PING, 0, 0, i, 0);
		result(c, call, 0);
		return;
	case WT_MUTE:
		c->mute = true;
		break;
	}
	call_free(call);
}

static void run_call(struct conn *c, struct call *call)
{
	uint32_t n;

	switch (call->nr) {
	case WT_ECHO:
	case WT_UVM:
		invert(call->arg, call->arg_len);
		break;
	case WT_PARAMS:
	case WT_CLASS:
		n = call->span[0].len;
		put32(call->arg, n);
		put32(call->arg + 4, call->span[0].flags);
		invert(call->span[0].bytes, n);
		call->span[0].reply_len = n;
		break;
	case WT_NESTED:
	case WT_NEEDFD:
		if (call->span[0].len < 16)
			result(c, call, EINVAL);
		else if (call->nr == WT_NEEDFD)
			need(c, call, 1, ISO_DIR_FD, 4, 4);
		else
			need(c, call, 1, 3, 0, get32(call->span[0].bytes + 8));
		return;
	case WT_BLOCK:
		call->blocked = true;
		return;
	case WT_RELEASE:
		release_all(c, call);
		return;
	case WT_FD:
		put32(call->arg + 8, get32(call->arg + 4));
		break;
	case WT_ERR:
		result(c, call, MIN(get32(call->arg), (uint32_t)ERANGE));
		return;
	case WT_HOSTILE:
		hostile(c, call);
		return;
	case WT_EVENT:
		if (c->watched[call->file])
			send_words(c, ISO_EVENT, 0, call->file,
				   get32(call->arg), 0);
		put32(call->arg + 4, c->watched[call->file]);
		c->watched[call->file] = false;
		break;
	case WT_STATE:
		put32(call->arg, c->opens - c->closes);
		put32(call->arg + 4, c->cancels);
		put32(call->arg + 8, (uint32_t)session);
		break;
	}
	result(c, call, 0);
}

/* MORE: the bytes of the one range that need() asked for. */
static bool more(struct conn *c, struct call *call, struct rd *r)
{
	struct span *s = &call->span[call->n_span];
	uint32_t n = rd_u32(r), err = rd_u32(r);

	if (err) {
		result(c, call, err);
		return rd_done(r);
	}
	s->len = rd_u32(r);
	s->flags = rd_u32(r);
	if (n != 1)
		return false;
	if (s->len) {
		const void *p = rd_span_pad8(r, s->len);

		if (!p)
			return false;
		s->bytes = malloc(s->len);
		memcpy(s->bytes, p, s->len);
	}
	call->n_span++;
	if (call->nr == WT_NEEDFD) {
		memcpy(call->arg, s->bytes, 4);
		call->span[0].reply_len = call->span[0].len;
		/* The file id comes back in the place of the caller's fd. */
		memcpy(call->span[0].bytes + 4, s->bytes, 4);
	} else {
		invert(s->bytes, s->len);
		s->reply_len = s->len;
	}
	result(c, call, 0);
	return rd_done(r);
}

static struct call *call_find(struct conn *c, uint32_t tag)
{
	for (struct call *call = c->call; call < c->call + MAX_CALLS; call++)
		if (call->used && call->tag == tag)
			return call;
	return NULL;
}

static bool ioctl_frame(struct conn *c, uint32_t tag, uint32_t file,
			struct rd *r)
{
	struct call *call = c->call;
	const void *p;

	while (call->used && call < c->call + MAX_CALLS - 1)
		call++;
	if (call->used || call_find(c, tag))
		return false;
	call->used = true;
	call->tag = tag;
	call->file = file;
	call->nr = rd_u32(r);
	call->arg_len = rd_u32(r);
	call->n_span = rd_u32(r);
	rd_zero(r, 4);
	if (call->n_span > 4)
		return false;
	for (uint32_t i = 0; i < call->n_span; i++) {
		call->span[i].len = rd_u32(r);
		call->span[i].flags = rd_u32(r);
	}
	p = rd_span_pad8(r, call->arg_len);
	if (!p)
		return false;
	call->arg = malloc(call->arg_len + 16);
	memcpy(call->arg, p, call->arg_len);
	for (uint32_t i = 0; i < call->n_span; i++) {
		p = rd_span_pad8(r, call->span[i].len);
		if (!p)
			return false;
		call->span[i].bytes = malloc(call->span[i].len + 16);
		memcpy(call->span[i].bytes, p, call->span[i].len);
	}
	if (!rd_done(r))
		return false;
	run_call(c, call);
	return true;
}

static void open_frame(struct conn *c, uint32_t tag)
{
	uint32_t id = 0;

	while (id < MAX_FILES - 1 && c->file[id])
		id++;
	c->file[id] = true;
	c->watched[id] = false;
	c->opens++;
	send_words(c, ISO_OPENED, tag, id, 0, 0);
}

/* One frame. False: it breaks the protocol. */
static bool frame(struct conn *c, uint16_t type, uint32_t tag, uint32_t file,
		  struct rd r)
{
	struct call *call;

	switch (type) {
	case ISO_HELLO:
		hello_ok(c);
		return true;
	case ISO_OPEN:
		open_frame(c, tag);
		return true;
	case ISO_CLOSE:
		if (file >= MAX_FILES || !c->file[file])
			return false;
		c->file[file] = false;
		c->closes++;
		return true;
	case ISO_IOCTL:
		return file < MAX_FILES && c->file[file] &&
		       ioctl_frame(c, tag, file, &r);
	case ISO_MORE:
		call = call_find(c, tag);
		return call && file == call->file && more(c, call, &r);
	case ISO_CANCEL:
		c->cancels++;
		call = call_find(c, tag);
		if (call && call->blocked)
			result(c, call, EINTR);
		return true;
	case ISO_POLL:
		if (file >= MAX_FILES || !c->file[file])
			return false;
		c->watched[file] = true;
		return true;
	case ISO_MAP:
		send_body(c, ISO_MAPPED, tag, 0,
			  &(struct iso_mapped){ .err = EPERM },
			  sizeof(struct iso_mapped));
		return true;
	case ISO_PING:
		send_words(c, ISO_PONG, tag, 0, rd_u32(&r), rd_u32(&r));
		return true;
	case ISO_PONG:
	case ISO_BYE:
		return true;
	default:
		return false;
	}
}

/* ---- connections -------------------------------------------------------- */

static void conn_end(struct conn *c)
{
	for (int i = 0; i < MAX_CALLS; i++)
		call_free(&c->call[i]);
	free(c->in);
	close(c->fd);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

static void conn_read(struct conn *c)
{
	size_t off = 0;
	ssize_t n;

	n = read(c->fd, c->in + c->in_len, ISO_MAX_FRAME - c->in_len);
	if (n <= 0) {
		conn_end(c);
		return;
	}
	c->in_len += (size_t)n;
	while (c->in_len - off >= sizeof(struct iso_hdr)) {
		struct rd r = rd_init(c->in + off, c->in_len - off);
		uint32_t len = rd_u32(&r), flags, tag, file;
		uint16_t type = rd_u16(&r);

		if (len > c->in_len - off && len <= ISO_MAX_FRAME)
			break;
		flags = rd_u16(&r);
		tag = rd_u32(&r);
		file = rd_u32(&r);
		if (flags || len < sizeof(struct iso_hdr) ||
		    len > ISO_MAX_FRAME ||
		    !frame(c, type, tag, file, rd_init(r.p, len - 16))) {
			fprintf(stderr, "wire-broker: bad frame, type %u\n",
				type);
			conn_end(c);
			return;
		}
		off += len;
	}
	c->in_len -= off;
	memmove(c->in, c->in + off, c->in_len);
}

static void conn_new(int listener)
{
	struct conn *c = conns;
	int fd = accept(listener, NULL, NULL);

	while (c->fd >= 0 && c < conns + MAX_CONNS - 1)
		c++;
	if (fd < 0 || c->fd >= 0) {
		close_fd(&fd);
		return;
	}
	sock_set_nonblock(fd, false);
	c->fd = fd;
	c->in = malloc(ISO_MAX_FRAME);
}

int main(int argc, char **argv)
{
	struct sock_addr addr;
	int listener;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || sock_parse(argv[1], &addr) ||
	    (argc > 2 && parse_u64(argv[2], 1, UINT32_MAX, &session)))
		return ISO_EX_USAGE;
	listener = sock_listen(&addr, 16);
	if (listener < 0) {
		fprintf(stderr, "wire-broker: %s: %s\n", argv[1],
			strerror(-listener));
		return ISO_EX_UNAVAILABLE;
	}
	for (int i = 0; i < MAX_CONNS; i++)
		conns[i].fd = -1;
	for (;;) {
		struct pollfd p[MAX_CONNS + 1];

		for (int i = 0; i < MAX_CONNS; i++)
			p[i] = (struct pollfd){ conns[i].fd, POLLIN, 0 };
		p[MAX_CONNS] = (struct pollfd){ listener, POLLIN, 0 };
		if (poll(p, MAX_CONNS + 1, -1) < 0)
			return ISO_EX_BUG;
		for (int i = 0; i < MAX_CONNS; i++)
			if (p[i].revents)
				conn_read(&conns[i]);
		if (p[MAX_CONNS].revents)
			conn_new(listener);
	}
}
