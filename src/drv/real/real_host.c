/* SPDX-License-Identifier: MIT */
/* real_host.c - finds the GPUs of NVIDIA's driver, in the monitor */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "drv/real/real.h"

#define PATH_MAX_ 4200	/* one of real_host_init()'s directories, and more */
#define TEXT_MAX 4096	/* bytes of a file of /proc or sysfs */

/* ---- nodes -------------------------------------------------------------- */

/* Opens a node by kind, never by a path that another process gave. An fd or
 * -errno. */
static int open_node(const struct real_host *h, uint32_t kind, uint32_t minor,
		     int flags)
{
	static const char *const names[] = {
		[DRV_CTL] = "nvidiactl",
		[DRV_GPU] = "nvidia",	/* and its minor */
		[DRV_UVM] = "nvidia-uvm",
		[DRV_UVM_TOOLS] = "nvidia-uvm-tools",
	};
	static_assert(ARRAY_SIZE(names) == DRV_KIND_COUNT, "a name each");
	_cleanup_close_ int fd = -1;
	char name[32];
	struct stat st;

	if (kind == DRV_GPU)
		snprintf(name, sizeof(name), "%s%u", names[kind], minor);
	else
		snprintf(name, sizeof(name), "%s", names[kind]);
	fd = openat(h->dev_fd, name, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	return take_fd(&fd);
}

static bool has_gpu(const struct real_host *h, uint32_t minor)
{
	for (uint32_t i = 0; i < h->gpus.n_gpus; i++)
		if (h->gpus.gpu[i].minor == minor)
			return true;
	return false;
}

int real_host_open(const struct drv_host *host, uint32_t kind, uint32_t minor,
		   uint32_t flags)
{
	const struct real_host *h =
		container_of(host, const struct real_host, base);
	uint32_t access = flags & O_ACCMODE;

	if (kind >= DRV_KIND_COUNT || access == O_ACCMODE ||
	    flags & ~(uint32_t)(O_ACCMODE | O_NONBLOCK))
		return -EINVAL;
	if (kind == DRV_GPU ? !has_gpu(h, minor) : minor != 0)
		return -ENODEV;
	/* A GPU may take seconds to open. The child waits for it, not the
	 * monitor, which serves all workers. */
	if (kind == DRV_GPU && real_opens_async(h->abi))
		flags |= O_NONBLOCK;
	return open_node(h, kind, minor, (int)flags);
}

/* ---- what the driver says ----------------------------------------------- */

/* Asks for the loaded driver's version, and takes its table. The row is the
 * same in all tables, or no program could ask. 0, or -errno; that there is no
 * table was logged. */
static int ask_version(struct real_host *h, int ctl)
{
	const struct abi_row *row = abi_row(abi_at(0),
					    ABI_R_NV_ESC_CHECK_VERSION_STR);
	_cleanup_free_ uint8_t *arg = row ? calloc(1, row->sizes[0]) : NULL;
	char version[DRV_VERSION_MAX];
	const char *text;
	size_t size;

	if (!arg)
		return row ? -ENOMEM : -EPROTONOSUPPORT;
	abi_put(row, ABI_F_cmd, 0, arg, row->sizes[0],
		NV_RM_API_VERSION_CMD_QUERY);
	if (ioctl(ctl, real_request(row, row->sizes[0]), arg) < 0)
		return -errno;
	text = abi_bytes(row, ABI_F_versionString, 0, arg, row->sizes[0],
			 &size);
	if (!text || strnlen(text, size) >= sizeof(version))
		return -EPROTO;
	memcpy(version, text, strnlen(text, size) + 1);
	h->abi = abi_find(version);
	if (!h->abi)
		log_error("no call table for driver %s", version);
	return h->abi ? 0 : -EPROTONOSUPPORT;
}

/* Finds the line "KEY: VALUE" and copies the value, cut to size. False if there
 * is none. */
static bool value_of(const char *text, const char *key, char *ret, size_t size)
{
	const char *line = strstr(text, key);
	size_t n;

	if (!line)
		return false;
	line += strlen(key);
	line += strspn(line, " \t");
	n = MIN(strcspn(line, "\n"), size - 1);
	memcpy(ret, line, n);
	ret[n] = 0;
	return n > 0;
}

/* Reads a file of the GPU in sysfs that holds a number: "0x030200\n". 0, or
 * -errno, which was logged. */
static int read_hex(const char *sys, const struct drv_gpu *g, const char *name,
		    uint32_t *ret)
{
	char path[PATH_MAX_], text[TEXT_MAX], *end;
	unsigned long v;
	int r;

	snprintf(path, sizeof(path),
		 "%s/bus/pci/devices/%04x:%02x:%02x.%x/%s", sys, g->domain,
		 g->bus, g->slot, g->function, name);
	r = (int)file_read(AT_FDCWD, path, text, sizeof(text));
	if (r < 0) {
		log_error("%s: %s", path, strerror(-r));
		return r;
	}
	errno = 0;
	v = strtoul(text, &end, 16);
	if (errno || end == text || *end != '\n' || v > UINT32_MAX) {
		log_error("%s: not a hexadecimal number", path);
		return -EPROTO;
	}
	*ret = (uint32_t)v;
	return 0;
}

/* Fills in what only files say of a GPU: name, UUID, class, revision. 0, or
 * -errno, which was logged. */
static int describe(struct drv_gpu *g, const char *proc, const char *sys)
{
	char path[PATH_MAX_], text[TEXT_MAX];
	uint32_t class, revision;
	int r;

	snprintf(path, sizeof(path),
		 "%s/driver/nvidia/gpus/%04x:%02x:%02x.%x/information", proc,
		 g->domain, g->bus, g->slot, g->function);
	r = (int)file_read(AT_FDCWD, path, text, sizeof(text));
	if (r >= 0 && (!value_of(text, "Model:", g->name, sizeof(g->name)) ||
			!value_of(text, "GPU UUID:", g->uuid, sizeof(g->uuid))))
		r = -EPROTO;
	if (r < 0) {
		log_error("%s: %s", path, strerror(-r));
		return r;
	}
	r = read_hex(sys, g, "class", &class);
	if (r == 0)
		r = read_hex(sys, g, "revision", &revision);
	if (r < 0)
		return r;
	g->class_code = class;
	g->revision = (uint8_t)revision;
	return 0;
}

static uint64_t card_get(const struct abi_row *row, enum abi_f field,
			 const void *card)
{
	return abi_get(row, field, 0, card, row->step);
}

/* Fills h->gpus with what the driver itself says. 0 or -errno. */
static int ask_cards(struct real_host *h, int ctl)
{
	const uint32_t max = ISO_MAX_GPUS;
	const struct abi_row *row = abi_row(h->abi, ABI_R_NV_ESC_CARD_INFO);
	_cleanup_free_ uint8_t *arg = NULL;

	if (!row || !row->step || row->sizes[0] < max * row->step)
		return -EPROTONOSUPPORT;
	arg = calloc(max, row->step);
	if (!arg)
		return -ENOMEM;
	if (ioctl(ctl, real_request(row, max * row->step), arg) < 0)
		return -errno;
	for (uint32_t i = 0; i < max; i++) {
		const uint8_t *card = arg + (size_t)i * row->step;

		if (!card_get(row, ABI_F_valid, card))
			continue;
		h->gpus.gpu[h->gpus.n_gpus++] = (struct drv_gpu){
			.minor = (uint32_t)card_get(row, ABI_F_minor_number,
						    card),
			.domain = (uint32_t)card_get(
				row, ABI_F_pci_info_domain, card),
			.bus = (uint8_t)card_get(row, ABI_F_pci_info_bus, card),
			.slot = (uint8_t)card_get(row, ABI_F_pci_info_slot,
						  card),
			.function = (uint8_t)card_get(
				row, ABI_F_pci_info_function, card),
			.vendor_id = (uint16_t)card_get(
				row, ABI_F_pci_info_vendor_id, card),
			.device_id = (uint16_t)card_get(
				row, ABI_F_pci_info_device_id, card),
		};
	}
	return h->gpus.n_gpus ? 0 : -ENODEV;
}

/* Opens the GPUs, which sets them up for as long as the broker runs. */
static int warm_up(struct real_host *h)
{
	for (uint32_t i = 0; i < h->gpus.n_gpus; i++) {
		uint32_t minor = h->gpus.gpu[i].minor;

		h->warm[i] = open_node(h, DRV_GPU, minor, O_RDWR);
		if (h->warm[i] < 0) {
			log_error("/dev/nvidia%u: %s", minor,
				  strerror(-h->warm[i]));
			return h->warm[i];
		}
	}
	return 0;
}

int real_host_init(struct real_host *h, const char *dev, const char *proc,
		   const char *sys)
{
	_cleanup_close_ int ctl = -1;
	uint64_t since = now_ns();
	int r;

	*h = (struct real_host){
		.base.type = &drv_real,
		.dev_fd = open(dev, O_PATH | O_DIRECTORY | O_CLOEXEC),
	};
	memset(h->warm, 0xff, sizeof(h->warm)); /* all of them -1 */
	ctl = h->dev_fd < 0 ? -errno : open_node(h, DRV_CTL, 0, O_RDWR);
	if (ctl < 0) {
		log_error("%s/nvidiactl: %s; NVIDIA's driver has to be loaded here",
			  dev, strerror(-ctl));
		return ctl;
	}
	r = ask_version(h, ctl);
	if (r < 0 && r != -EPROTONOSUPPORT)
		log_error("%s/nvidiactl does not tell its version: %s", dev,
			  strerror(-r));
	if (r < 0)
		return r;
	r = ask_cards(h, ctl);
	if (r < 0) {
		log_error("driver %s does not tell its GPUs: %s",
			  h->abi->version, strerror(-r));
		return r;
	}
	r = warm_up(h);
	for (uint32_t i = 0; i < h->gpus.n_gpus && r == 0; i++)
		r = describe(&h->gpus.gpu[i], proc, sys);
	if (r < 0)
		return r;
	memcpy(h->base.config.version, h->abi->version,
	       strlen(h->abi->version) + 1);
	memcpy(h->base.config.bytes, &h->gpus, sizeof(h->gpus));
	h->base.config.len = sizeof(h->gpus);
	log_info("driver=real version=%s gpus=%u setup_ms=%u", h->abi->version,
		 h->gpus.n_gpus, (unsigned int)((now_ns() - since) / 1000000));
	return 0;
}

void real_host_fini(struct real_host *h)
{
	for (uint32_t i = 0; i < h->gpus.n_gpus; i++)
		close_fd(&h->warm[i]);
	close_fd(&h->dev_fd);
}

static void host_free(struct drv_host *host)
{
	struct real_host *h = container_of(host, struct real_host, base);

	real_host_fini(h);
	free(h);
}

/* The version must be the one that was asked for, if one was, and have a table
 * of its own. */
static int host_new(const struct conf *conf, const char *version,
		    struct drv_host **ret_host)
{
	struct real_host *h = malloc(sizeof(*h));
	int r;

	(void)conf;
	if (!h)
		return -ENOMEM;
	r = real_host_init(h, "/dev", "/proc", "/sys");
	if (r == 0 && version && strcmp(version, h->abi->version) != 0) {
		log_error("the driver that is loaded is %s, not %s",
			  h->abi->version, version);
		r = -EPROTONOSUPPORT;
	}
	if (r < 0) {
		host_free(&h->base);
		return r;
	}
	*ret_host = &h->base;
	return 0;
}

const struct drv_type drv_real = {
	.name = "real",
	.knows_version = true,
	.syscalls = &real_syscalls,
	.n_syscalls = &real_n_syscalls,
	.host_new = host_new,
	.host_free = host_free,
	.host_open = real_host_open,
	.make = real_make,
};
