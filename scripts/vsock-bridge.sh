#!/bin/sh
# vsock-bridge - connect workers to the broker in their GPU VM
#
# usage: isospin vsock-bridge [-hnVv] [-c FILE] [--instance NAME]
#                             [--detach [--owner PID] | --stop]
#
# Runs the bridge until Ctrl-C, or with --detach in the background. It may be
# stopped and started at any time; workers reconnect by themselves.
#
#   --detach        return as soon as the bridge serves; its log: isospin logs bridge
#   --owner PID     with --detach: isospin kill-vms and the next command end it
#                   once process PID is gone
#   --stop          stop the running bridge
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
#
# The directory bridge.d of the state directory says what to serve, one file a VM:
# NAME.gpu (connect=, secret_file=) and NAME.worker (listen=, gpu=, caps=,
# quota_class=). gpu-vm and worker-vm write them.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt proc vm

# start: runs it in the background until it serves.
start()
{
	local bridge pid since rc=0

	vm_tool bridge vsock-bridge
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$bridge" --dir "$proc_dir/bridge.d"
		leave 0
	fi
	proc_room
	vm_lock
	bridge_sweep
	proc_pid pid bridge &&
		die 75 "the bridge runs already (pid $pid); isospin vsock-bridge --stop"
	[ -z "$owner" ] || proc_start_time since "$owner" ||
		die 64 "--owner: there is no process $owner"
	proc_mkdir "$proc_dir/bridge.d"
	on_exit bridge_abandon
	# First: a signal may come right after the spawn.
	proc_record bridge/owner "$$"
	if [ "$opt_verbose" -eq 1 ]; then
		proc_spawn bridge "$bridge" -v --dir "$proc_dir/bridge.d"
	else
		proc_spawn bridge "$bridge" --dir "$proc_dir/bridge.d"
	fi
	proc_unlock
	read -r pid since <"$proc_dir/bridge/pid"
	"$vm_vmctl" wait --pid "$pid" --start-time "$since" \
		--file "$proc_dir/bridge/log" --line 'vsock-bridge: info: ready' \
		--timeout-ms 10000 >/dev/null || rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n "$vm_fail_lines" "$proc_dir/bridge/log" >&2
		die 69 'the bridge did not start'
	fi
}

bridge_abandon()
{
	local owner

	proc_unlock
	proc_pid owner bridge/owner || return 0
	[ "$owner" -ne "$$" ] || proc_stop bridge
}

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
	vm_init
	if [ "$stop" -eq 1 ]; then
		proc_stop bridge || die 75 'the bridge does not end'
		leave 0
	fi
	start
	if [ "$detach" -eq 0 ]; then
		proc_pid pid bridge || pid=0
		vm_notify 'serves the VMs of bridge.d'
		/usr/bin/tail -n +1 -f --pid="$$" -- "$proc_dir/bridge/log" &
		on_exit kill "$!"
		wait "$pid" || :
		die 69 'the bridge ended'
	elif [ -n "$owner" ]; then
		proc_record bridge/owner "$owner" ||
			die 64 "--owner: there is no process $owner"
	else
		rm -rf -- "$proc_dir/bridge/owner"
	fi
}

main()
{
	detach=0 owner='' stop=0
	base_init "$0"
	opt_flags='dry-run instance'
	opt_parse option work "$@"
}

main "$@"
