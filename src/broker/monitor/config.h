/* SPDX-License-Identifier: MIT */
/* config.h - the monitor's settings, from command line and configuration */
#ifndef ISO_BROKER_MONITOR_CONFIG_H
#define ISO_BROKER_MONITOR_CONFIG_H

#include "base/secret.h"
#include "broker/proto.h"

#define CONFIG_MAX_LISTEN 8

struct monitor_config {
	int listen_fd[CONFIG_MAX_LISTEN];	/* non-blocking, listening */
	unsigned int n_listen;
	uint8_t secret[SECRET_LEN];	/* that IDENT has to bring */
	uint32_t max_workers;
	int cgroup_fd;			/* of --cgroup; -1: none */
	uid_t uid_base;			/* child i gets uid_base + i; 0: none */
	struct drv_host *host;		/* the driver's half in this process */
	struct proto_setup setup;	/* what all children share */
};

#endif /* ISO_BROKER_MONITOR_CONFIG_H */
