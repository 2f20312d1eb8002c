/* SPDX-License-Identifier: MIT */
/*
 * main.c - shows the GPUs that this VM is lent
 *
 * isospin-smi is free software that stands in where NVIDIA's nvidia-smi cannot
 * be had. It makes the same RM calls on the same devices as nvidia-smi does for
 * its list and its table.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "rm/rm.h"

#define MAX_GPUS 32
#define RULE "+---------------------------------------" \
	"--------------------------------------+\n"

struct gpu {
	struct rm_card card;
	char name[65];
	char uuid[65];
	uint64_t total_mib, free_mib;
};

static const char usage[] =
	"usage: isospin-smi [-L]\n"
	"\n"
	"Shows the GPUs of this machine as a table, or with -L as a list.\n"
	"Stands in for nvidia-smi where that cannot be had.\n"
	"\n"
	"  -L, --list-gpus  one line for each GPU\n"
	"  -h, --help       this text\n"
	"  -V, --version    the version of isospin\n"
	"\n"
	"Exit status: 0, 64 wrong usage, 69 no driver or no GPU answers.\n";

/* A control with one integer input; the caller frees params. */
static int ask(struct rm *rm, uint32_t object, enum abi_r cmd, enum abi_f in,
	       uint64_t value, struct rm_params *params)
{
	int r = rm_params_init(rm, cmd, params);

	if (r < 0)
		return r;
	abi_put(params->row, in, 0, params->buf, params->size, value);
	r = rm_control(rm, object, params);
	if (r < 0)
		rm_params_free(params);
	return r;
}

/* The text of a field, always with its NUL. */
static void take_text(const struct rm_params *p, enum abi_f field, char *dst,
		      size_t n)
{
	size_t room = 0;
	const char *s = abi_bytes(p->row, field, 0, p->buf, p->size, &room);

	n = s ? MIN(n - 1, strnlen(s, room)) : 0;
	if (n)
		memcpy(dst, s, n);
	dst[n] = 0;
}

/* Fills in name and UUID. 0 or -errno. */
static int read_names(struct rm *rm, uint32_t subdevice, struct gpu *gpu)
{
	struct rm_params p;
	int r = ask(rm, subdevice, ABI_R_NV2080_CTRL_CMD_GPU_GET_NAME_STRING,
		    ABI_F_gpuNameStringFlags,
		    NV2080_CTRL_GPU_GET_NAME_STRING_FLAGS_TYPE_ASCII, &p);

	if (r < 0)
		return r;
	take_text(&p, ABI_F_ascii, gpu->name, sizeof(gpu->name));
	rm_params_free(&p);
	r = ask(rm, subdevice, ABI_R_NV2080_CTRL_CMD_GPU_GET_GID_INFO,
		ABI_F_flags, NV2080_GPU_CMD_GPU_GET_GID_FLAGS_FORMAT_ASCII, &p);
	if (r < 0)
		return r;
	take_text(&p, ABI_F_data, gpu->uuid, sizeof(gpu->uuid));
	rm_params_free(&p);
	return 0;
}

/* Fills in the sizes of its memory. 0 or -errno. */
static int read_memory(struct rm *rm, uint32_t subdevice, struct gpu *gpu)
{
	static const uint32_t index[] = {
		NV2080_CTRL_FB_INFO_INDEX_TOTAL_RAM_SIZE,
		NV2080_CTRL_FB_INFO_INDEX_HEAP_FREE,
	};
	struct rm_params p;
	int r = rm_params_init(rm, ABI_R_NV2080_CTRL_CMD_FB_GET_INFO_V2, &p);

	if (r < 0)
		return r;
	abi_put(p.row, ABI_F_fbInfoListSize, 0, p.buf, p.size,
		ARRAY_SIZE(index));
	for (uint32_t i = 0; i < ARRAY_SIZE(index); i++)
		abi_put(p.row, ABI_F_fbInfoList_index, i, p.buf, p.size,
			index[i]);
	r = rm_control(rm, subdevice, &p);
	if (r == 0) {
		gpu->total_mib = abi_get(p.row, ABI_F_fbInfoList_data, 0, p.buf,
					 p.size) >> 10;
		gpu->free_mib = abi_get(p.row, ABI_F_fbInfoList_data, 1, p.buf,
					p.size) >> 10;
	}
	rm_params_free(&p);
	return r;
}

/* Has RM bring the GPU up. 0 or -errno. */
static int attach(struct rm *rm, uint32_t gpu_id)
{
	struct rm_params p;
	int r = rm_params_init(rm, ABI_R_NV0000_CTRL_CMD_GPU_ATTACH_IDS, &p);

	if (r < 0)
		return r;
	abi_put(p.row, ABI_F_gpuIds, 0, p.buf, p.size, gpu_id);
	abi_put(p.row, ABI_F_gpuIds, 1, p.buf, p.size,
		NV0000_CTRL_GPU_INVALID_ID);
	r = rm_control(rm, rm->client, &p);
	rm_params_free(&p);
	return r;
}

/* Fills in all about one GPU. 0 or -errno. */
static int read_gpu(struct rm *rm, uint32_t gpu_id, struct gpu *gpu)
{
	uint32_t device, subdevice, instance, sub_instance;
	_cleanup_close_ int fd = -1;
	struct rm_params p;
	int r;

	r = attach(rm, gpu_id);
	if (r == 0)
		r = rm_card(rm, gpu_id, &gpu->card);
	if (r < 0)
		return r;
	fd = rm_open_gpu(rm, gpu->card.minor);
	if (fd < 0)
		return fd;
	r = ask(rm, rm->client, ABI_R_NV0000_CTRL_CMD_GPU_GET_ID_INFO,
		ABI_F_gpuId, gpu_id, &p);
	if (r < 0)
		return r;
	instance = (uint32_t)abi_get(p.row, ABI_F_deviceInstance, 0, p.buf,
				     p.size);
	sub_instance = (uint32_t)abi_get(p.row, ABI_F_subDeviceInstance, 0,
					 p.buf, p.size);
	rm_params_free(&p);
	r = rm_alloc(rm, rm->client, ABI_R_NV01_DEVICE_0, ABI_F_deviceId,
		     instance, &device);
	if (r < 0)
		return r;
	r = rm_alloc(rm, device, ABI_R_NV20_SUBDEVICE_0, ABI_F_subDeviceId,
		     sub_instance, &subdevice);
	if (r == 0)
		r = read_names(rm, subdevice, gpu);
	if (r == 0)
		r = read_memory(rm, subdevice, gpu);
	if (r == 0)
		r = rm_free(rm, rm->client, device);
	return r;
}

/* The same for each GPU of the driver, MAX_GPUS at most. */
static int read_gpus(struct rm *rm, struct gpu *gpus, uint32_t *ret_n)
{
	uint32_t id[MAX_GPUS], n = 0;
	struct rm_params p;
	int r = rm_params_init(rm, ABI_R_NV0000_CTRL_CMD_GPU_GET_PROBED_IDS,
			       &p);

	if (r < 0)
		return r;
	r = rm_control(rm, rm->client, &p);
	for (uint32_t i = 0; r == 0 && i < MAX_GPUS; i++) {
		id[n] = (uint32_t)abi_get(p.row, ABI_F_gpuIds, i, p.buf,
					  p.size);
		if (id[n] != NV0000_CTRL_GPU_INVALID_ID)
			n++;
	}
	rm_params_free(&p);
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = read_gpu(rm, id[i], &gpus[i]);
	if (r == 0)
		*ret_n = n;
	return r;
}

static void print_list(const struct gpu *gpus, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		printf("GPU %u: %s (UUID: %s)\n", i, gpus[i].name,
		       gpus[i].uuid);
}

/* Prints the table, which resembles that of nvidia-smi. */
static void print_table(const struct rm *rm, const struct gpu *gpus,
			uint32_t n)
{
	printf(RULE "| isospin-smi %-12s Driver Version: %-34s |\n" RULE
	       "| %3s  %-31s  %-16s %20s |\n" RULE, ISOSPIN_VERSION,
	       rm->version, "GPU", "Name", "Bus-Id", "Memory-Usage");
	for (uint32_t i = 0; i < n; i++) {
		const struct gpu *g = &gpus[i];

		printf("| %3u  %-31.31s  %08X:%02X:%02X.%u %6lluMiB /%6lluMiB |\n",
		       i, g->name, g->card.domain, g->card.bus, g->card.slot,
		       g->card.function,
		       (unsigned long long)(g->total_mib - g->free_mib),
		       (unsigned long long)g->total_mib);
	}
	fputs(RULE, stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "list-gpus", no_argument, NULL, 'L' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	static struct gpu gpus[MAX_GPUS];
	bool list = false;
	uint32_t n = 0;
	struct rm rm;
	int c;

	log_init("isospin-smi");
	while ((c = getopt_long(argc, argv, "LhV", options, NULL)) != -1) {
		switch (c) {
		case 'L':
			list = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("isospin-smi " ISOSPIN_VERSION);
			return 0;
		default:
			return ISO_EX_USAGE;
		}
	}
	if (optind < argc)
		die(ISO_EX_USAGE, "unexpected '%s'; see --help", argv[optind]);
	if (rm_open(&rm) < 0)
		die(ISO_EX_UNAVAILABLE, "%s", rm.error);
	if (read_gpus(&rm, gpus, &n) < 0)
		die(ISO_EX_UNAVAILABLE, "%s", rm.error);
	if (list)
		print_list(gpus, n);
	else
		print_table(&rm, gpus, n);
	rm_close(&rm);
	if (n == 0)
		die(ISO_EX_UNAVAILABLE, "the driver has no GPU");
	return fflush(stdout) == 0 ? 0 : ISO_EX_IO;
}
