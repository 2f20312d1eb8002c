/* SPDX-License-Identifier: MIT */
/*
 * vfio.h - one function of a PCI device, through VFIO's group interface
 *
 * A function that returns an exit status (enum iso_exit) has said on stderr
 * what failed.
 */
#ifndef ISO_VFIO_VFIO_H
#define ISO_VFIO_VFIO_H

#include "base/base.h"
#include "base/json.h"
#include "vfio/parse.h"

#define VFIO_BDF_SIZE 13	/* dddd:bb:dd.f and a NUL */
#define VFIO_MAX_MEMBERS 256u

/* ---- sysfs.c: of /sys and /proc, or SYSFS_ROOT and PROCFS_ROOT ---------- */

struct vfio_func {
	char bdf[VFIO_BDF_SIZE];
	int group;		/* -1: none */
	char driver[64];	/* empty: none */
};

/* Reads group and driver; only links, for reading a file could wait for a stuck
 * driver. 0, -ENODEV (no such device), or another -errno. */
int vfio_func_read(const char *bdf, struct vfio_func *ret_func);
/* Whether the function's driver is vfio-pci or a variant of it. */
bool vfio_func_bound(const struct vfio_func *func);
/* The functions of a group, by address. 0, -E2BIG, or another -errno. */
int vfio_members(int group, struct vfio_func ret_member[VFIO_MAX_MEMBERS],
		 size_t *ret_n);
/* The processes that have the group's node open, as in "pid 7 (qemu), pid 9
 * (x)", or a text that says that none was found. Always NUL-terminated. */
void vfio_users(int group, char *ret_text, size_t n);
/* The value of a line of a file of /proc, as parse_kib(). */
int vfio_proc_kib(const char *file, const char *name, uint64_t *ret_bytes);

/* ---- open.c ------------------------------------------------------------- */

struct vfio_dev {
	struct vfio_func func;
	int container, group, device;	/* owned; -1 when closed */
};

/* Opens the node of the device's group and reads its state. */
int vfio_open_group(struct vfio_dev *d, const char *bdf, uint32_t *ret_flags);
/* Opens the device for use: group, container with a type 1 IOMMU, device. */
int vfio_open(struct vfio_dev *d, const char *bdf);
void vfio_close(struct vfio_dev *d);

/* ---- ask.c -------------------------------------------------------------- */

/* Each 0 or -errno. */
int vfio_region(const struct vfio_dev *d, uint32_t index,
		struct parse_region *ret_region);
int vfio_header(const struct vfio_dev *d, struct parse_header *ret_header);
int vfio_iommu(const struct vfio_dev *d, struct parse_iommu *ret_iommu);
/* The functions that a hot reset would reset. -ENODEV: there is no such reset.
 * -EPERM: one of them has no group. */
int vfio_affected(const struct vfio_dev *d,
		  struct parse_affected ret[PARSE_MAX_AFFECTED],
		  uint32_t *ret_n);

/* ---- say.c -------------------------------------------------------------- */

/* Says "BDF: what: error" and gives the exit status that fits -errno r. */
int vfio_fail(const char *bdf, const char *what, int r);
/* Writes the answer to stdout; an exit status. Frees w. */
int vfio_print(struct wr *w);

/* ---- commands: each gives the exit status ------------------------------- */

int vfio_group_main(const char *bdf);
int vfio_info_main(const char *bdf);
int vfio_regions_main(const char *bdf);
int vfio_irqs_main(const char *bdf);
int vfio_reset_main(const char *bdf);
/* size and chunk in bytes, multiples of 4096, chunk at most size. */
int vfio_map_time_main(const char *bdf, uint64_t size, uint64_t chunk);
int vfio_hold_main(const char *bdf);

#endif /* ISO_VFIO_VFIO_H */
