/* SPDX-License-Identifier: MIT */
/*
 * soft_object.c - keeps RM clients with their objects, by resserv's rules
 *
 * After rs_server.c and rs_client.c of NVIDIA's. An RM client has its objects
 * in an array in the order of their handles, to look them up, and as a tree, to
 * free a parent with all below it.
 */
#include <string.h>

#include "drv/soft/soft_rm.h"

/* RS_CLIENT_HANDLE_BASE and RS_UNIQUE_HANDLE_BASE of resserv. */
#define CLIENT_HANDLE_BASE 0xc1d00000u
#define CLIENT_HANDLE_MASK 0x000fffffu
#define OBJECT_HANDLE_BASE 0xcaf00000u

static struct soft_client *client_lookup(struct soft_rm *rm, uint32_t handle)
{
	struct soft_client *c = rm->clients;

	while (c && c->root.handle != handle)
		c = c->next;
	return c;
}

uint32_t soft_client_any(struct soft_rm *rm, uint32_t handle,
			 struct soft_client **ret)
{
	*ret = client_lookup(rm, handle);
	return *ret ? NV_OK : NV_ERR_INVALID_OBJECT_HANDLE;
}

uint32_t soft_client_find(struct soft_rm *rm, const struct soft_file *file,
			  uint32_t handle, struct soft_client **ret)
{
	const struct soft_file *via = file->ctl ? file->ctl : file;
	uint32_t status = soft_client_any(rm, handle, ret);

	if (status == NV_OK && (*ret)->owner != via)
		status = NV_ERR_INVALID_CLIENT;
	return status;
}

uint32_t soft_client_new(struct soft_rm *rm, struct soft_file *file,
			 const struct abi_row *row, uint32_t handle,
			 struct soft_client **ret)
{
	struct soft_client *c;

	if (rm->max_clients && rm->n_clients >= rm->max_clients)
		return NV_ERR_INSUFFICIENT_RESOURCES;
	if (handle == 0) {
		do {
			handle = CLIENT_HANDLE_BASE |
				 (rm->next_client++ & CLIENT_HANDLE_MASK);
		} while (client_lookup(rm, handle));
	} else if (client_lookup(rm, handle)) {
		return NV_ERR_INSERT_DUPLICATE_NAME;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NV_ERR_NO_MEMORY;
	c->root.handle = handle;
	c->root.row = row;
	c->root.client = c;
	c->owner = file;
	c->next_handle = OBJECT_HANDLE_BASE;
	c->next = rm->clients;
	rm->clients = c;
	rm->n_clients++;
	*ret = c;
	return NV_OK;
}

void soft_client_free(struct soft_rm *rm, struct soft_client *client)
{
	struct soft_client **p = &rm->clients;

	while (client->root.child)
		soft_object_free(rm, client->root.child);
	while (*p != client)
		p = &(*p)->next;
	*p = client->next;
	rm->n_clients--;
	free(client->objects);
	free(client);
}

void soft_clients_drop(struct soft_rm *rm, const struct soft_file *file)
{
	struct soft_client *c = rm->clients;

	while (c) {
		struct soft_client *next = c->next;

		if (c->owner == file)
			soft_client_free(rm, c);
		c = next;
	}
}

/* Finds where the handle is, or belongs, in client->objects. */
static uint32_t position(const struct soft_client *client, uint32_t handle)
{
	uint32_t lo = 0, hi = client->n_objects;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (client->objects[mid]->handle < handle)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct soft_object *soft_object_find(struct soft_client *client,
				     uint32_t handle)
{
	uint32_t i;

	if (handle == client->root.handle)
		return &client->root;
	i = position(client, handle);
	if (i < client->n_objects && client->objects[i]->handle == handle)
		return client->objects[i];
	return NULL;
}

static uint32_t pick_handle(struct soft_client *client)
{
	uint32_t handle;

	do {
		handle = client->next_handle++;
	} while (handle == 0 || soft_object_find(client, handle));
	return handle;
}

static int reserve(struct soft_client *client)
{
	uint32_t cap = client->cap_objects ? client->cap_objects * 2 : 16;
	struct soft_object **p;

	if (client->n_objects < client->cap_objects)
		return 0;
	p = realloc(client->objects, cap * sizeof(*p));
	if (!p)
		return -1;
	client->objects = p;
	client->cap_objects = cap;
	return 0;
}

uint32_t soft_object_new(struct soft_rm *rm, struct soft_object *parent,
			 const struct abi_row *row, uint32_t handle,
			 struct soft_object **ret_obj)
{
	struct soft_client *client = parent->client;
	struct soft_object *obj;
	uint32_t i;

	if (rm->max_objects && rm->n_objects >= rm->max_objects)
		return NV_ERR_INSUFFICIENT_RESOURCES;
	if (handle == 0)
		handle = pick_handle(client);
	else if (soft_object_find(client, handle))
		return handle == client->root.handle ?
			       NV_ERR_INVALID_OBJECT_HANDLE :
			       NV_ERR_INSERT_DUPLICATE_NAME;
	if (reserve(client) < 0)
		return NV_ERR_NO_MEMORY;
	obj = calloc(1, sizeof(*obj));
	if (!obj)
		return NV_ERR_NO_MEMORY;
	obj->handle = handle;
	obj->row = row;
	obj->client = client;
	obj->gpu = parent->gpu;
	obj->parent = parent;
	obj->sibling = parent->child;
	parent->child = obj;
	i = position(client, handle);
	memmove(&client->objects[i + 1], &client->objects[i],
		(client->n_objects - i) * sizeof(*client->objects));
	client->objects[i] = obj;
	client->n_objects++;
	rm->n_objects++;
	*ret_obj = obj;
	return NV_OK;
}

static void leaf_free(struct soft_rm *rm, struct soft_object *obj)
{
	struct soft_client *client = obj->client;
	struct soft_object **p = &obj->parent->child;
	uint32_t i = position(client, obj->handle);

	while (*p != obj)
		p = &(*p)->sibling;
	*p = obj->sibling;
	client->n_objects--;
	memmove(&client->objects[i], &client->objects[i + 1],
		(client->n_objects - i) * sizeof(*client->objects));
	rm->n_objects--;
	soft_vidmem_give(rm, obj);
	free(obj);
}

void soft_object_free(struct soft_rm *rm, struct soft_object *obj)
{
	struct soft_object *top = obj;

	/* Leaves first, and without recursion, for a worker decides how deep
	 * the tree is. */
	for (;;) {
		struct soft_object *parent = obj->parent;

		if (obj->child) {
			obj = obj->child;
			continue;
		}
		leaf_free(rm, obj);
		if (obj == top)
			return;
		obj = parent;
	}
}

uint16_t soft_object_ic(const struct soft_object *obj)
{
	return obj->row->ic;
}
