/* SPDX-License-Identifier: MIT */
/*
 * soft_alloc.c - answers RM_ALLOC, RM_FREE, RM_DUP_OBJECT, RM_SHARE
 *
 * After alloc_free.c, device.c and subdevice.c of NVIDIA's.
 */
#include "drv/soft/soft_rm.h"

/* Whether this driver can make objects of that class. */
static bool class_known(const struct abi_row *row)
{
	switch (row->id) {
	case ABI_R_NV01_DEVICE_0:
	case ABI_R_NV01_MEMORY_LOCAL_USER:
	case ABI_R_NV20_SUBDEVICE_0:
	case ABI_R_NV20_SUBDEVICE_DIAG:
	case ABI_R_NV04_DISPLAY_COMMON:
	case ABI_R_NV2081_BINAPI:
		return true;
	default:
		return false;
	}
}

static bool has_child_of(const struct soft_object *parent, uint16_t ic)
{
	const struct soft_object *o;

	for (o = parent->child; o; o = o->sibling)
		if (soft_object_ic(o) == ic)
			return true;
	return false;
}

/* Whether the object's parent has another child of its class. */
static bool has_sibling(const struct soft_object *obj)
{
	const struct soft_object *o;

	for (o = obj->parent->child; o; o = o->sibling)
		if (o != obj && o->row == obj->row)
			return true;
	return false;
}

/* Makes the checks of the class's own constructor. params may be NULL. */
static uint32_t construct(struct soft_rm *rm, struct soft_object *obj,
			  struct drv_mem *params)
{
	const struct abi_row *row = obj->row;
	const void *p = params ? params->ptr : NULL;
	size_t len = params ? params->len : 0;
	uint64_t nr;

	if (row->id == ABI_R_NV01_DEVICE_0) {
		nr = abi_get(row, ABI_F_deviceId, 0, p, len);
		if (nr >= rm->model.count || !rm->model.gpu[nr].attached)
			return NV_ERR_INVALID_CLASS;
		obj->gpu = &rm->model.gpu[nr];
	} else if (row->id == ABI_R_NV20_SUBDEVICE_0) {
		/* There is no SLI, so a device has one GPU. */
		if (abi_get(row, ABI_F_subDeviceId, 0, p, len) != 0)
			return NV_ERR_INVALID_CLASS;
		if (has_sibling(obj))
			return NV_ERR_INSUFFICIENT_RESOURCES;
	} else if (row->id == ABI_R_NV01_MEMORY_LOCAL_USER) {
		return soft_vidmem_take(rm, obj, params);
	}
	return NV_OK;
}

/* Makes the object that RM_ALLOC asks for, below its parent. An RM status. */
static uint32_t alloc_object(struct soft_rm *rm, struct soft_client *client,
			     struct drv_call *call, const struct abi_row *row,
			     struct drv_mem *params)
{
	struct soft_object *parent, *obj;
	uint32_t handle = ARG_GET(call, hObjectNew), status;

	if (row->priv)
		return NV_ERR_INSUFFICIENT_PERMISSIONS;
	if (!class_known(row))
		return NV_ERR_NOT_SUPPORTED;
	if (handle == client->root.handle)
		return NV_ERR_INVALID_OBJECT_PARENT;
	parent = soft_object_find(client, ARG_GET(call, hObjectParent));
	if (!parent)
		return NV_ERR_OBJECT_NOT_FOUND;
	if (!row->multi && has_child_of(parent, row->ic))
		return NV_ERR_STATE_IN_USE;
	if (!abi_on(row, soft_object_ic(parent)))
		return NV_ERR_INVALID_OBJECT_PARENT;
	status = soft_object_new(rm, parent, row, handle, &obj);
	if (status != NV_OK)
		return status;
	status = construct(rm, obj, params);
	if (status != NV_OK) {
		soft_object_free(rm, obj);
		return status;
	}
	ARG_PUT(call, hObjectNew, obj->handle);
	return NV_OK;
}

/* Makes an RM client. Any root class becomes NV01_ROOT_CLIENT (escape.c). hRoot
 * is the handle that user space wants, or 0 for any (serverAllocClient). */
static uint32_t alloc_client(struct soft_rm *rm, struct soft_file *file,
			     struct drv_call *call,
			     const struct drv_mem *params)
{
	const struct abi_row *row = abi_row(rm->base.abi,
					    ABI_R_NV01_ROOT_CLIENT);
	struct soft_client *client;
	uint32_t handle, status;

	if (!row)
		return NV_ERR_INVALID_CLASS;
	ARG_PUT(call, hClass, row->nr);
	status = soft_client_new(rm, file, row, ARG_GET(call, hRoot), &client);
	if (status != NV_OK)
		return status;
	handle = client->root.handle;
	ARG_PUT(call, hObjectNew, handle);
	if (params && params->len >= sizeof(handle))
		*(uint32_t *)params->ptr = handle;
	return NV_OK;
}

void soft_rm_alloc(struct soft_rm *rm, struct soft_file *file,
		   struct drv_call *call)
{
	uint32_t class = ARG_GET(call, hClass), status;
	const struct abi_row *row = abi_class(rm->base.abi, class);
	struct drv_mem *params =
		soft_buffer(call, -1, call->row, ABI_F_pAllocParms, NULL);
	struct soft_client *client;

	/* RM fetches the parameters first (serverAllocApiCopyIn). */
	if (!row) {
		status = NV_ERR_INVALID_CLASS;
	} else if (row->sizes[0] && !row->params_optional && !params) {
		status = NV_ERR_INVALID_ARGUMENT;
	} else if (params && params->len != row->sizes[0]) {
		status = NV_ERR_INVALID_PARAM_STRUCT;
	} else if (row->ic == ABI_IC_RmClientResource) {
		status = alloc_client(rm, file, call, params);
	} else {
		status = soft_client_find(rm, file, ARG_GET(call, hRoot),
					  &client);
		if (status == NV_OK)
			status = alloc_object(rm, client, call, row, params);
	}
	ARG_PUT(call, status, status);
}

void soft_rm_free(struct soft_rm *rm, struct soft_file *file,
		  struct drv_call *call)
{
	struct soft_client *client;
	struct soft_object *obj;
	uint32_t status;

	status = soft_client_find(rm, file, ARG_GET(call, hRoot), &client);
	if (status == NV_OK) {
		obj = soft_object_find(client, ARG_GET(call, hObjectOld));
		/* An object that is not there may be freed: so rs_server.c
		 * with RS_COMPATABILITY_MODE. */
		if (obj == &client->root)
			soft_client_free(rm, client);
		else if (obj)
			soft_object_free(rm, obj);
	}
	ARG_PUT(call, status, status);
}

void soft_rm_dup(struct soft_rm *rm, struct soft_file *file,
		 struct drv_call *call)
{
	struct soft_client *dst, *src;
	uint32_t status;

	status = soft_client_find(rm, file, ARG_GET(call, hClient), &dst);
	if (status == NV_OK)
		status = soft_client_any(rm, ARG_GET(call, hClientSrc), &src);
	if (status == NV_OK) {
		/* serverCopyResource lets the source be any file's. Of our
		 * classes RM can copy only memory, and ours is not shared. */
		if (!soft_object_find(src, ARG_GET(call, hObjectSrc)))
			status = NV_ERR_OBJECT_NOT_FOUND;
		else
			status = NV_ERR_INVALID_ARGUMENT;
	}
	ARG_PUT(call, status, status);
}

void soft_rm_share(struct soft_rm *rm, struct soft_file *file,
		   struct drv_call *call)
{
	struct soft_client *client;
	uint32_t status;

	/* A share policy says which clients may copy an object. No object here
	 * can be copied, so nothing is to be kept. */
	status = soft_client_find(rm, file, ARG_GET(call, hClient), &client);
	if (status == NV_OK &&
	    !soft_object_find(client, ARG_GET(call, hObject)))
		status = NV_ERR_OBJECT_NOT_FOUND;
	ARG_PUT(call, status, status);
}
