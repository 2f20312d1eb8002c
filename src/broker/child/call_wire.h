/* SPDX-License-Identifier: MIT */
/* call_wire.h - the frames that bring a call, and those that answer it */
#ifndef ISO_BROKER_CALL_WIRE_H
#define ISO_BROKER_CALL_WIRE_H

#include "broker/child/call.h"

/*
 * Reads the body of an IOCTL on a file of this kind. A call without a row has
 * EINVAL in call->err, which is what NVIDIA's driver says. *spare, if there is
 * one, may be used up. 0, -EPROTO (malformed), -ENOMEM.
 */
int call_new(const struct abi *abi, enum drv_kind kind, struct rd *body,
	     struct call **spare, struct call **ret_call);

/* Appends the NEED frame. */
void call_need(const struct call *call, struct wr *out);

/* Reads the body of MORE. 0 (call->err may be set), -EPROTO or -ENOMEM. */
int call_more(struct call *call, struct rd *body, call_file_fn *get);

/* Appends the RESULT frame; ran: whether the driver wrote the buffers. */
void call_result(const struct call *call, bool ran, struct wr *out);

/* Whether RESULT, and the answer to NEED, fit into a frame of max_frame
 * bytes. */
bool call_fits(const struct call *call, uint32_t max_frame);

#endif /* ISO_BROKER_CALL_WIRE_H */
