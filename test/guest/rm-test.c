/* SPDX-License-Identifier: MIT */
/*
 * rm-test.c - uses NVIDIA's device files in a worker, well and badly, for tests
 *
 * usage: rm-test SCENARIO [ARG]
 *
 * A scenario is a row of the table at the end. Some print TAP, the others print
 * the answers that they got; the status is 0 if all was as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "../tools/driver-test.h"
#include "../unit/tap.h"
#include "abi_numbers.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "rm/rm.h"

#define PARAMS_MAX  4096
#define THREADS	    32
#define MS	    1000000u
#define DEVICE	    0x80
#define SUBDEVICE   0x81
#define BAD_POINTER 0x10

/* A control file, and an RM client, which may be one of another file. */
struct who {
	const struct abi *abi;
	int fd;
	uint32_t client;
};

/* ---- calls -------------------------------------------------------------- */

static const struct abi_row *escape(const struct who *w, enum abi_r id)
{
	const struct abi_row *row = rm_escape(w->abi, id, RM_SHORTEST);

	if (!row)
		die(ISO_EX_BUG, "the table has no %s", abi_row_name(id));
	return row;
}

static void put(const struct abi_row *row, void *arg, enum abi_f f, uint64_t v)
{
	abi_put(row, f, 0, arg, row->sizes[0], v);
}

/* The next functions return RM's status, or -errno of the ioctl. */

static int64_t alloc_at(const struct who *w, uint32_t parent, uint32_t handle,
			uint32_t class, void *params)
{
	struct rm_arg a;

	rm_arg_alloc(&a, escape(w, ABI_R_NV_ESC_RM_ALLOC), w->client, parent,
		     handle, class, (uintptr_t)params);
	return rm_call(w->fd, &a);
}

/* With parameters of zeroes, enough for any class. */
static int64_t alloc(const struct who *w, uint32_t parent, uint32_t handle,
		     uint32_t class)
{
	uint8_t params[PARAMS_MAX] = { 0 };

	return alloc_at(w, parent, handle, class, params);
}

static int64_t release_object(const struct who *w, uint32_t handle)
{
	struct rm_arg a;

	rm_arg_free(&a, escape(w, ABI_R_NV_ESC_RM_FREE), w->client, 0, handle);
	return rm_call(w->fd, &a);
}

static int64_t control_at(const struct who *w, uint32_t object, uint32_t cmd,
			  uint64_t params, uint32_t len)
{
	struct rm_arg a;

	rm_arg_control(&a, escape(w, ABI_R_NV_ESC_RM_CONTROL), w->client,
		       object, cmd, params, len);
	return rm_call(w->fd, &a);
}

/* With parameters of zeroes, of the control's own length. */
static int64_t control(const struct who *w, uint32_t object, uint32_t cmd)
{
	uint8_t params[PARAMS_MAX] = { 0 };

	return control_at(w, object, cmd, (uintptr_t)params,
			  abi_control(w->abi, cmd)->sizes[0]);
}

/* On a device, and on a subdevice. */
static int64_t use_device(const struct who *w, uint32_t object)
{
	return control(w, object, NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE);
}

static int64_t use_subdevice(const struct who *w, uint32_t object)
{
	return control(w, object, NV2080_CTRL_CMD_GPU_GET_SIMULATION_INFO);
}

static int64_t use_client(const struct who *w)
{
	return control(w, w->client, NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS);
}

static int sys_params(int fd, uint64_t v)
{
	return rm_ioctl(fd, NV_ESC_SYS_PARAMS, &v, sizeof(v));
}

/* A client of a control file of its own. */
static struct who join(void)
{
	struct rm rm;

	if (rm_open(&rm) < 0)
		die(ISO_EX_UNAVAILABLE, "%s", rm.error);
	return (struct who){ rm.abi, rm.ctl, rm.client };
}

/* A device with a subdevice. */
static bool new_gpu(const struct who *w)
{
	const struct abi_row *row =
		abi_control(w->abi, NV0000_CTRL_CMD_GPU_ATTACH_IDS);
	uint8_t params[PARAMS_MAX] = { 0 };

	put(row, params, ABI_F_gpuIds, NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS);
	return control_at(w, w->client, row->nr, (uintptr_t)params,
			  row->sizes[0]) == NV_OK &&
	       alloc(w, w->client, DEVICE, NV01_DEVICE_0) == NV_OK &&
	       alloc(w, DEVICE, SUBDEVICE, NV20_SUBDEVICE_0) == NV_OK;
}

/* ---- objects ------------------------------------------------------------ */

static int do_objects(const char *arg)
{
	struct who w = join(), old;

	(void)arg;
	ok(new_gpu(&w), "a device below the client, a subdevice below it");
	ok(use_device(&w, DEVICE) == NV_OK &&
		   use_subdevice(&w, SUBDEVICE) == NV_OK,
	   "each takes the controls of its class");
	ok(use_device(&w, SUBDEVICE) == NV_ERR_NOT_SUPPORTED,
	   "a control of another class is not supported");
	ok(use_device(&w, 0x99) == NV_ERR_OBJECT_NOT_FOUND,
	   "a handle that never was is not found");
	ok(alloc(&w, DEVICE, SUBDEVICE, NV04_DISPLAY_COMMON) ==
		   NV_ERR_INSERT_DUPLICATE_NAME,
	   "a handle in use is not given twice");
	ok(alloc(&w, SUBDEVICE, 0x99, NV01_DEVICE_0) ==
		   NV_ERR_INVALID_OBJECT_PARENT,
	   "a parent of the wrong class is refused");
	ok(alloc(&w, 0x99, 0x98, NV20_SUBDEVICE_0) == NV_ERR_OBJECT_NOT_FOUND,
	   "so is one that never was");
	ok(release_object(&w, DEVICE) == NV_OK &&
		   use_device(&w, DEVICE) == NV_ERR_OBJECT_NOT_FOUND,
	   "a freed object is not found");
	ok(use_subdevice(&w, SUBDEVICE) == NV_ERR_OBJECT_NOT_FOUND,
	   "nor is what was below it");
	ok(new_gpu(&w), "the handles of both are free again");
	old = w;
	ok(release_object(&w, w.client) == NV_OK &&
		   use_client(&w) == NV_ERR_INVALID_CLIENT,
	   "a freed client is none any more");
	ok(use_subdevice(&w, SUBDEVICE) == NV_ERR_INVALID_CLIENT,
	   "nor has it objects");
	w = join();
	ok(use_subdevice(&w, SUBDEVICE) == NV_ERR_OBJECT_NOT_FOUND,
	   "a new client does not inherit them");
	close(old.fd);
	close(w.fd);
	return done_testing();
}

/* Calls with the RM client of another file, in the same process and another. */
static int do_foreign(const char *arg)
{
	struct who mine = join(), other = join(), thief;
	int status = -1;
	pid_t pid;

	(void)arg;
	new_gpu(&mine);
	thief = (struct who){ mine.abi, other.fd, mine.client };
	ok(use_device(&thief, DEVICE) == NV_ERR_INVALID_CLIENT &&
		   release_object(&thief, DEVICE) == NV_ERR_INVALID_CLIENT &&
		   alloc(&thief, DEVICE, 0x99, NV04_DISPLAY_COMMON) ==
			   NV_ERR_INVALID_CLIENT,
	   "another file's client is refused, in every call");
	pid = fork();
	if (pid == 0) {
		thief.fd = join().fd;
		_exit(use_device(&thief, DEVICE) != NV_ERR_INVALID_CLIENT);
	}
	ok(waitpid(pid, &status, 0) == pid && status == 0,
	   "another process's client too");
	ok(use_device(&mine, DEVICE) == NV_OK, "its owner has it as before");
	close(other.fd);
	close(mine.fd);
	return done_testing();
}

/* Makes ARG RM clients, prints the last handle, stays until stdin ends. */
static int do_hold(const char *arg)
{
	struct who w;
	uint64_t n;
	char byte;

	if (parse_u64(arg, 1, 100, &n))
		return ISO_EX_USAGE;
	while (n--)
		w = join();
	new_gpu(&w);
	printf("client 0x%x\n", w.client);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return use_device(&w, DEVICE) == NV_OK ? ISO_EX_OK : ISO_EX_NO;
}

/* Calls with the RM client ARG, which is another worker's. */
static int do_steal(const char *arg)
{
	struct who w = join();
	uint64_t handle = strtoul(arg, NULL, 0);

	w.client = (uint32_t)handle;
	ok(use_device(&w, DEVICE) == NV_ERR_INVALID_CLIENT,
	   "another worker's client takes no control");
	ok(use_client(&w) == NV_ERR_INVALID_CLIENT, "nor do its objects");
	ok(alloc(&w, DEVICE, 0x99, NV04_DISPLAY_COMMON) ==
		   NV_ERR_INVALID_CLIENT,
	   "nothing is made below them");
	ok(release_object(&w, DEVICE) != NV_OK, "nothing is freed");
	return done_testing();
}

/* ---- bad calls ---------------------------------------------------------- */

static void bad_ioctls(const struct who *w)
{
	uint8_t buf[PARAMS_MAX] = { 0 };

	ok(rm_ioctl(w->fd, 0xee, buf, 64) == -EINVAL, "an unknown ioctl is EINVAL");
	ok(rm_ioctl(w->fd, NV_ESC_RM_CONTROL, buf, 31) == -EINVAL,
	   "an ioctl of a wrong size is EINVAL");
	ok(rm_ioctl(w->fd, NV_ESC_RM_CONTROL, (void *)BAD_POINTER, 32) == -EFAULT,
	   "a bad argument is EFAULT");
	ok(ioctl(w->fd, 0x12345678, buf) < 0 && errno == EINVAL,
	   "an ioctl of another kind is EINVAL");
}

static void bad_controls(const struct who *w)
{
	uint32_t cmd = NV0000_CTRL_CMD_GPU_GET_PROBED_IDS;
	uint32_t len = abi_control(w->abi, cmd)->sizes[0];
	uint8_t buf[PARAMS_MAX] = { 0 };

	ok(control_at(w, w->client, 0x7777, (uintptr_t)buf, 64) ==
		   NV_ERR_NOT_SUPPORTED,
	   "an unknown control is not supported");
	ok(control_at(w, w->client, cmd, (uintptr_t)buf, len + 4) ==
		   NV_ERR_INVALID_ARGUMENT,
	   "a control of a wrong size is refused");
	ok(control_at(w, w->client, cmd, 0, len) != NV_OK,
	   "so is one without its parameters");
	ok(control_at(w, w->client, cmd, BAD_POINTER, len) == -EFAULT,
	   "bad parameters are EFAULT");
	ok(control_at(w, w->client, cmd, 0xffff888000000000, len) == -EFAULT,
	   "parameters in the kernel are EFAULT");
	ok(control_at(w, w->client, cmd, (uintptr_t)buf, UINT32_MAX) == -EINVAL,
	   "parameters of 4 GiB are EINVAL");
	ok(alloc(w, w->client, 0x99, 0x5555) == NV_ERR_INVALID_CLASS,
	   "an unknown class is refused");
	ok(alloc_at(w, w->client, 0x99, NV01_DEVICE_0, (void *)BAD_POINTER) ==
		   -EFAULT,
	   "bad parameters of a class are EFAULT");
}

static void bad_nested(const struct who *w)
{
	const struct abi_row *row =
		abi_control(w->abi, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	uint8_t params[PARAMS_MAX] = { 0 };
	char text[64] = "";

	put(row, params, ABI_F_pDriverVersionBuffer, (uintptr_t)text);
	put(row, params, ABI_F_sizeOfStrings, sizeof(text));
	ok(control_at(w, w->client, row->nr, (uintptr_t)params,
		      row->sizes[0]) == NV_OK &&
		   text[0],
	   "a nested pointer is followed");
	put(row, params, ABI_F_sizeOfStrings, UINT32_MAX);
	ok(control_at(w, w->client, row->nr, (uintptr_t)params,
		      row->sizes[0]) == NV_ERR_INVALID_ARGUMENT,
	   "a nested length of 4 GiB is refused");
	put(row, params, ABI_F_sizeOfStrings, sizeof(text));
	put(row, params, ABI_F_pDriverVersionBuffer, BAD_POINTER);
	ok(control_at(w, w->client, row->nr, (uintptr_t)params,
		      row->sizes[0]) == -EFAULT,
	   "a bad nested pointer is EFAULT");
}

static int do_bad(const char *arg)
{
	struct who w = join();

	(void)arg;
	bad_ioctls(&w);
	bad_controls(&w);
	bad_nested(&w);
	ok(use_client(&w) == NV_OK, "and the client is none the worse");
	return done_testing();
}

/* ---- with gpu-broker-test --driver block -------------------------------- */

struct blocked {
	pthread_t thread;
	int fd;
	uint64_t since_ns; /* when it returned */
	_Atomic int ret; /* 1: still out */
};

static void *block_main(void *p)
{
	struct blocked *b = p;
	int r = sys_params(b->fd, DRIVER_TEST_BLOCK);

	b->since_ns = now_ns();
	b->ret = r;
	return NULL;
}

/* Makes a call that does not return. Other calls come and go meanwhile, so that
 * it is in the driver afterwards. */
static void block(struct blocked *b, int fd)
{
	*b = (struct blocked){ .fd = fd, .ret = 1 };
	pthread_create(&b->thread, NULL, block_main, b);
	for (int i = 0; i < 50; i++)
		sys_params(fd, 0);
}

static void *caller_main(void *p)
{
	struct blocked *b = p;
	int bad = 0;

	for (int i = 0; i < 20; i++)
		bad += sys_params(b->fd, 0) != 0;
	b->ret = bad;
	return NULL;
}

static int do_threads(const char *arg)
{
	struct blocked b, t[THREADS - 1];
	struct who w = join();
	int bad = 0;

	(void)arg;
	block(&b, w.fd);
	for (int i = 0; i < THREADS - 1; i++) {
		t[i] = (struct blocked){ .fd = w.fd, .ret = 1 };
		pthread_create(&t[i].thread, NULL, caller_main, &t[i]);
	}
	for (int i = 0; i < THREADS - 1; i++) {
		pthread_join(t[i].thread, NULL);
		bad += t[i].ret;
	}
	ok(bad == 0, "with one call blocked, 31 threads make 20 each");
	ok(b.ret == 1, "the blocked one is still out");
	ok(sys_params(w.fd, DRIVER_TEST_RELEASE) == 0, "it is released");
	pthread_join(b.thread, NULL);
	ok(b.ret == 0, "and returns");
	return done_testing();
}

/* The test kills it, or its broker, in the middle of a call. */
static int do_block(const char *arg)
{
	struct who w = join();
	struct blocked b;

	(void)arg;
	block(&b, w.fd);
	puts("blocked");
	fflush(stdout);
	pthread_join(b.thread, NULL);
	return b.ret == -ENODEV ? ISO_EX_OK : ISO_EX_NO;
}

static int do_release(const char *arg)
{
	struct who w = join();

	(void)arg;
	return sys_params(w.fd, DRIVER_TEST_RELEASE) ? ISO_EX_NO : ISO_EX_OK;
}

/* Opens a file until one works, for a minute. */
static bool reopen(void)
{
	uint64_t end = now_ns() + 60000ull * MS;
	int fd, r;

	do {
		fd = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
		r = fd < 0 ? -errno : sys_params(fd, 0);
		close_fd(&fd);
	} while (r < 0 && now_ns() < end);
	return r == 0;
}

/*
 * Calls without a pause, with another call blocked, until the link is lost.
 * Times count from the return of the last good call. The link was lost after
 * that, so no time that is printed is too short.
 */
static int do_watch(const char *arg)
{
	struct who w = join();
	uint64_t last, lost;
	struct blocked b;
	int r;

	(void)arg;
	block(&b, w.fd);
	puts("watching");
	fflush(stdout);
	last = now_ns();
	while ((r = sys_params(w.fd, 0)) == 0)
		last = now_ns();
	lost = now_ns();
	pthread_join(b.thread, NULL);
	printf("call: %s after %llu ms\n", strerror(-r),
	       (unsigned long long)((lost - last) / MS));
	printf("blocked call: %s after %llu ms\n", strerror(-b.ret),
	       (unsigned long long)((MAX(b.since_ns, last) - last) / MS));
	fflush(stdout);
	if (!reopen())
		return ISO_EX_NO;
	printf("new file: works after %llu ms\n",
	       (unsigned long long)((now_ns() - lost) / MS));
	printf("old file: %s\n", strerror(-sys_params(w.fd, 0)));
	return ISO_EX_OK;
}

/* Calls without a pause until the file ARG exists. */
static int do_steady(const char *arg)
{
	uint64_t from, longest = 0;
	struct who w = join();
	int r;

	puts("steady");
	fflush(stdout);
	do {
		from = now_ns();
		r = sys_params(w.fd, 0);
		longest = MAX(longest, now_ns() - from);
	} while (r == 0 && access(arg, F_OK) < 0);
	printf("call: %s, longest %llu ms\n", r ? strerror(-r) : "well",
	       (unsigned long long)(longest / MS));
	return r ? ISO_EX_NO : ISO_EX_OK;
}

/* ---- main --------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*fn)(const char *arg);
} scenarios[] = {
	{ "objects", do_objects }, { "foreign", do_foreign },
	{ "hold", do_hold },	   { "steal", do_steal },
	{ "bad", do_bad },	   { "threads", do_threads },
	{ "block", do_block },	   { "release", do_release },
	{ "watch", do_watch },	   { "steady", do_steady },
};

int main(int argc, char **argv)
{
	log_init("rm-test");
	for (size_t i = 0; argc >= 2 && i < ARRAY_SIZE(scenarios); i++)
		if (strcmp(scenarios[i].name, argv[1]) == 0)
			return scenarios[i].fn(argc > 2 ? argv[2] : "");
	die(ISO_EX_USAGE, "usage: rm-test SCENARIO [ARG]");
}
