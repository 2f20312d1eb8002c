/* SPDX-License-Identifier: MIT */
/* main.c - finds the command of isospin-vfio */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "vfio/vfio.h"

static const char usage[] =
	"usage: isospin-vfio COMMAND [OPTION...] BDF\n"
	"\n"
	"Says what VFIO knows about a PCI device that is bound to vfio-pci. BDF is\n"
	"its address, like 0000:01:00.0. The answer is JSON, one object a line.\n"
	"\n"
	"  group      print its IOMMU group: viable or not, and the members\n"
	"  info       print identity, reset support, limits of the IOMMU\n"
	"  regions    print BARs and other regions, and what can be mapped of them\n"
	"  irqs       print the kinds of interrupts, and how many there are of each\n"
	"  reset      reset it: alone if it can be, else with all of its bus\n"
	"  map-time   measure how long it takes to map memory for its DMA\n"
	"  hold       keep it open until a signal comes or it is unbound\n"
	"\n"
	"  --size N       map-time: bytes, with K, M or G\n"
	"  --chunk N      map-time: bytes of one mapping (1G)\n"
	"  -v, --verbose  log at level debug\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version of isospin\n"
	"\n"
	"Exit status: 0; 1 the group is not viable; 64 wrong usage; 69 there is no\n"
	"such device, it is not bound to vfio-pci, or what was asked cannot be\n"
	"done; 74 I/O error; 75 in use; 77 no permission.\n";

#define PAGE 4096u
#define MAX_SIZE (UINT64_C(1) << 46)

static const struct {
	const char *name;
	int (*run)(const char *bdf);	/* NULL: map-time */
} commands[] = {
	{ "group", vfio_group_main },
	{ "info", vfio_info_main },
	{ "regions", vfio_regions_main },
	{ "irqs", vfio_irqs_main },
	{ "reset", vfio_reset_main },
	{ "map-time", NULL },
	{ "hold", vfio_hold_main },
};

struct options {
	uint64_t size, chunk;	/* 0: not given */
};

static uint64_t size_option(const char *name, const char *value)
{
	uint64_t v;

	if (parse_size(value, PAGE, MAX_SIZE, &v) < 0 || v % PAGE)
		die(ISO_EX_USAGE, "--%s: '%s': must be 4K to 65536G, in multiples of 4K",
		    name, value);
	return v;
}

/* Checks what the command takes and runs it. An exit status. */
static int run(const char *name, const char *bdf, const struct options *o)
{
	struct pci_bdf parsed;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		if (parse_bdf(bdf, &parsed) < 0)
			die(ISO_EX_USAGE, "'%s' is not a PCI address like"
			    " 0000:01:00.0", bdf);
		if (commands[i].run) {
			if (o->size || o->chunk)
				die(ISO_EX_USAGE, "%s takes neither --size nor"
				    " --chunk", name);
			return commands[i].run(bdf);
		}
		if (!o->size)
			die(ISO_EX_USAGE, "map-time needs --size");
		return vfio_map_time_main(bdf, o->size,
					  MIN(o->chunk ? o->chunk : 1u << 30,
					      o->size));
	}
	die(ISO_EX_USAGE, "unknown command '%s'; see -h", name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "chunk", required_argument, NULL, 'k' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	struct options o = { 0 };
	int c;

	open_std_fds();
	log_init("isospin-vfio");
	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "vhV", options, NULL)) != -1) {
		switch (c) {
		case 's':
			o.size = size_option("size", optarg);
			break;
		case 'k':
			o.chunk = size_option("chunk", optarg);
			break;
		case 'v':
			log_set_level(LOG_LVL_DEBUG);
			break;
		case 'h':
			fputs(usage, stdout);
			return ISO_EX_OK;
		case 'V':
			puts("isospin-vfio " ISOSPIN_VERSION);
			return ISO_EX_OK;
		default:
			return ISO_EX_USAGE;
		}
	}
	if (argc - optind != 2)
		die(ISO_EX_USAGE, "a command and a device are needed; see -h");
	return run(argv[optind], argv[optind + 1], &o);
}
