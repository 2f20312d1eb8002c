/* SPDX-License-Identifier: MIT */
/* The last part of a call: the driver, and RESULT. */
#include <errno.h>

#include "broker/child/call.h"
#include "broker/child/file.h"
#include "broker/child/frame.h"

void call_run(struct call *call, struct drv_file *file)
{
	call->err = -file->drv->ops->ioctl(file, &call->drv);
}

void call_restore(struct call *call)
{
	for (unsigned int i = 1; i < call->n_buf; i++) {
		const struct call_buf *b = &call->buf[i];

		if (b->hidden)
			call_poke(call, b->parent, b->off, 8, b->was);
	}
	for (unsigned int i = 0; i < call->n_bare; i++)
		call_poke(call, call->bare[i].parent, call->bare[i].off, 8,
			  call->bare[i].was);
	for (uint32_t i = 0; i < call->drv.n_fd; i++)
		call_poke(call, call->fd_buf[i], call->fd[i].off, 4,
			  call->fd_was[i]);
}

void call_status(struct call *call, uint32_t status)
{
	struct call_buf *arg = &call->buf[0];
	enum abi_f field = ABI_F_status;

	if (!abi_field(call->row, field))
		field = ABI_F_rmStatus;
	if (abi_field(call->row, field))
		abi_put(call->row, field, 0, arg->p, arg->len, status);
	else
		call->err = EINVAL;
}

/* Bytes of buffer i that go back to the guest. */
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
