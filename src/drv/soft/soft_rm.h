/* SPDX-License-Identifier: MIT */
/*
 * soft_rm.h - the parts of the soft driver, for one another
 *
 *   soft_host.c       the monitor's half: the model from the configuration
 *   soft_drv.c        the operations of drv.h
 *   soft_model.c      the GPUs that it pretends to drive
 *   soft_object.c     RM clients and their trees of objects
 *   soft_params.c     the buffers of a call
 *   soft_escape.c     the calls on /dev/nvidiactl and /dev/nvidiaN
 *   soft_alloc.c      RM_ALLOC, RM_FREE, RM_DUP_OBJECT, RM_SHARE
 *   soft_vidmem.c     how much video memory is taken
 *   soft_control.c    RM_CONTROL: RM's checks, then one of the soft_ctl_*.c
 *   soft_uvm.c        the calls on /dev/nvidia-uvm
 *
 * One lock, held for a whole call, guards everything. The rules and statuses
 * are those of NVIDIA's open kernel modules 550.163.01; a comment beside each
 * names the file it comes from. No RM client is privileged, whatever its uid.
 */
#ifndef ISO_DRV_SOFT_RM_H
#define ISO_DRV_SOFT_RM_H

#include <pthread.h>
#include <stdbool.h>

#include "base/base.h"
#include "drv/soft/soft.h"

#define SOFT_MAX_GPUS 32u

/* NVIDIA's vendor id, a device id that none of their boards has, a stepping
 * that exists, and the class of a GPU without outputs ("3D controller"). */
#define SOFT_PCI_VENDOR 0x10deu
#define SOFT_PCI_DEVICE 0xffffu
#define SOFT_CHIP_REVISION 0xa1u
#define SOFT_PCI_CLASS 0x030200u

struct soft_gpu {
	uint32_t id; /* RM's gpuId */
	uint32_t minor; /* also the device instance */
	uint32_t domain;
	uint8_t bus, slot, function;
	uint8_t uuid[16];
	char uuid_text[48]; /* "GPU-8-4-4-4-12" */
	bool attached;
	uint64_t mem_used; /* of its video memory */
};

struct soft_model {
	unsigned int count;
	char name[64];
	uint64_t mem_bytes;
	uint32_t util_percent;
	uint32_t temp_celsius;
	uint32_t power_mw;
	struct soft_gpu gpu[SOFT_MAX_GPUS];
};

struct soft_file;
struct soft_client;

struct soft_object {
	uint32_t handle;
	const struct abi_row *row; /* its class */
	struct soft_client *client;
	struct soft_gpu *gpu; /* NULL above a device */
	uint64_t mem_bytes; /* of its video memory that this takes */
	struct soft_object *parent, *child, *sibling;
};

struct soft_client {
	struct soft_object root; /* handle and class of the client itself */
	struct soft_file *owner; /* the nvidiactl file that made it */
	struct soft_object **objects; /* owned; by handle; without root */
	uint32_t n_objects, cap_objects;
	uint32_t next_handle;
	struct soft_client *next;
};

struct soft_file {
	struct drv_file base;
	struct soft_file *ctl; /* REGISTER_FD: holds a reference */
	unsigned int refs;
	bool uvm_ready; /* UVM_INITIALIZE was done */
	bool uvm_mm; /* and UVM_MM_INITIALIZE */
};

struct soft_rm {
	struct drv base;
	pthread_mutex_t lock;
	struct soft_model model;
	struct soft_client *clients;
	uint32_t n_clients, n_objects;
	uint32_t max_clients, max_objects; /* 0: no limit */
	uint32_t next_client;
	uint64_t mem_used, max_mem; /* video memory, of all GPUs */
};

/* A control that is being answered. params may be NULL, and then len is 0. */
struct soft_ctl {
	struct soft_rm *rm;
	struct drv_call *call;
	const struct abi_row *row;
	struct soft_object *obj;
	void *params;
	uint32_t len;
	int mem; /* index of params in call->mem, to find nested pointers */
};

/* ---- soft_model.c ---- */

/* 0, or -EINVAL: too many GPUs, a name that does not fit, a bad bus id. */
int soft_model_init(struct soft_model *m, const struct soft_config *c);
struct soft_gpu *soft_gpu_by_id(struct soft_model *m, uint32_t id);

/* ---- soft_vidmem.c ---- */

/* Counts what a new object of video memory takes, and fills its parameters in.
 * An RM status; NV_ERR_NO_MEMORY if the GPU or the worker has no more. */
uint32_t soft_vidmem_take(struct soft_rm *rm, struct soft_object *obj,
		       struct drv_mem *params);
/* Gives back what the object takes, if it takes any. */
void soft_vidmem_give(struct soft_rm *rm, struct soft_object *obj);

/* ---- soft_object.c: return RM statuses ---- */

/* Finds the RM client, whichever file made it. */
uint32_t soft_client_any(struct soft_rm *rm, uint32_t handle,
			 struct soft_client **ret);
/* Finds the RM client, which must have been made through file, or through the
 * control file with which file is registered. */
uint32_t soft_client_find(struct soft_rm *rm, const struct soft_file *file,
			  uint32_t handle, struct soft_client **ret);
uint32_t soft_client_new(struct soft_rm *rm, struct soft_file *file,
			 const struct abi_row *row, uint32_t handle,
			 struct soft_client **ret);
void soft_client_free(struct soft_rm *rm, struct soft_client *client);
/* Frees all RM clients that file made. */
void soft_clients_drop(struct soft_rm *rm, const struct soft_file *file);

/* The object of that handle, or NULL. */
struct soft_object *soft_object_find(struct soft_client *client,
				     uint32_t handle);
/* Makes an object below parent, with its GPU. Handle 0: any that is free. */
uint32_t soft_object_new(struct soft_rm *rm, struct soft_object *parent,
			 const struct abi_row *row, uint32_t handle,
			 struct soft_object **ret_obj);
/* Frees the object and all below it. It must not be the root of an RM
 * client. */
void soft_object_free(struct soft_rm *rm, struct soft_object *obj);
uint16_t soft_object_ic(const struct soft_object *obj);

/* ---- the calls: 0, or -errno of the ioctl ---- */

int soft_escape(struct soft_rm *rm, struct soft_file *file,
		struct drv_call *call);
int soft_uvm(struct soft_rm *rm, struct soft_file *file, struct drv_call *call);

/* These write their status into the argument. */
void soft_rm_alloc(struct soft_rm *rm, struct soft_file *file,
		   struct drv_call *call);
void soft_rm_free(struct soft_rm *rm, struct soft_file *file,
		  struct drv_call *call);
void soft_rm_dup(struct soft_rm *rm, struct soft_file *file,
		 struct drv_call *call);
void soft_rm_share(struct soft_rm *rm, struct soft_file *file,
		   struct drv_call *call);
void soft_rm_control(struct soft_rm *rm, struct soft_file *file,
		     struct drv_call *call);

/* Controls by the class they are on: an RM status. */
uint32_t soft_ctl_client(struct soft_ctl *c);
uint32_t soft_ctl_device(struct soft_ctl *c);
uint32_t soft_ctl_subdevice(struct soft_ctl *c);
uint32_t soft_ctl_gss(struct soft_ctl *c);
uint32_t soft_ctl_display(struct soft_ctl *c);

/* ---- soft_params.c ---- */

/* The buffer behind the pointer field id of the argument (parent -1) or of
 * mem[parent], and its index in *ret_index, which may be NULL. NULL if there is
 * no such buffer. */
struct drv_mem *soft_buffer(const struct drv_call *call, int parent,
			    const struct abi_row *row, enum abi_f id,
			    int *ret_index);

#define ARG_GET(call, f) \
	((uint32_t)abi_get((call)->row, ABI_F_##f, 0, (call)->arg, (call)->len))
#define ARG_PUT(call, f, v) \
	abi_put((call)->row, ABI_F_##f, 0, (call)->arg, (call)->len, (v))
#define CTL_GET(c, f) CTL_GET_AT(c, f, 0)
#define CTL_PUT(c, f, v) CTL_PUT_AT(c, f, 0, v)
#define CTL_GET_AT(c, f, i) \
	((uint32_t)abi_get((c)->row, ABI_F_##f, (i), (c)->params, (c)->len))
#define CTL_PUT_AT(c, f, i, v) \
	abi_put((c)->row, ABI_F_##f, (i), (c)->params, (c)->len, (v))

/* Writes s into the field and zeroes the rest; cuts s so that a zero is
 * left. */
void soft_put_text(struct soft_ctl *c, enum abi_f id, const char *s);

#endif /* ISO_DRV_SOFT_RM_H */
