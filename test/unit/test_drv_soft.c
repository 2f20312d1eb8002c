/* SPDX-License-Identifier: MIT */
/* test_drv_soft.c - makes calls on the soft driver and reads its model back */
/* links: src/drv/soft */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "abi_numbers.h"
#include "base/base.h"
#include "drv/soft/soft.h"
#include "rm/arg.h"
#include "tap.h"

static const struct abi *abi;
static struct drv *drv;

static const struct soft_config config = {
	.count = 2,
	.name = "Test GPU",
	.uuid = { 0xab, [15] = 0xff },
	.mem_bytes = 4096ull << 20,
	.domain = 1,
	.bus = 0x20,
	.slot = 3,
	.util_percent = 42,
	.temp_celsius = 61,
	.power_mw = 123000,
	.max_clients = 8,
	.max_objects = 40,
	.max_mem_bytes = 5120ull << 20,
};

static struct drv_file *open_file(enum drv_kind kind)
{
	static const struct drv_cred cred = { 1, 1 };
	struct drv_file *f = NULL;

	if (drv->ops->open(drv, kind, 0, 0, &cred, &f) < 0)
		return NULL;
	return f;
}

static int call_row(struct drv_file *f, const struct abi_row *row, void *arg,
		    uint32_t len, struct drv_mem *mem, struct drv_file *fd)
{
	struct drv_fd dfd = { .parent = -1, .file = fd };
	struct drv_call c = { .row = row, .arg = arg, .len = len, .mem = mem,
			      .n_mem = mem ? 1 : 0, .fd = &dfd,
			      .n_fd = row->n_fds };

	return drv->ops->ioctl(f, &c);
}

/* Makes the call with len bytes of parameters, or none, behind the pointer
 * field. An RM status. */
static uint32_t rm_call(struct drv_file *f, struct rm_arg *a,
			enum abi_f pointer, void *params, uint32_t len)
{
	struct drv_mem mem = { .parent = -1, .len = len, .dir = ABI_INOUT,
			       .ptr = params };

	if (params)
		mem.off = abi_field(a->row, pointer)->off;
	if (call_row(f, a->row, a->bytes, a->size, params ? &mem : NULL,
		     NULL) < 0)
		return UINT32_MAX;
	return rm_arg_status(a);
}

/* Calls RM_ALLOC, with *handle in and out. An RM status. */
static uint32_t rm_alloc(struct drv_file *f, uint32_t client, uint32_t parent,
			 uint32_t *handle, uint32_t class, void *params,
			 uint32_t len)
{
	struct rm_arg a;
	uint32_t status;

	rm_arg_alloc(&a, rm_escape(abi, ABI_R_NV_ESC_RM_ALLOC, RM_LONGEST),
		     client, parent, *handle, class, 0);
	status = rm_call(f, &a, ABI_F_pAllocParms, params, len);
	if (status != UINT32_MAX)
		*handle = rm_arg_object(&a);
	return status;
}

static uint32_t rm_free(struct drv_file *f, uint32_t client, uint32_t handle)
{
	struct rm_arg a;

	rm_arg_free(&a, rm_escape(abi, ABI_R_NV_ESC_RM_FREE, RM_LONGEST),
		    client, 0, handle);
	return rm_call(f, &a, 0, NULL, 0);
}

static uint32_t rm_dup(struct drv_file *f, uint32_t client, uint32_t src_client,
		       uint32_t src)
{
	const struct abi_row *row = abi_row(abi, ABI_R_NV_ESC_RM_DUP_OBJECT);
	uint8_t arg[28] = { 0 };

	abi_put(row, ABI_F_hClient, 0, arg, 28, client);
	abi_put(row, ABI_F_hParent, 0, arg, 28, client);
	abi_put(row, ABI_F_hClientSrc, 0, arg, 28, src_client);
	abi_put(row, ABI_F_hObjectSrc, 0, arg, 28, src);
	call_row(f, row, arg, 28, NULL, NULL);
	return (uint32_t)abi_get(row, ABI_F_status, 0, arg, 28);
}

static uint32_t rm_control(struct drv_file *f, uint32_t client, uint32_t obj,
			   uint32_t cmd, void *params, uint32_t len)
{
	struct rm_arg a;

	rm_arg_control(&a, rm_escape(abi, ABI_R_NV_ESC_RM_CONTROL, RM_LONGEST),
		       client, obj, cmd, params ? 1 : 0, len);
	return rm_call(f, &a, ABI_F_params, params, len);
}

static uint32_t new_client(struct drv_file *f)
{
	uint32_t h = 0;

	return rm_alloc(f, 0, 0, &h, NV01_ROOT, NULL, 0) == NV_OK ? h : 0;
}

/* Makes a device and its subdevice for GPU nr, with the handles given. */
static bool new_gpu(struct drv_file *f, uint32_t client, uint32_t dev,
		    uint32_t sub, uint32_t nr)
{
	uint32_t device[14] = { nr }, subdevice = 0;

	return rm_alloc(f, client, client, &dev, NV01_DEVICE_0, device,
			sizeof(device)) == NV_OK &&
	       rm_alloc(f, client, dev, &sub, NV20_SUBDEVICE_0, &subdevice,
			sizeof(subdevice)) == NV_OK;
}

static uint32_t mode(struct drv_file *f, uint32_t client, uint32_t obj)
{
	uint32_t params = 0;

	return rm_control(f, client, obj,
			  NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE, &params,
			  sizeof(params));
}

static void test_version(struct drv_file *ctl)
{
	const struct abi_row *row =
		abi_escape(abi, NV_ESC_CHECK_VERSION_STR, 72);
	char arg[72] = { 0 };

	strcpy(arg + 8, "550.163.01");
	ok(call_row(ctl, row, arg, 72, NULL, NULL) == 0,
	   "the version that user space has is accepted");
	strcpy(arg + 8, "550.163.02");
	ok(call_row(ctl, row, arg, 72, NULL, NULL) == -EINVAL &&
		   strcmp(arg + 8, "550.163.01") == 0,
	   "another one fails, and the right one comes back");
	strcpy(arg + 8, "550.99");
	abi_put(row, ABI_F_cmd, 0, arg, 72, NV_RM_API_VERSION_CMD_RELAXED);
	ok(call_row(ctl, row, arg, 72, NULL, NULL) == 0,
	   "a relaxed check wants the branch only");
	memset(arg, 'x', sizeof(arg));
	abi_put(row, ABI_F_cmd, 0, arg, 72, NV_RM_API_VERSION_CMD_STRICT);
	ok(call_row(ctl, row, arg, 72, NULL, NULL) == -EINVAL,
	   "a version without an end is refused");
}

static void test_clients(struct drv_file *ctl)
{
	struct drv_file *other = open_file(DRV_CTL), *gpu = open_file(DRV_GPU);
	const struct abi_row *reg = abi_escape(abi, NV_ESC_REGISTER_FD, 4);
	uint32_t a = new_client(ctl), b = new_client(other), dup = a, fd = 0;

	ok(a >> 20 == 0xc1d && b >> 20 == 0xc1d && a != b,
	   "client handles come as RM's");
	ok(rm_alloc(other, a, 0, &dup, NV01_ROOT_CLIENT, NULL, 0) ==
		   NV_ERR_INSERT_DUPLICATE_NAME,
	   "a client handle in use is not given twice");
	dup = 0x77;
	ok(rm_control(other, a, a, NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS,
		      (uint32_t[32]){ 0 }, 128) == NV_ERR_INVALID_CLIENT &&
		   rm_free(other, a, a) == NV_ERR_INVALID_CLIENT &&
		   rm_alloc(other, a, a, &dup, NV01_DEVICE_0, NULL, 0) ==
			   NV_ERR_INVALID_CLIENT,
	   "another file's client is refused, in every call");
	ok(mode(ctl, 0xc1dfffff, 1) == NV_ERR_INVALID_CLIENT &&
		   rm_free(ctl, 0xc1dfffff, 1) == NV_ERR_INVALID_OBJECT_HANDLE,
	   "so is a client that never was");
	ok(rm_dup(ctl, a, b, b) == NV_ERR_INVALID_ARGUMENT &&
		   rm_dup(ctl, a, b, 0x99) == NV_ERR_OBJECT_NOT_FOUND &&
		   rm_dup(ctl, a, 0xc1dfffff, 1) ==
			   NV_ERR_INVALID_OBJECT_HANDLE &&
		   rm_dup(ctl, b, a, a) == NV_ERR_INVALID_CLIENT,
	   "the source of a copy is looked up in any file's client");
	ok(call_row(gpu, reg, &fd, 4, NULL, gpu) == -EINVAL &&
		   call_row(gpu, reg, &fd, 4, NULL, NULL) == -EINVAL,
	   "a file is registered with a control file only");
	ok(call_row(gpu, reg, &fd, 4, NULL, other) == 0 &&
		   call_row(gpu, reg, &fd, 4, NULL, other) == -EINVAL,
	   "and once");
	drv->ops->close(other);
	dup = b;
	ok(rm_alloc(ctl, b, 0, &dup, NV01_ROOT, NULL, 0) ==
		   NV_ERR_INSERT_DUPLICATE_NAME,
	   "a registered file keeps the control file's clients alive");
	drv->ops->close(gpu);
	ok(rm_alloc(ctl, b, 0, &dup, NV01_ROOT, NULL, 0) == NV_OK && dup == b,
	   "the last close frees them");
	ok(rm_free(ctl, b, b) == NV_OK && rm_free(ctl, a, a) == NV_OK,
	   "a client frees itself");
}

static void test_objects(struct drv_file *ctl)
{
	uint32_t c = new_client(ctl), h, bad[14] = { 2 }, sub = 1;

	ok(new_gpu(ctl, c, 0x80, 0x81, 0), "device and subdevice are made");
	ok(mode(ctl, c, 0x80) == NV_OK, "a control works on its object");
	ok(mode(ctl, c, 0x81) == NV_ERR_NOT_SUPPORTED,
	   "on an object of another class it is not supported");
	ok(rm_control(ctl, c, 0x80, 0x777, &sub, 0) == NV_ERR_INVALID_ARGUMENT,
	   "parameters of no bytes are none");
	ok(mode(ctl, c, 0x99) == NV_ERR_OBJECT_NOT_FOUND,
	   "a handle that never was is not found");
	h = 0x81;
	ok(rm_alloc(ctl, c, 0x80, &h, NV04_DISPLAY_COMMON, NULL, 0) ==
		   NV_ERR_INSERT_DUPLICATE_NAME,
	   "a handle in use is refused");
	h = 0;
	ok(rm_alloc(ctl, c, 0x80, &h, NV04_DISPLAY_COMMON, NULL, 0) == NV_OK &&
		   h >> 20 == 0xcaf,
	   "without a handle RM picks one");
	h = 0;
	ok(rm_alloc(ctl, c, 0x80, &h, NV04_DISPLAY_COMMON, NULL, 0) ==
		   NV_ERR_STATE_IN_USE,
	   "a class with one instance has one");
	ok(rm_alloc(ctl, c, 0x81, &h, NV01_DEVICE_0, bad, sizeof(bad)) ==
		   NV_ERR_INVALID_OBJECT_PARENT,
	   "a parent of the wrong class is refused");
	ok(rm_alloc(ctl, c, 0x99, &h, NV20_SUBDEVICE_0, &sub, 4) ==
		   NV_ERR_OBJECT_NOT_FOUND,
	   "and one that is not there");
	h = c;
	ok(rm_alloc(ctl, c, c, &h, NV01_DEVICE_0, NULL, 0) ==
		   NV_ERR_INVALID_OBJECT_PARENT,
	   "the client's own handle is no object's");
	h = sub = 0;
	ok(rm_alloc(ctl, c, 0x80, &h, NV20_SUBDEVICE_0, &sub, 4) ==
		   NV_ERR_INSUFFICIENT_RESOURCES,
	   "a device has each subdevice once");
	ok(rm_alloc(ctl, c, c, &h, 0xdead, NULL, 0) == NV_ERR_INVALID_CLASS,
	   "and a class that is none");
	ok(rm_alloc(ctl, c, c, &h, NV01_DEVICE_0, bad, sizeof(bad)) ==
		   NV_ERR_INVALID_CLASS,
	   "and a GPU that is not there");
	ok(rm_alloc(ctl, c, c, &h, NV01_DEVICE_0, bad, 8) ==
		   NV_ERR_INVALID_PARAM_STRUCT,
	   "and parameters of another size");
	ok(rm_free(ctl, c, 0x80) == NV_OK &&
		   mode(ctl, c, 0x80) == NV_ERR_OBJECT_NOT_FOUND,
	   "a freed object is not found");
	ok(rm_control(ctl, c, 0x81, NV2080_CTRL_CMD_GPU_GET_SIMULATION_INFO,
		      &sub, 4) == NV_ERR_OBJECT_NOT_FOUND,
	   "with it goes its child");
	ok(rm_free(ctl, c, 0x80) == NV_OK, "freeing it again is fine with RM");
	ok(new_gpu(ctl, c, 0x80, 0x81, 1), "its handles are free again");
	rm_free(ctl, c, c);
}

static void test_limits(struct drv_file *ctl)
{
	uint32_t c[9], h, n = 0, dev[14] = { 0 };

	for (; n < 9 && (c[n] = new_client(ctl)); n++)
		;
	ok(n == 8, "the ninth client is one too many");
	h = 0;
	while (n && rm_alloc(ctl, c[0], c[0], &h, NV01_DEVICE_0, dev,
			     sizeof(dev)) == NV_OK) {
		h = 0;
		n++;
	}
	ok(n == 8 + 40 && rm_alloc(ctl, c[0], c[0], &h, NV01_DEVICE_0, dev,
				   sizeof(dev)) ==
				  NV_ERR_INSUFFICIENT_RESOURCES,
	   "so is the object after the last");
	for (n = 0; n < 8; n++)
		rm_free(ctl, c[n], c[n]);
	ok(new_client(ctl) != 0, "freeing makes room");
}

/* Allocates so much video memory; *taken is how much it takes. */
static uint32_t take_mem(struct drv_file *f, uint32_t client, uint32_t dev,
			 uint64_t bytes, uint64_t *taken)
{
	const struct abi_row *row = abi_class(abi, NV01_MEMORY_LOCAL_USER);
	uint8_t p[128] = { 0 };
	uint32_t h = 0, status;

	abi_put(row, ABI_F_owner, 0, p, sizeof(p), 1);
	abi_put(row, ABI_F_size, 0, p, sizeof(p), bytes);
	status = rm_alloc(f, client, dev, &h, row->nr, p, sizeof(p));
	*taken = abi_get(row, ABI_F_size, 0, p, sizeof(p));
	return status;
}

static uint64_t free_kib(struct drv_file *f, uint32_t client, uint32_t sub)
{
	const struct abi_row *fb =
		abi_control(abi, NV2080_CTRL_CMD_FB_GET_INFO_V2);
	uint8_t buf[444] = { 0 };

	abi_put(fb, ABI_F_fbInfoListSize, 0, buf, sizeof(buf), 1);
	abi_put(fb, ABI_F_fbInfoList_index, 0, buf, sizeof(buf),
		NV2080_CTRL_FB_INFO_INDEX_HEAP_FREE);
	rm_control(f, client, sub, fb->nr, buf, sizeof(buf));
	return abi_get(fb, ABI_F_fbInfoList_data, 0, buf, sizeof(buf));
}

static void test_memory(struct drv_file *ctl)
{
	const struct abi_row *row = abi_class(abi, NV01_MEMORY_LOCAL_USER);
	uint32_t c = new_client(ctl), h = 0;
	uint8_t p[128] = { 0 };
	uint64_t n;

	new_gpu(ctl, c, 0x80, 0x81, 0);
	new_gpu(ctl, c, 0x90, 0x91, 1);
	ok(take_mem(ctl, c, 0x80, 1, &n) == NV_OK && n == 64 << 10 &&
		   free_kib(ctl, c, 0x81) == (4096 << 10) - 64 &&
		   free_kib(ctl, c, 0x91) == 4096 << 10,
	   "video memory is taken by the page, from its own GPU");
	ok(take_mem(ctl, c, 0x80, 4096ull << 20, &n) == NV_ERR_NO_MEMORY &&
		   take_mem(ctl, c, 0x80, UINT64_MAX, &n) == NV_ERR_NO_MEMORY,
	   "a GPU has no more than its own");
	ok(take_mem(ctl, c, 0x81, 4095ull << 20, &n) == NV_OK &&
		   take_mem(ctl, c, 0x90, 1025ull << 20, &n) ==
			   NV_ERR_NO_MEMORY &&
		   take_mem(ctl, c, 0x90, 1024ull << 20, &n) == NV_OK,
	   "and the worker none beyond its quota, of all GPUs together");
	ok(take_mem(ctl, c, 0x90, 0, &n) == NV_ERR_INVALID_ARGUMENT &&
		   rm_alloc(ctl, c, 0x80, &h, row->nr, p, sizeof(p)) ==
			   NV_ERR_INVALID_OWNER &&
		   rm_alloc(ctl, c, 0x80, &h, row->nr, NULL, 0) ==
			   NV_ERR_INVALID_ARGUMENT,
	   "memory of no size, of nobody, or without parameters is refused");
	abi_put(row, ABI_F_owner, 0, p, sizeof(p), 1);
	abi_put(row, ABI_F_size, 0, p, sizeof(p), 1);
	abi_put(row, ABI_F_attr, 0, p, sizeof(p), 1u << 25);
	ok(rm_alloc(ctl, c, 0x80, &h, row->nr, p, sizeof(p)) ==
		   NV_ERR_INVALID_ARGUMENT,
	   "so is video memory that shall lie elsewhere");
	abi_put(row, ABI_F_attr, 0, p, sizeof(p), 0);
	abi_put(row, ABI_F_flags, 0, p, sizeof(p), NVOS32_ALLOC_FLAGS_VIRTUAL);
	ok(rm_alloc(ctl, c, 0x80, &h, row->nr, p, sizeof(p)) ==
		   NV_ERR_INVALID_ARGUMENT,
	   "and a range of addresses");
	rm_free(ctl, c, 0x80);
	ok(new_gpu(ctl, c, 0x80, 0x81, 0) &&
		   free_kib(ctl, c, 0x81) == 4096 << 10,
	   "a freed device gives back what was taken below it");
	rm_free(ctl, c, c);
	c = new_client(ctl);
	ok(new_gpu(ctl, c, 0x90, 0x91, 1) &&
		   free_kib(ctl, c, 0x91) == 4096 << 10,
	   "so does a freed client");
	rm_free(ctl, c, c);
}

static void test_controls(struct drv_file *ctl)
{
	uint32_t c = new_client(ctl), p[16] = { 0 }, big[256] = { 0 };
	const struct abi_row *row;

	new_gpu(ctl, c, 0x80, 0x81, 0);
	ok(rm_control(ctl, c, 0x80, NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE,
		      p, 8) == NV_ERR_INVALID_ARGUMENT,
	   "a control of another size is refused");
	ok(rm_control(ctl, c, 0x80, NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE,
		      NULL, 4) == NV_ERR_INVALID_ARGUMENT,
	   "and one without its parameters");
	ok(rm_control(ctl, c, 0x81, 0x20801fff, p, 4) == NV_ERR_NOT_SUPPORTED,
	   "and one that is none");
	ok(rm_control(ctl, c, 0x81, 0x20800000, NULL, 0) == NV_OK,
	   "a class's null control does nothing");
	row = abi->rows[ABI_CONTROL];
	while (!row->priv || !abi_on(row, ABI_IC_Subdevice) ||
	       row->sizes[0] > sizeof(big))
		row++;
	ok(rm_control(ctl, c, 0x81, row->nr, row->sizes[0] ? big : NULL,
		      row->sizes[0]) == NV_ERR_INSUFFICIENT_PERMISSIONS,
	   "a privileged control (%s) is refused", row->name);
	rm_free(ctl, c, c);
}

static void test_model(struct drv_file *ctl)
{
	const struct abi_row *fb =
		abi_control(abi, NV2080_CTRL_CMD_FB_GET_INFO_V2);
	uint32_t c = new_client(ctl), ids[64];
	uint8_t buf[1432];
	struct drv_gpu g;

	rm_control(ctl, c, c, NV0000_CTRL_CMD_GPU_GET_PROBED_IDS, ids, 256);
	ok(ids[0] == 0x12003 && ids[1] == 0x12103 && ids[2] == UINT32_MAX,
	   "the ids tell where the GPUs sit");
	ok(new_gpu(ctl, c, 0x80, 0x81, 1), "the second GPU is there");
	memset(buf, 0, sizeof(buf));
	rm_control(ctl, c, 0x81, NV2080_CTRL_CMD_GPU_GET_NAME_STRING, buf, 132);
	ok(strcmp((char *)buf + 4, "Test GPU") == 0, "name");
	memset(buf, 0, sizeof(buf));
	rm_control(ctl, c, 0x81, NV2080_CTRL_CMD_GPU_GET_GID_INFO, buf, 268);
	ok(strcmp((char *)buf + 12,
		  "GPU-ab000000-0000-0000-0000-000000000000") == 0,
	   "UUID: the last byte counts on, round if need be");
	memset(buf, 0, sizeof(buf));
	abi_put(fb, ABI_F_fbInfoListSize, 0, buf, 444, 1);
	abi_put(fb, ABI_F_fbInfoList_index, 0, buf, 444,
		NV2080_CTRL_FB_INFO_INDEX_TOTAL_RAM_SIZE);
	rm_control(ctl, c, 0x81, NV2080_CTRL_CMD_FB_GET_INFO_V2, buf, 444);
	ok(abi_get(fb, ABI_F_fbInfoList_data, 0, buf, 444) == 4096 << 10,
	   "memory, in KiB");
	abi_put(fb, ABI_F_fbInfoListSize, 0, buf, 444, 56);
	ok(rm_control(ctl, c, 0x81, NV2080_CTRL_CMD_FB_GET_INFO_V2, buf, 444) ==
		   NV_ERR_INVALID_ARGUMENT,
	   "a list longer than its room is refused");
	ok(drv->ops->gpu(drv, 1, &g) == 0 && g.domain == 1 && g.bus == 0x21 &&
		   g.slot == 3 && g.minor == 1 &&
		   drv->ops->gpu(drv, 2, &g) == -ENODEV,
	   "the broker is told the same");
	rm_free(ctl, c, c);
}

static void test_uvm(struct drv_file *ctl)
{
	struct drv_file *a = open_file(DRV_UVM), *b = open_file(DRV_UVM);
	const struct abi_row *init = abi_uvm(abi, UVM_INITIALIZE);
	const struct abi_row *mm = abi_uvm(abi, UVM_MM_INITIALIZE);
	const struct abi_row *pma = abi_uvm(abi, UVM_PAGEABLE_MEM_ACCESS);
	uint32_t arg[4] = { 0 };

	call_row(a, pma, arg, 8, NULL, NULL);
	ok(arg[1] == NV_ERR_ILLEGAL_ACTION,
	   "UVM: INITIALIZE comes before all else");
	call_row(b, mm, arg, 8, NULL, a);
	ok(arg[1] == NV_ERR_INVALID_STATE,
	   "UVM: an mm is held for an initialized file");
	memset(arg, 0, sizeof(arg));
	call_row(a, init, arg, 16, NULL, NULL);
	ok(arg[2] == NV_OK, "UVM: initialize");
	call_row(b, mm, arg, 8, NULL, ctl);
	ok(arg[1] == NV_ERR_INVALID_ARGUMENT, "UVM: of UVM's own only");
	call_row(b, mm, arg, 8, NULL, a);
	ok(arg[1] == NV_OK, "UVM: then it is held");
	ok(call_row(ctl, init, arg, 16, NULL, NULL) == -EINVAL,
	   "a call on the wrong device fails");
	drv->ops->close(a);
	drv->ops->close(b);
}

/* Copies the table, with the next number for every call. */
static const struct abi *move_numbers(const struct abi *from)
{
	static struct abi_row rows[ABI_KIND_COUNT][2048];
	static struct abi to;

	to = *from;
	for (int k = 0; k < ABI_KIND_COUNT; k++) {
		if (to.n_rows[k] > ARRAY_SIZE(rows[k]))
			abort();
		for (uint32_t i = 0; i < to.n_rows[k]; i++) {
			rows[k][i] = from->rows[k][i];
			rows[k][i].nr++;
		}
		to.rows[k] = rows[k];
	}
	return &to;
}

static uint32_t number(enum abi_r id)
{
	return abi_row(abi, id)->nr;
}

/* Makes an RM client, a device and a subdevice, and asks for the GPU's name. */
static bool names_gpu(struct drv_file *f)
{
	uint32_t c = 0, dev = 0x80, sub = 0x81, device[14] = { 0 }, nr = 0;
	uint32_t name = number(ABI_R_NV2080_CTRL_CMD_GPU_GET_NAME_STRING);
	char buf[132] = { 0 };

	return rm_alloc(f, 0, 0, &c, number(ABI_R_NV01_ROOT), NULL, 0) ==
		       NV_OK &&
	       rm_alloc(f, c, c, &dev, number(ABI_R_NV01_DEVICE_0), device,
			sizeof(device)) == NV_OK &&
	       rm_alloc(f, c, dev, &sub, number(ABI_R_NV20_SUBDEVICE_0), &nr,
			sizeof(nr)) == NV_OK &&
	       rm_control(f, c, sub, name, buf, sizeof(buf)) == NV_OK &&
	       strcmp(buf + 4, "Test GPU") == 0 &&
	       rm_control(f, c, sub, name - 1, buf, sizeof(buf)) != NV_OK &&
	       rm_free(f, c, c) == NV_OK;
}

/* The classes below a device, as the driver lists them. */
static bool lists_class(struct drv_file *f, enum abi_r id)
{
	const struct abi_row *row =
		abi_row(abi, ABI_R_NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2);
	uint32_t c = 0, dev = 0x80, device[14] = { 0 }, n = 0;
	uint8_t buf[700] = { 0 };
	bool found = false;

	rm_alloc(f, 0, 0, &c, number(ABI_R_NV01_ROOT), NULL, 0);
	rm_alloc(f, c, c, &dev, number(ABI_R_NV01_DEVICE_0), device,
		 sizeof(device));
	if (rm_control(f, c, dev, row->nr, buf, sizeof(buf)) == NV_OK)
		n = (uint32_t)abi_get(row, ABI_F_numClasses, 0, buf,
				      sizeof(buf));
	for (uint32_t i = 0; i < n; i++)
		found |= abi_get(row, ABI_F_classList, i, buf, sizeof(buf)) ==
			 number(id);
	rm_free(f, c, c);
	return found;
}

static void test_moved(void)
{
	const struct abi *own_abi = abi;
	struct drv *own_drv = drv;
	struct drv_file *f, *uvm;
	uint32_t arg[4] = { 0 };

	abi = move_numbers(own_abi);
	if (soft_new(abi, abi->version, &config, &drv) < 0)
		abort();
	f = open_file(DRV_GPU); /* which attaches it */
	drv->ops->close(f);
	f = open_file(DRV_CTL);
	uvm = open_file(DRV_UVM);
	ok(names_gpu(f), "where the numbers of escapes, classes and controls "
			 "differ the driver answers as before");
	ok(lists_class(f, ABI_R_NV20_SUBDEVICE_0),
	   "and lists its classes by their numbers there");
	call_row(uvm, abi_row(abi, ABI_R_UVM_INITIALIZE), arg, 16, NULL, NULL);
	ok(arg[2] == NV_OK, "and the same of UVM");
	drv->ops->close(uvm);
	drv->ops->close(f);
	drv->ops->destroy(drv);
	drv = own_drv;
	abi = own_abi;
}

static void *hammer(void *p)
{
	struct drv_file *f = open_file(DRV_CTL);
	bool *bad = p;

	for (int i = 0; i < 300 && f; i++) {
		uint32_t c = new_client(f);

		*bad = *bad || !c || !new_gpu(f, c, 1, 2, 0) ||
		       mode(f, c, 1) != NV_OK ||
		       rm_free(f, c, i & 1 ? c : 1) != NV_OK;
		if (!(i & 1))
			rm_free(f, c, c);
	}
	if (f)
		drv->ops->close(f);
	return NULL;
}

static void test_threads(void)
{
	pthread_t t[6];
	bool bad[6] = { false }, any = false;

	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		if (pthread_create(&t[i], NULL, hammer, &bad[i]) != 0)
			abort();
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++) {
		pthread_join(t[i], NULL);
		any = any || bad[i];
	}
	ok(!any, "threads do not disturb each other");
}

static void test_config(void)
{
	struct soft_config c = config;
	struct drv *d = NULL;

	c.count = 33;
	ok(soft_new(abi, "550.163.01", &c, &d) == -EINVAL,
	   "more than 32 GPUs are refused");
	c.count = 2;
	c.bus = 255;
	ok(soft_new(abi, "550.163.01", &c, &d) == -EINVAL,
	   "so are buses past the last");
	c = config;
	memset(c.name, 'x', sizeof(c.name));
	ok(soft_new(abi, "550.163.01", &c, &d) == -EINVAL && !d,
	   "and a name that does not fit");
}

int main(void)
{
	struct drv_file *ctl;

	abi = abi_find("550.163.01");
	if (soft_new(abi, "550.163.01", &config, &drv) < 0)
		return 1;
	ctl = open_file(DRV_CTL);
	/* The first open of each GPU attaches it. */
	for (uint32_t i = 0; i < 2; i++) {
		static const struct drv_cred cred;
		struct drv_file *f;

		if (drv->ops->open(drv, DRV_GPU, i, 0, &cred, &f) == 0)
			drv->ops->close(f);
	}
	ok(drv->ops->open(drv, DRV_GPU, 2, 0, &(struct drv_cred){ 0 },
			  &(struct drv_file *){ NULL }) == -ENODEV,
	   "a GPU that is not there does not open");
	test_config();
	test_version(ctl);
	test_clients(ctl);
	test_objects(ctl);
	test_controls(ctl);
	test_model(ctl);
	test_memory(ctl);
	test_limits(ctl);
	drv->ops->close(ctl);
	ctl = open_file(DRV_CTL);
	test_uvm(ctl);
	test_threads();
	test_moved();
	drv->ops->close(ctl);
	drv->ops->destroy(drv);
	return done_testing();
}
