#!/bin/sh
# kill-vms - stop VMs and the bridge that this checkout started
#
# usage: isospin kill-vms [-hnVv] [-c FILE] [--instance NAME] [NAME...]
#
# Stops the VMs NAME..., or all of them and the bridge: workers and labs first, also
# those of the pool, then the bridge, then GPU VMs. Processes are known by pid and start time;
# nothing that another checkout or anyone else started is touched.
#
#   -n, --dry-run   print what would be done
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc vm bridge

# stop ROLE NAME...: stops the VMs among these names that have this role. A VM whose
# command died before it had a role has an empty one.
stop()
{
	local name role is="$1" some=''

	shift
	for name; do
		[ -d "$proc_dir/vms/$name" ] || continue
		vm_get role ROLE "$name" || :
		[ "$role" != "$is" ] || some="$some $name"
	done
	[ -n "$some" ] || return 0
	# shellcheck disable=SC2086 # a list of names
	vm_remove $some || die 75 "VMs that do not end are left, of:$some"
	stopped=$stopped$some
}

# stop_vms NAME...: stops VMs, each GPU VM after the workers that use it.
stop_vms()
{
	stop worker "$@"
	stop lab "$@"
	stop '' "$@"
	[ "$bridge" -eq 0 ] || stop_bridge
	stop gpu "$@"
}

stop_bridge()
{
	! proc_alive bridge || stopped="$stopped bridge"
	bridge_remove || die $? "$why"
}

work()
{
	conf_load "$opt_conf" || die $? "$why"
	proc_where "$opt_instance" || die $? "$why"
	if [ -d "$proc_dir" ]; then
		# A user who could write there could have us end any process and
		# overwrite any file.
		{ proc_own "$proc_run" && proc_own "$proc_dir"; } || die $? "$why"
		# Before the lock, for which it may wait.
		[ $# -gt 0 ] || proc_stop pool || die 75 'the pool is still filled'
		vm_lock || die $? "$why"
	fi
	for name; do
		vm_dir home "$name" || die $? "$why"
		[ -d "$home" ] ||
			die 64 "there is no VM '$name'; see isospin status"
	done
	bridge=0
	if [ $# -eq 0 ] && [ -d "$proc_dir" ]; then
		bridge=1
		# shellcheck disable=SC2046 # a list of names
		set -- $(vm_names)
	fi
	[ ! -d "$proc_dir" ] || stop_vms "$@"
	if [ -z "$stopped" ]; then
		log_info 'nothing runs here'
	elif [ "$DRY_RUN" -eq 0 ]; then
		log_info "stopped:$stopped"
	fi
}

main()
{
	stopped=''
	base_init "$0"
	opt_flags='dry-run instance'
	opt_parse opt_unknown work "$@"
}

main "$@"
