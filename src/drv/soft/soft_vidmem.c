/* SPDX-License-Identifier: MIT */
/*
 * soft_vidmem.c - counts video memory (NV01_MEMORY_LOCAL_USER)
 *
 * It counts against what the GPU has and what the worker may have. No memory
 * lies behind it, so the only address is 0.
 */
#include "drv/soft/soft_rm.h"

/* RM's "big" page: the size of pages, unless a caller asks for another. */
#define PAGE_BYTES (64u << 10)

/* NVOS32_ATTR_LOCATION is bits 26:25, which are 0 for video memory. */
static bool in_video_memory(uint64_t attr)
{
	return (attr >> 25 & 3) == 0;
}

uint32_t soft_vidmem_take(struct soft_rm *rm, struct soft_object *obj,
		       struct drv_mem *params)
{
	const struct abi_row *row = obj->row;
	uint64_t owner = abi_get(row, ABI_F_owner, 0, params->ptr, params->len);
	uint64_t flags = abi_get(row, ABI_F_flags, 0, params->ptr, params->len);
	uint64_t attr = abi_get(row, ABI_F_attr, 0, params->ptr, params->len);
	uint64_t size = abi_get(row, ABI_F_size, 0, params->ptr, params->len);

	/* As stdmemValidateParams, vidmemConstruct and memUtilsAllocMemDesc. */
	if (owner == 0 || owner == UINT32_MAX)
		return NV_ERR_INVALID_OWNER;
	if (!in_video_memory(attr) || flags & NVOS32_ALLOC_FLAGS_VIRTUAL ||
	    size == 0)
		return NV_ERR_INVALID_ARGUMENT;
	if (size > rm->model.mem_bytes)
		return NV_ERR_NO_MEMORY;
	size = (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	if (!range_ok(obj->gpu->mem_used, size, rm->model.mem_bytes) ||
	    !range_ok(rm->mem_used, size, rm->max_mem))
		return NV_ERR_NO_MEMORY;
	obj->mem_bytes = size;
	obj->gpu->mem_used += size;
	rm->mem_used += size;
	abi_put(row, ABI_F_size, 0, params->ptr, params->len, size);
	abi_put(row, ABI_F_offset, 0, params->ptr, params->len, 0);
	abi_put(row, ABI_F_limit, 0, params->ptr, params->len, size - 1);
	return NV_OK;
}

void soft_vidmem_give(struct soft_rm *rm, struct soft_object *obj)
{
	if (!obj->mem_bytes)
		return;
	obj->gpu->mem_used -= obj->mem_bytes;
	rm->mem_used -= obj->mem_bytes;
	obj->mem_bytes = 0;
}
