#!/bin/sh
# status - show the VMs and the bridge of this checkout
#
# usage: isospin status [-hVv] [-c FILE] [--instance NAME] [--json]
#
# One line, or with --json one object, for each VM and the bridge. The status is
# 0 if at least one VM runs, else 1.
#
#   --json          one JSON object a line
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc vm

show_bridge()
{
	local pid=0 state=absent

	[ ! -e "$proc_dir/bridge/pid" ] || state=ended
	! proc_pid pid bridge || state=running
	if [ "$opt_json" -eq 1 ]; then
		jq -cn --arg pid "$pid" --arg state "$state" '{name: "bridge",
			role: "bridge", state: $state, pid: ($pid | tonumber)}'
	else
		printf '%-12s %-7s %-9s pid %s\n' bridge bridge "$state" "$pid"
	fi
}

# nothing_runs: says so; only root can see the VMs that root has started.
nothing_runs()
{
	if [ "$(id -u)" -ne 0 ] && [ -d /run/isospin ]; then
		log_info "no VM of this user's runs here; root's are shown under sudo"
	else
		log_info 'no VM runs here; to start a set: isospin demo --keep'
	fi
}

work()
{
	opt_none "$@"
	conf_load "$opt_conf" || die $? "$why"
	proc_where "$opt_instance" || die $? "$why"
	show_bridge
	running=1
	for name in $(vm_names); do
		vm_show "$name"
		vm_state state "$name"
		case $state in
		running | pooled) running=0 ;;
		esac
	done
	[ "$running" -eq 0 ] || nothing_runs
	leave "$running"
}

main()
{
	base_init "$0"
	opt_flags='json instance'
	opt_parse opt_unknown work "$@"
}

main "$@"
