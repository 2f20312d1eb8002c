/* SPDX-License-Identifier: MIT */
/* spawn.c - starts, kills and reaps the processes of children */
#include "broker/monitor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/sock.h"

/* ---- in the forked child: async-signal-safe calls only ------------------ */

/* Makes this process the first that the kernel kills when memory runs out. Only
 * children take memory because a worker wants them to, so one of them should go
 * before a process that all workers need. */
static bool go_first(void)
{
	static const char most[] = "1000";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, most, sizeof(most) - 1) > 0;
}

/* Leaves the new program nothing but descriptors 0 to 4 and its name. */
_noreturn_ static void become_child(int sock, int opener, int log,
				      const char *worker)
{
	char self[] = "gpu-broker", option[] = "--child";
	char name[sizeof(((struct proto_setup *)0)->worker)];
	char *argv[] = { self, option, name, NULL };
	char *envp[] = { NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	memcpy(name, worker, sizeof(name));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* None of ours has such a number: main.c has taken the low ones. */
	if (!go_first() || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
	    dup2(sock, PROTO_CONTROL) < 0 ||
	    (opener >= 0 && dup2(opener, PROTO_OPENER) < 0) ||
	    syscall(SYS_close_range, opener < 0 ? PROTO_OPENER : PROTO_FD_END,
		    ~0U, 0) < 0)
		_exit(ISO_EX_BUG);
	execve("/proc/self/exe", argv, envp);
	_exit(ISO_EX_UNAVAILABLE);
}

/* ---- in the monitor ----------------------------------------------------- */

static int pidfd_open_(pid_t pid)
{
	long r = syscall(SYS_pidfd_open, pid, 0);

	return r < 0 ? -errno : (int)r;
}

/* Takes hold of a new child and sends it the setup. 0 or -errno. */
static int adopt(struct spawned *s, const struct proto_setup *setup)
{
	int r;

	s->pidfd = pidfd_open_(s->pid);
	if (s->pidfd < 0)
		return s->pidfd;
	r = sock_set_nonblock(s->sock, true);
	if (r == 0)
		r = sock_set_nonblock(s->log, true);
	if (r == 0 && s->opener >= 0)
		r = sock_set_nonblock(s->opener, true);
	if (r == 0)
		r = sock_send_fds(s->sock, setup, sizeof(*setup), NULL, 0);
	return r;
}

int spawn_child(const struct proto_setup *setup, bool opener,
		struct spawned *ret)
{
	struct spawned s = { .pidfd = -1, .opener = -1 };
	int pair[2] = { -1, -1 }, opens[2] = { -1, -1 }, log[2] = { -1, -1 };
	int r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    (opener && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				  opens) < 0) ||
	    pipe2(log, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0) {
		s.pid = fork();
		if (s.pid == 0)
			become_child(pair[1], opens[1], log[1], setup->worker);
		r = s.pid < 0 ? -errno : 0;
	}
	close_fd(&pair[1]);
	close_fd(&opens[1]);
	close_fd(&log[1]);
	s.sock = pair[0];
	s.opener = opens[0];
	s.log = log[0];
	if (r == 0)
		r = adopt(&s, setup);
	if (r == 0) {
		*ret = s;
		return 0;
	}
	close_fd(&s.sock);
	close_fd(&s.opener);
	close_fd(&s.log);
	/* A child that gets no setup ends by itself. */
	if (s.pid > 0)
		waitpid(s.pid, NULL, 0);
	close_fd(&s.pidfd);
	return r;
}

void spawn_kill(int pidfd)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 &&
	    errno != ESRCH)
		log_error("a child cannot be killed: %s", strerror(errno));
}

bool spawn_wait(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0;
}

int spawn_reap(pid_t pid, char *how, size_t size)
{
	int status;
	pid_t r = waitpid(pid, &status, WNOHANG);

	if (r == 0)
		return -EAGAIN;
	if (r < 0)
		snprintf(how, size, "is lost: %s", strerror(errno));
	else if (WIFSIGNALED(status))
		snprintf(how, size, "died of signal %d", WTERMSIG(status));
	else
		snprintf(how, size, "ended with status %d",
			 WEXITSTATUS(status));
	return 0;
}
