/* SPDX-License-Identifier: MIT */
/* say.c - writes the output of a command of isospin-vfio */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/sock.h"
#include "vfio/vfio.h"

int vfio_fail(const char *bdf, const char *what, int r)
{
	log_error("%s: %s: %s", bdf, what, strerror(-r));
	switch (r) {
	case -ENODEV:
	case -ENOENT:
	case -ENXIO:
		return ISO_EX_UNAVAILABLE;
	case -EBUSY:
	case -EAGAIN:
		return ISO_EX_TEMPFAIL;
	case -EACCES:
	case -EPERM:
		return ISO_EX_NOPERM;
	default:
		return ISO_EX_IO;
	}
}

int vfio_print(struct wr *w)
{
	int r = wr_ok(w) ? write_full(STDOUT_FILENO, w->p, w->len) : -ENOMEM;

	wr_free(w);
	if (r == 0)
		return ISO_EX_OK;
	log_error("standard output: %s", strerror(-r));
	return ISO_EX_IO;
}
