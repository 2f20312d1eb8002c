/* SPDX-License-Identifier: MIT */
/* watch.c - follows the registry */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "bridge/bridge.h"

/* Ends all connections to the GPU VM, which nothing points to afterwards: the
 * scan comes after the events of a batch. */
static void end_conns_to(struct bridge *b, const struct gpu *g)
{
	struct worker *w;

	list_each(w, &b->workers, item) {
		conn_end_all(w, g);
		conn_reap(w);
	}
}

static void gpu_release(struct list_item *item)
{
	struct gpu *g = container_of(item, struct gpu, item);

	explicit_bzero(g->secret, sizeof(g->secret));
	free(g);
}

/* The registry has this GPU VM: adds it, or takes over its changes. */
static void saw_gpu(struct bridge *b, const struct reg_entry *e)
{
	struct gpu *g = bridge_gpu(b, e->name);
	uint8_t secret[SECRET_LEN];
	int r = secret_read(e->secret_file, secret);

	if (r < 0) {
		log_error("%s/%s.gpu: secret_file: %s: %s", b->opts->dir,
			  e->name, e->secret_file, secret_error(r));
		return;
	}
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g) {
			log_error("%s: cannot be served: out of memory", e->name);
			return;
		}
		list_add(&b->gpus, &g->item);
		log_debug("%s: found", e->name);
	} else if (!reg_same(&g->reg, e) ||
		   !equal_ct(g->secret, secret, sizeof(secret))) {
		log_debug("%s: has changed", e->name);
		end_conns_to(b, g);
	}
	g->reg = *e;
	memcpy(g->secret, secret, sizeof(secret));
	g->scan = b->scan;
}

/* The registry has this worker: one that has changed is a new one. */
static void saw_worker(struct bridge *b, const struct reg_entry *e)
{
	struct worker *w;

	list_each(w, &b->workers, item)
		if (strcmp(w->reg.name, e->name) == 0 && reg_same(&w->reg, e))
			break;
	if (w)
		w->scan = b->scan;
	else if (worker_add(b, e) < 0)
		log_error("%s: cannot be served: out of memory", e->name);
}

/* Takes a file of the registry, or reports what is wrong with it. */
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
		return; /* removed meanwhile */
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

/* Ends the VMs that the scan has not seen. */
static void drop_unseen(struct bridge *b)
{
	struct worker *w;
	struct gpu *g;

	list_each(w, &b->workers, item) {
		if (w->scan == b->scan)
			continue;
		log_debug("%s: removed", w->reg.name);
		list_end(&b->workers, &w->item);
	}
	list_reap(&b->workers, worker_release);
	list_each(g, &b->gpus, item) {
		if (g->scan == b->scan)
			continue;
		log_debug("%s: removed", g->reg.name);
		end_conns_to(b, g);
		list_end(&b->gpus, &g->item);
	}
	list_reap(&b->gpus, gpu_release);
}

void watch_end(struct bridge *b)
{
	struct worker *w;
	struct gpu *g;

	list_each(w, &b->workers, item)
		list_end(&b->workers, &w->item);
	list_reap(&b->workers, worker_release);
	list_each(g, &b->gpus, item)
		list_end(&b->gpus, &g->item);
	list_reap(&b->gpus, gpu_release);
}

/* #syscalls vsock-bridge: openat getdents64 fcntl */
void watch_scan(struct bridge *b)
{
	struct worker *w;
	struct dirent *e;
	/* opened anew: a directory's position belongs to the open file */
	int fd = openat(b->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		log_error("%s: cannot be read: %s", b->opts->dir,
			  strerror(errno));
		close_fd(&fd);
		return;
	}
	b->scan++;
	while ((e = readdir(d)))
		saw_file(b, e->d_name);
	closedir(d);
	drop_unseen(b);
	/* old sockets are gone now, so that a new worker may have the path */
	list_each(w, &b->workers, item)
		worker_listen(w);
	worker_listen_vsock(b);
}
