/* SPDX-License-Identifier: MIT */
/* filter.c - builds the system call filter */
#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/sandbox.h"

#ifndef __x86_64__
#error "the system call filter knows x86-64 only"
#endif

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* Skips `yes` or `no` instructions. */
#define IF_EQ(v, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, yes, no)
#define IF_BIT(v, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, v, yes, no)
#define RETURN(v) BPF_STMT(BPF_RET | BPF_K, v)

/* Instructions for each call, at most; and for the rest of the program. */
#define PER_CALL 8
#define FRAME 5

struct prog {
	struct sock_filter f[SANDBOX_MAX_SYSCALLS * PER_CALL + FRAME];
	unsigned short n;
};

static void add(struct prog *p, const struct sock_filter *f, size_t n)
{
	memcpy(p->f + p->n, f, n * sizeof(*f));
	p->n = (unsigned short)(p->n + n);
}

/*
 * Allows the call, except where it would outlive or reach beyond the process:
 * it may make threads but no process, and signal nothing but itself. fcntl()
 * could signal too, for a file with an owner (F_SETOWN) sends it a signal of
 * one's choice. The flags of clone3 stand in memory, where a filter cannot
 * look, so clone3 is answered with ENOSYS, and the C library takes clone.
 */
static void add_call(struct prog *p, int nr)
{
	const struct sock_filter plain[] = {
		IF_EQ((uint32_t)nr, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
	};
	const struct sock_filter threads[] = {
		IF_EQ(__NR_clone, 0, 4),
		LOAD(args[0]), /* its lower half, as below */
		IF_BIT(CLONE_THREAD, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_filter none[] = {
		IF_EQ(__NR_clone3, 0, 1),
		RETURN(SECCOMP_RET_ERRNO | ENOSYS),
	};
	const struct sock_filter flags[] = {
		IF_EQ(__NR_fcntl, 0, 7),
		LOAD(args[1]),
		IF_EQ(F_SETFD, 3, 0), /* fdopendir() */
		IF_EQ(F_GETFL, 2, 0),
		IF_EQ(F_SETFL, 1, 0),
		IF_EQ(F_GET_SEALS, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_filter self[] = {
		IF_EQ(__NR_tgkill, 0, 4),
		LOAD(args[0]),
		IF_EQ((uint32_t)getpid(), 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_KILL_PROCESS),
	};

	switch (nr) {
	case __NR_clone:
		add(p, threads, ARRAY_SIZE(threads));
		break;
	case __NR_clone3:
		add(p, none, ARRAY_SIZE(none));
		break;
	case __NR_fcntl:
		add(p, flags, ARRAY_SIZE(flags));
		break;
	case __NR_tgkill:
		add(p, self, ARRAY_SIZE(self));
		break;
	default:
		add(p, plain, ARRAY_SIZE(plain));
	}
}

/*
 * The calls that the C library makes by itself: for memory, output, the ends of
 * threads, abort(), and for clocks where the vDSO has none, as in a guest
 * without a usable clocksource.
 *
 * #syscalls: brk mmap munmap mremap madvise mprotect
 * #syscalls: read readv write writev close fstat newfstatat lseek
 * #syscalls: clock_gettime gettimeofday getrandom
 * #syscalls: rt_sigreturn rt_sigprocmask rt_sigaction restart_syscall
 * #syscalls: getpid gettid tgkill futex exit exit_group
 */
int filter_install(const int *syscalls, size_t n)
{
	/* A row of comparisons is fast enough: the kernel runs the filter once
	 * for each number and then remembers that it is allowed. */
	const struct sock_filter head[] = {
		LOAD(arch),
		IF_EQ(AUDIT_ARCH_X86_64, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),	/* x32 numbers have bit 30 and match none */
	};
	const struct sock_filter tail[] = { RETURN(SECCOMP_RET_KILL_PROCESS) };
	struct prog prog = { .n = 0 };
	struct sock_fprog fprog = { .filter = prog.f };

	if (SANITIZED) {
		log_warn("a build with sanitizers has no system call filter");
		return 0;
	}
	add(&prog, head, ARRAY_SIZE(head));
	for (size_t i = 0; i < n; i++)
		add_call(&prog, syscalls[i]);
	add(&prog, tail, ARRAY_SIZE(tail));
	fprog.len = prog.n;
	if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0)
		return -errno;
	return 0;
}
