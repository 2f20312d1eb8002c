/* SPDX-License-Identifier: MIT */
/* soft_ctl_device.c - answers the controls of a device (class 0080), display
 * included (class 0073) */
#include <string.h>

#include "drv/soft/soft_rm.h"

/* The classes of which RM_ALLOC makes objects below a device here. */
static const enum abi_r class_list[] = {
	ABI_R_NV01_MEMORY_LOCAL_USER,
	ABI_R_NV20_SUBDEVICE_0,
	ABI_R_NV04_DISPLAY_COMMON,
	ABI_R_NV20_SUBDEVICE_DIAG,
	ABI_R_NV2081_BINAPI,
};

/* Writes their numbers in this version to ret_nr. How many they are. */
static uint32_t class_numbers(const struct soft_ctl *c,
			      uint32_t ret_nr[ARRAY_SIZE(class_list)])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ARRAY_SIZE(class_list); i++) {
		const struct abi_row *row = abi_row(c->rm->base.abi,
						    class_list[i]);

		if (row)
			ret_nr[n++] = row->nr;
	}
	return n;
}

static uint32_t classes(struct soft_ctl *c)
{
	uint32_t nr[ARRAY_SIZE(class_list)], n = class_numbers(c, nr);

	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, classList, i, nr[i]);
	CTL_PUT(c, numClasses, n);
	return NV_OK;
}

/* Without a list, the caller asks only for their number. */
static uint32_t classes_by_pointer(struct soft_ctl *c)
{
	struct drv_mem *m =
		soft_buffer(c->call, c->mem, c->row, ABI_F_classList, NULL);
	uint32_t nr[ARRAY_SIZE(class_list)], n = class_numbers(c, nr);

	if (m) {
		if (m->len < n * sizeof(*nr))
			return NV_ERR_INVALID_ARGUMENT;
		memcpy(m->ptr, nr, n * sizeof(*nr));
	}
	CTL_PUT(c, numClasses, n);
	return NV_OK;
}

uint32_t soft_ctl_device(struct soft_ctl *c)
{
	switch (c->row->id) {
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_CLASSLIST:
		return classes_by_pointer(c);
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2:
		return classes(c);
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_NUM_SUBDEVICES:
		CTL_PUT(c, numSubDevices, 1);
		return NV_OK;
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE:
		CTL_PUT(c, virtualizationMode,
			NV0080_CTRL_GPU_VIRTUALIZATION_MODE_NONE);
		return NV_OK;
	case ABI_R_NV0080_CTRL_CMD_GPU_QUERY_SW_STATE_PERSISTENCE:
		CTL_PUT(c, swStatePersistence,
			NV0080_CTRL_GPU_SW_STATE_PERSISTENCE_ENABLED);
		return NV_OK;
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_VGX_CAPS:
		CTL_PUT(c, isVgx, 0);
		return NV_OK;
	case ABI_R_NV0080_CTRL_CMD_GPU_GET_BRAND_CAPS:
		CTL_PUT(c, brands, 0);
		return NV_OK;
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}

uint32_t soft_ctl_display(struct soft_ctl *c)
{
	switch (c->row->id) {
	case ABI_R_NV0073_CTRL_CMD_SYSTEM_GET_NUM_HEADS:
		CTL_PUT(c, numHeads, 0);
		return NV_OK;
	case ABI_R_NV0073_CTRL_CMD_SYSTEM_GET_SUPPORTED:
	case ABI_R_NV0073_CTRL_CMD_SYSTEM_GET_CONNECT_STATE:
		CTL_PUT(c, displayMask, 0); /* no outputs, none connected */
		return NV_OK;
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}
