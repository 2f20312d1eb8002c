/* SPDX-License-Identifier: MIT */
/* monitor.c - runs the process that makes connections for the child */
#include "monitor.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/sock.h"
#include "loop/loop.h"
#include "proto.h"
#include "sandbox/sandbox.h"
#include "seccomp_vsock-monitor.h"

/* #syscalls vsock-monitor: socket connect sendmsg recvmsg wait4 unlink */

struct monitor {
	struct loop loop;
	struct iso_ev sock, signals;
	const char *uds;
	pid_t child;
	bool stopping;
	int status;		/* exit status */
};

/* Connects to UDS_port. The socket, or -errno. */
static int dial(const struct monitor *m, uint32_t port)
{
	char path[SOCK_PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s_%u", m->uds, port);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return sock_unix_connect_nb(path);
}

/* Ends the child, which sees its end of the pair closed. */
static void stop(struct monitor *m)
{
	m->stopping = true;
	loop_del(&m->loop, &m->sock);
	close_fd(&m->sock.fd);
}

/* The child asks for a connection: makes it and sends its socket back. */
static void on_request(struct iso_ev *ev, uint32_t events)
{
	struct monitor *m = container_of(ev, struct monitor, sock);
	struct dial_request req;
	struct dial_reply reply;
	_cleanup_close_ int fd = -1;
	size_t n_fds;
	ssize_t n = sock_recv_fds(ev->fd, &req, sizeof(req), NULL, 0, &n_fds);
	int r;

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != (ssize_t)sizeof(req)) {
		if (n != 0)
			log_error("the child sent a request of a wrong size");
		stop(m);
		return;
	}
	fd = dial(m, req.port);
	reply = (struct dial_reply){ .serial = req.serial,
				     .error = fd < 0 ? -fd : 0 };
	log_debug("port %u: %s", req.port,
		  fd < 0 ? strerror(-fd) : "connected");
	r = sock_send_fds(ev->fd, &reply, sizeof(reply), &fd, fd >= 0);
	if (r == -ETOOMANYREFS) { /* too many of other VMs are on their way */
		reply.error = EAGAIN;
		r = sock_send_fds(ev->fd, &reply, sizeof(reply), NULL, 0);
	}
	if (r < 0) {
		log_error("cannot answer the child: %s",
			  strerror(-r));
		stop(m);
	}
}

static void child_ended(struct monitor *m, int status)
{
	if (WIFEXITED(status)) {
		m->status = WEXITSTATUS(status);
	} else {
		log_error("the child was killed by signal %d",
			  WTERMSIG(status));
		m->status = ISO_EX_BUG;
	}
	loop_stop(&m->loop);
}

static void on_signal(struct iso_ev *ev, uint32_t events)
{
	struct monitor *m = container_of(ev, struct monitor, signals);
	struct signalfd_siginfo si;
	int status;

	(void)events;
	while (read(ev->fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo != SIGCHLD)
			stop(m);
		else if (waitpid(m->child, &status, WNOHANG) == m->child)
			child_ended(m, status);
	}
}

/* Stage 3 of the monitor. */
static int confine(const char *uds, const char *vmm_path)
{
	char a[SOCK_PATH_MAX], b[SOCK_PATH_MAX];
	struct sandbox_path paths[2];
	static const struct sandbox_limit limits[] = {
		/* Also how many fds of this user the kernel lets be on their
		 * way in sockets: VSOCK_MAX_DIALS of each VM. */
		{ RLIMIT_NOFILE, 1024 },
		{ RLIMIT_NPROC, 0 },
	};
	struct sandbox s = {
		.paths = paths,
		.n_paths = ARRAY_SIZE(paths),
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits),
		.syscalls = seccomp_syscalls,
		.n_syscalls = ARRAY_SIZE(seccomp_syscalls),
	};

	snprintf(a, sizeof(a), "%s", uds);
	snprintf(b, sizeof(b), "%s", vmm_path);
	paths[0] = (struct sandbox_path){ dirname(a), SANDBOX_SOCKET };
	paths[1] = (struct sandbox_path){ dirname(b), SANDBOX_SOCKET };
	return sandbox_enter(&s);
}

int monitor_run(pid_t child, int sock, const char *uds, const char *vmm_path)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGCHLD };
	struct monitor m = {
		.sock = { .fd = sock, .fn = on_request },
		.signals = { .fn = on_signal },
		.uds = uds,
		.child = child,
		.status = ISO_EX_BUG,
	};
	int r = loop_init(&m.loop);

	m.signals.fd = loop_signalfd(signals, ARRAY_SIZE(signals));
	if (r == 0 && m.signals.fd < 0)
		r = m.signals.fd;
	if (r == 0)
		r = loop_set(&m.loop, &m.signals, EPOLLIN);
	if (r == 0)
		r = loop_set(&m.loop, &m.sock, EPOLLIN);
	if (r == 0)
		r = confine(uds, vmm_path);
	if (r == 0)
		r = loop_run(&m.loop);
	if (r < 0)
		log_error("cannot serve the child: %s", strerror(-r));
	unlink(vmm_path);
	unlink(uds);
	close_fd(&m.sock.fd);
	close_fd(&m.signals.fd);
	loop_fini(&m.loop);
	return m.status;
}
