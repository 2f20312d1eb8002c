/* SPDX-License-Identifier: MIT */
/* Controls of a device (class 0080) and of its display (0073). */
#include <string.h>

#include "drv/soft/soft_rm.h"

/* What RM_ALLOC makes below a device here. */
static const uint32_t class_list[] = {
	NV01_MEMORY_LOCAL_USER,
	NV20_SUBDEVICE_0,
	NV04_DISPLAY_COMMON,
	NV20_SUBDEVICE_DIAG,
	NV2081_BINAPI,
};

static uint32_t classes(struct soft_ctl *c)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(class_list); i++)
		CTL_PUT_AT(c, classList, i, class_list[i]);
	CTL_PUT(c, numClasses, ARRAY_SIZE(class_list));
	return NV_OK;
}

/* numClasses says how many fit; with no list it is only asked for. */
static uint32_t classes_by_pointer(struct soft_ctl *c)
{
	struct drv_mem *m =
		soft_buffer(c->call, c->mem, c->row, ABI_F_classList, NULL);

	if (m) {
		if (m->len < sizeof(class_list))
			return NV_ERR_INVALID_ARGUMENT;
		memcpy(m->ptr, class_list, sizeof(class_list));
	}
	CTL_PUT(c, numClasses, ARRAY_SIZE(class_list));
	return NV_OK;
}

uint32_t soft_ctl_device(struct soft_ctl *c)
{
	switch (c->row->nr) {
	case NV0080_CTRL_CMD_GPU_GET_CLASSLIST:
		return classes_by_pointer(c);
	case NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2:
		return classes(c);
	case NV0080_CTRL_CMD_GPU_GET_NUM_SUBDEVICES:
		CTL_PUT(c, numSubDevices, 1);
		return NV_OK;
	case NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE:
		CTL_PUT(c, virtualizationMode,
			NV0080_CTRL_GPU_VIRTUALIZATION_MODE_NONE);
		return NV_OK;
	case NV0080_CTRL_CMD_GPU_QUERY_SW_STATE_PERSISTENCE:
		CTL_PUT(c, swStatePersistence,
			NV0080_CTRL_GPU_SW_STATE_PERSISTENCE_ENABLED);
		return NV_OK;
	case NV0080_CTRL_CMD_GPU_GET_VGX_CAPS:
		CTL_PUT(c, isVgx, 0);
		return NV_OK;
	case NV0080_CTRL_CMD_GPU_GET_BRAND_CAPS:
		CTL_PUT(c, brands, 0);
		return NV_OK;
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}

uint32_t soft_ctl_display(struct soft_ctl *c)
{
	switch (c->row->nr) {
	case NV0073_CTRL_CMD_SYSTEM_GET_NUM_HEADS:
		CTL_PUT(c, numHeads, 0);
		return NV_OK;
	default:
		break;
	}
	/* GET_SUPPORTED and GET_CONNECT_STATE, whose numbers differ between
	 * versions: no outputs, none connected. */
	if (!abi_field(c->row, ABI_F_displayMask))
		return NV_ERR_NOT_SUPPORTED;
	CTL_PUT(c, displayMask, 0);
	return NV_OK;
}
