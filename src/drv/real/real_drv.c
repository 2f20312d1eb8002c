/* SPDX-License-Identifier: MIT */
/* real_drv.c - makes a worker's calls on NVIDIA's driver, in a child */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/sock.h"
#include "drv/real/real.h"
#include "seccomp_gpu-broker-real.h"

const int *const real_syscalls = seccomp_syscalls;
const size_t real_n_syscalls = ARRAY_SIZE(seccomp_syscalls);

/* uvm_types.h: calls may come from another address space than the program's.
 * They do: they come from the broker's. */
#define UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE 0x2

struct real {
	struct drv base;
	struct drv_env *env;	/* borrowed: the child opens nodes for us */
	struct real_config gpus;
	const struct abi_row *wait_open; /* NULL: there is no such call */
};

struct real_file {
	struct drv_file base;
	int fd;
};

static struct real *real_of(struct drv *drv)
{
	return container_of(drv, struct real, base);
}

static int fd_of(const struct drv_file *file)
{
	return container_of(file, const struct real_file, base)->fd;
}

/* ---- open --------------------------------------------------------------- */

/*
 * Waits for the GPU that the monitor has opened with O_NONBLOCK, as the open()
 * of the worker's program would. 0, or the -errno of that open.
 *
 * #syscalls gpu-broker-real: ioctl fcntl
 */
static int wait_open(const struct real *real, int fd)
{
	const struct abi_row *row = real->wait_open;
	uint8_t arg[64] = { 0 };
	int32_t rc;

	if (row->sizes[0] > sizeof(arg))
		return -EPROTONOSUPPORT;
	if (ioctl(fd, real_request(row, row->sizes[0]), arg) < 0)
		return -errno;
	rc = (int32_t)abi_get(row, ABI_F_rc, 0, arg, row->sizes[0]);
	if (rc)
		return rc < 0 && rc > -4096 ? rc : -EIO;
	return sock_set_nonblock(fd, false);
}

static int real_open(struct drv *drv, enum drv_kind kind, uint32_t minor,
		     uint32_t flags, const struct drv_cred *cred,
		     struct drv_file **ret_file)
{
	struct real *real = real_of(drv);
	_cleanup_close_ int fd =
		real->env->open_node(real->env, kind, minor, flags);
	struct real_file *file;
	int r = 0;

	(void)cred; /* NVIDIA's driver sees this process and its user */
	if (fd < 0)
		return fd;
	if (kind == DRV_GPU && !(flags & O_NONBLOCK) && real->wait_open)
		r = wait_open(real, fd);
	if (r < 0)
		return r;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->base = (struct drv_file){ .drv = drv, .kind = kind,
					.minor = minor };
	file->fd = take_fd(&fd);
	*ret_file = &file->base;
	return 0;
}

/* ---- ioctl -------------------------------------------------------------- */

/* Finds size bytes at off of the argument (parent -1) or of a buffer; NULL if
 * they are not in it. */
static void *field(const struct drv_call *call, int parent, uint32_t off,
		   uint32_t size)
{
	uint8_t *p = call->arg;
	uint32_t len = call->len;

	if (parent >= 0) {
		p = call->mem[parent].ptr;
		len = call->mem[parent].len;
	}
	return range_ok(off, size, len) ? p + off : NULL;
}

/* Puts our addresses and descriptors in the place of the worker's. 0 or
 * -EINVAL. */
static int translate(struct drv_call *call)
{
	for (uint32_t i = 0; i < call->n_mem; i++) {
		uint64_t addr = (uintptr_t)call->mem[i].ptr;
		void *p = field(call, call->mem[i].parent, call->mem[i].off,
				sizeof(addr));

		if (!p)
			return -EINVAL;
		memcpy(p, &addr, sizeof(addr));
	}
	for (uint32_t i = 0; i < call->n_fd; i++) {
		const struct drv_file *file = call->fd[i].file;
		int32_t fd = file ? fd_of(file) : -1;
		void *p = field(call, call->fd[i].parent, call->fd[i].off,
				sizeof(fd));

		if (!p)
			return -EINVAL;
		memcpy(p, &fd, sizeof(fd));
	}
	return 0;
}

static int real_ioctl(struct drv_file *file, struct drv_call *call)
{
	bool uvm_init = call->row->id == ABI_R_UVM_INITIALIZE;
	uint64_t flags = 0;
	int r = translate(call);

	if (r < 0)
		return r;
	if (uvm_init) {
		flags = abi_get(call->row, ABI_F_flags, 0, call->arg,
				call->len);
		abi_put(call->row, ABI_F_flags, 0, call->arg, call->len,
			flags | UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE);
	}
	if (ioctl(fd_of(file), real_request(call->row, call->len),
		  call->arg) < 0)
		r = -errno;
	if (uvm_init)
		abi_put(call->row, ABI_F_flags, 0, call->arg, call->len, flags);
	return r;
}

/* ---- events, GPUs, end -------------------------------------------------- */

static int real_mmap(struct drv_file *file, const struct drv_map *map)
{
	(void)file;
	(void)map;
	return -EOPNOTSUPP;
}

/* /dev/nvidia-uvm cannot be polled. */
static int real_poll_fd(struct drv_file *file)
{
	return file->kind == DRV_CTL || file->kind == DRV_GPU ? fd_of(file) :
								-1;
}

static void real_close(struct drv_file *base)
{
	struct real_file *file = container_of(base, struct real_file, base);

	close_fd(&file->fd);
	free(file);
}

static int real_gpu(struct drv *drv, unsigned int i, struct drv_gpu *ret)
{
	const struct real *real = real_of(drv);

	if (i >= real->gpus.n_gpus)
		return -ENODEV;
	*ret = real->gpus.gpu[i];
	return 0;
}

static void real_destroy(struct drv *drv)
{
	free(real_of(drv));
}

static const struct drv_ops real_ops = {
	.open = real_open,
	.ioctl = real_ioctl,
	.mmap = real_mmap,
	.poll_fd = real_poll_fd,
	.close = real_close,
	.gpu = real_gpu,
	.destroy = real_destroy,
};

int real_make(const struct drv_config *config, struct drv_env *env,
	      struct drv **ret_drv)
{
	const struct abi *abi = abi_find(config->version);
	struct real *real;

	if (!abi || config->len != sizeof(real->gpus))
		return -EINVAL;
	real = calloc(1, sizeof(*real));
	if (!real)
		return -ENOMEM;
	memcpy(&real->gpus, config->bytes, sizeof(real->gpus));
	real->base.ops = &real_ops;
	real->base.abi = abi;
	memcpy(real->base.version, config->version, sizeof(config->version));
	real->env = env;
	real->wait_open = abi_row(abi, ABI_R_NV_ESC_WAIT_OPEN_COMPLETE);
	*ret_drv = &real->base;
	return 0;
}
