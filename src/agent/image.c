/* SPDX-License-Identifier: MIT */
/*
 * image.c - brings NVIDIA's driver up from its disk
 *
 * This is for a GPU VM with real hardware. The kernel is told where the
 * firmware lies, the modules are loaded, and device nodes are made, which
 * NVIDIA's modules leave to user space.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/agent.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sock.h"

#define AT "/image"
#define FIRMWARE_PATH "/sys/module/firmware_class/parameters/path"
#define GPUS_DIR "/proc/driver/nvidia/gpus"

/* nv.h: NV_MAJOR_DEVICE_NUMBER and NV_CONTROL_DEVICE_MINOR. */
#define NV_MAJOR 195
#define NV_CTL_MINOR 255

static int set_firmware_path(void)
{
	static const char path[] = AT "/lib/firmware";
	_cleanup_close_ int fd = open(FIRMWARE_PATH, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : write_full(fd, path, strlen(path));
}

static int make_node(const char *name, unsigned int major_nr,
		     unsigned int minor_nr)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/%s", name);
	if (mknod(path, S_IFCHR | 0600, makedev(major_nr, minor_nr)) < 0 &&
	    errno != EEXIST)
		return -errno;
	return 0;
}

/* The major number of a character device, by its name. 0 or -errno. */
static int find_major(const char *name, unsigned int *ret_major)
{
	static char text[8192];
	ssize_t n = file_read(AT_FDCWD, "/proc/devices", text, sizeof(text));
	char *line, *rest = text;

	if (n < 0)
		return (int)n;
	while ((line = strsep(&rest, "\n"))) {
		char *space = strchr(line + strspn(line, " "), ' ');
		uint64_t v;

		if (!space || strcmp(space + 1, name) != 0)
			continue;
		*space = 0;
		if (parse_u64(line + strspn(line, " "), 1, 4095, &v) < 0)
			return -EPROTO;
		*ret_major = (unsigned int)v;
		return 0;
	}
	return -ENOENT;
}

/* A node for each GPU; the driver numbers them from 0. 0 or -errno. */
static int make_gpu_nodes(void)
{
	DIR *dir = opendir(GPUS_DIR);
	unsigned int minor_nr = 0;
	const struct dirent *e;
	char name[32];
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "nvidia%u", minor_nr);
		r = make_node(name, NV_MAJOR, minor_nr++);
	}
	closedir(dir);
	return r;
}

/* Makes all device nodes of NVIDIA's modules. 0 or -errno. */
static int make_nodes(void)
{
	unsigned int uvm = 0;
	int r = make_node("nvidiactl", NV_MAJOR, NV_CTL_MINOR);

	if (r == 0)
		r = make_gpu_nodes();
	if (r == 0)
		r = find_major("nvidia-uvm", &uvm);
	if (r == 0)
		r = make_node("nvidia-uvm", uvm, 0);
	if (r == 0)
		r = make_node("nvidia-uvm-tools", uvm, 1);
	return r;
}

int image_start(const char *disk, const char **ret_what)
{
	static const char *const modules[] = { "nvidia.ko", "nvidia-uvm.ko" };
	int r;

	*ret_what = disk;
	mkdir(AT, 0755);
	if (mount(disk, AT, "ext4", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		return -errno;
	*ret_what = FIRMWARE_PATH;
	r = set_firmware_path();
	for (size_t i = 0; i < ARRAY_SIZE(modules) && r == 0; i++) {
		*ret_what = modules[i];
		r = init_load_module(AT "/isospin", modules[i], "");
		if (r == 0)
			init_say("state=loaded module=%s", modules[i]);
	}
	if (r < 0)
		return r;
	*ret_what = "NVIDIA's device nodes";
	return make_nodes();
}
