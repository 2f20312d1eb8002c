/* SPDX-License-Identifier: MIT */
/*
 * hold.c - keeps a device open between two VMs
 *
 * An open device stays powered, nobody else gets it, and it is not reset by its
 * last close.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "loop/loop.h"
#include "vfio/vfio.h"

/*
 * An fd that becomes readable when the kernel wants the device back: the
 * process that unbinds the device waits, uninterruptibly, until we close it. Or
 * -errno.
 */
static int request_fd(const struct vfio_dev *d)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	struct vfio_irq_set head = {
		.argsz = sizeof(bytes),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_REQ_IRQ_INDEX,
		.count = 1,
	};
	int32_t data = fd;

	if (fd < 0)
		return -errno;
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &data, sizeof(data));
	if (ioctl(d->device, VFIO_DEVICE_SET_IRQS, bytes) < 0)
		return -errno;
	return take_fd(&fd);
}

/* Prints the state. An exit status. */
static int say(const char *bdf, const char *state, const char *reason)
{
	struct json j;
	struct wr w;

	wr_init(&w, 4096);
	j = json_init(&w);
	json_object(&j, NULL);
	json_str(&j, "bdf", bdf);
	json_str(&j, "state", state);
	if (reason)
		json_str(&j, "reason", reason);
	json_end(&j);
	return vfio_print(&w);
}

/* Holds until a signal or a request. An exit status. */
static int hold(struct vfio_dev *d, int signals)
{
	const char *bdf = d->func.bdf;
	_cleanup_close_ int request = request_fd(d);
	struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
				{ .fd = request, .events = POLLIN } };
	int r;

	if (request < 0)
		return vfio_fail(bdf, "VFIO_DEVICE_SET_IRQS", request);
	r = say(bdf, "held", NULL);
	if (r != ISO_EX_OK)
		return r;
	while (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		if (errno != EINTR)
			return vfio_fail(bdf, "poll", -errno);
	vfio_close(d);
	return say(bdf, "released", fds[1].revents ? "request" : "signal");
}

int vfio_hold_main(const char *bdf)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGTERM };
	_cleanup_close_ int signals = loop_signalfd(ends, ARRAY_SIZE(ends));
	struct vfio_dev d;
	int r;

	if (signals < 0)
		return vfio_fail(bdf, "signalfd", signals);
	r = vfio_open(&d, bdf);
	if (r == ISO_EX_OK)
		r = hold(&d, signals);
	vfio_close(&d);
	return r;
}
