/* SPDX-License-Identifier: MIT */
/* soft_ctl_client.c - answers the controls of an RM client (class 0000) */
#include <string.h>

#include "drv/soft/soft_rm.h"

/* Lists the ids of all GPUs, or of the attached ones; the rest of the list is
 * the invalid id. */
static uint32_t list_gpus(struct soft_ctl *c, bool attached_only)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_gpuIds);
	uint32_t n = 0;

	if (!f)
		return NV_ERR_NOT_SUPPORTED;
	for (unsigned int i = 0; i < c->rm->model.count; i++)
		if (!attached_only || c->rm->model.gpu[i].attached)
			CTL_PUT_AT(c, gpuIds, n++, c->rm->model.gpu[i].id);
	for (; n < f->count; n++)
		CTL_PUT_AT(c, gpuIds, n, NV0000_CTRL_GPU_INVALID_ID);
	f = abi_field(c->row, ABI_F_excludedGpuIds);
	for (n = 0; f && n < f->count; n++)
		CTL_PUT_AT(c, excludedGpuIds, n, NV0000_CTRL_GPU_INVALID_ID);
	return NV_OK;
}

/* Attaches the GPUs that the list names. There is no detaching: a GPU that one
 * RM client detaches stays there for the others. */
static uint32_t attach_gpus(struct soft_ctl *c)
{
	struct soft_model *m = &c->rm->model;

	if (CTL_GET(c, gpuIds) == NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS) {
		for (unsigned int i = 0; i < m->count; i++)
			m->gpu[i].attached = true;
		return NV_OK;
	}
	for (unsigned int i = 0; i < SOFT_MAX_GPUS; i++) {
		uint32_t id = CTL_GET_AT(c, gpuIds, i);
		struct soft_gpu *g = soft_gpu_by_id(m, id);

		if (id == NV0000_CTRL_GPU_INVALID_ID)
			break;
		if (!g) {
			CTL_PUT(c, failedId, id);
			return NV_ERR_INVALID_ARGUMENT;
		}
		g->attached = true;
	}
	return NV_OK;
}

static uint32_t async_attach(struct soft_ctl *c)
{
	uint32_t id = CTL_GET(c, gpuId);
	struct soft_gpu *g = soft_gpu_by_id(&c->rm->model, id);

	if (!g)
		return NV_ERR_INVALID_ARGUMENT;
	g->attached = true;
	return NV_OK;
}

static uint32_t drain_state(struct soft_ctl *c)
{
	if (!soft_gpu_by_id(&c->rm->model, CTL_GET(c, gpuId)))
		return NV_ERR_INVALID_ARGUMENT;
	CTL_PUT(c, drainState, 0);
	CTL_PUT(c, flags, 0);
	return NV_OK;
}

static uint32_t id_info(struct soft_ctl *c)
{
	struct soft_gpu *g = soft_gpu_by_id(&c->rm->model, CTL_GET(c, gpuId));
	struct drv_mem *name;

	if (!g || !g->attached)
		return NV_ERR_INVALID_ARGUMENT;
	CTL_PUT(c, gpuFlags, 0);
	CTL_PUT(c, deviceInstance, g->minor);
	CTL_PUT(c, subDeviceInstance, 0);
	CTL_PUT(c, sliStatus, NV0000_CTRL_SLI_STATUS_OK);
	CTL_PUT(c, boardId, g->id);
	CTL_PUT(c, gpuInstance, g->minor);
	CTL_PUT(c, numaId, UINT32_MAX); /* no node */
	name = soft_buffer(c->call, c->mem, c->row, ABI_F_szName, NULL);
	if (name && name->len) {
		memset(name->ptr, 0, name->len);
		strncpy(name->ptr, c->rm->model.name, name->len - 1);
	}
	return NV_OK;
}

static uint32_t pci_info(struct soft_ctl *c)
{
	struct soft_gpu *g = soft_gpu_by_id(&c->rm->model, CTL_GET(c, gpuId));

	if (!g)
		return NV_ERR_INVALID_ARGUMENT;
	CTL_PUT(c, domain, g->domain);
	CTL_PUT(c, bus, g->bus);
	CTL_PUT(c, slot, g->slot);
	return NV_OK;
}

static uint32_t build_version(struct soft_ctl *c)
{
	static const enum abi_f strings[] = {
		ABI_F_pDriverVersionBuffer,
		ABI_F_pVersionBuffer,
		ABI_F_pTitleBuffer,
	};
	uint32_t need = (uint32_t)strlen(c->rm->base.version) + 1;

	for (unsigned int i = 0; i < ARRAY_SIZE(strings); i++) {
		struct drv_mem *m = soft_buffer(c->call, c->mem, c->row,
					     strings[i], NULL);

		if (!m) /* the caller asks for the size first */
			continue;
		if (m->len < need)
			return NV_ERR_BUFFER_TOO_SMALL;
		memset(m->ptr, 0, m->len);
		memcpy(m->ptr, c->rm->base.version, need);
	}
	CTL_PUT(c, sizeOfStrings, need);
	CTL_PUT(c, changelistNumber, 0);
	CTL_PUT(c, officialChangelistNumber, 0);
	return NV_OK;
}

static uint32_t build_version_v2(struct soft_ctl *c)
{
	soft_put_text(c, ABI_F_driverVersionBuffer, c->rm->base.version);
	soft_put_text(c, ABI_F_versionBuffer, c->rm->base.version);
	soft_put_text(c, ABI_F_titleBuffer, c->rm->base.version);
	CTL_PUT(c, changelistNumber, 0);
	CTL_PUT(c, officialChangelistNumber, 0);
	return NV_OK;
}

uint32_t soft_ctl_client(struct soft_ctl *c)
{
	switch (c->row->id) {
	case ABI_R_NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION:
		return build_version(c);
	case ABI_R_NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2:
		return build_version_v2(c);
	case ABI_R_NV0000_CTRL_CMD_GPU_GET_PROBED_IDS:
		return list_gpus(c, false);
	case ABI_R_NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS:
		return list_gpus(c, true);
	case ABI_R_NV0000_CTRL_CMD_GPU_ATTACH_IDS:
		return attach_gpus(c);
	case ABI_R_NV0000_CTRL_CMD_GPU_ASYNC_ATTACH_ID:
		return async_attach(c);
	case ABI_R_NV0000_CTRL_CMD_GPU_DETACH_IDS:
		return NV_OK;
	case ABI_R_NV0000_CTRL_CMD_GPU_QUERY_DRAIN_STATE:
		return drain_state(c);
	case ABI_R_NV0000_CTRL_CMD_GPU_GET_ID_INFO:
	case ABI_R_NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2:
		return id_info(c);
	case ABI_R_NV0000_CTRL_CMD_GPU_GET_PCI_INFO:
		return pci_info(c);
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}
