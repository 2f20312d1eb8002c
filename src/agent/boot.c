/* SPDX-License-Identifier: MIT */
/* boot.c - reads what the host wrote for this boot */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "abi/iso_wire.h"
#include "agent/agent.h"
#include "base/num.h"
#include "base/sock.h"

#define MAX_LINE 256

int boot_secret(const char *path, uint8_t ret_secret[static SECRET_LEN])
{
	int r = secret_read(path, ret_secret);

	if (unlink(path) < 0 && r == 0)
		return -errno;
	return r;
}

static int set_string(char *dst, size_t cap, const char *v)
{
	size_t n = strlen(v);

	if (n == 0 || n >= cap)
		return -EINVAL;
	memcpy(dst, v, n + 1);
	return 0;
}

static int set_port(uint32_t *dst, const char *v)
{
	uint64_t port;

	if (parse_u64(v, 1, UINT32_MAX - 1, &port) < 0)
		return -EINVAL;
	*dst = (uint32_t)port;
	return 0;
}

/* One of two words. 0 or -EINVAL. */
static int set_choice(const char *v, const char *no, const char *yes,
		      bool *ret_yes)
{
	*ret_yes = strcmp(v, yes) == 0;
	return *ret_yes || strcmp(v, no) == 0 ? 0 : -EINVAL;
}

static int set_role(const char *v, enum agent_role *ret_role)
{
	static const char *const names[] = {
		[ROLE_WORKER] = "worker", [ROLE_GPU] = "gpu", [ROLE_LAB] = "lab",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(v, names[i]) == 0) {
			*ret_role = (enum agent_role)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Takes KEY=v. 0, or -EINVAL (unknown key or bad value). */
static int set_key(struct agent_boot *b, const char *key, const char *v)
{
	if (strcmp(key, "ROLE") == 0)
		return set_role(v, &b->role);
	if (strcmp(key, "NAME") == 0)
		return name_ok(v) ? set_string(b->name, sizeof(b->name), v) :
				    -EINVAL;
	if (strcmp(key, "AGENT_PORT") == 0)
		return set_port(&b->agent_port, v);
	if (strcmp(key, "BROKER_PORT") == 0)
		return set_port(&b->broker_port, v);
	if (strcmp(key, "DRIVER") == 0)
		return set_string(b->driver, sizeof(b->driver), v);
	if (strcmp(key, "DRIVER_VERSION") == 0)
		return set_string(b->driver_version,
				  sizeof(b->driver_version), v);
	if (strcmp(key, "IMAGE") == 0)
		return set_string(b->image, sizeof(b->image), v);
	if (strcmp(key, "POWEROFF") == 0)
		return set_choice(v, "acpi", "reset", &b->reset);
	if (strcmp(key, "TEMPLATE") == 0)
		return set_choice(v, "no", "yes", &b->template);
	/* the host notes it for itself */
	return strcmp(key, "CID") == 0 ? 0 : -EINVAL;
}

/* Takes one line of n bytes. 0 or -EINVAL. */
static int parse_line(struct agent_boot *b, const char *p, size_t n)
{
	char line[MAX_LINE], *eq;

	if (n == 0 || *p == '#')
		return 0;
	if (n >= sizeof(line) || memchr(p, 0, n))
		return -EINVAL;
	memcpy(line, p, n);
	line[n] = 0;
	eq = strchr(line, '=');
	if (!eq)
		return -EINVAL;
	*eq = 0;
	return set_key(b, line, eq + 1);
}

int boot_parse(const char *text, size_t n, struct agent_boot *ret_boot,
	       uint32_t *ret_line)
{
	struct agent_boot b = {
		.role = ROLE_WORKER,
		.name = "isospin",
		.driver = "soft",
		.agent_port = AGENT_PORT,
		.broker_port = ISO_BROKER_PORT,
	};
	const char *end = text + n;
	uint32_t line;

	for (line = 1; text < end; line++) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t len = (size_t)((nl ? nl : end) - text);

		if (parse_line(&b, text, len) < 0) {
			*ret_line = line;
			return -EINVAL;
		}
		text += len + 1;
	}
	if (b.template && b.role != ROLE_WORKER) {
		*ret_line = line - 1;
		return -EINVAL;
	}
	*ret_boot = b;
	return 0;
}
