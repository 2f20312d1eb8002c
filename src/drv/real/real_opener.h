/* SPDX-License-Identifier: MIT */
/*
 * opener.h - what child and monitor say when a device node is to be opened
 *
 * A child looks up no path: it names a node by kind and minor and gets a
 * descriptor, over a SOCK_SEQPACKET socket of its own. It asks for one at a
 * time and takes each before it asks again; one that does not is killed, so
 * what is under way to it is one descriptor. What it holds is bounded by its
 * RLIMIT_NOFILE.
 */
#ifndef ISO_BROKER_OPENER_H
#define ISO_BROKER_OPENER_H

#include <stdint.h>

#define OPENER_SOCK 4		/* the fd of that socket in the child */

/* Both ends are the same program: host byte order, checked for its size. */
struct opener_ask {
	uint32_t kind;		/* enum drv_kind */
	uint32_t minor;		/* of a GPU, else 0 */
	uint32_t flags;		/* O_RDONLY, O_WRONLY or O_RDWR; O_NONBLOCK */
};

/* Comes with the descriptor if err is 0. */
struct opener_reply {
	int32_t err;		/* 0 or -errno */
};

#endif /* ISO_BROKER_OPENER_H */
