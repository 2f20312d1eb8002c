/* SPDX-License-Identifier: MIT */
/* soft_host.c - reads the model of a GPU from the configuration, in the
 * monitor */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/num.h"
#include "drv/soft/soft.h"

static_assert(sizeof(struct soft_config) <= DRV_CONFIG_MAX, "it fits");

/* Reads "GPU-8-4-4-4-12". 0 or -EINVAL. */
static int read_uuid(const char *text, uint8_t ret_uuid[16])
{
	char hex[33];
	size_t n = 0;

	for (const char *p = text + strlen("GPU-"); *p && n < 32; p++)
		if (*p != '-')
			hex[n++] = *p;
	hex[n] = 0;
	return parse_hex(hex, ret_uuid, 16);
}

/* Reads the SOFT_GPU_* keys. 0, or -EINVAL for a value that conf_load() should
 * not have let pass. */
static int read_model(const struct conf *conf, struct soft_config *c)
{
	struct pci_bdf bdf = { 0 };

	if (read_uuid(conf_str(conf, CONF_SOFT_GPU_UUID), c->uuid) < 0 ||
	    parse_bdf(conf_str(conf, CONF_SOFT_GPU_BDF), &bdf) < 0)
		return -EINVAL;
	snprintf(c->name, sizeof(c->name), "%s",
		 conf_str(conf, CONF_SOFT_GPU_NAME));
	c->count = (uint32_t)conf_num(conf, CONF_SOFT_GPU_COUNT);
	c->mem_bytes = conf_num(conf, CONF_SOFT_GPU_MEM);
	c->domain = bdf.domain;
	c->bus = bdf.bus;
	c->slot = bdf.dev;
	c->function = bdf.func;
	c->util_percent = (uint32_t)conf_num(conf, CONF_SOFT_GPU_UTIL);
	c->temp_celsius = (uint32_t)conf_num(conf, CONF_SOFT_GPU_TEMP);
	c->power_mw = (uint32_t)conf_num(conf, CONF_SOFT_GPU_POWER_MW);
	c->max_objects = (uint32_t)conf_num(conf, CONF_MAX_OBJECTS);
	c->max_clients = (uint32_t)conf_num(conf, CONF_MAX_CLIENTS);
	c->max_mem_bytes = conf_num(conf, CONF_MAX_VIDMEM);
	return 0;
}

static void say_no_table(const char *version)
{
	char known[256] = "";
	const struct abi *abi;

	for (unsigned int i = 0; (abi = abi_at(i)) != NULL; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known),
			 " %s", abi->version);
	log_error("no call table for driver %s; there are tables for%s",
		  version, known);
}

/* The table of a near version will do, for this driver does whatever the table
 * says. The log says which one it is. */
static int host_new(const struct conf *conf, const char *version,
		    struct drv_host **ret_host)
{
	const struct abi *abi = abi_find_nearest(version);
	struct soft_config c = { 0 };
	struct drv_host *h;

	if (!abi || strlen(version) >= sizeof(h->config.version)) {
		say_no_table(version);
		return -EPROTONOSUPPORT;
	}
	if (strcmp(abi->version, version) != 0)
		log_info("driver %s: taking the call table of %s", version,
			 abi->version);
	if (read_model(conf, &c) < 0) {
		log_error("SOFT_GPU_UUID or SOFT_GPU_BDF: not a value that the configuration allows");
		return -EINVAL;
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->type = &drv_soft;
	memcpy(h->config.version, version, strlen(version) + 1);
	memcpy(h->config.bytes, &c, sizeof(c));
	h->config.len = sizeof(c);
	*ret_host = h;
	return 0;
}

static void host_free(struct drv_host *host)
{
	free(host);
}

/* Unpacks in a child what host_new() has packed. */
static int make(const struct drv_config *config, struct drv_env *env,
		struct drv **ret_drv)
{
	const struct abi *abi = abi_find_nearest(config->version);
	struct soft_config c;

	(void)env; /* there are no nodes to open */
	if (!abi || config->len != sizeof(c))
		return -EINVAL;
	memcpy(&c, config->bytes, sizeof(c));
	return soft_new(abi, config->version, &c, ret_drv);
}

const struct drv_type drv_soft = {
	.name = "soft",
	.host_new = host_new,
	.host_free = host_free,
	.make = make,
};
