/* SPDX-License-Identifier: MIT */
/*
 * conf-dump.c - prints the configuration as the C programs read it
 *
 * usage: conf-dump [-c FILE] [NAME]
 *
 * A test compares its lines KEY=value with those of `isospin conf`.
 */
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"

int main(int argc, char **argv)
{
	const char *path = NULL, *name = NULL;
	char error[CONF_ERROR_MAX];
	struct conf conf;
	int i = 1;

	log_init("conf-dump");
	if (argc > 2 && strcmp(argv[1], "-c") == 0) {
		path = argv[2];
		i = 3;
	}
	if (i < argc)
		name = argv[i++];
	if (i < argc || (name && name[0] == '-'))
		die(ISO_EX_USAGE, "usage: conf-dump [-c FILE] [NAME]");
	if (conf_load(&conf, path, name, error) < 0)
		die(ISO_EX_CONFIG, "%s", error);
	for (int k = 0; k < CONF__COUNT; k++)
		printf("%s=%s\n", conf_rows[k].name,
		       conf_str(&conf, (enum conf_key)k));
	conf_free(&conf);
	return 0;
}
