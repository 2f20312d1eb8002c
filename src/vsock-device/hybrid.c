/* SPDX-License-Identifier: MIT */
/* hybrid.c - how a stream begins: the CONNECT line, the OK line, a dial */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/num.h"
#include "vsock.h"

/* #syscalls vsock-device: recvfrom sendto */

void stream_dialed(struct stream *s, int fd)
{
	if (fd < 0) {
		stream_reset(s);
		return;
	}
	s->ev.fd = fd;
	s->state = STREAM_OPEN;
	s->owed |= OWE_RESPONSE;
	stream_pump(s);
}

void stream_accepted(struct stream *s)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", s->host_port);

	s->state = STREAM_OPEN;
	/* A fresh socket has room for one line. */
	if (send(s->ev.fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		stream_reset(s);
}

/* Host ports as Firecracker gives them: from 2^30 up. */
static uint32_t free_port(struct vsock *v, uint32_t guest_port)
{
	do {
		v->next_port = (v->next_port + 1) | 1u << 30;
	} while (v->next_port == UINT32_MAX ||
		 stream_find(v, guest_port, v->next_port));
	return v->next_port;
}

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

void stream_hello(struct stream *s)
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
	stream_set_ports(s, port, free_port(s->v, port));
	s->state = STREAM_REQUESTED;
	s->owed = OWE_REQUEST;
}
