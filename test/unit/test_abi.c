/* SPDX-License-Identifier: MIT */
/* test_abi.c - compares look-ups in the ABI tables with measured sizes */
#include <string.h>

#include "abi/abi.h"
#include "abi_numbers.h"
#include "tap.h"

/* The largest argument that the row takes. */
static uint32_t row_size(const struct abi_row *row)
{
	return row->sizes[0];
}

/* Whether everything that the row names is within its smallest argument. */
static bool row_fits(const struct abi_row *row)
{
	uint32_t n = row->step ? row->step : row_size(row);

	for (uint32_t i = 0; i < row->n_ptrs; i++)
		if (row->ptrs[i].off > n || n - row->ptrs[i].off < 8 ||
		    (row->ptrs[i].rule != ABI_LEN_CLASS && !row->ptrs[i].unit))
			return false;
	for (uint32_t i = 0; i < row->n_clients; i++)
		if (row->clients[i] > n || n - row->clients[i] < 4)
			return false;
	for (uint32_t i = 0; i < row->n_fds; i++)
		if (row->fds[i] > n || n - row->fds[i] < 4)
			return false;
	for (uint32_t i = 0; i < row->n_fields; i++) {
		const struct abi_field *f = &row->fields[i];

		if (f->off + (uint64_t)(f->count - 1) * f->stride + f->size > n)
			return false;
	}
	return true;
}

static void test_tables(void)
{
	const struct abi *abi;

	for (unsigned int v = 0; (abi = abi_at(v)); v++) {
		bool sorted = true, fits = true;

		for (int k = 0; k < ABI_KIND_COUNT; k++)
			for (uint32_t i = 0; i < abi->n_rows[k]; i++) {
				const struct abi_row *r = &abi->rows[k][i];

				fits = fits && row_fits(r) && r->kind == k;
				if (i && r[-1].nr > r->nr)
					sorted = false;
				if (i && k != ABI_ESCAPE && r[-1].nr == r->nr)
					sorted = false;
			}
		ok(sorted, "%s: rows are in order, once each", abi->version);
		ok(fits, "%s: each pointer, handle, fd and field is within "
			 "its argument", abi->version);
		ok(abi->n_rows[ABI_CONTROL] > 1100,
		   "%s: every exported control has a row", abi->version);
	}
}

static void test_versions(void)
{
	bool after = false;

	ok(abi_find("535.261.03") && abi_find("550.163.01"),
	   "tables are found by exact version");
	ok(!abi_find("535.261") && !abi_find("535.261.030"),
	   "a part of a version finds nothing");
	ok(abi_find_nearest("535.309.01") == abi_find("535.261.03"),
	   "a version without a table gets its branch's nearest");
	ok(abi_find_nearest("580.105.08") == abi_find("580.95.05") &&
		   abi_find_nearest("580.126.20") == abi_find("580.142") &&
		   abi_find_nearest("580.142.01") == abi_find("580.142"),
	   "the nearest is by number, whatever the number of parts");
	for (unsigned int i = 0; abi_at(i); i++)
		if (abi_at(i) == abi_find("580.142"))
			after = i > 0 && abi_at(i - 1) == abi_find("580.95.05");
	ok(after, "versions ascend by number: 580.142 after 580.95.05");
	ok(!abi_find_nearest("53.1.2") && !abi_find_nearest("5350.1") &&
		   !abi_find_nearest("") && !abi_find_nearest("470.1.2"),
	   "another branch gets none");
}

static uint32_t ctl_size(const char *version, uint32_t cmd)
{
	return row_size(abi_control(abi_find(version), cmd));
}

/* The sizes are those that NVIDIA's own programs pass. */
static void test_sizes(void)
{
	const struct abi *a = abi_find("535.261.03");
	const struct abi *b = abi_find("550.163.01");

	ok(abi_escape(a, NV_ESC_RM_ALLOC, 32) &&
		   abi_escape(a, NV_ESC_RM_ALLOC, 48) &&
		   !abi_escape(a, NV_ESC_RM_ALLOC, 40),
	   "RM_ALLOC has 32 or 48 bytes");
	ok(abi_escape(a, NV_ESC_CARD_INFO, 2304) &&
		   abi_escape(a, NV_ESC_CARD_INFO, 4608) &&
		   !abi_escape(a, NV_ESC_CARD_INFO, 2305) &&
		   !abi_escape(a, NV_ESC_CARD_INFO, 0) &&
		   !abi_escape(a, NV_ESC_CARD_INFO, 4680),
	   "CARD_INFO has a multiple of 72 bytes, at most 64 cards");
	ok(!abi_escape(a, NV_ESC_WAIT_OPEN_COMPLETE, 8) &&
		   abi_escape(b, NV_ESC_WAIT_OPEN_COMPLETE, 8),
	   "WAIT_OPEN_COMPLETE came after 535");
	ok(ctl_size(a->version, NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2) == 644 &&
		   ctl_size(b->version,
			    NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2) == 700,
	   "CLASSLIST_V2 has 644, then 700 bytes");
	ok(ctl_size(a->version, NV2080_CTRL_CMD_GPU_GET_PID_INFO) == 14408,
	   "GET_PID_INFO has 14408 bytes");
	ok(row_size(abi_uvm(a, UVM_MAP_EXTERNAL_ALLOCATION)) == 1200 &&
		   row_size(abi_uvm(b, UVM_MAP_EXTERNAL_ALLOCATION)) == 9264,
	   "UVM_MAP_EXTERNAL_ALLOCATION has 1200, then 9264 bytes");
	ok(abi_size_ok(abi_control(a, GSS_FAN_INFO), 3) &&
		   !abi_size_ok(abi_control(a, GSS_FAN_INFO), 529),
	   "a GSS-legacy control takes any size up to its own");
	ok(!abi_control(a, 0xdeadbeef) && !abi_class(a, 0xdeadbeef) &&
		   !abi_uvm(a, 0xdeadbeef) && !abi_escape(a, 0xff, 8),
	   "what no row names is not found");
	ok(abi_allowed(abi_class(a, NV20_SUBDEVICE_0), ABI_CAP_UTILITY) &&
		   !abi_allowed(abi_uvm(a, UVM_REGISTER_GPU),
				ABI_CAP_UTILITY) &&
		   !abi_allowed(NULL, ABI_CAP_UTILITY | ABI_CAP_COMPUTE),
	   "a call is allowed by capability, and an unknown one never");
}

static void test_pointers(void)
{
	const struct abi *a = abi_find("550.163.01");
	const struct abi_row *row = abi_escape(a, NV_ESC_RM_CONTROL, 32);
	const struct abi_row *alloc = abi_escape(a, NV_ESC_RM_ALLOC, 48);
	uint8_t buf[48] = { 0 };
	uint32_t len = 7;

	ok(abi_ptr_len(a, row, 0, buf, 32, &len) == 0 && len == 0,
	   "a NULL pointer has no bytes, whatever its count says");
	abi_put(row, ABI_F_params, 0, buf, 32, 0x1000);
	abi_put(row, ABI_F_paramsSize, 0, buf, 32, 524);
	ok(abi_ptr_len(a, row, 0, buf, 32, &len) == 0 && len == 524,
	   "a control's bytes are counted by paramsSize");
	abi_put(row, ABI_F_paramsSize, 0, buf, 32, UINT32_MAX);
	ok(abi_ptr_len(a, row, 0, buf, 32, &len) < 0,
	   "a length of 4 GiB is refused");
	ok(abi_ptr_len(a, row, 0, buf, 20, &len) < 0 &&
		   abi_ptr_len(a, row, 1, buf, 32, &len) < 0,
	   "a short buffer and a pointer that is not there are refused");

	memset(buf, 0, sizeof(buf));
	abi_put(alloc, ABI_F_pAllocParms, 0, buf, 48, 0x1000);
	abi_put(alloc, ABI_F_hClass, 0, buf, 48, NV01_DEVICE_0);
	ok(abi_ptr_len(a, alloc, 0, buf, 48, &len) == 0 && len == 56,
	   "an allocation's bytes are its class's");
	abi_put(alloc, ABI_F_hClass, 0, buf, 48, 0xdead);
	ok(abi_ptr_len(a, alloc, 0, buf, 48, &len) == 0 && len == 0,
	   "an unknown class has none");

	row = abi_control(a, NV2080_CTRL_CMD_BUS_GET_INFO);
	memset(buf, 0, sizeof(buf));
	abi_put(row, ABI_F_busInfoList, 0, buf, 16, 0x1000);
	abi_put(row, ABI_F_busInfoListSize, 0, buf, 16, 3);
	ok(abi_ptr_len(a, row, 0, buf, 16, &len) == 0 && len == 24,
	   "a nested list is counted in elements");
	abi_put(row, ABI_F_busInfoListSize, 0, buf, 16, 0x20000001);
	ok(abi_ptr_len(a, row, 0, buf, 16, &len) < 0,
	   "a count whose product wraps is refused");
}

static void test_identity(void)
{
	const struct abi *a = abi_find("535.261.03");
	const struct abi *b = abi_find("580.95.05");
	const struct abi_row *x, *y;
	bool same = true;

	x = abi_row(a, ABI_R_NV0073_CTRL_CMD_SYSTEM_GET_SUPPORTED);
	y = abi_row(b, ABI_R_NV0073_CTRL_CMD_SYSTEM_GET_SUPPORTED);
	ok(x && y && x->nr != y->nr && strcmp(x->name, y->name) == 0,
	   "a call whose number moved is found by its name");
	ok(!abi_row(a, ABI_R_NV_ESC_WAIT_OPEN_COMPLETE) &&
		   strcmp(abi_row_name(ABI_R_NV_ESC_WAIT_OPEN_COMPLETE),
			  "NV_ESC_WAIT_OPEN_COMPLETE") == 0,
	   "one that a version lacks has its name from another");
	ok(abi_row(a, ABI_R_NV_ESC_RM_ALLOC)->sizes[0] == 48,
	   "of two forms the largest is found");
	ok(!abi_row(a, ABI_R_none), "what no worker may call is not found");
	for (unsigned int v = 0; (a = abi_at(v)); v++)
		for (int k = 0; k < ABI_KIND_COUNT; k++)
			for (uint32_t i = 0; i < a->n_rows[k]; i++) {
				x = &a->rows[k][i];
				same = same && !x->id == !x->caps &&
				       (!x->id ||
					strcmp(abi_row_name(x->id),
					       x->name) == 0);
			}
	ok(same, "each call that workers may make has an identity of its own");
}

static void test_fields(void)
{
	const struct abi *a = abi_find("535.261.03");
	const struct abi_row *row =
		abi_control(a, NV2080_CTRL_CMD_FB_GET_INFO_V2);
	uint8_t buf[436];
	size_t size;

	memset(buf, 0xaa, sizeof(buf));
	abi_put(row, ABI_F_fbInfoList_data, 2, buf, sizeof(buf), 0x01020304);
	ok(abi_get(row, ABI_F_fbInfoList_data, 2, buf, sizeof(buf)) ==
		   0x01020304 && buf[4 + 2 * 8 + 4] == 4,
	   "an element's member is little-endian at its stride");
	abi_put(row, ABI_F_fbInfoList_data, 54, buf, sizeof(buf), 0);
	abi_put(row, ABI_F_fbInfoList_data, 3, buf, 30, 0);
	ok(buf[435] == 0xaa && buf[4 + 3 * 8 + 4] == 0xaa,
	   "past the array or the buffer nothing is written");
	ok(abi_get(row, ABI_F_fbInfoList_data, 3, buf, 30) == 0 &&
		   abi_get(row, ABI_F_hClient, 0, buf, sizeof(buf)) == 0,
	   "nothing is read there, nor from a field of another row");
	ok(!abi_bytes(row, ABI_F_fbInfoList_data, 0, buf, 4, &size),
	   "bytes past the buffer are not given");
	ok(strcmp(abi_status_name(NV_ERR_INVALID_CLIENT),
		  "NV_ERR_INVALID_CLIENT") == 0 &&
		   strcmp(abi_status_name(0xabcdef), "NV_ERR_?") == 0,
	   "statuses have names");
}

int main(void)
{
	test_tables();
	test_versions();
	test_sizes();
	test_pointers();
	test_identity();
	test_fields();
	return done_testing();
}
