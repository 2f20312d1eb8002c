/* SPDX-License-Identifier: MIT */
/* exec.c - starts a command's process */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "base/sock.h"

static const char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
	"SHELL=/bin/sh",
};

/* The next string of the body, with its NUL, or NULL (r is bad then). */
static const char *next_string(struct rd *r)
{
	const uint8_t *nul = r->bad ? NULL : memchr(r->p, 0, r->left);

	if (!nul) {
		r->bad = true;
		return NULL;
	}
	return rd_span(r, (size_t)(nul - r->p) + 1);
}

/* Whether two NAME=VALUE strings have the same name. */
static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n + 1) == 0;
}

/* Reads n strings NAME=VALUE and adds the defaults that they lack; envp has
 * room for all of them and NULL. 0 or -EPROTO. */
static int parse_env(struct rd *r, const char **envp, uint32_t n)
{
	uint32_t k = 0;

	for (; k < n; k++) {
		envp[k] = next_string(r);
		if (!envp[k] || envp[k][0] == '=' || !strchr(envp[k], '='))
			return -EPROTO;
	}
	for (size_t i = 0; i < ARRAY_SIZE(default_env); i++) {
		bool given = false;

		for (uint32_t j = 0; j < n; j++)
			given |= same_name(default_env[i], envp[j]);
		if (!given)
			envp[k++] = default_env[i];
	}
	return 0;
}

int exec_parse(struct rd body, struct exec_spec *ret_spec)
{
	struct agent_exec head;
	struct exec_spec spec = { 0 };
	uint32_t flags, n_args, n_env;
	int r = -EPROTO;

	rd_copy(&body, &head, sizeof(head));
	flags = le32toh(head.flags);
	n_args = le32toh(head.n_args);
	n_env = le32toh(head.n_env);
	if (body.bad || (flags & ~AGENT_EXEC_TTY) || n_args == 0 ||
	    n_args > AGENT_MAX_ARGS || n_env > AGENT_MAX_ENV)
		return -EPROTO;
	spec.tty = flags & AGENT_EXEC_TTY;
	spec.rows = le16toh(head.rows);
	spec.cols = le16toh(head.cols);
	spec.argv = calloc(n_args + 1, sizeof(char *));
	spec.envp = calloc(n_env + ARRAY_SIZE(default_env) + 1, sizeof(char *));
	if (!spec.argv || !spec.envp) {
		r = -ENOMEM;
		goto fail;
	}
	spec.cwd = next_string(&body);
	for (uint32_t i = 0; i < n_args; i++)
		spec.argv[i] = next_string(&body);
	if (parse_env(&body, spec.envp, n_env) < 0 || !rd_done(&body))
		goto fail;
	*ret_spec = spec;
	return 0;
fail:
	exec_spec_free(&spec);
	return r;
}

void exec_spec_free(struct exec_spec *spec)
{
	free(spec->argv);
	free(spec->envp);
	*spec = (struct exec_spec){ 0 };
}

int exec_winsize(int pty, uint16_t rows, uint16_t cols)
{
	struct winsize ws = { .ws_row = rows, .ws_col = cols };

	return ioctl(pty, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}

void exec_reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The agent's end of stream i is ours[i], the command's is theirs[i]. */
struct ends {
	int ours[3];
	int theirs[3];
	int fail[2];
};

static void ends_close(struct ends *e)
{
	for (int i = 0; i < 3; i++) {
		close_fd(&e->ours[i]);
		close_fd(&e->theirs[i]);
	}
	close_fd(&e->fail[0]);
	close_fd(&e->fail[1]);
}

/* 0 or -errno; the caller closes what was opened. */
static int make_pipes(struct ends *e)
{
	for (int i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		e->ours[i] = i == 0 ? p[1] : p[0];
		e->theirs[i] = i == 0 ? p[0] : p[1];
		if (sock_set_nonblock(e->ours[i], true) < 0)
			return -errno;
	}
	return 0;
}

/* The same with a terminal. */
static int make_pty(struct ends *e, const struct exec_spec *spec)
{
	int unlock = 0;
	int flags = O_RDWR | O_NOCTTY | O_CLOEXEC;

	e->ours[0] = posix_openpt(flags | O_NONBLOCK);
	if (e->ours[0] < 0 || ioctl(e->ours[0], TIOCSPTLCK, &unlock) < 0)
		return -errno;
	e->theirs[0] = ioctl(e->ours[0], TIOCGPTPEER, flags);
	if (e->theirs[0] < 0)
		return -errno;
	/* one fd for each direction, so that each can be watched by itself */
	e->ours[1] = fcntl(e->ours[0], F_DUPFD_CLOEXEC, 3);
	e->theirs[1] = fcntl(e->theirs[0], F_DUPFD_CLOEXEC, 3);
	e->theirs[2] = fcntl(e->theirs[0], F_DUPFD_CLOEXEC, 3);
	if (e->ours[1] < 0 || e->theirs[1] < 0 || e->theirs[2] < 0)
		return -errno;
	return exec_winsize(e->ours[0], spec->rows, spec->cols);
}

/* The new process, up to its program; an error goes to e->fail. */
static _noreturn_ void child_main(const struct exec_spec *spec,
				  const struct ends *e)
{
	const char *cwd = *spec->cwd ? spec->cwd : "/";
	int err;

	exec_reset_signals();
	umask(022);
	if (setsid() < 0)
		goto fail;
	for (int i = 0; i < 3; i++)
		if (dup2(e->theirs[i], i) < 0)
			goto fail;
	if (spec->tty && ioctl(0, TIOCSCTTY, 0) < 0)
		goto fail;
	if (chdir(cwd) < 0)
		goto fail;
	/* exec takes char * but does not write through it; the program is
	 * looked for in the PATH of the new environment */
	environ = (char **)(uintptr_t)spec->envp;
	execvp(spec->argv[0], (char **)(uintptr_t)spec->argv);
fail:
	err = errno;
	write_full(e->fail[1], &err, sizeof(err));
	_exit(127);
}

int exec_start(const struct exec_spec *spec, struct exec_fds *ret_fds)
{
	struct ends e = { { -1, -1, -1 }, { -1, -1, -1 }, { -1, -1 } };
	pid_t pid = -1;
	int r;

	r = spec->tty ? make_pty(&e, spec) : make_pipes(&e);
	if (r == 0 && pipe2(e.fail, O_CLOEXEC | O_NONBLOCK) < 0)
		r = -errno;
	if (r == 0) {
		pid = fork();
		if (pid < 0)
			r = -errno;
	}
	if (r < 0) {
		ends_close(&e);
		return r;
	}
	if (pid == 0)
		child_main(spec, &e);
	*ret_fds = (struct exec_fds){
		.pid = pid,
		.in = take_fd(&e.ours[0]),
		.out = take_fd(&e.ours[1]),
		.err = take_fd(&e.ours[2]),
		.fail = take_fd(&e.fail[0]),
	};
	ends_close(&e);
	return 0;
}
