/* SPDX-License-Identifier: MIT */
/* wire-shim.c - a shim in user space, for wire-client */
#include "wire-shim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* ---- frames ------------------------------------------------------------- */

void send_raw(struct client *c, const void *p, size_t n)
{
	/* The broker may have closed already; reading shows it. */
	if (send(c->fd, p, n, MSG_NOSIGNAL) < 0)
		log_debug("send: %s", strerror(errno));
}

void send_frame(struct client *c, enum iso_type type, uint32_t tag,
		uint32_t file, const void *body, size_t n)
{
	struct wr w;

	wr_init(&w, ISO_MAX_FRAME * 2);
	wr_u32(&w, (uint32_t)(sizeof(struct iso_hdr) + n));
	wr_u16(&w, (uint16_t)type);
	wr_u16(&w, 0);
	wr_u32(&w, tag);
	wr_u32(&w, file);
	wr_bytes(&w, body, n);
	if (c->held)
		wr_bytes(c->held, w.p, w.len);
	else
		send_raw(c, w.p, w.len);
	wr_free(&w);
}

/* False at the end of the stream. */
bool recv_frame(struct client *c)
{
	uint8_t head[sizeof(struct iso_hdr)];
	struct rd r;

	if (read_full(c->fd, head, sizeof(head)) < 0)
		return false;
	r = rd_init(head, sizeof(head));
	c->in.hdr.len = rd_u32(&r);
	c->in.hdr.type = rd_u16(&r);
	c->in.hdr.flags = rd_u16(&r);
	c->in.hdr.tag = rd_u32(&r);
	c->in.hdr.file = rd_u32(&r);
	expect(c->in.hdr.len >= sizeof(head) && c->in.hdr.len <= ISO_MAX_FRAME,
	       "a frame of %u bytes", c->in.hdr.len);
	c->in.len = c->in.hdr.len - sizeof(head);
	return read_full(c->fd, c->in.body, c->in.len) == 0;
}

struct rd want_frame(struct client *c, enum iso_type type)
{
	expect(recv_frame(c), "connection closed instead of frame %d", type);
	expect(c->in.hdr.type == type, "frame %u instead of %d",
	       c->in.hdr.type, type);
	return rd_init(c->in.body, c->in.len);
}

/* The broker closes, perhaps after a BYE. */
void want_closed(struct client *c)
{
	while (recv_frame(c))
		expect(c->in.hdr.type == ISO_BYE, "frame %u instead of the end",
		       c->in.hdr.type);
}

/* ---- a good shim -------------------------------------------------------- */

void dial(struct client *c)
{
	c->fd = sock_connect(&c->addr, 5000);
	if (c->fd < 0)
		die(ISO_EX_UNAVAILABLE, "connect: %s", strerror(-c->fd));
}

void say_ident(struct client *c)
{
	struct iso_ident id = { .caps = c->caps };

	memcpy(id.secret, c->secret, sizeof(id.secret));
	memcpy(id.worker, c->name, strnlen(c->name, sizeof(id.worker)));
	send_frame(c, ISO_IDENT, 0, 0, &id, sizeof(id));
}

struct rd say_hello(struct client *c)
{
	const struct iso_hello hello = { .major = ISO_WIRE_MAJOR,
					 .max_frame = ISO_MAX_FRAME };

	send_frame(c, ISO_HELLO, 0, 0, &hello, sizeof(hello));
	return want_frame(c, ISO_HELLO_OK);
}

void join(struct client *c)
{
	char version[ISO_VERSION_LEN + 1] = { 0 };
	struct rd r;

	dial(c);
	if (c->ident)
		say_ident(c);
	r = say_hello(c);
	rd_span(&r, offsetof(struct iso_hello_ok, version));
	rd_copy(&r, version, ISO_VERSION_LEN);
	c->abi = abi_find_nearest(version);
	expect(c->abi, "HELLO_OK names driver %s", version);
}

uint32_t open_as(struct client *c, enum iso_dev kind, uint32_t tgid,
		 uint32_t *ret_err)
{
	const struct iso_open o = { .kind = kind, .flags = O_RDWR,
				    .tgid = tgid };
	uint32_t tag = ++c->next_tag;
	struct rd r;

	send_frame(c, ISO_OPEN, tag, 0, &o, sizeof(o));
	r = want_frame(c, ISO_OPENED);
	expect(c->in.hdr.tag == tag, "OPENED has another tag");
	*ret_err = rd_u32(&r);
	return c->in.hdr.file;
}

uint32_t open_dev(struct client *c, enum iso_dev kind)
{
	uint32_t err, file = open_as(c, kind, 1, &err);

	expect(err == 0, "open of device kind %d: errno %u", kind, err);
	return file;
}

void send_ioctl(struct client *c, const struct ask *a, uint32_t tag)
{
	struct wr w;

	wr_init(&w, ISO_MAX_FRAME * 2);
	wr_u32(&w, a->nr);
	wr_u32(&w, a->arg_len);
	wr_u32(&w, a->n);
	wr_u32(&w, 0);
	for (uint32_t i = 0; i < a->n; i++) {
		wr_u32(&w, a->buf[i].p ? a->buf[i].len : 0);
		wr_u32(&w, a->buf[i].p ? 0 : ISO_SPAN_NULL);
	}
	wr_pad8(&w, a->arg, a->arg_len);
	for (uint32_t i = 0; i < a->n; i++)
		if (a->buf[i].p && a->buf[i].in)
			wr_pad8(&w, a->buf[i].p, a->buf[i].len);
	send_frame(c, ISO_IOCTL, tag, a->file, w.p, w.len);
	wr_free(&w);
}

/* Answers a NEED with zeroes. */
static void answer_need(struct client *c, struct ask *a)
{
	struct rd r = rd_init(c->in.body, c->in.len);
	uint32_t n = rd_u32(&r);
	struct wr w;

	rd_u32(&r);
	expect(n >= 1 && n <= ISO_MAX_RANGES, "NEED of %u ranges", n);
	a->n_need = n;
	wr_init(&w, ISO_MAX_FRAME);
	wr_u32(&w, n);
	wr_u32(&w, 0);
	for (uint32_t pass = 0; pass < 2; pass++) {
		struct rd q = r;

		for (uint32_t i = 0; i < n; i++) {
			const uint8_t *head = rd_span(&q, 4);
			uint32_t len;

			rd_u32(&q);
			len = rd_u32(&q);
			rd_u32(&q);
			expect(head, "NEED is too short");
			if (pass == 0) {
				wr_u32(&w, len);
				wr_u32(&w, 0);
			} else if (head[1] & (ISO_DIR_IN | ISO_DIR_FD)) {
				wr_zero(&w, pad8(len));
			}
		}
	}
	send_frame(c, ISO_MORE, c->in.hdr.tag, a->file, w.p, w.len);
	wr_free(&w);
}

/* Takes a RESULT apart; the errno. */
static int take_result(struct client *c, struct ask *a)
{
	struct rd r = rd_init(c->in.body, c->in.len);
	uint32_t err = rd_u32(&r), arg_len = rd_u32(&r), n = rd_u32(&r);
	uint32_t len[ISO_MAX_SPANS];
	const void *p;

	rd_u32(&r);
	expect(n <= ISO_MAX_SPANS, "RESULT of %u spans", n);
	for (uint32_t i = 0; i < n; i++) {
		len[i] = rd_u32(&r);
		rd_u32(&r);
	}
	p = rd_span_pad8(&r, arg_len);
	expect(err ? arg_len == 0 : arg_len == a->arg_len,
	       "RESULT with an argument of %u bytes", arg_len);
	if (p)
		memcpy(a->arg, p, arg_len);
	for (uint32_t i = 0; i < n; i++) {
		p = rd_span_pad8(&r, len[i]);
		if (i < a->n) {
			expect(len[i] <= a->buf[i].len, "a span is too long");
			if (p && len[i])
				memcpy(a->buf[i].p, p, len[i]);
		} else if (i == a->n && p) {
			expect(len[i] <= sizeof(a->need), "a range is too long");
			memcpy(a->need, p, len[i]);
		}
	}
	expect(rd_done(&r), "RESULT has a wrong length");
	return (int)err;
}

/* One whole call; its errno. */
int ask(struct client *c, struct ask *a)
{
	uint32_t tag = ++c->next_tag;

	send_ioctl(c, a, tag);
	expect(recv_frame(c), "connection closed instead of RESULT");
	if (c->in.hdr.type == ISO_NEED) {
		answer_need(c, a);
		expect(recv_frame(c), "connection closed after MORE");
	}
	expect(c->in.hdr.type == ISO_RESULT && c->in.hdr.tag == tag,
	       "frame %u instead of RESULT", c->in.hdr.type);
	return take_result(c, a);
}

/* ---- RM calls ----------------------------------------------------------- */

void put(const struct abi_row *row, void *arg, enum abi_f f, uint64_t v)
{
	abi_put(row, f, 0, arg, row->sizes[0], v);
}

uint64_t get(const struct abi_row *row, const void *arg, enum abi_f f)
{
	return abi_get(row, f, 0, arg, row->sizes[0]);
}

const struct abi_row *escape(struct client *c, enum abi_r id)
{
	const struct abi_row *row = rm_escape(c->abi, id, RM_SHORTEST);

	if (!row)
		die(ISO_EX_BUG, "the table has no %s", abi_row_name(id));
	return row;
}

/* The call of an argument on a file, with len bytes of parameters if p is not
 * NULL. */
struct ask ask_of(uint32_t file, struct rm_arg *arg, void *p, uint32_t len)
{
	struct ask a = { .file = file, .nr = arg->row->nr, .arg = arg->bytes,
			 .arg_len = arg->size };

	a.n = arg->row->n_ptrs ? 1 : 0;
	if (p) {
		a.buf[0].p = p;
		a.buf[0].len = len;
		a.buf[0].in = true;
	}
	return a;
}

/* RM's status of an allocation; the new handle in *object. */
uint32_t rm_alloc_with(struct client *c, uint32_t file, uint32_t root,
		       uint32_t parent, uint32_t *object, uint32_t class,
		       void *params, uint32_t len)
{
	struct rm_arg arg;
	struct ask a;

	rm_arg_alloc(&arg, escape(c, ABI_R_NV_ESC_RM_ALLOC), root, parent,
		     *object, class, params ? 0x1000 : 0);
	a = ask_of(file, &arg, params, len);
	expect(ask(c, &a) == 0, "RM_ALLOC fails");
	*object = rm_arg_object(&arg);
	return rm_arg_status(&arg);
}

uint32_t new_client(struct client *c, uint32_t file)
{
	uint32_t handle = 0;
	uint32_t status = rm_alloc(c, file, 0, 0, &handle, NV01_ROOT);

	expect(status == NV_OK, "no RM client: %s", abi_status_name(status));
	return handle;
}

void want_status(uint32_t status, uint32_t wanted)
{
	expect(status == wanted, "status %s instead of %s",
	       abi_status_name(status), abi_status_name(wanted));
}

/* Starts a call that waits for MORE; its tag. */
uint32_t start_need(struct client *c, uint32_t file)
{
	const struct abi_row *ctl =
		abi_control(c->abi, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	uint32_t client = new_client(c, file), tag;
	uint8_t params[64] = { 0 };
	struct rm_arg arg;
	struct ask a;

	put(ctl, params, ABI_F_sizeOfStrings, 64);
	put(ctl, params, ABI_F_pVersionBuffer, 0x1000);
	rm_arg_control(&arg, escape(c, ABI_R_NV_ESC_RM_CONTROL), client, client,
		       ctl->nr, 0x1000, ctl->sizes[0]);
	a = ask_of(file, &arg, params, ctl->sizes[0]);
	tag = ++c->next_tag;
	send_ioctl(c, &a, tag);
	want_frame(c, ISO_NEED);
	return tag;
}

/* Sends SYS_PARAMS with that number as its argument; the tag. */
uint32_t send_sys_params(struct client *c, uint32_t file, uint64_t v)
{
	struct ask a = { .file = file, .nr = NV_ESC_SYS_PARAMS, .arg = &v,
			 .arg_len = sizeof(v) };
	uint32_t tag = ++c->next_tag;

	send_ioctl(c, &a, tag);
	return tag;
}

/* The next frame is a RESULT without error; its tag. */
uint32_t want_result(struct client *c)
{
	struct rd r = want_frame(c, ISO_RESULT);
	uint32_t err = rd_u32(&r);

	expect(err == 0, "RESULT has errno %u", err);
	return c->in.hdr.tag;
}
