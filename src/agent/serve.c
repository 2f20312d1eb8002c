/* SPDX-License-Identifier: MIT */
/* serve.c - takes the connections that the host makes */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/sock.h"

#define ACCEPT_BUDGET 16

static void after_events(struct loop *l, void *arg)
{
	(void)l;
	session_reap(arg);
}

int agent_init(struct agent *a, const uint8_t secret[SECRET_LEN])
{
	int r;

	*a = (struct agent){ .listen.fd = -1, .sigchld.fd = -1 };
	memcpy(a->secret, secret, sizeof(a->secret));
	/* the write that fails tells that the peer is gone */
	signal(SIGPIPE, SIG_IGN);
	r = loop_init(&a->loop);
	if (r < 0)
		return r;
	a->loop.after = after_events;
	a->loop.after_arg = a;
	return agent_watch_init(a);
}

void agent_fini(struct agent *a)
{
	session_end_all(a);
	close_fd(&a->listen.fd);
	close_fd(&a->sigchld.fd);
	loop_fini(&a->loop);
	explicit_bzero(a->secret, sizeof(a->secret));
}

/* Takes connections of the host, and of nobody else. */
static void on_listen(struct iso_ev *ev, uint32_t events)
{
	struct agent *a = container_of(ev, struct agent, listen);

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct sockaddr_vm peer;
		socklen_t len = sizeof(peer);
		int fd = accept4(ev->fd, (struct sockaddr *)&peer, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		if (len < sizeof(peer) || peer.svm_family != AF_VSOCK ||
		    peer.svm_cid != VMADDR_CID_HOST) {
			log_warn("connection from CID %u refused: not the host",
				 peer.svm_cid);
			close(fd);
			continue;
		}
		if (session_new(a, fd) < 0)
			log_warn("connection closed: too many, or out of memory");
	}
}

int agent_listen(struct agent *a, uint32_t port)
{
	const struct sock_addr addr = {
		.kind = SOCK_VSOCK, .cid = VMADDR_CID_ANY, .port = port,
	};
	int fd = sock_listen(&addr, AGENT_MAX_STRANGERS);

	if (fd < 0)
		return fd;
	a->listen = (struct iso_ev){ .fd = fd, .fn = on_listen };
	return loop_set(&a->loop, &a->listen, EPOLLIN);
}
