/* SPDX-License-Identifier: MIT */
/* jail.c - runs a command with mounts of its own */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "vmctl/vmctl.h"

#define MAX_BINDS 8
#define TMPFS_OPTIONS "mode=0755,size=64m"

struct jail {
	const char *tmpfs;
	struct bind {
		const char *from, *to;
	} binds[MAX_BINDS];
	size_t n_binds;
	char **command;
};

static void add_bind(struct jail *j, const char *from, const char *to)
{
	if (!to)
		die(ISO_EX_USAGE, "--bind takes FROM and TO; see -h");
	if (j->n_binds == MAX_BINDS)
		die(ISO_EX_USAGE, "--bind: more than %d", MAX_BINDS);
	j->binds[j->n_binds++] = (struct bind){ from, to };
}

static void parse_options(int argc, char **argv, struct jail *j)
{
	static const struct option longs[] = {
		{ "tmpfs", required_argument, NULL, 'd' },
		{ "bind", required_argument, NULL, 'b' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			j->tmpfs = optarg;
			break;
		case 'b':
			/* two words: no character could separate two paths */
			add_bind(j, optarg, argv[optind]);
			optind++;
			break;
		default:
			die(ISO_EX_USAGE, "see -h");
		}
	}
	j->command = argv + optind;
	if (!j->tmpfs || !*j->command)
		die(ISO_EX_USAGE, "jail: --tmpfs and a command are needed; "
		    "see -h");
}

static _noreturn_ void fail(const char *what)
{
	die(errno == EPERM || errno == EACCES ? ISO_EX_NOPERM : ISO_EX_IO,
	    "%s: %s", what, strerror(errno));
}

/* Makes the directories that path lies in, where they are missing. */
static void make_parents(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		fail(path);
	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			fail(copy);
		*p = '/';
	}
	free(copy);
}

/* Shows a file or directory at another place, which is made for it. */
static void bind(const struct bind *b)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (stat(b->from, &st) < 0)
		fail(b->from);
	make_parents(b->to);
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(b->to, 0755) < 0 && errno != EEXIST)
			fail(b->to);
	} else {
		fd = open(b->to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			fail(b->to);
	}
	if (mount(b->from, b->to, NULL, MS_BIND, NULL) < 0)
		fail(b->to);
}

int jail_main(int argc, char **argv)
{
	struct jail j = { 0 };

	parse_options(argc, argv, &j);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("no_new_privs");
	/* private, so that no other namespace sees these mounts and keeps
	 * them */
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("a mount namespace");
	if (mount("jail", j.tmpfs, "tmpfs", 0, TMPFS_OPTIONS) < 0)
		fail(j.tmpfs);
	for (size_t i = 0; i < j.n_binds; i++)
		bind(&j.binds[i]);
	execvp(*j.command, j.command);
	die(errno == ENOENT ? 127 : 126, "%s: %s", *j.command, strerror(errno));
}
