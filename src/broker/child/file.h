/* SPDX-License-Identifier: MIT */
/* file.h - one open of a device file; session.h has the functions */
#ifndef ISO_BROKER_FILE_H
#define ISO_BROKER_FILE_H

#include "broker/child/pool.h"
#include "drv/drv.h"

struct session;

struct file {
	struct drv_file *drv;	/* owned: the driver's open file */
	struct session *session;
	uint32_t id;		/* on the wire */
	enum drv_kind kind;
	uint32_t tgid;		/* of the process that opened it, as the shim
				 * says */
	uint32_t refs;		/* the session's, and one for each call */
	bool closed;		/* by CLOSE, or with the session */
	struct job close;
	struct iso_ev poll;	/* fd is the driver's */
};

#endif /* ISO_BROKER_FILE_H */
