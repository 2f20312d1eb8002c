/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
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
"  cid       print the vsock address of this machine itself; 1 if it has none\n"
"  wait      --file LOG --line TEXT [--fail TEXT] --timeout-ms N\n"
"            [--pid PID --start-time T]\n"
"            wait until LOG has a line that is TEXT, or TEXT and a space and\n"
"            more, and print the time; 1 if the process ended or the --fail\n"
"            line came (it is printed), 75 at the deadline\n"
"  stop      --pid PID --start-time T [--grace-ms N]\n"
"            SIGTERM, then SIGKILL after N ms (5000)\n"
"  tie       --pid PID --start-time T --to-pid PID --to-start-time T\n"
"            [--grace-ms N]\n"
"            wait, and stop the one process when the other has ended\n"
"  signal    --pid PID --start-time T --signal N\n"
"            0 sent, 1 the process has ended\n"
"  exec      (--uds PATH | --vsock CID) --port N --secret-file FILE [--tty]\n"
"            [--env NAME=VALUE]... [--cwd DIR] -- COMMAND [ARG...]\n"
"            run COMMAND in the guest: its streams, signals and status; 125\n"
"            own failure, 126 cannot be run, 127 not found, 128+n signal n\n"
"  poweroff  (--uds PATH | --vsock CID) --port N --secret-file FILE\n"
"            end the guest\n"
"  adopt     (--uds PATH | --vsock CID) --port N --secret-file FILE\n"
"            --name NAME --new-secret-file FILE [--timeout-ms N]\n"
"            make the worker NAME of a template that goes on: its secret is the\n"
"            new one from then on; waits for it (10000 ms)\n"
"  api       --socket PATH [--pid PID --start-time T] [--timeout-ms N]\n"
"            METHOD PATH [BODY]\n"
"            one request to a monitor's API, once the process serves it; prints\n"
"            what it answers; 0 it did it, 1 it refused, 69 nobody is there, 75\n"
"            at the deadline (30000)\n"
"  qmp       --socket PATH [--pid PID --start-time T] [--pass FILE]\n"
"            [--timeout-ms N] REQUEST...\n"
"            requests to QEMU, up to the first that it refuses, with FILE open\n"
"            beside the first; prints each answer; status as api's\n"
"  jail      --tmpfs DIR [--bind FROM TO]... -- COMMAND [ARG...]\n"
"            run COMMAND, which can gain no privilege, with mounts of its own:\n"
"            an empty file system at DIR, and each file or directory FROM at TO\n"
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
		die(ISO_EX_USAGE, "--%s: '%s': %llu to %llu", name, value,
		    (unsigned long long)min, (unsigned long long)max);
	return v;
}

/* A closed standard fd would become the number of the next thing opened. */
static void open_std_fds(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			_exit(ISO_EX_BUG);
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
