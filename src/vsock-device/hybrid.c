/* SPDX-License-Identifier: MIT */
/* hybrid.c - takes the connections that the host asks for */
#include "hybrid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/num.h"

/* #syscalls vsock-device: accept4 close recvfrom sendto */

#define ACCEPT_BUDGET 16	/* in one turn */

/* `CONNECT port\n`, whole. 0 or -EINVAL. */
static int parse_hello(const char *line, uint32_t *ret_port)
{
	static const char word[] = "CONNECT ";
	uint64_t port;

	if (strncmp(line, word, sizeof(word) - 1) != 0 ||
	    parse_u64(line + sizeof(word) - 1, 0, UINT32_MAX - 1, &port) < 0)
		return -EINVAL;
	*ret_port = (uint32_t)port;
	return 0;
}

/* Reads the CONNECT line, and not a byte behind it. */
static void read_hello(struct stream *s)
{
	char *at = s->line + s->line_len, *end;
	size_t room = sizeof(s->line) - s->line_len;
	uint32_t port;
	ssize_t n = recv(s->ev.fd, at, room, MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stream_die(s);
		return;
	}
	end = memchr(at, '\n', (size_t)n);
	if (end)
		n = end + 1 - at;
	n = recv(s->ev.fd, at, (size_t)n, 0);
	s->line_len += (size_t)MAX(n, 0);
	if (!end && s->line_len < sizeof(s->line))
		return;
	if (!end || memchr(s->line, 0, s->line_len)) {
		stream_die(s);
		return;
	}
	*end = 0;
	if (parse_hello(s->line, &port) < 0) {
		stream_die(s);
		return;
	}
	stream_request(s, port);
}

static void on_hello(struct iso_ev *ev, uint32_t events)
{
	struct stream *s = container_of(ev, struct stream, ev);

	s->hup |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	read_hello(s);
	stream_pump(s);
	queues_publish_rx(s->in->queues);
}

void hybrid_add(struct hybrid_server *h, int fd)
{
	struct stream *s = stream_new(h->streams, STREAM_HELLO, fd);

	if (!s) {
		if (log_limit_ok(&h->streams->queues->log))
			log_warn("connection refused: %u streams are open",
				 h->streams->list.n);
		close(fd);
		return;
	}
	s->ev.fn = on_hello;
	stream_pump(s);
}

static void on_listener(struct iso_ev *ev, uint32_t events)
{
	struct hybrid_server *h =
		container_of(ev, struct hybrid_server, listener);

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		int fd = accept4(ev->fd, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		hybrid_add(h, fd);
	}
}

void hybrid_accepted(struct stream *s)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", s->host_port);

	stream_open(s);
	/* A fresh socket has room for one line. */
	if (send(s->ev.fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		stream_reset(s);
	stream_pump(s);
}

/* ---- life --------------------------------------------------------------- */

void hybrid_init(struct hybrid_server *h, struct streams *streams,
		 int listen_fd)
{
	*h = (struct hybrid_server){
		.streams = streams,
		.listener = { .fd = listen_fd, .fn = on_listener },
	};
}

void hybrid_fini(struct hybrid_server *h)
{
	hybrid_stop(h);
	close_fd(&h->listener.fd);
}

int hybrid_start(struct hybrid_server *h)
{
	return loop_set(h->streams->loop, &h->listener, EPOLLIN);
}

void hybrid_stop(struct hybrid_server *h)
{
	loop_del(h->streams->loop, &h->listener);
}
