/* SPDX-License-Identifier: MIT */
/* sysfs.c - reads about PCI functions in /sys and /proc */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "vfio/vfio.h"

#define MAX_PROC_FILE 16384

static inline void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _cleanup_closedir_ __attribute__((cleanup(cleanup_closedir)))

/* A directory, for which tests have another. */
static const char *root(const char *name, const char *usual)
{
	const char *dir = getenv(name);

	return dir && *dir ? dir : usual;
}

static const char *sysfs(void)
{
	return root("SYSFS_ROOT", "/sys");
}

static const char *procfs(void)
{
	return root("PROCFS_ROOT", "/proc");
}

static _printf_(2, 3) int format_path(char ret[PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(ret, PATH_MAX, fmt, ap);
	va_end(ap);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The last component of a link's target. 0, -ENOENT, or another -errno. */
static int link_name(const char *path, char *ret_name, size_t n)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	if (len < 0)
		return -errno;
	target[len] = 0;
	slash = strrchr(target, '/');
	slash = slash ? slash + 1 : target;
	if (strlen(slash) >= n)
		return -ENAMETOOLONG;
	strcpy(ret_name, slash);
	return 0;
}

int vfio_func_read(const char *bdf, struct vfio_func *ret_func)
{
	struct vfio_func func = { .group = -1 };
	char path[PATH_MAX], group[16];
	uint64_t number;
	int r;

	snprintf(func.bdf, sizeof(func.bdf), "%s", bdf);
	r = format_path(path, "%s/bus/pci/devices/%s", sysfs(), bdf);
	if (r < 0)
		return r;
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	r = format_path(path, "%s/bus/pci/devices/%s/driver", sysfs(), bdf);
	if (r == 0)
		r = link_name(path, func.driver, sizeof(func.driver));
	if (r < 0 && r != -ENOENT)
		return r;
	r = format_path(path, "%s/bus/pci/devices/%s/iommu_group", sysfs(),
			bdf);
	if (r == 0)
		r = link_name(path, group, sizeof(group));
	if (r == 0) {
		r = parse_u64(group, 0, INT_MAX, &number);
		func.group = r == 0 ? (int)number : -1;
	}
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_func = func;
	return 0;
}

bool vfio_func_bound(const struct vfio_func *func)
{
	static const char suffix[] = "vfio-pci";
	size_t n = strlen(func->driver);

	return n >= sizeof(suffix) - 1 &&
	       strcmp(func->driver + n - (sizeof(suffix) - 1), suffix) == 0;
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct vfio_func *)a)->bdf,
		      ((const struct vfio_func *)b)->bdf);
}

int vfio_members(int group, struct vfio_func ret_member[VFIO_MAX_MEMBERS],
		 size_t *ret_n)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *entry;
	char path[PATH_MAX];
	size_t n = 0;
	int r;

	r = format_path(path, "%s/kernel/iommu_groups/%d/devices", sysfs(),
			group);
	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		struct pci_bdf bdf;

		if (parse_bdf(entry->d_name, &bdf) < 0)
			continue;
		if (n == VFIO_MAX_MEMBERS)
			return -E2BIG;
		r = vfio_func_read(entry->d_name, &ret_member[n]);
		if (r == -ENODEV) /* removed since */
			continue;
		if (r < 0)
			return r;
		n++;
	}
	qsort(ret_member, n, sizeof(ret_member[0]), by_address);
	*ret_n = n;
	return 0;
}

/* Whether the process has that file open. */
static bool has_open(const char *pid, const char *file)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *entry;
	char path[PATH_MAX];

	if (format_path(path, "%s/%s/fd", procfs(), pid) < 0)
		return false;
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char target[64];
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target,
				       sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (strcmp(target, file) == 0)
			return true;
	}
	return false;
}

/* A file of /proc, as text. 0 or -errno. */
static int read_proc(const char *file, char *ret_text, size_t n)
{
	char path[PATH_MAX];
	ssize_t r = format_path(path, "%s/%s", procfs(), file);

	if (r == 0)
		r = file_read(AT_FDCWD, path, ret_text, n);
	return r < 0 ? (int)r : 0;
}

/* Appends "pid N (NAME)" to text, which has room for n bytes. */
static void add_user(const char *pid, char *text, size_t n)
{
	char file[64], comm[32] = "?";
	size_t have = strlen(text);

	snprintf(file, sizeof(file), "%.20s/comm", pid);
	if (read_proc(file, comm, sizeof(comm)) == 0)
		comm[strcspn(comm, "\n")] = 0;
	snprintf(text + have, n - have, "%spid %.20s (%s)", have ? ", " : "",
		 pid, comm);
}

void vfio_users(int group, char *ret_text, size_t n)
{
	_cleanup_closedir_ DIR *dir = opendir(procfs());
	const struct dirent *entry;
	char node[32];
	uint64_t pid;

	ret_text[0] = 0;
	snprintf(node, sizeof(node), "/dev/vfio/%d", group);
	while (dir && (entry = readdir(dir)))
		if (parse_u64(entry->d_name, 1, INT_MAX, &pid) == 0 &&
		    has_open(entry->d_name, node))
			add_user(entry->d_name, ret_text, n);
	if (!ret_text[0])
		snprintf(ret_text, n, "a process that cannot be seen");
}

int vfio_proc_kib(const char *file, const char *name, uint64_t *ret_bytes)
{
	char text[MAX_PROC_FILE];
	int r = read_proc(file, text, sizeof(text));

	return r < 0 ? r : parse_kib(text, name, ret_bytes);
}
