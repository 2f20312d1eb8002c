/* SPDX-License-Identifier: MIT */
/* hello.h - HELLO_OK: what the shim has to know of the driver */
#ifndef ISO_BROKER_HELLO_H
#define ISO_BROKER_HELLO_H

#include "base/wr.h"
#include "drv/drv.h"

/* What HELLO_OK says, besides the driver's table. */
struct hello {
	struct drv *drv;	/* borrowed */
	uint32_t caps;		/* ISO_CAP_*: only rows that these permit */
	uint64_t session;
	uint32_t max_calls, max_files;
};

/* Appends HELLO_OK. 0, or -E2BIG (more than the wire has room for) or -ENOMEM,
 * and nothing was appended. */
int hello_put(struct wr *out, const struct hello *hello);

#endif /* ISO_BROKER_HELLO_H */
