/* SPDX-License-Identifier: MIT */
/*
 * policy.h - what a worker may ask of the driver
 *
 * Everything is denied by default: a call, control or class is let through only
 * if a row of the driver's table names it and one of the worker's capabilities.
 * Besides, every handle of an RM client in a call, in its argument or its
 * parameters, must be one that this worker was given; otherwise the driver is
 * not asked at all. Of the processes that use a GPU, a worker sees one: its
 * own, which the driver takes to be this child.
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

/* One worker's. The loop leader's. */
struct policy {
	const struct abi *abi;
	struct metrics *metrics;	/* borrowed */
	struct log_limit *log;		/* borrowed */
	struct rm_client *client;	/* owned; sorted by handle */
	uint32_t n_clients;
	uint32_t max_clients;
	uint32_t pid;			/* ours, as the driver sees it: the
					 * tgid */
	uint32_t pending;		/* RM clients that running calls may
					 * make */
	uint64_t named[POLICY_NAMED];	/* refused and logged already */
	uint32_t n_named;
};

void policy_init(struct policy *p, const struct abi *abi,
		 uint32_t max_clients, struct metrics *metrics,
		 struct log_limit *log);
void policy_free(struct policy *p);

/*
 * Judges a call whose argument and depth-one buffers are there, for a worker
 * with these capabilities (ISO_CAP_*), and sets call->sub to the row of its
 * control or class. True if the call may go on. Otherwise it has its answer: an
 * errno in call->err, or RM's status in the argument.
 */
bool policy_check(struct policy *p, struct call *call, uint32_t caps);

/* Takes out of the driver's answer what is about other workers. */
void policy_filter(const struct policy *p, struct call *call);

/* Keep the table of RM clients: policy_begin() before a call that passed goes
 * to the driver, policy_end() when it is over, whether it went there or not. */
void policy_begin(struct policy *p, struct call *call);
void policy_end(struct policy *p, struct call *call);

/* The file is closed, which ends the RM clients that were made through it. */
void policy_close(struct policy *p, const struct file *file);

#endif /* ISO_BROKER_POLICY_H */
