/* SPDX-License-Identifier: MIT */
#include "sandbox/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "sandbox/sandbox.h"

#ifndef __x86_64__
#error "the system call filter knows x86-64 only"
#endif

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* Goes on `yes` or `no` instructions further down. */
#define IF_EQ(v, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, yes, no)
#define RETURN(v) BPF_STMT(BPF_RET | BPF_K, v)

/*
 * What the C library calls by itself: memory, output, threads' ends, abort, and
 * clocks where the vDSO has none (a guest without a usable clocksource).
 *
 * #syscalls: brk mmap munmap mremap madvise mprotect
 * #syscalls: read readv write writev close fstat newfstatat lseek
 * #syscalls: clock_gettime gettimeofday getrandom
 * #syscalls: rt_sigreturn rt_sigprocmask rt_sigaction restart_syscall
 * #syscalls: getpid gettid tgkill futex exit exit_group
 */
int filter_install(const int *syscalls, size_t n)
{
	/* One compare and one return per call is slow only on paper: the
	 * kernel runs the filter once per number and remembers "allow". */
	struct sock_filter prog[SANDBOX_MAX_SYSCALLS * 2 + 5] = {
		LOAD(arch),
		IF_EQ(AUDIT_ARCH_X86_64, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),	/* x32 numbers have bit 30 and match none */
	};
	struct sock_fprog fprog = { .filter = prog };
	size_t k = 4;

	if (SANITIZED) {
		log_warn("no system call filter in a build with sanitizers");
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		prog[k++] = (struct sock_filter)
			IF_EQ((uint32_t)syscalls[i], 0, 1);
		prog[k++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	}
	prog[k++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	fprog.len = (unsigned short)k;
	if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0)
		return -errno;
	return 0;
}
