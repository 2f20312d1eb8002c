/* SPDX-License-Identifier: MIT */
/* service.c - keeps gpu-broker running in the GPU VM */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/sock.h"

#define BROKER "/isospin/gpu-broker"
#define CGROUP_DIR "/sys/fs/cgroup"
#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 10000u
#define SETTLED_NS 60000000000u	/* a run this long ends the back-off */
#define STOP_MS 2000u

struct agent_service {
	struct agent *a;
	struct agent_child child;
	struct iso_ev timer;
	int secret_fd;		/* memfd; the broker reads it at each start */
	uint32_t backoff_ms;
	uint64_t since_ns;
	bool stopping;
};

/* The new process, up to gpu-broker. */
static _noreturn_ void broker_main(const struct agent_service *sv)
{
	const struct agent_boot *boot = &sv->a->boot;
	char listen[40], secret[40];
	const char *argv[] = {
		"gpu-broker", "-c", "/isospin/isospin.conf",
		"--driver", boot->driver,
		"--listen", listen, "--secret-file", secret,
		"--driver-version", boot->driver_version,
		"--cgroup", CGROUP_DIR,
		NULL,
	};

	if (access(CGROUP_DIR "/cgroup.procs", F_OK) < 0)
		argv[ARRAY_SIZE(argv) - 3] = NULL;
	snprintf(listen, sizeof(listen), "vsock:any:%u", boot->broker_port);
	snprintf(secret, sizeof(secret), "/proc/self/fd/%d", sv->secret_fd);
	exec_reset_signals();
	setsid();
	if (fcntl(sv->secret_fd, F_SETFD, 0) == 0 &&
	    lseek(sv->secret_fd, 0, SEEK_SET) == 0)
		execv(BROKER, (char **)(uintptr_t)argv); /* reads them only */
	log_error("cannot run " BROKER ": %s", strerror(errno));
	_exit(127);
}

/* Starts the broker. 0 or -errno. */
static int broker_fork(struct agent_service *sv)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		broker_main(sv);
	sv->child.pid = pid;
	sv->since_ns = now_ns();
	agent_watch(sv->a, &sv->child);
	return 0;
}

/* Whether another try is of no use: the broker is not there, or its exit status
 * says so. */
static bool hopeless(int status)
{
	if (!WIFEXITED(status))
		return false;
	switch (WEXITSTATUS(status)) {
	case ISO_EX_USAGE:
	case ISO_EX_NOINPUT:
	case ISO_EX_UNAVAILABLE:
	case ISO_EX_NOPERM:
	case ISO_EX_CONFIG:
	case 127:
		return true;
	default:
		return false;
	}
}

/* Has the broker started again after a while, unless that is of no use. */
static void on_broker_ended(struct agent_child *child, int status)
{
	struct agent_service *sv =
		container_of(child, struct agent_service, child);
	const char *how = WIFSIGNALED(status) ? "signal" : "status";
	int value = WIFSIGNALED(status) ? WTERMSIG(status) :
					  WEXITSTATUS(status);

	if (sv->stopping)
		init_end_machine(sv->a->boot.reset);
	if (hopeless(status)) {
		init_say("state=failed reason=gpu-broker ended with status %d", value);
		return;
	}
	if (now_ns() - sv->since_ns > SETTLED_NS)
		sv->backoff_ms = BACKOFF_MIN_MS;
	init_say("gpu-broker ended (%s %d), starts again in %u ms", how, value,
		 sv->backoff_ms);
	loop_timer_set(sv->timer.fd, sv->backoff_ms);
	sv->backoff_ms = MIN(sv->backoff_ms * 2, BACKOFF_MAX_MS);
}

/* The wait is over: for the next start, or for an end that does not come. */
static void on_broker_timer(struct iso_ev *ev, uint32_t events)
{
	struct agent_service *sv =
		container_of(ev, struct agent_service, timer);
	int r;

	(void)events;
	loop_timer_ack(ev->fd);
	if (sv->stopping)
		init_end_machine(sv->a->boot.reset);
	r = broker_fork(sv);
	if (r < 0) {
		log_error("cannot start gpu-broker: %s", strerror(-r));
		loop_timer_set(ev->fd, sv->backoff_ms);
	}
}

/* A memfd that holds the secret, or -errno. */
static int secret_memfd(const uint8_t secret[SECRET_LEN])
{
	_cleanup_close_ int fd = memfd_create("broker.secret", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = write_full(fd, secret, SECRET_LEN);
	return r < 0 ? r : take_fd(&fd);
}

/* For the shares of the processors that the broker gives its children. The
 * broker works without them. */
static void mount_cgroup(void)
{
	if (mount("cgroup2", CGROUP_DIR, "cgroup2",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		log_warn("cannot mount " CGROUP_DIR ": %s; the broker gives its "
			 "children no shares", strerror(errno));
}

int service_start(struct agent *a, const uint8_t secret[SECRET_LEN])
{
	struct agent_service *sv = calloc(1, sizeof(*sv));
	int r;

	if (!sv)
		return -ENOMEM;
	/* kept for as long as the machine runs */
	a->service = sv;
	sv->a = a;
	sv->backoff_ms = BACKOFF_MIN_MS;
	sv->child.ended = on_broker_ended;
	mount_cgroup();
	sv->secret_fd = secret_memfd(secret);
	if (sv->secret_fd < 0)
		return sv->secret_fd;
	sv->timer = (struct iso_ev){ .fd = loop_timerfd(),
				     .fn = on_broker_timer };
	if (sv->timer.fd < 0)
		return sv->timer.fd;
	r = loop_set(&a->loop, &sv->timer, EPOLLIN);
	return r < 0 ? r : broker_fork(sv);
}

void service_stop_then_end(struct agent *a)
{
	struct agent_service *sv = a->service;

	if (!sv || sv->child.pid <= 0)
		init_end_machine(a->boot.reset);
	sv->stopping = true;
	kill(sv->child.pid, SIGTERM);
	loop_timer_set(sv->timer.fd, STOP_MS);
}
