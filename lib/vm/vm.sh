# shellcheck shell=sh
# vm.sh - VM directories: claim a name, run commands in the VM, stop it
#
# A VM is its directory, $proc_dir/vms/NAME, 0700:
#
#	vm.conf              its record, see below
#	owner/pid            the command that stops it when it ends; absent once
#	                     the VM is kept (--detach)
#	vmm/, vsock-device/  pid and log of its two processes; tie/: of the one that
#	                     ends the VM with another process
#	console.log          the guest's output
#	vsock.sock           host to guest: "CONNECT port"; guest to host, port P:
#	                     vsock.sock_P
#	pool                 marks a pooled worker; a hash of its inputs
#	agent.secret         proves the host to the guest's agent, in this boot
#	broker.secret        GPU VM: proves the bridge to the broker
#	initrd, kernel       while it boots
#
# The command that prepares a VM decides everything and writes it to vm.conf. Whatever
# boots, saves or looks at the VM is given the directory and reads only the record:
#
#	NAME, ROLE           ROLE: gpu, worker or lab
#	DIR                  the directory; with --dry-run the record is elsewhere
#	KEPT                 yes: the VM outlives the command
#	CPUS, MEM            MEM in bytes
#	KERNEL, KERNEL_FILE  the release; the file that the VMM boots
#	APPEND               words for the kernel's command line
#	VMM, VMM_WHY, VMM_TEXT, ACCEL, ACCEL_WHY, VSOCK, VSOCK_WHY
#	                     the choices of vmm_choose; a VMM may add keys
#	CID, UDS             the guest's CID; the socket, if it is not vsock.sock
#	AGENT_PORT, BROKER_PORT, BOOT_TIMEOUT, NONFREE, HUGEPAGES
#	                     of the configuration, as it is for this VM
#	DEVICES, CARDS       PCI addresses handed to it; the same for people
#	DISK                 an image that it reads, fd 5 of the VMM
#	GPU, DRIVER, DRIVER_VERSION  the GPU VM of a worker; the driver
#	SNAPSHOT, SNAPSHOT_DIR, RESTORE  RESTORE=yes: it goes on from the snapshot,
#	                     else it is saved to that; fds 5 and 6 of the VMM are its
#	                     state and memory
#	FIT                  of a pooled worker: a hash of its inputs
#	LOG_MAX              bytes that the guest's console may fill, once it is up
#	BOOT_NS, READY_NS, PHASES  once it is up
#
# The bridge's registry is $proc_dir/bridge.d, see scripts/vsock-bridge.sh.
# A VM's CID is held machine-wide by $proc_run/cids/CID, which names its directory.

use opt conf record proc assets

vm_notify_socket=

# vm_init: reads configuration and state, after the options were parsed.
vm_init()
{
	local vm_path

	conf_load "$opt_conf" || return
	if [ "$DRY_RUN" -eq 1 ]; then
		proc_where "$opt_instance" || return
	else
		proc_init "$opt_instance" || return
	fi
	assets_init
	proc_tool vm_path vmctl || return
	vm_notify_socket=${NOTIFY_SOCKET:-}
	unset NOTIFY_SOCKET
}

# vm_notify TEXT: tells systemd that the command is up, if systemd has started it
# (Type=notify), and keeps the way to do so from everything that it starts.
vm_notify()
{
	[ -n "$vm_notify_socket" ] || return 0
	NOTIFY_SOCKET=$vm_notify_socket systemd-notify --ready "--status=$1" ||
		log_warn 'systemd was not told that this is ready'
}

# vm_dir VAR NAME: sets VAR to the directory of the VM NAME, there or not; 64 if that
# is no name.
vm_dir()
{
	case $2 in
	'' | *[!a-z0-9-]* | -* | ?????????????????????????????????*)
		fail 64 "'$2' is no name for a VM: 1 to 32 of a-z, 0-9 and -" ||
			return ;;
	esac
	# The longest name of a socket: vsock.sock_65535.
	[ $((${#proc_dir} + ${#2})) -le 84 ] || fail 78 "$proc_dir/vms/$2: too \
long for a socket's address; set RUN_DIR" || return
	base_set "$1" "$proc_dir/vms/$2"
}

# vm_get VAR KEY NAME: sets VAR to the value of KEY in the record of the VM NAME; empty,
# and 1, if it has no such key.
vm_get()
{
	record_get "$1" "$proc_dir/vms/$3/vm.conf" "$2"
}

# vm_draft VAR: sets VAR to a directory for the record of a VM that is only thought of;
# it is removed when the command ends.
vm_draft()
{
	local vm_made

	vm_made=$(mktemp -d) ||
		fail 74 'a temporary directory cannot be made; is the disk full?' ||
		return
	on_exit rm -rf -- "$vm_made"
	base_set "$1" "$vm_made"
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
# taken it), ended (its VMM is gone) or stale (the command that owned it is
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

# vm_lock: takes the lock that a command holds while it makes or sweeps a VM of this
# instance, and waits for it: no command holds it for long.
vm_lock()
{
	! proc_lock "$proc_dir/lock" 1 || return 0
	log_info 'waiting for another command that prepares a VM'
	proc_lock "$proc_dir/lock" 60
}

# vm_sweep: removes the VMs whose command or VMM has died, or which ran in a boot before
# this one. Needs vm_lock.
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

# vm_claim VAR NAME [OWNER]: sets VAR to the directory of the VM NAME, which is ours,
# and is released when this command ends, unless vm_keep was called. OWNER is the
# process that --owner names: a VM is made for no owner that is gone already. With
# --dry-run the directory is a draft.
vm_claim()
{
	local vm_is

	vm_dir "$1" "$2" || return
	[ "$DRY_RUN" -eq 0 ] || { vm_draft "$1"; return; }
	vm_lock || return
	vm_sweep
	vm_state vm_is "$2"
	if [ "$vm_is" != absent ]; then
		proc_unlock
		fail 75 "a VM '$2' is $vm_is already; see isospin status, or stop \
it: isospin kill-vms $2" || return
	fi
	vm_own "$2" "${3:-}" || return
	proc_unlock
}

# vm_claim_next VAR NAME-VAR PREFIX [OWNER]: the same for the first free name of
# PREFIX1, ..., to which NAME-VAR is set.
vm_claim_next()
{
	local vm_n=1

	base_set "$2" "${3}1"
	vm_dir "$1" "${3}1" || return
	[ "$DRY_RUN" -eq 0 ] || { vm_draft "$1"; return; }
	vm_lock || return
	vm_sweep
	while [ -e "$proc_dir/vms/$3$vm_n" ]; do
		vm_n=$((vm_n + 1))
	done
	base_set "$2" "$3$vm_n"
	vm_dir "$1" "$3$vm_n" && vm_own "$3$vm_n" "${4:-}" || return
	proc_unlock
}

# vm_own NAME OWNER: makes the VM ours. Needs vm_lock. Its release is registered first,
# since a signal may come between the two.
vm_own()
{
	local start

	[ -z "$2" ] || proc_start_time start "$2" ||
		fail 64 "--owner: there is no process $2" || return
	proc_room || return
	on_exit vm_abandon "$1"
	proc_mkdir "$proc_dir/vms" && proc_record "vms/$1/owner" "$$"
}

vm_abandon()
{
	local vm_owner

	proc_unlock
	proc_pid vm_owner "vms/$1/owner" || return 0
	[ "$vm_owner" -ne "$$" ] || vm_remove "$1"
}

# vm_keep NAME [PID]: lets the VM outlive this command; with PID, until that process ends
# and the next command sweeps.
vm_keep()
{
	if [ -n "${2:-}" ]; then
		proc_record "vms/$1/owner" "$2" ||
			fail $? "--owner: $why"
	else
		rm -rf -- "$proc_dir/vms/$1/owner"
	fi
}

# vm_remove NAME...: stops the VMs side by side and removes their state. The logs of the
# last VM of a name stay for isospin logs. 75 if one does not end.
vm_remove()
{
	local name ready owner makers='' vmms='' others='' rc=0

	for name; do
		# A command that prepares the VM would go on, and boot it after all.
		if ! vm_get ready READY_NS "$name" &&
			proc_pid owner "vms/$name/owner" &&
			[ "$owner" -ne "$$" ]; then
			makers="$makers vms/$name/owner"
		fi
		vmms="$vmms vms/$name/vmm"
		others="$others vms/$name/vsock-device vms/$name/tie"
	done
	# shellcheck disable=SC2086 # a list of names
	proc_stop $makers || rc=$?
	for name; do
		# A copy that a signal kept from getting its name goes too.
		run rm -f -- "$proc_dir/bridge.d/$name.worker" \
			"$proc_dir/bridge.d/.$name.worker" \
			"$proc_dir/bridge.d/$name.gpu" \
			"$proc_dir/bridge.d/.$name.gpu"
	done
	# The VMMs first: one whose vsock-device is gone would complain.
	# shellcheck disable=SC2086 # lists of names
	{ proc_stop $vmms && proc_stop $others; } || rc=$?
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
	vm_save_logs "$1" || log_warn "the logs of VM '$1' are lost: $why"
	rm -rf -- "$home"
}

vm_save_logs()
{
	local home="$proc_dir/vms/$1" file

	proc_mkdir "$proc_dir/log" || return
	for file in console.log vmm/log vsock-device/log; do
		[ ! -s "$home/$file" ] || vm_save_log "$home/$file" \
			"$proc_dir/log/$1.${file%[./]log}"
	done
}

# vm_save_log FROM TO: keeps the end of a log; the whole may be as large as a disk.
vm_save_log()
{
	tail -c 65536 -- "$1" >"$2"
}

# vm_now VAR: sets VAR to CLOCK_MONOTONIC in ns.
vm_now()
{
	local vm_ns

	vm_ns=$("$paths_bin/vmctl" now) || fail 70 'vmctl now failed' || return
	base_set "$1" "$vm_ns"
}

# vm_address VAR NAME: sets VAR to --uds PATH or --vsock CID, for vmctl.
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

# vm_exec NAME [FLAG...] -- COMMAND [ARG...]: runs COMMAND in a running VM, and returns
# its status.
vm_exec()
{
	vm_exec_by '' "$@"
}

# vm_exec_by HOW NAME...: the same; HOW is a command that runs vmctl (exec, setsid).
vm_exec_by()
{
	local how="$1" name="$2" address port

	shift 2
	vm_address address "$name"
	vm_get port AGENT_PORT "$name"
	# shellcheck disable=SC2086 # a command and its words, or nothing
	$how "$paths_bin/vmctl" exec "$address" --port "$port" \
		--secret-file "$proc_dir/vms/$name/agent.secret" "$@"
}

# vm_show NAME: prints a line, or with --json an object, about a VM.
vm_show()
{
	local name="$1" role cid gpu version accel boot phases state pid=0

	vm_state state "$name"
	proc_pid pid "vms/$name/vmm" || :
	record_read "$proc_dir/vms/$name/vm.conf" role=ROLE cid=CID gpu=GPU \
		version=DRIVER_VERSION accel=ACCEL boot=BOOT_NS phases=PHASES || :
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

# vm_printable: prints stdin, which a guest wrote, without bytes that could act on a
# terminal. sed is called by its path: busybox ash prefers busybox's, which has no -u.
vm_printable()
{
	LC_ALL=C /bin/sed -u 's/[^[:print:]\t]//g'
}

# vm_pass_through ROLE NAME TTY CWD SHELL [COMMAND...]: runs it in the VM NAME, in the
# directory CWD, with a terminal if TTY is 1; without COMMAND, SHELL on a terminal. Its
# status; 69, and why, if it could not be run. For base_pass_on.
vm_pass_through()
{
	local role="$1" name="$2" tty="$3" cwd="$4" shell="$5" state is
	local how='exec setsid'

	shift 5
	vm_state state "$name"
	[ "$state" = running ] ||
		fail 69 "VM '$name' is $state; see isospin status" || return
	vm_get is ROLE "$name" || :
	[ "$is" = "$role" ] ||
		fail 69 "'$name' is no $role VM; see isospin status" || return
	if [ $# -eq 0 ]; then
		tty=1
		set -- "$shell" -l
	fi
	set -- --cwd "$cwd" -- "$@"
	if [ "$tty" -eq 1 ]; then
		set -- --tty --env "TERM=${TERM:-linux}" "$@"
		how='exec'
	fi
	# A job in the background loses stdin unless it comes by another way.
	exec 4<&0
	(vm_exec_by "$how" "$name" "$@") <&4 &
	vm_forward "$!"
}

# vm_forward PID: passes the signals that we get to our child PID, and returns its status.
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
		# The child is still there if a signal has ended the wait.
		kill -0 "$1" 2>/dev/null || return "$rc"
	done
}
