/* SPDX-License-Identifier: MIT */
/*
 * conf.h - the configuration, as C programs read it
 *
 * A value comes from the environment (ISOSPIN_KEY), else from the file
 * (KEY@NAME=value, else KEY=value), else from the default. lib/base/conf.sh
 * reads the same in the same order, and has the same messages. Keys, types and
 * ranges stand in share/conf.tbl.
 */
#ifndef ISO_CONF_H
#define ISO_CONF_H

#include "base/base.h"

enum conf_type {
	CONF_T_INT,
	CONF_T_SIZE,
	CONF_T_BOOL,
	CONF_T_ENUM,
	CONF_T_LIST,
	CONF_T_STR,
	CONF_T_PATH,
	CONF_T_BDF,
	CONF_T_UUID,
	CONF_T_DRIVER,
};

struct conf_row {
	const char *name;
	enum conf_type type;
	const char *def;
	uint64_t min, max;	/* INT, SIZE: the value; STR, PATH: length */
	const char *choices;	/* ENUM, LIST: comma list */
};

#include "conf_tbl.h" /* enum conf_key */

extern const struct conf_row conf_rows[CONF__COUNT];

#define CONF_LINE_MAX 1024u	/* bytes of one line of the file */
#define CONF_ERROR_MAX 1400u

struct conf {
	char *value[CONF__COUNT];	/* owned; never NULL once loaded */
};

/*
 * Reads defaults, the file at path (NULL: none) and the environment, for the VM
 * vm_name (NULL: for no VM in particular). 0, and the caller frees by
 * conf_free(); or -EINVAL (bad key or value), -ENOENT and other -errno (of the
 * file), -ENOMEM: then conf is empty, and error holds one line with the place.
 */
int conf_load(struct conf *conf, const char *path, const char *vm_name,
	      char error[CONF_ERROR_MAX]);
void conf_free(struct conf *conf);

/* The value as text, or as a number: INT, SIZE in bytes, BOOL 0 or 1. */
const char *conf_str(const struct conf *conf, enum conf_key key);
uint64_t conf_num(const struct conf *conf, enum conf_key key);

#endif /* ISO_CONF_H */
