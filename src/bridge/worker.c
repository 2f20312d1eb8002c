/* SPDX-License-Identifier: MIT */
/* worker.c - takes the connections that workers make */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "bridge/bridge.h"

#define BACKLOG 128
#define STARVED_NS 1000000000u

/* Watches the worker's listener, or not. */
static void watch_listener(struct worker *w, bool on)
{
	struct bridge *b = w->bridge;
	int r;

	if (w->listener.fd < 0)
		return;
	r = loop_set(b->loop, &w->listener, on ? EPOLLIN : 0);
	if (r < 0)
		log_error("%s: cannot watch its socket: %s", w->reg.name,
			  strerror(-r));
}

void worker_watch_all(struct bridge *b, bool on)
{
	struct worker *w;

	b->starved = !on;
	list_each(w, &b->workers, item)
		watch_listener(w, on);
	if (b->vsock.fd >= 0)
		loop_set(b->loop, &b->vsock, on ? EPOLLIN : 0);
}

/* Stops listening for a second, for fds or memory have run out. */
static void starve(struct bridge *b)
{
	if (b->starved)
		return;
	log_warn("out of file descriptors or memory: no connection is taken "
		 "for a second");
	worker_watch_all(b, false);
	bridge_wake(b, now_ns() + STARVED_NS);
}

/* Without fds or memory the peer stays in the backlog until there is room. Any
 * other failure concerns that peer alone. */
static void accept_failed(struct bridge *b, int err)
{
	if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM)
		starve(b);
}

/* #syscalls vsock-bridge: accept4 bind listen unlink */
static void on_connection(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, listener);
	int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		accept_failed(w->bridge, errno);
	else
		conn_start(w, fd);
}

static struct worker *worker_by_cid(const struct bridge *b, uint32_t cid)
{
	struct worker *w;

	list_each(w, &b->workers, item)
		if (w->reg.addr.kind == SOCK_VSOCK && w->reg.addr.cid == cid)
			break;
	return w;
}

void worker_on_vsock(struct iso_ev *ev, uint32_t events)
{
	struct bridge *b = container_of(ev, struct bridge, vsock);
	struct sockaddr_vm peer;
	socklen_t len = sizeof(peer);
	struct worker *w;
	int fd = accept4(ev->fd, (struct sockaddr *)&peer, &len,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		accept_failed(b, errno);
		return;
	}
	w = worker_by_cid(b, peer.svm_cid);
	if (w) {
		conn_start(w, fd);
		return;
	}
	log_debug("connection from CID %u, which is no worker: closed",
		  peer.svm_cid);
	close(fd);
}

static uint64_t inode_at(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

static void stop_listening(struct worker *w)
{
	if (w->listener.fd < 0)
		return;
	loop_del(w->bridge->loop, &w->listener);
	close_fd(&w->listener.fd);
	if (inode_at(w->reg.addr.path) == w->sock_ino)
		unlink(w->reg.addr.path);
}

void worker_listen(struct worker *w)
{
	const char *path = w->reg.addr.path;
	int fd;

	if (w->reg.addr.kind != SOCK_UNIX)
		return;
	if (w->listener.fd >= 0 && inode_at(path) == w->sock_ino)
		return;
	stop_listening(w);
	fd = sock_listen(&w->reg.addr, BACKLOG);
	if (fd < 0) {
		log_error("%s: cannot listen at %s: %s", w->reg.name, path,
			  strerror(-fd));
		return;
	}
	w->listener.fd = fd;
	w->sock_ino = inode_at(path);
	watch_listener(w, !w->bridge->starved);
	log_debug("%s: listens at %s", w->reg.name, path);
}

void worker_listen_vsock(struct bridge *b)
{
	const struct sock_addr any = { .kind = SOCK_VSOCK,
				       .cid = VMADDR_CID_ANY,
				       .port = b->opts->vsock_port };
	struct worker *w;
	int r;

	list_each(w, &b->workers, item)
		if (w->reg.addr.kind == SOCK_VSOCK)
			break;
	if (!w && b->vsock.fd >= 0) {
		loop_del(b->loop, &b->vsock);
		close_fd(&b->vsock.fd);
	}
	if (!w || b->vsock.fd >= 0)
		return;
	r = sock_listen(&any, BACKLOG);
	if (r >= 0) {
		b->vsock.fd = r;
		r = loop_set(b->loop, &b->vsock, b->starved ? 0 : EPOLLIN);
	}
	if (r < 0) {
		log_error("%s: cannot listen at vsock port %u: %s", w->reg.name,
			  any.port, strerror(-r));
		close_fd(&b->vsock.fd);
	}
}

int worker_add(struct bridge *b, const struct reg_entry *reg)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->bridge = b;
	w->reg = *reg;
	w->listener = (struct iso_ev){ .fd = -1, .fn = on_connection };
	w->scan = b->scan;
	list_add(&b->workers, &w->item);
	return 0;
}

void worker_release(struct list_item *item)
{
	struct worker *w = container_of(item, struct worker, item);

	stop_listening(w);
	conn_end_all(w, NULL);
	conn_reap(w);
	free(w);
}
