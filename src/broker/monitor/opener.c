/* SPDX-License-Identifier: MIT */
/* opener.c - answers children that want device nodes opened */
#include "broker/monitor/opener.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/base.h"
#include "base/sock.h"
#include "broker/proto.h"

int opener_serve(const struct drv_host *host, int sock)
{
	_cleanup_close_ int fd = -1;
	struct proto_reply reply = { 0 };
	struct proto_ask ask;
	size_t n_fds;
	int r, unread;
	ssize_t n = sock_recv_fds(sock, &ask, sizeof(ask), NULL, 0, &n_fds);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	/* The answer before this one has to have been taken. */
	if (n != (ssize_t)sizeof(ask) || ioctl(sock, SIOCOUTQ, &unread) < 0 ||
	    unread > 0)
		return -EPROTO;
	fd = host->type->host_open(host, ask.kind, ask.minor, ask.flags);
	if (fd < 0)
		reply.err = fd;
	r = sock_send_fds(sock, &reply, sizeof(reply), &fd, fd >= 0);
	return r == -EAGAIN ? -EPROTO : r < 0 ? -EPIPE : 0;
}
