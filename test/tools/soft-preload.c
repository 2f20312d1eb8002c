/* SPDX-License-Identifier: MIT */
/*
 * soft-preload.c - runs an unmodified NVIDIA program on the soft driver
 *
 * There is no VM: this LD_PRELOAD object stands in for /dev/nvidia* and hands
 * each call to the soft driver, through copies of exactly the buffers that the
 * tables name, as the broker does.
 *
 *   SOFT_VERSION  the program's driver version (needed)
 *   SOFT_COUNT, SOFT_NAME, SOFT_MEM_MIB, SOFT_BUS, SOFT_UTIL,
 *   SOFT_TEMP, SOFT_POWER_MW     the model
 *   SOFT_TRACE    a file descriptor for one line a call
 *   SOFT_DUMP     a control whose parameters the trace shows
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/base.h"
#include "drv/soft/soft.h"

#define MAX_FD 1024
#define MAX_MEM 16
#define MAJOR_NVIDIA 195
#define MAJOR_UVM 510

static struct drv *drv;
static struct drv_file *files[MAX_FD];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned int env_number(const char *name, unsigned int def)
{
	const char *s = getenv(name);

	return s ? (unsigned int)strtoul(s, NULL, 0) : def;
}

static void start(void)
{
	struct soft_config c = {
		.count = env_number("SOFT_COUNT", 1),
		.uuid = { 0x49, 0x53, 0x4f, 0x53, 0x50, 0x49, 0x4e },
		.mem_bytes = (uint64_t)env_number("SOFT_MEM_MIB", 16384) << 20,
		.bus = (uint8_t)env_number("SOFT_BUS", 1),
		.util_percent = env_number("SOFT_UTIL", 0),
		.temp_celsius = env_number("SOFT_TEMP", 35),
		.power_mw = env_number("SOFT_POWER_MW", 50000),
		.max_mem_bytes = UINT64_MAX,
	};
	const char *name = getenv("SOFT_NAME");
	const char *version = getenv("SOFT_VERSION");
	const struct abi *abi = version ? abi_find_nearest(version) : NULL;

	snprintf(c.name, sizeof(c.name), "%s",
		 name ? name : "Isospin Soft GPU");
	if (!abi || soft_new(abi, version, &c, &drv) < 0) {
		fprintf(stderr, "soft-preload: SOFT_VERSION or model\n");
		_exit(ISO_EX_CONFIG);
	}
}

static int real_open(const char *path, int flags, mode_t mode)
{
	static int (*next)(const char *, int, ...);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "open64");
	return next(path, flags, mode);
}

static bool node_kind(const char *path, enum drv_kind *kind, uint32_t *minor)
{
	char *end;

	*minor = 0;
	if (strncmp(path, "/dev/nvidia", 11) != 0)
		return false;
	path += 11;
	if (strcmp(path, "ctl") == 0) {
		*kind = DRV_CTL;
	} else if (strcmp(path, "-uvm") == 0) {
		*kind = DRV_UVM;
	} else {
		*minor = (uint32_t)strtoul(path, &end, 10);
		*kind = DRV_GPU;
		return end != path && *end == '\0';
	}
	return true;
}

static int soft_open_path(const char *path, int flags, mode_t mode)
{
	static const struct drv_cred cred;
	struct drv_file *file;
	enum drv_kind kind;
	uint32_t minor;
	int fd, r;

	if (!node_kind(path, &kind, &minor))
		return real_open(path, flags, mode);
	pthread_once(&once, start);
	r = drv->ops->open(drv, kind, minor, (uint32_t)flags, &cred, &file);
	fd = r < 0 ? -1 : real_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
	if (fd >= MAX_FD || fd < 0) {
		errno = r < 0 ? -r : EMFILE;
		return -1;
	}
	files[fd] = file;
	return fd;
}

#define OPEN_BODY(path, flags)                          \
	mode_t mode = 0;                                \
	va_list ap;                                     \
	va_start(ap, flags);                            \
	if ((flags) & (O_CREAT | __O_TMPFILE))          \
		mode = va_arg(ap, mode_t);              \
	va_end(ap);                                     \
	return soft_open_path(path, flags, mode)

int open(const char *path, int flags, ...)
{
	OPEN_BODY(path, flags);
}

int open64(const char *path, int flags, ...)
{
	OPEN_BODY(path, flags);
}

int close(int fd)
{
	static int (*next)(int);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "close");
	if (fd >= 0 && fd < MAX_FD && files[fd])
		drv->ops->close(take_ptr(files[fd]));
	return next(fd);
}

/* Says that the nodes exist, so that no program tries to make them. */
static int node_stat(const char *path, struct stat *st)
{
	enum drv_kind kind;
	uint32_t minor;

	if (!node_kind(path, &kind, &minor))
		return -1;
	pthread_once(&once, start);
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | 0666;
	st->st_rdev = kind == DRV_UVM ? makedev(MAJOR_UVM, 0) :
					makedev(MAJOR_NVIDIA,
						kind == DRV_CTL ? 255 : minor);
	return 0;
}

int stat(const char *path, struct stat *st)
{
	static int (*next)(const char *, struct stat *);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "stat");
	return node_stat(path, st) == 0 ? 0 : next(path, st);
}

int stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *)(void *)st);
}

int __xstat64(int version, const char *path, struct stat64 *st);
int __xstat64(int version, const char *path, struct stat64 *st)
{
	(void)version;
	return stat64(path, st);
}

int __xstat(int version, const char *path, struct stat *st);
int __xstat(int version, const char *path, struct stat *st)
{
	(void)version;
	return stat(path, st);
}

int mknod(const char *path, mode_t mode, dev_t dev)
{
	(void)path;
	(void)mode;
	(void)dev;
	errno = EPERM;
	return -1;
}

static void *pointer_at(const void *buf, uint32_t off)
{
	void *p;

	memcpy(&p, (const char *)buf + off, sizeof(p));
	return p;
}

/* Adds a copy of each buffer that row names in buf, which is mem[parent]. */
static int gather(struct drv_call *call, int parent, const struct abi_row *row,
		  const void *buf, uint32_t len, void **user)
{
	for (unsigned int i = 0; i < row->n_ptrs; i++) {
		struct drv_mem *m = &call->mem[call->n_mem];
		uint32_t bytes;

		if (abi_ptr_len(drv->abi, row, i, buf, len, &bytes) < 0)
			return -EINVAL;
		if (bytes == 0)
			continue;
		if (call->n_mem == MAX_MEM)
			return -EINVAL;
		user[call->n_mem++] = pointer_at(buf, row->ptrs[i].off);
		m->parent = parent;
		m->off = row->ptrs[i].off;
		m->len = bytes;
		m->dir = row->ptrs[i].dir;
		m->ptr = aligned_alloc(16, (bytes + 15) & ~15u);
		memcpy(m->ptr, user[call->n_mem - 1], bytes);
	}
	return 0;
}

static void trace(const struct drv_call *call, const struct abi_row *ctl, int r)
{
	const uint32_t *w;
	unsigned int fd = env_number("SOFT_TRACE", 0);
	uint32_t status = (uint32_t)abi_get(call->row, ABI_F_status, 0,
					    call->arg, call->len);

	if (!fd)
		return;
	dprintf((int)fd, "%s", call->row->name);
	if (call->row->id == ABI_R_NV_ESC_RM_CONTROL)
		dprintf((int)fd, " %08x %s size %u",
			(uint32_t)abi_get(call->row, ABI_F_cmd, 0, call->arg,
					  call->len),
			ctl ? ctl->name : "?",
			(uint32_t)abi_get(call->row, ABI_F_paramsSize, 0,
					  call->arg, call->len));
	if (call->row->id == ABI_R_NV_ESC_RM_ALLOC)
		dprintf((int)fd, " class %04x",
			(uint32_t)abi_get(call->row, ABI_F_hClass, 0,
					  call->arg, call->len));
	dprintf((int)fd, " -> %d %s\n", r, abi_status_name(status));
	if (!ctl || ctl->nr != env_number("SOFT_DUMP", 0) || !call->n_mem)
		return;
	for (uint32_t m = 0; m < call->n_mem; m++) {
		w = call->mem[m].ptr;
		for (uint32_t i = 0; i < call->mem[m].len / 4; i++)
			if (w[i])
				dprintf((int)fd, "  %u[%u]=%x", m, i, w[i]);
		dprintf((int)fd, "\n");
	}
}

static const struct abi_row *find_row(struct drv_file *file,
				      unsigned long request)
{
	if (file->kind == DRV_UVM)
		return abi_uvm(drv->abi, (uint32_t)request);
	return abi_escape(drv->abi, _IOC_NR(request), _IOC_SIZE(request));
}

static int soft_call(struct drv_file *file, const struct abi_row *row, void *arg)
{
	struct drv_mem mem[MAX_MEM];
	struct drv_fd fd = { .parent = -1 };
	void *user[MAX_MEM];
	uint32_t size = row->step ? row->step : row->sizes[0];
	struct drv_call call = {
		.row = row, .arg = arg, .len = size, .mem = mem, .fd = &fd
	};
	const struct abi_row *ctl = NULL;
	int r, nr;

	if (row->id == ABI_R_NV_ESC_CARD_INFO)
		call.len = size * 32;
	r = gather(&call, -1, row, arg, call.len, user);
	if (r == 0 && row->id == ABI_R_NV_ESC_RM_CONTROL) {
		ctl = abi_control(drv->abi,
				  (uint32_t)abi_get(row, ABI_F_cmd, 0, arg,
						    call.len));
		if (ctl && call.n_mem)
			r = gather(&call, 0, ctl, mem[0].ptr, mem[0].len, user);
	}
	if (row->n_fds) {
		memcpy(&nr, (char *)arg + row->fds[0], sizeof(nr));
		fd.off = row->fds[0];
		fd.file = nr >= 0 && nr < MAX_FD ? files[nr] : NULL;
		call.n_fd = 1;
	}
	if (r == 0) {
		r = drv->ops->ioctl(file, &call);
		trace(&call, ctl, r);
	}
	for (uint32_t i = 0; i < call.n_mem; i++) {
		if (r == 0 && mem[i].dir & ABI_OUT)
			memcpy(user[i], mem[i].ptr, mem[i].len);
		free(mem[i].ptr);
	}
	return r;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	const struct abi_row *row;
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "ioctl");
	if (fd < 0 || fd >= MAX_FD || !files[fd])
		return next(fd, request, arg);
	row = find_row(files[fd], request);
	r = row ? soft_call(files[fd], row, arg) : -EINVAL;
	if (!row && env_number("SOFT_TRACE", 0))
		dprintf((int)env_number("SOFT_TRACE", 0),
			"no row for %lx\n", request);
	if (r < 0)
		errno = -r;
	return r < 0 ? -1 : 0;
}
