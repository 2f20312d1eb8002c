/* SPDX-License-Identifier: MIT */
/* guest_mem.c - maps the guest's memory, as the VMM shares it */
#include "guest_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* #syscalls vsock-device: mmap munmap fcntl fstat newfstatat */

static bool cannot_shrink(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

int guest_mem_add(struct guest_mem *m, const struct mem_region *r, int fd)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct mem_region *slot = &m->region[m->n];
	bool sealed = cannot_shrink(fd);
	struct stat st;
	void *p = NULL;

	if (m->n == ARRAY_SIZE(m->region))
		return -ENOSPC;
	if (r->size_bytes == 0 || r->mmap_offset % page ||
	    !range_ok(r->guest_addr, r->size_bytes, UINT64_MAX) ||
	    !range_ok(r->user_addr, r->size_bytes, UINT64_MAX))
		return -EINVAL;
	if (sealed) {
		if (fstat(fd, &st) < 0)
			return -errno;
		if (st.st_size < 0 || !range_ok(r->mmap_offset, r->size_bytes,
						(uint64_t)st.st_size))
			return -EINVAL;
		p = mmap(NULL, r->size_bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE, fd, (off_t)r->mmap_offset);
		if (p == MAP_FAILED)
			return -errno;
	}
	*slot = *r;
	slot->host = p;
	m->n++;
	return !sealed;
}

static void unmap(struct mem_region *r)
{
	if (r->host)
		munmap(r->host, r->size_bytes);
	r->host = NULL;
}

int guest_mem_remove(struct guest_mem *m, const struct mem_region *r)
{
	for (size_t i = 0; i < m->n; i++) {
		struct mem_region *have = &m->region[i];

		if (have->guest_addr != r->guest_addr ||
		    have->user_addr != r->user_addr ||
		    have->size_bytes != r->size_bytes)
			continue;
		unmap(have);
		*have = m->region[--m->n];
		return 0;
	}
	return -ENOENT;
}

void guest_mem_clear(struct guest_mem *m)
{
	while (m->n > 0)
		unmap(&m->region[--m->n]);
}

void *guest_mem_at(const struct guest_mem *m, uint64_t addr, uint64_t len)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];

		if (r->host && addr >= r->guest_addr &&
		    range_ok(addr - r->guest_addr, len, r->size_bytes))
			return r->host + (addr - r->guest_addr);
	}
	return NULL;
}

void *guest_mem_at_user(const struct guest_mem *m, uint64_t addr, uint64_t len)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];

		if (r->host && addr >= r->user_addr &&
		    range_ok(addr - r->user_addr, len, r->size_bytes))
			return r->host + (addr - r->user_addr);
	}
	return NULL;
}
