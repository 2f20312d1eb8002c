/* SPDX-License-Identifier: MIT */
/*
 * call_parts.h - the parts of a call, for one another
 *
 *   call.c        a call's memory, and the driver's turn
 *   call_wire.c   the frames that bring a call, and those that answer it
 *   call_plan.c   what a call needs before the driver can have it
 */
#ifndef ISO_BROKER_CALL_PARTS_H
#define ISO_BROKER_CALL_PARTS_H

#include "broker/child/call.h"

/* Bytes of RESULT besides the buffers: headers, spans and padding. */
#define CALL_OVERHEAD \
	(sizeof(struct iso_hdr) + sizeof(struct iso_result) + \
	 CALL_BUFS * (sizeof(struct iso_span) + 8))
#define CALL_MAX_BYTES (ISO_MAX_FRAME - CALL_OVERHEAD)

/* A buffer that IOCTL or MORE describes. */
struct call_span {
	uint32_t len;
	bool null;
	uint8_t dir;		/* ISO_DIR_*, and */
	uint32_t off;		/* the place of its pointer: from the row */
};

/* How many bytes of a call's memory a buffer of n bytes takes. */
static inline size_t call_pad(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

/* Makes a call with room for its argument and n buffers, together bytes long,
 * from *spare if that will do. NULL without memory. */
struct call *call_alloc(const struct abi_row *row, uint32_t arg_len,
			const struct call_span *s, uint32_t n, size_t bytes,
			struct call **spare);

/* Looks up the file id that the shim put into the fd field at off of buffer b,
 * and notes the file; call->err is set if that is not possible. */
void call_resolve_fd(struct call *call, unsigned int b, uint32_t off,
		     uint32_t id, call_file_fn *get);

/* Makes the driver's view of the call, once every buffer is there. */
void call_build(struct call *call);

#endif /* ISO_BROKER_CALL_PARTS_H */
