# shellcheck shell=sh
# bridge.sh - the process that connects workers to the broker in their GPU VM
#
# Its process is `bridge` of proc.sh; bridge/owner is the command that stops it when it
# ends, or the process that --owner names. A function that fails sets why.

use opt proc launch vm

# bridge_start OWNER: starts the bridge in the background and waits until it serves. It
# ends with this command, unless bridge_keep was called.
bridge_start()
{
	local bridge pid since rc=0

	proc_tool bridge vsock-bridge || return
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$bridge" --dir "$proc_dir/bridge.d"
		return
	fi
	proc_room && vm_lock && bridge_sweep || return
	! proc_pid pid bridge || fail 75 "the bridge runs already (pid $pid); \
isospin vsock-bridge --stop" || return
	[ -z "$1" ] || proc_start_time since "$1" ||
		fail 64 "--owner: there is no process $1" || return
	proc_mkdir "$proc_dir/bridge.d" || return
	on_exit bridge_abandon
	# First: a signal may come right after the spawn.
	proc_record bridge/owner "$$" || return
	set -- "$bridge"
	[ "$opt_verbose" -eq 0 ] || set -- "$@" -v
	proc_spawn bridge "$@" --dir "$proc_dir/bridge.d" || rc=$?
	proc_unlock
	[ "$rc" -ne 0 ] || bridge_await || rc=$?
	case $rc in
	0 | 74) return "$rc" ;;
	esac
	tail -n "$launch_lines" "$proc_dir/bridge/log" | vm_printable >&2
	fail 69 'the bridge did not start; see isospin logs bridge'
}

# bridge_await: waits until the bridge serves.
bridge_await()
{
	local pid since

	read -r pid since <"$proc_dir/bridge/pid"
	"$paths_bin/vmctl" wait --pid "$pid" --start-time "$since" \
		--file "$proc_dir/bridge/log" --line 'vsock-bridge: info: state=ready' \
		--timeout-ms 10000 >/dev/null
}

bridge_abandon()
{
	local owner

	proc_unlock
	proc_pid owner bridge/owner || return 0
	[ "$owner" -ne "$$" ] || proc_stop bridge
}

# bridge_keep [PID]: lets the bridge outlive this command; with PID, until that process
# ends and the next command sweeps.
bridge_keep()
{
	if [ -n "${1:-}" ]; then
		proc_record bridge/owner "$1" || fail $? "--owner: $why"
	else
		rm -rf -- "$proc_dir/bridge/owner"
	fi
}

# bridge_follow: shows the bridge's log until the bridge or this command ends.
bridge_follow()
{
	local pid

	proc_pid pid bridge || pid=0
	vm_notify 'serves the VMs of bridge.d'
	/usr/bin/tail -n +1 -f --pid="$$" -- "$proc_dir/bridge/log" &
	on_exit kill "$!"
	wait "$pid" || :
	fail 69 'the bridge ended'
}

# bridge_stop: stops the bridge; 75 if it does not end.
bridge_stop()
{
	proc_stop bridge || fail 75 'the bridge does not end'
}

# bridge_remove: stops the bridge, and forgets its owner.
bridge_remove()
{
	bridge_stop || return
	run rm -rf -- "$proc_dir/bridge/owner"
}

# bridge_sweep: stops a bridge whose owner is gone. Needs vm_lock.
bridge_sweep()
{
	[ -e "$proc_dir/bridge/owner" ] || return 0
	proc_alive bridge/owner || bridge_remove
}

# bridge_register NAME SUFFIX: tells the bridge about the VM NAME; stdin is the text.
# It sees the whole file or none.
bridge_register()
{
	proc_mkdir "$proc_dir/bridge.d" || return
	if ! cat >"$proc_dir/bridge.d/.$1.$2" ||
		! mv -f -- "$proc_dir/bridge.d/.$1.$2" \
			"$proc_dir/bridge.d/$1.$2"; then
		fail 74 "$proc_dir/bridge.d: cannot be written; is the disk full?"
	fi
}
