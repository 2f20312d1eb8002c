#!/bin/sh
# lab - a machine with an IOMMU and cards to try VFIO on
#
# usage: isospin lab [-hnVv] [-c FILE] [--instance NAME] [--json]
#                    [--name NAME] [--disk FILE] [--append WORDS] [--tty]
#                    [-- COMMAND [ARG...]]
#        isospin lab [...] --detach [--owner PID]
#        isospin lab --exec NAME [--tty] [-- COMMAND [ARG...]]
#
# Boots a Debian in QEMU, without KVM, with VFIO, nested virtualization and cards
# that stand in for GPUs, and this checkout as it is now in /isospin. There runs
# COMMAND as root with our stdin, stdout and stderr, and the machine is removed.
# Without COMMAND, on a terminal: a shell. The status is the command's, 126 or
# 127 if it cannot be run there, 128+n after signal n, and 125 for a failure of
# our own. Needs neither root nor KVM; isospin setup lab fetches it.
#
#   --name NAME     its name (the first free of lab1, lab2, ...)
#   --disk FILE     keep all writes outside of /isospin in FILE, which is made if
#                   it is not there
#   --append WORDS  add WORDS to the kernel's command line
#   --tty           give COMMAND a terminal, as the shell has
#   --detach        leave it running; isospin kill-vms stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --exec NAME     run COMMAND, or a shell, in a lab that runs
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc vm boot lab

# keep_disk NAME: writes the lab's disk out, since ending the machine cuts its power.
keep_disk()
{
	vm_exec "$1" -- sync </dev/null
}

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--disk) opt_need "$@"; disk=$2 opt_n=2 ;;
	--append) opt_need "$@"; append=$2 opt_n=2 ;;
	--tty) tty=1 ;;
	--detach) kept=yes ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

wanted()
{
	opt_command "$@"
	[ "$kept" = no ] || opt_none "$@"
	if [ "$kept$DRY_RUN" = no0 ] && [ $# -eq 0 ] && ! [ -t 0 ]; then
		die 64 'no terminal for a shell: give a command after --, or --detach'
	fi
}

work()
{
	local dir

	wanted "$@"
	# A test must see the same lab on any machine.
	conf_set_flag ACCEL tcg
	vm_init || die $? "$why"
	[ -z "$exec_in" ] ||
		base_pass_on vm_pass_through lab "$exec_in" "$tty" "$lab_top" /bin/bash "$@"
	lab_prepare dir name "$name" "$disk" "$append" "$kept" "$owner" ||
		die $? "$why"
	step_begin "booting lab '$name'"
	boot_vm "$dir" 'isospin: state=agent-ready' || die $? "$why"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	lab_up "$name" || die $? "$why"
	step_end
	[ -z "$disk" ] || [ "$kept" = yes ] || on_exit keep_disk "$name"
	[ "$kept" = yes ] ||
		base_pass_on vm_pass_through lab "$name" "$tty" "$lab_top" /bin/bash "$@"
	vm_keep "$name" "$owner" || die $? "$why"
	vm_show "$name"
}

main()
{
	name='' disk='' append='' tty=0 kept=no owner='' exec_in=''
	base_init "$0"
	opt_flags='dry-run json instance command'
	opt_parse option work "$@"
}

main "$@"
