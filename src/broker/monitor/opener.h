/* SPDX-License-Identifier: MIT */
/* opener.h - answers children that want device nodes opened */
#ifndef ISO_BROKER_MONITOR_OPENER_H
#define ISO_BROKER_MONITOR_OPENER_H

#include "drv/drv.h"

/* Answers a child's next proto_ask on sock. 0; -EAGAIN: there is none; -EPIPE:
 * there will be none; -EPROTO: the child breaks the rules of proto.h. */
int opener_serve(const struct drv_host *host, int sock);

#endif /* ISO_BROKER_MONITOR_OPENER_H */
