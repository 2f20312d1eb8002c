/* SPDX-License-Identifier: MIT */
/* parse.c - takes the kernel's answers apart */
#include "vfio/parse.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/num.h"

int parse_cap_next(const void *answer, size_t n, uint32_t *off,
		   struct parse_cap *ret_cap)
{
	struct parse_cap cap;
	uint32_t next;
	struct rd r;

	if (*off == 0)
		return 0;
	if (*off >= n)
		return -EBADMSG;
	r = rd_init((const uint8_t *)answer + *off, n - *off);
	cap.id = rd_u16(&r);
	cap.version = rd_u16(&r);
	next = rd_u32(&r);
	/* A chain that goes back would never end. */
	if (r.bad || (next != 0 && next <= *off))
		return -EBADMSG;
	cap.body = r;
	*ret_cap = cap;
	*off = next;
	return 1;
}

/* Reads the areas that may be mapped. 0, -EBADMSG or -E2BIG. */
static int take_areas(struct rd *r, struct parse_region *region)
{
	uint32_t n = rd_u32(r);

	(void)rd_u32(r);
	if (n > PARSE_MAX_AREAS)
		return -E2BIG;
	for (uint32_t i = 0; i < n; i++) {
		region->areas[i].offset = rd_u64(r);
		region->areas[i].size = rd_u64(r);
		if (!range_ok(region->areas[i].offset, region->areas[i].size,
			      region->size))
			return -EBADMSG;
	}
	region->sparse = true;
	region->n_areas = n;
	return r->bad ? -EBADMSG : 0;
}

/* Takes a capability of a region; unknown ones are skipped. 0 or -errno. */
static int take_region_cap(struct parse_cap *cap, struct parse_region *region)
{
	switch (cap->id) {
	case VFIO_REGION_INFO_CAP_SPARSE_MMAP:
		return take_areas(&cap->body, region);
	case VFIO_REGION_INFO_CAP_TYPE:
		region->typed = true;
		region->type = rd_u32(&cap->body);
		region->subtype = rd_u32(&cap->body);
		return cap->body.bad ? -EBADMSG : 0;
	case VFIO_REGION_INFO_CAP_MSIX_MAPPABLE:
		region->msix_mappable = true;
		return 0;
	default:
		return 0;
	}
}

int parse_region(const void *answer, size_t n, struct parse_region *ret_region)
{
	struct parse_region region = { 0 };
	struct rd r = rd_init(answer, n);
	struct parse_cap cap;
	uint32_t off;
	int more;

	(void)rd_u32(&r); /* argsz */
	region.flags = rd_u32(&r);
	(void)rd_u32(&r); /* index */
	off = rd_u32(&r);
	region.size = rd_u64(&r);
	region.offset = rd_u64(&r);
	if (r.bad)
		return -EBADMSG;
	if (!(region.flags & VFIO_REGION_INFO_FLAG_CAPS))
		off = 0;
	while ((more = parse_cap_next(answer, n, &off, &cap)) > 0) {
		int err = take_region_cap(&cap, &region);

		if (err < 0)
			return err;
	}
	if (more == 0)
		*ret_region = region;
	return more;
}

/* Reads the ranges of addresses. 0, -EBADMSG or -E2BIG. */
static int take_ranges(struct rd *r, struct parse_iommu *iommu)
{
	uint32_t n = rd_u32(r);

	(void)rd_u32(r);
	if (n > PARSE_MAX_RANGES)
		return -E2BIG;
	for (uint32_t i = 0; i < n; i++) {
		iommu->ranges[i].start = rd_u64(r);
		iommu->ranges[i].end = rd_u64(r);
		if (iommu->ranges[i].end < iommu->ranges[i].start)
			return -EBADMSG;
	}
	iommu->n_ranges = n;
	return r->bad ? -EBADMSG : 0;
}

/* Takes a capability of an IOMMU; unknown ones are skipped. 0 or -errno. */
static int take_iommu_cap(struct parse_cap *cap, struct parse_iommu *iommu)
{
	switch (cap->id) {
	case VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE:
		return take_ranges(&cap->body, iommu);
	case VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL:
		iommu->dma_avail = rd_u32(&cap->body);
		iommu->avail_known = true;
		return cap->body.bad ? -EBADMSG : 0;
	default:
		return 0;
	}
}

int parse_iommu(const void *answer, size_t n, struct parse_iommu *ret_iommu)
{
	struct parse_iommu iommu = { 0 };
	struct rd r = rd_init(answer, n);
	struct parse_cap cap;
	uint32_t flags, off;
	int more;

	(void)rd_u32(&r); /* argsz */
	flags = rd_u32(&r);
	iommu.page_sizes = rd_u64(&r);
	off = rd_u32(&r);
	if (r.bad)
		return -EBADMSG;
	if (!(flags & VFIO_IOMMU_INFO_PGSIZES))
		iommu.page_sizes = 0;
	if (!(flags & VFIO_IOMMU_INFO_CAPS))
		off = 0;
	while ((more = parse_cap_next(answer, n, &off, &cap)) > 0) {
		int err = take_iommu_cap(&cap, &iommu);

		if (err < 0)
			return err;
	}
	if (more == 0)
		*ret_iommu = iommu;
	return more;
}

int parse_iova_for(const struct parse_iommu *iommu, uint64_t size,
		   uint64_t align, uint64_t *ret_iova)
{
	for (uint32_t i = 0; i < iommu->n_ranges; i++) {
		const struct parse_range *range = &iommu->ranges[i];
		uint64_t iova;

		if (range->start > UINT64_MAX - (align - 1))
			continue;
		iova = (range->start + align - 1) & ~(align - 1);
		if (iova > range->end || size - 1 > range->end - iova)
			continue;
		*ret_iova = iova;
		return 0;
	}
	return -ENOSPC;
}

int parse_hot_reset(const void *answer, size_t n,
		    struct parse_affected ret_affected[PARSE_MAX_AFFECTED],
		    uint32_t *ret_n)
{
	struct rd r = rd_init(answer, n);
	uint32_t count;

	(void)rd_u32(&r); /* argsz */
	(void)rd_u32(&r); /* flags */
	count = rd_u32(&r);
	if (r.bad || count > PARSE_MAX_AFFECTED ||
	    count > r.left / sizeof(struct vfio_pci_dependent_device))
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct parse_affected *a = &ret_affected[i];
		uint16_t bus_devfn;

		a->group = rd_u32(&r);
		a->domain = rd_u16(&r);
		bus_devfn = rd_u16(&r);
		a->bus = (uint8_t)bus_devfn;
		a->dev = (uint8_t)(bus_devfn >> 11);
		a->func = (uint8_t)(bus_devfn >> 8 & 7);
	}
	*ret_n = count;
	return 0;
}

int parse_header(const void *config, size_t n, struct parse_header *ret_header)
{
	struct parse_header h;
	struct rd r = rd_init(config, n);
	uint32_t class_revision;

	h.vendor = rd_u16(&r);
	h.device = rd_u16(&r);
	(void)rd_span(&r, 4); /* command, status */
	class_revision = rd_u32(&r);
	(void)rd_span(&r, 32); /* cache line to CIS pointer */
	h.subvendor = rd_u16(&r);
	h.subdevice = rd_u16(&r);
	(void)rd_span(&r, 16);
	if (r.bad)
		return -EBADMSG;
	h.revision = (uint8_t)class_revision;
	h.class_code = class_revision >> 8;
	h.alive = h.vendor != 0xffff;
	*ret_header = h;
	return 0;
}

int parse_kib(const char *text, const char *name, uint64_t *ret_bytes)
{
	size_t len = strlen(name);
	const char *line = text;

	while (line) {
		if (strncmp(line, name, len) == 0 && line[len] == ':') {
			const char *digits = line + len + 1;
			char number[24];
			uint64_t kib;
			size_t n;

			digits += strspn(digits, " ");
			n = strspn(digits, "0123456789");
			if (n >= sizeof(number) ||
			    strncmp(digits + n, " kB", 3) != 0)
				return -EINVAL;
			memcpy(number, digits, n);
			number[n] = 0;
			if (parse_u64(number, 0, UINT64_MAX >> 10, &kib) < 0)
				return -EINVAL;
			*ret_bytes = kib << 10;
			return 0;
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return -ENOENT;
}
