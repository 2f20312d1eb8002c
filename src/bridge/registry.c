/* SPDX-License-Identifier: MIT */
/* registry.c - parses the registry's files */
#include "bridge/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define FIRST_GUEST_CID 3u

enum key {
	KEY_CONNECT,
	KEY_SECRET_FILE,
	KEY_LISTEN,
	KEY_GPU,
	KEY_CAPS,
	KEY_QUOTA_CLASS,
	KEY__COUNT
};

static const struct {
	const char *name;
	enum reg_kind kind;
	bool optional;
} key_info[] = {
	[KEY_CONNECT] = { "connect", REG_GPU, false },
	[KEY_SECRET_FILE] = { "secret_file", REG_GPU, false },
	[KEY_LISTEN] = { "listen", REG_WORKER, false },
	[KEY_GPU] = { "gpu", REG_WORKER, false },
	[KEY_CAPS] = { "caps", REG_WORKER, false },
	[KEY_QUOTA_CLASS] = { "quota_class", REG_WORKER, true },
};
static_assert(ARRAY_SIZE(key_info) == KEY__COUNT, "a row for each key");

static const struct {
	const char *name;
	uint32_t bit;
} cap_info[] = {
	{ "utility", ISO_CAP_UTILITY },
	{ "compute", ISO_CAP_COMPUTE },
	{ "graphics", ISO_CAP_GRAPHICS },
	{ "video", ISO_CAP_VIDEO },
};

int reg_file_name(const char *file, char ret_name[static REG_NAME_MAX],
		  enum reg_kind *ret_kind)
{
	const char *dot = strchr(file, '.');
	char name[REG_NAME_MAX] = "";
	enum reg_kind kind;

	if (!dot || (size_t)(dot - file) >= sizeof(name))
		return -EINVAL;
	memcpy(name, file, (size_t)(dot - file));
	if (!name_ok(name))
		return -EINVAL;
	if (strcmp(dot, ".gpu") == 0)
		kind = REG_GPU;
	else if (strcmp(dot, ".worker") == 0)
		kind = REG_WORKER;
	else
		return -EINVAL;
	memcpy(ret_name, name, sizeof(name));
	*ret_kind = kind;
	return 0;
}

/* Copies a path. False if it is not absolute or does not fit. */
static bool copy_path(char *dst, size_t size, const char *v)
{
	if (v[0] != '/' || strlen(v) >= size)
		return false;
	memcpy(dst, v, strlen(v) + 1);
	return true;
}

static const char *set_connect(struct reg_entry *e, const char *v)
{
	if (sock_parse(v, &e->addr) < 0)
		return "connect: not hybrid:PATH:PORT, vsock:CID:PORT "
		       "or unix:PATH";
	if (e->addr.kind == SOCK_VSOCK && e->addr.cid < FIRST_GUEST_CID)
		return "connect: not the CID of a guest";
	return NULL;
}

/* `unix:PATH` or `vsock:CID`. NULL, or what is wrong. */
static const char *set_listen(struct reg_entry *e, const char *v)
{
	uint64_t cid;

	if (strncmp(v, "vsock:", 6) == 0) {
		if (parse_u64(v + 6, FIRST_GUEST_CID, UINT32_MAX - 1,
			      &cid) < 0)
			return "listen: not the CID of a guest";
		e->addr = (struct sock_addr){ .kind = SOCK_VSOCK,
					      .cid = (uint32_t)cid };
		return NULL;
	}
	if (sock_parse(v, &e->addr) < 0 || e->addr.kind != SOCK_UNIX)
		return "listen: not unix:PATH or vsock:CID";
	return NULL;
}

/* A comma list of capabilities, which may be empty. NULL, or what is wrong. */
static const char *set_caps(struct reg_entry *e, const char *v)
{
	while (*v) {
		size_t n = strcspn(v, ","), i;

		for (i = 0; i < ARRAY_SIZE(cap_info); i++)
			if (strlen(cap_info[i].name) == n &&
			    strncmp(v, cap_info[i].name, n) == 0)
				break;
		if (i == ARRAY_SIZE(cap_info))
			return "caps: not a list of utility, compute, "
			       "graphics and video";
		e->caps |= cap_info[i].bit;
		v += n;
		if (*v == ',' && *++v == 0)
			return "caps: ends in a comma";
	}
	return NULL;
}

/* Sets the key. NULL, or what is wrong with the value. */
static const char *set_key(struct reg_entry *e, enum key key, const char *v)
{
	uint64_t n;

	switch (key) {
	case KEY_CONNECT:
		return set_connect(e, v);
	case KEY_SECRET_FILE:
		return copy_path(e->secret_file, sizeof(e->secret_file), v) ?
			NULL : "secret_file: not an absolute path";
	case KEY_LISTEN:
		return set_listen(e, v);
	case KEY_GPU:
		if (!name_ok(v))
			return "gpu: not a name";
		memcpy(e->gpu, v, strlen(v) + 1);
		return NULL;
	case KEY_CAPS:
		return set_caps(e, v);
	case KEY_QUOTA_CLASS:
		if (parse_u64(v, 0, 0, &n) < 0)
			return "quota_class: not 0";
		e->quota_class = (uint32_t)n;
		return NULL;
	default:
		return "unknown key";
	}
}

/* Takes one line without its newline; *seen has a bit for each key so far.
 * NULL, or what is wrong with the line. */
static const char *parse_line(struct reg_entry *e, char *line,
			      unsigned int *seen)
{
	char *eq = strchr(line, '=');

	if (!line[0] || line[0] == '#')
		return NULL;
	if (!eq)
		return "not KEY=value";
	*eq = 0;
	for (enum key k = 0; k < KEY__COUNT; k++) {
		if (key_info[k].kind != e->kind ||
		    strcmp(line, key_info[k].name) != 0)
			continue;
		if (*seen & 1u << k)
			return "this key is given twice";
		*seen |= 1u << k;
		return set_key(e, k, eq + 1);
	}
	return "unknown key";
}

static int bad(struct reg_error *ret, unsigned int line, const char *why)
{
	*ret = (struct reg_error){ .line = line, .why = why };
	return -EINVAL;
}

int reg_parse(enum reg_kind kind, const char *name, const char *text, size_t n,
	      struct reg_entry *ret, struct reg_error *ret_error)
{
	struct reg_entry e = { .kind = kind };
	char buf[REG_FILE_MAX + 1];
	unsigned int seen = 0, line_no = 0;
	char *p = buf;

	if (n > REG_FILE_MAX)
		return bad(ret_error, 0, "too long");
	if (memchr(text, 0, n))
		return bad(ret_error, 0, "holds a NUL byte");
	memcpy(buf, text, n);
	buf[n] = 0;
	while (*p) {
		size_t len = strcspn(p, "\n");
		char *next = p + len + (p[len] == '\n');
		const char *why;

		p[len] = 0;
		line_no++;
		why = parse_line(&e, p, &seen);
		if (why)
			return bad(ret_error, line_no, why);
		p = next;
	}
	for (enum key k = 0; k < KEY__COUNT; k++)
		if (key_info[k].kind == kind && !key_info[k].optional &&
		    !(seen & 1u << k))
			return bad(ret_error, 0, "a key is missing");
	snprintf(e.name, sizeof(e.name), "%s", name);
	*ret = e;
	return 0;
}

bool reg_same(const struct reg_entry *a, const struct reg_entry *b)
{
	return a->kind == b->kind && strcmp(a->name, b->name) == 0 &&
	       a->addr.kind == b->addr.kind && a->addr.cid == b->addr.cid &&
	       a->addr.port == b->addr.port &&
	       strcmp(a->addr.path, b->addr.path) == 0 &&
	       strcmp(a->secret_file, b->secret_file) == 0 &&
	       strcmp(a->gpu, b->gpu) == 0 && a->caps == b->caps &&
	       a->quota_class == b->quota_class;
}
