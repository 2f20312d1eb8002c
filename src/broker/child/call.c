/* SPDX-License-Identifier: MIT */
/* call.c - holds one ioctl of a worker while the driver executes it */
#include "broker/child/call.h"

#include <errno.h>
#include <string.h>

static_assert((int)ABI_IN == ISO_DIR_IN && (int)ABI_OUT == ISO_DIR_OUT,
	      "a direction is the same number on the wire");
static_assert((int)ABI_DEV_CTL == 1 << ISO_DEV_CTL &&
	      (int)ABI_DEV_GPU == 1 << ISO_DEV_GPU &&
	      (int)ABI_DEV_UVM == 1 << ISO_DEV_UVM, "so is a device");

/* What a small call has room for; one of these is kept to be used again. */
#define SMALL_BYTES 1024

/* ---- the table ---------------------------------------------------------- */

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

/* ---- memory ------------------------------------------------------------- */

/* Takes memory for a call with so many bytes of data: the spare one, if it has
 * the room. NULL without memory. */
static struct call *take_memory(size_t bytes, struct call **spare)
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

struct call *call_alloc(const struct abi_row *row, uint32_t arg_len,
			const struct call_span *s, uint32_t n, size_t bytes,
			struct call **spare)
{
	struct call *call = take_memory(bytes, spare);
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
	p += call_pad(arg_len);
	for (uint32_t i = 0; i < n; i++) {
		call->buf[1 + i] = (struct call_buf){
			.p = p, .len = s[i].len, .off = s[i].off,
			.dir = s[i].dir, .null = s[i].null, .mem = -1,
		};
		p += call_pad(s[i].len);
	}
	memset(&call->drv, 0, sizeof(call->drv));
	return call;
}

void call_free(struct call *call, struct call **spare)
{
	free(call->more);
	if (!*spare && call->room == SMALL_BYTES)
		*spare = call;
	else
		free(call);
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

/* ---- the driver's turn -------------------------------------------------- */

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
