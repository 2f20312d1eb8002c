#!/bin/sh
# worker-vm - run a command in a fresh VM that sees the GPU
#
# usage: isospin worker-vm [-hnVv] [-c FILE] [--instance NAME] [--json]
#                          [--name NAME] [--gpu NAME] [--from-snapshot] [--tty]
#                          [-- COMMAND [ARG...]]
#        isospin worker-vm [...] --detach [--owner PID] | --stay
#        isospin worker-vm [...] --fill-pool
#        isospin worker-vm --exec NAME [--tty] [-- COMMAND [ARG...]]
#
# Boots a worker VM, runs COMMAND there with our stdin, stdout and stderr, and
# removes the VM. Without COMMAND, on a terminal: a shell. The status is the
# command's, 126 or 127 if it cannot be run there, 128+n after signal n, and 125
# for a failure of our own. The GPU VM and the bridge must be running.
#
#   --name NAME     its name (the first free of w1, w2, ...)
#   --gpu NAME      the GPU VM that serves it, in the place of GPU_VM
#   --from-snapshot go on from a worker that was booted once and saved, instead of
#                   booting one; makes the snapshot if there is none that fits
#   --tty           give COMMAND a terminal, as the shell has
#   --detach        leave it running; isospin kill-vms stops it
#   --stay          run nothing: show its console until Ctrl-C, which stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --fill-pool     have as many workers ready as WORKER_POOL says, for commands
#                   without --name
#   --exec NAME     run COMMAND, or a shell, in a worker that runs
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf vm boot pool worker

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--gpu)
		opt_need "$@"
		conf_set_flag GPU_VM "$2" || die $? "$why"
		opt_n=2 ;;
	--from-snapshot) conf_set_flag WORKER_SNAPSHOT yes ;;
	--tty) tty=1 ;;
	--detach) detach=1 ;;
	--stay) stay=1 ;;
	--fill-pool) fill=1 ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

wanted()
{
	opt_command "$@"
	[ "$detach$stay" != 11 ] || die 64 '--detach and --stay exclude each other'
	[ "$fill" -eq 0 ] || [ "$detach$stay$DRY_RUN$name" = 000 ] ||
		die 64 '--fill-pool excludes --name, --detach, --stay and --dry-run'
	[ "$detach$stay$fill" = 000 ] || opt_none "$@"
	if [ "$detach$stay$fill$DRY_RUN" = 0000 ] && [ $# -eq 0 ] && ! [ -t 0 ]; then
		die 64 'no terminal for a shell: give a command after --, or --detach'
	fi
}

# refill: has the pool filled again in the background.
refill()
{
	[ "$(pool_wanted)" -gt 0 ] || return 0
	opt_pass instance pool_refill "$TOP/scripts/worker-vm.sh" @ --fill-pool ||
		die $? "$why"
}

fill_pool()
{
	local rc=0

	worker_fill_pool || rc=$?
	case $rc in
	0) ;;
	1) log_info 'another command is about to fill the pool' ;;
	*) die "$rc" "$why" ;;
	esac
	leave 0
}

# take_or_start: takes a pooled worker, or else starts one; sets name.
take_or_start()
{
	local rc=1

	[ -n "$name" ] || {
		rc=0
		worker_take name "$owner" || rc=$?
	}
	case $rc in
	0) ;;
	1) worker_start name "$name" "$owner" || die $? "$why" ;;
	*) die "$rc" "$why" ;;
	esac
}

work()
{
	local wanted_name

	wanted "$@"
	vm_init || die $? "$why"
	[ -z "$exec_in" ] ||
		base_pass_on vm_pass_through worker "$exec_in" "$tty" / /bin/sh "$@"
	[ "$fill" -eq 0 ] || fill_pool
	[ "$detach" -eq 0 ] || worker_kept=yes
	wanted_name=$name
	take_or_start
	[ "$DRY_RUN" -eq 0 ] || leave 0
	[ -n "$wanted_name" ] || refill
	[ "$stay" -eq 0 ] || boot_stay "$proc_dir/vms/$name" 'worker VM' ||
		die $? "$why"
	[ "$detach" -eq 1 ] ||
		base_pass_on vm_pass_through worker "$name" "$tty" / /bin/sh "$@"
	vm_keep "$name" "$owner" || die $? "$why"
	vm_show "$name"
}

main()
{
	name='' tty=0 detach=0 stay=0 owner='' exec_in='' fill=0
	base_init "$0"
	opt_flags='dry-run json instance command'
	opt_parse option work "$@"
}

main "$@"
