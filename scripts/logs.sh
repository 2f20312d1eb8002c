#!/bin/sh
# logs - show the output of VMs and of the bridge
#
# usage: isospin logs [-fhVv] [-c FILE] [--instance NAME] [NAME...]
#
# NAME is a VM or `bridge`; without it, all of them. A VM has a console, a log of
# its VMM and a log of its vsock-device. The end of the last logs is kept when a
# VM is gone.
#
#   -f, --follow    go on as they grow
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc vm

# collect NAME: adds its logs to the list `files`, one a line.
collect()
{
	local home="$proc_dir/vms/$1" part found=''

	case $1 in
	'' | *[!a-z0-9-]*) die 64 "'$1' is no name of a VM" ;;
	bridge) set -- bridge "$proc_dir/bridge/log" ;;
	*)
		if [ -d "$home" ]; then
			set -- "$1" "$home/console.log" "$home/vmm/log" \
				"$home/vsock-device/log"
		else
			set -- "$1" "$proc_dir/log/$1.console" \
				"$proc_dir/log/$1.vmm" "$proc_dir/log/$1.vsock-device"
		fi ;;
	esac
	name=$1
	shift
	for part; do
		[ -f "$part" ] || continue
		found=1
		files=$files$part$base_nl
	done
	[ -n "$found" ] || die 66 "there is no log of '$name'"
}

collect_all()
{
	local name

	[ ! -f "$proc_dir/bridge/log" ] || collect bridge
	for name in $(vm_names); do
		collect "$name"
	done
	[ -n "$files" ] || die 66 'there are no logs: nothing runs; see isospin status'
}

show()
{
	local IFS="$base_nl"

	set -f
	# shellcheck disable=SC2086 # one path a line
	set -- $files
	set +f
	unset IFS
	if [ "$follow" -eq 1 ]; then
		# In the background, so that a signal to us is heard at once.
		/usr/bin/tail -n 20 -F --pid="$$" -- "$@" 2>/dev/null |
			vm_printable &
		on_exit kill "$!"
		wait "$!" || :
	else
		tail -n +1 -v -- "$@" | vm_printable
	fi
}

option()
{
	case $1 in
	-f | --follow) follow=1 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	conf_load "$opt_conf" || die $? "$why"
	proc_where "$opt_instance" || die $? "$why"
	if [ $# -gt 0 ]; then
		for name; do
			collect "$name"
		done
	else
		collect_all
	fi
	show
}

main()
{
	follow=0 files=''
	base_init "$0"
	opt_flags='instance'
	opt_parse option work "$@"
}

main "$@"
