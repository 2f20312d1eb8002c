/* SPDX-License-Identifier: MIT */
/*
 * iso_agent.h - the protocol between vmctl and a guest's agent, version 1
 *
 * One byte stream per command, opened by the host (vsock, port 9998 by
 * default). Everything is little-endian. The stream is a sequence of frames: a
 * struct agent_hdr, then a body whose shape the type fixes. hdr.len counts
 * both. An unknown type, a wrong length or a frame out of state ends the
 * connection.
 *
 *   host                        agent
 *   AUTH -------------------->           the secret of this boot
 *        <--------------------  READY    (or the connection is closed)
 *   EXEC -------------------->           argv, environment, directory
 *   DATA (stream 0) --------->
 *        <--------------------  DATA (streams 1 and 2)
 *   CREDIT, STOP <---------->   CREDIT, STOP
 *   SIGNAL, WINSIZE --------->
 *        <--------------------  EXIT     the last frame; then the host closes
 *
 * POWEROFF instead of EXEC ends the machine. In a template the host sends:
 *
 *   ADOPT ------------------->           name, secret, entropy, time
 *        <--------------------  ADOPTED  the last frame; then the host closes
 *
 * A template is a worker that is saved as a snapshot. Many clones go on from
 * it, none of which knows yet which worker it is. Until ADOPT a clone executes
 * nothing. From then on it takes the secret that came with ADOPT, not the
 * template's, and it ends every other connection. A machine that is no template
 * does not take ADOPT.
 *
 * Before AUTH the agent reads no more than the bytes of one AUTH, and only for
 * a few seconds.
 *
 * Streams are 0 stdin, 1 stdout, 2 stderr; a terminal has 0 and 1 only. DATA
 * with an empty body ends a stream. Each stream has a window: its sender may
 * have AGENT_WINDOW bytes under way, and CREDIT gives back as many bytes as the
 * receiver has passed on, so that no stream holds up another, or a signal. STOP
 * says that the stream is no longer read: DATA that still comes is dropped.
 *
 * A connection that ends before EXIT ends the command: its process group is
 * killed. No half-close carries meaning.
 */
#ifndef ISO_AGENT_H
#define ISO_AGENT_H

#include <linux/types.h>

#define AGENT_MAJOR		1
#define AGENT_MINOR		1
#define AGENT_PORT		9998	/* default vsock port */
#define AGENT_SECRET_LEN	32
#define AGENT_ENTROPY_LEN	64
#define AGENT_NAME_LEN		40	/* with at least one NUL */

/* Largest frame, header included: bounds argv and environment. */
#define AGENT_MAX_FRAME		(128u * 1024u)
#define AGENT_MAX_DATA		(16u * 1024u)	/* body of one DATA */
#define AGENT_WINDOW		(64u * 1024u)	/* bytes, per stream */
#define AGENT_MAX_ARGS		4096u
#define AGENT_MAX_ENV		1024u

enum agent_type {
	AGENT_AUTH = 1,
	AGENT_READY = 2,
	AGENT_EXEC = 3,
	AGENT_DATA = 4,
	AGENT_CREDIT = 5,
	AGENT_STOP = 6,
	AGENT_SIGNAL = 7,
	AGENT_WINSIZE = 8,
	AGENT_EXIT = 9,
	AGENT_POWEROFF = 10,
	AGENT_ADOPT = 11,
	AGENT_ADOPTED = 12,
};

enum agent_stream { AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_STREAMS };

/* Begins every frame. stream is zero in frames of other types. */
struct agent_hdr {
	__le32 len;	/* header and body, bytes */
	__le16 type;	/* enum agent_type */
	__le16 stream;	/* enum agent_stream: DATA, CREDIT, STOP */
};

struct agent_auth {
	__u8 secret[AGENT_SECRET_LEN];
	__le16 major;
	__le16 minor;
	__le32 pad;
};

struct agent_ready {
	__le16 major;
	__le16 minor;
	__le32 pad;
};

/*
 * Behind it come 1 + n_args + n_env strings, each ended by a NUL: the directory
 * (empty: the agent's choice), the arguments, and NAME=value strings that are
 * added to the environment.
 */
#define AGENT_EXEC_TTY 0x1u

struct agent_exec {
	__le32 flags;	/* AGENT_EXEC_* */
	__le16 rows;	/* of the terminal, or 0 */
	__le16 cols;
	__le32 n_args;
	__le32 n_env;
};

struct agent_credit {
	__le32 bytes;
};

/* For the whole process group. */
struct agent_signal {
	__le32 signo;	/* 1..31, Linux's numbers */
};

struct agent_winsize {
	__le16 rows;
	__le16 cols;
};

enum agent_how {
	AGENT_EXITED = 0,	/* value: exit status */
	AGENT_SIGNALED = 1,	/* value: signal */
	AGENT_NOT_RUN = 2,	/* value: errno of the exec */
};

struct agent_exit {
	__le32 how;	/* enum agent_how */
	__le32 value;
};

struct agent_adopt {
	__u8 secret[AGENT_SECRET_LEN];		/* replaces the old one */
	__u8 entropy[AGENT_ENTROPY_LEN];	/* for the kernel's generator */
	__le64 realtime_ns;			/* CLOCK_REALTIME */
	char name[AGENT_NAME_LEN];		/* of the VM; the rest is zero */
};

#ifndef __cplusplus
_Static_assert(sizeof(struct agent_hdr) == 8, "agent_hdr");
_Static_assert(sizeof(struct agent_auth) == 40, "agent_auth");
_Static_assert(sizeof(struct agent_ready) == 8, "agent_ready");
_Static_assert(sizeof(struct agent_exec) == 16, "agent_exec");
_Static_assert(sizeof(struct agent_credit) == 4, "agent_credit");
_Static_assert(sizeof(struct agent_signal) == 4, "agent_signal");
_Static_assert(sizeof(struct agent_winsize) == 4, "agent_winsize");
_Static_assert(sizeof(struct agent_exit) == 8, "agent_exit");
_Static_assert(sizeof(struct agent_adopt) == 144, "agent_adopt");
#endif

#endif /* ISO_AGENT_H */
