/* SPDX-License-Identifier: MIT */
/* links: src/vsock-device */
/* test_vsock.c - tests streams within one batch of events */
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tap.h"
#include "vsock-device/vsock.h"

#define N 40

struct fixture {
	struct loop loop;
	struct vsock v;
	struct iso_ev driver;	/* the VMM's word that the driver is here */
};

static void on_driver(struct iso_ev *ev, uint32_t events)
{
	struct fixture *f = container_of(ev, struct fixture, driver);

	(void)events;
	vsock_stop(&f->v);
	vsock_start(&f->v, true);
}

static void restart_among_events(void)
{
	struct fixture f = { .driver = { .fn = on_driver } };
	int pair[N][2];

	loop_init(&f.loop);
	vsock_init(&f.v, &f.loop, 77, socket(AF_UNIX, SOCK_STREAM, 0));
	f.driver.fd = eventfd(1, EFD_NONBLOCK);
	/* It is ready first, so it is handled first. */
	loop_set(&f.loop, &f.driver, EPOLLIN);
	for (int i = 0; i < N; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			       pair[i]) < 0)
			perror("socketpair");
		hybrid_add(&f.v.hybrid, pair[i][1]);
		close(pair[i][0]);
	}
	loop_once(&f.loop, 0);
	vsock_reap(&f.v);
	ok(f.v.streams.list.n == 0,
	   "a driver's restart ends streams that have events in the batch");
	loop_del(&f.loop, &f.driver);
	close_fd(&f.driver.fd);
	vsock_fini(&f.v);
	loop_fini(&f.loop);
}

int main(void)
{
	restart_among_events();
	return done_testing();
}
