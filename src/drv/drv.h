/* SPDX-License-Identifier: MIT */
/*
 * The driver behind the broker: real or soft, behind one table of operations.
 *
 * A call arrives fully resolved. The broker has looked up its row, checked its
 * size, fetched every buffer the row names and translated every fd; a driver
 * never sees a guest address, nor follows one. It writes its reply into the
 * same buffers. The address fields hold a placeholder, or 0 for NULL: the real
 * driver overwrites them with the ptr of the matching drv_mem, the soft driver
 * follows none of them, and the broker puts the guest's own values back before
 * it answers.
 *
 * Every operation may be called from several threads at once, but a file is
 * closed only when no call on it is out.
 */
#ifndef ISO_DRV_H
#define ISO_DRV_H

#include <stdint.h>

#include "abi/abi.h"

struct drv;
struct drv_file;

enum drv_kind {
	DRV_CTL,
	DRV_GPU,
	DRV_UVM,
	DRV_UVM_TOOLS,
	DRV_KIND_COUNT,
};

/* Who opens, inside the worker: told by the shim, so good only for keeping
 * one guest's processes apart, never for rights. */
struct drv_cred {
	uint32_t tgid;
	uint32_t uid;
};

/*
 * Bytes behind one address field. parent -1: the field is in the argument;
 * otherwise in mem[parent], which comes earlier in the array. A field whose
 * address is NULL, or whose buffer has no bytes, has no drv_mem.
 */
struct drv_mem {
	int parent;
	uint32_t off; /* of the address field within its parent */
	uint32_t len;
	uint8_t dir; /* enum abi_dir */
	void *ptr; /* 16-byte aligned, owned by the caller */
};

/* An fd field; file is NULL where the guest gave -1. */
struct drv_fd {
	int parent;
	uint32_t off;
	struct drv_file *file;
};

struct drv_call {
	const struct abi_row *row; /* ABI_ESCAPE or ABI_UVM */
	void *arg; /* 16-byte aligned */
	uint32_t len;
	uint32_t n_mem, n_fd;
	struct drv_mem *mem;
	struct drv_fd *fd;
};

struct drv_map {
	uint64_t off;
	uint64_t len;
	uint32_t prot; /* PROT_READ, PROT_WRITE */
};

/* What the worker shows of a GPU in /proc/driver/nvidia and as a node. */
struct drv_gpu {
	uint32_t minor;
	uint32_t domain;
	uint8_t bus, slot, function;
	uint8_t revision;
	uint16_t vendor_id, device_id;
	uint32_t class_code; /* 24 bits, as in PCI configuration space */
	char name[64];
	char uuid[48]; /* "GPU-8-4-4-4-12" */
};

struct drv_ops {
	/*
	 * 0 and *ret_file, -ENODEV if there is no such device, -ENOMEM,
	 * -EMFILE. flags are the guest's O_*: O_NONBLOCK on a GPU opens
	 * without waiting for the device.
	 */
	int (*open)(struct drv *drv, enum drv_kind kind, uint32_t minor,
		    uint32_t flags, const struct drv_cred *cred,
		    struct drv_file **ret_file);

	/*
	 * 0, or the -errno that the guest's ioctl() fails with. RM's own
	 * status is in the argument, as the driver wrote it.
	 */
	int (*ioctl)(struct drv_file *file, struct drv_call *call);

	/* 0, or -errno; -EOPNOTSUPP where nothing can be mapped. */
	int (*mmap)(struct drv_file *file, const struct drv_map *map);

	/* An fd that is readable when the file has events, owned by the
	 * file; -1 if this file never has any. */
	int (*poll_fd)(struct drv_file *file);

	/* Frees the file and with it every client made through it. */
	void (*close)(struct drv_file *file);

	/* GPU i as the worker shall see it: 0, or -ENODEV past the last. */
	int (*gpu)(struct drv *drv, unsigned int i, struct drv_gpu *ret);

	void (*destroy)(struct drv *drv);
};

/*
 * A driver instance and each file start with these; the rest is the
 * implementation's.
 */
struct drv {
	const struct drv_ops *ops;
	const struct abi *abi;
	char version[32]; /* that user space must have, "550.163.01" */
};

struct drv_file {
	struct drv *drv;
	enum drv_kind kind;
	uint32_t minor;
};

/* The GPU model of the soft driver, from the SOFT_GPU_* keys. */
struct drv_soft_config {
	unsigned int count; /* 0 to 32 GPUs, alike but for uuid and bus */
	const char *name; /* the base name; at most 63 characters */
	uint8_t uuid[16]; /* of the first; GPU i adds i to the last byte */
	uint64_t mem_bytes;
	uint32_t domain; /* bus id of the first; GPU i adds i to the bus */
	uint8_t bus, slot, function;
	uint32_t util_percent;
	uint32_t temp_celsius;
	uint32_t power_mw;
	uint32_t max_clients; /* 0: no limit of the driver's own */
	uint32_t max_objects;
	uint64_t max_mem_bytes; /* video memory, of all GPUs; 0: none */
};

/*
 * A Resource Manager in software for user space of version. abi may be the
 * table of a near version (abi_find_nearest). 0 and *ret_drv, which the
 * caller frees with ops->destroy; -EINVAL for a config it cannot show,
 * -ENOMEM. Opens no file and starts no thread.
 */
int drv_soft_new(const struct abi *abi, const char *version,
		 const struct drv_soft_config *config, struct drv **ret_drv);

#endif
