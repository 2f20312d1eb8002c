/* SPDX-License-Identifier: MIT */
/*
 * wire-shim.h - a shim in user space, for wire-client
 *
 * Speaks the wire as the kernel module does. Where the broker breaks the
 * protocol, expect() says how and ends the program with status 1.
 */
#ifndef ISO_TEST_WIRE_SHIM_H
#define ISO_TEST_WIRE_SHIM_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "abi/abi.h"
#include "abi/iso_wire.h"
#include "abi_numbers.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/sock.h"
#include "base/wr.h"
#include "rm/arg.h"

#define MAX_BUF 4

struct frame {
	struct iso_hdr hdr;
	uint8_t *body;		/* ISO_MAX_FRAME bytes */
	size_t len;
};

struct client {
	struct sock_addr addr;
	uint8_t secret[ISO_SECRET_LEN];
	const char *name;
	uint32_t caps;
	bool ident;
	int fd;
	uint32_t next_tag;
	const struct abi *abi;
	struct frame in;
	struct wr *held;	/* takes the frames that are sent; or NULL */
};

/* One ioctl: its argument, the buffers of its pointers, and the bytes behind
 * nested pointers. The answer is written to all of them. */
struct ask {
	uint32_t file, nr;
	void *arg;
	uint32_t arg_len;
	uint32_t n;
	struct {
		void *p;	/* NULL: the pointer is NULL */
		uint32_t len;
		bool in;
	} buf[MAX_BUF];
	uint32_t n_need;	/* ranges of the NEED that came */
	uint8_t need[4096];	/* bytes that came back in the first of them */
};

#define expect(cond, ...)                          \
	do {                                       \
		if (!(cond))                       \
			die(ISO_EX_NO, __VA_ARGS__); \
	} while (0)

/* ---- frames ------------------------------------------------------------- */

void send_raw(struct client *c, const void *p, size_t n);
void send_frame(struct client *c, enum iso_type type, uint32_t tag,
		uint32_t file, const void *body, size_t n);
/* Into c->in. False at the end of the stream. */
bool recv_frame(struct client *c);
/* The body of the next frame, which is of that type. */
struct rd want_frame(struct client *c, enum iso_type type);
/* The broker closes, perhaps after a BYE. */
void want_closed(struct client *c);

/* ---- a good shim -------------------------------------------------------- */

void dial(struct client *c);
void say_ident(struct client *c);
/* The body of HELLO_OK. */
struct rd say_hello(struct client *c);
/* All of it: a new connection that is ready for calls. */
void join(struct client *c);
/* Opens a device as a process of the worker. The file; the errno in
 * *ret_err. */
uint32_t open_as(struct client *c, enum iso_dev kind, uint32_t tgid,
		 uint32_t *ret_err);
uint32_t open_dev(struct client *c, enum iso_dev kind);
void send_ioctl(struct client *c, const struct ask *a, uint32_t tag);
/* One whole call; a NEED is answered with zeroes. The errno. */
int ask(struct client *c, struct ask *a);

/* ---- RM calls ----------------------------------------------------------- */

/* A field of an argument or of parameters, by the table. */
void put(const struct abi_row *row, void *arg, enum abi_f f, uint64_t v);
uint64_t get(const struct abi_row *row, const void *arg, enum abi_f f);
const struct abi_row *escape(struct client *c, enum abi_r id);
/* The call of an argument on a file, with len bytes of parameters if p is not
 * NULL. */
struct ask ask_of(uint32_t file, struct rm_arg *arg, void *p, uint32_t len);
/* RM's status of an allocation; the new handle in *object. */
uint32_t rm_alloc_with(struct client *c, uint32_t file, uint32_t root,
		       uint32_t parent, uint32_t *object, uint32_t class,
		       void *params, uint32_t len);
/* A new RM client. */
uint32_t new_client(struct client *c, uint32_t file);
void want_status(uint32_t status, uint32_t wanted);
/* Starts a call that waits for MORE; its tag. */
uint32_t start_need(struct client *c, uint32_t file);
/* Sends SYS_PARAMS with that number as its argument; the tag. */
uint32_t send_sys_params(struct client *c, uint32_t file, uint64_t v);
/* The next frame is a RESULT without error; its tag. */
uint32_t want_result(struct client *c);

/* These three are inline, for src/rm has functions of the same names for
 * a program's own device files. */

static inline uint32_t rm_alloc(struct client *c, uint32_t file, uint32_t root,
				uint32_t parent, uint32_t *object,
				uint32_t class)
{
	return rm_alloc_with(c, file, root, parent, object, class, NULL, 0);
}

static inline uint32_t rm_free(struct client *c, uint32_t file, uint32_t root,
			       uint32_t object)
{
	struct rm_arg arg;
	struct ask a;

	rm_arg_free(&arg, escape(c, ABI_R_NV_ESC_RM_FREE), root, 0, object);
	a = ask_of(file, &arg, NULL, 0);
	expect(ask(c, &a) == 0, "RM_FREE fails");
	return rm_arg_status(&arg);
}

/* Makes a control. a holds the file, and afterwards the bytes that came back
 * for nested pointers. */
static inline uint32_t rm_control(struct client *c, struct ask *a,
				  uint32_t client, uint32_t object,
				  uint32_t cmd, void *params, uint32_t len)
{
	struct rm_arg arg;
	struct ask call;

	rm_arg_control(&arg, escape(c, ABI_R_NV_ESC_RM_CONTROL), client, object,
		       cmd, 0x7fff12345678, len);
	call = ask_of(a->file, &arg, params, len);
	a->nr = call.nr;
	a->arg = call.arg;
	a->arg_len = call.arg_len;
	a->n = call.n;
	a->buf[0] = call.buf[0];
	a->buf[0].len = len;
	a->buf[0].in = true;
	expect(ask(c, a) == 0, "RM_CONTROL 0x%x fails", cmd);
	expect(rm_arg_get(&arg, ABI_F_params) == 0x7fff12345678,
	       "the guest's pointer did not come back");
	a->arg = NULL;
	return rm_arg_status(&arg);
}

#endif /* ISO_TEST_WIRE_SHIM_H */
