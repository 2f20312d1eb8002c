/* SPDX-License-Identifier: MIT */
/*
 * fuzz_drv_soft.c - makes a hostile worker's calls on the soft driver
 *
 * The input picks rows, files and handles, and fills the buffers, which have
 * the sizes that the broker would give them.
 */
/* links: src/drv/soft */
#include <string.h>

#include "base/base.h"
#include "drv/soft/soft.h"

#define N_FILES 4
#define MAX_MEM 16

struct input {
	const uint8_t *p;
	size_t n;
};

struct run {
	struct input in;
	struct drv *drv;
	struct drv_file *files[N_FILES];
	uint32_t client; /* the last one made */
};

static uint8_t byte(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

static void fill(struct input *in, void *buf, size_t len)
{
	size_t n = MIN(MIN(len, in->n), 64);

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->p, n);
	in->p += n;
	in->n -= n;
}

static void gather(struct run *r, struct drv_call *call, int parent,
		   const struct abi_row *row, void *buf, uint32_t len)
{
	for (unsigned int i = 0; i < row->n_ptrs && call->n_mem < MAX_MEM;
	     i++) {
		struct drv_mem *m = &call->mem[call->n_mem];
		uint32_t bytes;

		if (abi_ptr_len(r->drv->abi, row, i, buf, len, &bytes) < 0 ||
		    bytes == 0)
			continue;
		*m = (struct drv_mem){ .parent = parent,
				       .off = row->ptrs[i].off,
				       .len = bytes,
				       .dir = row->ptrs[i].dir,
				       .ptr = malloc(bytes) };
		if (!m->ptr)
			abort();
		fill(&r->in, m->ptr, bytes);
		call->n_mem++;
	}
}

static void one_call(struct run *r, struct drv_file *file,
		     const struct abi_row *row)
{
	const struct abi *abi = r->drv->abi;
	struct drv_mem mem[MAX_MEM];
	struct drv_fd fd = { .parent = -1,
			     .file = r->files[byte(&r->in) % N_FILES] };
	uint32_t len = row->step ? row->step * (1 + byte(&r->in) % 64) :
				   row->sizes[0];
	struct drv_call call = { .row = row, .len = len, .mem = mem,
				 .fd = &fd, .n_fd = row->n_fds };
	const struct abi_row *ctl;

	call.arg = malloc(len ? len : 1);
	if (!call.arg)
		abort();
	fill(&r->in, call.arg, len);
	if (byte(&r->in) & 1) { /* mostly a client that exists */
		abi_put(row, ABI_F_hRoot, 0, call.arg, len, r->client);
		abi_put(row, ABI_F_hClient, 0, call.arg, len, r->client);
	}
	gather(r, &call, -1, row, call.arg, len);
	ctl = abi_control(abi, (uint32_t)abi_get(row, ABI_F_cmd, 0, call.arg,
						 len));
	if (row->id == ABI_R_NV_ESC_RM_CONTROL && ctl && call.n_mem &&
	    abi_size_ok(ctl, mem[0].len))
		gather(r, &call, 0, ctl, mem[0].ptr, mem[0].len);
	r->drv->ops->ioctl(file, &call);
	if (row->id == ABI_R_NV_ESC_RM_ALLOC && file->kind == DRV_CTL &&
	    abi_get(row, ABI_F_status, 0, call.arg, len) == NV_OK)
		r->client = (uint32_t)abi_get(row, ABI_F_hRoot, 0, call.arg,
					      len);
	for (uint32_t i = 0; i < call.n_mem; i++)
		free(mem[i].ptr);
	free(call.arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct soft_config config = {
		.count = 2, .name = "Fuzz", .mem_bytes = 1 << 30,
		.max_clients = 16, .max_objects = 64, .max_mem_bytes = 3 << 29,
	};
	static const struct drv_cred cred;
	struct run r = { .in = { data, size } };

	if (soft_new(abi_at(byte(&r.in) % 3), "1.2.3", &config, &r.drv))
		return 0;
	for (unsigned int i = 0; i < N_FILES; i++)
		if (r.drv->ops->open(r.drv, i % DRV_KIND_COUNT, 0, 0, &cred,
				     &r.files[i]))
			abort();
	while (r.in.n) {
		unsigned int f = byte(&r.in) % N_FILES;
		const struct abi *abi = r.drv->abi;
		enum abi_kind k = r.files[f]->kind >= DRV_UVM ? ABI_UVM :
								ABI_ESCAPE;

		one_call(&r, r.files[f],
			 &abi->rows[k][byte(&r.in) % abi->n_rows[k]]);
	}
	for (unsigned int i = 0; i < N_FILES; i++)
		r.drv->ops->close(r.files[i]);
	r.drv->ops->destroy(r.drv);
	return 0;
}
