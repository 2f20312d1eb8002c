/* SPDX-License-Identifier: MIT */
/*
 * main.c - /init of every guest, which runs what the host asks for over vsock
 *
 * The console tells how far it has come:
 *
 *	isospin: state=agent-ready at=NS	it takes commands
 *	isospin: state=shim-ready at=NS	a worker's GPU devices answer
 *	isospin: state=template-ready at=NS	it can be saved, then adopted
 *	isospin: state=kernel-up at=NS	in a GPU VM with real hardware only
 *	isospin: state=loaded module=FILE at=NS	there too: NVIDIA's module is in
 *	isospin: state=failed reason=TEXT at=NS	it ends the machine
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"

#define DIR "/isospin/"

/* Ends the machine, for a guest that does not come up cannot be repaired from
 * inside. The host reads the reason on the console. */
static _noreturn_ void fail(const struct agent *a, const char *what, int err)
{
	init_say("state=failed reason=%s: %s", what, strerror(-err));
	init_end_machine(a->boot.reset);
}

/* Reads boot.conf into a->boot, or ends the machine. */
static void read_boot_conf(struct agent *a)
{
	static char text[4096];
	char where[48];
	uint32_t line;
	ssize_t n = file_read(AT_FDCWD, DIR "boot.conf", text,
			      sizeof(text));

	if (n < 0)
		fail(a, DIR "boot.conf", (int)n);
	if (boot_parse(text, (size_t)n, &a->boot, &line) < 0) {
		snprintf(where, sizeof(where), DIR "boot.conf:%u", line);
		fail(a, where, -EINVAL);
	}
}

/* An adoption that fails halfway leaves neither a template nor a worker, so the
 * machine ends. */
static int on_adopt(struct agent *a, const struct agent_adopt *who)
{
	const char *what;
	int r = adopt_machine(who, &what);

	if (r < 0)
		fail(a, what, r);
	return 0;
}

/* Starts what this kind of VM needs besides commands. */
static void start_role(struct agent *a, const uint8_t *broker_secret)
{
	int r;

	if (a->boot.role == ROLE_GPU) {
		r = service_start(a, broker_secret);
		if (r < 0)
			fail(a, "gpu-broker", r);
	} else if (a->boot.role == ROLE_WORKER &&
		   access("/sys/module/nvidia_shim", F_OK) == 0) {
		/* in a template too: whoever goes on from it waits already */
		r = shim_await(a);
		if (r < 0)
			fail(a, "nvidia-shim", r);
	}
	if (a->boot.template)
		init_say("state=template-ready");
}

int main(int argc, char **argv)
{
	static struct agent agent;
	uint8_t secret[SECRET_LEN], broker_secret[SECRET_LEN];
	struct agent *a = &agent;
	struct agent_boot boot;
	const char *what = "start";
	int r;

	if (getpid() != 1) {
		if (argc == 2 && strcmp(argv[1], "-V") == 0) {
			puts("isospin-agent " ISOSPIN_VERSION);
			return ISO_EX_OK;
		}
		fputs("isospin-agent: error: runs as the first process of a "
		      "guest\n", stderr);
		return ISO_EX_USAGE;
	}
	log_init("isospin-agent");
	r = init_mounts(&what);
	if (r < 0)
		fail(a, what, r);
	read_boot_conf(a);
	boot = a->boot;
	r = boot_secret(DIR "agent.secret", secret);
	if (r < 0)
		fail(a, DIR "agent.secret", r);
	if (boot.role == ROLE_GPU) {
		r = boot_secret(DIR "broker.secret", broker_secret);
		if (r < 0)
			fail(a, DIR "broker.secret", r);
	}
	sethostname(boot.name, strlen(boot.name));
	if (boot.image[0])
		init_say("state=kernel-up");
	r = init_modules(&boot, &what);
	if (r == 0 && boot.image[0])
		r = image_start(boot.image, &what);
	if (r < 0)
		fail(a, what, r);
	r = agent_init(a, secret);
	a->boot = boot;
	a->poweroff = service_stop_then_end;
	a->adopt = on_adopt;
	if (r == 0)
		r = agent_listen(a, boot.agent_port);
	if (r < 0)
		fail(a, "vsock", r);
	init_say("state=agent-ready");
	start_role(a, broker_secret);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(broker_secret, sizeof(broker_secret));
	r = loop_run(&a->loop);
	fail(a, "event loop", r);
}
