/* SPDX-License-Identifier: MIT */
/*
 * guest_mem.h - the guest's memory, as the VMM shares it
 *
 * The guest can write all of it at any time. So each value is read from it
 * once, and only the copy is checked and used.
 */
#ifndef VSOCK_DEVICE_GUEST_MEM_H
#define VSOCK_DEVICE_GUEST_MEM_H

#include "base/base.h"

#define GUEST_MEM_MAX_REGIONS 32

struct mem_region {
	uint64_t guest_addr;	/* guest physical */
	uint64_t user_addr;	/* in the VMM's address space: rings */
	uint64_t size_bytes;
	uint64_t mmap_offset;	/* where it starts in its file */
	uint8_t *host;		/* mapped here; NULL: known but not mapped */
};

struct guest_mem {
	struct mem_region region[GUEST_MEM_MAX_REGIONS];
	size_t n;
};

/*
 * Maps a region of fd; the fd stays the caller's. A file that shrinks would
 * kill this process with SIGBUS, so only a memfd that is sealed against that is
 * mapped. A region of any other file is remembered without a mapping, and no
 * buffer may lie in it; then 1 is returned, for the caller to log. Otherwise 0,
 * -EINVAL (empty, wraps, unaligned, beyond the file), -ENOSPC (too many
 * regions) or the -errno of mmap.
 */
int guest_mem_add(struct guest_mem *m, const struct mem_region *r, int fd);
/* Unmaps the region with these addresses and size. 0 or -ENOENT. */
int guest_mem_remove(struct guest_mem *m, const struct mem_region *r);
void guest_mem_clear(struct guest_mem *m);

/* len bytes at a guest physical address, within one region; NULL if not. */
void *guest_mem_at(const struct guest_mem *m, uint64_t addr, uint64_t len);
/* The same for an address of the VMM. */
void *guest_mem_at_user(const struct guest_mem *m, uint64_t addr, uint64_t len);

#endif /* VSOCK_DEVICE_GUEST_MEM_H */
