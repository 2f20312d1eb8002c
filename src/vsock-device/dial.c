/* SPDX-License-Identifier: MIT */
/* dial.c - makes the connections that the guest asks for */
#include "dial.h"

#include <errno.h>

/* #syscalls vsock-device: close */

void dial_init(struct dial *d, struct streams *streams)
{
	*d = (struct dial){ .streams = streams };
}

/* Asks the monitor for streams that it was not asked for yet, the oldest first.
 * A few at a time: each answer carries an fd, and the kernel counts the fds on
 * their way for all monitors of this user together. */
static void ask_waiting(struct dial *d)
{
	struct stream *s;

	list_each(s, &d->streams->list, item) {
		if (d->n_asked == VSOCK_MAX_DIALS)
			return;
		if (s->state != STREAM_DIALING || s->asked)
			continue;
		s->asked = true;
		s->serial = d->next_serial++;
		d->n_asked++;
		if (d->ask(d->arg, s->host_port, s->serial) < 0) {
			d->n_asked--;
			stream_reset(s);
		}
	}
}

int dial_request(struct dial *d, const struct virtio_vsock_hdr *hdr)
{
	struct stream *s = stream_new(d->streams, STREAM_DIALING, -1);

	if (!s)
		return -ENOMEM;
	if (credit_peer(&s->credit, hdr->buf_alloc, hdr->fwd_cnt) < 0) {
		stream_free(s);
		return -EPROTO;
	}
	stream_set_ports(s, hdr->src_port, hdr->dst_port);
	ask_waiting(d);
	return 0;
}

static struct stream *find_asked(const struct dial *d, uint32_t serial)
{
	struct stream *s;

	list_each(s, &d->streams->list, item)
		if (s->state == STREAM_DIALING && s->asked &&
		    s->serial == serial)
			return s;
	return NULL;
}

void dial_done(struct dial *d, uint32_t serial, int fd)
{
	struct stream *s = find_asked(d, serial);

	d->n_asked--;
	if (s && fd >= 0) {
		s->ev.fd = fd;
		stream_open(s);
		stream_pump(s);
	} else if (s) {
		stream_reset(s);
	} else if (fd >= 0) {
		close(fd); /* the guest gave up in the meantime */
	}
	ask_waiting(d);
	queues_publish_rx(d->streams->queues);
}
