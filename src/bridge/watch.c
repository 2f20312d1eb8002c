/* SPDX-License-Identifier: MIT */
/* watch.c - the registry directory against what runs */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "bridge/bridge.h"

static void kill_conns_to(struct bridge *b, const struct gpu *g)
{
	for (struct worker *w = b->workers; w; w = w->next) {
		for (struct conn *c = w->conns; c; c = conn_next(c))
			if (conn_gpu(c) == g)
				conn_kill(c);
		conn_reap(w);
	}
}

static void saw_gpu(struct bridge *b, const struct reg_entry *e)
{
	struct gpu *g = bridge_gpu(b, e->name);
	uint8_t secret[ISO_SECRET_LEN];
	int r = secret_read(e->secret_file, secret);

	if (r < 0) {
		log_error("%s/%s.gpu: secret_file: %s: %s", b->opts->dir,
			  e->name, e->secret_file, secret_error(r));
		return;
	}
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g) {
			log_error("%s: no memory", e->name);
			return;
		}
		g->next = b->gpus;
		b->gpus = g;
		log_debug("%s: is here", e->name);
	} else if (!reg_same(&g->reg, e) ||
		   !equal_ct(g->secret, secret, sizeof(secret))) {
		log_debug("%s: is another now", e->name);
		kill_conns_to(b, g);
	}
	g->reg = *e;
	memcpy(g->secret, secret, sizeof(secret));
	g->scan = b->scan;
}

static void saw_worker(struct bridge *b, const struct reg_entry *e)
{
	struct worker *w;

	for (w = b->workers; w; w = w->next)
		if (strcmp(w->reg.name, e->name) == 0 && reg_same(&w->reg, e))
			break;
	if (w)
		w->scan = b->scan;
	else if (worker_add(b, e) < 0)
		log_error("%s: no memory", e->name);
}

static void saw_file(struct bridge *b, const char *file)
{
	char text[REG_FILE_MAX + 1], name[REG_NAME_MAX];
	struct reg_error err;
	struct reg_entry e;
	enum reg_kind kind;
	ssize_t n;

	if (file[0] == '.')
		return; /* being written */
	if (reg_file_name(file, name, &kind) < 0) {
		log_warn("%s/%s: neither NAME.gpu nor NAME.worker",
			 b->opts->dir, file);
		return;
	}
	n = file_read(b->dir_fd, file, text, sizeof(text));
	if (n == -ENOENT)
		return; /* gone since */
	if (n < 0) {
		log_error("%s/%s: %s", b->opts->dir, file, strerror((int)-n));
		return;
	}
	if (reg_parse(kind, name, text, (size_t)n, &e, &err) < 0) {
		log_error("%s/%s:%u: %s", b->opts->dir, file, err.line,
			  err.why);
		return;
	}
	if (kind == REG_GPU)
		saw_gpu(b, &e);
	else
		saw_worker(b, &e);
}

/* What the scan did not see ends, before anything new takes its place. */
static void drop_unseen(struct bridge *b)
{
	for (struct worker **p = &b->workers; *p;) {
		struct worker *w = *p;

		if (w->scan == b->scan) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		log_debug("%s: is gone", w->reg.name);
		worker_free(w);
	}
	for (struct gpu **p = &b->gpus; *p;) {
		struct gpu *g = *p;

		if (g->scan == b->scan) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		log_debug("%s: is gone", g->reg.name);
		kill_conns_to(b, g);
		explicit_bzero(g->secret, sizeof(g->secret));
		free(g);
	}
}

/* #syscalls vsock-bridge: openat getdents64 fcntl */
void watch_scan(struct bridge *b)
{
	struct dirent *e;
	/* an open of its own: a directory's position belongs to the open file */
	int fd = openat(b->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		log_error("%s: %s", b->opts->dir, strerror(errno));
		close_fd(&fd);
		return;
	}
	b->scan++;
	while ((e = readdir(d)))
		saw_file(b, e->d_name);
	closedir(d);
	drop_unseen(b);
	for (struct worker *w = b->workers; w; w = w->next)
		worker_listen(w);
	worker_listen_vsock(b);
}
