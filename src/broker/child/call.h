/* SPDX-License-Identifier: MIT */
/*
 * call.h - one ioctl of a worker, from IOCTL to RESULT
 *
 *   call_new()      call_wire.c  reads IOCTL: the argument and the depth-one
 *                                buffers
 *   policy_check()  policy.c     decides whether the call may be made
 *   call_plan()     call_plan.c  finds what is still to be fetched
 *   call_need()     call_wire.c  asks for it, and call_more() reads it
 *   call_run()      call.c       has the driver execute it
 *   call_result()   call_wire.c  writes RESULT
 *
 * Buffers are numbered as on the wire: 0 is the argument, 1..n_first are what
 * its pointer fields name, the rest what NEED asked for, in its order. The
 * worker gets every pointer and fd field back as it was.
 */
#ifndef ISO_BROKER_CALL_H
#define ISO_BROKER_CALL_H

#include "abi/iso_wire.h"
#include "base/rd.h"
#include "base/wr.h"
#include "broker/child/pool.h"
#include "drv/drv.h"

struct file;
struct session;

#define CALL_BUFS (1 + ISO_MAX_PTRS + ISO_MAX_RANGES)
#define CALL_FDS (ISO_MAX_FDS + ISO_MAX_RANGES)

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

struct call_buf {
	uint8_t *p;		/* 16-byte aligned, in the call's memory */
	uint64_t was;		/* the worker's address, if `hidden` */
	uint32_t len;
	uint32_t off;		/* of the field within its parent */
	uint8_t parent;		/* number of the buffer the field is in */
	uint8_t dir;		/* ISO_DIR_* */
	bool null;
	bool hidden;		/* a placeholder stands in the field */
	int mem;		/* its place in drv.mem, or -1 */
};

/* An address of the worker's with no bytes behind it. */
struct call_bare {
	uint64_t was;
	uint32_t off;
	uint8_t parent;		/* number of the buffer the field is in */
};

/*
 *	  IOCTL
 *	    |
 *	    v      refused, or answered without the driver
 *	+--------+------------------------------------------> over
 *	|  READ  |
 *	+--------+------------------+
 *	    | it is whole           | NEED is sent
 *	    |                       v
 *	    |                  +---------+  session ended, or MORE is an errno
 *	    |                  |  NEEDS  |----------------------------> over
 *	    |                  +---------+
 *	    |                       | MORE
 *	    v                       |
 *	+--------+<-----------------+
 *	|  RUNS  |   the job is in the pool
 *	+--------+--------------------------- RESULT is queued ---> over
 *
 * READ lasts no longer than the handler that made the call. NEEDS: MORE goes on
 * with it, CANCEL marks it, and the end of the session ends it. RUNS: the driver
 * has its buffers, on any thread; the leader may set `cancelled`, and reads no
 * more than tag and state. handlers.c enters NEEDS and RUNS; every way out goes
 * through session_call_end().
 */
enum call_state { CALL_READ, CALL_NEEDS, CALL_RUNS };

struct call {
	struct job job;
	struct session *session;	/* outlives the call */
	struct file *file;	/* held */
	uint32_t tag;
	uint32_t nr;		/* as the worker gave it */
	enum call_state state;
	bool cancelled;
	bool began;		/* policy_begin() was called */
	bool ran;		/* the driver has had it */
	int err;		/* positive errno for the worker */
	const struct abi_row *row;
	const struct abi_row *sub;	/* of its control or class, or NULL */
	uint8_t sub_buf;	/* the buffer that sub describes */
	uint8_t n_first;
	uint8_t n_buf;		/* with the argument */
	uint8_t n_bare;
	size_t bytes;		/* memory counted for it */
	size_t room;		/* bytes that data has */
	void *more;		/* owned: memory of NEED's ranges */
	struct file *held[CALL_FDS];	/* of drv.fd, each held or NULL */
	uint32_t fd_was[CALL_FDS];
	uint8_t fd_buf[CALL_FDS];	/* the buffer that the field is in */
	struct call_buf buf[CALL_BUFS];
	struct call_bare bare[CALL_BUFS];
	struct drv_mem mem[CALL_BUFS];
	struct drv_fd fd[CALL_FDS];
	struct drv_call drv;
	uint8_t data[] __attribute__((aligned(16)));
};

/* The open file of that id, held for the call, or NULL. */
typedef struct file *call_file_fn(struct session *session, uint32_t id);

/* Whether HELLO_OK's row tells the shim about this pointer; the others are
 * asked for by NEED. */
bool call_ptr_told(const struct abi_ptr *ptr);

/* The row of a call on a device of this kind, or NULL. */
const struct abi_row *call_row(const struct abi *abi, enum drv_kind kind,
			       uint32_t nr, uint32_t size);

/* Makes a call with room for its argument and n buffers, together bytes long,
 * from *spare if that will do. NULL without memory. */
struct call *call_alloc(const struct abi_row *row, uint32_t arg_len,
			const struct call_span *s, uint32_t n, size_t bytes,
			struct call **spare);

/* Frees a call that holds nothing any more. A small one becomes *spare, if
 * there is none; *spare is the caller's, who frees it with free(). */
void call_free(struct call *call, struct call **spare);

/* Has the driver execute it; any thread. */
void call_run(struct call *call, struct drv_file *file);

/* Puts the worker's own values back into pointer and fd fields. */
void call_restore(struct call *call);

/* Sets RM's status in the argument; a call without such a field gets EINVAL. */
void call_status(struct call *call, uint32_t status);

/* Reads an integer of size (4 or 8) bytes at off of buffer b; 0 if it would not
 * be in the buffer. */
uint64_t call_peek(const struct call *call, unsigned int b, uint32_t off,
		   unsigned int size);

/* Writes one; nothing happens if it would not be in the buffer. */
void call_poke(struct call *call, unsigned int b, uint32_t off,
	       unsigned int size, uint64_t v);

#endif /* ISO_BROKER_CALL_H */
