/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - gives up privileges in stages
 *
 * Each stage needs something that a later one takes away, so their order is
 * fixed. Before the first, the process has opened all that it needs; it must
 * not have started a thread, for capabilities, landlock and the filter hold for
 * one thread and what it starts, nor read a byte of a peer.
 *
 *	1 set_limits()		Hard limits, which are not raised again.
 *
 *	2 landlock_rules()	Opens the paths that stay reachable. Must not
 *				restrict yet: landlock forbids the mounts of 3.
 *
 *	3 enter_empty_root()	Leaves the file system, if asked to, with
 *				CAP_SYS_ADMIN. No directory may be open, for it
 *				would lead out of a chroot, and no path may be
 *				looked up from here on.
 *
 *	4 drop_privilege()	The bounding set with CAP_SETPCAP, groups and
 *				user with CAP_SETGID and CAP_SETUID, then all
 *				capabilities. The user must not change before
 *				the groups.
 *
 *	5 lock()		No core dump, no tracing, no new privileges.
 *				Must not come before 4: changing the user sets
 *				anew whether the process can be traced.
 *
 *	6 landlock_restrict()	Without a capability this needs no_new_privs.
 *
 *	7 filter_install()	Allows what the loop calls, so that no stage can
 *				be run again.
 *
 * What a stage cannot do because the kernel is too old, or because the process
 * was never root, is left out and said at debug level. Any other failure leaves
 * the process between two stages, and it must end.
 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "sandbox/filter.h"

/* Headers may be older than the kernel: linux/landlock.h of 6.12. */
#define FS_EXECUTE	(1ull << 0)
#define FS_READ_FILE	(1ull << 2)
#define FS_READ_DIR	(1ull << 3)
#define FS_REMOVE_FILE	(1ull << 5)
#define FS_MAKE_SOCK	(1ull << 9)
#define FS_TRUNCATE	(1ull << 14)
#define NET_ALL		3ull	/* bind and connect of TCP */
#define SCOPE_ALL	3ull	/* abstract Unix sockets, signals */

struct ruleset_attr {
	uint64_t handled_fs;
	uint64_t handled_net;	/* ABI 4 */
	uint64_t scoped;	/* ABI 6 */
};

/* By ABI version: the file system rights that rules may name, and the size of
 * struct ruleset_attr. */
static const struct {
	uint64_t fs;
	size_t size;
} landlock_abi[] = {
	[1] = { (1ull << 13) - 1, 8 },
	[2] = { (1ull << 14) - 1, 8 },
	[3] = { (1ull << 15) - 1, 8 },
	[4] = { (1ull << 15) - 1, 16 },
	[5] = { (1ull << 16) - 1, 16 },
	[6] = { (1ull << 16) - 1, 24 },
};

/* Stage 1. 0 or -errno. */
static int set_limits(const struct sandbox *s)
{
	const struct rlimit no_core = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return -errno;
	for (size_t i = 0; i < s->n_limits; i++) {
		struct rlimit r;
		int resource = s->limits[i].resource;

		/* The sanitizers' shadow is larger than any memory. */
		if (SANITIZED && resource == RLIMIT_DATA)
			continue;
		if (getrlimit(resource, &r) < 0)
			return -errno;
		r.rlim_max = MIN((rlim_t)s->limits[i].max, r.rlim_max);
		r.rlim_cur = r.rlim_max;
		if (setrlimit(resource, &r) < 0)
			return -errno;
	}
	return 0;
}

/* Adds the rule for one path. 0 or -errno. */
static int landlock_add(int ruleset, const struct sandbox_path *p,
			uint64_t handled)
{
	struct landlock_path_beneath_attr rule = { 0 };
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (p->rights & SANDBOX_LIST)
		rule.allowed_access |= FS_READ_DIR;
	if (p->rights & SANDBOX_READ)
		rule.allowed_access |= FS_READ_FILE;
	if (p->rights & SANDBOX_SOCKET)
		rule.allowed_access |= FS_MAKE_SOCK | FS_REMOVE_FILE;
	fd = open(p->path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* a rule on a file may name rights of files only */
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_EXECUTE | FS_READ_FILE | FS_TRUNCATE;
	rule.allowed_access &= handled;
	if (!rule.allowed_access)
		return 0;
	rule.parent_fd = fd;
	if (syscall(__NR_landlock_add_rule, ruleset,
		    LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

/* Stage 2. *ret_fd is a ruleset that allows s->paths, or -1 where the kernel
 * has no landlock. 0 or -errno. */
static int landlock_rules(const struct sandbox *s, int *ret_fd)
{
	const struct sandbox_path proc = { "/proc",
					   SANDBOX_LIST | SANDBOX_READ };
	long abi = syscall(__NR_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr attr = { .handled_net = NET_ALL,
				     .scoped = SCOPE_ALL };
	_cleanup_close_ int fd = -1;
	int r;

	if (abi < 1) {
		log_debug("no landlock: %s", strerror(errno));
		*ret_fd = -1;
		return 0;
	}
	abi = MIN(abi, (long)ARRAY_SIZE(landlock_abi) - 1);
	attr.handled_fs = landlock_abi[abi].fs;
	fd = (int)syscall(__NR_landlock_create_ruleset, &attr,
			  landlock_abi[abi].size, 0);
	if (fd < 0)
		return -errno;
	if (SANITIZED) {
		r = landlock_add(fd, &proc, attr.handled_fs);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < s->n_paths; i++) {
		r = landlock_add(fd, &s->paths[i], attr.handled_fs);
		if (r < 0) {
			log_error("landlock rule for %s: %s", s->paths[i].path,
				  strerror(-r));
			return r;
		}
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Stage 3: a root with nothing in it, in a mount namespace of our own.
 * pivot_root lets go of the old root. From an initramfs that is not possible,
 * so chroot has to do: without CAP_SYS_CHROOT and without an open directory
 * there is no way back. 0 or -errno. */
static int enter_empty_root(void)
{
	if (geteuid() != 0) {
		log_debug("no empty root: not root");
		return 0;
	}
	if (unshare(CLONE_NEWNS) < 0) {
		log_debug("no empty root: %s", strerror(errno));
		return 0;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/proc", "tmpfs",
		  MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=1,mode=0555") < 0 ||
	    chdir("/proc") < 0)
		return -errno;
	if (syscall(__NR_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
	if (chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int drop_bounding_set(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	return 0;
}

/* Gives up all capabilities, ambient ones first. 0 or -errno. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct none[2] = { { 0 } };

	/* kernels without ambient capabilities have none to clear */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 &&
	    errno != EINVAL)
		return -errno;
	return syscall(__NR_capset, &head, none) < 0 ? -errno : 0;
}

/* Becomes another user, without supplementary groups. 0 or -errno. */
static int change_user(uid_t uid, gid_t gid)
{
	if (uid == 0)
		return 0;
	if (geteuid() != 0) {
		log_debug("not root: still uid %u", (unsigned int)geteuid());
		return 0;
	}
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

/* Stage 4. 0 or -errno. */
static int drop_privilege(const struct sandbox *s)
{
	int r = geteuid() == 0 ? drop_bounding_set() : 0;

	if (r == 0)
		r = change_user(s->uid, s->gid);
	if (r == 0)
		r = drop_capabilities();
	return r;
}

/* Stage 5. 0 or -errno. */
static int lock(void)
{
	if (prctl(PR_SET_DUMPABLE, SANITIZED, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/* Stage 6. Closes the ruleset, which may be -1. 0 or -errno. */
static int landlock_restrict(int *rules)
{
	if (*rules >= 0 && syscall(__NR_landlock_restrict_self, *rules, 0) < 0)
		return -errno;
	close_fd(rules);
	return 0;
}

int sandbox_enter(const struct sandbox *s)
{
	_cleanup_close_ int rules = -1;
	int r;

	if (s->n_syscalls == 0 || s->n_syscalls > SANDBOX_MAX_SYSCALLS)
		return -EINVAL;
	r = set_limits(s);
	if (r == 0)
		r = landlock_rules(s, &rules);
	if (r == 0 && s->empty_root)
		r = enter_empty_root();
	if (r == 0)
		r = drop_privilege(s);
	if (r == 0)
		r = lock();
	if (r == 0)
		r = landlock_restrict(&rules);
	if (r == 0)
		r = filter_install(s->syscalls, s->n_syscalls);
	return r;
}
