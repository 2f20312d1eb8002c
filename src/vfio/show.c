/* SPDX-License-Identifier: MIT */
/* show.c - prints what VFIO says about a device */
#include <assert.h>
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "vfio/vfio.h"

#define MAX_OUTPUT (1024u * 1024u)

struct flag {
	uint32_t bit;
	const char *name;
};

static const char *const region_name[] = {
	[VFIO_PCI_BAR0_REGION_INDEX] = "bar0",
	[VFIO_PCI_BAR1_REGION_INDEX] = "bar1",
	[VFIO_PCI_BAR2_REGION_INDEX] = "bar2",
	[VFIO_PCI_BAR3_REGION_INDEX] = "bar3",
	[VFIO_PCI_BAR4_REGION_INDEX] = "bar4",
	[VFIO_PCI_BAR5_REGION_INDEX] = "bar5",
	[VFIO_PCI_ROM_REGION_INDEX] = "rom",
	[VFIO_PCI_CONFIG_REGION_INDEX] = "config",
	[VFIO_PCI_VGA_REGION_INDEX] = "vga",
};
static_assert(ARRAY_SIZE(region_name) == VFIO_PCI_NUM_REGIONS,
	      "every region of vfio-pci has a name");

static const char *const irq_name[] = {
	[VFIO_PCI_INTX_IRQ_INDEX] = "intx",
	[VFIO_PCI_MSI_IRQ_INDEX] = "msi",
	[VFIO_PCI_MSIX_IRQ_INDEX] = "msix",
	[VFIO_PCI_ERR_IRQ_INDEX] = "error",
	[VFIO_PCI_REQ_IRQ_INDEX] = "request",
};
static_assert(ARRAY_SIZE(irq_name) == VFIO_PCI_NUM_IRQS,
	      "every interrupt index of vfio-pci has a name");

static const struct flag region_flags[] = {
	{ VFIO_REGION_INFO_FLAG_READ, "read" },
	{ VFIO_REGION_INFO_FLAG_WRITE, "write" },
	{ VFIO_REGION_INFO_FLAG_MMAP, "mmap" },
	{ 0, NULL },
};

static const struct flag irq_flags[] = {
	{ VFIO_IRQ_INFO_EVENTFD, "eventfd" },
	{ VFIO_IRQ_INFO_MASKABLE, "maskable" },
	{ VFIO_IRQ_INFO_AUTOMASKED, "automasked" },
	{ VFIO_IRQ_INFO_NORESIZE, "noresize" },
	{ 0, NULL },
};

static void put_flags(struct json *j, const struct flag *flag, uint32_t flags)
{
	json_array(j, "flags");
	for (; flag->name; flag++)
		if (flags & flag->bit)
			json_str(j, NULL, flag->name);
	json_end(j);
}

int vfio_group_main(const char *bdf)
{
	struct vfio_func member[VFIO_MAX_MEMBERS];
	struct vfio_dev d;
	uint32_t flags;
	struct json j;
	struct wr w;
	size_t n;
	bool viable;
	int r = vfio_open_group(&d, bdf, &flags);

	vfio_close(&d);
	if (r != ISO_EX_OK)
		return r;
	r = vfio_members(d.func.group, member, &n);
	if (r < 0)
		return vfio_fail(bdf, "members of its group", r);
	viable = flags & VFIO_GROUP_FLAGS_VIABLE;
	wr_init(&w, MAX_OUTPUT);
	j = json_init(&w);
	json_object(&j, NULL);
	json_str(&j, "bdf", bdf);
	json_u64(&j, "group", (uint64_t)d.func.group);
	json_bool(&j, "viable", viable);
	json_array(&j, "members");
	for (size_t i = 0; i < n; i++) {
		json_object(&j, NULL);
		json_str(&j, "bdf", member[i].bdf);
		json_str(&j, "driver",
			 member[i].driver[0] ? member[i].driver : NULL);
		json_end(&j);
	}
	json_end(&j);
	json_end(&j);
	r = vfio_print(&w);
	return r == ISO_EX_OK && !viable ? ISO_EX_NO : r;
}

/* Adds the identity in configuration space. 0 or -errno. */
static int put_header(struct json *j, const struct vfio_dev *d)
{
	struct parse_header h;
	int r = vfio_header(d, &h);

	if (r < 0)
		return r;
	json_strf(j, "vendor", "%04x", h.vendor);
	json_strf(j, "device", "%04x", h.device);
	json_strf(j, "subvendor", "%04x", h.subvendor);
	json_strf(j, "subdevice", "%04x", h.subdevice);
	json_strf(j, "class", "%06x", h.class_code);
	json_strf(j, "revision", "%02x", h.revision);
	json_bool(j, "alive", h.alive);
	return 0;
}

/* The functions that a hot reset, of the bus or slot, would reset; null if
 * there is no such reset. */
static int put_hot_reset(struct json *j, const struct vfio_dev *d)
{
	struct parse_affected affected[PARSE_MAX_AFFECTED];
	uint32_t n;
	int r = vfio_affected(d, affected, &n);

	if (r == -ENODEV || r == -EPERM) {
		json_null(j, "hot_reset");
		return 0;
	}
	if (r < 0)
		return r;
	json_array(j, "hot_reset");
	for (uint32_t i = 0; i < n; i++) {
		const struct parse_affected *a = &affected[i];

		json_object(j, NULL);
		json_strf(j, "bdf", "%04x:%02x:%02x.%u", a->domain, a->bus,
			  a->dev, a->func);
		json_u64(j, "group", a->group);
		json_end(j);
	}
	json_end(j);
	return 0;
}

/* Adds the limits of the IOMMU. 0 or -errno. */
static int put_iommu(struct json *j, const struct vfio_dev *d)
{
	struct parse_iommu iommu;
	int r = vfio_iommu(d, &iommu);

	if (r < 0)
		return r;
	json_object(j, "iommu");
	json_array(j, "page_sizes");
	for (unsigned bit = 0; bit < 64; bit++)
		if (iommu.page_sizes >> bit & 1)
			json_u64(j, NULL, UINT64_C(1) << bit);
	json_end(j);
	json_array(j, "iova_ranges");
	for (uint32_t i = 0; i < iommu.n_ranges; i++) {
		json_object(j, NULL);
		json_strf(j, "start", "0x%llx",
			  (unsigned long long)iommu.ranges[i].start);
		json_strf(j, "end", "0x%llx",
			  (unsigned long long)iommu.ranges[i].end);
		json_end(j);
	}
	json_end(j);
	if (iommu.avail_known)
		json_u64(j, "mappings_left", iommu.dma_avail);
	else
		json_null(j, "mappings_left");
	json_end(j);
	return 0;
}

static int device_info(const struct vfio_dev *d,
		       struct vfio_device_info *ret_info)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (ioctl(d->device, VFIO_DEVICE_GET_INFO, &info) < 0)
		return -errno;
	*ret_info = info;
	return 0;
}

/* The object of `info`. 0 or -errno. */
static int show_info(struct json *j, const struct vfio_dev *d)
{
	struct vfio_device_info info = { 0 };
	int r = device_info(d, &info);

	if (r < 0)
		return r;
	json_object(j, NULL);
	json_str(j, "bdf", d->func.bdf);
	json_u64(j, "group", (uint64_t)d->func.group);
	json_str(j, "driver", d->func.driver);
	r = put_header(j, d);
	if (r < 0)
		return r;
	json_u64(j, "regions", info.num_regions);
	json_u64(j, "irqs", info.num_irqs);
	json_bool(j, "reset", info.flags & VFIO_DEVICE_FLAGS_RESET);
	r = put_hot_reset(j, d);
	if (r == 0)
		r = put_iommu(j, d);
	json_end(j);
	return r;
}

/* Adds an object for one region. */
static void put_region(struct json *j, const struct vfio_dev *d,
		       uint32_t index, const struct parse_region *region)
{
	json_object(j, NULL);
	json_str(j, "bdf", d->func.bdf);
	json_u64(j, "index", index);
	if (index < ARRAY_SIZE(region_name))
		json_str(j, "name", region_name[index]);
	else
		json_strf(j, "name", "device%u",
			  index - (uint32_t)ARRAY_SIZE(region_name));
	json_u64(j, "size", region->size);
	put_flags(j, region_flags, region->flags);
	json_bool(j, "msix_mappable", region->msix_mappable);
	if (region->sparse) {
		json_array(j, "mmap_areas");
		for (uint32_t i = 0; i < region->n_areas; i++) {
			json_object(j, NULL);
			json_u64(j, "offset", region->areas[i].offset);
			json_u64(j, "size", region->areas[i].size);
			json_end(j);
		}
		json_end(j);
	} else {
		json_null(j, "mmap_areas");
	}
	if (region->typed) {
		json_strf(j, "type", "%x", region->type);
		json_strf(j, "subtype", "%x", region->subtype);
	}
	json_end(j);
}

/* An object for each region that has bytes. 0 or -errno. */
static int show_regions(struct json *j, const struct vfio_dev *d)
{
	struct vfio_device_info info = { 0 };
	int r = device_info(d, &info);

	for (uint32_t i = 0; r == 0 && i < info.num_regions; i++) {
		struct parse_region region;

		r = vfio_region(d, i, &region);
		/* Only a VGA device has a region at the index of VGA. */
		if (r == -EINVAL) {
			r = 0;
			continue;
		}
		if (r == 0 && region.size > 0)
			put_region(j, d, i, &region);
	}
	return r;
}

/* An object for each kind of interrupt. 0 or -errno. */
static int show_irqs(struct json *j, const struct vfio_dev *d)
{
	struct vfio_device_info info = { 0 };
	int r = device_info(d, &info);

	for (uint32_t i = 0; r == 0 && i < info.num_irqs; i++) {
		struct vfio_irq_info irq = { .argsz = sizeof(irq), .index = i };

		/* Only PCI Express has interrupts at the index of errors. */
		if (ioctl(d->device, VFIO_DEVICE_GET_IRQ_INFO, &irq) < 0) {
			if (errno != EINVAL)
				return -errno;
			irq.count = irq.flags = 0;
		}
		json_object(j, NULL);
		json_str(j, "bdf", d->func.bdf);
		json_u64(j, "index", i);
		json_str(j, "name",
			 i < ARRAY_SIZE(irq_name) ? irq_name[i] : NULL);
		json_u64(j, "count", irq.count);
		put_flags(j, irq_flags, irq.flags);
		json_end(j);
	}
	return r;
}

/* Opens the device, lets fill() describe it, and prints the description. */
static int show(const char *bdf, const char *what,
		int (*fill)(struct json *j, const struct vfio_dev *d))
{
	struct vfio_dev d;
	struct json j;
	struct wr w;
	int r = vfio_open(&d, bdf);

	if (r == ISO_EX_OK) {
		wr_init(&w, MAX_OUTPUT);
		j = json_init(&w);
		r = fill(&j, &d);
		if (r < 0) {
			wr_free(&w);
			r = vfio_fail(bdf, what, r);
		} else {
			r = vfio_print(&w);
		}
	}
	vfio_close(&d);
	return r;
}

int vfio_info_main(const char *bdf)
{
	return show(bdf, "device information", show_info);
}

int vfio_regions_main(const char *bdf)
{
	return show(bdf, "regions", show_regions);
}

int vfio_irqs_main(const char *bdf)
{
	return show(bdf, "interrupts", show_irqs);
}
