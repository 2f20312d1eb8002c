/* SPDX-License-Identifier: MIT */
/*
 * call.h - one ioctl of a guest, from IOCTL to RESULT
 *
 *   call_new()     IOCTL frame to a call with its depth-one buffers
 *   policy_check() may it be made?
 *   call_plan()    is there more to fetch? then call_need(), call_more()
 *   call_run()     the driver
 *   call_result()  RESULT frame
 *
 * Buffers are numbered as on the wire: 0 is the argument, 1..n_first what its
 * pointer fields name, the rest what NEED asked for, in its order. What stood
 * in a pointer or fd field comes back to the guest as it was.
 */
#ifndef ISO_BROKER_CALL_H
#define ISO_BROKER_CALL_H

#include "abi/iso_wire.h"
#include "base/rd.h"
#include "base/wr.h"
#include "drv/drv.h"
#include "broker/child/pool.h"

struct file;
struct session;

#define CALL_BUFS (1 + ISO_MAX_PTRS + ISO_MAX_RANGES)
#define CALL_FDS (ISO_MAX_FDS + ISO_MAX_RANGES)

struct call_buf {
	uint8_t *p;		/* 16-byte aligned, in the call's memory */
	uint64_t was;		/* the field's value as the guest sent it */
	uint32_t len;
	uint32_t off;		/* of the field within its parent */
	uint8_t parent;		/* number of the buffer the field is in */
	uint8_t dir;		/* ISO_DIR_* */
	bool null;
	bool hidden;		/* was holds the field's value */
	int mem;		/* its place in drv.mem, or -1 */
};

/* An address with no bytes behind it. */
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
 *	    |                  +---------+  session ended, or the shim has an errno
 *	    |                  |  NEEDS  |----------------------------> over
 *	    |                  +---------+
 *	    |                       | MORE
 *	    v                       |
 *	+--------+<-----------------+
 *	|  RUNS  |   the job is in the pool
 *	+--------+--------------------------- RESULT is queued ---> over
 *
 * READ lasts no longer than the handler that made the call. NEEDS: only MORE, and
 * the end of the session, may touch it. RUNS: the driver has its buffers, on any
 * thread; the leader may set `cancelled`, and reads no more than tag and state.
 * handlers.c enters NEEDS and RUNS; session_call_end() is the end.
 */
enum call_state { CALL_READ, CALL_NEEDS, CALL_RUNS };

struct call {
	struct job job;
	struct session *session;	/* outlives the call */
	struct file *file;	/* held */
	uint32_t tag;
	uint32_t nr;		/* as the guest gave it */
	enum call_state state;
	bool cancelled;
	bool began;		/* policy_begin() was called */
	bool ran;		/* the driver has had it */
	int err;		/* positive errno for the guest */
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

/* Gives the open file of that id, held, or NULL. */
typedef struct file *call_file_fn(struct session *session, uint32_t id);

/* Whether HELLO_OK's row tells the shim about this pointer; the others are
 * asked for by NEED. */
bool call_ptr_told(const struct abi_ptr *ptr);

/* The row of a call on a device of this kind, or NULL. */
const struct abi_row *call_row(const struct abi *abi, enum drv_kind kind,
			       uint32_t nr, uint32_t size);

/*
 * Reads the body of an IOCTL on a file of this kind. A call without row is
 * EINVAL for the guest in call->err, as from the driver. *spare, if there is
 * one, is used up where it will do. 0, -EPROTO (malformed), -ENOMEM.
 */
int call_new(const struct abi *abi, enum drv_kind kind, struct rd *body,
	     struct call **spare, struct call **ret_call);
/* Frees it; what it holds was let go before. A small one becomes *spare, if
 * there is none: the caller's to free(). */
void call_free(struct call *call, struct call **spare);

/*
 * After policy_check(): checks the buffers against the row, looks fds up and
 * plans what to fetch. 0: to run; 1: send call_need(); -EPROTO: what the shim
 * sent does not fit its own argument. call->err may be set (then nothing is
 * to be fetched nor run), or the status in the argument, with *ret_answered.
 */
int call_plan(struct call *call, const struct abi *abi, call_file_fn *get,
	      bool *ret_answered);

/* Whether RESULT, and what NEED asks for, keep within a frame of so many
 * bytes. */
bool call_fits(const struct call *call, uint32_t max_frame);

/* Appends the NEED frame. */
void call_need(const struct call *call, struct wr *out);

/* Reads the body of MORE. 0 (call->err may be set), -EPROTO or -ENOMEM. */
int call_more(struct call *call, struct rd *body, call_file_fn *get);

/* Asks the driver; any thread. */
void call_run(struct call *call, struct drv_file *file);

/* The guest's own values back into pointer and fd fields. */
void call_restore(struct call *call);

/* Appends the RESULT frame; ran: whether the driver wrote the buffers. */
void call_result(const struct call *call, bool ran, struct wr *out);

/* Sets RM's status in the argument; a call without such a field gets EINVAL. */
void call_status(struct call *call, uint32_t status);

/* Little-endian integer of size (4 or 8) bytes at off of buffer b, or 0. */
uint64_t call_peek(const struct call *call, unsigned int b, uint32_t off,
		   unsigned int size);

/* Writes it; nothing if it would not be in the buffer. */
void call_poke(struct call *call, unsigned int b, uint32_t off,
	       unsigned int size, uint64_t v);

#endif /* ISO_BROKER_CALL_H */
