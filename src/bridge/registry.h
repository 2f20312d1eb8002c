/* SPDX-License-Identifier: MIT */
/*
 * registry.h - the files that tell the bridge which VMs there are
 *
 * Each VM has a file, which bears its name. A file holds lines KEY=value, each
 * key at most once; empty lines and lines that begin with `#` are left out.
 *
 *	NAME.gpu	connect=hybrid:PATH:PORT | vsock:CID:PORT | unix:PATH
 *			secret_file=PATH
 *	NAME.worker	listen=unix:PATH | vsock:CID
 *			gpu=NAME
 *			caps=utility[,compute,...]	(may be empty)
 *			quota_class=0			(optional)
 */
#ifndef ISO_BRIDGE_REGISTRY_H
#define ISO_BRIDGE_REGISTRY_H

#include "abi/iso_wire.h"
#include "base/base.h"
#include "base/sock.h"

#define REG_FILE_MAX 4096u	/* bytes of one file */
#define REG_NAME_MAX 33		/* with its NUL */
#define REG_PATH_MAX 256

enum reg_kind { REG_GPU, REG_WORKER };

struct reg_entry {
	enum reg_kind kind;
	char name[REG_NAME_MAX];
	struct sock_addr addr;		/* connect or listen */
	char secret_file[REG_PATH_MAX];	/* GPU */
	char gpu[REG_NAME_MAX];		/* worker: name of its GPU VM */
	uint32_t caps;			/* worker: ISO_CAP_* */
	uint32_t quota_class;		/* worker */
};

/* Where and why a file is bad. */
struct reg_error {
	unsigned int line;	/* 0: the whole file */
	const char *why;	/* static */
};

/* `NAME.gpu` or `NAME.worker`. 0, or -EINVAL for any other name. */
int reg_file_name(const char *file, char ret_name[static REG_NAME_MAX],
		  enum reg_kind *ret_kind);

/* 0, or -EINVAL with *ret_error filled instead of *ret. */
int reg_parse(enum reg_kind kind, const char *name, const char *text, size_t n,
	      struct reg_entry *ret, struct reg_error *ret_error);

bool reg_same(const struct reg_entry *a, const struct reg_entry *b);

#endif /* ISO_BRIDGE_REGISTRY_H */
