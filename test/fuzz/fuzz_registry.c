/* SPDX-License-Identifier: MIT */
/* links: src/bridge */
/* fuzz_registry.c - fuzzes files of the registry, their names, and secrets */
#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/secret.h"
#include "bridge/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t secret[SECRET_LEN];
	char file[64], name[REG_NAME_MAX];
	struct reg_error error = { 0 };
	struct reg_entry e;
	enum reg_kind kind;

	if (n < 1)
		return 0;
	kind = p[0] & 1 ? REG_WORKER : REG_GPU;
	p++;
	n--;
	if (reg_parse(kind, "vm", (const char *)p, n, &e, &error) == 0) {
		if (!reg_same(&e, &e) || (kind == REG_WORKER) != !!e.gpu[0])
			abort();
	} else if (!error.why) {
		abort();
	}
	(void)!secret_parse((const char *)p, n, secret);
	n = MIN(n, sizeof(file) - 1);
	memcpy(file, p, n);
	file[n] = 0;
	if (reg_file_name(file, name, &kind) == 0 && !name_ok(name))
		abort();
	return 0;
}
