# shellcheck shell=sh
# vm.sh - virtual machines: claim a name, boot, wait, run commands, stop
#
# One VM's state is $proc_dir/vms/NAME, 0700:
#
#	vm.conf              KEY=value: what it is; READY_NS once it is up
#	owner/pid            the command that stops it when it ends; absent once
#	                     the VM is kept (--detach)
#	vmm/, vsock-device/  pid and log of its two processes
#	console.log          what the guest says
#	vsock.sock           host to guest: "CONNECT port"; guest to host, port P:
#	                     vsock.sock_P
#	pool                 it is kept for whoever wants one; what it was made of
#	agent.secret         proves the host to the guest's agent, in this boot
#	broker.secret        GPU VM: proves the bridge to the broker
#	initrd
#
# What the bridge serves is in $proc_dir/bridge.d, see scripts/vsock-bridge.sh.
# A VM's CID is held machine-wide by $proc_run/cids/CID, which names its home.
#
# Needs base opt conf poll proc; vm_init assets too.

use conf record proc assets

vm_fail_lines=15
vm_notify_socket=
vm_cwd=/
vm_shell=/bin/sh

# vm_init: reads configuration and state, after the options were parsed.
vm_init()
{
	conf_load "$opt_conf" || die $? "$why"
	if [ "$DRY_RUN" -eq 1 ]; then
		proc_where "$opt_instance"
	else
		proc_init "$opt_instance"
	fi
	assets_init
	vm_tool vm_vmctl vmctl
	vm_notify_socket=${NOTIFY_SOCKET:-}
	unset NOTIFY_SOCKET
}

# vm_notify TEXT: what we were started for is there. Tells systemd if that has
# started us (Type=notify); nobody else that we start can.
vm_notify()
{
	[ -n "$vm_notify_socket" ] || return 0
	NOTIFY_SOCKET=$vm_notify_socket systemd-notify --ready "--status=$1" ||
		log_warn 'systemd was not told that this is ready'
}

# vm_tool VAR NAME: the path of one of our programs, or ends the command.
vm_tool()
{
	local vm_path="$paths_bin/$2"

	[ -x "$vm_path" ] || [ "$DRY_RUN" -eq 1 ] ||
		die 69 "$vm_path is not built; run isospin demo first, or make"
	base_set "$1" "$vm_path"
}

# vm_select NAME: sets vm_name, vm_key (for proc_*), vm_home, and vm_conf, the name
# for which its configuration is looked up.
vm_select()
{
	case $1 in
	'' | *[!a-z0-9-]* | -* | ?????????????????????????????????*)
		die 64 "'$1' is no name for a VM: 1 to 32 of a-z, 0-9 and -" ;;
	esac
	vm_name=$1
	vm_conf=$1
	vm_key=vms/$1
	vm_home=$proc_dir/vms/$1
	# The longest name of a socket: vsock.sock_65535.
	[ "${#vm_home}" -le 89 ] ||
		die 78 "$vm_home: too long for a socket's address; set RUN_DIR"
}

# vm_get VAR KEY [NAME]: a value of vm.conf, of the selected VM or of NAME;
# empty and 1 if it has none.
vm_get()
{
	record_get "$1" "$proc_dir/vms/${3:-$vm_name}/vm.conf" "$2"
}

# vm_note KEY VALUE: adds to the selected VM's vm.conf.
vm_note()
{
	record_add "$vm_home/vm.conf" "$@" || die $? "$why"
}

# vm_names: the names of all VMs of this instance.
vm_names()
{
	local dir

	for dir in "$proc_dir"/vms/*/; do
		[ -d "$dir" ] || continue
		dir=${dir%/}
		printf '%s\n' "${dir##*/}"
	done
}

# vm_state VAR NAME: absent, starting, running, pooled (it runs, and nobody has
# taken it), ended (its monitor is gone) or stale (the command that owned it is
# gone, or a pooled one's GPU VM is, or has another driver now).
vm_state()
{
	local vm_ready vm_s=ended

	if [ ! -d "$proc_dir/vms/$2" ]; then
		vm_s=absent
	elif [ -e "$proc_dir/vms/$2/owner" ] && ! proc_alive "vms/$2/owner"; then
		vm_s=stale
	elif proc_alive "vms/$2/vmm"; then
		vm_s=running
		vm_get vm_ready READY_NS "$2" || vm_s=starting
		[ "$vm_s" = starting ] || [ ! -e "$proc_dir/vms/$2/pool" ] ||
			vm_pooled vm_s "$2"
	elif proc_alive "vms/$2/owner" && ! vm_get vm_ready READY_NS "$2"; then
		vm_s=starting
	fi
	base_set "$1" "$vm_s"
}

# vm_pooled VAR NAME: the state of one that runs.
vm_pooled()
{
	local vm_gpu vm_was vm_is

	vm_get vm_gpu GPU "$2" || :
	vm_get vm_was DRIVER_VERSION "$2" || :
	vm_get vm_is DRIVER_VERSION "$vm_gpu" || :
	if proc_alive "vms/$vm_gpu/vmm" && [ "$vm_is" = "$vm_was" ]; then
		base_set "$1" pooled
	else
		base_set "$1" stale
	fi
}

# vm_lock: what makes or sweeps a VM of this instance does it alone. Whoever
# holds the lock prepares a VM, which ends by itself.
vm_lock()
{
	proc_lock "$proc_dir/lock" 1 && return 0
	log_info 'waiting for another command that prepares a VM'
	proc_lock "$proc_dir/lock" 60 ||
		die 75 "another command holds $proc_dir/lock; try again"
}

# vm_sweep: removes what commands and VMs that died, or a boot before this one,
# have left. Needs vm_lock.
vm_sweep()
{
	local name state

	for name in $(vm_names); do
		vm_state state "$name"
		case $state in
		ended | stale)
			log_info "removing what is left of VM '$name'"
			vm_remove "$name" ;;
		esac
	done
}

# vm_claim [OWNER]: the selected name is ours, and is released when this command
# ends, unless vm_keep was called. OWNER is the process that --owner names: once
# it has been killed, and kill-vms has been here, nobody wants the VM.
vm_claim()
{
	local state

	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_lock
	vm_sweep
	vm_state state "$vm_name"
	[ "$state" = absent ] || die 75 "a VM '$vm_name' is $state already; \
see isospin status, or stop it: isospin kill-vms $vm_name"
	vm_own "${1:-}"
	proc_unlock
}

# vm_claim_next PREFIX [OWNER]: selects and claims the first free name PREFIX1, ...
vm_claim_next()
{
	local n=1

	vm_select "$1$n"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_lock
	vm_sweep
	while [ -e "$vm_home" ]; do
		n=$((n + 1))
		vm_select "$1$n"
	done
	vm_own "${2:-}"
	proc_unlock
}

# vm_own OWNER: needs vm_lock. The release first: a signal may come between the
# two.
vm_own()
{
	local start

	[ -z "$1" ] || proc_start_time start "$1" ||
		die 64 "--owner: there is no process $1"
	proc_room
	on_exit vm_abandon "$vm_name"
	proc_mkdir "$proc_dir/vms"
	proc_record "$vm_key/owner" "$$"
}

vm_abandon()
{
	local vm_owner

	proc_unlock
	proc_pid vm_owner "vms/$1/owner" || return 0
	[ "$vm_owner" -ne "$$" ] || vm_remove "$1"
}

# vm_keep [PID]: the selected VM outlives this command; with PID, until that
# process ends and the next command sweeps.
vm_keep()
{
	if [ -n "${1:-}" ]; then
		proc_record "$vm_key/owner" "$1" ||
			die 64 "--owner: there is no process $1"
	else
		rm -rf -- "$vm_home/owner"
	fi
}

# vm_remove NAME...: stops them side by side and removes their state. The logs
# stay for isospin logs, those of the last VM of a name. 1 if one does not end.
vm_remove()
{
	local name ready owner makers='' vmms='' others='' rc=0

	for name; do
		# A command that prepares it would go on, and boot it after all.
		if ! vm_get ready READY_NS "$name" &&
			proc_pid owner "vms/$name/owner" &&
			[ "$owner" -ne "$$" ]; then
			makers="$makers vms/$name/owner"
		fi
		vmms="$vmms vms/$name/vmm"
		others="$others vms/$name/vsock-device vms/$name/tie"
	done
	# shellcheck disable=SC2086 # a list of names
	proc_stop $makers || rc=1
	for name; do
		# Also what a signal has kept from its name.
		run rm -f -- "$proc_dir/bridge.d/$name.worker" \
			"$proc_dir/bridge.d/.$name.worker" \
			"$proc_dir/bridge.d/$name.gpu" \
			"$proc_dir/bridge.d/.$name.gpu"
	done
	# The monitors first: one whose device is gone would complain.
	# shellcheck disable=SC2086 # lists of names
	{ proc_stop $vmms && proc_stop $others; } || rc=1
	[ "$DRY_RUN" -eq 0 ] || return 0
	for name; do
		! proc_gone "vms/$name/vmm" "vms/$name/vsock-device" \
			"vms/$name/tie" || vm_forget "$name"
	done
	return "$rc"
}

# vm_forget NAME: removes the state of a VM of which nothing runs.
vm_forget()
{
	local home="$proc_dir/vms/$1" cid held=''

	if vm_get cid CID "$1"; then
		{ read -r held <"$proc_run/cids/$cid"; } 2>/dev/null || :
		[ "$held" != "$home" ] || rm -f -- "$proc_run/cids/$cid"
	fi
	vm_save_logs "$1"
	rm -rf -- "$home"
}

vm_save_logs()
{
	local home="$proc_dir/vms/$1" file

	proc_mkdir "$proc_dir/log"
	for file in console.log vmm/log vsock-device/log; do
		[ ! -s "$home/$file" ] || vm_save_log "$home/$file" \
			"$proc_dir/log/$1.${file%[./]log}"
	done
}

# Its end is what anyone asks for; a guest may have filled a disk.
vm_save_log()
{
	tail -c 65536 -- "$1" >"$2"
}

# vm_now VAR: CLOCK_MONOTONIC in ns.
vm_now()
{
	local vm_ns

	vm_ns=$("$vm_vmctl" now) || die 70 'vmctl now failed'
	base_set "$1" "$vm_ns"
}

# vm_address VAR NAME: --uds PATH or --vsock CID, for vmctl.
vm_address()
{
	local vm_kind vm_cid_of vm_uds_of

	vm_get vm_kind VSOCK "$2" || :
	if [ "$vm_kind" = vhost ]; then
		vm_get vm_cid_of CID "$2"
		base_set "$1" "--vsock=$vm_cid_of"
	else
		vm_get vm_uds_of UDS "$2" || :
		base_set "$1" "--uds=${vm_uds_of:-$proc_dir/vms/$2/vsock.sock}"
	fi
}

# vm_exec NAME [FLAG...] -- COMMAND [ARG...]: runs it in a running VM; its
# status. vm_exec_how may hold a command that runs vmctl (exec, setsid).
vm_exec()
{
	local name="$1" address port

	shift
	vm_address address "$name"
	vm_get port AGENT_PORT "$name"
	# shellcheck disable=SC2086 # a command and its words, or nothing
	${vm_exec_how:-} "$vm_vmctl" exec "$address" --port "$port" \
		--secret-file "$proc_dir/vms/$name/agent.secret" "$@"
}

# vm_show NAME: one line, or with --json one object, about a VM.
vm_show()
{
	local name="$1" role cid gpu version accel boot phases state pid=0

	vm_state state "$name"
	proc_pid pid "vms/$name/vmm" || :
	vm_get role ROLE "$name" || :
	vm_get cid CID "$name" || :
	vm_get gpu GPU "$name" || :
	vm_get version DRIVER_VERSION "$name" || :
	vm_get accel ACCEL "$name" || :
	vm_get boot BOOT_NS "$name" || :
	vm_get phases PHASES "$name" || :
	if [ "$opt_json" -eq 1 ]; then
		jq -cn --arg name "$name" --arg role "$role" \
			--arg state "$state" --arg cid "${cid:-0}" \
			--arg pid "$pid" --arg gpu "$gpu" \
			--arg driver_version "$version" --arg accel "$accel" \
			--arg phases "$phases" \
			--arg boot_ns "${boot:-0}" '{name: $name, role: $role,
			state: $state, pid: ($pid | tonumber),
			cid: ($cid | tonumber), gpu_vm: $gpu,
			driver_version: $driver_version, accel: $accel,
			boot_ms: (($boot_ns | tonumber) / 1000000 | round)} +
			if $phases == "" then {} else {phases: $phases} end'
		return
	fi
	printf '%-12s %-7s %-9s pid %-8s cid %-4s %s' "$name" "$role" "$state" \
		"$pid" "${cid:--}" "$accel"
	[ -z "$gpu" ] || printf '  GPU of %s' "$gpu"
	[ -z "$version" ] || printf '  driver %s' "$version"
	[ -z "$boot" ] || printf '  up in %d.%03d s' $((boot / 1000000000)) \
		$((boot / 1000000 % 1000))
	[ -z "$phases" ] || printf '  (%s)' "$phases"
	echo
}

# vm_printable: stdin without what could act on a terminal: a guest wrote it.
# sed by its path: busybox ash prefers busybox's, which has no -u.
vm_printable()
{
	LC_ALL=C /bin/sed -u 's/[^[:print:]\t]//g'
}

# vm_pass_through NAME ROLE [COMMAND...]: runs it there, or a shell on a
# terminal, and ends with its status.
vm_pass_through()
{
	local name="$1" role="$2" state is

	shift 2
	base_own_status=125
	vm_state state "$name"
	[ "$state" = running ] ||
		die 69 "VM '$name' is $state; see isospin status"
	vm_get is ROLE "$name" || :
	[ "$is" = "$role" ] || die 69 "'$name' is no $role VM; see isospin status"
	if [ $# -eq 0 ]; then
		tty=1
		set -- "$vm_shell" -l
	fi
	set -- --cwd "$vm_cwd" -- "$@"
	vm_exec_how='exec setsid'
	if [ "${tty:-0}" -eq 1 ]; then
		set -- --tty --env "TERM=${TERM:-linux}" "$@"
		vm_exec_how='exec'
	fi
	# A job in the background loses stdin unless it comes by another way.
	exec 4<&0
	(vm_exec "$name" "$@") <&4 &
	vm_forward "$!"
}

# vm_forward PID: our child PID alone gets the signals that we get; ends the
# command with its status.
vm_forward()
{
	local rc sig

	exec 4<&-
	for sig in HUP INT QUIT TERM USR1 USR2; do
		# shellcheck disable=SC2064 # the pid of now
		trap "kill -s $sig $1 2>/dev/null || :" "$sig"
	done
	while :; do
		rc=0
		wait "$1" || rc=$?
		# It is still there if a signal has ended the wait.
		kill -0 "$1" 2>/dev/null || leave "$rc"
	done
}

# bridge_remove: stops the bridge.
bridge_remove()
{
	proc_stop bridge || die 75 'the bridge does not end'
	run rm -rf -- "$proc_dir/bridge/owner"
}

# bridge_sweep: stops a bridge whose owner is gone. Needs vm_lock.
bridge_sweep()
{
	[ -e "$proc_dir/bridge/owner" ] || return 0
	proc_alive bridge/owner || bridge_remove
}
