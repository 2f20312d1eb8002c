/* SPDX-License-Identifier: MIT */
/*
 * session.c - serves one connection of the host
 *
 *	session_new()
 *	    |
 *	    v   on_auth()        start()          on_ended()       finish()
 *	STRANGER -------> READY ---------> RUNNING --------> LEFT --------> OVER
 *	                   |                                  ^              ^
 *	                   +-- leave(): it cannot be run -----+              |
 *	                   +-- on_adopt() -----------------------------------+
 *
 *	state		what is there, and what may be touched in it
 *	STRANGER	a channel that takes AUTH alone; the timer ends the
 *			session if AUTH does not come in time
 *	READY		the whole channel; EXEC, ADOPT or POWEROFF is awaited
 *	RUNNING		`child`, `fail_fd`, stdin and both outputs; stdin and an
 *			output may end before the process does
 *	LEFT		`exit` is set, `child` and `fail_fd` are gone; outputs
 *			stay open until what the process wrote has been sent
 *	OVER		EXIT or ADOPTED is queued; the host closes, or the timer
 *			ends the session
 *
 * Any function may end the session with session_end(), whatever its state. The
 * process gets SIGKILL, and nothing of the session may be touched until
 * session_release(), after the batch of events.
 */
#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "base/chan.h"
#include "base/log.h"
#include "base/sock.h"

enum state { STRANGER, READY, RUNNING, LEFT, OVER };

/* stdout or stderr of the command, on its way to the host. */
struct output {
	struct iso_ev ev;
	struct session *s;
	uint16_t stream;
	struct chan_out out;
	int left;		/* bytes to send once the process is gone; or -1 */
};

struct session {
	struct list_item item;	/* of a->sessions */
	struct agent *a;
	enum state state;
	bool tty;
	struct chan chan;
	struct iso_ev sock;
	struct iso_ev timer;
	struct iso_ev stdin_ev;
	struct chan_in in;
	struct output out[2];
	struct agent_child child;
	int fail_fd;		/* an errno comes here if the exec fails */
	struct agent_exit exit;
};

static void session_end(struct session *s)
{
	if (!list_end(&s->a->sessions, &s->item))
		return;
	if (s->child.pid > 0)
		kill(-s->child.pid, SIGKILL);
}

static void close_ev(struct session *s, struct iso_ev *ev)
{
	loop_del(&s->a->loop, ev);
	close_fd(&ev->fd);
}

/* Watches an fd, if there is one; ends the session if that fails. */
static void watch_ev(struct session *s, struct iso_ev *ev, uint32_t events)
{
	int r;

	if (ev->fd < 0)
		return;
	r = loop_set(&s->a->loop, ev, events);
	if (r < 0) {
		log_error("connection closed: epoll: %s", strerror(-r));
		session_end(s);
	}
}

/* Last step of each event: watches each fd for what can be done with it now. */
static void settle(struct session *s)
{
	bool room = chan_data_room(&s->chan) == AGENT_MAX_DATA;

	if (s->item.ended)
		return;
	watch_ev(s, &s->sock, EPOLLIN | (chan_pending(&s->chan) ? EPOLLOUT : 0u));
	watch_ev(s, &s->stdin_ev, ring_used(&s->in.ring) ? EPOLLOUT : 0u);
	for (int i = 0; i < 2; i++)
		watch_ev(s, &s->out[i].ev,
			 room && s->out[i].out.window ? EPOLLIN : 0u);
}

/* ---- the command's streams ---------------------------------------------- */

/* The command's stdin takes no more: tells the host to send none. */
static void close_stdin(struct session *s)
{
	close_ev(s, &s->stdin_ev);
	if (!s->in.ended)
		chan_in_stop(&s->in, &s->chan, AGENT_STDIN);
}

/* Ends the command's stdin once all that the host sent has been written. */
static void end_stdin(struct session *s)
{
	static const char eof = 4; /* ^D ends the input of a terminal */

	if (!s->in.ended || ring_used(&s->in.ring) || s->stdin_ev.fd < 0)
		return;
	if (s->tty && write(s->stdin_ev.fd, &eof, 1) < 0)
		log_debug("terminal: %s", strerror(errno));
	close_ev(s, &s->stdin_ev);
}

static void on_stdin(struct iso_ev *ev, uint32_t events)
{
	struct session *s = container_of(ev, struct session, stdin_ev);
	ssize_t n = chan_in_pass(&s->in, ev->fd, AGENT_MAX_DATA);

	(void)events;
	chan_in_credit(&s->in, &s->chan, AGENT_STDIN);
	if (n < 0 && n != -EAGAIN)
		close_stdin(s);
	end_stdin(s);
	settle(s);
}

/* Sends EXIT when the process is gone and both outputs have been sent. */
static void finish(struct session *s)
{
	if (s->state != LEFT || s->out[0].ev.fd >= 0 || s->out[1].ev.fd >= 0)
		return;
	if (chan_put(&s->chan, AGENT_EXIT, 0, &s->exit, sizeof(s->exit)) < 0)
		return; /* tried again when the queue has been written */
	close_ev(s, &s->stdin_ev);
	s->state = OVER;
	loop_timer_set(s->timer.fd, AGENT_LINGER_MS);
}

/* The output has ended: tells the host with an empty DATA. */
static void end_output(struct output *o)
{
	struct session *s = o->s;

	close_ev(s, &o->ev);
	if (chan_put(&s->chan, AGENT_DATA, o->stream, NULL, 0) < 0)
		session_end(s); /* the reserve is larger than two of these */
	finish(s);
}

/* Sends on the bytes that the command has written. */
static void on_output(struct iso_ev *ev, uint32_t events)
{
	struct output *o = container_of(ev, struct output, ev);
	struct session *s = o->s;
	uint8_t buf[AGENT_MAX_DATA];
	size_t max = chan_out_room(&o->out, &s->chan);
	ssize_t n;

	(void)events;
	if (o->left >= 0)
		max = MIN(max, (size_t)o->left);
	if (max == 0)
		return;
	n = read(ev->fd, buf, max);
	if (n < 0 && errno == EINTR)
		return;
	if (n > 0) {
		chan_out_put(&o->out, &s->chan, o->stream, buf, (size_t)n);
		if (o->left >= 0)
			o->left -= (int)n;
	}
	/* a terminal ends with EIO, or without data once its process is gone */
	if (n == 0 || o->left == 0 || (n < 0 && errno != EAGAIN) ||
	    (n < 0 && s->state == LEFT))
		end_output(o);
	settle(s);
}

/* ---- the process -------------------------------------------------------- */

/* Notes how many bytes of the process are still in the pipe. Bytes that others
 * write to the same pipe later are not awaited. */
static void note_left(struct session *s, struct output *o)
{
	if (o->ev.fd < 0)
		return;
	if (s->tty) {
		/* the terminal was hung up: read until nothing is left */
		on_output(&o->ev, 0);
		return;
	}
	if (ioctl(o->ev.fd, FIONREAD, &o->left) < 0)
		o->left = 0;
	if (o->left == 0)
		end_output(o);
}

/* The command is over, or has not begun: how and value as in AGENT_EXIT. */
static void leave(struct session *s, int how, int value)
{
	s->exit.how = htole32((uint32_t)how);
	s->exit.value = htole32((uint32_t)value);
	s->state = LEFT;
}

/* The process has ended; its outputs are sent on before EXIT. */
static void on_ended(struct agent_child *child, int status)
{
	struct session *s = container_of(child, struct session, child);
	int how = WIFSIGNALED(status) ? AGENT_SIGNALED : AGENT_EXITED;
	int value = WIFSIGNALED(status) ? WTERMSIG(status) :
					  WEXITSTATUS(status);
	int err;

	if (read(s->fail_fd, &err, sizeof(err)) == sizeof(err)) {
		how = AGENT_NOT_RUN;
		value = err;
	}
	close_fd(&s->fail_fd);
	leave(s, how, value);
	note_left(s, &s->out[0]);
	note_left(s, &s->out[1]);
	finish(s);
	settle(s);
}

/* Starts the command of EXEC. 0, also if it cannot run, or -EPROTO. */
static int start(struct session *s, const struct rd *body)
{
	struct exec_spec spec;
	struct exec_fds fds;
	int r = exec_parse(*body, &spec);

	if (r == -EPROTO)
		return r;
	if (r == 0) {
		s->tty = spec.tty;
		r = chan_in_init(&s->in);
		if (r == 0)
			r = exec_start(&spec, &fds);
		exec_spec_free(&spec);
	}
	if (r < 0) {
		log_error("cannot start a command: %s", strerror(-r));
		leave(s, AGENT_NOT_RUN, -r);
		finish(s);
		return 0;
	}
	s->child = (struct agent_child){ .pid = fds.pid, .ended = on_ended };
	s->stdin_ev.fd = fds.in;
	s->out[0].ev.fd = fds.out;
	s->out[1].ev.fd = fds.err;
	s->fail_fd = fds.fail;
	s->state = RUNNING;
	agent_watch(s->a, &s->child);
	return 0;
}

/* ---- frames ------------------------------------------------------------- */

/* The first frame: lets the host in, or not. */
static int on_auth(struct session *s, const struct chan_frame *f)
{
	const struct agent_ready ready = {
		.major = htole16(AGENT_MAJOR),
		.minor = htole16(AGENT_MINOR),
	};
	struct agent_auth auth;
	struct rd r = f->body;
	bool known;
	int err;

	rd_copy(&r, &auth, sizeof(auth));
	if (f->type != AGENT_AUTH || !rd_done(&r) || auth.pad)
		return -EPROTO;
	known = equal_ct(auth.secret, s->a->secret, sizeof(auth.secret));
	explicit_bzero(&auth.secret, sizeof(auth.secret));
	if (!known)
		return -EACCES;
	if (le16toh(auth.major) != AGENT_MAJOR) {
		log_warn("the host speaks version %u.%u, not %u.%u",
			 le16toh(auth.major), le16toh(auth.minor), AGENT_MAJOR,
			 AGENT_MINOR);
		return -EPROTO;
	}
	err = chan_open(&s->chan);
	if (err < 0)
		return err;
	s->a->n_strangers--;
	s->state = READY;
	loop_timer_set(s->timer.fd, 0);
	return chan_put(&s->chan, AGENT_READY, 0, &ready, sizeof(ready));
}

/* Ends all other sessions: they were let in by the template's secret, which is
 * not the worker's. */
static void end_others(struct session *s)
{
	struct session *t;

	list_each(t, &s->a->sessions, item)
		if (t != s)
			session_end(t);
}

/* Makes the machine the worker that ADOPT describes. */
static int on_adopt(struct session *s, const struct chan_frame *f)
{
	struct agent *a = s->a;
	struct agent_adopt who;
	int r = a->boot.template ? adopt_parse(f->body, &who) : -EPROTO;

	if (r < 0)
		return r;
	r = a->adopt(a, &who);
	if (r == 0) {
		memcpy(a->secret, who.secret, sizeof(a->secret));
		a->boot.template = false;
		end_others(s);
		s->state = OVER;
		loop_timer_set(s->timer.fd, AGENT_LINGER_MS);
		r = chan_put(&s->chan, AGENT_ADOPTED, 0, NULL, 0);
	}
	explicit_bzero(&who, sizeof(who));
	return r;
}

/* The first frame after AUTH. */
static int on_request(struct session *s, const struct chan_frame *f)
{
	if (f->type == AGENT_ADOPT)
		return on_adopt(s, f);
	if (f->type == AGENT_EXEC && s->a->boot.template) {
		leave(s, AGENT_NOT_RUN, EPERM);
		finish(s);
		return 0;
	}
	if (f->type == AGENT_EXEC)
		return start(s, &f->body);
	if (f->type == AGENT_POWEROFF && rd_done(&f->body)) {
		s->a->poweroff(s->a);
		return 0;
	}
	return -EPROTO;
}

static int on_data(struct session *s, const struct chan_frame *f)
{
	if (f->stream != AGENT_STDIN)
		return -EPROTO;
	if (s->stdin_ev.fd < 0)
		return 0; /* STOP was sent, or the process is gone */
	if (chan_in_take(&s->in, &f->body) < 0)
		return -EPROTO;
	end_stdin(s);
	return 0;
}

static int on_credit(struct session *s, const struct chan_frame *f)
{
	if (f->stream == AGENT_STDIN)
		return -EPROTO;
	return chan_out_credit(&s->out[f->stream - 1].out, &f->body);
}

static int on_stop(struct session *s, const struct chan_frame *f)
{
	if (!rd_done(&f->body) || f->stream == AGENT_STDIN)
		return -EPROTO;
	close_ev(s, &s->out[f->stream - 1].ev);
	finish(s);
	return 0;
}

static int on_signal(struct session *s, const struct chan_frame *f)
{
	struct rd r = f->body;
	uint32_t sig = rd_u32(&r);

	if (!rd_done(&r) || sig < 1 || sig > 31)
		return -EPROTO;
	if (s->child.pid > 0)
		kill(-s->child.pid, (int)sig);
	return 0;
}

static int on_winsize(struct session *s, const struct chan_frame *f)
{
	struct rd r = f->body;
	uint16_t rows = rd_u16(&r);
	uint16_t cols = rd_u16(&r);

	if (!rd_done(&r) || !s->tty)
		return -EPROTO;
	if (s->out[0].ev.fd >= 0)
		exec_winsize(s->out[0].ev.fd, rows, cols);
	return 0;
}

/* Takes one frame. 0, or why the session ends. */
static int on_frame(struct session *s, const struct chan_frame *f)
{
	if (s->state == STRANGER)
		return on_auth(s, f);
	if (s->state == READY)
		return on_request(s, f);
	switch (f->type) {
	case AGENT_DATA:
		return on_data(s, f);
	case AGENT_CREDIT:
		return on_credit(s, f);
	case AGENT_STOP:
		return on_stop(s, f);
	case AGENT_SIGNAL:
		return on_signal(s, f);
	case AGENT_WINSIZE:
		return on_winsize(s, f);
	default:
		return -EPROTO;
	}
}

/* One read, and the frames that are whole. 0, -EPIPE at the end, or -errno. */
static int receive(struct session *s)
{
	struct chan_frame f;
	ssize_t n = chan_fill(&s->chan, s->sock.fd);
	int r;

	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	while ((r = chan_next(&s->chan, &f)) > 0) {
		r = on_frame(s, &f);
		if (r < 0)
			break;
	}
	return r;
}

static void on_sock(struct iso_ev *ev, uint32_t events)
{
	struct session *s = container_of(ev, struct session, sock);
	int r = 0;

	if (s->item.ended)
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = receive(s);
	if (r == 0)
		r = chan_flush(&s->chan, ev->fd);
	if (r == -EACCES || r == -EPROTO)
		log_warn("connection closed: %s", r == -EACCES ?
			 "wrong secret" : "bad frame");
	if (r < 0) {
		session_end(s);
		return;
	}
	finish(s);
	settle(s);
}

static void on_timer(struct iso_ev *ev, uint32_t events)
{
	struct session *s = container_of(ev, struct session, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	session_end(s);
}

/* ---- coming and going --------------------------------------------------- */

static void session_release(struct list_item *item)
{
	struct session *s = container_of(item, struct session, item);

	if (s->state == STRANGER)
		s->a->n_strangers--;
	agent_forget(s->a, &s->child);
	close_ev(s, &s->sock);
	close_ev(s, &s->timer);
	close_ev(s, &s->stdin_ev);
	close_ev(s, &s->out[0].ev);
	close_ev(s, &s->out[1].ev);
	close_fd(&s->fail_fd);
	chan_free(&s->chan);
	chan_in_free(&s->in);
	free(s);
}

void session_reap(struct agent *a)
{
	list_reap(&a->sessions, session_release);
}

void session_end_all(struct agent *a)
{
	struct session *s;

	list_each(s, &a->sessions, item)
		session_end(s);
	session_reap(a);
}

/* Whether there is room for one more session. If strangers are too many, the
 * one that has been there longest goes: idle ones cannot keep out a peer that
 * knows the secret. */
static bool make_room(struct agent *a)
{
	struct session *s = NULL;

	if (a->n_strangers >= AGENT_MAX_STRANGERS)
		list_each(s, &a->sessions, item)
			if (s->state == STRANGER)
				break;
	if (s)
		session_end(s);
	return a->sessions.n < AGENT_MAX_SESSIONS;
}

int session_new(struct agent *a, int fd)
{
	struct session *s = make_room(a) ? calloc(1, sizeof(*s)) : NULL;
	int r;

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->a = a;
	s->sock = (struct iso_ev){ .fd = fd, .fn = on_sock };
	s->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = on_timer };
	s->stdin_ev = (struct iso_ev){ .fd = -1, .fn = on_stdin };
	s->fail_fd = -1;
	for (uint16_t i = 0; i < 2; i++)
		s->out[i] = (struct output){
			.ev = { .fd = -1, .fn = on_output },
			.s = s,
			.stream = (uint16_t)(AGENT_STDOUT + i),
			.out = CHAN_OUT_INIT,
			.left = -1,
		};
	list_add(&a->sessions, &s->item);
	a->n_strangers++;
	r = s->timer.fd < 0 ? s->timer.fd : chan_init_auth(&s->chan);
	if (r == 0)
		r = loop_timer_set(s->timer.fd, AGENT_AUTH_MS);
	if (r == 0)
		r = loop_set(&a->loop, &s->timer, EPOLLIN);
	if (r < 0)
		session_end(s);
	settle(s);
	return r;
}
