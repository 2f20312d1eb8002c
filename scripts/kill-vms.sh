#!/bin/sh
# kill-vms - stop VMs and the bridge that this checkout started
#
# usage: isospin kill-vms [-hnVv] [-c FILE] [--instance NAME] [NAME...]
#
# Stops the VMs NAME..., or all of them and the bridge: workers and labs first,
# then the bridge, then GPU VMs. Processes are known by pid and start time;
# nothing that another checkout or anyone else started is touched.
#
#   -n, --dry-run   print what would be done
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base.sh"
. "$TOP/lib/opt.sh"
. "$TOP/lib/conf.sh"
. "$TOP/lib/poll.sh"
. "$TOP/lib/proc.sh"
. "$TOP/lib/vm.sh"

# stop_all ROLE: every VM of this role, and with an empty one what is left of
# those that never got one.
stop_all()
{
	local name role

	for name in $(vm_names); do
		vm_get role ROLE "$name" || :
		[ "$role" != "$1" ] || stop_one "$name"
	done
}

stop_one()
{
	vm_remove "$1" || die 75 "VM '$1' does not end"
	stopped="$stopped $1"
}

main()
{
	stopped=''
	base_init "$0"
	opt_flags='dry-run instance'
	opt_all "$@"
	shift "$opt_n"
	conf_load "$opt_conf"
	proc_where "$opt_instance"
	if [ -d "$proc_dir" ]; then
		vm_lock
	fi
	if [ $# -gt 0 ]; then
		for name; do
			vm_select "$name"
			[ -d "$vm_home" ] ||
				die 64 "there is no VM '$name'; see isospin status"
			stop_one "$name"
		done
	elif [ -d "$proc_dir" ]; then
		stop_all worker
		stop_all lab
		stop_all ''
		! proc_alive bridge || stopped="$stopped bridge"
		bridge_remove
		stop_all gpu
	fi
	if [ -z "$stopped" ]; then
		log_info 'nothing runs here'
	elif [ "$DRY_RUN" -eq 0 ]; then
		log_info "stopped:$stopped"
	fi
}

main "$@"
