/* SPDX-License-Identifier: MIT */
/* vhost_user.c - answers the VMM, over one vhost-user connection */
#include "vhost_user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/rd.h"
#include "base/sock.h"
#include "base/wr.h"

/* #syscalls vsock-device: recvmsg sendmsg read write close */

enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_GET_CONFIG = 24,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_REQUESTS,
};

#define VU_VERSION 1u
#define VU_VERSION_MASK 3u
#define VU_REPLY (1u << 2)
#define VU_NEED_REPLY (1u << 3)
#define VU_NO_FD (1u << 8)	/* of SET_VRING_KICK, CALL, ERR */
#define VU_TABLE_REGIONS 8u

#define VU_F_PROTOCOL (1ull << 30)
#define VU_PF_MQ (1ull << 0)
#define VU_PF_REPLY_ACK (1ull << 3)
#define VU_PF_CONFIG (1ull << 9)
#define VU_PF_MEM_SLOTS (1ull << 15)

#define FEATURES (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | \
		  VU_F_PROTOCOL)
#define PROTOCOL_FEATURES (VU_PF_MQ | VU_PF_REPLY_ACK | VU_PF_CONFIG | \
			   VU_PF_MEM_SLOTS)

/* ---- the queues --------------------------------------------------------- */

static void on_kick(struct iso_ev *ev, uint32_t events)
{
	struct vu_queue *q = container_of(ev, struct vu_queue, kick);
	struct vu *u = q->vu;
	uint64_t n;
	bool more;

	(void)events;
	if (read(ev->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_warn("cannot read a kick: %s", strerror(errno));
	if (q == &u->q[VSOCK_TX])
		more = vsock_kick_tx(u->v);
	else
		more = vsock_kick_rx(u->v);
	if (more)
		eventfd_signal(u->q[VSOCK_TX].kick.fd);
	if (u->v->queues.broken && q->err_fd >= 0)
		eventfd_signal(q->err_fd);
}

/* Lets go of the rings. */
static void stop(struct vu *u)
{
	if (!u->running)
		return;
	u->running = false;
	vsock_stop(u->v);
	for (size_t i = 0; i < VSOCK_QUEUES; i++) {
		u->q[i].base = u->v->queues.q[i].last_avail;
		loop_del(u->v->streams.loop, &u->q[i].kick);
		virtq_unmap(&u->v->queues.q[i]);
	}
}

/* Whether all is there that the device needs in order to run. */
static bool ready(const struct vu *u)
{
	for (size_t i = 0; i < VSOCK_QUEUES; i++)
		if (!u->q[i].enabled || u->q[i].kick.fd < 0 ||
		    u->q[i].desc == 0 || u->v->queues.q[i].num == 0)
			return false;
	return true;
}

/* Runs the device if it is ready. `fresh`: the driver may begin anew, which it
 * does at index 0 of both queues; false: it is known to go on. 0 or -errno. */
static int start(struct vu *u, bool fresh)
{
	int r;

	if (u->running || !ready(u))
		return 0;
	for (size_t i = 0; i < VSOCK_QUEUES; i++) {
		struct vu_queue *q = &u->q[i];
		struct virtq *ring = &u->v->queues.q[i];

		r = virtq_map(ring, &u->v->queues.mem, q->desc, q->avail,
			      q->used);
		if (r < 0) {
			if (log_limit_ok(&u->v->queues.log))
				log_error("the VMM puts queue %zu outside the "
					  "guest's memory", i);
			return r;
		}
		ring->event_idx = u->features & 1ull << VIRTIO_RING_F_EVENT_IDX;
		ring->call_fd = q->call_fd;
		fresh = fresh && q->base == 0;
		virtq_start(ring, q->base);
	}
	for (size_t i = 0; i < VSOCK_QUEUES; i++) {
		r = loop_set(u->v->streams.loop, &u->q[i].kick, EPOLLIN);
		if (r < 0)
			return r;
		eventfd_signal(u->q[i].kick.fd);
	}
	u->running = true;
	vsock_start(u->v, fresh);
	log_debug("running, %s", fresh ? "fresh" : "continued");
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

/* A request with its reply. A handler returns 0 or -errno. An error ends the
 * connection, unless the VMM asked for an acknowledgement, which tells it. */
struct msg {
	struct rd rd;
	struct wr reply;
	int *fds;		/* the handler takes those that it keeps */
	size_t n_fds;
};

static int set_features(struct vu *u, struct msg *m)
{
	uint64_t f = rd_u64(&m->rd);

	if (!rd_done(&m->rd) || (f & ~FEATURES))
		return -EINVAL;
	u->features = f;
	return 0;
}

static int set_owner(struct vu *u, struct msg *m)
{
	(void)u;
	return rd_done(&m->rd) ? 0 : -EINVAL;
}

static int set_protocol_features(struct vu *u, struct msg *m)
{
	uint64_t f = rd_u64(&m->rd);

	if (!rd_done(&m->rd) || (f & ~PROTOCOL_FEATURES))
		return -EINVAL;
	u->protocol_features = f;
	return 0;
}

static int get_config(struct vu *u, struct msg *m)
{
	struct virtio_vsock_config config = { .guest_cid = u->v->queues.cid };
	uint32_t off = rd_u32(&m->rd), size = rd_u32(&m->rd);

	(void)rd_u32(&m->rd); /* flags */
	if (!rd_span(&m->rd, size) || !rd_done(&m->rd) ||
	    !range_ok(off, size, sizeof(config)))
		return -EINVAL;
	wr_u32(&m->reply, off);
	wr_u32(&m->reply, size);
	wr_u32(&m->reply, 0);
	wr_bytes(&m->reply, (const uint8_t *)&config + off, size);
	return 0;
}

/* ---- memory ------------------------------------------------------------- */

/* As it stands in a request. */
static struct mem_region read_region(struct rd *rd)
{
	struct mem_region r = { .guest_addr = rd_u64(rd) };

	r.size_bytes = rd_u64(rd);
	r.user_addr = rd_u64(rd);
	r.mmap_offset = rd_u64(rd);
	return r;
}

/* Adds it, and logs if that fails or leaves it without a mapping. */
static int add_region(struct vu *u, const struct mem_region *r, int fd)
{
	int k = guest_mem_add(&u->v->queues.mem, r, fd);

	if (k != 0 && !log_limit_ok(&u->v->queues.log))
		return MIN(k, 0);
	if (k > 0)
		log_warn("memory at 0x%" PRIx64 " is not sealed against "
			 "shrinking: left out",
			 r->guest_addr);
	else if (k < 0)
		log_error("cannot map memory at 0x%" PRIx64 ": %s",
			  r->guest_addr, strerror(-k));
	return MIN(k, 0);
}

/* Goes on after a change of the memory, in which the rings may lie elsewhere
 * now, or nowhere. */
static int remap(struct vu *u, bool was_running)
{
	return was_running ? start(u, false) : 0;
}

static int add_mem_reg(struct vu *u, struct msg *m)
{
	bool was = u->running;
	struct mem_region r;
	int k;

	rd_zero(&m->rd, 8);
	r = read_region(&m->rd);
	if (!rd_done(&m->rd) || m->n_fds != 1)
		return -EINVAL;
	stop(u);
	k = add_region(u, &r, m->fds[0]);
	return k < 0 ? k : remap(u, was);
}

static int rem_mem_reg(struct vu *u, struct msg *m)
{
	bool was = u->running;
	struct mem_region r;
	int k;

	rd_zero(&m->rd, 8);
	r = read_region(&m->rd);
	if (!rd_done(&m->rd))
		return -EINVAL;
	stop(u);
	k = guest_mem_remove(&u->v->queues.mem, &r);
	return k < 0 ? k : remap(u, was);
}

static int set_mem_table(struct vu *u, struct msg *m)
{
	uint32_t n = rd_u32(&m->rd);
	bool was = u->running;

	rd_zero(&m->rd, 4);
	if (m->rd.bad || n > VU_TABLE_REGIONS || n != m->n_fds)
		return -EINVAL;
	stop(u);
	guest_mem_clear(&u->v->queues.mem);
	for (uint32_t i = 0; i < n; i++) {
		struct mem_region r = read_region(&m->rd);
		int k = m->rd.bad ? -EINVAL : add_region(u, &r, m->fds[i]);

		if (k < 0)
			return k;
	}
	return rd_done(&m->rd) ? remap(u, was) : -EINVAL;
}

/* ---- rings -------------------------------------------------------------- */

/* Index and number, as most ring requests carry them; NULL if wrong. */
static struct vu_queue *ring_state(struct vu *u, struct msg *m, uint32_t *ret_n)
{
	uint32_t i = rd_u32(&m->rd);

	*ret_n = rd_u32(&m->rd);
	return rd_done(&m->rd) && i < VSOCK_QUEUES ? &u->q[i] : NULL;
}

static int set_vring_num(struct vu *u, struct msg *m)
{
	uint32_t num;
	struct vu_queue *q = ring_state(u, m, &num);

	if (!q || u->running || num == 0 || num > VIRTQ_MAX_NUM ||
	    (num & (num - 1)))
		return -EINVAL;
	u->v->queues.q[q - u->q].num = (uint16_t)num;
	return 0;
}

static int set_vring_base(struct vu *u, struct msg *m)
{
	uint32_t base;
	struct vu_queue *q = ring_state(u, m, &base);

	if (!q || u->running || base > UINT16_MAX)
		return -EINVAL;
	q->base = (uint16_t)base;
	return 0;
}

static int get_vring_base(struct vu *u, struct msg *m)
{
	uint32_t unused;
	struct vu_queue *q = ring_state(u, m, &unused);

	if (!q)
		return -EINVAL;
	stop(u);
	q->enabled = false;
	q->desc = 0;
	close_fd(&q->kick.fd);
	wr_u32(&m->reply, (uint32_t)(q - u->q));
	wr_u32(&m->reply, q->base);
	return 0;
}

static int set_vring_addr(struct vu *u, struct msg *m)
{
	uint32_t i = rd_u32(&m->rd);
	uint32_t flags = rd_u32(&m->rd);
	uint64_t desc = rd_u64(&m->rd), used = rd_u64(&m->rd);
	uint64_t avail = rd_u64(&m->rd);

	(void)rd_u64(&m->rd); /* log address: no logging was offered */
	if (!rd_done(&m->rd) || i >= VSOCK_QUEUES || flags || desc == 0 ||
	    u->running)
		return -EINVAL;
	u->q[i].desc = desc;
	u->q[i].avail = avail;
	u->q[i].used = used;
	return start(u, true);
}

static int set_vring_enable(struct vu *u, struct msg *m)
{
	uint32_t on;
	struct vu_queue *q = ring_state(u, m, &on);

	if (!q || on > 1)
		return -EINVAL;
	q->enabled = on;
	if (on)
		return start(u, true);
	stop(u);
	return 0;
}

/* The index and the fd, taken, of SET_VRING_KICK, CALL or ERR. */
static struct vu_queue *ring_fd(struct vu *u, struct msg *m, int *ret_fd)
{
	uint64_t v = rd_u64(&m->rd);
	bool none = v & VU_NO_FD;

	if (!rd_done(&m->rd) || (v & ~(uint64_t)VU_NO_FD) >= VSOCK_QUEUES ||
	    m->n_fds != (none ? 0 : 1))
		return NULL;
	*ret_fd = none ? -1 : take_fd(&m->fds[0]);
	return &u->q[v & 0xff];
}

static int set_vring_kick(struct vu *u, struct msg *m)
{
	int fd = -1;
	bool was;
	struct vu_queue *q = ring_fd(u, m, &fd);

	/* Without a kick fd the queue would have to be polled. */
	if (!q || fd < 0)
		return -EINVAL;
	was = u->running;
	stop(u);
	close_fd(&q->kick.fd);
	q->kick.fd = fd;
	sock_set_nonblock(fd, true);
	return start(u, !was);
}

static int set_vring_call(struct vu *u, struct msg *m)
{
	int fd = -1;
	struct vu_queue *q = ring_fd(u, m, &fd);

	if (!q)
		return -EINVAL;
	close_fd(&q->call_fd);
	q->call_fd = fd;
	if (fd >= 0)
		sock_set_nonblock(fd, true);
	u->v->queues.q[q - u->q].call_fd = fd;
	/* The guest must see what was used while there was no fd. */
	if (u->running && fd >= 0)
		eventfd_signal(fd);
	return 0;
}

static int set_vring_err(struct vu *u, struct msg *m)
{
	int fd = -1;
	struct vu_queue *q = ring_fd(u, m, &fd);

	if (!q)
		return -EINVAL;
	close_fd(&q->err_fd);
	q->err_fd = fd;
	if (fd >= 0)
		sock_set_nonblock(fd, true);
	return 0;
}

/* ---- messages ----------------------------------------------------------- */

/* `value`: the reply, and nothing else is to be done. Otherwise fn handles the
 * request, and with `replies` fills m->reply. */
static const struct {
	int (*fn)(struct vu *u, struct msg *m);
	bool replies;
	uint64_t value;
} handler[VU_REQUESTS] = {
	[VU_GET_FEATURES] = { .value = FEATURES },
	[VU_SET_FEATURES] = { .fn = set_features },
	[VU_SET_OWNER] = { .fn = set_owner },
	[VU_RESET_OWNER] = { .fn = set_owner },
	[VU_SET_MEM_TABLE] = { .fn = set_mem_table },
	[VU_SET_VRING_NUM] = { .fn = set_vring_num },
	[VU_SET_VRING_ADDR] = { .fn = set_vring_addr },
	[VU_SET_VRING_BASE] = { .fn = set_vring_base },
	[VU_GET_VRING_BASE] = { .fn = get_vring_base, .replies = true },
	[VU_SET_VRING_KICK] = { .fn = set_vring_kick },
	[VU_SET_VRING_CALL] = { .fn = set_vring_call },
	[VU_SET_VRING_ERR] = { .fn = set_vring_err },
	[VU_GET_PROTOCOL_FEATURES] = { .value = PROTOCOL_FEATURES },
	[VU_SET_PROTOCOL_FEATURES] = { .fn = set_protocol_features },
	[VU_GET_QUEUE_NUM] = { .value = VSOCK_QUEUES },
	[VU_SET_VRING_ENABLE] = { .fn = set_vring_enable },
	[VU_GET_CONFIG] = { .fn = get_config, .replies = true },
	[VU_GET_MAX_MEM_SLOTS] = { .value = GUEST_MEM_MAX_REGIONS },
	[VU_ADD_MEM_REG] = { .fn = add_mem_reg },
	[VU_REM_MEM_REG] = { .fn = rem_mem_reg },
};

static int send_reply(struct vu *u, uint32_t request, const struct wr *body)
{
	uint8_t buf[VU_HDR_LEN + VU_MAX_PAYLOAD];
	uint32_t hdr[3] = { request, VU_VERSION | VU_REPLY,
			    (uint32_t)body->len };

	if (!wr_ok(body))
		return -ENOMEM;
	memcpy(buf, hdr, sizeof(hdr));
	if (body->len)
		memcpy(buf + sizeof(hdr), body->p, body->len);
	return sock_send_fds(u->ev.fd, buf, sizeof(hdr) + body->len, NULL, 0);
}

/* Handles one request. 0, or the -errno with which the connection ends. */
static int answer(struct vu *u, uint32_t request, uint32_t flags,
		  struct msg *m)
{
	bool ack = (flags & VU_NEED_REPLY) &&
		   (u->protocol_features & VU_PF_REPLY_ACK);
	int r = -ENOSYS;

	if (request < VU_REQUESTS && handler[request].value) {
		wr_u64(&m->reply, handler[request].value);
		return send_reply(u, request, &m->reply);
	}
	if (request < VU_REQUESTS && handler[request].fn)
		r = handler[request].fn(u, m);
	if (r < 0 && log_limit_ok(&u->v->queues.log))
		log_error("vhost-user request %u failed: %s", request,
			  strerror(-r));
	if (r >= 0 && handler[request].replies)
		return send_reply(u, request, &m->reply);
	if (!ack)
		return r;
	wr_reset(&m->reply);
	wr_u64(&m->reply, r < 0);
	return send_reply(u, request, &m->reply);
}

static void drop_fds(struct vu *u)
{
	for (size_t i = 0; i < u->n_fds; i++)
		close_fd(&u->fds[i]);
	u->n_fds = 0;
}

/* Receives until `want` bytes are there. 1, 0 (not yet), or -errno; -EPIPE: the
 * VMM has closed. */
static int receive(struct vu *u, size_t want)
{
	size_t n_fds = 0;
	ssize_t n;

	while (u->have < want) {
		n = sock_recv_fds(u->ev.fd, u->buf + u->have, want - u->have,
				  u->fds + u->n_fds, VU_MAX_FDS - u->n_fds,
				  &n_fds);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		u->n_fds += n_fds;
		if (n == 0)
			return u->have == 0 ? -EPIPE : -EPROTO;
		u->have += (size_t)n;
	}
	return 1;
}

/* One message, if all of it is there. 1, 0 (not yet) or -errno. */
static int one_message(struct vu *u)
{
	uint32_t hdr[3];
	struct msg m;
	int r = receive(u, VU_HDR_LEN);

	if (r <= 0)
		return r;
	memcpy(hdr, u->buf, sizeof(hdr));
	if ((hdr[1] & VU_VERSION_MASK) != VU_VERSION || (hdr[1] & VU_REPLY) ||
	    hdr[2] > VU_MAX_PAYLOAD)
		return -EPROTO;
	r = receive(u, VU_HDR_LEN + hdr[2]);
	if (r <= 0)
		return r;
	m = (struct msg){ .rd = rd_init(u->buf + VU_HDR_LEN, hdr[2]),
			  .fds = u->fds, .n_fds = u->n_fds };
	wr_init(&m.reply, VU_MAX_PAYLOAD);
	r = answer(u, hdr[0], hdr[1], &m);
	wr_free(&m.reply);
	drop_fds(u);
	u->have = 0;
	return r < 0 ? r : 1;
}

static void on_message(struct iso_ev *ev, uint32_t events)
{
	struct vu *u = container_of(ev, struct vu, ev);
	int r;

	(void)events;
	r = one_message(u);
	if (r >= 0)
		return;
	u->error = r == -EPIPE || r == -ECONNRESET ? 0 : r;
	stop(u);
	loop_del(u->v->streams.loop, &u->ev);
	u->ended(u);
}

int vu_init(struct vu *u, struct vsock *v, int fd,
	    void (*ended)(struct vu *u))
{
	*u = (struct vu){ .ev = { .fd = fd, .fn = on_message }, .v = v,
			  .ended = ended };
	for (size_t i = 0; i < VSOCK_QUEUES; i++)
		u->q[i] = (struct vu_queue){
			.vu = u, .kick = { .fd = -1, .fn = on_kick },
			.call_fd = -1, .err_fd = -1,
		};
	return loop_set(v->streams.loop, &u->ev, EPOLLIN);
}

void vu_fini(struct vu *u)
{
	stop(u);
	loop_del(u->v->streams.loop, &u->ev);
	close_fd(&u->ev.fd);
	drop_fds(u);
	for (size_t i = 0; i < VSOCK_QUEUES; i++) {
		struct vu_queue *q = &u->q[i];

		loop_del(u->v->streams.loop, &q->kick);
		close_fd(&q->kick.fd);
		close_fd(&q->call_fd);
		close_fd(&q->err_fd);
		u->v->queues.q[i].call_fd = -1;
	}
}
