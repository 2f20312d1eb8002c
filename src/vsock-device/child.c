/* SPDX-License-Identifier: MIT */
/* child.c - runs the process that faces the VMM */
#include "child.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sock.h"
#include "proto.h"
#include "sandbox/sandbox.h"
#include "seccomp_vsock-device.h"
#include "vhost_user.h"

/* #syscalls vsock-device: accept4 recvmsg sendmsg fcntl */

#define FIXED_FILES 48u		/* besides a socket for each stream */

struct device {
	struct loop loop;
	struct vsock vsock;
	struct vu vu;
	bool connected;
	struct iso_ev vmm;	/* listens for the VMM */
	struct iso_ev monitor;
	int status;
};

static void on_vmm_ended(struct vu *u)
{
	struct device *d = container_of(u, struct device, vu);

	if (u->error) {
		log_error("the VMM's connection ended: %s",
			  strerror(-u->error));
		d->status = ISO_EX_DATA;
	} else {
		log_info("the VMM is gone");
	}
	loop_stop(&d->loop);
}

/* The only connection: QEMU never comes back to a device that it lost. */
static void on_vmm(struct iso_ev *ev, uint32_t events)
{
	struct device *d = container_of(ev, struct device, vmm);
	int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r;

	(void)events;
	if (fd < 0)
		return;
	loop_del(&d->loop, ev);
	close_fd(&ev->fd);
	d->connected = true;
	r = vu_init(&d->vu, &d->vsock, fd, on_vmm_ended);
	if (r < 0) {
		log_error("cannot serve the VMM: %s", strerror(-r));
		d->status = ISO_EX_BUG;
		loop_stop(&d->loop);
	}
}

/* dial.ask */
static int ask_monitor(void *arg, uint32_t port, uint32_t serial)
{
	struct device *d = arg;
	struct dial_request req = { .port = port, .serial = serial };

	return sock_send_fds(d->monitor.fd, &req, sizeof(req), NULL, 0);
}

static void on_monitor(struct iso_ev *ev, uint32_t events)
{
	struct device *d = container_of(ev, struct device, monitor);
	struct dial_reply reply;
	size_t n_fds = 0;
	int fd = -1;
	ssize_t n = sock_recv_fds(ev->fd, &reply, sizeof(reply), &fd, 1,
				  &n_fds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != (ssize_t)sizeof(reply)) {
		loop_stop(&d->loop);
		return;
	}
	if (n_fds == 0)
		fd = reply.error ? -reply.error : -EPROTO;
	dial_done(&d->vsock.dial, reply.serial, fd);
}

/* loop.after */
static void reap(struct loop *l, void *arg)
{
	struct device *d = arg;

	(void)l;
	vsock_reap(&d->vsock);
}

/* Stage 3 of the child. */
static int confine(uid_t uid)
{
	static const struct sandbox_limit limits[] = {
		{ RLIMIT_NOFILE, VSOCK_MAX_STREAMS + FIXED_FILES },
		{ RLIMIT_NPROC, 0 },
	};
	struct sandbox s = {
		.uid = uid,
		.gid = (gid_t)uid,
		.empty_root = true,
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits),
		.syscalls = seccomp_syscalls,
		.n_syscalls = ARRAY_SIZE(seccomp_syscalls),
	};

	return sandbox_enter(&s);
}

int child_run(const struct child_fds *fds, uint64_t cid, uid_t uid)
{
	struct device d = {
		.vmm = { .fd = fds->vmm, .fn = on_vmm },
		.monitor = { .fd = fds->monitor, .fn = on_monitor },
	};
	int r = loop_init(&d.loop);

	if (r == 0) {
		d.loop.after = reap;
		d.loop.after_arg = &d;
		vsock_init(&d.vsock, &d.loop, cid, fds->uds);
		d.vsock.dial.ask = ask_monitor;
		d.vsock.dial.arg = &d;
		r = loop_set(&d.loop, &d.vmm, EPOLLIN);
	}
	if (r == 0)
		r = loop_set(&d.loop, &d.monitor, EPOLLIN);
	if (r == 0)
		r = confine(uid);
	if (r == 0) {
		log_info("state=ready");
		r = loop_run(&d.loop);
	}
	if (r < 0) {
		log_error("cannot serve the VM: %s", strerror(-r));
		return ISO_EX_BUG;
	}
	if (d.connected)
		vu_fini(&d.vu);
	vsock_fini(&d.vsock);
	loop_fini(&d.loop);
	return d.status;
}
