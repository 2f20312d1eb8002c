/* SPDX-License-Identifier: MIT */
/* call_wire.c - reads a call from its frames or writes its answers */
#include "broker/child/call_wire.h"

#include <errno.h>
#include <string.h>

#include "broker/child/call_plan.h"
#include "broker/child/file.h"
#include "broker/child/frame.h"

/* The largest errno that a program may be shown. */
#define ERRNO_MAX 511

/* ---- IOCTL -------------------------------------------------------------- */

/* Reads the lengths of n buffers; r turns bad if one is not as it may be. */
static void read_spans(struct rd *r, struct call_span *s, uint32_t n)
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

/* Says for each buffer of the row where its pointer is, and which way its bytes
 * go. How many buffers there are. */
static uint32_t row_spans(const struct abi_row *row, struct call_span *s)
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

/* Makes a call that ends with EINVAL and has nothing else. 0 or -ENOMEM. */
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

/* Fills a buffer: with its bytes, if the wire brings them, or zeroes. */
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
	struct call_span s[ISO_MAX_PTRS];
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
	bytes = call_pad(arg_len);
	for (uint32_t i = 0; i < n; i++) {
		if (s[i].len > CALL_MAX_BYTES - MIN(bytes, CALL_MAX_BYTES))
			return -EPROTO;
		bytes += call_pad(s[i].len);
	}
	call = call_alloc(row, arg_len, s, n, bytes, spare);
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

/* ---- NEED and MORE ------------------------------------------------------ */

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
	struct call_span s[ISO_MAX_RANGES];

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
			call_resolve_fd(call, b->parent, b->off,
					(uint32_t)call_peek(call, first + i,
							    0, 4), get);
	}
	if (!call->err)
		call_build(call);
	return 0;
}

/* ---- RESULT ------------------------------------------------------------- */

bool call_fits(const struct call *call, uint32_t max_frame)
{
	return call->bytes + CALL_OVERHEAD <= max_frame;
}

/* How many bytes of buffer i go back to the worker. */
static uint32_t back(const struct call *call, unsigned int i, bool ran)
{
	const struct call_buf *b = &call->buf[i];

	return ran && b->dir & ISO_DIR_OUT && !b->null ? b->len : 0;
}

void call_result(const struct call *call, bool ran, struct wr *out)
{
	uint32_t arg_len = call->err ? 0 : call->buf[0].len;
	unsigned int n = call->err ? 1 : call->n_buf;
	size_t len = sizeof(struct iso_hdr) + sizeof(struct iso_result) +
		     (n - 1) * sizeof(struct iso_span) + pad8(arg_len);

	for (unsigned int i = 1; i < n; i++)
		len += pad8(back(call, i, ran));
	frame_header(out, (uint32_t)len, ISO_RESULT, call->tag,
		     call->file ? call->file->id : 0);
	wr_u32(out, (uint32_t)call->err);
	wr_u32(out, arg_len);
	wr_u32(out, n - 1);
	wr_u32(out, 0);
	for (unsigned int i = 1; i < n; i++) {
		wr_u32(out, back(call, i, ran));
		wr_u32(out, call->buf[i].null ? ISO_SPAN_NULL : 0);
	}
	wr_pad8(out, call->buf[0].p, arg_len);
	for (unsigned int i = 1; i < n; i++)
		wr_pad8(out, call->buf[i].p, back(call, i, ran));
}
