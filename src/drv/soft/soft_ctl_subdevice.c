/* SPDX-License-Identifier: MIT */
/* soft_ctl_subdevice.c - answers the controls of a subdevice (class 2080) that
 * public headers describe */
#include <string.h>
#include <time.h>

#include "drv/soft/soft_rm.h"

static uint32_t gid_info(struct soft_ctl *c)
{
	const struct soft_gpu *g = c->obj->gpu;
	uint32_t flags = CTL_GET(c, flags);
	size_t size, n;
	const void *id;
	void *p = abi_bytes(c->row, ABI_F_data, 0, c->params, c->len, &size);

	if (flags & NV2080_GPU_CMD_GPU_GET_GID_FLAGS_FORMAT_BINARY) {
		id = g->uuid;
		n = sizeof(g->uuid);
	} else {
		id = g->uuid_text;
		n = strlen(g->uuid_text) + 1;
	}
	if (!p || n > size)
		return NV_ERR_INVALID_ARGUMENT;
	memset(p, 0, size);
	memcpy(p, id, n);
	CTL_PUT(c, length, n);
	return NV_OK;
}

static uint32_t name_string(struct soft_ctl *c)
{
	const char *name = c->rm->model.name;
	size_t size;
	uint8_t *p = abi_bytes(c->row, ABI_F_ascii, 0, c->params, c->len,
			       &size);

	if (!p)
		return NV_ERR_INVALID_ARGUMENT;
	if (CTL_GET(c, gpuNameStringFlags) ==
	    NV2080_CTRL_GPU_GET_NAME_STRING_FLAGS_TYPE_ASCII) {
		soft_put_text(c, ABI_F_ascii, name);
		return NV_OK;
	}
	/* UTF-16 has the rest of the union, up to the end of the parameters. */
	size = c->len - (size_t)(p - (uint8_t *)c->params);
	memset(p, 0, size);
	for (size_t i = 0; name[i] && 2 * i + 3 < size; i++)
		p[2 * i] = (uint8_t)name[i];
	return NV_OK;
}

static uint32_t fb_value(const struct soft_rm *rm, const struct soft_gpu *gpu,
			 uint32_t index)
{
	uint64_t total = rm->model.mem_bytes / 1024;
	uint64_t free = (rm->model.mem_bytes - gpu->mem_used) / 1024;

	switch (index) {
	case NV2080_CTRL_FB_INFO_INDEX_RAM_SIZE:
	case NV2080_CTRL_FB_INFO_INDEX_TOTAL_RAM_SIZE:
	case NV2080_CTRL_FB_INFO_INDEX_USABLE_RAM_SIZE:
	case NV2080_CTRL_FB_INFO_INDEX_HEAP_SIZE:
	case NV2080_CTRL_FB_INFO_INDEX_MAPPABLE_HEAP_SIZE:
		return (uint32_t)MIN(total, UINT32_MAX);
	case NV2080_CTRL_FB_INFO_INDEX_HEAP_FREE:
		return (uint32_t)MIN(free, UINT32_MAX);
	default:
		return 0;
	}
}

static uint32_t fb_info(struct soft_ctl *c)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_fbInfoList_index);
	uint32_t n = CTL_GET(c, fbInfoListSize);

	if (!f || n > f->count)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, fbInfoList_data, i,
			   fb_value(c->rm, c->obj->gpu,
				    CTL_GET_AT(c, fbInfoList_index, i)));
	return NV_OK;
}

/* An element of the lists that older calls pass by pointer. */
struct info {
	uint32_t index;
	uint32_t data;
};

static uint32_t bus_value(const struct soft_gpu *g, uint32_t index)
{
	switch (index) {
	case NV2080_CTRL_BUS_INFO_INDEX_TYPE:
		return NV2080_CTRL_BUS_INFO_TYPE_PCI;
	case NV2080_CTRL_BUS_INFO_INDEX_DOMAIN_NUMBER:
		return g->domain;
	case NV2080_CTRL_BUS_INFO_INDEX_BUS_NUMBER:
		return g->bus;
	case NV2080_CTRL_BUS_INFO_INDEX_DEVICE_NUMBER:
		return g->slot;
	default:
		return 0;
	}
}

static uint32_t bus_info(struct soft_ctl *c)
{
	struct drv_mem *m =
		soft_buffer(c->call, c->mem, c->row, ABI_F_busInfoList, NULL);
	struct info *list = m ? m->ptr : NULL;

	if (!m)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < m->len / sizeof(*list); i++)
		list[i].data = bus_value(c->obj->gpu, list[i].index);
	return NV_OK;
}

/* There is no VBIOS, so each of its revisions is 0. */
static uint32_t bios_info(struct soft_ctl *c)
{
	struct drv_mem *m =
		soft_buffer(c->call, c->mem, c->row, ABI_F_biosInfoList, NULL);
	struct info *list = m ? m->ptr : NULL;

	if (!m)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < m->len / sizeof(*list); i++)
		list[i].data = 0;
	return NV_OK;
}

static uint32_t bus_info_v2(struct soft_ctl *c)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_busInfoList_index);
	uint32_t n = CTL_GET(c, busInfoListSize);

	if (!f || n > f->count)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, busInfoList_data, i,
			   bus_value(c->obj->gpu,
				     CTL_GET_AT(c, busInfoList_index, i)));
	return NV_OK;
}

/* The soft GPU has none of the properties that an index can name. */
static uint32_t gpu_info(struct soft_ctl *c)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_gpuInfoList_index);
	uint32_t n = CTL_GET(c, gpuInfoListSize);

	if (!f || n > f->count)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, gpuInfoList_data, i, 0);
	return NV_OK;
}

static uint32_t time_correlation(struct soft_ctl *c)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_samples_cpuTime);
	uint32_t n = CTL_GET(c, sampleCount);

	if (!f || n > f->count)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++) {
		struct timespec t;
		uint64_t ns;

		clock_gettime(CLOCK_REALTIME, &t);
		ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		CTL_PUT_AT(c, samples_cpuTime, i, ns);
		CTL_PUT_AT(c, samples_gpuTime, i, ns);
	}
	return NV_OK;
}

static uint32_t arch_info(struct soft_ctl *c)
{
	/* The register has the upper four bits of RM's number. */
	CTL_PUT(c, architecture, NV_PMC_BOOT_42_ARCHITECTURE_GH100 << 4);
	CTL_PUT(c, implementation, 0);
	CTL_PUT(c, revision, SOFT_CHIP_REVISION);
	CTL_PUT(c, subRevision, 0);
	return NV_OK;
}

static uint32_t pids(struct soft_ctl *c)
{
	CTL_PUT(c, pidTblCount, 0);
	return NV_OK;
}

uint32_t soft_ctl_subdevice(struct soft_ctl *c)
{
	switch (c->row->id) {
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_NAME_STRING:
		return name_string(c);
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING:
		soft_put_text(c, ABI_F_gpuShortNameString, c->rm->model.name);
		return NV_OK;
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_GID_INFO:
		return gid_info(c);
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_INFO_V2:
		return gpu_info(c);
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_SIMULATION_INFO:
		CTL_PUT(c, type, 0);
		return NV_OK;
	case ABI_R_NV2080_CTRL_CMD_GPU_QUERY_COMPUTE_MODE_RULES:
		CTL_PUT(c, rules,
			NV2080_CTRL_GPU_COMPUTE_MODE_RULES_NONE);
		return NV_OK;
	case ABI_R_NV2080_CTRL_CMD_GPU_GET_PIDS:
		return pids(c);
	case ABI_R_NV2080_CTRL_CMD_FB_GET_INFO_V2:
		return fb_info(c);
	case ABI_R_NV2080_CTRL_CMD_BUS_GET_PCI_INFO:
		CTL_PUT(c, pciDeviceId, SOFT_PCI_DEVICE << 16 | SOFT_PCI_VENDOR);
		CTL_PUT(c, pciSubSystemId, 0);
		CTL_PUT(c, pciRevisionId, SOFT_CHIP_REVISION);
		CTL_PUT(c, pciExtDeviceId, SOFT_PCI_DEVICE);
		return NV_OK;
	case ABI_R_NV2080_CTRL_CMD_BIOS_GET_INFO:
		return bios_info(c);
	case ABI_R_NV2080_CTRL_CMD_BUS_GET_INFO:
		return bus_info(c);
	case ABI_R_NV2080_CTRL_CMD_BUS_GET_INFO_V2:
		return bus_info_v2(c);
	case ABI_R_NV2080_CTRL_CMD_MC_GET_ARCH_INFO:
		return arch_info(c);
	case ABI_R_NV2080_CTRL_CMD_TIMER_GET_GPU_CPU_TIME_CORRELATION_INFO:
		return time_correlation(c);
	case ABI_R_NV2080_CTRL_CMD_PERF_GET_CURRENT_PSTATE:
		CTL_PUT(c, currPstate, 1); /* a mask: P0 */
		return NV_OK;
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}
