/* SPDX-License-Identifier: MIT */
/* rm.c - uses RM through its device files */
#include "rm/rm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* NVIDIA's ioctls are all of this type (nv-ioctl-numbers.h). */
#define NV_IOCTL_MAGIC 'F'
#define CTL_DEVICE "/dev/nvidiactl"
#define VERSION_FILE "/proc/driver/nvidia/version"

static _printf_(3, 4) int fail(struct rm *rm, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rm->error, sizeof(rm->error), fmt, ap);
	va_end(ap);
	return r;
}

int rm_ioctl(int fd, uint32_t nr, void *arg, uint32_t size)
{
	unsigned long request = _IOC(_IOC_READ | _IOC_WRITE, NV_IOCTL_MAGIC,
				     nr, size);
	int r;

	do {
		r = ioctl(fd, request, arg);
	} while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return r < 0 ? -errno : 0;
}

int64_t rm_call(int fd, struct rm_arg *a)
{
	int r = rm_ioctl(fd, a->row->nr, a->bytes, a->size);

	return r < 0 ? r : (int64_t)rm_arg_status(a);
}

static int escape(struct rm *rm, int fd, const struct abi_row *row, void *arg,
		  uint32_t size)
{
	int r = rm_ioctl(fd, row->nr, arg, size);

	return r < 0 ? fail(rm, r, "%s: %s", row->name, strerror(-r)) : 0;
}

/* Makes the call and checks RM's status; `what` names it in the error. */
static int checked_call(struct rm *rm, struct rm_arg *a, const char *what)
{
	int64_t r = rm_call(rm->ctl, a);

	if (r < 0)
		return fail(rm, (int)r, "%s: %s", what, strerror((int)-r));
	if (r > 0)
		return fail(rm, -EREMOTEIO, "%s: %s", what,
			    abi_status_name((uint32_t)r));
	return 0;
}

/* Finds the driver's version: the first word of the file that looks like
 * 550.163.01. */
static int read_version(struct rm *rm)
{
	char line[512], *save = NULL;
	FILE *f = fopen(VERSION_FILE, "re");

	if (!f)
		return fail(rm, -errno, VERSION_FILE ": %s", strerror(errno));
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	for (char *w = strtok_r(line, " \t\n", &save); w;
	     w = strtok_r(NULL, " \t\n", &save)) {
		if (strspn(w, "0123456789.") == strlen(w) && strchr(w, '.') &&
		    strlen(w) < sizeof(rm->version)) {
			snprintf(rm->version, sizeof(rm->version), "%s", w);
			return 0;
		}
	}
	return fail(rm, -EPROTO, VERSION_FILE ": no version in it");
}

/* Tells the driver which version its user space is. */
static int check_version(struct rm *rm)
{
	const struct abi_row *row = abi_row(rm->abi,
					    ABI_R_NV_ESC_CHECK_VERSION_STR);
	_cleanup_free_ void *arg = calloc(1, row->sizes[0]);
	size_t room;
	char *text;
	int r;

	if (!arg)
		return fail(rm, -ENOMEM, "out of memory");
	text = abi_bytes(row, ABI_F_versionString, 0, arg, row->sizes[0],
			 &room);
	if (!text)
		return fail(rm, -ENOTSUP, "%s: no such field", row->name);
	snprintf(text, room, "%s", rm->version);
	abi_put(row, ABI_F_cmd, 0, arg, row->sizes[0],
		NV_RM_API_VERSION_CMD_STRICT);
	r = escape(rm, rm->ctl, row, arg, row->sizes[0]);
	if (r < 0)
		return r;
	if (abi_get(row, ABI_F_reply, 0, arg, row->sizes[0]) !=
	    NV_RM_API_VERSION_REPLY_RECOGNIZED)
		return fail(rm, -EPROTO, "the driver does not accept a user "
			    "space of version %s", rm->version);
	return 0;
}

int rm_open(struct rm *rm)
{
	int r;

	*rm = (struct rm){ .ctl = -1, .next_handle = 0xbeef0001 };
	r = read_version(rm);
	if (r < 0)
		return r;
	rm->abi = abi_find_nearest(rm->version);
	if (!rm->abi)
		return fail(rm, -ENOTSUP, "driver %s: no ABI table of its branch",
			    rm->version);
	rm->ctl = open(CTL_DEVICE, O_RDWR | O_CLOEXEC);
	if (rm->ctl < 0)
		return fail(rm, -errno, CTL_DEVICE ": %s", strerror(errno));
	r = check_version(rm);
	if (r == 0)
		r = rm_alloc(rm, 0, ABI_R_NV01_ROOT_CLIENT, ABI_F_status, 0,
			     &rm->client);
	if (r < 0)
		close_fd(&rm->ctl);
	return r;
}

void rm_close(struct rm *rm)
{
	close_fd(&rm->ctl);
}

int rm_params_init(struct rm *rm, enum abi_r cmd, struct rm_params *ret_params)
{
	const struct abi_row *row = abi_row(rm->abi, cmd);
	void *buf;

	if (!row)
		return fail(rm, -ENOTSUP, "%s: not in driver %s",
			    abi_row_name(cmd), rm->version);
	buf = calloc(1, row->sizes[0]);
	if (!buf)
		return fail(rm, -ENOMEM, "out of memory");
	*ret_params = (struct rm_params){ row, buf, row->sizes[0] };
	return 0;
}

void rm_params_free(struct rm_params *params)
{
	free(params->buf);
	params->buf = NULL;
}

int rm_control(struct rm *rm, uint32_t object, struct rm_params *params)
{
	struct rm_arg a;

	rm_arg_control(&a, abi_row(rm->abi, ABI_R_NV_ESC_RM_CONTROL),
		       rm->client, object, params->row->nr,
		       (uintptr_t)params->buf, params->size);
	return checked_call(rm, &a, params->row->name);
}

int rm_alloc(struct rm *rm, uint32_t parent, enum abi_r class_id,
	     enum abi_f field, uint64_t value, uint32_t *ret_handle)
{
	const struct abi_row *class_row = abi_row(rm->abi, class_id);
	_cleanup_free_ void *params = NULL;
	struct rm_arg a;
	int r;

	if (!class_row)
		return fail(rm, -ENOTSUP, "%s: not in driver %s",
			    abi_row_name(class_id), rm->version);
	params = calloc(1, class_row->sizes[0] + 1);
	if (!params)
		return fail(rm, -ENOMEM, "out of memory");
	abi_put(class_row, field, 0, params, class_row->sizes[0], value);
	rm_arg_alloc(&a, abi_row(rm->abi, ABI_R_NV_ESC_RM_ALLOC), rm->client,
		     parent, rm->client ? rm->next_handle++ : 0, class_row->nr,
		     rm->client ? (uintptr_t)params : 0);
	r = checked_call(rm, &a, a.row->name);
	if (r < 0)
		return r;
	*ret_handle = rm_arg_object(&a);
	return 0;
}

int rm_free(struct rm *rm, uint32_t parent, uint32_t object)
{
	struct rm_arg a;

	rm_arg_free(&a, abi_row(rm->abi, ABI_R_NV_ESC_RM_FREE), rm->client,
		    parent, object);
	return checked_call(rm, &a, a.row->name);
}

int rm_open_gpu(struct rm *rm, uint32_t minor)
{
	const struct abi_row *row = abi_row(rm->abi, ABI_R_NV_ESC_REGISTER_FD);
	_cleanup_close_ int fd = -1;
	int32_t ctl = rm->ctl;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/dev/nvidia%u", minor);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(rm, -errno, "%s: %s", path, strerror(errno));
	r = escape(rm, fd, row, &ctl, sizeof(ctl));
	return r < 0 ? r : take_fd(&fd);
}

int rm_card(struct rm *rm, uint32_t gpu_id, struct rm_card *ret_card)
{
	const struct abi_row *row = abi_row(rm->abi, ABI_R_NV_ESC_CARD_INFO);
	const uint32_t size = 32 * row->step, step = row->step;
	_cleanup_free_ uint8_t *arg = calloc(1, size);
	int r;

	if (!arg)
		return fail(rm, -ENOMEM, "out of memory");
	r = escape(rm, rm->ctl, row, arg, size);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < 32; i++) {
		const uint8_t *card = arg + i * step;

		if (!abi_get(row, ABI_F_valid, 0, card, step) ||
		    abi_get(row, ABI_F_gpu_id, 0, card, step) != gpu_id)
			continue;
#define CARD(f) abi_get(row, ABI_F_##f, 0, card, step)
		*ret_card = (struct rm_card){
			.minor = (uint32_t)CARD(minor_number),
			.domain = (uint32_t)CARD(pci_info_domain),
			.bus = (uint8_t)CARD(pci_info_bus),
			.slot = (uint8_t)CARD(pci_info_slot),
			.function = (uint8_t)CARD(pci_info_function),
		};
#undef CARD
		return 0;
	}
	return fail(rm, -ENODEV, "no card has gpu id 0x%x", gpu_id);
}
