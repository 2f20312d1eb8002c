/* SPDX-License-Identifier: MIT */
/*
 * parse.h - the kernel's answers, taken apart
 *
 * An answer of <linux/vfio.h> is a structure, followed by a chain of
 * capabilities, each with the offset of the next. -EBADMSG: an offset or a
 * count points outside the answer, or the chain leads back.
 */
#ifndef ISO_VFIO_PARSE_H
#define ISO_VFIO_PARSE_H

#include "base/base.h"
#include "base/rd.h"

#define PARSE_MAX_AREAS 64u
#define PARSE_MAX_RANGES 64u
#define PARSE_MAX_AFFECTED 256u	/* functions of a bus */

struct parse_cap {
	uint16_t id, version;
	struct rd body;		/* to the end of the answer */
};

/* Gives the capability at *off and sets *off to the next. 1, 0 at the end of
 * the chain (*off was 0), or -EBADMSG. */
int parse_cap_next(const void *answer, size_t n, uint32_t *off,
		   struct parse_cap *ret_cap);

struct parse_area {
	uint64_t offset, size;	/* bytes */
};

struct parse_region {
	uint32_t flags;		/* VFIO_REGION_INFO_FLAG_* */
	uint64_t size;		/* bytes */
	uint64_t offset;	/* in the device's fd */
	bool sparse;		/* only the areas may be mapped */
	uint32_t n_areas;
	struct parse_area areas[PARSE_MAX_AREAS];
	bool msix_mappable;	/* the page of the MSI-X table, too */
	bool typed;		/* type and subtype hold */
	uint32_t type, subtype;
};

/* The answer to VFIO_DEVICE_GET_REGION_INFO. 0, -EBADMSG, -E2BIG (too many
 * areas). */
int parse_region(const void *answer, size_t n, struct parse_region *ret_region);

struct parse_range {
	uint64_t start, end;	/* both belong to it */
};

struct parse_iommu {
	uint64_t page_sizes;	/* a bit for each; 0: not said */
	bool avail_known;
	uint32_t dma_avail;	/* mappings that may still be made */
	uint32_t n_ranges;
	struct parse_range ranges[PARSE_MAX_RANGES];
};

/* The answer to VFIO_IOMMU_GET_INFO of a type 1 container. 0, -EBADMSG, -E2BIG
 * (too many ranges). */
int parse_iommu(const void *answer, size_t n, struct parse_iommu *ret_iommu);

/* Where `size` bytes fit: the lowest address in one of the ranges that is a
 * multiple of align (a power of two). 0 or -ENOSPC. */
int parse_iova_for(const struct parse_iommu *iommu, uint64_t size,
		   uint64_t align, uint64_t *ret_iova);

struct parse_affected {
	uint32_t group;
	uint16_t domain;
	uint8_t bus, dev, func;
};

/* The answer to VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: the functions that a hot
 * reset would reset. 0 or -EBADMSG. */
int parse_hot_reset(const void *answer, size_t n,
		    struct parse_affected ret_affected[PARSE_MAX_AFFECTED],
		    uint32_t *ret_n);

struct parse_header {
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
	uint32_t class_code;	/* 24 bits */
	bool alive;		/* false: reads gave nothing but ones */
};

/* The first 64 bytes of a function's configuration space. 0 or -EBADMSG. */
int parse_header(const void *config, size_t n, struct parse_header *ret_header);

/* The value, in bytes, of the line `name: N kB` in text like /proc/meminfo. 0,
 * -ENOENT or -EINVAL. */
int parse_kib(const char *text, const char *name, uint64_t *ret_bytes);

#endif /* ISO_VFIO_PARSE_H */
