/* SPDX-License-Identifier: MIT */
/*
 * drv.h - the interface of a driver, which executes the calls of workers
 *
 * A driver has two halves. One runs in the broker's monitor, which is
 * privileged: it learns which GPUs there are, packs that into a configuration,
 * and opens device nodes if the driver has any. The other runs in each child:
 * it unpacks the configuration and executes calls. Only the driver itself looks
 * into the bytes of its configuration.
 *
 * A call arrives fully resolved. The broker has looked up its row, checked its
 * size, fetched every buffer that the row names and translated every fd; a
 * driver never sees a worker's address. It writes its reply into the same
 * buffers. The address fields hold a placeholder, or 0 for NULL: the real
 * driver overwrites them with the ptr of the matching drv_mem, the soft driver
 * follows none of them, and the broker puts the worker's own values back before
 * it answers.
 *
 * Every operation of drv_ops may be called from several threads at once, but a
 * file is closed only when no call on it is running.
 */
#ifndef ISO_DRV_H
#define ISO_DRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/abi.h"

struct conf;
struct drv;
struct drv_file;
struct drv_type;

enum drv_kind {
	DRV_CTL,
	DRV_GPU,
	DRV_UVM,
	DRV_UVM_TOOLS,
	DRV_KIND_COUNT,
};

/* The process in the worker that opens a file. The shim says so, and it may
 * lie: good for keeping the processes of one worker apart, never for rights. */
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
	uint32_t off;	/* of the address field within its parent */
	uint32_t len;
	uint8_t dir;	/* enum abi_dir */
	void *ptr;	/* 16-byte aligned, owned by the caller */
};

/* An fd field; file is NULL where the worker gave -1. */
struct drv_fd {
	int parent;
	uint32_t off;
	struct drv_file *file;
};

struct drv_call {
	const struct abi_row *row;	/* ABI_ESCAPE or ABI_UVM */
	void *arg;			/* 16-byte aligned */
	uint32_t len;
	uint32_t n_mem, n_fd;
	struct drv_mem *mem;
	struct drv_fd *fd;
};

struct drv_map {
	uint64_t off;
	uint64_t len;
	uint32_t prot;	/* PROT_READ, PROT_WRITE */
};

/* How a worker shows a GPU in /proc/driver/nvidia and as a node. */
struct drv_gpu {
	uint32_t minor;
	uint32_t domain;
	uint8_t bus, slot, function;
	uint8_t revision;
	uint16_t vendor_id, device_id;
	uint32_t class_code;	/* 24 bits, as in PCI configuration space */
	char name[64];
	char uuid[48];		/* "GPU-8-4-4-4-12" */
};

/* ---- in the monitor ----------------------------------------------------- */

#define DRV_VERSION_MAX 32
#define DRV_CONFIG_MAX 8192

/* From the monitor's half to the half in every child. */
struct drv_config {
	char version[DRV_VERSION_MAX];	/* that user space must have,
					 * "550.163.01" */
	uint32_t len;
	uint8_t bytes[DRV_CONFIG_MAX] __attribute__((aligned(8)));
};

/* The monitor's half starts with this; the rest is the implementation's. */
struct drv_host {
	const struct drv_type *type;
	struct drv_config config;
};

/* ---- in a child --------------------------------------------------------- */

/* A child lends this to its driver. */
struct drv_env {
	/* Has the monitor open a node (host_open of drv_type), any thread: the
	 * fd, or -errno (-ENODEV: there is no monitor any more). */
	int (*open_node)(struct drv_env *env, enum drv_kind kind,
			 uint32_t minor, uint32_t flags);
};

struct drv_ops {
	/*
	 * 0 and *ret_file, -ENODEV if there is no such device, -ENOMEM,
	 * -EMFILE. flags are the worker's O_*: O_NONBLOCK on a GPU opens
	 * without waiting for the device.
	 */
	int (*open)(struct drv *drv, enum drv_kind kind, uint32_t minor,
		    uint32_t flags, const struct drv_cred *cred,
		    struct drv_file **ret_file);

	/*
	 * 0, or the -errno that the worker's ioctl() fails with. RM's own
	 * status is in the argument, as the driver wrote it.
	 */
	int (*ioctl)(struct drv_file *file, struct drv_call *call);

	/* 0, or -errno; -EOPNOTSUPP where nothing can be mapped. */
	int (*mmap)(struct drv_file *file, const struct drv_map *map);

	/* An fd that is readable when the file has events, owned by the
	 * file; -1 if this file never has any. */
	int (*poll_fd)(struct drv_file *file);

	/* Frees the file and with it every RM client made through it. */
	void (*close)(struct drv_file *file);

	/* GPU i as the worker shall see it: 0, or -ENODEV past the last. */
	int (*gpu)(struct drv *drv, unsigned int i, struct drv_gpu *ret);

	void (*destroy)(struct drv *drv);
};

/* The child's half and each of its files start with these; the rest is the
 * implementation's. */
struct drv {
	const struct drv_ops *ops;
	const struct abi *abi;
	char version[DRV_VERSION_MAX];	/* of drv_config */
};

struct drv_file {
	struct drv *drv;
	enum drv_kind kind;
	uint32_t minor;
};

/* ---- the driver as a whole ---------------------------------------------- */

struct drv_type {
	const char *name;		/* for --driver */
	bool knows_version;		/* of itself; the others are told */

	/* System calls that the filter of a child must allow for this driver,
	 * besides those of every child; NULL: none. */
	const int *const *syscalls;
	const size_t *n_syscalls;

	/*
	 * Makes the monitor's half, with its configuration. version: what
	 * --driver-version says, or NULL (only if knows_version). 0 and
	 * *ret_host, freed with host_free; or -errno, and the reason was
	 * logged.
	 */
	int (*host_new)(const struct conf *conf, const char *version,
			struct drv_host **ret_host);
	void (*host_free)(struct drv_host *host);

	/* Opens a node for a child, whose every number may be a lie. An fd, or
	 * -errno. NULL: the driver has no nodes. */
	int (*host_open)(const struct drv_host *host, uint32_t kind,
			 uint32_t minor, uint32_t flags);

	/* Makes the child's half, before the child gives up its privileges. env
	 * is borrowed. 0 and *ret_drv, freed with ops->destroy; or -errno. */
	int (*make)(const struct drv_config *config, struct drv_env *env,
		    struct drv **ret_drv);
};

/* The drivers of this build, NULL-terminated: registry.c. The broker's test
 * program has a table of its own. */
extern const struct drv_type *const drv_types[];

/* The driver of that name, or NULL. */
const struct drv_type *drv_type_find(const char *name);

#endif /* ISO_DRV_H */
