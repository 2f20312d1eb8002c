/* SPDX-License-Identifier: MIT */
/*
 * test_drv_real.c - has the real driver's two halves serve a /dev made up here
 *
 * The monitor's half lists the GPUs, and opens nodes; the child's half has it
 * open them, and makes calls. ioctl() is this program's own function, which
 * plays NVIDIA's driver.
 */
/* links: src/broker src/broker/monitor src/broker/child src/drv/real */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/base.h"
#include "broker/child/opener.h"
#include "broker/monitor/opener.h"
#include "broker/proto.h"
#include "drv/real/real.h"
#include "tap.h"

#define VERSION "550.163.01"

/* How NVIDIA's driver answers, and its last call. */
static struct {
	const char *version;
	int n_cards;
	int32_t open_rc;
	int err;
	int fd;
	unsigned long request;
	uint8_t arg[64];
	void (*fn)(void *arg);
} nv = { .version = VERSION, .n_cards = 1 };

static const struct abi *abi;
static char top[] = "/tmp/test_drv_real.XXXXXX";
static char dev[64], proc[64], sys[64];

static const struct abi_row *row_of(enum abi_r id)
{
	return abi_row(abi, id);
}

static bool is_escape(unsigned long request, enum abi_r id)
{
	return _IOC_TYPE(request) == 'F' && _IOC_NR(request) == row_of(id)->nr;
}

static void play_cards(uint8_t *arg)
{
	const struct abi_row *row = row_of(ABI_R_NV_ESC_CARD_INFO);

	for (int i = 0; i < nv.n_cards; i++, arg += row->step) {
		abi_put(row, ABI_F_valid, 0, arg, row->step, 1);
		abi_put(row, ABI_F_pci_info_bus, 0, arg, row->step, 7);
		abi_put(row, ABI_F_pci_info_vendor_id, 0, arg, row->step,
			0x10de);
		abi_put(row, ABI_F_minor_number, 0, arg, row->step, 0);
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	const struct abi_row *row;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == SIOCOUTQ)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	nv.fd = fd;
	nv.request = request;
	if (is_escape(request, ABI_R_NV_ESC_CHECK_VERSION_STR)) {
		row = row_of(ABI_R_NV_ESC_CHECK_VERSION_STR);
		memcpy(abi_bytes(row, ABI_F_versionString, 0, arg,
				 row->sizes[0], &(size_t){ 0 }),
		       nv.version, strlen(nv.version) + 1);
	} else if (is_escape(request, ABI_R_NV_ESC_CARD_INFO)) {
		play_cards(arg);
	} else if (is_escape(request, ABI_R_NV_ESC_WAIT_OPEN_COMPLETE)) {
		row = row_of(ABI_R_NV_ESC_WAIT_OPEN_COMPLETE);
		abi_put(row, ABI_F_rc, 0, arg, row->sizes[0],
			(uint32_t)nv.open_rc);
	} else if (nv.err) {
		errno = nv.err;
		return -1;
	} else if (nv.fn) {
		nv.fn(arg);
	}
	return 0;
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f || fputs(text, f) < 0 || fclose(f))
		abort();
}

static void make_dirs(const char *dir, const char *below)
{
	char path[256];
	char *p;

	snprintf(path, sizeof(path), "%s/%s/", dir, below);
	for (p = path + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			(void)mkdir(path, 0700);
			*p = '/';
		}
}

static void link_node(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dev, name);
	if (symlink("/dev/null", path) < 0)
		abort();
}

static void make_tree(void)
{
	if (!mkdtemp(top))
		abort();
	snprintf(dev, sizeof(dev), "%s/dev", top);
	snprintf(proc, sizeof(proc), "%s/proc", top);
	snprintf(sys, sizeof(sys), "%s/sys", top);
	make_dirs(dev, ".");
	make_dirs(proc, "driver/nvidia/gpus/0000:07:00.0");
	make_dirs(sys, "bus/pci/devices/0000:07:00.0");
	link_node("nvidiactl");
	link_node("nvidia0");
	link_node("nvidia-uvm");
	write_file(proc, "driver/nvidia/gpus/0000:07:00.0/information",
		   "Model: \t\t NVIDIA H100 PCIe\nIRQ:   \t\t 16\n"
		   "GPU UUID: \t GPU-00000000-0000-4000-8000-000000000001\n");
	write_file(sys, "bus/pci/devices/0000:07:00.0/class", "0x030200\n");
	write_file(sys, "bus/pci/devices/0000:07:00.0/revision", "0xa1\n");
}

static void remove_tree(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf -- %s", top);
	if (system(command) != 0)
		abort();
}

/* ---- the monitor's half ------------------------------------------------- */

static void test_init(struct real_host *d)
{
	struct real_host other;

	nv.version = "550.163.02";
	ok(real_host_init(&other, dev, proc, sys) == -EPROTONOSUPPORT,
	   "a version whose table is only near is refused");
	real_host_fini(&other);
	nv.version = VERSION;
	nv.n_cards = 0;
	ok(real_host_init(&other, dev, proc, sys) == -ENODEV,
	   "a driver without a GPU is no driver");
	real_host_fini(&other);
	nv.n_cards = 1;
	ok(real_host_init(&other, top, proc, sys) == -ENOENT,
	   "no node, no driver");
	real_host_fini(&other);
	ok(real_host_init(d, dev, proc, sys) == 0 && d->gpus.n_gpus == 1,
	   "the driver says which GPUs there are");
	ok(d->abi == abi, "and its exact version gives the table");
	ok(strcmp(d->gpus.gpu[0].name, "NVIDIA H100 PCIe") == 0 &&
	   strncmp(d->gpus.gpu[0].uuid, "GPU-00000000-", 13) == 0 &&
	   d->gpus.gpu[0].class_code == 0x030200 && d->gpus.gpu[0].revision == 0xa1 &&
	   d->gpus.gpu[0].bus == 7 && d->gpus.gpu[0].vendor_id == 0x10de,
	   "name, UUID and PCI identity come from /proc and sysfs");
	ok(d->warm[0] >= 0, "the GPU stays open");
}

static int answer_to(const struct drv_host *d, const void *ask, size_t n)
{
	struct proto_reply reply = { .err = 1 };
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 ||
	    send(pair[1], ask, n, 0) != (ssize_t)n)
		abort();
	r = opener_serve(d, pair[0]);
	if (r == 0 && recv(pair[1], &reply, sizeof(reply), 0) < 0)
		abort();
	close(pair[0]);
	close(pair[1]);
	return r ? r : reply.err;
}

static void test_serve(const struct drv_host *d)
{
	static const struct {
		const char *what;
		struct proto_ask ask;
		int want;
	} asks[] = {
		{ "the control node is opened", { DRV_CTL, 0, O_RDWR }, 0 },
		{ "a GPU's too", { DRV_GPU, 0, O_RDWR | O_NONBLOCK }, 0 },
		{ "a GPU that is not there is ENODEV", { DRV_GPU, 1, O_RDWR },
		  -ENODEV },
		{ "so is a second control node", { DRV_CTL, 1, O_RDWR },
		  -ENODEV },
		{ "an absent node is ENOENT", { DRV_UVM_TOOLS, 0, O_RDWR },
		  -ENOENT },
		{ "an unknown kind is EINVAL", { DRV_KIND_COUNT, 0, O_RDWR },
		  -EINVAL },
		{ "so is O_CREAT", { DRV_CTL, 0, O_RDWR | O_CREAT }, -EINVAL },
		{ "and O_ACCMODE", { DRV_CTL, 0, O_ACCMODE }, -EINVAL },
	};
	const struct proto_ask ask = { .kind = DRV_CTL, .flags = O_RDWR };
	int pair[2];

	for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
		ok(answer_to(d, &asks[i].ask, sizeof(asks[i].ask)) ==
			   asks[i].want, "%s", asks[i].what);
	ok(answer_to(d, &ask, sizeof(ask) - 1) == -EPROTO,
	   "a question of another length breaks the rules");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	ok(opener_serve(d, pair[0]) == -EAGAIN, "without one there is none");
	for (int i = 0; i < 2; i++)
		if (send(pair[1], &ask, sizeof(ask), 0) < 0)
			abort();
	ok(opener_serve(d, pair[0]) == 0 &&
	   opener_serve(d, pair[0]) == -EPROTO,
	   "so does a second one before the first descriptor is taken");
	close(pair[1]);
	ok(opener_serve(d, pair[0]) == -EPIPE, "the child's end is the end");
	close(pair[0]);
}

/* ---- the child's half --------------------------------------------------- */

struct monitor {
	const struct drv_host *host;
	int sock;
};

static void *serve_all(void *arg)
{
	const struct monitor *m = arg;

	while (opener_serve(m->host, m->sock) == 0)
		;
	return NULL;
}

static struct drv_file *open_file(struct drv *drv, enum drv_kind kind,
				  uint32_t flags, int *ret_r)
{
	const struct drv_cred cred = { .tgid = 1 };
	struct drv_file *f = NULL;

	*ret_r = drv->ops->open(drv, kind, 0, flags, &cred, &f);
	return f;
}

static void test_open(struct drv *drv)
{
	struct drv_file *f;
	int r;

	nv.request = 0;
	f = open_file(drv, DRV_GPU, O_RDWR, &r);
	ok(f && is_escape(nv.request, ABI_R_NV_ESC_WAIT_OPEN_COMPLETE) &&
	   !(fcntl(nv.fd, F_GETFL) & O_NONBLOCK),
	   "the open of a GPU waits for it here, not in the monitor");
	ok(f && drv->ops->poll_fd(f) == nv.fd, "its events are the node's");
	if (f)
		drv->ops->close(f);
	nv.request = 0;
	f = open_file(drv, DRV_GPU, O_RDWR | O_NONBLOCK, &r);
	ok(f && nv.request == 0, "not if the guest wants to wait by itself");
	if (f)
		drv->ops->close(f);
	nv.open_rc = -EIO;
	f = open_file(drv, DRV_GPU, O_RDWR, &r);
	ok(!f && r == -EIO, "a GPU that does not come up has the driver's errno");
	nv.open_rc = 0;
	f = open_file(drv, DRV_UVM_TOOLS, O_RDWR, &r);
	ok(!f && r == -ENOENT, "an absent node has the errno of its open");
}

static uint64_t u64_at(const void *p, size_t off)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)p + off, sizeof(v));
	return v;
}

static int32_t i32_at(const void *p, size_t off)
{
	int32_t v;

	memcpy(&v, (const uint8_t *)p + off, sizeof(v));
	return v;
}

static void keep_arg(void *arg)
{
	memcpy(nv.arg, arg, 32);
}

static void test_pointers(struct drv_file *ctl)
{
	const struct abi_row *row = row_of(ABI_R_NV_ESC_RM_CONTROL);
	uint8_t arg[32] __attribute__((aligned(16))) = { 0 };
	uint8_t params[32] __attribute__((aligned(16))) = { 0 };
	uint8_t deep[8] __attribute__((aligned(16))) = { 0 };
	struct drv_mem mem[] = {
		{ .parent = -1, .off = 16, .len = sizeof(params),
		  .dir = ABI_INOUT, .ptr = params },
		{ .parent = 0, .off = 8, .len = sizeof(deep), .dir = ABI_OUT,
		  .ptr = deep },
	};
	struct drv_fd fd[] = {
		{ .parent = 0, .off = 20, .file = ctl },
		{ .parent = 0, .off = 24 },
	};
	struct drv_call call = { .row = row, .arg = arg, .len = sizeof(arg),
				 .n_mem = 2, .n_fd = 2, .mem = mem, .fd = fd };
	const struct drv_ops *ops = ctl->drv->ops;

	nv.fn = keep_arg;
	ok(ops->ioctl(ctl, &call) == 0 &&
	   nv.request == _IOC(_IOC_READ | _IOC_WRITE, 'F', row->nr,
			      sizeof(arg)),
	   "a call has NVIDIA's number");
	ok(u64_at(nv.arg, 16) == (uintptr_t)params &&
	   u64_at(params, 8) == (uintptr_t)deep,
	   "each address is one of the broker's buffers");
	ok(i32_at(params, 20) == nv.fd && i32_at(params, 24) == -1,
	   "each fd is the broker's own, and none is none");
	nv.err = ENOTTY;
	ok(ops->ioctl(ctl, &call) == -ENOTTY, "an errno of the driver is passed on");
	nv.err = 0;
	mem[1].off = 28;
	nv.request = 0;
	ok(ops->ioctl(ctl, &call) == -EINVAL && nv.request == 0,
	   "an address that does not fit its buffer is never given");
	mem[1].off = 8;
	fd[0].off = 30;
	ok(ops->ioctl(ctl, &call) == -EINVAL && nv.request == 0,
	   "nor is such an fd");
	nv.fn = NULL;
}

static void test_uvm(struct drv *drv)
{
	const struct abi_row *row = abi_row(abi, ABI_R_UVM_INITIALIZE);
	uint8_t arg[32] __attribute__((aligned(16))) = { 0 };
	struct drv_call call = { .row = row, .arg = arg,
				 .len = row->sizes[0] };
	struct drv_map map = { .len = 4096 };
	struct drv_file *f;
	int r;

	f = open_file(drv, DRV_UVM, O_RDWR, &r);
	nv.fn = keep_arg;
	ok(f && drv->ops->ioctl(f, &call) == 0 &&
	   nv.request == row->nr, "a call of UVM is a bare number");
	ok(abi_get(row, ABI_F_flags, 0, nv.arg, row->sizes[0]) == 2 &&
	   abi_get(row, ABI_F_flags, 0, arg, row->sizes[0]) == 0,
	   "UVM serves another address space, which the guest does not see");
	ok(f && drv->ops->poll_fd(f) == -1, "its node has no events");
	ok(f && drv->ops->mmap(f, &map) == -EOPNOTSUPP, "nothing can be mapped");
	nv.fn = NULL;
	if (f)
		drv->ops->close(f);
}

static void test_child(const struct drv_host *d)
{
	struct monitor m = { .host = d };
	struct opener opener;
	struct drv_file *ctl;
	struct drv_gpu gpu;
	struct drv *drv;
	pthread_t t;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		abort();
	m.sock = pair[0];
	opener_init(&opener, pair[1]);
	if (pthread_create(&t, NULL, serve_all, &m) ||
	    real_make(&d->config, &opener.env, &drv) < 0)
		abort();
	ok(strcmp(drv->version, VERSION) == 0 &&
	   drv->ops->gpu(drv, 0, &gpu) == 0 && gpu.bus == 7 &&
	   drv->ops->gpu(drv, 1, &gpu) == -ENODEV,
	   "the child knows version and GPUs");
	test_open(drv);
	ctl = open_file(drv, DRV_CTL, O_RDWR, &r);
	if (ok(ctl && r == 0, "the control node opens")) {
		test_pointers(ctl);
		drv->ops->close(ctl);
	}
	test_uvm(drv);
	shutdown(pair[0], SHUT_RDWR);
	pthread_join(t, NULL);
	ctl = open_file(drv, DRV_CTL, O_RDWR, &r);
	ok(!ctl && r == -ENODEV, "without a monitor nothing opens");
	drv->ops->destroy(drv);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	struct real_host d;

	abi = abi_find(VERSION);
	if (!ok(abi != NULL, "there is a table"))
		return done_testing();
	make_tree();
	test_init(&d);
	test_serve(&d.base);
	test_child(&d.base);
	real_host_fini(&d);
	remove_tree();
	return done_testing();
}
