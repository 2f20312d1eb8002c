/* SPDX-License-Identifier: MIT */
/*
 * agent.h - the first process of every guest
 *
 * A file calls only files above it in this list:
 *
 *   boot.c     what the host wrote for this machine
 *   init.c     brings the machine up
 *   image.c    brings NVIDIA's own driver up
 *   adopt.c    makes a worker of a template
 *   exec.c     starts the process of a session
 *   reap.c     the ends of processes
 *   session.c  one connection of the host
 *   serve.c    takes connections
 *   service.c  keeps gpu-broker running
 *   shim.c     waits for a worker's devices
 *   main.c     from the first instruction to the loop
 *
 * The ways back are function pointers: an fd's handler (iso_ev.fn), the loop's
 * after hook, agent_child.ended, agent.poweroff and agent.adopt.
 */
#ifndef ISO_AGENT_AGENT_H
#define ISO_AGENT_AGENT_H

#include <sys/types.h>

#include "abi/iso_agent.h"
#include "base/base.h"
#include "base/list.h"
#include "base/rd.h"
#include "base/secret.h"
#include "loop/loop.h"

#define AGENT_MAX_SESSIONS 64u
#define AGENT_MAX_STRANGERS 16u		/* of those, before AUTH */
#define AGENT_AUTH_MS 5000u		/* for AUTH to come */
#define AGENT_LINGER_MS 10000u		/* for the host to close after EXIT */

enum agent_role { ROLE_WORKER, ROLE_GPU, ROLE_LAB };

/* The contents of /isospin/boot.conf, which the host has written. */
struct agent_boot {
	enum agent_role role;
	char name[33];
	char driver_version[32];	/* ROLE_GPU */
	char driver[16];		/* ROLE_GPU */
	char image[32];			/* the disk with NVIDIA's driver, or "" */
	uint32_t agent_port;
	uint32_t broker_port;
	bool template;	/* ROLE_WORKER: waits to be saved; see iso_agent.h */
	bool reset;	/* end the machine by a reset, not by power-off */
};

/* A process whose owner wants to hear of its end; lives in the owner. */
struct agent_child {
	struct list_item item;	/* of agent->children while pid is not 0 */
	pid_t pid;
	/* status as waitpid() gives it; pid is 0 already. */
	void (*ended)(struct agent_child *child, int status);
};

struct agent_service;

struct agent {
	struct loop loop;
	uint8_t secret[SECRET_LEN];
	struct agent_boot boot;
	struct list children;		/* agent_watch() */
	struct list sessions;		/* owned */
	uint32_t n_strangers;		/* sessions before AUTH */
	struct iso_ev listen;
	struct iso_ev sigchld;
	void (*poweroff)(struct agent *a);	/* a session asked for it */
	/* Makes the machine the worker `who`, all but the secret. 0, or -errno:
	 * the machine is then neither template nor worker, and must end. */
	int (*adopt)(struct agent *a, const struct agent_adopt *who);
	struct agent_service *service;		/* ROLE_GPU, else NULL */
};

/* ---- boot.c ------------------------------------------------------------- */

/* Checks KEY=value lines of n bytes. 0, or -EINVAL with *ret_line (from 1). */
int boot_parse(const char *text, size_t n, struct agent_boot *ret_boot,
	       uint32_t *ret_line);
/* Reads a secret and removes its file. 0 or -errno, as secret_read(). */
int boot_secret(const char *path, uint8_t ret_secret[static SECRET_LEN]);

/* ---- init.c ------------------------------------------------------------- */

/* Mounts, console, host name, modules, boot.conf and secrets. 0, or -errno with
 * *ret_what naming what failed. */
int init_mounts(const char **ret_what);
int init_modules(const struct agent_boot *boot, const char **ret_what);
/* Loads DIR/FILE. 0 or -errno, the kernel's or that of opening the file. */
int init_load_module(const char *dir, const char *file, const char *params);
/* Writes one whole line `isospin: TEXT at=NS` to the console. */
void init_say(const char *fmt, ...) _printf_(1, 2);
/* Powers the machine off, or resets it. */
_noreturn_ void init_end_machine(bool reset);

/* ---- image.c ------------------------------------------------------------ */

/* Brings NVIDIA's driver up from this disk. 0, or -errno with *ret_what naming
 * what failed; -ENODEV from a module means that it found no GPU that it
 * knows. */
int image_start(const char *disk, const char **ret_what);

/* ---- adopt.c ------------------------------------------------------------ */

/* Checks an ADOPT body. 0 or -EPROTO. */
int adopt_parse(struct rd body, struct agent_adopt *ret_who);
/* Gives the machine its name, entropy and clock, then lets the shim go. 0, or
 * -errno with *ret_what naming what failed. */
int adopt_machine(const struct agent_adopt *who, const char **ret_what);

/* ---- exec.c ------------------------------------------------------------- */

struct exec_spec {
	bool tty;
	uint16_t rows, cols;
	const char *cwd;
	const char **argv;	/* owned; the strings stay in the frame */
	const char **envp;	/* owned */
};

struct exec_fds {
	pid_t pid;
	int in, out, err;	/* ours; non-blocking; err is -1 for a terminal */
	int fail;		/* an errno comes here if the exec fails */
};

/* Checks an EXEC body, which must outlive the spec. 0, -EPROTO or -ENOMEM. */
int exec_parse(struct rd body, struct exec_spec *ret_spec);
void exec_spec_free(struct exec_spec *spec);
/* Starts the command in a session of its own. 0 or -errno. */
int exec_start(const struct exec_spec *spec, struct exec_fds *ret_fds);
/* Sets signals and their mask as a new program expects them; after fork. */
void exec_reset_signals(void);
int exec_winsize(int pty, uint16_t rows, uint16_t cols);

/* ---- reap.c ------------------------------------------------------------- */

/* Takes SIGCHLD, so that agent_watch() works. 0 or -errno. */
int agent_watch_init(struct agent *a);
/* Calls child->ended() when the process child->pid has ended. */
void agent_watch(struct agent *a, struct agent_child *child);
/* Does not, after all; a child that was never watched, or has ended, is
 * fine. */
void agent_forget(struct agent *a, struct agent_child *child);

/* ---- session.c ---------------------------------------------------------- */

/* Takes over a connected, non-blocking stream. 0 or -errno (fd is closed). */
int session_new(struct agent *a, int fd);
/* Frees the sessions that have ended. */
void session_reap(struct agent *a);
/* Ends and frees all of them. */
void session_end_all(struct agent *a);

/* ---- serve.c ------------------------------------------------------------ */

/* The secret is copied. 0 or -errno. */
int agent_init(struct agent *a, const uint8_t secret[SECRET_LEN]);
void agent_fini(struct agent *a);
/* Takes connections from the host at this vsock port. 0 or -errno. */
int agent_listen(struct agent *a, uint32_t port);

/* ---- service.c ---------------------------------------------------------- */

/* Starts gpu-broker and keeps it running. 0 or -errno. */
int service_start(struct agent *a, const uint8_t secret[SECRET_LEN]);
/* Asks gpu-broker to end. The machine ends when it has, or after two
 * seconds. */
void service_stop_then_end(struct agent *a);

/* ---- shim.c ------------------------------------------------------------- */

/* Prints state=shim-ready once /dev/nvidiactl opens. 0 or -errno. */
int shim_await(struct agent *a);

#endif /* ISO_AGENT_AGENT_H */
