/* SPDX-License-Identifier: MIT */
/*
 * rm.h - a client of NVIDIA's Resource Manager, as small as it can be
 *
 * It makes its calls on /dev/nvidiactl and /dev/nvidiaN, by the ABI table of
 * the driver's version: no number or offset stands here.
 */
#ifndef ISO_RM_RM_H
#define ISO_RM_RM_H

#include "abi/abi.h"
#include "base/base.h"
#include "rm/arg.h"

struct rm {
	const struct abi *abi;
	char version[32];	/* of the driver */
	int ctl;		/* /dev/nvidiactl */
	uint32_t client;	/* RM handle of the root client */
	uint32_t next_handle;
	char error[256];	/* what failed, after a negative return */
};

/* Makes escape nr on a device file. 0 or -errno. */
int rm_ioctl(int fd, uint32_t nr, void *arg, uint32_t size);

/* Makes the call of an argument. RM's status, or -errno. */
int64_t rm_call(int fd, struct rm_arg *a);

/* A control's parameters: bytes and the row that says what they mean. */
struct rm_params {
	const struct abi_row *row;
	void *buf;		/* owned; zeroed at first */
	uint32_t size;
};

/*
 * Opens the control device, checks the version that /proc/driver/nvidia/version
 * names, and makes a root client. 0 or -errno (-ENOTSUP: no ABI table of the
 * driver's branch).
 */
int rm_open(struct rm *rm);
void rm_close(struct rm *rm);

/* Zeroed parameters for a control. 0, -ENOTSUP (not in the table), -ENOMEM. */
int rm_params_init(struct rm *rm, enum abi_r cmd, struct rm_params *ret_params);
void rm_params_free(struct rm_params *params);

/* RM_CONTROL. 0, -errno of the ioctl, or -EREMOTEIO: RM's own status, which
 * rm->error names. */
int rm_control(struct rm *rm, uint32_t object, struct rm_params *params);

/* Allocates a class below parent with one parameter, an integer (field). As
 * rm_control(). */
int rm_alloc(struct rm *rm, uint32_t parent, enum abi_r class_id,
	     enum abi_f field, uint64_t value, uint32_t *ret_handle);
/* Frees the object and what is below it. */
int rm_free(struct rm *rm, uint32_t parent, uint32_t object);

/* Opens /dev/nvidia<minor> and ties it to the clients of the control file. The
 * fd or -errno. */
int rm_open_gpu(struct rm *rm, uint32_t minor);

/* Looks up minor and PCI address of a GPU id in CARD_INFO. 0 or -errno. */
struct rm_card {
	uint32_t minor, domain;
	uint8_t bus, slot, function;
};
int rm_card(struct rm *rm, uint32_t gpu_id, struct rm_card *ret_card);

#endif /* ISO_RM_RM_H */
