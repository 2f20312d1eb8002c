/* SPDX-License-Identifier: MIT */
#include "drv/real/real_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "drv/real/real_opener.h"
#include "drv/real/real.h"

#define TEXT_MAX 4096	/* bytes of a file of /proc or sysfs that are read */

/* ---- nodes ---------------------------------------------------------------- */

static int open_node(const struct devices *d, uint32_t kind, uint32_t minor,
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
	fd = openat(d->dev_fd, name, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	return take_fd(&fd);
}

static bool has_gpu(const struct devices *d, uint32_t minor)
{
	for (uint32_t i = 0; i < d->n_gpus; i++)
		if (d->gpu[i].minor == minor)
			return true;
	return false;
}

static int open_asked(const struct devices *d, const struct opener_ask *ask)
{
	int access = (int)ask->flags & O_ACCMODE, flags = (int)ask->flags;

	if (ask->kind >= DRV_KIND_COUNT || access == O_ACCMODE ||
	    flags & ~(O_ACCMODE | O_NONBLOCK))
		return -EINVAL;
	if (ask->kind == DRV_GPU ? !has_gpu(d, ask->minor) : ask->minor != 0)
		return -ENODEV;
	/* The monitor must not wait for a GPU; real_open() does. */
	if (ask->kind == DRV_GPU && real_opens_async(d->abi))
		flags |= O_NONBLOCK;
	return open_node(d, ask->kind, ask->minor, flags);
}

int devices_serve(const struct devices *d, int sock)
{
	_cleanup_close_ int fd = -1;
	struct opener_reply reply = { 0 };
	struct opener_ask ask;
	size_t n_fds;
	int r, unread;
	ssize_t n = sock_recv_fds(sock, &ask, sizeof(ask), NULL, 0, &n_fds);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	if (n != (ssize_t)sizeof(ask) || ioctl(sock, SIOCOUTQ, &unread) < 0 ||
	    unread > 0)
		return -EPROTO;
	fd = open_asked(d, &ask);
	if (fd < 0)
		reply.err = fd;
	r = sock_send_fds(sock, &reply, sizeof(reply), &fd, fd >= 0);
	return r == -EAGAIN ? -EPROTO : r < 0 ? -EPIPE : 0;
}

/* ---- what the driver says ------------------------------------------------- */

/* The version of the driver that is loaded. The row is the same in all
 * tables, or nobody could ask. */
static int ask_version(struct devices *d, int ctl)
{
	const struct abi_row *row = real_row(abi_at(0),
					     NV_ESC_CHECK_VERSION_STR);
	_cleanup_free_ uint8_t *arg = row ? calloc(1, row->sizes[0]) : NULL;
	char version[32];
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
	d->abi = abi_find(version);
	if (!d->abi)
		log_error("no call table for driver %s", version);
	return d->abi ? 0 : -EPROTONOSUPPORT;
}

/* Reads the start of a file into text, with a NUL. 0 or -errno. */
static int read_text(const char *path, char text[TEXT_MAX])
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, TEXT_MAX - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	return 0;
}

/* The value of a line "KEY: VALUE", cut to size. False if there is none. */
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

/* A hexadecimal number of sysfs: "0x030200\n". */
static int read_hex(const char *sys, const struct drv_gpu *g, const char *name,
		    uint32_t *ret)
{
	char path[4200], text[TEXT_MAX], *end;
	unsigned long v;
	int r;

	snprintf(path, sizeof(path),
		 "%s/bus/pci/devices/%04x:%02x:%02x.%x/%s", sys, g->domain,
		 g->bus, g->slot, g->function, name);
	r = read_text(path, text);
	if (r < 0) {
		log_error("%s: %s", path, strerror(-r));
		return r;
	}
	errno = 0;
	v = strtoul(text, &end, 16);
	if (errno || end == text || *end != '\n' || v > UINT32_MAX)
		return -EPROTO;
	*ret = (uint32_t)v;
	return 0;
}

static int describe(struct drv_gpu *g, const char *proc, const char *sys)
{
	char path[4200], text[TEXT_MAX];
	uint32_t class, revision;
	int r;

	snprintf(path, sizeof(path),
		 "%s/driver/nvidia/gpus/%04x:%02x:%02x.%x/information", proc,
		 g->domain, g->bus, g->slot, g->function);
	r = read_text(path, text);
	if (r == 0 && (!value_of(text, "Model:", g->name, sizeof(g->name)) ||
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

/* Fills in d->gpu as far as the driver itself knows it. */
static int ask_cards(struct devices *d, int ctl)
{
	const uint32_t max = ISO_MAX_GPUS;
	const struct abi_row *row = real_row(d->abi, NV_ESC_CARD_INFO);
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
		d->gpu[d->n_gpus++] = (struct drv_gpu){
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
	return d->n_gpus ? 0 : -ENODEV;
}

/* Sets the GPUs up, for as long as the broker runs. */
static int warm_up(struct devices *d)
{
	for (uint32_t i = 0; i < d->n_gpus; i++) {
		uint32_t minor = d->gpu[i].minor;

		d->warm[i] = open_node(d, DRV_GPU, minor, O_RDWR);
		if (d->warm[i] < 0) {
			log_error("nvidia%u: %s", minor,
				  strerror(-d->warm[i]));
			return d->warm[i];
		}
	}
	return 0;
}

int devices_init(struct devices *d, const char *dev, const char *proc,
		 const char *sys)
{
	_cleanup_close_ int ctl = -1;
	uint64_t since = now_ns();
	int r;

	*d = (struct devices){ .dev_fd = open(dev, O_PATH | O_DIRECTORY |
						   O_CLOEXEC) };
	memset(d->warm, 0xff, sizeof(d->warm)); /* all of them -1 */
	ctl = d->dev_fd < 0 ? -errno : open_node(d, DRV_CTL, 0, O_RDWR);
	if (ctl < 0) {
		log_error("%s/nvidiactl: %s", dev, strerror(-ctl));
		return ctl;
	}
	r = ask_version(d, ctl);
	if (r < 0 && r != -EPROTONOSUPPORT)
		log_error("%s/nvidiactl: its version: %s", dev, strerror(-r));
	if (r < 0)
		return r;
	r = ask_cards(d, ctl);
	if (r < 0) {
		log_error("driver %s: its GPUs: %s", d->abi->version,
			  strerror(-r));
		return r;
	}
	r = warm_up(d);
	for (uint32_t i = 0; i < d->n_gpus && r == 0; i++)
		r = describe(&d->gpu[i], proc, sys);
	if (r == 0)
		log_info("driver %s, %u GPUs, set up in %u ms",
			 d->abi->version, d->n_gpus,
			 (unsigned int)((now_ns() - since) / 1000000));
	return r;
}

void devices_fini(struct devices *d)
{
	for (uint32_t i = 0; i < d->n_gpus; i++)
		close_fd(&d->warm[i]);
	close_fd(&d->dev_fd);
}
