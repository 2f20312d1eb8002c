/* SPDX-License-Identifier: MIT */
/*
 * shim-guest.h - functions of the programs that try nvidia-shim.ko in a guest
 *
 * A function whose system call fails returns -errno.
 */
#ifndef SHIM_GUEST_H
#define SHIM_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/base.h"

#include "../unit/wait.h"
#include "wire-test.h"

#define BROKER_ADDR "vsock:any:9999"
#define CTL "/dev/nvidiactl"
#define CALL(nr, size) _IOC(_IOC_READ | _IOC_WRITE, 'F', nr, size)
#define MS 1000000ull

/* The argument of WT_PARAMS and its like. */
struct arg32 {
	uint32_t a, b, c, d;
	uint64_t ptr;
	uint32_t len, pad;
};

/* ---- the broker and the module ------------------------------------------ */

/* A child that runs PATH with two arguments. */
static inline pid_t start(const char *path, const char *a, const char *b)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	execl(path, path, a, b, (char *)NULL);
	_exit(127);
}

static inline void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline int load_with(const char *module, const char *params)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = (int)syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return r;
}

static inline int load(const char *module)
{
	return load_with(module, "cid=1");
}

static inline int unload(void)
{
	return syscall(SYS_delete_module, "nvidia_shim", O_NONBLOCK) ? -errno :
								       0;
}

static inline int call(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int open_ctl(void)
{
	return open(CTL, O_RDWR | O_CLOEXEC);
}

/* 0 if an echo came back right. */
static inline int echo(int fd)
{
	uint8_t buf[524];
	int r;

	memset(buf, 0x5a, sizeof(buf));
	r = call(fd, CALL(WT_ECHO, sizeof(buf)), buf);
	for (size_t i = 0; !r && i < sizeof(buf); i++)
		if (buf[i] != 0xa5)
			r = -EBADMSG;
	return r;
}

/* The n-th word of WT_STATE, asked on a file of its own. */
static inline uint32_t state(unsigned int n)
{
	uint32_t w[4] = { 0 };
	int fd = open_ctl();

	call(fd, CALL(WT_STATE, 16), w);
	close_fd(&fd);
	return w[n];
}

/* Whether an open file that answers is to be had within five seconds. */
static inline bool heals(void)
{
	uint64_t end = 0;
	int r;

	do {
		int fd = open_ctl();

		r = fd < 0 ? -errno : echo(fd);
		close_fd(&fd);
	} while (r && wait_more(&end, 5000));
	return !r;
}

#endif /* SHIM_GUEST_H */
