/* SPDX-License-Identifier: MIT */
/* call_plan.c - finds out what a call needs before the driver can have it */
#include "broker/child/call_plan.h"

#include <errno.h>

#include "broker/child/file.h"

/* Stands in the pointer field of a buffer instead of the worker's address. */
#define PLACEHOLDER 1

/* Puts a placeholder where the worker's address of this buffer is. */
static void hide(struct call *call, struct call_buf *b)
{
	b->was = call_peek(call, b->parent, b->off, 8);
	b->hidden = true;
	call_poke(call, b->parent, b->off, 8, b->null ? 0 : PLACEHOLDER);
}

/* Does the same with an address behind which there is nothing to fetch, for no
 * address of the worker's may get to the driver. False if they are too many. */
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

/* Checks that each depth-one buffer is as long as the argument says, and hides
 * its address. 0, or -EPROTO; call->err may be set. */
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

/* Plans to ask for len bytes behind the field at off of buffer `parent`. NULL
 * if the ranges are too many for a NEED. */
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

/* Plans to fetch what the pointers in buffer b lead to, which row describes. 0,
 * or -EINVAL. */
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

void call_resolve_fd(struct call *call, unsigned int b, uint32_t off,
		     uint32_t id, call_file_fn *get)
{
	struct file *file = NULL;

	if (call->drv.n_fd == CALL_FDS) {
		call->err = EINVAL;
		return;
	}
	if (id != ISO_NO_FILE) {
		file = get(call->session, id);
		if (!file) {
			call->err = EBADF;
			return;
		}
	}
	(void)add_fd(call, b, off, file); /* there is room, as was seen */
}

/* Plans to have the fds in buffer b resolved, which row describes. The shim
 * turns them into file ids only when it is asked. 0, or -EINVAL. */
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

/* Gets memory for the planned ranges. 0, -EINVAL (too much) or -ENOMEM. */
static int alloc_ranges(struct call *call)
{
	size_t n = 0;
	uint8_t *p;

	for (unsigned int i = 1 + call->n_first; i < call->n_buf; i++)
		n += call_pad(call->buf[i].len);
	if (n == 0)
		return 0;
	if (n > CALL_MAX_BYTES - MIN(call->bytes, CALL_MAX_BYTES))
		return -EINVAL;
	p = calloc(1, n);
	if (!p)
		return -ENOMEM;
	call->more = p;
	call->bytes += n;
	for (unsigned int i = 1 + call->n_first; i < call->n_buf; i++) {
		call->buf[i].p = p;
		p += call_pad(call->buf[i].len);
	}
	return 0;
}

void call_build(struct call *call)
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
		call_resolve_fd(call, 0, row->fds[i],
				(uint32_t)call_peek(call, 0, row->fds[i], 4),
				get);
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
		/* The shim knows of no range, for none was asked for. */
		call_restore(call);
		call->n_buf = (uint8_t)(1 + call->n_first);
		call_status(call, NV_ERR_INVALID_ARGUMENT);
		*ret_answered = true;
		return 0;
	}
	if (call->n_buf > 1 + call->n_first)
		return 1;
	call_build(call);
	return 0;
}

