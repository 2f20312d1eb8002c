/* SPDX-License-Identifier: MIT */
/*
 * soft_escape.c - executes the calls on nvidiactl and on the nodes of GPUs
 *
 * After nv.c, escape.c and osapi.c of NVIDIA's.
 */
#include <errno.h>
#include <string.h>

#include "drv/soft/soft_rm.h"

/* The size of Linux's memory blocks on a small x86 machine. */
#define MEMBLOCK_BYTES (128u << 20)

/* Lists the GPUs, one in each element of the argument. */
static void card_info(struct soft_rm *rm, struct drv_call *call)
{
	const struct abi_row *row = call->row;
	uint32_t step = row->step;

	memset(call->arg, 0, call->len);
	for (unsigned int i = 0; i < rm->model.count; i++) {
		const struct soft_gpu *g = &rm->model.gpu[i];
		uint8_t *p = (uint8_t *)call->arg + (size_t)i * step;

		if ((i + 1) * step > call->len)
			break;
		abi_put(row, ABI_F_valid, 0, p, step, 1);
		abi_put(row, ABI_F_pci_info_domain, 0, p, step, g->domain);
		abi_put(row, ABI_F_pci_info_bus, 0, p, step, g->bus);
		abi_put(row, ABI_F_pci_info_slot, 0, p, step, g->slot);
		abi_put(row, ABI_F_pci_info_function, 0, p, step, g->function);
		abi_put(row, ABI_F_pci_info_vendor_id, 0, p, step,
			SOFT_PCI_VENDOR);
		abi_put(row, ABI_F_pci_info_device_id, 0, p, step,
			SOFT_PCI_DEVICE);
		abi_put(row, ABI_F_gpu_id, 0, p, step, g->id);
		abi_put(row, ABI_F_fb_size, 0, p, step, rm->model.mem_bytes);
		abi_put(row, ABI_F_minor_number, 0, p, step, g->minor);
	}
}

/* As RmPerformVersionCheck does it. */
static int check_version(struct soft_rm *rm, struct drv_call *call)
{
	uint32_t cmd = ARG_GET(call, cmd);
	const char *want = rm->base.version;
	size_t size, i = 0;
	char *has = abi_bytes(call->row, ABI_F_versionString, 0, call->arg,
			      call->len, &size);

	if (!has || size < sizeof(rm->base.version))
		return -EINVAL;
	ARG_PUT(call, reply, NV_RM_API_VERSION_REPLY_RECOGNIZED);
	if (cmd != NV_RM_API_VERSION_CMD_QUERY) {
		for (; i < size && has[i] == want[i]; i++)
			if (!want[i] || (cmd == NV_RM_API_VERSION_CMD_RELAXED &&
					 want[i] == '.'))
				return 0;
	}
	memset(has, 0, size);
	memcpy(has, want, strlen(want));
	return cmd == NV_RM_API_VERSION_CMD_QUERY ? 0 : -EINVAL;
}

/*
 * Registers the file with a control file, whose RM clients calls on it may name
 * from then on. The control file lives until this one is closed
 * (NV_ESC_REGISTER_FD).
 */
static int register_fd(struct soft_file *file, struct drv_call *call)
{
	struct soft_file *ctl;

	if (call->n_fd != 1 || !call->fd[0].file)
		return -EINVAL;
	ctl = container_of(call->fd[0].file, struct soft_file, base);
	if (file->ctl || ctl->base.kind != DRV_CTL || ctl == file || ctl->ctl)
		return -EINVAL;
	file->ctl = ctl;
	ctl->refs++;
	return 0;
}

static int numa_info(struct drv_call *call)
{
	memset(call->arg, 0, call->len);
	ARG_PUT(call, nid, UINT32_MAX);
	return 0;
}

static int os_event(struct soft_rm *rm, struct soft_file *file,
		    struct drv_call *call)
{
	struct soft_client *client;
	uint32_t status;

	/* No object of ours raises events, so nothing is kept. */
	status = soft_client_find(rm, file, ARG_GET(call, hClient), &client);
	ARG_PUT(call, status,
		status == NV_OK ? NV_OK : NV_ERR_INVALID_CLIENT);
	return 0;
}

int soft_escape(struct soft_rm *rm, struct soft_file *file,
		struct drv_call *call)
{
	switch (call->row->id) {
	case ABI_R_NV_ESC_RM_CONTROL:
		soft_rm_control(rm, file, call);
		return 0;
	case ABI_R_NV_ESC_RM_ALLOC:
		soft_rm_alloc(rm, file, call);
		return 0;
	case ABI_R_NV_ESC_RM_FREE:
		soft_rm_free(rm, file, call);
		return 0;
	case ABI_R_NV_ESC_RM_DUP_OBJECT:
		soft_rm_dup(rm, file, call);
		return 0;
	case ABI_R_NV_ESC_RM_SHARE:
		soft_rm_share(rm, file, call);
		return 0;
	case ABI_R_NV_ESC_CARD_INFO:
		card_info(rm, call);
		return 0;
	case ABI_R_NV_ESC_CHECK_VERSION_STR:
		return check_version(rm, call);
	case ABI_R_NV_ESC_REGISTER_FD:
		return register_fd(file, call);
	case ABI_R_NV_ESC_SYS_PARAMS:
		ARG_PUT(call, memblock_size, MEMBLOCK_BYTES);
		return 0;
	case ABI_R_NV_ESC_NUMA_INFO:
		return numa_info(call);
	case ABI_R_NV_ESC_WAIT_OPEN_COMPLETE:
		ARG_PUT(call, rc, 0);
		ARG_PUT(call, adapterStatus, NV_OK);
		return 0;
	case ABI_R_NV_ESC_ALLOC_OS_EVENT:
	case ABI_R_NV_ESC_FREE_OS_EVENT:
		return os_event(rm, file, call);
	default:
		return -EINVAL;
	}
}
