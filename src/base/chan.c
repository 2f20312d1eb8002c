/* SPDX-License-Identifier: MIT */
/* chan.c - cuts a stream into the agent protocol's frames */
#include "base/chan.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#define OUT_CAP (256u * 1024u)	/* a power of two above AGENT_MAX_FRAME */

int chan_init_auth(struct chan *c)
{
	*c = (struct chan){
		.in_cap = sizeof(struct agent_hdr) + sizeof(struct agent_auth),
	};
	c->in = malloc(c->in_cap);
	return c->in ? 0 : -ENOMEM;
}

int chan_open(struct chan *c)
{
	uint8_t *in = realloc(c->in, AGENT_MAX_FRAME);

	if (!in)
		return -ENOMEM;
	c->in = in;
	c->in_cap = AGENT_MAX_FRAME;
	return ring_init(&c->out, OUT_CAP);
}

void chan_free(struct chan *c)
{
	free(c->in);
	if (c->out.buf)
		ring_free(&c->out);
	*c = (struct chan){ 0 };
}

ssize_t chan_fill(struct chan *c, int fd)
{
	ssize_t n;

	memmove(c->in, c->in + c->in_pos, c->in_len - c->in_pos);
	c->in_len -= c->in_pos;
	c->in_pos = 0;
	if (c->in_len == c->in_cap)
		return -ENOBUFS;
	do {
		n = read(fd, c->in + c->in_len, c->in_cap - c->in_len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPIPE;
	c->in_len += (size_t)n;
	return n;
}

int chan_next(struct chan *c, struct chan_frame *ret_frame)
{
	struct rd r = rd_init(c->in + c->in_pos, c->in_len - c->in_pos);
	size_t have = r.left;
	uint32_t len = rd_u32(&r);
	uint16_t type = rd_u16(&r);
	uint16_t stream = rd_u16(&r);

	if (have < sizeof(struct agent_hdr))
		return 0;
	if (len < sizeof(struct agent_hdr) || len > c->in_cap ||
	    stream >= AGENT_STREAMS)
		return -EPROTO;
	if (have < len)
		return 0;
	*ret_frame = (struct chan_frame){
		.type = type,
		.stream = stream,
		.body = rd_init(r.p, len - sizeof(struct agent_hdr)),
	};
	c->in_pos += len;
	return 1;
}

int chan_put(struct chan *c, uint16_t type, uint16_t stream, const void *body,
	     size_t n)
{
	size_t len = sizeof(struct agent_hdr) + n;
	struct agent_hdr hdr = {
		.len = htole32((uint32_t)len),
		.type = htole16(type),
		.stream = htole16(stream),
	};

	if (len > AGENT_MAX_FRAME || len > ring_space(&c->out))
		return -ENOBUFS;
	ring_put(&c->out, &hdr, sizeof(hdr));
	ring_put(&c->out, body, n);
	return 0;
}

size_t chan_data_room(const struct chan *c)
{
	size_t space = ring_space(&c->out);
	size_t need = sizeof(struct agent_hdr) + CHAN_RESERVE;

	return space > need ? MIN(space - need, AGENT_MAX_DATA) : 0;
}

int chan_flush(struct chan *c, int fd)
{
	struct iovec iov[2];
	int k = ring_used_iov(&c->out, iov);
	ssize_t n;

	if (k == 0)
		return 0;
	do {
		n = writev(fd, iov, k);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	ring_took(&c->out, (size_t)n);
	return 0;
}

size_t chan_out_room(const struct chan_out *out, const struct chan *c)
{
	return MIN(out->window, chan_data_room(c));
}

void chan_out_put(struct chan_out *out, struct chan *c, uint16_t stream,
		  const void *p, size_t n)
{
	int r = chan_put(c, AGENT_DATA, stream, p, n);

	assert(r == 0 && n <= out->window);
	(void)r;
	out->window -= (uint32_t)n;
}

int chan_out_credit(struct chan_out *out, const struct rd *body)
{
	struct rd r = *body;
	uint32_t n = rd_u32(&r);

	if (!rd_done(&r) || n > AGENT_WINDOW - out->window)
		return -EPROTO;
	out->window += n;
	return 0;
}

int chan_in_init(struct chan_in *in)
{
	*in = (struct chan_in){ 0 };
	return ring_init(&in->ring, AGENT_WINDOW);
}

void chan_in_free(struct chan_in *in)
{
	if (in->ring.buf)
		ring_free(&in->ring);
}

int chan_in_take(struct chan_in *in, const struct rd *body)
{
	if (in->ended)
		return -EPROTO;
	if (body->left == 0)
		in->ended = true;
	if (in->stopped)
		return 0;
	if (body->left > ring_space(&in->ring) - in->owed)
		return -EPROTO;
	ring_put(&in->ring, body->p, body->left);
	return 0;
}

ssize_t chan_in_pass(struct chan_in *in, int fd, size_t max)
{
	struct iovec iov[2];
	int k = ring_used_iov(&in->ring, iov);
	ssize_t n;

	if (k == 0)
		return 0;
	iov[0].iov_len = MIN(iov[0].iov_len, max);
	do {
		n = write(fd, iov[0].iov_base, iov[0].iov_len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	ring_took(&in->ring, (size_t)n);
	in->owed += (uint32_t)n;
	return n;
}

void chan_in_credit(struct chan_in *in, struct chan *c, uint16_t stream)
{
	struct agent_credit credit = { .bytes = htole32(in->owed) };

	if (in->owed < AGENT_WINDOW / 4 || in->stopped)
		return;
	/* without room it goes out after the next bytes are passed on */
	if (chan_put(c, AGENT_CREDIT, stream, &credit, sizeof(credit)) == 0)
		in->owed = 0;
}

void chan_in_stop(struct chan_in *in, struct chan *c, uint16_t stream)
{
	ring_took(&in->ring, ring_used(&in->ring));
	if (!in->stopped && chan_put(c, AGENT_STOP, stream, NULL, 0) == 0)
		in->stopped = true;
}
