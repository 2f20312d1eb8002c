/* SPDX-License-Identifier: MIT */
/* opener.h - has the monitor open device nodes for the child's driver */
#ifndef ISO_BROKER_CHILD_OPENER_H
#define ISO_BROKER_CHILD_OPENER_H

#include <pthread.h>

#include "drv/drv.h"

struct opener {
	struct drv_env env;	/* for the driver */
	pthread_mutex_t lock;	/* one question at a time */
	int sock;		/* to the monitor; borrowed */
};

/* Makes o->env.open_node ask over that socket. */
void opener_init(struct opener *o, int sock);

#endif /* ISO_BROKER_CHILD_OPENER_H */
