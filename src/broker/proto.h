/* SPDX-License-Identifier: MIT */
/*
 * proto.h - all that gpu-broker's monitor and its children say to each other
 *
 * The monitor starts each child as the same program, executed anew, so a child
 * holds nothing of the monitor's memory. They share two SOCK_SEQPACKET sockets
 * and a pipe:
 *
 *	PROTO_CONTROL	monitor to child:  SETUP, once and first
 *					   CONN, with a connection's fd
 *					   METRICS
 *					   end of stream: the child ends
 *	PROTO_OPENER	child to monitor:  struct proto_ask
 *			monitor to child:  struct proto_reply, with an fd
 *	stderr		child to monitor:  lines of the log
 *
 * The child answers nothing on PROTO_CONTROL. Only a child whose driver has
 * device nodes has PROTO_OPENER: it looks up no path, names a node by kind and
 * minor, and gets an fd. It asks for one node at a time and takes the fd before
 * it asks for the next; a child that does otherwise is killed, so at most one
 * fd is ever under way to it. How many it holds, its RLIMIT_NOFILE bounds.
 *
 * The monitor trusts a child no more than the worker that the child serves.
 * A child trusts the monitor. Both ends are the same program, so numbers are in
 * host byte order and a message is checked by its size.
 */
#ifndef ISO_BROKER_PROTO_H
#define ISO_BROKER_PROTO_H

#include <sys/types.h>

#include "base/base.h"
#include "drv/drv.h"

/* The fds of the sockets in a child. */
#define PROTO_CONTROL 3
#define PROTO_OPENER 4
/* The first fd that a child may use for itself. */
#define PROTO_FD_END 5

enum proto_type { PROTO_SETUP, PROTO_CONN, PROTO_METRICS };

/* Each message on PROTO_CONTROL; CONN and METRICS are no more than this. */
struct proto_msg {
	uint32_t type;			/* enum proto_type */
	uint32_t caps;			/* CONN: ISO_CAP_* of its IDENT */
};

/* How much one worker may have. */
struct proto_quota {
	uint32_t max_conns;
	uint32_t max_files;
	uint32_t max_clients;		/* RM clients */
	uint32_t max_objects;
	uint32_t max_rate;		/* requests a second; 0: any */
	uint64_t max_inflight_bytes;
};

struct proto_setup {
	struct proto_msg msg;		/* SETUP */
	char worker[33];		/* its name */
	char driver[16];		/* name of its drv_type */
	struct drv_config config;	/* for that driver alone */
	struct proto_quota quota;
	uint64_t session;		/* for HELLO_OK */
	uid_t uid;			/* the child's own; 0: the monitor's */
	int log_level;			/* enum log_level */
};

struct proto_ask {
	uint32_t kind;			/* enum drv_kind */
	uint32_t minor;			/* of a GPU, else 0 */
	uint32_t flags;			/* O_RDONLY, O_WRONLY or O_RDWR;
					 * O_NONBLOCK */
};

/* Comes with the fd if err is 0. */
struct proto_reply {
	int32_t err;			/* 0 or -errno */
};

#endif /* ISO_BROKER_PROTO_H */
