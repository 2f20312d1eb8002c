/* SPDX-License-Identifier: MIT */
/* handlers.h - carries out the frames that a worker's shim sends */
#ifndef ISO_BROKER_HANDLERS_H
#define ISO_BROKER_HANDLERS_H

#include "broker/child/child.h"

/* Serves a new connection, whose fd it takes over. caps: ISO_CAP_* of its
 * IDENT. 0, or -errno (fd is closed then). */
int handlers_accept(struct child *child, int fd, uint32_t caps);

#endif /* ISO_BROKER_HANDLERS_H */
