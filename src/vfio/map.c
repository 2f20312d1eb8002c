/* SPDX-License-Identifier: MIT */
/* map.c - measures how long it takes to map memory for a device */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/log.h"
#include "vfio/vfio.h"

/* Memory and IOVA begin at multiples of this, so that the IOMMU can use large
 * pages. */
#define ALIGN (UINT64_C(2) << 20)
/* Memory that the rest of the machine keeps. */
#define KEEP_FREE (UINT64_C(256) << 20)

struct map {
	const char *bdf;
	uint64_t size, chunk;		/* bytes */
	uint8_t *mem;			/* within the whole mapping below */
	void *whole;
	uint64_t iova;
	uint64_t huge;			/* bytes in huge pages */
	uint64_t populate_ns, map_ns, unmap_ns;
};

/* Makes memory like a VM's: anonymous, in huge pages as far as there are, each
 * page touched. 0 or -errno. */
static int make_memory(struct map *m)
{
	uint64_t before = 0, after = 0, since;

	(void)vfio_proc_kib("self/smaps_rollup", "AnonHugePages", &before);
	m->whole = mmap(NULL, m->size + ALIGN, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->whole == MAP_FAILED)
		return -errno;
	m->mem = (uint8_t *)m->whole + (-(uintptr_t)m->whole & (ALIGN - 1));
	/* Small pages can be measured as well. */
	if (madvise(m->mem, m->size, MADV_HUGEPAGE) < 0)
		log_debug("MADV_HUGEPAGE: %s", strerror(errno));
	since = now_ns();
	for (uint64_t off = 0; off < m->size; off += 4096)
		((volatile uint8_t *)m->mem)[off] = 1;
	m->populate_ns = now_ns() - since;
	(void)vfio_proc_kib("self/smaps_rollup", "AnonHugePages", &after);
	m->huge = after > before ? after - before : 0;
	return 0;
}

/* In bytes; UINT64_MAX: none. */
static uint64_t memlock_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
	    limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

/* Says why a mapping failed and what to do. An exit status. */
static int fail_map(const struct map *m, uint64_t off, int r)
{
	if (r == -ENOMEM && memlock_limit() < m->size) {
		log_error("%s: RLIMIT_MEMLOCK is %llu bytes: `ulimit -l %llu`"
			  " (KiB), or LimitMEMLOCK= of the service", m->bdf,
			  (unsigned long long)memlock_limit(),
			  (unsigned long long)(m->size >> 10));
		return ISO_EX_NOPERM;
	}
	if (r == -ENOSPC) {
		log_error("%s: no further mapping after %llu: use larger chunks,"
			  " or vfio_iommu_type1 with a higher dma_entry_limit",
			  m->bdf, (unsigned long long)(off / m->chunk));
		return ISO_EX_UNAVAILABLE;
	}
	return vfio_fail(m->bdf, "VFIO_IOMMU_MAP_DMA", r);
}

/* Maps the memory chunk by chunk, and times it. An exit status. */
static int map_all(const struct vfio_dev *d, struct map *m)
{
	uint64_t since = now_ns();

	for (uint64_t off = 0; off < m->size; off += m->chunk) {
		struct vfio_iommu_type1_dma_map map = {
			.argsz = sizeof(map),
			.flags = VFIO_DMA_MAP_FLAG_READ |
				 VFIO_DMA_MAP_FLAG_WRITE,
			.vaddr = (uintptr_t)m->mem + off,
			.iova = m->iova + off,
			.size = MIN(m->chunk, m->size - off),
		};

		if (ioctl(d->container, VFIO_IOMMU_MAP_DMA, &map) < 0)
			return fail_map(m, off, -errno);
	}
	m->map_ns = now_ns() - since;
	return ISO_EX_OK;
}

/* The same for unmapping. */
static int unmap_all(const struct vfio_dev *d, struct map *m)
{
	uint64_t since = now_ns();

	for (uint64_t off = 0; off < m->size; off += m->chunk) {
		struct vfio_iommu_type1_dma_unmap unmap = {
			.argsz = sizeof(unmap),
			.iova = m->iova + off,
			.size = MIN(m->chunk, m->size - off),
		};

		if (ioctl(d->container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0)
			return vfio_fail(m->bdf, "VFIO_IOMMU_UNMAP_DMA",
					 -errno);
	}
	m->unmap_ns = now_ns() - since;
	return ISO_EX_OK;
}

/* Makes memory, maps and unmaps it. An exit status. */
static int measure(const struct vfio_dev *d, struct map *m)
{
	struct parse_iommu iommu;
	int r = vfio_iommu(d, &iommu);

	if (r < 0)
		return vfio_fail(m->bdf, "VFIO_IOMMU_GET_INFO", r);
	if (parse_iova_for(&iommu, m->size, ALIGN, &m->iova) < 0) {
		log_error("%s: the IOMMU has no %llu bytes of addresses in a"
			  " row", m->bdf, (unsigned long long)m->size);
		return ISO_EX_UNAVAILABLE;
	}
	r = make_memory(m);
	if (r < 0)
		return vfio_fail(m->bdf, "memory", r);
	r = map_all(d, m);
	return r == ISO_EX_OK ? unmap_all(d, m) : r;
}

/* Makes sure that there is enough memory, or the kernel would kill other
 * processes for it. An exit status. */
static int check_memory(const struct map *m)
{
	uint64_t available;
	int r = vfio_proc_kib("meminfo", "MemAvailable", &available);

	if (r < 0)
		return vfio_fail(m->bdf, "/proc/meminfo", r);
	if (available > KEEP_FREE && m->size <= available - KEEP_FREE)
		return ISO_EX_OK;
	log_error("%s: %llu bytes of memory are available; %llu and 256 MiB to"
		  " spare are needed", m->bdf, (unsigned long long)available,
		  (unsigned long long)m->size);
	return ISO_EX_UNAVAILABLE;
}

/* Prints the times. An exit status. */
static int print(const struct map *m)
{
	uint64_t limit = memlock_limit();
	struct json j;
	struct wr w;

	wr_init(&w, 4096);
	j = json_init(&w);
	json_object(&j, NULL);
	json_str(&j, "bdf", m->bdf);
	json_u64(&j, "size", m->size);
	json_u64(&j, "huge_size", m->huge);
	json_u64(&j, "chunks", (m->size + m->chunk - 1) / m->chunk);
	json_strf(&j, "iova", "0x%llx", (unsigned long long)m->iova);
	json_ms(&j, "populate_ms", m->populate_ns);
	json_ms(&j, "map_ms", m->map_ns);
	json_ms(&j, "unmap_ms", m->unmap_ns);
	if (limit == UINT64_MAX)
		json_null(&j, "memlock_limit");
	else
		json_u64(&j, "memlock_limit", limit);
	json_end(&j);
	if (limit < m->size)
		log_info("without CAP_IPC_LOCK a VM of this size needs"
			 " RLIMIT_MEMLOCK above its %llu bytes",
			 (unsigned long long)m->size);
	return vfio_print(&w);
}

int vfio_map_time_main(const char *bdf, uint64_t size, uint64_t chunk)
{
	struct map m = { .bdf = bdf, .size = size, .chunk = chunk,
			 .whole = MAP_FAILED };
	struct vfio_dev d;
	int r = vfio_open(&d, bdf);

	if (r == ISO_EX_OK)
		r = check_memory(&m);
	if (r == ISO_EX_OK)
		r = measure(&d, &m);
	vfio_close(&d);
	if (m.whole != MAP_FAILED)
		munmap(m.whole, m.size + ALIGN);
	return r == ISO_EX_OK ? print(&m) : r;
}
