/* SPDX-License-Identifier: MIT */
/* opener.c - has the monitor open device nodes for the child's driver */
#include "broker/child/opener.h"

#include <errno.h>

#include "base/base.h"
#include "base/sock.h"
#include "broker/proto.h"

/*
 * Sends the question and takes the answer: the bytes of it, or -errno.
 *
 * #syscalls gpu-broker-real: sendmsg recvmsg
 */
static ssize_t ask_monitor(struct opener *o, const struct proto_ask *ask,
			   struct proto_reply *reply, int *fd, size_t *n_fds)
{
	ssize_t n;
	int r;

	pthread_mutex_lock(&o->lock);
	r = sock_send_fds(o->sock, ask, sizeof(*ask), NULL, 0);
	n = r < 0 ? -ENODEV : sock_recv_fds(o->sock, reply, sizeof(*reply), fd,
					    1, n_fds);
	pthread_mutex_unlock(&o->lock);
	return n;
}

static int open_node(struct drv_env *env, enum drv_kind kind, uint32_t minor,
		     uint32_t flags)
{
	struct opener *o = container_of(env, struct opener, env);
	const struct proto_ask ask = { .kind = kind, .minor = minor,
				       .flags = flags };
	struct proto_reply reply;
	size_t n_fds = 0;
	int fd = -1;
	ssize_t n = ask_monitor(o, &ask, &reply, &fd, &n_fds);

	/* An fd that found no room under RLIMIT_NOFILE makes it EMSGSIZE. */
	if (n == -EMFILE || n == -EMSGSIZE)
		return -EMFILE;
	if (n != (ssize_t)sizeof(reply))
		return -ENODEV;
	if (reply.err) {
		close_fd(&fd);
		return reply.err;
	}
	return n_fds == 1 ? fd : -EMFILE;
}

void opener_init(struct opener *o, int sock)
{
	*o = (struct opener){ .env = { .open_node = open_node },
			      .sock = sock };
	pthread_mutex_init(&o->lock, NULL);
}
