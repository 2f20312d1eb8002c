/* SPDX-License-Identifier: MIT */
/*
 * policy.h - what a worker may ask of the driver
 *
 * Default deny: a call, control or class needs a row of the driver's table that
 * names one of the worker's capabilities. Besides, every RM client handle in
 * a call, at the top or inside its parameters, must be one that this worker was
 * given; the driver is not asked otherwise. Of the processes that use a GPU it
 * sees its own, which to the driver is this one.
 */
#ifndef ISO_BROKER_POLICY_H
#define ISO_BROKER_POLICY_H

#include "abi/abi.h"
#include "base/log.h"
#include "broker/metrics.h"

struct call;
struct file;

#define POLICY_NAMED 256	/* refusals that are logged by name */

/* A root object of NVIDIA's Resource Manager. */
struct rm_client {
	uint32_t handle;
	const struct file *file;	/* that made it; borrowed */
};

/* Of one worker; the loop leader's. */
struct policy {
	const struct abi *abi;
	struct metrics *metrics;	/* borrowed */
	struct log_limit *log;		/* borrowed */
	struct rm_client *client;	/* owned; sorted by handle */
	uint32_t n_clients;
	uint32_t max_clients;
	uint32_t pid;		/* ours, as the driver sees it (RM: the tgid) */
	uint32_t pending;		/* asked of the driver, not yet known */
	uint64_t named[POLICY_NAMED];	/* refused and logged already */
	uint32_t n_named;
};

void policy_init(struct policy *p, const struct abi *abi,
		 uint32_t max_clients, struct metrics *metrics,
		 struct log_limit *log);
void policy_free(struct policy *p);

/*
 * Judges a call whose argument and depth-one buffers are there, and sets
 * call->sub to the row of its control or class. True if it may go on; else the
 * call has its answer: an errno in call->err, or RM's status in the argument.
 */
bool policy_check(struct policy *p, struct call *call, uint32_t caps);

/* After the driver: takes out of the answer what is about other workers. */
void policy_filter(const struct policy *p, struct call *call);

/* Before a call that passed goes to the driver, and after it came back (or was
 * given up in between): keeps the table of clients. */
void policy_begin(struct policy *p, struct call *call);
void policy_end(struct policy *p, struct call *call);

/* The file is closed: so are its clients. */
void policy_close(struct policy *p, const struct file *file);

#endif /* ISO_BROKER_POLICY_H */
