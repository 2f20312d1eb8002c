/* SPDX-License-Identifier: MIT */
/*
 * exec.c - runs a command in a guest
 *
 * It waits by poll(2), because stdin may be a file, which epoll does not take.
 */
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/chan.h"
#include "base/log.h"
#include "base/sock.h"
#include "base/wr.h"
#include "loop/loop.h"
#include "vmctl/agent.h"
#include "vmctl/term.h"
#include "vmctl/vmctl.h"

/* A pipe that polls writable takes this much without blocking. */
#define WRITE_MAX 4096

struct request {
	struct agent_addr agent;
	bool tty;
	const char *cwd;
	const char **env;	/* owned */
	uint32_t n_env;
	char **argv;
	uint32_t n_args;
};

struct client {
	int sock;
	int signals;
	struct chan chan;
	struct chan_in in[2];	/* of stdout and stderr */
	struct chan_out out;	/* of stdin */
	bool stdin_open;
	bool tty;
	bool over;		/* EXIT has come, or the connection is lost */
	bool failed;		/* vmctl itself: status 125 */
	int status;
};

/* ---- the request -------------------------------------------------------- */

static void parse_options(int argc, char **argv, struct request *q)
{
	static const struct option longs[] = {
		AGENT_LONGS,
		{ "tty", no_argument, NULL, 't' },
		{ "env", required_argument, NULL, 'e' },
		{ "cwd", required_argument, NULL, 'd' },
		{ 0 },
	};
	int c;

	q->cwd = "";
	q->env = calloc((size_t)argc + 1, sizeof(*q->env));
	if (!q->env)
		die(VMCTL_EX_OWN, "out of memory");
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 't':
			q->tty = true;
			break;
		case 'e':
			if (!strchr(optarg, '=') || *optarg == '=')
				die(VMCTL_EX_OWN, "--env: '%s': NAME=VALUE is "
						  "wanted", optarg);
			q->env[q->n_env++] = optarg;
			break;
		case 'd':
			q->cwd = optarg;
			break;
		case '?':
			die(VMCTL_EX_OWN, "see -h");
		default:
			if (agent_option(&q->agent, c, optarg) < 0)
				die(VMCTL_EX_OWN, "bad or repeated value '%s'; "
						  "see -h", optarg);
		}
	}
	if (optind >= argc)
		die(VMCTL_EX_OWN, "exec: no command; see -h");
	q->argv = argv + optind;
	q->n_args = (uint32_t)(argc - optind);
}

static void add_string(struct wr *w, const char *s)
{
	wr_bytes(w, s, strlen(s) + 1);
}

/* With a terminal, the caller's TERM goes along unless --env has one. NULL, or
 * a string for the environment. */
static const char *term_env(const struct request *q)
{
	static char term[64] = "TERM=";
	const char *value = getenv("TERM");

	if (!q->tty || !value || strlen(value) >= sizeof(term) - 5)
		return NULL;
	for (uint32_t i = 0; i < q->n_env; i++)
		if (strncmp(q->env[i], "TERM=", 5) == 0)
			return NULL;
	memcpy(term + 5, value, strlen(value) + 1);
	return term;
}

/* Queues EXEC. */
static void send_exec(struct client *c, const struct request *q)
{
	const char *term = term_env(q);
	struct agent_exec head = {
		.flags = htole32(q->tty ? AGENT_EXEC_TTY : 0),
		.n_args = htole32(q->n_args),
		.n_env = htole32(q->n_env + (term ? 1 : 0)),
	};
	uint16_t rows, cols;
	struct wr w;

	if (q->tty) {
		term_size(&rows, &cols);
		head.rows = htole16(rows);
		head.cols = htole16(cols);
	}
	wr_init(&w, AGENT_MAX_FRAME - sizeof(struct agent_hdr));
	wr_bytes(&w, &head, sizeof(head));
	add_string(&w, q->cwd);
	for (uint32_t i = 0; i < q->n_args; i++)
		add_string(&w, q->argv[i]);
	for (uint32_t i = 0; i < q->n_env; i++)
		add_string(&w, q->env[i]);
	if (term)
		add_string(&w, term);
	if (!wr_ok(&w) || q->n_args > AGENT_MAX_ARGS ||
	    q->n_env >= AGENT_MAX_ENV ||
	    chan_put(&c->chan, AGENT_EXEC, 0, w.p, w.len) < 0)
		die(VMCTL_EX_OWN, "the command line is too long");
	wr_free(&w);
}

/* ---- signals ------------------------------------------------------------ */

static int open_signals(void)
{
	static const int forwarded[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM,
					 SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };

	signal(SIGPIPE, SIG_IGN);
	return loop_signalfd(forwarded, ARRAY_SIZE(forwarded));
}

static void send_winsize(struct client *c)
{
	struct agent_winsize ws;
	uint16_t rows, cols;

	term_size(&rows, &cols);
	ws.rows = htole16(rows);
	ws.cols = htole16(cols);
	if (chan_put(&c->chan, AGENT_WINSIZE, 0, &ws, sizeof(ws)) < 0)
		log_warn("the window size was not sent: the guest takes nothing");
}

/* Passes a signal of ours on to the command. */
static void on_signal(struct client *c)
{
	struct signalfd_siginfo si;
	struct agent_signal sig;

	if (read(c->signals, &si, sizeof(si)) != sizeof(si) || c->over)
		return;
	if (si.ssi_signo == SIGWINCH || si.ssi_signo == SIGCONT) {
		if (c->tty && si.ssi_signo == SIGCONT)
			term_raw();
		if (c->tty)
			send_winsize(c);
		return;
	}
	sig.signo = htole32(si.ssi_signo);
	if (chan_put(&c->chan, AGENT_SIGNAL, 0, &sig, sizeof(sig)) < 0)
		log_warn("signal %d was not sent: the guest takes nothing",
			 (int)si.ssi_signo);
}

/* ---- streams ------------------------------------------------------------ */

/* Passes on the bytes that our own stdin has. */
static void on_stdin(struct client *c)
{
	uint8_t buf[AGENT_MAX_DATA];
	size_t max = chan_out_room(&c->out, &c->chan);
	ssize_t n = read(STDIN_FILENO, buf, max);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0)
		log_debug("stdin: %s", strerror(errno));
	n = MAX(n, 0);
	c->stdin_open = n > 0;
	/* an empty DATA tells that the stream has ended */
	chan_out_put(&c->out, &c->chan, AGENT_STDIN, buf, (size_t)n);
}

/* Writes what came for stdout (i is 0) or stderr (1). */
static void on_writable(struct client *c, int i)
{
	uint16_t stream = (uint16_t)(AGENT_STDOUT + i);
	ssize_t n = chan_in_pass(&c->in[i], STDOUT_FILENO + i, WRITE_MAX);

	if (n < 0 && n != -EAGAIN) {
		if (n != -EPIPE) {
			log_error("%s: %s", i ? "stderr" : "stdout",
				  strerror((int)-n));
			c->failed = true;
		}
		chan_in_stop(&c->in[i], &c->chan, stream);
	}
	chan_in_credit(&c->in[i], &c->chan, stream);
}

/* ---- frames ------------------------------------------------------------- */

/* Takes EXIT: sets the status to return. 0 or -EPROTO. */
static int on_exit_frame(struct client *c, const char *name, struct rd r)
{
	uint32_t how = rd_u32(&r);
	uint32_t value = rd_u32(&r);

	if (!rd_done(&r) || how > AGENT_NOT_RUN || value > 255)
		return -EPROTO;
	c->over = true;
	c->status = (int)value;
	if (how == AGENT_SIGNALED)
		c->status = 128 + (int)value;
	if (how == AGENT_NOT_RUN) {
		log_error("%s: %s", name, strerror((int)value));
		c->status = value == ENOENT ? 127 : 126;
	}
	return 0;
}

/* Takes one frame. 0 or -EPROTO. */
static int on_frame(struct client *c, const char *name, struct chan_frame *f)
{
	switch (f->type) {
	case AGENT_DATA:
		if (f->stream == AGENT_STDIN)
			return -EPROTO;
		return chan_in_take(&c->in[f->stream - 1], &f->body);
	case AGENT_CREDIT:
		return f->stream == AGENT_STDIN ?
			       chan_out_credit(&c->out, &f->body) : -EPROTO;
	case AGENT_STOP:
		c->stdin_open = false;
		return f->stream == AGENT_STDIN ? 0 : -EPROTO;
	case AGENT_EXIT:
		return on_exit_frame(c, name, f->body);
	default:
		return -EPROTO;
	}
}

/* Reads frames of the agent. An error ends the run with status 125. */
static void on_sock(struct client *c, const char *name)
{
	struct chan_frame f;
	ssize_t n = chan_fill(&c->chan, c->sock);
	int r = 0;

	while (n > 0 && !c->over && (r = chan_next(&c->chan, &f)) > 0) {
		r = on_frame(c, name, &f);
		if (r < 0)
			break;
	}
	if ((n > 0 && r >= 0) || n == -EAGAIN)
		return;
	log_error("%s", r < 0 ? "the guest's agent breaks the protocol" :
			       "the connection to the guest is lost");
	c->over = true;
	c->failed = true;
}

/* ---- main loop ---------------------------------------------------------- */

enum { P_SOCK, P_SIGNALS, P_STDIN, P_STDOUT, P_STDERR, P_COUNT };

/* Waits for what can be done next, and does it. */
static void poll_once(struct client *c, const char *name)
{
	bool take_stdin = c->stdin_open && !c->over && c->out.window &&
			  chan_data_room(&c->chan) == AGENT_MAX_DATA;
	struct pollfd p[P_COUNT] = {
		[P_SOCK] = { c->over ? -1 : c->sock, POLLIN, 0 },
		[P_SIGNALS] = { c->signals, POLLIN, 0 },
		[P_STDIN] = { take_stdin ? STDIN_FILENO : -1, POLLIN, 0 },
	};

	if (chan_pending(&c->chan))
		p[P_SOCK].events |= POLLOUT;
	for (int i = 0; i < 2; i++) {
		p[P_STDOUT + i].fd = ring_used(&c->in[i].ring) ?
					     STDOUT_FILENO + i : -1;
		p[P_STDOUT + i].events = POLLOUT;
	}
	if (poll(p, P_COUNT, -1) < 0) {
		if (errno != EINTR)
			die(VMCTL_EX_OWN, "poll: %s", strerror(errno));
		return;
	}
	if (p[P_SIGNALS].revents)
		on_signal(c);
	for (int i = 0; i < 2; i++)
		if (p[P_STDOUT + i].revents)
			on_writable(c, i);
	if (p[P_STDIN].revents)
		on_stdin(c);
	if (p[P_SOCK].revents & ~POLLOUT)
		on_sock(c, name);
	/* the next read tells why a write failed */
	if (!c->over)
		chan_flush(&c->chan, c->sock);
}

static int run(struct client *c, const char *name)
{
	while (!c->over || ring_used(&c->in[0].ring) ||
	       ring_used(&c->in[1].ring))
		poll_once(c, name);
	term_restore();
	return c->failed && (c->status == 0 || c->status == -1) ?
		       VMCTL_EX_OWN : c->status;
}

int exec_main(int argc, char **argv)
{
	struct client c = { .out = CHAN_OUT_INIT, .stdin_open = true,
			    .status = -1 };
	struct request q = { 0 };

	parse_options(argc, argv, &q);
	c.tty = q.tty;
	c.sock = agent_connect(&q.agent, VMCTL_EX_OWN);
	c.signals = open_signals();
	if (c.signals < 0 || chan_init_auth(&c.chan) < 0 ||
	    chan_open(&c.chan) < 0 || chan_in_init(&c.in[0]) < 0 ||
	    chan_in_init(&c.in[1]) < 0 || sock_set_nonblock(c.sock, true) < 0)
		die(VMCTL_EX_OWN, "cannot set up: %s", strerror(errno));
	if (c.tty)
		term_raw();
	send_exec(&c, &q);
	free(q.env);
	return run(&c, q.argv[0]);
}
