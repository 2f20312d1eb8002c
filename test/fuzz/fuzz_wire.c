/* SPDX-License-Identifier: MIT */
/*
 * fuzz_wire.c - sends a child any frames that a hostile worker could
 *
 * After a good HELLO and two OPENs come frames made from the input, most of
 * them with a right header, or raw bytes. The jobs of the pool run in this
 * thread.
 */
/* links: src/broker src/broker/child src/drv/soft */
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sock.h"
#include "broker/child/frame.h"
#include "broker/child/handlers.h"
#include "broker/child/session.h"
#include "drv/soft/soft.h"

#define VERSION "550.163.01"
#define MAX_BODY 512

static struct child child;
static uint32_t client_handle; /* of the last input, for the next */

static void stopped(struct pool *pool)
{
	(void)pool;
	abort();
}

static void after_turn(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_settle(&child.conns);
	session_reap(&child);
}

static void setup(void)
{
	static const struct soft_config model = {
		.count = 1, .name = "Fuzz", .mem_bytes = 1 << 30,
	};
	static const struct proto_setup s = {
		.worker = "fuzz",
		.quota = { .max_files = 8, .max_clients = 8,
			   .max_objects = 64, .max_rate = 0,
			   .max_inflight_bytes = 2 << 20 },
	};

	log_set_level(LOG_LVL_ERROR);
	child.setup = s;
	if (pool_init(&child.pool, 2, stopped) < 0 ||
	    soft_new(abi_find(VERSION), VERSION, &model, &child.drv) < 0)
		abort();
	child.pool.loop.after = after_turn;
	child.conns = (struct conn_set){
		.loop = &child.pool.loop, .budget = &child.budget,
		.metrics = &child.metrics, .log = &child.log,
	};
	budget_init(&child.budget, s.quota.max_inflight_bytes, 0,
		    &child.metrics.refused_quota);
	policy_init(&child.policy, child.drv->abi, s.quota.max_clients,
		    &child.metrics, &child.log);
}

static void run_jobs(void)
{
	struct job_list *l = &child.pool.ready;

	while (l->head) {
		struct job *job = l->head;

		l->head = job->next;
		if (!l->head)
			l->tail = &l->head;
		job->run(job);
		job->done(job);
		after_turn(NULL, NULL);
	}
}

/* Runs the loop until nothing is left to do, and drops the answers. */
static void settle(int fd)
{
	static uint8_t junk[ISO_MAX_FRAME];
	ssize_t n;

	do {
		run_jobs();
		n = recv(fd, junk, sizeof(junk), MSG_DONTWAIT);
		if (n > (ssize_t)(sizeof(struct iso_hdr) + 32) &&
		    junk[4] == ISO_RESULT)
			memcpy(&client_handle, junk + n - 40, 4);
	} while (loop_once(&child.pool.loop, 0) > 0 || n > 0 ||
		 child.pool.ready.head);
}

static void send_frame(int fd, enum iso_type type, uint32_t tag, uint32_t file,
		       const void *body, uint32_t n)
{
	struct wr w;

	wr_init(&w, 4096);
	frame_header(&w, (uint32_t)sizeof(struct iso_hdr) + n, type, tag, file);
	wr_bytes(&w, body, n);
	if (send(fd, w.p, w.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		(void)0; /* the child has closed, as it should */
	wr_free(&w);
}

static void prologue(int fd)
{
	const struct iso_hello hello = { .major = ISO_WIRE_MAJOR,
					 .max_frame = ISO_MAX_FRAME };
	struct iso_open o = { .kind = ISO_DEV_CTL, .tgid = 1 };

	send_frame(fd, ISO_HELLO, 0, 0, &hello, sizeof(hello));
	send_frame(fd, ISO_OPEN, 1, 0, &o, sizeof(o));
	o.kind = ISO_DEV_UVM;
	send_frame(fd, ISO_OPEN, 2, 0, &o, sizeof(o));
	settle(fd);
}

/* Sends the next frame of the input, which has a header of five bytes: type
 * (0xff: raw bytes), tag, slot of the file, length of the body. */
static void one_input_frame(int fd, struct rd *in)
{
	const uint8_t *h = rd_span(in, 5);
	const void *body;
	uint32_t n;

	if (!h)
		return;
	n = MIN((uint32_t)(h[3] | h[4] << 8) % MAX_BODY, (uint32_t)in->left);
	body = rd_span(in, n);
	if (h[0] == 0xff) {
		if (send(fd, body, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			(void)0;
	} else {
		send_frame(fd, (enum iso_type)(h[0] % 21), h[1],
			   h[2] < 8 ? 1u << 16 | h[2] : h[2] == 8 ? 0 : h[2],
			   body, n);
	}
	settle(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	int pair[2];

	if (!child.drv)
		setup();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0 ||
	    handlers_accept(&child, pair[0],
			    ISO_CAP_UTILITY | ISO_CAP_COMPUTE) < 0)
		abort();
	prologue(pair[1]);
	while (in.left && !in.bad && child.conns.all.n)
		one_input_frame(pair[1], &in);
	close(pair[1]);
	while (child.conns.all.n) {
		loop_once(&child.pool.loop, 0);
		run_jobs();
	}
	if (child.n_files || child.budget.bytes[BUDGET_CALLS] ||
	    child.budget.bytes[BUDGET_INPUT] || child.conns.n_parked ||
	    child.policy.n_clients || child.policy.pending)
		abort(); /* something was left behind */
	return 0;
}
