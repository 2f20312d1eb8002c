/* SPDX-License-Identifier: MIT */
/* links: src/agent */
/*
 * test_agent.c - tests the agent's sessions without a guest
 *
 * A separate process runs the agent's loop and takes connections from a Unix
 * socket, with the handshake that a VMM would do. `test_agent serve UDS SECRET
 * [template]` is that process alone, for tests of vmctl.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tap.h"
#include "wait.h"
#include "agent/agent.h"
#include "base/chan.h"
#include "base/log.h"
#include "base/sock.h"

static const uint8_t secret[SECRET_LEN] = "0123456789abcdef0123456789abcdef";
static const uint8_t fresh[SECRET_LEN] = "fedcba9876543210fedcba9876543210";
static char uds[SOCK_PATH_MAX];

/* ---- the agent's side --------------------------------------------------- */

static void on_accept(struct iso_ev *ev, uint32_t events)
{
	struct agent *a = container_of(ev, struct agent, listen);
	int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC);
	char c = 0;

	(void)events;
	while (fd >= 0 && c != '\n')
		if (read(fd, &c, 1) != 1)
			break;
	if (c != '\n' || write_full(fd, "OK 1\n", 5) < 0) {
		close(fd);
		return;
	}
	sock_set_nonblock(fd, true);
	session_new(a, fd);
}

static void on_poweroff(struct agent *a)
{
	loop_stop(&a->loop);
}

/* Accepts every name but "refuse". */
static int on_adopt(struct agent *a, const struct agent_adopt *who)
{
	(void)a;
	return strcmp(who->name, "refuse") == 0 ? -EIO : 0;
}

static int serve(const char *path, const uint8_t *key, bool template)
{
	struct sock_addr addr = { .kind = SOCK_UNIX };
	static struct agent a;

	snprintf(addr.path, sizeof(addr.path), "%s", path);
	if (agent_init(&a, key) < 0)
		return 1;
	a.poweroff = on_poweroff;
	a.adopt = on_adopt;
	a.boot.template = template;
	a.listen = (struct iso_ev){ .fd = sock_listen(&addr, 64),
				    .fn = on_accept };
	if (a.listen.fd < 0 || loop_set(&a.loop, &a.listen, EPOLLIN) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	loop_run(&a.loop);
	agent_fini(&a);
	return 0;
}

/* ---- the host's side ---------------------------------------------------- */

static int dial(void)
{
	struct sock_addr a = { .kind = SOCK_HYBRID, .port = 1 };

	memcpy(a.path, uds, sizeof(uds));
	return sock_connect(&a, 5000);
}

static void put(int fd, uint16_t type, uint16_t stream, const void *body,
		size_t n)
{
	struct agent_hdr hdr = { htole32((uint32_t)(sizeof(hdr) + n)),
				 htole16(type), htole16(stream) };

	if (write_full(fd, &hdr, sizeof(hdr)) == 0 && n)
		write_full(fd, body, n);
}

/* The next frame's type, its body in buf; 0 at the end of the stream. */
static int get(int fd, uint16_t *ret_stream, uint8_t *buf, size_t *ret_n)
{
	struct agent_hdr hdr;

	if (read_full(fd, &hdr, sizeof(hdr)) < 0)
		return 0;
	*ret_stream = le16toh(hdr.stream);
	*ret_n = le32toh(hdr.len) - sizeof(hdr);
	if (*ret_n > AGENT_MAX_DATA || read_full(fd, buf, *ret_n) < 0)
		return 0;
	return le16toh(hdr.type);
}

static bool closed(int fd)
{
	char c;

	return wait_readable(fd, 10000) && read(fd, &c, 1) <= 0;
}

static int greet_as(const uint8_t *key)
{
	struct agent_auth auth = { .major = htole16(AGENT_MAJOR) };
	uint8_t buf[AGENT_MAX_DATA];
	uint16_t stream;
	size_t n;
	int fd = dial();

	memcpy(auth.secret, key, sizeof(auth.secret));
	put(fd, AGENT_AUTH, 0, &auth, sizeof(auth));
	if (get(fd, &stream, buf, &n) == AGENT_READY)
		return fd;
	close(fd);
	return -1;
}

static int greet(void)
{
	return greet_as(secret);
}

static void ask(int fd, uint32_t flags, const char *const *argv)
{
	struct {
		struct agent_exec head;
		char text[1024];
	} m = { .head.flags = htole32(flags) };
	size_t n = 1; /* the empty directory */
	uint32_t k = 0;

	for (; argv[k]; k++) {
		memcpy(m.text + n, argv[k], strlen(argv[k]) + 1);
		n += strlen(argv[k]) + 1;
	}
	m.head.n_args = htole32(k);
	put(fd, AGENT_EXEC, 0, &m, sizeof(m.head) + n);
}

struct answer {
	char text[3][4096];
	size_t n[3];
	uint32_t how, value;
	bool exited;
};

/* Reads frames up to EXIT. */
static void collect(int fd, struct answer *a)
{
	uint8_t buf[AGENT_MAX_DATA];
	struct agent_exit e;
	uint16_t stream;
	size_t n;
	int type;

	memset(a, 0, sizeof(*a));
	while ((type = get(fd, &stream, buf, &n))) {
		if (type == AGENT_DATA && n <= sizeof(a->text[0]) - 1 -
		    a->n[stream]) {
			memcpy(a->text[stream] + a->n[stream], buf, n);
			a->n[stream] += n;
		}
		if (type == AGENT_EXIT && n == sizeof(e)) {
			memcpy(&e, buf, n);
			a->how = le32toh(e.how);
			a->value = le32toh(e.value);
			a->exited = true;
			return;
		}
	}
}

#define ASK(fd, flags, ...) \
	ask(fd, flags, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- tests -------------------------------------------------------------- */

static void test_strangers(void)
{
	struct agent_auth auth = { .major = htole16(AGENT_MAJOR) };
	int idle[AGENT_MAX_STRANGERS + 4];
	int fd = dial();

	memcpy(auth.secret, secret, sizeof(auth.secret));
	auth.secret[31] ^= 1;
	put(fd, AGENT_AUTH, 0, &auth, sizeof(auth));
	ok(closed(fd), "a secret that differs in its last bit is refused");
	close(fd);

	fd = dial();
	ASK(fd, 0, "true");
	ok(closed(fd), "a command before the secret is refused");
	close(fd);

	memcpy(auth.secret, secret, sizeof(auth.secret));
	auth.major = htole16(AGENT_MAJOR + 1);
	fd = dial();
	put(fd, AGENT_AUTH, 0, &auth, sizeof(auth));
	ok(closed(fd), "another major version is refused");
	close(fd);

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		idle[i] = dial();
	ok(closed(idle[0]), "of too many strangers the oldest is sent away");
	fd = greet();
	ok(fd >= 0, "idle strangers do not keep out who knows the secret");
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		close(idle[i]);
}

static void test_commands(void)
{
	struct answer a;
	int fd = greet();

	ASK(fd, 0, "sh", "-c", "echo out; echo err >&2; exit 42");
	collect(fd, &a);
	ok(a.how == AGENT_EXITED && a.value == 42, "the exit status comes back");
	ok(strcmp(a.text[1], "out\n") == 0 && strcmp(a.text[2], "err\n") == 0,
	   "stdout and stderr come back apart");
	close(fd);

	fd = greet();
	ASK(fd, 0, "cat");
	put(fd, AGENT_DATA, AGENT_STDIN, "one ", 4);
	put(fd, AGENT_DATA, AGENT_STDIN, "two", 3);
	put(fd, AGENT_DATA, AGENT_STDIN, NULL, 0);
	collect(fd, &a);
	ok(a.value == 0 && strcmp(a.text[1], "one two") == 0,
	   "stdin arrives, and its end");
	close(fd);

	fd = greet();
	ASK(fd, 0, "/no/such/program");
	collect(fd, &a);
	ok(a.how == AGENT_NOT_RUN && a.value == ENOENT,
	   "what cannot be run says why");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sh", "-c", "kill -9 $$");
	collect(fd, &a);
	ok(a.how == AGENT_SIGNALED && a.value == SIGKILL,
	   "death by a signal is told from an exit");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sh", "-c", "sleep 1000 & echo x");
	collect(fd, &a);
	ok(a.exited && strcmp(a.text[1], "x\n") == 0,
	   "a process left behind with stdout open does not hold up EXIT");
	close(fd);

	fd = greet();
	ASK(fd, AGENT_EXEC_TTY, "sh", "-c", "tty >/dev/null && stty size");
	collect(fd, &a);
	ok(a.value == 0 && strcmp(a.text[1], "0 0\r\n") == 0,
	   "a terminal is one");
	close(fd);
}

static void test_signals(void)
{
	struct agent_signal sig = { htole32(SIGINT) };
	struct answer a;
	uint8_t buf[AGENT_MAX_DATA];
	uint16_t stream;
	size_t n;
	int fd = greet();

	ASK(fd, 0, "sh", "-c", "trap 'echo got; exit 7' INT; echo up; "
			       "while :; do sleep 0.05; done");
	get(fd, &stream, buf, &n);
	put(fd, AGENT_SIGNAL, 0, &sig, sizeof(sig));
	collect(fd, &a);
	ok(a.value == 7 && strcmp(a.text[1], "got\n") == 0,
	   "a signal reaches the command");
	close(fd);
}

/* The command holds one end of a FIFO: the other end sees when it is gone. */
static void test_peer_gone(void)
{
	char cmd[400], fifo[SOCK_PATH_MAX + 8];
	uint8_t buf[AGENT_MAX_DATA];
	uint16_t stream;
	size_t n;
	FILE *f;
	int fd = greet();

	snprintf(fifo, sizeof(fifo), "%s.fifo", uds);
	snprintf(cmd, sizeof(cmd), "mkfifo %s; echo up; exec 9>%s; "
		 "sleep 1000 & sleep 1000", fifo, fifo);
	ASK(fd, 0, "sh", "-c", cmd);
	get(fd, &stream, buf, &n);
	f = fopen(fifo, "r");
	close(fd);
	ok(f && fgetc(f) == EOF, "the whole process group dies with the peer");
	if (f)
		fclose(f);
	unlink(fifo);
}

static void test_windows(void)
{
	static uint8_t block[AGENT_MAX_DATA];
	struct agent_credit credit = { htole32(1) };
	struct answer a;
	uint8_t buf[AGENT_MAX_DATA];
	uint16_t stream;
	size_t n, got = 0;
	int fd = greet(), other;

	ASK(fd, 0, "sh", "-c", "echo first >&2; yes");
	while (got < AGENT_WINDOW && get(fd, &stream, buf, &n) == AGENT_DATA)
		got += stream == AGENT_STDOUT ? n : 0;
	ok(got == AGENT_WINDOW, "a stream stops at its window");
	other = greet();
	ASK(other, 0, "echo", "there");
	collect(other, &a);
	ok(strcmp(a.text[1], "there\n") == 0, "and holds up nobody else");
	close(other);
	put(fd, AGENT_STOP, AGENT_STDOUT, NULL, 0);
	collect(fd, &a);
	ok(a.exited, "a command whose stdout nobody wants ends");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sleep", "1000");
	for (size_t i = 0; i <= 2 * AGENT_WINDOW / sizeof(block); i++)
		put(fd, AGENT_DATA, AGENT_STDIN, block, sizeof(block));
	ok(closed(fd), "more than the window is refused");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sleep", "1000");
	put(fd, AGENT_CREDIT, AGENT_STDOUT, &credit, sizeof(credit));
	ok(closed(fd), "credit for what was never sent is refused");
	close(fd);
}

static void test_hostile(void)
{
	struct agent_exec head = { .n_args = htole32(2) };
	struct agent_hdr hdr = { htole32(AGENT_MAX_FRAME + 1),
				 htole16(AGENT_EXEC), 0 };
	struct agent_signal sig = { htole32(32) };
	struct answer a;
	struct {
		struct agent_exec head;
		char text[6];
	} m = { head, "\0true" };
	int fd = greet();

	put(fd, AGENT_EXEC, 0, &m, sizeof(m));
	ok(closed(fd), "fewer arguments than announced are refused");
	close(fd);

	fd = greet();
	write_full(fd, &hdr, sizeof(hdr));
	ok(closed(fd), "an oversize frame is refused");
	close(fd);

	fd = greet();
	put(fd, AGENT_DATA, AGENT_STDIN, "x", 1);
	ok(closed(fd), "data before a command is refused");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sleep", "1000");
	ASK(fd, 0, "true");
	ok(closed(fd), "a second command is refused");
	close(fd);

	fd = greet();
	ASK(fd, 0, "sleep", "1000");
	put(fd, AGENT_SIGNAL, 0, &sig, sizeof(sig));
	ok(closed(fd), "a signal that is none is refused");
	close(fd);

	fd = greet();
	ASK(fd, 0, "echo", "well");
	collect(fd, &a);
	ok(strcmp(a.text[1], "well\n") == 0, "after all that a good peer is served");
	close(fd);
}

/* ---- templates ---------------------------------------------------------- */

static struct agent_adopt adoption(const char *name)
{
	struct agent_adopt who = { 0 };

	memcpy(who.secret, fresh, sizeof(who.secret));
	snprintf(who.name, sizeof(who.name), "%s", name);
	return who;
}

static void adopt(int fd, const struct agent_adopt *who)
{
	put(fd, AGENT_ADOPT, 0, who, sizeof(*who));
}

static void test_no_template(void)
{
	const struct agent_adopt who = adoption("w1");
	struct answer a;
	int fd = greet();

	adopt(fd, &who);
	ok(closed(fd), "who is somebody already is not adopted");
	close(fd);
	ok(greet_as(fresh) < 0, "and does not take the secret that came");
	fd = greet();
	ASK(fd, 0, "echo", "well");
	collect(fd, &a);
	ok(strcmp(a.text[1], "well\n") == 0, "but its own, as before");
	close(fd);
}

static void refuses(const struct agent_adopt *who, size_t n, const char *what)
{
	int fd = greet();

	put(fd, AGENT_ADOPT, 0, who, n);
	ok(closed(fd), "an adoption %s is refused", what);
	close(fd);
}

static void test_bad_adoptions(void)
{
	struct {
		struct agent_adopt who;
		char more;
	} m = { adoption("w1"), 0 };

	refuses(&m.who, sizeof(m.who) - 1, "that is too short");
	refuses(&m.who, offsetof(struct agent_adopt, name), "without a name");
	refuses(&m.who, sizeof(m.who) + 1, "that is too long");
	m.who.name[sizeof(m.who.name) - 1] = 'x';
	refuses(&m.who, sizeof(m.who), "with bytes after the name");
	memset(m.who.name, 'x', sizeof(m.who.name));
	refuses(&m.who, sizeof(m.who), "whose name does not end");
	m.who = adoption("a b");
	refuses(&m.who, sizeof(m.who), "with a name that is none");
	m.who = adoption("");
	refuses(&m.who, sizeof(m.who), "with an empty name");
	m.who = adoption("refuse");
	refuses(&m.who, sizeof(m.who), "that cannot be done");
}

static void test_template(void)
{
	const struct agent_adopt who = adoption("w1");
	uint8_t buf[AGENT_MAX_DATA];
	struct answer a;
	uint16_t stream;
	size_t n;
	int fd = greet(), other;

	ASK(fd, 0, "echo", "never");
	collect(fd, &a);
	ok(a.how == AGENT_NOT_RUN && a.value == EPERM && !a.n[1],
	   "a template executes nothing");
	close(fd);
	fd = dial();
	adopt(fd, &who);
	ok(closed(fd), "nor is it adopted without its secret");
	close(fd);
	test_bad_adoptions();

	other = greet();
	fd = greet();
	ok(other >= 0 && fd >= 0, "after all that it still is a template");
	adopt(fd, &who);
	ok(get(fd, &stream, buf, &n) == AGENT_ADOPTED && n == 0,
	   "it is adopted");
	ok(closed(other), "who knew the template's secret is sent away");
	close(other);
	adopt(fd, &who);
	ok(closed(fd), "twice on one connection is refused");
	close(fd);
	ok(greet() < 0, "the template's secret is no longer taken");
	fd = greet_as(fresh);
	adopt(fd, &who);
	ok(closed(fd), "a second time is refused");
	close(fd);
	fd = greet_as(fresh);
	ASK(fd, 0, "echo", "well");
	collect(fd, &a);
	ok(strcmp(a.text[1], "well\n") == 0,
	   "by the new secret it runs commands");
	close(fd);
}

/* ---- boot.conf ---------------------------------------------------------- */

static void test_boot_conf(void)
{
	static const char good[] = "# c\nROLE=gpu\nNAME=gpu0\nAGENT_PORT=7\n"
				   "BROKER_PORT=8\n\nDRIVER_VERSION=535.309.01\n"
				   "IMAGE=/dev/vda";
	static const char *const bad[] = {
		"ROLE=king", "NAME=a b", "NAME=", "AGENT_PORT=0", "=", "X=1",
		"AGENT_PORT", "POWEROFF=maybe", "IMAGE=", "TEMPLATE=1",
	};
	struct agent_boot b;
	uint32_t line;

	ok(boot_parse(good, sizeof(good) - 1, &b, &line) == 0 &&
	   b.role == ROLE_GPU && b.agent_port == 7 && b.broker_port == 8 &&
	   strcmp(b.driver_version, "535.309.01") == 0 &&
	   strcmp(b.image, "/dev/vda") == 0, "boot.conf is read");
	ok(boot_parse("TEMPLATE=yes\n", 13, &b, &line) == 0 && b.template,
	   "boot.conf makes a template of a worker");
	ok(boot_parse("TEMPLATE=yes\nROLE=gpu\n", 22, &b, &line) == -EINVAL &&
	   line == 2, "but of nothing else");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(boot_parse(bad[i], strlen(bad[i]), &b, &line) == -EINVAL &&
		   line == 1, "boot.conf: '%s' is refused", bad[i]);
}

/* Starts the process that serves. */
static pid_t spawn(bool template)
{
	char ready[8];
	pid_t pid;
	int p[2];

	if (pipe(p) < 0)
		exit(1);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[1], STDOUT_FILENO);
		_exit(serve(uds, secret, template));
	}
	close(p[1]);
	if (read(p[0], ready, sizeof(ready)) <= 0)
		exit(1);
	close(p[0]);
	return pid;
}

int main(int argc, char **argv)
{
	uint8_t key[SECRET_LEN];
	pid_t pid;

	log_init("test_agent");
	if (argc >= 4 && strcmp(argv[1], "serve") == 0) {
		if (secret_read(argv[3], key) < 0)
			return 1;
		return serve(argv[2], key, argc == 5);
	}
	snprintf(uds, sizeof(uds), "/tmp/test_agent.%d", getpid());
	signal(SIGPIPE, SIG_IGN);
	pid = spawn(false);
	test_strangers();
	test_commands();
	test_signals();
	test_peer_gone();
	test_windows();
	test_hostile();
	test_no_template();
	test_boot_conf();
	put(greet(), AGENT_POWEROFF, 0, NULL, 0);
	ok(waitpid(pid, NULL, 0) == pid, "power-off ends it");
	unlink(uds);
	pid = spawn(true);
	test_template();
	put(greet_as(fresh), AGENT_POWEROFF, 0, NULL, 0);
	ok(waitpid(pid, NULL, 0) == pid, "power-off ends what was a template");
	unlink(uds);
	return done_testing();
}
