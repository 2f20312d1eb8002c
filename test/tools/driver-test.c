/* SPDX-License-Identifier: MIT */
/*
 * driver-test.c - the driver of gpu-broker-test: the soft driver, with delays
 *
 * `block` is the soft driver, with two exceptions. SYS_PARAMS with one of
 * driver-test.h's numbers in its argument waits, lets go or crashes: BLOCK
 * waits on an eventfd until an open file of the same worker calls RELEASE.
 * GPU_GET_PIDS lists this process and two others, as NVIDIA's driver may.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/base.h"
#include "drv/soft/soft.h"
#include "driver-test.h"

static const struct drv_ops *soft;
static struct drv_ops ops;
static int release_fd;

/* Makes the eventfd readable, from now on. */
static int release_all(void)
{
	uint64_t one = 1;

	return write(release_fd, &one, sizeof(one)) < 0 ? -errno : 0;
}

static int wait_released(void)
{
	uint64_t n;

	while (read(release_fd, &n, sizeof(n)) < 0)
		if (errno != EINTR)
			return -errno;
	return release_all(); /* for the next call that waits */
}

static const struct abi_row *pids_row(const struct drv_file *file)
{
	return abi_row(file->drv->abi, ABI_R_NV2080_CTRL_CMD_GPU_GET_PIDS);
}

static bool lists_pids(const struct drv_file *file, const struct drv_call *call)
{
	const struct abi_row *row = pids_row(file);

	return call->row->id == ABI_R_NV_ESC_RM_CONTROL && call->n_mem == 1 &&
	       row && abi_get(call->row, ABI_F_cmd, 0, call->arg, call->len) ==
		       row->nr;
}

/* Answers with three pids, ours in the middle. */
static int list_pids(struct drv_file *file, struct drv_call *call)
{
	const struct abi_row *row = pids_row(file);
	const struct drv_mem *mem = &call->mem[0];

	for (uint32_t i = 0; i < 3; i++)
		abi_put(row, ABI_F_pidTbl, i, mem->ptr, mem->len,
			(uint32_t)getpid() + i - 1);
	abi_put(row, ABI_F_pidTblCount, 0, mem->ptr, mem->len, 3);
	abi_put(call->row, ABI_F_status, 0, call->arg, call->len, NV_OK);
	return 0;
}

static int block_ioctl(struct drv_file *file, struct drv_call *call)
{
	uint64_t number = 0;

	if (lists_pids(file, call))
		return list_pids(file, call);
	if (call->row->id != ABI_R_NV_ESC_SYS_PARAMS ||
	    call->len != sizeof(number))
		return soft->ioctl(file, call);
	memcpy(&number, call->arg, sizeof(number));
	switch (number) {
	case DRIVER_TEST_BLOCK:
		return wait_released();
	case DRIVER_TEST_RELEASE:
		return release_all();
	case DRIVER_TEST_CRASH:
		abort();
	default:
		return soft->ioctl(file, call);
	}
}

/* Readable once there was a RELEASE. */
static int block_poll_fd(struct drv_file *file)
{
	(void)file;
	return release_fd;
}

/* Makes the soft driver's half for the monitor, under this driver's name. */
static int host_new(const struct conf *conf, const char *version,
		    struct drv_host **ret_host)
{
	int r = drv_soft.host_new(conf, version, ret_host);

	if (r == 0)
		(*ret_host)->type = drv_types[0];
	return r;
}

static void host_free(struct drv_host *host)
{
	drv_soft.host_free(host);
}

static int make_block(const struct drv_config *config, struct drv_env *env,
		      struct drv **ret_drv)
{
	int r = drv_soft.make(config, env, ret_drv);

	if (r < 0)
		return r;
	release_fd = eventfd(0, EFD_CLOEXEC);
	if (release_fd < 0)
		return -errno;
	soft = (*ret_drv)->ops;
	ops = *soft;
	ops.ioctl = block_ioctl;
	ops.poll_fd = block_poll_fd;
	(*ret_drv)->ops = &ops;
	return 0;
}

static const struct drv_type block = {
	.name = "block",
	.host_new = host_new,
	.host_free = host_free,
	.make = make_block,
};

const struct drv_type *const drv_types[] = { &block, NULL };
