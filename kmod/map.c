// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * map.c - asks the broker for a mapping
 *
 * A mapping of the driver's would be a part of the window: memory that this VM
 * shares with the GPU VM. The broker is asked for it. If the broker grants it,
 * the mapping is given back and mmap() fails all the same, for this shim has no
 * window in which to show it.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>

#include "shim.h"

/* MAP for a vma; NULL without memory. */
static struct shim_frame *map_frame(struct shim_file *sf,
				    const struct vm_area_struct *vma)
{
	struct shim_frame *frame;
	struct iso_map *map;

	frame = shim_frame_new(ISO_MAP, 0, sf->id, sizeof(*map), GFP_KERNEL);
	if (!frame)
		return NULL;
	map = shim_frame_body(frame);
	*map = (struct iso_map){
		.off = cpu_to_le64((u64)vma->vm_pgoff << PAGE_SHIFT),
		.len = cpu_to_le64(vma->vm_end - vma->vm_start),
		.prot = cpu_to_le32((vma->vm_flags & VM_READ ? PROT_READ : 0) |
				    (vma->vm_flags & VM_WRITE ? PROT_WRITE : 0)),
	};
	return frame;
}

/* Gives a granted mapping back. */
static void map_undo(struct shim_file *sf, const struct iso_mapped *mapped)
{
	struct shim_frame *frame;
	struct iso_unmap *unmap;

	frame = shim_frame_new(ISO_UNMAP, 0, sf->id, sizeof(*unmap),
			       GFP_KERNEL | __GFP_NOFAIL);
	unmap = shim_frame_body(frame);
	unmap->win_off = mapped->win_off;
	unmap->len = mapped->len;
	shim_link_send(sf->link, frame);
	shim_frame_put(frame);
}

int shim_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct shim_file *sf = file->private_data;
	const struct iso_mapped *mapped;
	struct shim_frame *frame;
	struct shim_req *req;
	int err;

	req = shim_req_new(sf->link, ISO_MAP, sizeof(*mapped));
	if (IS_ERR(req))
		return PTR_ERR(req);
	frame = map_frame(sf, vma);
	err = frame ? shim_req_call(req, frame) : -ENOMEM;
	shim_frame_put(frame);
	if (!err) {
		u32 code;

		mapped = req->reply;
		code = le32_to_cpu(mapped->err);
		if (!code)
			map_undo(sf, mapped);
		err = code && code < SHIM_ERRNO_END ? -(int)code : -EOPNOTSUPP;
	}
	shim_req_free(req);
	return err;
}
