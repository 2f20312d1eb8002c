/* SPDX-License-Identifier: MIT */
/* stranger.c - learns from a connection's IDENT which worker it belongs to */
#include "broker/monitor/stranger.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"

#define IDENT_MS 5000		/* from accept() to a whole IDENT */
#define MAX_STRANGERS 64

#define KNOWN_CAPS (ISO_CAP_UTILITY | ISO_CAP_COMPUTE)
#define IDENT_LEN (sizeof(struct iso_hdr) + sizeof(struct iso_ident))

static_assert(SECRET_LEN == ISO_SECRET_LEN, "the wire has room for a secret");

struct stranger {
	struct list_item item;
	struct iso_ev ev;	/* fd is -1 once a worker has it */
	struct iso_ev timer;	/* for IDENT_MS */
	struct strangers *st;
	uint8_t buf[IDENT_LEN];
	size_t len;
};

static void stranger_end(struct stranger *s)
{
	if (!list_end(&s->st->list, &s->item))
		return;
	loop_del(s->st->loop, &s->ev);
	loop_del(s->st->loop, &s->timer);
}

static void refuse(struct stranger *s, const char *why)
{
	s->st->metrics->ident_refused++;
	if (log_limit_ok(s->st->log))
		log_warn("connection refused: %s", why);
	stranger_end(s);
}

static void timer_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	refuse(container_of(ev, struct stranger, timer),
	       "it sent no IDENT in time");
}

/* Whether it is a name, padded with NUL. */
static bool worker_name_ok(const char name[ISO_WORKER_LEN])
{
	size_t n = strnlen(name, ISO_WORKER_LEN);

	for (size_t i = n; i < ISO_WORKER_LEN; i++)
		if (name[i])
			return false;
	return n < ISO_WORKER_LEN && name_ok(name);
}

/* NULL if the frame in s->buf is a good IDENT; else why it is not. */
static const char *check_ident(const struct stranger *s, char *ret_name,
			       uint32_t *ret_caps)
{
	struct rd r = rd_init(s->buf, s->len);
	uint8_t secret[SECRET_LEN];
	uint32_t len = rd_u32(&r);
	uint16_t type = rd_u16(&r);

	rd_zero(&r, 10); /* flags, tag, file */
	rd_copy(&r, secret, sizeof(secret));
	rd_copy(&r, ret_name, ISO_WORKER_LEN);
	*ret_caps = rd_u32(&r);
	rd_zero(&r, 4); /* the only quota class */
	if (!rd_done(&r) || len != IDENT_LEN || type != ISO_IDENT)
		return "its first frame is no IDENT";
	if (!equal_ct(secret, s->st->secret, sizeof(secret)))
		return "wrong secret";
	if (!worker_name_ok(ret_name))
		return "IDENT with a bad name";
	if (*ret_caps == 0 || *ret_caps & ~KNOWN_CAPS)
		return "IDENT with unknown capabilities";
	return NULL;
}

/* Reads no byte behind IDENT: the rest is for the child. */
static void stranger_event(struct iso_ev *ev, uint32_t events)
{
	struct stranger *s = container_of(ev, struct stranger, ev);
	char name[ISO_WORKER_LEN];
	const char *why;
	uint32_t caps;
	ssize_t r = recv(ev->fd, s->buf + s->len, IDENT_LEN - s->len, 0);

	(void)events;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r <= 0) {
		refuse(s, "it closed before IDENT");
		return;
	}
	s->len += (size_t)r;
	if (s->len < IDENT_LEN)
		return;
	why = check_ident(s, name, &caps);
	if (why) {
		refuse(s, why);
		return;
	}
	stranger_end(s);
	workers_admit(s->st->workers, take_fd(&ev->fd), name, caps);
}

/* Makes room: whoever knows IDENT sends it at once, so the one that has been
 * silent longest goes. */
static void evict_oldest(struct strangers *st)
{
	struct stranger *oldest = list_first(&st->list, oldest, item);

	if (oldest)
		refuse(oldest, "too many connections without IDENT");
}

void strangers_add(struct strangers *st, int fd)
{
	struct stranger *s = calloc(1, sizeof(*s));

	if (!s) {
		st->metrics->ident_refused++;
		close(fd);
		return;
	}
	if (list_live(&st->list) >= MAX_STRANGERS)
		evict_oldest(st);
	s->st = st;
	s->ev = (struct iso_ev){ .fd = fd, .fn = stranger_event };
	s->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = timer_event };
	list_add(&st->list, &s->item);
	if (s->timer.fd < 0 || loop_timer_set(s->timer.fd, IDENT_MS) < 0 ||
	    loop_set(st->loop, &s->timer, EPOLLIN) < 0 ||
	    loop_set(st->loop, &s->ev, EPOLLIN) < 0)
		stranger_end(s);
}

static void release(struct list_item *item)
{
	struct stranger *s = container_of(item, struct stranger, item);

	close_fd(&s->ev.fd);
	close_fd(&s->timer.fd);
	free(s);
}

void strangers_reap(struct strangers *st)
{
	list_reap(&st->list, release);
}

void strangers_end(struct strangers *st)
{
	struct stranger *s;

	list_each(s, &st->list, item)
		stranger_end(s);
	strangers_reap(st);
}
