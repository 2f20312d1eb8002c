/* SPDX-License-Identifier: MIT */
/* test_sandbox.c - tries in a child the acts that the sandbox forbids */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/log.h"
#include "sandbox/sandbox.h"
#include "tap.h"

#ifdef __SANITIZE_ADDRESS__
#define FILTERED false
#else
#define FILTERED true
#endif

#define NOBODY 65534

static char dir[] = "/tmp/test_sandbox.XXXXXX";

static const int allowed[] = {
	__NR_read, __NR_write, __NR_close, __NR_openat, __NR_open,
	__NR_socket, __NR_bind, __NR_unlink, __NR_getuid, __NR_setuid,
	__NR_prctl, __NR_execve, __NR_fstat, __NR_newfstatat, __NR_prlimit64,
	__NR_access, __NR_fcntl, __NR_brk, __NR_mmap, __NR_munmap, __NR_exit,
	__NR_exit_group,
	/* threads, and abort() */
	__NR_clone, __NR_clone3, __NR_mprotect, __NR_madvise, __NR_futex,
	__NR_set_robust_list, __NR_rseq, __NR_rt_sigprocmask,
	__NR_rt_sigaction, __NR_getpid, __NR_gettid, __NR_tgkill,
};

static struct sandbox base_sandbox(void)
{
	return (struct sandbox){ .syscalls = allowed,
				 .n_syscalls = ARRAY_SIZE(allowed) };
}

/* Calls fn in a child inside the sandbox. Its value as exit status, 200 if the
 * sandbox could not be entered, or -signal. */
static int in_sandbox(const struct sandbox *s, int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (sandbox_enter(s) < 0)
			_exit(200);
		_exit(fn());
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 201;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int do_write(void)
{
	return write(2, "", 0) == 0 ? 0 : 1;
}

static int do_getppid(void)
{
	return syscall(__NR_getppid) > 0 ? 0 : 1;
}

static int do_x32(void)
{
	return syscall(0x40000000 | __NR_write, 2, "", 0) == 0 ? 0 : 1;
}

static void *thread(void *arg)
{
	return arg;
}

static int do_thread(void)
{
	pthread_t t;
	void *ret = NULL;

	if (pthread_create(&t, NULL, thread, dir) != 0 ||
	    pthread_join(t, &ret) != 0)
		return 1;
	return ret == dir ? 0 : 1;
}

static int do_clone(void)
{
	return syscall(__NR_clone, SIGCHLD, NULL, NULL, NULL, 0) < 0 ? 1 : 0;
}

static int do_clone3(void)
{
	return syscall(__NR_clone3, NULL, 0) < 0 && errno == ENOSYS ? 0 : 1;
}

static int do_abort(void)
{
	abort();
}

static int do_tgkill(void)
{
	return syscall(__NR_tgkill, 1, 1, 0) < 0 ? 1 : 0;
}

/* An open file sends its owner a signal when there is something to read. */
static int do_own_file(void)
{
	return fcntl(2, F_SETOWN, 1) < 0 ? 1 : 0;
}

static int do_nonblock(void)
{
	int fl = fcntl(2, F_GETFL);

	return fl >= 0 && fcntl(2, F_SETFL, fl) == 0 ? 0 : 1;
}

static int open_errno(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	return fd < 0 ? errno : 0;
}

static char inside[64], made[64];

static int do_read_inside(void)
{
	return open_errno(inside, O_RDONLY);
}

static int do_write_inside(void)
{
	return open_errno(inside, O_WRONLY);
}

static int do_read_outside(void)
{
	return open_errno("/etc/passwd", O_RDONLY);
}

static int do_exec(void)
{
	char *const argv[] = { NULL };

	execve("/bin/true", argv, argv);
	return errno;
}

static int do_socket_inside(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(un.sun_path, made, strlen(made) + 1);
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return errno;
	return unlink(made) < 0 ? errno : 0;
}

static int do_identity(void)
{
	if (getuid() != NOBODY)
		return 1;
	return syscall(__NR_setuid, 0) < 0 ? 0 : 2;
}

static int do_privileges(void)
{
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return 1;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
}

/* landlock does not hide that a path exists */
static int do_look_up(void)
{
	return access("/etc", F_OK) < 0 ? errno : 0;
}

static int do_limits(void)
{
	struct rlimit files, core;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    getrlimit(RLIMIT_CORE, &core) < 0)
		return 1;
	return files.rlim_cur == 17 && files.rlim_max == 17 &&
	       core.rlim_max == 0 ? 0 : 2;
}

static void test_filter(void)
{
	struct sandbox s = base_sandbox();

	ok(in_sandbox(&s, do_write) == 0, "a named system call works");
	if (FILTERED) {
		ok(in_sandbox(&s, do_getppid) == -SIGSYS,
		   "a system call that is not named kills the process");
		ok(in_sandbox(&s, do_x32) == -SIGSYS,
		   "the x32 number of a named system call kills the process");
		ok(in_sandbox(&s, do_clone) == -SIGSYS,
		   "a clone that makes a process kills its caller");
		ok(in_sandbox(&s, do_tgkill) == -SIGSYS,
		   "so does a signal to another process");
		ok(in_sandbox(&s, do_own_file) == -SIGSYS,
		   "and naming it as the owner of a file");
		ok(in_sandbox(&s, do_clone3) == 0, "clone3 is not there");
	}
	ok(in_sandbox(&s, do_nonblock) == 0, "a file's flags can be set");
	ok(in_sandbox(&s, do_thread) == 0, "a thread can be made");
	ok(in_sandbox(&s, do_abort) == -SIGABRT, "abort() is a SIGABRT");
	s.n_syscalls = 0;
	ok(sandbox_enter(&s) == -EINVAL, "an empty filter is refused");
	s.n_syscalls = SANDBOX_MAX_SYSCALLS + 1;
	ok(sandbox_enter(&s) == -EINVAL, "too long a filter is refused");
}

static void test_paths(void)
{
	struct sandbox s = base_sandbox();
	struct sandbox_path p = { dir, SANDBOX_READ };

	if (syscall(__NR_landlock_create_ruleset, NULL, 0, 1) < 1) {
		skip("no landlock", "paths are limited");
		return;
	}
	ok(in_sandbox(&s, do_read_inside) == EACCES,
	   "without a rule no file opens");
	ok(in_sandbox(&s, do_exec) == EACCES, "no program can be started");
	s.paths = &p;
	s.n_paths = 1;
	ok(in_sandbox(&s, do_read_inside) == 0,
	   "a file below a path with READ opens for reading");
	ok(in_sandbox(&s, do_write_inside) == EACCES, "but not for writing");
	ok(in_sandbox(&s, do_read_outside) == EACCES,
	   "a file elsewhere does not open");
	ok(in_sandbox(&s, do_socket_inside) == EACCES,
	   "a socket is not made below a path with READ only");
	p.rights = SANDBOX_SOCKET;
	ok(in_sandbox(&s, do_socket_inside) == 0,
	   "a socket is made and removed below a path with SOCKET");
	p.path = inside;
	p.rights = SANDBOX_READ | SANDBOX_LIST;
	ok(in_sandbox(&s, do_read_inside) == 0, "a rule may name a file");
	p.path = made;
	ok(in_sandbox(&s, do_write) == 200, "a path that is not there fails");
}

static void test_root(void)
{
	struct sandbox s = base_sandbox();

	if (geteuid() != 0) {
		skip("not root", "another user, no capability, an empty root");
		return;
	}
	ok(in_sandbox(&s, do_privileges) == 0,
	   "the bounding set is empty and no_new_privs is set");
	s.uid = s.gid = NOBODY;
	ok(in_sandbox(&s, do_identity) == 0,
	   "the process is another user and cannot go back");
	s.empty_root = true;
	ok(in_sandbox(&s, do_look_up) == ENOENT, "an empty root has no /etc");
	ok(access("/etc", F_OK) == 0, "and nobody else's root is empty");
}

static void test_limits(void)
{
	struct sandbox s = base_sandbox();
	struct sandbox_limit l = { RLIMIT_NOFILE, 17 };

	s.limits = &l;
	s.n_limits = 1;
	ok(in_sandbox(&s, do_limits) == 0,
	   "limits hold, and no core is written");
}

int main(void)
{
	int fd;

	log_init("test_sandbox");
	if (!mkdtemp(dir))
		return 1;
	snprintf(inside, sizeof(inside), "%s/file", dir);
	snprintf(made, sizeof(made), "%s/sock", dir);
	fd = open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	test_filter();
	test_paths();
	test_root();
	test_limits();
	unlink(inside);
	rmdir(dir);
	return done_testing();
}
