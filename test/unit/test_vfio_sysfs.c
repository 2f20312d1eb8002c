/* SPDX-License-Identifier: MIT */
/* links: src/vfio */
/* test_vfio_sysfs.c - has isospin-vfio read a made-up /sys and /proc */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tap.h"
#include "vfio/vfio.h"

#define DEVICES "sys/bus/pci/devices"
#define GROUP "sys/kernel/iommu_groups/7/devices"

static void make_dir(const char *path)
{
	char part[256];

	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		mkdir(part, 0700);
	}
	mkdir(path, 0700);
}

static void make_link(const char *target, const char *dir, const char *name)
{
	char path[256];

	make_dir(dir);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (symlink(target, path) < 0)
		ok(false, "%s: %s", path, strerror(errno));
}

static void make_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	make_dir(dir);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ok(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s is made", path);
}

static void make_func(const char *bdf, const char *driver)
{
	char dir[128];

	snprintf(dir, sizeof(dir), DEVICES "/%s", bdf);
	make_dir(dir);
	if (driver)
		make_link(driver, dir, "driver");
	make_link("../../../kernel/iommu_groups/7", dir, "iommu_group");
	make_link("x", GROUP, bdf);
}

static void test_func(void)
{
	struct vfio_func f = { .group = 99 };

	ok(vfio_func_read("0000:01:00.1", &f) == 0 && f.group == 7 &&
	   strcmp(f.driver, "snd_hda_intel") == 0 && !vfio_func_bound(&f),
	   "a function's driver and group are read");
	ok(vfio_func_read("0000:01:00.2", &f) == 0 && f.driver[0] == 0 &&
	   !vfio_func_bound(&f), "it may have no driver");
	f.group = 99;
	ok(vfio_func_read("0000:09:00.0", &f) == -ENODEV && f.group == 99,
	   "one that is not there is ENODEV");
	make_link("../../drivers/vfio-pci", DEVICES "/0000:0a:00.0", "driver");
	ok(vfio_func_read("0000:0a:00.0", &f) == 0 && f.group == -1 &&
	   vfio_func_bound(&f), "it may have no group");
	make_link("../big/99999999999", DEVICES "/0000:0b:00.0", "iommu_group");
	ok(vfio_func_read("0000:0b:00.0", &f) == -ERANGE,
	   "a group's number has a limit");
	make_link("a-driver-whose-name-has-more-bytes-than-there-is-room-for-in"
		  "-a-buffer", DEVICES "/0000:0c:00.0", "driver");
	ok(vfio_func_read("0000:0c:00.0", &f) == -ENAMETOOLONG,
	   "a driver's name has a limit");
}

static void test_members(void)
{
	struct vfio_func m[VFIO_MAX_MEMBERS];
	size_t n = 0;

	make_link("x", GROUP, "0000:08:00.0"); /* removed just now */
	make_link("x", GROUP, "nonsense");
	ok(vfio_members(7, m, &n) == 0 && n == 3 &&
	   strcmp(m[0].bdf, "0000:01:00.0") == 0 && vfio_func_bound(&m[0]) &&
	   strcmp(m[1].bdf, "0000:01:00.1") == 0 &&
	   strcmp(m[2].bdf, "0000:01:00.2") == 0,
	   "members come by address, without what is gone");
	n = 99;
	ok(vfio_members(8, m, &n) == -ENOENT && n == 99,
	   "a group that is not there is ENOENT");
}

static void test_users(void)
{
	char text[128], small[24];

	make_file("proc/12", "comm", "qemu-system-x86\n");
	make_link("/dev/vfio/7", "proc/12/fd", "3");
	make_link("/dev/vfio/7", "proc/12/fd", "4");
	make_file("proc/13", "comm", "other\n");
	make_link("/dev/vfio/77", "proc/13/fd", "3");
	make_link("/dev/vfio/7", "proc/self/fd", "3");
	vfio_users(7, text, sizeof(text));
	ok(strcmp(text, "pid 12 (qemu-system-x86)") == 0,
	   "who has the group open is named once: %s", text);
	make_link("/dev/vfio/7", "proc/14/fd", "3");
	vfio_users(7, text, sizeof(text));
	ok(strstr(text, "pid 12 (qemu-system-x86)") &&
	   strstr(text, "pid 14 (?)") && strstr(text, "), "),
	   "each of them: %s", text);
	vfio_users(7, small, sizeof(small));
	ok(strlen(small) == sizeof(small) - 1, "as far as there is room");
	vfio_users(5, text, sizeof(text));
	ok(strcmp(text, "a process that cannot be seen") == 0,
	   "nobody is found where nobody is");
}

static void test_proc(void)
{
	uint64_t v = 0;

	make_file("proc", "meminfo", "MemTotal: 8 kB\nMemAvailable: 4 kB\n");
	ok(vfio_proc_kib("meminfo", "MemAvailable", &v) == 0 && v == 4096,
	   "a line of a file of /proc is read");
	ok(vfio_proc_kib("nothing", "MemAvailable", &v) == -ENOENT,
	   "a file that is not there is ENOENT");
}

int main(void)
{
	char dir[] = "/tmp/test_vfio.XXXXXX", remove[64];

	if (!ok(mkdtemp(dir) && chdir(dir) == 0, "there is a directory"))
		return done_testing();
	setenv("SYSFS_ROOT", "sys", 1);
	setenv("PROCFS_ROOT", "proc", 1);
	make_func("0000:01:00.1", "../../../bus/pci/drivers/snd_hda_intel");
	make_func("0000:01:00.0", "../../../bus/pci/drivers/vfio-pci");
	make_func("0000:01:00.2", NULL);
	test_func();
	test_members();
	test_users();
	test_proc();
	snprintf(remove, sizeof(remove), "rm -rf %s", dir);
	ok(chdir("/") == 0 && system(remove) == 0, "the directory is removed");
	return done_testing();
}
