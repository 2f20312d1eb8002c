// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * xfer.c - carries an ioctl to the broker, with all that its pointers name
 *
 * A call's buffers are numbered as in iso_wire.h: 0 the argument, then those
 * that the row's pointers name, then the ranges that the broker asks for. Each
 * is copied in once, into the frame that carries it. That frame is kept until
 * the call ends, for the broker names further pointers in these copies.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "rd.h"
#include "shim.h"

#define MAX_FDS (ISO_MAX_FDS + ISO_MAX_RANGES)
#define SMALL_ARG 256

struct xfer_buf {
	void __user *user;
	const u8 *copy;	/* the bytes that were sent, or NULL */
	u32 len;
	u8 dir;
	bool null;	/* the caller's pointer is */
};

/* An fd field of a buffer; its file is held until the call ends. */
struct xfer_fd {
	u32 buf;
	u32 off;
	struct file *file;	/* NULL for -1 */
};

/* Where each buffer's bytes stand in RESULT. */
struct xfer_reply {
	u32 n;
	u32 len[1 + ISO_MAX_SPANS];
	u8 *p[1 + ISO_MAX_SPANS];
};

struct xfer {
	struct shim_file *sf;
	const struct iso_row *row;
	struct shim_req *req;
	u8 *arg;		/* a copy of the caller's, with its fds */
	size_t result_len;	/* the longest RESULT that may come */
	u32 n_buf;
	u32 n_fd;
	u32 n_frame;
	u32 rounds;
	struct shim_frame *frame[1 + ISO_MAX_NEED_ROUNDS];
	struct xfer_buf buf[1 + ISO_MAX_SPANS];
	struct xfer_fd fd[MAX_FDS];
	struct xfer_reply reply;
	u8 small[SMALL_ARG] __aligned(8);
};

static u64 pad8(u32 n)
{
	return ((u64)n + 7) & ~7ull;
}

/* Copies in n bytes and zeroes up to a multiple of 8; *p moves on. */
static int copy_in(u8 **p, const void __user *user, u32 n)
{
	if (copy_from_user(*p, user, n))
		return -EFAULT;
	memset(*p + n, 0, pad8(n) - n);
	*p += pad8(n);
	return 0;
}

/* ---- fds ----------------------------------------------------------------- */

/* Turns the caller's fd into the id of the open file that it is here. */
static int fd_take(struct xfer *x, u32 buf, u32 off, s32 fd, u32 *ret_id)
{
	struct xfer_fd *slot = &x->fd[x->n_fd];
	struct shim_file *sf;

	if (x->n_fd == MAX_FDS)
		return -EINVAL;
	slot->buf = buf;
	slot->off = off;
	slot->file = NULL;
	*ret_id = ISO_NO_FILE;
	if (fd != -1) {
		slot->file = fget(fd);
		if (!slot->file)
			return -EBADF;
		sf = shim_file_of(slot->file);
		if (!sf || sf->link != x->sf->link) {
			fput(slot->file);
			return sf ? -ENODEV : -EBADF;
		}
		*ret_id = sf->id;
	}
	x->n_fd++;
	return 0;
}

/* Puts the caller's own fds back into a buffer that the broker returned. */
static void fd_restore(const struct xfer *x, u32 buf, u8 *reply, u32 len)
{
	u32 i;

	for (i = 0; i < x->n_fd; i++) {
		const struct xfer_fd *fd = &x->fd[i];

		if (fd->buf == buf && len >= 4 && fd->off <= len - 4)
			memcpy(reply + fd->off, x->buf[buf].copy + fd->off, 4);
	}
}

/* ---- the request --------------------------------------------------------- */

/*
 * Adds the buffer that a pointer of the row names. 0, or -EINVAL: too much for
 * a frame.
 */
static int plan_ptr(struct xfer *x, const struct iso_ptr *ptr,
		    u64 *frame_len)
{
	struct xfer_buf *buf = &x->buf[x->n_buf++];
	u64 addr = rd_get64(x->arg + le16_to_cpu(ptr->off));
	u32 len = le32_to_cpu(ptr->len);

	if (ptr->len_kind != ISO_LEN_FIXED)
		len = rd_get32(x->arg + len);
	if (ptr->len_kind == ISO_LEN_CLASS)
		len = shim_hello_class(&x->sf->link->hello, len);
	*buf = (struct xfer_buf){
		.user = u64_to_user_ptr(addr),
		.len = addr ? len : 0,
		.dir = ptr->dir,
		.null = !addr,
	};
	*frame_len += sizeof(struct iso_span);
	if (buf->dir & ISO_DIR_IN)
		*frame_len += pad8(buf->len);
	x->result_len += sizeof(struct iso_span);
	if (buf->dir & ISO_DIR_OUT)
		x->result_len += pad8(buf->len);
	return *frame_len > x->sf->link->hello.max_frame ||
	       x->result_len > ISO_MAX_FRAME ? -EINVAL : 0;
}

/*
 * Adds the row's buffers and sums up the IOCTL's body, before anything of that
 * size is allocated.
 */
static int plan(struct xfer *x, u64 *ret_len)
{
	u32 arg_len = x->buf[0].len, i;
	u64 len = sizeof(struct iso_ioctl) + pad8(arg_len);
	int err;

	x->result_len = sizeof(struct iso_hdr) + sizeof(struct iso_result) +
			pad8(arg_len);
	len += sizeof(struct iso_hdr);
	for (i = 0; i < x->row->n_ptr; i++) {
		err = plan_ptr(x, &x->row->ptr[i], &len);
		if (err)
			return err;
	}
	*ret_len = len - sizeof(struct iso_hdr);
	return 0;
}

/* The put_ functions write a part of a frame's body at *p, which moves on. */

static void put_span(u8 **p, const struct xfer_buf *buf)
{
	struct iso_span *span = (struct iso_span *)*p;

	span->len = cpu_to_le32(buf->len);
	span->flags = cpu_to_le32(buf->null ? ISO_SPAN_NULL : 0);
	*p += sizeof(*span);
}

/* The argument, with file ids for its fds. */
static int put_arg(struct xfer *x, u8 **p)
{
	u32 len = x->buf[0].len, i, id;
	int err;

	memcpy(*p, x->arg, len);
	memset(*p + len, 0, pad8(len) - len);
	for (i = 0; i < x->row->n_fd; i++) {
		u32 off = le16_to_cpu(x->row->fd[i]);

		err = fd_take(x, 0, off, rd_get32(x->arg + off),
			      &id);
		if (err)
			return err;
		rd_put32(id, *p + off);
	}
	*p += pad8(len);
	return 0;
}

/* A buffer's bytes, out of the caller's memory. */
static int put_bytes(struct xfer_buf *buf, u8 **p)
{
	u8 *copy = *p;
	int err;

	if (!(buf->dir & ISO_DIR_IN) || !buf->len)
		return 0;
	err = copy_in(p, buf->user, buf->len);
	if (!err)
		buf->copy = copy;
	return err;
}

/* x->frame[0]: the IOCTL. */
static int build_ioctl(struct xfer *x)
{
	struct shim_frame *frame;
	struct iso_ioctl *head;
	u64 len;
	int err;
	u32 i;
	u8 *p;

	err = plan(x, &len);
	if (err)
		return err;
	frame = shim_frame_new(ISO_IOCTL, 0, x->sf->id, len,
			       GFP_KERNEL_ACCOUNT);
	if (!frame)
		return -ENOMEM;
	x->frame[x->n_frame++] = frame;
	head = shim_frame_body(frame);
	*head = (struct iso_ioctl){
		.nr = x->row->nr,
		.arg_len = cpu_to_le32(x->buf[0].len),
		.n_span = cpu_to_le32(x->row->n_ptr),
	};
	p = (u8 *)(head + 1);
	for (i = 1; i < x->n_buf; i++)
		put_span(&p, &x->buf[i]);
	err = put_arg(x, &p);
	for (i = 1; !err && i < x->n_buf; i++)
		err = put_bytes(&x->buf[i], &p);
	return err;
}

/* ---- NEED ---------------------------------------------------------------- */

/* Ends the link of a broker that breaks the protocol. */
static int bad_peer(struct xfer *x, const char *what)
{
	shim_link_fail(x->sf->link, what);
	return -ENODEV;
}

/* Whether the range names a field in a copy that was sent. */
static bool range_ok(const struct xfer *x, u32 n_buf,
		     const struct iso_range *range)
{
	bool fd = range->dir == ISO_DIR_FD;
	u32 field = fd ? 4 : 8, off = le32_to_cpu(range->off);
	const struct xfer_buf *buf;

	if (range->pad0 || range->pad1 || range->buf >= n_buf)
		return false;
	if (fd ? range->len != cpu_to_le32(4) :
		 !range->dir || (range->dir & ~(ISO_DIR_IN | ISO_DIR_OUT |
						ISO_DIR_PIN)))
		return false;
	buf = &x->buf[range->buf];
	return buf->copy && buf->len >= field && off <= buf->len - field;
}

/*
 * Adds the buffers of a NEED, within the limits of a frame. 0; -EPROTO: the
 * broker broke the protocol; or the errno with which the call ends.
 */
static int plan_need(struct xfer *x, const struct iso_range *range, u32 n,
		     u64 *ret_len)
{
	u32 n_buf = x->n_buf, i;
	u64 len = sizeof(struct iso_hdr) + sizeof(struct iso_more) +
		  n * sizeof(struct iso_span);

	x->result_len += n * sizeof(struct iso_span);
	for (i = 0; i < n; i++) {
		struct xfer_buf *buf = &x->buf[x->n_buf++];
		const u8 *field;

		if (!range_ok(x, n_buf, &range[i]))
			return -EPROTO;
		field = x->buf[range[i].buf].copy + le32_to_cpu(range[i].off);
		*buf = (struct xfer_buf){
			.len = le32_to_cpu(range[i].len),
			.dir = range[i].dir,
		};
		if (buf->dir & ISO_DIR_PIN)
			return -EOPNOTSUPP;
		if (!(buf->dir & ISO_DIR_FD)) {
			u64 addr = rd_get64(field);

			buf->user = u64_to_user_ptr(addr);
			buf->null = !addr;
			buf->len = addr ? buf->len : 0;
		}
		if (buf->dir & (ISO_DIR_IN | ISO_DIR_FD))
			len += pad8(buf->len);
		if (buf->dir & ISO_DIR_OUT)
			x->result_len += pad8(buf->len);
		if (len > x->sf->link->hello.max_frame ||
		    x->result_len > ISO_MAX_FRAME)
			return -EINVAL;
	}
	*ret_len = len - sizeof(struct iso_hdr);
	return 0;
}

/* The file id for an fd of a range. */
static int put_fd(struct xfer *x, const struct iso_range *range, u8 **p)
{
	u32 off = le32_to_cpu(range->off), id;
	int err;

	err = fd_take(x, range->buf, off,
		      rd_get32(x->buf[range->buf].copy + off), &id);
	if (err)
		return err;
	rd_put32(id, *p);
	rd_put32(0, *p + 4);
	*p += 8;
	return 0;
}

/* MORE for a NEED, in *ret_frame. Returns as plan_need() does. */
static int build_more(struct xfer *x, const struct iso_range *range, u32 n,
		      struct shim_frame **ret_frame)
{
	u32 first = x->n_buf, i;
	struct shim_frame *frame;
	struct iso_more *more;
	u64 len;
	u8 *p;
	int err;

	err = plan_need(x, range, n, &len);
	if (!err)
		err = shim_req_room(x->req, x->result_len);
	if (err)
		return err;
	frame = shim_frame_new(ISO_MORE, 0, x->sf->id, len,
			       GFP_KERNEL_ACCOUNT);
	if (!frame)
		return -ENOMEM;
	x->frame[x->n_frame++] = frame;
	more = shim_frame_body(frame);
	*more = (struct iso_more){ .n = cpu_to_le32(n) };
	p = (u8 *)(more + 1);
	for (i = 0; i < n; i++)
		put_span(&p, &x->buf[first + i]);
	for (i = 0; !err && i < n; i++)
		err = range[i].dir == ISO_DIR_FD ?
		      put_fd(x, &range[i], &p) :
		      put_bytes(&x->buf[first + i], &p);
	*ret_frame = frame;
	return err;
}

/* Tells the broker that the call ends with err; its RESULT still comes. */
static int call_failed(struct xfer *x, int err)
{
	struct iso_more *more;
	struct shim_frame *frame;

	frame = shim_frame_new(ISO_MORE, 0, x->sf->id, sizeof(*more),
			       GFP_KERNEL | __GFP_NOFAIL);
	more = shim_frame_body(frame);
	*more = (struct iso_more){ .err = cpu_to_le32(-err) };
	err = shim_req_call(x->req, frame);
	shim_frame_put(frame);
	return err;
}

/* Answers a NEED and waits for the next frame. */
static int xfer_need(struct xfer *x)
{
	struct iso_range range[ISO_MAX_RANGES];
	struct rd r = rd_init(x->req->reply, x->req->len);
	const struct iso_need *need = rd_span(&r, sizeof(*need));
	u32 n_buf = x->n_buf, n_fd = x->n_fd;
	struct shim_frame *frame = NULL;
	size_t result_len = x->result_len;
	const void *ranges;
	u32 n;
	int err;

	if (!need || need->pad || x->rounds++ == ISO_MAX_NEED_ROUNDS)
		return bad_peer(x, "bad NEED");
	n = le32_to_cpu(need->n);
	if (!n || n > ISO_MAX_RANGES)
		return bad_peer(x, "bad NEED");
	ranges = rd_span(&r, n * sizeof(range[0]));
	if (!ranges || !rd_done(&r))
		return bad_peer(x, "bad NEED");
	memcpy(range, ranges, n * sizeof(range[0]));
	err = build_more(x, range, n, &frame);
	if (!err)
		return shim_req_call(x->req, frame);
	if (err == -EPROTO)
		return bad_peer(x, "bad range in NEED");
	while (x->n_fd > n_fd)
		if (x->fd[--x->n_fd].file)
			fput(x->fd[x->n_fd].file);
	x->n_buf = n_buf;
	x->result_len = result_len;
	return call_failed(x, err);
}

/* ---- RESULT -------------------------------------------------------------- */

/*
 * Reads the whole RESULT before a byte is written back. False if the broker
 * returns more than was asked.
 */
static bool result_read(struct xfer *x, u32 *ret_err)
{
	struct xfer_reply *reply = &x->reply;
	struct rd r = rd_init(x->req->reply, x->req->len);
	const struct iso_result *result = rd_span(&r, sizeof(*result));
	const struct iso_span *span;
	u32 arg_len, i;

	if (!result || result->pad)
		return false;
	arg_len = le32_to_cpu(result->arg_len);
	reply->n = 1 + le32_to_cpu(result->n_span);
	if ((arg_len && arg_len != x->buf[0].len) || !reply->n ||
	    reply->n > x->n_buf)
		return false;
	span = rd_span(&r, (reply->n - 1) * sizeof(*span));
	reply->len[0] = arg_len;
	reply->p[0] = (u8 *)rd_span_pad8(&r, arg_len);
	for (i = 1; i < reply->n; i++) {
		u32 len = span ? le32_to_cpu(span[i - 1].len) : 0;

		if (len > (x->buf[i].dir & ISO_DIR_OUT ? x->buf[i].len : 0))
			return false;
		reply->len[i] = len;
		reply->p[i] = (u8 *)rd_span_pad8(&r, len);
	}
	*ret_err = le32_to_cpu(result->err);
	return rd_done(&r) && *ret_err < SHIM_ERRNO_END;
}

/* Ends the call with a RESULT: writes back, or gives its errno. */
static long xfer_result(struct xfer *x)
{
	const struct xfer_reply *reply = &x->reply;
	long ret = 0;
	u32 err, i;

	if (!result_read(x, &err))
		return bad_peer(x, "bad RESULT");
	if (err)
		return -(long)err;
	for (i = reply->n; i-- > 0;) {	/* the argument last */
		if (!reply->len[i] || !(x->buf[i].dir & ISO_DIR_OUT))
			continue;
		fd_restore(x, i, reply->p[i], reply->len[i]);
		if (copy_to_user(x->buf[i].user, reply->p[i], reply->len[i]))
			ret = -EFAULT;
	}
	return ret;
}

/* ---- the call ------------------------------------------------------------ */

/* From IOCTL to RESULT. */
static long xfer_run(struct xfer *x)
{
	struct shim_link *link = x->sf->link;
	const size_t need_len = sizeof(struct iso_need) +
				ISO_MAX_RANGES * sizeof(struct iso_range);
	int err;

	err = build_ioctl(x);
	if (err)
		return err;
	x->req = shim_req_new(link, ISO_IOCTL, max(x->result_len, need_len));
	if (IS_ERR(x->req)) {
		err = PTR_ERR(x->req);
		x->req = NULL;
		return err;
	}
	err = shim_req_call(x->req, x->frame[0]);
	while (!err && x->req->type == ISO_NEED)
		err = xfer_need(x);
	return err ? err : xfer_result(x);
}

static void xfer_free(struct xfer *x)
{
	while (x->n_fd)
		if (x->fd[--x->n_fd].file)
			fput(x->fd[x->n_fd].file);
	while (x->n_frame)
		shim_frame_put(x->frame[--x->n_frame]);
	if (x->req)
		shim_req_free(x->req);
	if (x->arg != x->small)
		kvfree(x->arg);
	kfree(x);
}

/* Copies the argument in. */
static int xfer_arg(struct xfer *x, void __user *user, u32 len)
{
	x->arg = x->small;
	if (len > SMALL_ARG)
		x->arg = kvmalloc(len, GFP_KERNEL_ACCOUNT);
	if (!x->arg)
		return -ENOMEM;
	x->buf[0] = (struct xfer_buf){
		.user = user,
		.copy = x->arg,
		.len = len,
		.dir = x->row->dir,
	};
	x->n_buf = 1;
	if (x->row->dir & ISO_DIR_IN)
		return copy_from_user(x->arg, user, len) ? -EFAULT : 0;
	memset(x->arg, 0, len);
	return 0;
}

/*
 * The argument of an XFER row names the number, size and argument of another
 * call, which takes its place.
 */
static int xfer_inner(const struct shim_file *sf, void __user **user,
		      u32 *len, const struct iso_row **row)
{
	u8 outer[16];

	if (copy_from_user(outer, *user, sizeof(outer)))
		return -EFAULT;
	*len = rd_get32(outer + 4);
	*row = shim_hello_row_sized(&sf->link->hello, sf->kind,
				    rd_get32(outer), *len);
	if (!*row || (*row)->flags & ISO_ROW_XFER)
		return -EINVAL;
	*user = u64_to_user_ptr(rd_get64(outer + 8));
	return 0;
}

/*
 * A call that the table does not allow fails with EINVAL, as an unknown one
 * does on each device of NVIDIA's driver (nvidia_ioctl(), RmIoctl(),
 * uvm_ioctl()).
 */
long shim_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct shim_file *sf = file->private_data;
	void __user *user = (void __user *)arg;
	const struct iso_row *row;
	struct xfer *x;
	u32 len = 0;
	long ret;

	if (READ_ONCE(sf->link->dead))
		return -ENODEV;
	row = shim_hello_row(&sf->link->hello, sf->kind, cmd, &len);
	if (!row)
		return -EINVAL;
	if (row->flags & ISO_ROW_XFER) {
		ret = xfer_inner(sf, &user, &len, &row);
		if (ret)
			return ret;
	}
	x = kmalloc(sizeof(*x), GFP_KERNEL_ACCOUNT);
	if (!x)
		return -ENOMEM;
	x->sf = sf;
	x->row = row;
	x->req = NULL;
	x->n_buf = 0;
	x->n_fd = 0;
	x->n_frame = 0;
	x->rounds = 0;
	ret = xfer_arg(x, user, len);
	if (!ret)
		ret = xfer_run(x);
	xfer_free(x);
	return ret;
}
