/* SPDX-License-Identifier: MIT */
/*
 * chan.h - frames of the agent protocol (iso_agent.h) over a stream
 *
 * Bytes that come are gathered until a frame is whole; frames that go are
 * queued. The fd is the caller's and non-blocking; the caller ignores SIGPIPE.
 */
#ifndef ISO_CHAN_H
#define ISO_CHAN_H

#include "abi/iso_agent.h"
#include "base/base.h"
#include "base/rd.h"
#include "base/ring.h"

/* Room that DATA leaves in the output queue for the small frames. */
#define CHAN_RESERVE 1024u

struct chan {
	uint8_t *in;	/* owned */
	size_t in_cap;
	size_t in_pos;	/* where the next frame begins */
	size_t in_len;	/* where the received bytes end */
	struct ring out;
};

struct chan_frame {
	uint16_t type;
	uint16_t stream;
	struct rd body;	/* valid until the next chan_fill() */
};

/* Begins as a channel that takes one AUTH and nothing else. 0 or -ENOMEM. */
int chan_init_auth(struct chan *c);
/* Makes it a channel for frames of all kinds. 0 or -ENOMEM. */
int chan_open(struct chan *c);
void chan_free(struct chan *c);

/* Reads once. Bytes, -EAGAIN, -EPIPE at the end, or another -errno. */
ssize_t chan_fill(struct chan *c, int fd);
/* 1 with the next frame, 0 if it is not whole yet, -EPROTO on a bad header. */
int chan_next(struct chan *c, struct chan_frame *ret_frame);

/* Queues one frame. 0, or -ENOBUFS. */
int chan_put(struct chan *c, uint16_t type, uint16_t stream, const void *body,
	     size_t n);
/* How many bytes of DATA may be queued now, at most AGENT_MAX_DATA. */
size_t chan_data_room(const struct chan *c);
/* Writes once from the queue. 0, also when the fd takes nothing now, or
 * -errno. */
int chan_flush(struct chan *c, int fd);

/* The sending end of one stream: how many bytes the peer still takes. */
struct chan_out {
	uint32_t window;
};
#define CHAN_OUT_INIT ((struct chan_out){ .window = AGENT_WINDOW })

/* How many bytes may be queued now, at most AGENT_MAX_DATA. */
size_t chan_out_room(const struct chan_out *out, const struct chan *c);
/* Queues n bytes of DATA, no more than chan_out_room() said; 0 bytes end the
 * stream. */
void chan_out_put(struct chan_out *out, struct chan *c, uint16_t stream,
		  const void *p, size_t n);
/* Takes a CREDIT body. 0, or -EPROTO (malformed, or beyond the window). */
int chan_out_credit(struct chan_out *out, const struct rd *body);

/* The receiving end of one stream: bytes that came and are not passed on
 * yet. */
struct chan_in {
	struct ring ring;	/* AGENT_WINDOW bytes */
	uint32_t owed;		/* passed on, CREDIT not yet sent */
	bool ended;		/* nothing more will come */
	bool stopped;		/* STOP was sent; bytes that come are dropped */
};

int chan_in_init(struct chan_in *in);
void chan_in_free(struct chan_in *in);
/* Takes a DATA body. 0, or -EPROTO (beyond the window, or after the end). */
int chan_in_take(struct chan_in *in, const struct rd *body);
/* Writes once, at most max bytes, to fd. Bytes written, or -errno. */
ssize_t chan_in_pass(struct chan_in *in, int fd, size_t max);
/* Queues CREDIT once it is worth a frame. */
void chan_in_credit(struct chan_in *in, struct chan *c, uint16_t stream);
/* Drops all bytes and queues STOP. */
void chan_in_stop(struct chan_in *in, struct chan *c, uint16_t stream);

static inline bool chan_pending(const struct chan *c)
{
	return ring_used(&c->out) > 0;
}

#endif /* ISO_CHAN_H */
