#!/bin/sh
# gpu-vm - start the VM that has the GPU and lends it
#
# usage: isospin gpu-vm [-hnVv] [-c FILE] [--instance NAME] [--json]
#                       [--name NAME] [--driver DRIVER] [--device BDF]...
#                       [--detach [--owner PID]]
#        isospin gpu-vm --exec NAME [-- COMMAND [ARG...]]
#
# Boots the GPU VM and waits until its broker serves. Then shows its console
# until Ctrl-C, which stops it; with --detach returns and leaves it running.
#
#   --name NAME     its name (gpu0)
#   --driver DRIVER auto, real or soft, in the place of GPU_DRIVER
#   --device BDF    hand it this PCI device too, which is bound to vfio-pci
#   --detach        leave it running; isospin kill-vms stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --exec NAME     run COMMAND, or a shell, in a GPU VM that runs; its status,
#                   or 125 if it could not be run
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf vm boot gpu

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--driver)
		opt_need "$@"
		conf_set_flag GPU_DRIVER "$2" || die $? "$why"
		opt_n=2 ;;
	--device)
		opt_need "$@"
		devices="$devices $2"
		opt_n=2 ;;
	--detach) kept=yes ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	local dir

	[ -n "$exec_in" ] || opt_none "$@"
	opt_command "$@"
	vm_init || die $? "$why"
	if [ -n "$exec_in" ]; then
		base_pass_on vm_pass_through gpu "$exec_in" 0 / /bin/sh "$@"
	fi
	# shellcheck disable=SC2086 # a list of addresses
	gpu_prepare dir "$name" "$kept" "$owner" $devices || die $? "$why"
	step_begin "booting GPU VM '$name'"
	boot_vm "$dir" 'Broker running' || die $? "$why"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	gpu_register "$dir" || die $? "$why"
	step_end
	gpu_note_phases "$dir" || die $? "$why"
	[ "$kept" = yes ] || boot_stay "$dir" 'GPU VM' || die $? "$why"
	vm_keep "$name" "$owner" || die $? "$why"
	vm_show "$name"
}

main()
{
	name=gpu0 kept=no owner='' exec_in='' devices=''
	base_init "$0"
	opt_flags='dry-run json instance command'
	opt_parse option work "$@"
}

main "$@"
