/* SPDX-License-Identifier: MIT */
/*
 * test_broker_session.c - takes connections from first frame to end, turn by
 * turn
 *
 * The jobs of the pool run in this thread, when the test says so.
 */
/* links: src/broker src/broker/child src/drv/soft */
#include <string.h>
#include <sys/socket.h>

#include "abi_numbers.h"
#include "base/sock.h"
#include "broker/child/frame.h"
#include "broker/child/handlers.h"
#include "broker/child/session.h"
#include "drv/soft/soft.h"
#include "tap.h"

#define VERSION "550.163.01"

static struct child child;

static void after_turn(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_settle(&child.conns);
	session_reap(&child);
}

static void stopped(struct pool *pool)
{
	(void)pool;
	abort();
}

static void setup(void)
{
	static const struct soft_config model = {
		.count = 1, .name = "Test", .mem_bytes = 1 << 30,
	};
	static const struct proto_setup s = {
		.quota = { .max_files = 8, .max_clients = 8,
			   .max_objects = 64,
			   .max_inflight_bytes = 2 << 20 },
	};

	child.setup = s;
	if (pool_init(&child.pool, 2, stopped) < 0 ||
	    soft_new(abi_find(VERSION), VERSION, &model, &child.drv) < 0)
		abort();
	child.hello_timer.fd = loop_timerfd();
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

/* The worker's end of a new connection. */
static int dial(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0 ||
	    handlers_accept(&child, pair[0], ISO_CAP_UTILITY) < 0)
		abort();
	return pair[1];
}

static void put(struct wr *w, enum iso_type type, uint32_t tag, uint32_t file,
		const void *body, size_t n)
{
	frame_header(w, (uint32_t)(sizeof(struct iso_hdr) + n), type, tag,
		     file);
	wr_bytes(w, body, n);
}

/* Sends the bytes in w in one piece, and empties w. */
static void send_all(int fd, struct wr *w)
{
	if (send(fd, w->p, w->len, MSG_NOSIGNAL) != (ssize_t)w->len)
		abort();
	wr_reset(w);
}

/* A turn with events; true if there were any. */
static bool turn(void)
{
	return loop_once(&child.pool.loop, 0) > 0;
}

/* A turn with the job that is ready first. */
static bool one_job(void)
{
	struct job_list *l = &child.pool.ready;
	struct job *job = l->head;

	if (!job)
		return false;
	l->head = job->next;
	if (!l->head)
		l->tail = &l->head;
	job->run(job);
	job->done(job);
	after_turn(NULL, NULL);
	return true;
}

static void settle(void)
{
	while (turn() || one_job())
		;
}

/*
 * The frames that came, at most one read of them: their types as letters, each
 * in the order of enum iso_type ('A' is 1). "-": nothing; "|" at the end: it is
 * closed. *ret_file: the file of the last one.
 */
static const char *came(int fd, uint32_t *ret_file)
{
	static uint8_t buf[1 << 20];
	static char text[64];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	size_t len = 0, off = 0;

	if (n < 0)
		return "-";
	while (off + sizeof(struct iso_hdr) <= (size_t)n) {
		struct iso_hdr h = frame_read(buf + off);

		text[len++] = (char)('A' + h.type - 1);
		*ret_file = h.file;
		off += h.len;
	}
	if (n == 0 || recv(fd, buf, 1, MSG_PEEK) == 0)
		text[len++] = '|';
	text[len] = 0;
	return text;
}

/* A connection with one open file, whose id is *ret_file. */
static int join(struct wr *w, uint32_t *ret_file)
{
	const struct iso_hello hello = { .major = ISO_WIRE_MAJOR,
					 .max_frame = ISO_MAX_FRAME };
	const struct iso_open o = { .kind = ISO_DEV_CTL, .tgid = 1 };
	int fd = dial();

	put(w, ISO_HELLO, 0, 0, &hello, sizeof(hello));
	put(w, ISO_OPEN, 1, 0, &o, sizeof(o));
	send_all(fd, w);
	turn();
	came(fd, ret_file); /* HELLO_OK */
	one_job();
	ok(strcmp(came(fd, ret_file), "E") == 0, "a file is open");
	return fd;
}

static void leave(int fd)
{
	close(fd);
	settle();
	ok(child.conns.all.n == 0 && child.n_files == 0 &&
	   child.budget.bytes[BUDGET_CALLS] == 0 &&
	   child.budget.bytes[BUDGET_INPUT] == 0,
	   "when it has gone nothing is left of it");
}

static void test_turns(struct wr *w)
{
	const struct iso_ping ping = { 1 };
	const struct iso_open o = { .kind = ISO_DEV_CTL, .tgid = 1 };
	uint32_t file;
	int fd = join(w, &file);

	put(w, ISO_PING, 0, 0, &ping, sizeof(ping));
	put(w, ISO_PING, 0, 0, &ping, sizeof(ping));
	send_all(fd, w);
	turn();
	ok(strcmp(came(fd, &file), "RR") == 0,
	   "the answers of a turn are sent together");
	put(w, ISO_OPEN, 1, 0, &o, sizeof(o));
	put(w, ISO_OPEN, 2, 0, &o, sizeof(o));
	send_all(fd, w);
	turn();
	ok(strcmp(came(fd, &file), "-") == 0 && one_job() &&
	   strcmp(came(fd, &file), "E") == 0 && child.pool.ready.head,
	   "a job's answer does not wait for the next job");
	settle();
	leave(fd);
}

static void test_errors(struct wr *w)
{
	const struct iso_ping ping = { 1 };
	uint32_t file;
	int fd = join(w, &file);

	put(w, ISO_PING, 0, 0, &ping, sizeof(ping));
	put(w, ISO_PONG, 0, 0, &ping, sizeof(ping));
	put(w, ISO_PING, 0, 0, &ping, sizeof(ping));
	send_all(fd, w);
	turn();
	ok(strcmp(came(fd, &file), "RS|") == 0,
	   "what came before a bad frame is answered, what comes after is not");
	leave(fd);
}

/* The session ends while a call of it is with the driver. */
static void test_end_under_call(struct wr *w)
{
	const struct {
		struct iso_ioctl head;
		__le64 arg;
	} call = { { .nr = NV_ESC_SYS_PARAMS, .arg_len = 8 }, 0 };
	struct job *job;
	uint32_t file;
	int fd = join(w, &file);

	put(w, ISO_IOCTL, 3, file, &call, sizeof(call));
	send_all(fd, w);
	turn();
	job = child.pool.ready.head;
	child.pool.ready = (struct job_list){ 0 };
	child.pool.ready.tail = &child.pool.ready.head;
	close(fd);
	settle();
	ok(job && child.conns.all.n == 1 && child.n_files == 1,
	   "a call that is with the driver keeps its session and its file");
	job->run(job);
	job->done(job);
	after_turn(NULL, NULL);
	settle();
	ok(child.conns.all.n == 0 && child.n_files == 0 &&
	   child.budget.bytes[BUDGET_CALLS] == 0,
	   "and they go when it is back");
}

/* A frame that waits for memory is looked at again whenever some is given
 * back. */
static void test_rate_and_memory(struct wr *w)
{
	const struct {
		struct iso_ioctl head;
		__le64 arg;
	} call = { { .nr = NV_ESC_SYS_PARAMS, .arg_len = 8 }, 0 };
	const struct budget free = child.budget;
	uint32_t file;
	int fd = join(w, &file);

	child.budget.rate = (struct bucket_rate){ 1, UINT64_C(1) << 50 };
	child.budget.tokens.full_ns = 0;
	child.budget.bytes[BUDGET_CALLS] = free.max_bytes;
	put(w, ISO_IOCTL, 3, file, &call, sizeof(call));
	send_all(fd, w);
	turn();
	ok(child.conns.n_parked == 1 && !child.budget.dry,
	   "a call for which there is no memory waits");
	budget_give(&child.budget, BUDGET_CALLS, free.max_bytes);
	after_turn(NULL, NULL);
	settle();
	ok(child.conns.n_parked == 0 && strcmp(came(fd, &file), "J") == 0,
	   "and takes one token, when there is memory");
	child.budget.rate = free.rate;
	leave(fd);
}

/* The parameters of the control have a buffer for which there is no memory. */
static void test_nested_memory(struct wr *w)
{
	const struct abi_row *rm = abi_row(child.drv->abi,
					   ABI_R_NV_ESC_RM_CONTROL);
	const struct abi_row *ctl = abi_row(child.drv->abi,
		ABI_R_NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	struct {
		struct iso_ioctl head;
		struct iso_span span;
		uint8_t arg[32];
		uint8_t params[64];
	} call = {
		{ .nr = rm->nr, .arg_len = sizeof(call.arg), .n_span = 1 },
		{ .len = ctl->sizes[0] }, { 0 }, { 0 },
	};
	size_t len = sizeof(call) - sizeof(call.params) + pad8(ctl->sizes[0]);
	struct rm_client *client = calloc(1, sizeof(*client));
	uint64_t refused = child.metrics.refused_quota;
	uint32_t file;
	int fd = join(w, &file);

	if (!client || rm->sizes[0] != sizeof(call.arg) ||
	    ctl->sizes[0] > sizeof(call.params))
		abort();
	*client = (struct rm_client){
		.handle = 7, .file = session_file(session_of(list_first(
			&child.conns.all, (struct conn *)NULL, item)), file),
	};
	child.policy.client = client;
	child.policy.n_clients = 1;
	abi_put(rm, ABI_F_hClient, 0, call.arg, sizeof(call.arg), 7);
	abi_put(rm, ABI_F_cmd, 0, call.arg, sizeof(call.arg), ctl->nr);
	abi_put(rm, ABI_F_params, 0, call.arg, sizeof(call.arg), 1);
	abi_put(rm, ABI_F_paramsSize, 0, call.arg, sizeof(call.arg),
		ctl->sizes[0]);
	abi_put(ctl, ABI_F_sizeOfStrings, 0, call.params, ctl->sizes[0], 4096);
	abi_put(ctl, ABI_F_pVersionBuffer, 0, call.params, ctl->sizes[0], 1);
	child.budget.bytes[BUDGET_CALLS] = child.budget.max_bytes - 1024;
	put(w, ISO_IOCTL, 3, file, &call, len);
	send_all(fd, w);
	turn();
	ok(strcmp(came(fd, &file), "J") == 0 &&
	   child.metrics.refused_quota == refused + 1,
	   "a call whose nested buffers are too long is refused, counted once");
	budget_give(&child.budget, BUDGET_CALLS, child.budget.max_bytes - 1024);
	leave(fd);
}

static void test_unmap(struct wr *w)
{
	static const struct {
		const char *what;
		uint32_t tag, other_file;
		uint64_t off, len;
	} bad[] = {
		{ "of a file that is not open", 0, 1, 0, 4096 },
		{ "with a tag", 1, 0, 0, 4096 },
		{ "of no bytes", 0, 0, 4096, 0 },
		{ "past the end of any window", 0, 0, UINT64_MAX, 4096 },
	};
	struct iso_unmap unmap = { .win_off = 4096, .len = 4096 };
	const struct iso_ping ping = { 1 };
	uint32_t file;
	int fd = join(w, &file);

	put(w, ISO_UNMAP, 0, file, &unmap, sizeof(unmap));
	put(w, ISO_PING, 0, 0, &ping, sizeof(ping));
	send_all(fd, w);
	turn();
	ok(strcmp(came(fd, &file), "R") == 0,
	   "UNMAP has no answer and leaves the connection as it is");
	leave(fd);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = join(w, &file);
		unmap.win_off = bad[i].off;
		unmap.len = bad[i].len;
		put(w, ISO_UNMAP, bad[i].tag, file + bad[i].other_file, &unmap,
		    sizeof(unmap));
		send_all(fd, w);
		turn();
		ok(strcmp(came(fd, &file), "S|") == 0,
		   "UNMAP %s breaks the protocol", bad[i].what);
		leave(fd);
	}
}

int main(void)
{
	struct wr w;

	wr_init(&w, 1 << 16);
	setup();
	test_turns(&w);
	test_errors(&w);
	test_end_under_call(&w);
	test_rate_and_memory(&w);
	test_nested_memory(&w);
	test_unmap(&w);
	wr_free(&w);
	policy_free(&child.policy);
	child.drv->ops->destroy(child.drv);
	return done_testing();
}
