/* SPDX-License-Identifier: MIT */
/* init.c - brings the machine up */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/agent.h"
#include "base/file.h"
#include "base/sock.h"

#define MODULE_DIR "/isospin"
#define CONSOLE_EMERGENCIES_ONLY 1

static const struct {
	const char *fs, *at, *data;
	unsigned long flags;
} mounts[] = {
	{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID },
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
};

static const struct {
	const char *to, *at;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* Makes the console fds 0, 1 and 2, whatever the kernel has opened there. */
static int open_console(void)
{
	_cleanup_close_ int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		if (fd != i && dup2(fd, i) < 0)
			return -errno;
	if (fd < 3)
		take_fd(&fd);
	/* keep the kernel's messages out of our lines; dmesg has them */
	klogctl(8, NULL, CONSOLE_EMERGENCIES_ONLY);
	return 0;
}

int init_mounts(const char **ret_what)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].at, 0755);
		if (mount(mounts[i].fs, mounts[i].at, mounts[i].fs,
			  mounts[i].flags, mounts[i].data) < 0 &&
		    errno != EBUSY) {
			r = -errno;
			*ret_what = mounts[i].at;
			return r;
		}
		if (i == 0) {
			*ret_what = "/dev/console";
			r = open_console();
			if (r < 0)
				return r;
		}
	}
	/* the kernel's root has mode 01777 */
	if (chmod("/", 0755) < 0) {
		*ret_what = "/";
		return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (symlink(links[i].to, links[i].at) < 0 && errno != EEXIST) {
			r = -errno;
			*ret_what = links[i].at;
			return r;
		}
	}
	return 0;
}

int init_load_module(const char *dir, const char *file, const char *params)
{
	char path[128];
	_cleanup_close_ int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, params, 0) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* Loads the modules of the list, which has a line `FILE [PARAMETERS]` for each.
 * The parameter `shim` stands for those of nvidia-shim. */
static int load_list(char *list, const struct agent_boot *boot,
		     const char **ret_what)
{
	char *line, *rest = list;

	while ((line = strsep(&rest, "\n"))) {
		char *params = strchr(line, ' ');
		char shim[64];
		int r;

		if (!*line)
			continue;
		if (params)
			*params++ = 0;
		if (params && strcmp(params, "shim") == 0) {
			snprintf(shim, sizeof(shim), "cid=2 port=%u hold=%d",
				 boot->broker_port, boot->template);
			params = shim;
		}
		r = init_load_module(MODULE_DIR, line, params ? params : "");
		if (r < 0) {
			*ret_what = line;
			return r;
		}
	}
	return 0;
}

int init_modules(const struct agent_boot *boot, const char **ret_what)
{
	static char list[4096];
	ssize_t n = file_read(AT_FDCWD, MODULE_DIR "/modules", list,
			      sizeof(list));

	*ret_what = MODULE_DIR "/modules";
	if (n < 0)
		return (int)n;
	return load_list(list, boot, ret_what);
}

void init_say(const char *fmt, ...)
{
	char line[512] = "\nisospin: ";
	size_t n = strlen(line);
	struct timespec ts;
	va_list ap;
	int k;

	va_start(ap, fmt);
	k = vsnprintf(line + n, sizeof(line) - n - 40, fmt, ap);
	va_end(ap);
	n += MIN((size_t)MAX(k, 0), sizeof(line) - n - 41);
	clock_gettime(CLOCK_BOOTTIME, &ts);
	k = snprintf(line + n, sizeof(line) - n, " at=%llu\n",
		     (unsigned long long)ts.tv_sec * 1000000000u +
			     (unsigned long long)ts.tv_nsec);
	n += (size_t)k;
	/* One write, so that the line stays whole. It begins with a newline,
	 * for firmware or a program may have left half a line. */
	write_full(STDOUT_FILENO, line, n);
}

void init_end_machine(bool reset)
{
	sync();
	if (!reset)
		reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
