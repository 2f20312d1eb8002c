/* SPDX-License-Identifier: MIT */
/*
 * soft_uvm.c - executes the calls on /dev/nvidia-uvm
 *
 * After uvm.c of NVIDIA's.
 */
#include <errno.h>

#include "drv/soft/soft_rm.h"

static uint32_t initialize(struct soft_file *file, struct drv_call *call)
{
	if (file->uvm_ready)
		return NV_ERR_INVALID_STATE;
	if (abi_get(call->row, ABI_F_flags, 0, call->arg, call->len) &
	    ~(uint64_t)UVM_INIT_FLAGS_MASK)
		return NV_ERR_INVALID_ARGUMENT;
	file->uvm_ready = true;
	return NV_OK;
}

/* uvmFd is the file whose address space this one keeps alive. */
static uint32_t mm_initialize(struct soft_file *file, struct drv_call *call)
{
	struct soft_file *uvm;

	if (file->uvm_ready || file->uvm_mm)
		return NV_ERR_INVALID_STATE;
	if (call->n_fd != 1 || !call->fd[0].file)
		return NV_ERR_INVALID_ARGUMENT;
	uvm = container_of(call->fd[0].file, struct soft_file, base);
	if (uvm->base.kind != DRV_UVM)
		return NV_ERR_INVALID_ARGUMENT;
	if (!uvm->uvm_ready)
		return NV_ERR_INVALID_STATE;
	file->uvm_mm = true;
	return NV_OK;
}

int soft_uvm(struct soft_rm *rm, struct soft_file *file, struct drv_call *call)
{
	uint32_t status;

	(void)rm;
	switch (call->row->id) {
	case ABI_R_UVM_INITIALIZE:
		status = initialize(file, call);
		break;
	case ABI_R_UVM_MM_INITIALIZE:
		status = mm_initialize(file, call);
		break;
	case ABI_R_UVM_DEINITIALIZE:
		file->uvm_ready = false;
		return 0;
	default:
		if (!file->uvm_ready)
			status = NV_ERR_ILLEGAL_ACTION;
		else
			status = NV_ERR_NOT_SUPPORTED;
		break;
	}
	ARG_PUT(call, rmStatus, status);
	return 0;
}
