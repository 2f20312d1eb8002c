/* SPDX-License-Identifier: MIT */
/* call_plan.h - what a call needs before the driver can have it */
#ifndef ISO_BROKER_CALL_PLAN_H
#define ISO_BROKER_CALL_PLAN_H

#include "broker/child/call.h"

/*
 * After policy_check(): checks the buffers against the row, looks fds up and
 * plans what to fetch. 0: the call can run; 1: call_need() comes first;
 * -EPROTO: the shim's buffers do not fit its own argument. With 0, the call may
 * be over already: call->err is set, or RM's status in the argument, and then
 * *ret_answered.
 */
int call_plan(struct call *call, const struct abi *abi, call_file_fn *get,
	      bool *ret_answered);

/* Looks up the file id that the shim put into the fd field at off of buffer b,
 * and notes the file; call->err is set if that is not possible. */
void call_resolve_fd(struct call *call, unsigned int b, uint32_t off,
		     uint32_t id, call_file_fn *get);

/* Makes the driver's view of the call, once every buffer is there. */
void call_build(struct call *call);

#endif /* ISO_BROKER_CALL_PLAN_H */
