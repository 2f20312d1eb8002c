/* SPDX-License-Identifier: MIT */
/* main.c - finds the subcommand of vmctl */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "vmctl/vmctl.h"

static const char usage[] =
"usage: vmctl COMMAND [OPTION...]\n"
"\n"
"  now       print CLOCK_MONOTONIC in nanoseconds\n"
"  tsc-khz   print the rate of the processor's time stamp counter\n"
"  cid       print the vsock address of this machine; status 1 if it has none\n"
"  wait      --file LOG --line TEXT [--fail TEXT] --timeout-ms N\n"
"            [--pid PID --start-time T]\n"
"            wait until LOG has a line that is TEXT or begins with TEXT and a\n"
"            space; print the time. Status 1 if the process ended, or if the\n"
"            --fail line came, which is printed; 75 at the deadline\n"
"  stop      --pid PID --start-time T [--grace-ms N]\n"
"            end the process by SIGTERM; after N ms (5000) by SIGKILL\n"
"  tie       --pid PID --start-time T --to-pid PID --to-start-time T\n"
"            [--grace-ms N]\n"
"            wait until the process --to-pid has ended; then stop --pid\n"
"  signal    --pid PID --start-time T --signal N\n"
"            send it; status 1 if the process has ended\n"
"  exec      (--uds PATH | --vsock CID) --port N --secret-file FILE [--tty]\n"
"            [--env NAME=VALUE]... [--cwd DIR] -- COMMAND [ARG...]\n"
"            run COMMAND in the guest, with our streams and signals. Status:\n"
"            COMMAND's; 125 vmctl failed, 126 it cannot be run, 127 it is not\n"
"            found, 128+n signal n ended it\n"
"  poweroff  (--uds PATH | --vsock CID) --port N --secret-file FILE\n"
"            end the guest; return when it is gone\n"
"  adopt     (--uds PATH | --vsock CID) --port N --secret-file FILE\n"
"            --name NAME --new-secret-file FILE [--timeout-ms N]\n"
"            make a clone of a template the worker NAME, whose secret is then\n"
"            the new one; wait for it for N ms (10000)\n"
"  api       --socket PATH [--pid PID --start-time T] [--timeout-ms N]\n"
"            METHOD PATH [BODY]\n"
"            send a request to a VMM's API, once the process serves it, and\n"
"            print the answer. Status 1 if the VMM refuses, 69 if nothing\n"
"            serves the socket, 75 at the deadline (30000)\n"
"  qmp       --socket PATH [--pid PID --start-time T] [--pass FILE]\n"
"            [--timeout-ms N] REQUEST...\n"
"            send requests to QEMU, up to the first that it refuses; print each\n"
"            answer. FILE is opened and handed over with the first request.\n"
"            Status as for api\n"
"  jail      --tmpfs DIR [--bind FROM TO]... -- COMMAND [ARG...]\n"
"            run COMMAND with mounts of its own: an empty file system at DIR,\n"
"            and each file or directory FROM at TO. It can gain no privilege\n"
"\n"
"  -h, --help, -V\n";

static int now_main(int argc, char **argv)
{
	(void)argv;
	if (argc != 1)
		die(ISO_EX_USAGE, "now takes no operand; see -h");
	printf("%llu\n", (unsigned long long)now_ns());
	return ISO_EX_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "now", now_main },
	{ "tsc-khz", tsc_main },
	{ "cid", cid_main },
	{ "wait", wait_main },
	{ "stop", stop_main },
	{ "tie", tie_main },
	{ "signal", signal_main },
	{ "exec", exec_main },
	{ "poweroff", poweroff_main },
	{ "adopt", adopt_main },
	{ "api", api_main },
	{ "qmp", qmp_main },
	{ "jail", jail_main },
};

uint64_t option_u64(const char *name, const char *value, uint64_t min,
		    uint64_t max)
{
	uint64_t v;

	if (parse_u64(value, min, max, &v) < 0)
		die(ISO_EX_USAGE, "--%s: '%s': must be a number from %llu to "
		    "%llu", name, value, (unsigned long long)min,
		    (unsigned long long)max);
	return v;
}

int main(int argc, char **argv)
{
	open_std_fds();
	log_init("vmctl");
	if (argc < 2)
		die(ISO_EX_USAGE, "no command; see -h");
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return ISO_EX_OK;
	}
	if (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version")) {
		puts("vmctl " ISOSPIN_VERSION);
		return ISO_EX_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	die(ISO_EX_USAGE, "unknown command '%s'; see -h", argv[1]);
}
