#!/bin/sh
# vsock-bridge - connect workers to the broker in their GPU VM
#
# usage: isospin vsock-bridge [-hnVv] [-c FILE] [--instance NAME]
#                             [--detach [--owner PID] | --stop]
#
# Runs the bridge until Ctrl-C, or with --detach in the background. It may be
# stopped and started at any time: workers connect again by themselves.
#
#   --detach        return as soon as it serves; its log: isospin logs bridge
#   --owner PID     with --detach: isospin kill-vms and the next command end it
#                   once process PID is gone
#   --stop          stop the one that runs
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
#
# The VMs that it serves are in bridge.d of the state directory, one file a VM:
# NAME.gpu (connect=, secret_file=) and NAME.worker (listen=, gpu=, caps=,
# quota_class=). gpu-vm and worker-vm write them.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt vm bridge

option()
{
	case $1 in
	--detach) detach=1 ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--stop) stop=1 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	opt_none "$@"
	vm_init || die $? "$why"
	if [ "$stop" -eq 1 ]; then
		bridge_stop || die $? "$why"
		leave 0
	fi
	bridge_start "$owner" || die $? "$why"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	[ "$detach" -eq 1 ] || bridge_follow || die $? "$why"
	bridge_keep "$owner" || die $? "$why"
}

main()
{
	detach=0 owner='' stop=0
	base_init "$0"
	opt_flags='dry-run instance'
	opt_parse option work "$@"
}

main "$@"
