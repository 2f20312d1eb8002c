/* SPDX-License-Identifier: MIT */
/* links: src/vfio */
/* test_vfio.c - tests the parsers of isospin-vfio */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/wr.h"
#include "tap.h"
#include "vfio/parse.h"

/* Offsets of the first capability, behind the fixed structures. */
#define REGION_END ((uint32_t)sizeof(struct vfio_region_info))
#define IOMMU_END ((uint32_t)sizeof(struct vfio_iommu_type1_info))

static void put_cap(struct wr *w, uint16_t id, uint32_t next)
{
	wr_u16(w, id);
	wr_u16(w, 1);
	wr_u32(w, next);
}

static void put_region(struct wr *w, uint32_t flags, uint32_t off)
{
	wr_reset(w);
	wr_u32(w, 0);
	wr_u32(w, flags);
	wr_u32(w, VFIO_PCI_BAR1_REGION_INDEX);
	wr_u32(w, off);
	wr_u64(w, 0x10000);
	wr_u64(w, UINT64_C(1) << 40);
}

static void put_areas(struct wr *w, uint32_t n, uint64_t off, uint64_t size)
{
	wr_u32(w, n);
	wr_u32(w, 0);
	wr_u64(w, off);
	wr_u64(w, size);
}

static int region_of(const struct wr *w, struct parse_region *ret)
{
	return parse_region(w->p, w->len, ret);
}

static void test_region(struct wr *w)
{
	const uint32_t caps = VFIO_REGION_INFO_FLAG_CAPS;
	struct parse_region r;

	put_region(w, VFIO_REGION_INFO_FLAG_READ, 0);
	ok(region_of(w, &r) == 0 && r.size == 0x10000 &&
	   r.offset == UINT64_C(1) << 40 && !r.sparse && !r.typed &&
	   !r.msix_mappable && r.flags == VFIO_REGION_INFO_FLAG_READ,
	   "a region without capabilities is read");
	put_region(w, VFIO_REGION_INFO_FLAG_READ, 9999);
	ok(region_of(w, &r) == 0, "its offset means nothing without the flag");
	put_region(w, caps, 0);
	ok(region_of(w, &r) == 0, "an offset of 0 is an empty chain");

	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_SPARSE_MMAP, REGION_END + 32);
	put_areas(w, 1, 0x1000, 0xf000);
	put_cap(w, 4711, REGION_END + 40);
	put_cap(w, VFIO_REGION_INFO_CAP_TYPE, REGION_END + 56);
	wr_u32(w, 0x800010deu);
	wr_u32(w, 1);
	put_cap(w, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0);
	ok(region_of(w, &r) == 0 && r.sparse && r.n_areas == 1 &&
	   r.areas[0].offset == 0x1000 && r.areas[0].size == 0xf000 &&
	   r.typed && r.type == 0x800010deu && r.subtype == 1 &&
	   r.msix_mappable, "each capability is read, an unknown one passed by");
}

static void test_bad_region(struct wr *w)
{
	const uint32_t caps = VFIO_REGION_INFO_FLAG_CAPS;
	struct parse_region r;

	put_region(w, 0, 0);
	ok(parse_region(w->p, w->len - 1, &r) == -EBADMSG,
	   "a region that is cut is refused");
	put_region(w, caps, REGION_END);
	ok(region_of(w, &r) == -EBADMSG, "a chain outside is refused");
	put_region(w, caps, UINT32_MAX);
	ok(region_of(w, &r) == -EBADMSG, "a chain far outside is refused");
	put_region(w, caps, REGION_END);
	wr_u32(w, VFIO_REGION_INFO_CAP_TYPE);
	ok(region_of(w, &r) == -EBADMSG, "a capability's cut header is refused");
	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_TYPE, 0);
	wr_u32(w, 1);
	ok(region_of(w, &r) == -EBADMSG, "a capability's cut body is refused");
	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, REGION_END);
	ok(region_of(w, &r) == -EBADMSG, "a chain that turns back is refused");
	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
	put_areas(w, 2, 0, 0x1000);
	ok(region_of(w, &r) == -EBADMSG, "fewer areas than counted are refused");
	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
	put_areas(w, PARSE_MAX_AREAS + 1, 0, 0x1000);
	ok(region_of(w, &r) == -E2BIG, "more areas than there is room for, too");
	put_region(w, caps, REGION_END);
	put_cap(w, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
	put_areas(w, 1, 0xf000, 0x1001);
	ok(region_of(w, &r) == -EBADMSG,
	   "an area that passes the region's end is refused");
}

static void put_iommu(struct wr *w, uint32_t flags, uint32_t off)
{
	wr_reset(w);
	wr_u32(w, 0);
	wr_u32(w, flags);
	wr_u64(w, 0x40201000);
	wr_u32(w, off);
	wr_u32(w, 0);
}

static void put_range(struct wr *w, uint64_t start, uint64_t end)
{
	wr_u64(w, start);
	wr_u64(w, end);
}

static void test_iommu(struct wr *w)
{
	const uint32_t caps = VFIO_IOMMU_INFO_CAPS;
	struct parse_iommu m;

	put_iommu(w, VFIO_IOMMU_INFO_PGSIZES, 0);
	ok(parse_iommu(w->p, w->len, &m) == 0 && m.page_sizes == 0x40201000 &&
	   !m.avail_known && m.n_ranges == 0, "an IOMMU of page sizes is read");
	put_iommu(w, 0, 0);
	ok(parse_iommu(w->p, w->len, &m) == 0 && m.page_sizes == 0,
	   "page sizes that it does not vouch for are none");
	ok(parse_iommu(w->p, 19, &m) == -EBADMSG, "a cut answer is refused");

	put_iommu(w, caps, IOMMU_END);
	put_cap(w, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, IOMMU_END + 48);
	wr_u32(w, 2);
	wr_u32(w, 0);
	put_range(w, 0, 0xfedfffff);
	put_range(w, 0xfef00000, 0xffffffffffff);
	put_cap(w, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 0);
	wr_u32(w, 65535);
	ok(parse_iommu(w->p, w->len, &m) == 0 && m.n_ranges == 2 &&
	   m.ranges[0].end == 0xfedfffff && m.ranges[1].start == 0xfef00000 &&
	   m.avail_known && m.dma_avail == 65535,
	   "ranges and the mappings left are read");
	ok(parse_iommu(w->p, w->len - 4, &m) == -EBADMSG,
	   "a cut number of mappings is refused");

	put_iommu(w, caps, IOMMU_END);
	put_cap(w, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 0);
	wr_u32(w, PARSE_MAX_RANGES + 1);
	wr_u32(w, 0);
	ok(parse_iommu(w->p, w->len, &m) == -E2BIG, "too many ranges are refused");
	put_iommu(w, caps, IOMMU_END);
	put_cap(w, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 0);
	wr_u32(w, 1);
	wr_u32(w, 0);
	put_range(w, 2, 1);
	ok(parse_iommu(w->p, w->len, &m) == -EBADMSG,
	   "a range that ends before it begins is refused");
}

static void test_iova(void)
{
	const uint64_t mib = UINT64_C(1) << 20;
	struct parse_iommu m = {
		.n_ranges = 3,
		.ranges = { { 0x1000, 4 * mib - 1 },
			    { 5 * mib, 64 * mib - 1 },
			    { UINT64_MAX - mib, UINT64_MAX } },
	};
	uint64_t iova = 1;

	ok(parse_iova_for(&m, 2 * mib, 2 * mib, &iova) == 0 && iova == 2 * mib,
	   "the end of a range belongs to it");
	ok(parse_iova_for(&m, 2 * mib + 1, 2 * mib, &iova) == 0 &&
	   iova == 6 * mib, "what does not fit goes to the next range");
	iova = 1;
	ok(parse_iova_for(&m, 59 * mib, 2 * mib, &iova) == -ENOSPC && iova == 1,
	   "what fits nowhere is refused");
	m.ranges[0] = m.ranges[2];
	m.n_ranges = 1;
	ok(parse_iova_for(&m, 4096, 2 * mib, &iova) == -ENOSPC,
	   "alignment does not wrap");
	m.ranges[0] = (struct parse_range){ 0, UINT64_MAX };
	ok(parse_iova_for(&m, UINT64_MAX, 4096, &iova) == 0 && iova == 0,
	   "a range may be the whole address space");
}

static void put_hot(struct wr *w, uint32_t count)
{
	wr_reset(w);
	wr_u32(w, 0);
	wr_u32(w, 0);
	wr_u32(w, count);
}

static void test_hot_reset(struct wr *w)
{
	static struct parse_affected a[PARSE_MAX_AFFECTED];
	uint32_t n = 7;

	put_hot(w, 2);
	wr_u32(w, 14);
	wr_u16(w, 0x10);
	wr_u16(w, 0xfb02); /* bus 02, device 1f, function 3 */
	wr_u32(w, 15);
	wr_u16(w, 0);
	wr_u16(w, 0x0001);
	ok(parse_hot_reset(w->p, w->len, a, &n) == 0 && n == 2 &&
	   a[0].group == 14 && a[0].domain == 0x10 && a[0].bus == 2 &&
	   a[0].dev == 0x1f && a[0].func == 3 && a[1].group == 15 &&
	   a[1].bus == 1 && a[1].dev == 0 && a[1].func == 0,
	   "what a hot reset affects is read");
	n = 7;
	ok(parse_hot_reset(w->p, w->len - 1, a, &n) == -EBADMSG && n == 7,
	   "fewer devices than counted are refused");
	ok(parse_hot_reset(w->p, 11, a, &n) == -EBADMSG,
	   "a cut header is refused");
	put_hot(w, PARSE_MAX_AFFECTED + 1);
	wr_zero(w, (PARSE_MAX_AFFECTED + 1) * 8);
	ok(parse_hot_reset(w->p, w->len, a, &n) == -EBADMSG,
	   "more than a bus has is refused");
}

static void test_header(void)
{
	uint8_t c[64] = { 0xde, 0x10, 0x30, 0x23, 6, 0, 0x10, 0, 0xa1, 0, 2, 3,
			  [44] = 0xde, 0x10, 0x26, 0x16 };
	struct parse_header h;

	ok(parse_header(c, sizeof(c), &h) == 0 && h.vendor == 0x10de &&
	   h.device == 0x2330 && h.revision == 0xa1 &&
	   h.class_code == 0x030200 && h.subvendor == 0x10de &&
	   h.subdevice == 0x1626 && h.alive, "a device's header is read");
	ok(parse_header(c, 63, &h) == -EBADMSG, "a cut header is refused");
	memset(c, 0xff, sizeof(c));
	ok(parse_header(c, sizeof(c), &h) == 0 && !h.alive,
	   "a device that answers with ones is not alive");
}

static void test_kib(void)
{
	static const char text[] = "MemTotal:       16384 kB\n"
				   "MemAvailable:    8192 kB\n"
				   "Bad:   12 MB\nNone: kB\n"
				   "Huge: 18014398509481984 kB\n"
				   "Long: 0000000000000000000000001 kB\n";
	uint64_t v = 7;

	ok(parse_kib(text, "MemAvailable", &v) == 0 && v == 8u << 20,
	   "a line of /proc/meminfo is read");
	v = 7;
	ok(parse_kib(text, "Mem", &v) == -ENOENT && v == 7,
	   "part of a name is not the name");
	ok(parse_kib(text, "Bad", &v) == -EINVAL, "another unit is refused");
	ok(parse_kib(text, "None", &v) == -EINVAL, "no number is refused");
	ok(parse_kib(text, "Huge", &v) == -EINVAL,
	   "a number that does not fit in bytes is refused");
	ok(parse_kib(text, "Long", &v) == -EINVAL, "endless digits are refused");
}

int main(void)
{
	struct wr w;

	wr_init(&w, 65536);
	test_region(&w);
	test_bad_region(&w);
	test_iommu(&w);
	test_iova();
	test_hot_reset(&w);
	test_header();
	test_kib();
	wr_free(&w);
	return done_testing();
}
