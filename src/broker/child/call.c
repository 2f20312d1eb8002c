/* SPDX-License-Identifier: MIT */
#include "broker/child/call.h"

#include <errno.h>
#include <string.h>

#include "broker/child/file.h"
#include "broker/child/frame.h"

static_assert((int)ABI_IN == ISO_DIR_IN && (int)ABI_OUT == ISO_DIR_OUT,
	      "a direction is the same number on the wire");
static_assert((int)ABI_DEV_CTL == 1 << ISO_DEV_CTL &&
	      (int)ABI_DEV_GPU == 1 << ISO_DEV_GPU &&
	      (int)ABI_DEV_UVM == 1 << ISO_DEV_UVM, "so is a device");

/* Bytes of RESULT besides the buffers: headers, spans and padding. */
#define RESULT_OVERHEAD \
	(sizeof(struct iso_hdr) + sizeof(struct iso_result) + \
	 CALL_BUFS * (sizeof(struct iso_span) + 8))
/* What a small call has room for; one of these is kept to be used again. */
#define SMALL_BYTES 1024
#define MAX_BYTES (ISO_MAX_FRAME - RESULT_OVERHEAD)

/* The largest errno that a program may be shown. */
#define ERRNO_MAX 511

/* What stands in the pointer field of a buffer that is there, instead of the
 * guest's address. */
#define PLACEHOLDER 1

static size_t pad16(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

uint64_t call_peek(const struct call *call, unsigned int b, uint32_t off,
		   unsigned int size)
{
	const struct call_buf *buf = &call->buf[b];
	struct rd r;

	if (!buf->p || !range_ok(off, size, buf->len))
		return 0;
	r = rd_init(buf->p + off, size);
	return size == 8 ? rd_u64(&r) : rd_u32(&r);
}

void call_poke(struct call *call, unsigned int b, uint32_t off,
	       unsigned int size, uint64_t v)
{
	struct call_buf *buf = &call->buf[b];

	if (!buf->p || !range_ok(off, size, buf->len))
		return;
	for (unsigned int i = 0; i < size; i++)
		buf->p[off + i] = (uint8_t)(v >> (8 * i));
}

bool call_ptr_told(const struct abi_ptr *ptr)
{
	switch ((enum abi_len)ptr->rule) {
	case ABI_LEN_FIXED:
	case ABI_LEN_CLASS:
		return true;
	case ABI_LEN_COUNT:
	case ABI_LEN_CONTROL:
		break;
	}
	return ptr->unit == 1 && ptr->count_size == 4;
}

const struct abi_row *call_row(const struct abi *abi, enum drv_kind kind,
			       uint32_t nr, uint32_t size)
{
	const struct abi_row *row;

	if (kind == DRV_UVM || kind == DRV_UVM_TOOLS)
		row = abi_uvm(abi, nr);
	else
		row = abi_escape(abi, nr, size);
	if (!row || !abi_size_ok(row, size) || !(row->dev & 1u << kind))
		return NULL;
	return row;
}

/* ---- IOCTL ---------------------------------------------------------------- */

struct span {
	uint32_t len;
	bool null;
	uint8_t dir;
	uint32_t off;
};

static void read_spans(struct rd *r, struct span *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t flags;

		s[i].len = rd_u32(r);
		flags = rd_u32(r);
		s[i].null = flags & ISO_SPAN_NULL;
		if (flags & ~ISO_SPAN_NULL || (s[i].null && s[i].len))
			r->bad = true;
	}
}

/* Fills in the direction and place of each span from the row; how many. */
static uint32_t row_spans(const struct abi_row *row, struct span *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < row->n_ptrs && n < ISO_MAX_PTRS; i++) {
		if (!call_ptr_told(&row->ptrs[i]))
			continue;
		s[n].dir = row->ptrs[i].dir;
		s[n++].off = row->ptrs[i].off;
	}
	return n;
}

/* A call of which the guest only learns an error. */
static int new_refused(uint32_t nr, struct call **ret_call)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;
	call->nr = nr;
	call->n_buf = 1;
	call->err = EINVAL;
	*ret_call = call;
	return 0;
}

/* Memory for a call with so many bytes of data; NULL without memory. */
static struct call *alloc_call(size_t bytes, struct call **spare)
{
	size_t room = MAX(bytes, (size_t)SMALL_BYTES);
	struct call *call;

	if (*spare && bytes <= (*spare)->room)
		return take_ptr(*spare);
	call = malloc(sizeof(*call) + room);
	if (call)
		call->room = room;
	return call;
}

static struct call *new_call(const struct abi_row *row, uint32_t arg_len,
			     const struct span *s, uint32_t n, size_t bytes,
			     struct call **spare)
{
	struct call *call = alloc_call(bytes, spare);
	size_t room;
	uint8_t *p;

	if (!call)
		return NULL;
	room = call->room;
	memset(call, 0, offsetof(struct call, held));
	call->room = room;
	call->row = row;
	call->bytes = bytes;
	call->n_first = (uint8_t)n;
	call->n_buf = (uint8_t)(1 + n);
	p = call->data;
	call->buf[0] = (struct call_buf){ .p = p, .len = arg_len, .mem = -1 };
	p += pad16(arg_len);
	for (uint32_t i = 0; i < n; i++) {
		call->buf[1 + i] = (struct call_buf){
			.p = p, .len = s[i].len, .off = s[i].off,
			.dir = s[i].dir, .null = s[i].null, .mem = -1,
		};
		p += pad16(s[i].len);
	}
	memset(&call->drv, 0, sizeof(call->drv));
	return call;
}

/* Copies a buffer's bytes, if the wire brings them, else zeroes it. */
static void fill(struct rd *r, struct call_buf *b, bool brought)
{
	const void *p = brought ? rd_span_pad8(r, b->len) : NULL;

	if (p)
		memcpy(b->p, p, b->len);
	else
		memset(b->p, 0, b->len);
}

int call_new(const struct abi *abi, enum drv_kind kind, struct rd *body,
	     struct call **spare, struct call **ret_call)
{
	uint32_t nr = rd_u32(body), arg_len = rd_u32(body);
	uint32_t n = rd_u32(body);
	struct span s[ISO_MAX_PTRS];
	const struct abi_row *row;
	struct call *call;
	size_t bytes;

	rd_zero(body, 4);
	if (body->bad || arg_len > ISO_MAX_ARG || n > ISO_MAX_PTRS)
		return -EPROTO;
	row = call_row(abi, kind, nr, arg_len);
	if (!row)
		return new_refused(nr, ret_call);
	if (n != row_spans(row, s))
		return -EPROTO;
	read_spans(body, s, n);
	if (body->bad)
		return -EPROTO;
	bytes = pad16(arg_len);
	for (uint32_t i = 0; i < n; i++) {
		if (s[i].len > MAX_BYTES - MIN(bytes, MAX_BYTES))
			return -EPROTO;
		bytes += pad16(s[i].len);
	}
	call = new_call(row, arg_len, s, n, bytes, spare);
	if (!call)
		return -ENOMEM;
	call->nr = nr;
	for (uint32_t i = 0; i <= n; i++)
		fill(body, &call->buf[i], i == 0 || s[i - 1].dir & ISO_DIR_IN);
	if (!rd_done(body)) {
		call_free(call, spare);
		return -EPROTO;
	}
	*ret_call = call;
	return 0;
}

void call_free(struct call *call, struct call **spare)
{
	free(call->more);
	if (!*spare && call->room == SMALL_BYTES)
		*spare = call;
	else
		free(call);
}

/* ---- planning ------------------------------------------------------------- */

/* Replaces the guest's address by a placeholder. */
static void hide(struct call *call, struct call_buf *b)
{
	b->was = call_peek(call, b->parent, b->off, 8);
	b->hidden = true;
	call_poke(call, b->parent, b->off, 8, b->null ? 0 : PLACEHOLDER);
}

/* The same for an address behind which there is nothing to fetch: no address of
 * the guest's gets to the driver. False if they are too many. */
static bool hide_bare(struct call *call, unsigned int b, uint32_t off)
{
	uint64_t was = call_peek(call, b, off, 8);

	if (was == 0)
		return true;
	if (call->n_bare == CALL_BUFS)
		return false;
	call->bare[call->n_bare++] = (struct call_bare){
		.was = was, .off = off, .parent = (uint8_t)b,
	};
	call_poke(call, b, off, 8, PLACEHOLDER);
	return true;
}

/* The depth-one buffers are as long as the argument says. */
static int check_first(struct call *call, const struct abi *abi)
{
	const struct abi_row *row = call->row;
	struct call_buf *b = &call->buf[1];
	uint32_t len;

	for (unsigned int i = 0; i < row->n_ptrs; i++) {
		if (!call_ptr_told(&row->ptrs[i]))
			continue;
		hide(call, b);
		if (abi_ptr_len(abi, row, i, call->buf[0].p, call->buf[0].len,
				&len) < 0)
			call->err = EINVAL;
		else if (b->len != len)
			return -EPROTO;
		b++;
	}
	return 0;
}

static struct call_buf *add_range(struct call *call, unsigned int parent,
				  uint32_t off, uint32_t len, uint8_t dir)
{
	struct call_buf *b = &call->buf[call->n_buf];

	if (call->n_buf - 1 - call->n_first == ISO_MAX_RANGES)
		return NULL;
	call->n_buf++;
	*b = (struct call_buf){ .len = len, .off = off, .dir = dir,
				.parent = (uint8_t)parent, .mem = -1 };
	return b;
}

/* Plans what the pointers of row, which describes buffer b, name. */
static int plan_ptrs(struct call *call, const struct abi *abi,
		     const struct abi_row *row, unsigned int b)
{
	for (unsigned int i = 0; i < row->n_ptrs; i++) {
		const struct abi_ptr *ptr = &row->ptrs[i];
		struct call_buf *range;
		uint32_t len;

		if (b == 0 && call_ptr_told(ptr))
			continue;
		if (abi_ptr_len(abi, row, i, call->buf[b].p, call->buf[b].len,
				&len) < 0)
			return -EINVAL;
		if (len == 0) {
			if (!hide_bare(call, b, ptr->off))
				return -EINVAL;
			continue;
		}
		range = add_range(call, b, ptr->off, len, ptr->dir);
		if (!range)
			return -EINVAL;
		hide(call, range);
	}
	return 0;
}

/* Notes that an fd stands at off of buffer b; false if they are too many. */
static bool add_fd(struct call *call, unsigned int b, uint32_t off,
		   struct file *file)
{
	uint32_t i = call->drv.n_fd;

	if (i == CALL_FDS)
		return false;
	call->fd[i] = (struct drv_fd){ .off = off,
				       .file = file ? file->drv : NULL };
	call->fd_buf[i] = (uint8_t)b;
	call->fd_was[i] = (uint32_t)call_peek(call, b, off, 4);
	call->held[i] = file;
	call->drv.n_fd++;
	return true;
}

/* Looks up the file id that the shim put in an fd's place. */
static void resolve_fd(struct call *call, unsigned int b, uint32_t off,
		       uint32_t id, call_file_fn *get)
{
	struct file *file = NULL;

	if (id != ISO_NO_FILE) {
		file = get(call->session, id);
		if (!file) {
			call->err = EBADF;
			return;
		}
	}
	if (!add_fd(call, b, off, file))
		call->err = EINVAL;
}

static int plan_fds(struct call *call, const struct abi_row *row,
		    unsigned int b)
{
	for (unsigned int i = 0; i < row->n_fds; i++) {
		uint32_t off = row->fds[i];

		if (!range_ok(off, 4, call->buf[b].len))
			continue;
		if ((uint32_t)call_peek(call, b, off, 4) == ISO_NO_FILE) {
			if (!add_fd(call, b, off, NULL))
				return -EINVAL;
		} else if (!add_range(call, b, off, 4, ISO_DIR_FD)) {
			return -EINVAL;
		}
	}
	return 0;
}

/* Memory for the planned ranges. 0, -EINVAL (too much) or -ENOMEM. */
static int alloc_ranges(struct call *call)
{
	size_t n = 0;
	uint8_t *p;

	for (unsigned int i = 1 + call->n_first; i < call->n_buf; i++)
		n += pad16(call->buf[i].len);
	if (n == 0)
		return 0;
	if (n > MAX_BYTES - MIN(call->bytes, MAX_BYTES))
		return -EINVAL;
	p = calloc(1, n);
	if (!p)
		return -ENOMEM;
	call->more = p;
	call->bytes += n;
	for (unsigned int i = 1 + call->n_first; i < call->n_buf; i++) {
		call->buf[i].p = p;
		p += pad16(call->buf[i].len);
	}
	return 0;
}

/* The driver's view, once every buffer is there. */
static void build_drv(struct call *call)
{
	struct drv_call *d = &call->drv;

	for (unsigned int i = 1; i < call->n_buf; i++) {
		struct call_buf *b = &call->buf[i];

		if (b->null || b->len == 0 || b->dir & ISO_DIR_FD)
			continue;
		b->mem = (int)d->n_mem++;
		call->mem[b->mem] = (struct drv_mem){
			.parent = call->buf[b->parent].mem,
			.off = b->off, .len = b->len, .dir = b->dir,
			.ptr = b->p,
		};
	}
	for (uint32_t i = 0; i < d->n_fd; i++)
		call->fd[i].parent = call->buf[call->fd_buf[i]].mem;
	d->row = call->row;
	d->arg = call->buf[0].p;
	d->len = call->buf[0].len;
	d->mem = call->mem;
	d->fd = call->fd;
}

int call_plan(struct call *call, const struct abi *abi, call_file_fn *get,
	      bool *ret_answered)
{
	const struct abi_row *row = call->row;
	int r = check_first(call, abi);

	*ret_answered = false;
	if (r < 0 || call->err)
		return r;
	for (unsigned int i = 0; i < row->n_fds && !call->err; i++)
		resolve_fd(call, 0, row->fds[i],
			   (uint32_t)call_peek(call, 0, row->fds[i], 4), get);
	if (call->err)
		return 0;
	r = plan_ptrs(call, abi, row, 0);
	if (call->sub && call->buf[call->sub_buf].len) {
		if (r == 0)
			r = plan_ptrs(call, abi, call->sub, call->sub_buf);
		if (r == 0)
			r = plan_fds(call, call->sub, call->sub_buf);
	}
	if (r == 0)
		r = alloc_ranges(call);
	if (r == -ENOMEM) {
		call->err = ENOMEM;
		return 0;
	}
	if (r < 0) {
		/* Nothing was asked for: the shim knows of no range. */
		call_restore(call);
		call->n_buf = (uint8_t)(1 + call->n_first);
		call_status(call, NV_ERR_INVALID_ARGUMENT);
		*ret_answered = true;
		return 0;
	}
	if (call->n_buf > 1 + call->n_first)
		return 1;
	build_drv(call);
	return 0;
}

bool call_fits(const struct call *call, uint32_t max_frame)
{
	return call->bytes + RESULT_OVERHEAD <= max_frame;
}

/* ---- NEED and MORE -------------------------------------------------------- */

void call_need(const struct call *call, struct wr *out)
{
	uint32_t n = (uint32_t)call->n_buf - 1 - call->n_first;

	frame_header(out, (uint32_t)(sizeof(struct iso_hdr) +
				     sizeof(struct iso_need) +
				     n * sizeof(struct iso_range)),
		     ISO_NEED, call->tag, call->file->id);
	wr_u32(out, n);
	wr_u32(out, 0);
	for (unsigned int i = 1 + call->n_first; i < call->n_buf; i++) {
		const struct call_buf *b = &call->buf[i];
		const uint8_t head[4] = { b->parent, b->dir };

		wr_bytes(out, head, sizeof(head));
		wr_u32(out, b->off);
		wr_u32(out, b->len);
		wr_u32(out, 0);
	}
}

int call_more(struct call *call, struct rd *body, call_file_fn *get)
{
	uint32_t n = rd_u32(body), err = rd_u32(body);
	unsigned int first = 1u + call->n_first;
	struct span s[ISO_MAX_RANGES];

	if (err) {
		if (n || !rd_done(body) || err > ERRNO_MAX)
			return -EPROTO;
		call->err = (int)err;
		return 0;
	}
	if (n != call->n_buf - first)
		return -EPROTO;
	read_spans(body, s, n);
	for (uint32_t i = 0; i < n && !body->bad; i++)
		if (s[i].null || s[i].len != call->buf[first + i].len)
			return -EPROTO;
	for (uint32_t i = 0; i < n; i++)
		fill(body, &call->buf[first + i],
		     call->buf[first + i].dir & (ISO_DIR_IN | ISO_DIR_FD));
	if (!rd_done(body))
		return -EPROTO;
	for (uint32_t i = 0; i < n && !call->err; i++) {
		const struct call_buf *b = &call->buf[first + i];

		if (b->dir & ISO_DIR_FD)
			resolve_fd(call, b->parent, b->off,
				   (uint32_t)call_peek(call, first + i, 0, 4),
				   get);
	}
	if (!call->err)
		build_drv(call);
	return 0;
}
