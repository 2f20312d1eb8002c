/* SPDX-License-Identifier: MIT */
/*
 * soft_control.c - makes RM's checks of a control, in RM's order
 *
 * After control.c and rs_resource.c of NVIDIA's.
 */
#include "drv/soft/soft_rm.h"

/* Has the file answer that knows the controls of the object's class. */
static uint32_t dispatch(struct soft_ctl *c)
{
	if (c->row->any_size) /* GSS-legacy */
		return soft_ctl_gss(c);
	switch (soft_object_ic(c->obj)) {
	case ABI_IC_RmClientResource:
		return soft_ctl_client(c);
	case ABI_IC_Device:
		return soft_ctl_device(c);
	case ABI_IC_Subdevice:
		return soft_ctl_subdevice(c);
	case ABI_IC_DispCommon:
		return soft_ctl_display(c);
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}

/* Checks the argument and the parameters, then answers the control. An RM
 * status. */
static uint32_t control(struct soft_rm *rm, struct soft_file *file,
			struct drv_call *call)
{
	struct soft_ctl c = { .rm = rm, .call = call, .mem = -1 };
	uint32_t cmd = ARG_GET(call, cmd), size = ARG_GET(call, paramsSize);
	struct soft_client *client;
	struct drv_mem *params;
	uint64_t pointer;

	if ((cmd & 0xffff) == 0) /* NVXXXX_CTRL_CMD_NULL of any class */
		return NV_OK;
	if (soft_client_find(rm, file, ARG_GET(call, hClient), &client) !=
	    NV_OK)
		return NV_ERR_INVALID_CLIENT;
	pointer = abi_get(call->row, ABI_F_params, 0, call->arg, call->len);
	params = soft_buffer(call, -1, call->row, ABI_F_params, &c.mem);
	if (params && params->len) {
		c.params = params->ptr;
		c.len = params->len;
	}
	c.row = abi_control(rm->base.abi, cmd);
	if (c.len != size || (pointer && !size) ||
	    (c.row && !abi_size_ok(c.row, size)))
		return NV_ERR_INVALID_ARGUMENT;
	c.obj = soft_object_find(client, ARG_GET(call, hObject));
	if (!c.obj)
		return NV_ERR_OBJECT_NOT_FOUND;
	if (!c.row || !abi_on(c.row, soft_object_ic(c.obj)))
		return NV_ERR_NOT_SUPPORTED;
	if (c.row->priv)
		return NV_ERR_INSUFFICIENT_PERMISSIONS;
	return dispatch(&c);
}

void soft_rm_control(struct soft_rm *rm, struct soft_file *file,
		     struct drv_call *call)
{
	uint32_t status = control(rm, file, call);

	ARG_PUT(call, status, status);
}
