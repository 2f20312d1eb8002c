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
#	agent.secret         proves the host to the guest's agent, in this boot
#	broker.secret        GPU VM: proves the bridge to the broker
#	initrd
#
# What the bridge serves is in $proc_dir/bridge.d, see scripts/vsock-bridge.sh.
# A VM's CID is held machine-wide by $proc_run/cids/CID, which names its home.
#
# Needs base opt conf proc poll assets image qemu.

vm_fail_lines=15
vm_kept=0

# vm_init: reads configuration and state, after the options were parsed.
vm_init()
{
	conf_load "$opt_conf"
	if [ "$DRY_RUN" -eq 1 ]; then
		proc_where "$opt_instance"
	else
		proc_init "$opt_instance"
	fi
	assets_init
	vm_tool vm_vmctl vmctl
}

# vm_tool VAR NAME: the path of one of our programs, or ends the command.
vm_tool()
{
	local vm_path="$TOP/build/bin/$2"

	[ -x "$vm_path" ] || [ "$DRY_RUN" -eq 1 ] ||
		die 69 "build/bin/$2 is not built; run: make"
	base_set "$1" "$vm_path"
}

# vm_select NAME: sets vm_name, vm_key (for proc_*) and vm_home.
vm_select()
{
	case $1 in
	'' | *[!a-z0-9-]* | -* | ?????????????????????????????????*)
		die 64 "'$1' is no name for a VM: 1 to 32 of a-z, 0-9 and -" ;;
	esac
	vm_name=$1
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
	local vm_line

	base_set "$1" ''
	while IFS= read -r vm_line; do
		case $vm_line in
		"$2="*)
			base_set "$1" "${vm_line#*=}"
			return 0 ;;
		esac
	done 2>/dev/null <"$proc_dir/vms/${3:-$vm_name}/vm.conf"
	return 1
}

# vm_note KEY VALUE: adds to the selected VM's vm.conf.
vm_note()
{
	printf '%s=%s\n' "$1" "$2" >>"$vm_home/vm.conf"
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

# vm_state VAR NAME: absent, starting, running, ended (its monitor is gone) or
# stale (the command that owned it is gone).
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
	elif proc_alive "vms/$2/owner" && ! vm_get vm_ready READY_NS "$2"; then
		vm_s=starting
	fi
	base_set "$1" "$vm_s"
}

# vm_lock: what makes or sweeps a VM of this instance does it alone.
vm_lock()
{
	proc_lock "$proc_dir/lock" 10 ||
		die 75 "another command holds $proc_dir/lock; try again"
}

# vm_sweep: removes what commands and VMs that died have left. Needs vm_lock.
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

# vm_claim: the selected name is ours, and is released when this command ends,
# unless vm_keep was called.
vm_claim()
{
	local state

	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_lock
	vm_sweep
	vm_state state "$vm_name"
	[ "$state" = absent ] || die 75 "a VM '$vm_name' is $state already; \
see isospin status, or stop it: isospin kill-vms $vm_name"
	vm_own
	proc_unlock
}

# vm_claim_next PREFIX: selects and claims the first free name PREFIX1, ...
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
	vm_own
	proc_unlock
}

# The release first: a signal may come between the two.
vm_own()
{
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

# vm_remove NAME: stops it and removes its state. The logs stay for isospin
# logs, those of the last VM of a name.
vm_remove()
{
	local home="$proc_dir/vms/$1" cid held='' rc=0

	run rm -f -- "$proc_dir/bridge.d/$1.worker" "$proc_dir/bridge.d/$1.gpu"
	proc_stop "vms/$1/vmm" || rc=1
	proc_stop "vms/$1/vsock-device" || rc=1
	[ "$rc" -eq 0 ] || return 1
	[ "$DRY_RUN" -eq 0 ] || return 0
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

# vm_take_cid WANTED: sets vm_cid to the first from WANTED on that no VM of this
# machine has.
vm_take_cid()
{
	vm_cid=$1
	[ "$DRY_RUN" -eq 0 ] || return 0
	proc_mkdir "$proc_run/cids"
	proc_lock "$proc_run/cids/.lock" 10 ||
		die 75 "another command holds $proc_run/cids/.lock; try again"
	while vm_cid_used "$vm_cid"; do
		vm_cid=$((vm_cid + 1))
	done
	vm_note CID "$vm_cid"
	printf '%s\n' "$vm_home" >"$proc_run/cids/$vm_cid"
	proc_unlock
	[ "$vm_cid" = "$1" ] ||
		log_info "CID $1 is taken; VM '$vm_name' gets $vm_cid"
}

vm_cid_used()
{
	local proc_dir=''

	{ IFS= read -r proc_dir <"$proc_run/cids/$1"; } 2>/dev/null || return 1
	proc_alive vmm || proc_alive owner
}

# vm_now VAR: CLOCK_MONOTONIC in ns.
vm_now()
{
	local vm_ns

	vm_ns=$("$vm_vmctl" now) || die 70 'vmctl now failed'
	base_set "$1" "$vm_ns"
}

# vm_await PROC FILE LINE SECONDS: waits until FILE holds LINE, as long as PROC
# runs. Sets vm_at to the time in ns. 1: the process ended or the guest gave
# up; 75: the deadline.
vm_await()
{
	local pid start rc=0

	read -r pid start <"$proc_dir/$vm_key/$1/pid"
	vm_at=$("$vm_vmctl" wait --pid "$pid" --start-time "$start" \
		--file "$vm_home/$2" --line "$3" --fail 'isospin: failed:' \
		--timeout-ms "$(($4 * 1000))") || rc=$?
	vm_at=${vm_at##*"$base_nl"}
	return "$rc"
}

# vm_explain RC WHAT FILE HINT: ends the command after a step that failed, with
# the last lines of the log.
vm_explain()
{
	local why='ended before' file="$vm_home/$3"

	case $1 in
	75) why='did not get there in time:' ;;
	esac
	step_stop
	if [ -s "$file" ]; then
		log_error "last lines of $3:"
		tail -n "$vm_fail_lines" -- "$file" | tr -cd '\11\12\40-\176' |
			sed 's/^/  | /' >&2
	fi
	die 69 "VM '$vm_name' $why $2; $4"
}

# vm_secret FILE: 32 random bytes for this boot.
vm_secret()
{
	head -c 32 /dev/urandom >"$1"
	[ "$(stat -c %s -- "$1")" -eq 32 ] || die 74 "$1: cannot be written"
}

# vm_spawn_vmm COMMAND [ARG...]: starts the monitor. It can gain no privilege
# and as root has no capability; unless the VM will be kept it ends with us.
vm_spawn_vmm()
{
	[ "$(id -u)" -ne 0 ] ||
		set -- --inh-caps=-all --bounding-set=-all "$@"
	[ "$vm_kept" -eq 1 ] || set -- --pdeathsig TERM "$@"
	proc_spawn "$vm_key/vmm" setpriv --no-new-privs "$@"
}

# vm_start_device: the vsock of a QEMU guest where the host has none.
vm_start_device()
{
	local device rc=0

	vm_tool device vsock-device
	proc_spawn "$vm_key/vsock-device" "$device" --socket "$vm_home/vhost.sock" \
		--uds "$vm_home/vsock.sock" --cid "$vm_cid"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_await vsock-device vsock-device/log 'vsock-device: info: ready' 10 ||
		rc=$?
	[ "$rc" -eq 0 ] || vm_explain "$rc" 'its vsock was there' \
		vsock-device/log 'is the disk full?'
}

# vm_boot LINE SECONDS: starts the selected VM and waits until the console says
# LINE. Takes vm_role, vm_cpus, vm_mem (bytes), vm_cid, vm_kernel, vm_initrd and
# vm_kept (1: it outlives this command). Sets vm_boot_ns.
vm_boot()
{
	local from rc=0

	[ "$qemu_vsock" = vhost ] || vm_start_device
	[ "$DRY_RUN" -eq 1 ] || : >"$vm_home/console.log"
	[ "$DRY_RUN" -eq 1 ] || vm_now from
	qemu_vm vm_spawn_vmm
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_await vmm console.log "$1" "$2" || rc=$?
	if [ "$rc" -ne 0 ]; then
		[ -s "$vm_home/console.log" ] || vm_explain "$rc" \
			"its console said '$1'" vmm/log 'see isospin doctor'
		vm_explain "$rc" "its console said '$1'" console.log \
			"see isospin logs $vm_name"
	fi
	rm -f -- "$vm_initrd"
	vm_boot_ns=$((vm_at - from))
	vm_note BOOT_NS "$vm_boot_ns"
	vm_note READY_NS "$vm_at"
}

# vm_boot_seconds VAR: how long a boot may take here.
vm_boot_seconds()
{
	local vm_s=180

	[ "$qemu_accel" = tcg ] || vm_s=60
	base_set "$1" "$vm_s"
}

# vm_address VAR NAME: --uds PATH or --vsock CID, for vmctl.
vm_address()
{
	local vm_kind vm_cid_of

	vm_get vm_kind VSOCK "$2" || :
	if [ "$vm_kind" = vhost ]; then
		vm_get vm_cid_of CID "$2"
		base_set "$1" "--vsock=$vm_cid_of"
	else
		base_set "$1" "--uds=$proc_dir/vms/$2/vsock.sock"
	fi
}

# vm_exec NAME FLAGS... -- COMMAND [ARG...]: runs it in a running VM; its status.
vm_exec()
{
	local name="$1" address port

	shift
	vm_address address "$name"
	vm_get port AGENT_PORT "$name"
	"$vm_vmctl" exec "$address" --port "$port" \
		--secret-file "$proc_dir/vms/$name/agent.secret" "$@"
}

# vm_register SUFFIX: tells the bridge about the selected VM; stdin is the text.
# It sees the whole file or none.
vm_register()
{
	proc_mkdir "$proc_dir/bridge.d"
	if ! cat >"$proc_dir/bridge.d/.$vm_name.$1" ||
		! mv -f -- "$proc_dir/bridge.d/.$vm_name.$1" \
			"$proc_dir/bridge.d/$vm_name.$1"; then
		die 74 "$proc_dir/bridge.d: cannot be written"
	fi
}

# vm_stream_to PORT, vm_stream_from PORT: where the bridge reaches the selected
# VM's PORT; where it hears a connection of the VM to the host's PORT.
vm_stream_to()
{
	if [ "$qemu_vsock" = vhost ]; then
		printf 'vsock:%s:%s\n' "$vm_cid" "$1"
	else
		printf 'hybrid:%s:%s\n' "$vm_home/vsock.sock" "$1"
	fi
}

vm_stream_from()
{
	if [ "$qemu_vsock" = vhost ]; then
		printf 'vsock:%s\n' "$vm_cid"
	else
		printf 'unix:%s\n' "$vm_home/vsock.sock_$1"
	fi
}

# vm_note_common RELEASE
vm_note_common()
{
	local port

	conf_get port AGENT_PORT "$vm_name"
	vm_note NAME "$vm_name"
	vm_note AGENT_PORT "$port"
	vm_note VMM qemu
	vm_note ACCEL "$qemu_accel"
	vm_note VSOCK "$qemu_vsock"
	vm_note KERNEL "$1"
}

# vm_make_initrd RELEASE: from the images and what only this boot may know,
# which is in the VM's home. In a worker vm_version says whose programs go in.
vm_make_initrd()
{
	local nonfree private='boot.conf agent.secret'

	vm_secret "$vm_home/agent.secret"
	if [ "$vm_role" = gpu ]; then
		private="$private broker.secret isospin.conf"
		image_gpu "$1"
		set -- "$image_file"
	else
		conf_get nonfree NONFREE "$vm_name"
		image_worker "$1"
		set -- "$image_file"
		if [ "$nonfree" = yes ] &&
			[ -d "$(assets_nvidia_dir "$vm_version")" ]; then
			image_nvidia "$vm_version"
			set -- "$@" "$image_file"
		fi
	fi
	# shellcheck disable=SC2086 # a list of names
	image_boot "$vm_home/boot.cpio" "$vm_home" $private ||
		die 74 "$vm_home/boot.cpio: cannot be made"
	image_concat "$vm_initrd" "$@" "$vm_home/boot.cpio" ||
		die 74 "$vm_initrd: cannot be made"
	rm -f -- "$vm_home/boot.cpio"
}

# vm_boot_conf: what the guest's agent is told, KEY=value lines on stdout.
vm_boot_conf()
{
	local agent broker

	conf_get agent AGENT_PORT "$vm_name"
	conf_get broker BROKER_PORT "$vm_name"
	printf '%s\n' "ROLE=$vm_role" "NAME=$vm_name" "CID=$vm_cid" \
		"AGENT_PORT=$agent" "BROKER_PORT=$broker"
}

# vm_show NAME: one line, or with --json one object, about a VM.
vm_show()
{
	local name="$1" role cid gpu version accel boot state pid=0

	vm_state state "$name"
	proc_pid pid "vms/$name/vmm" || :
	vm_get role ROLE "$name" || :
	vm_get cid CID "$name" || :
	vm_get gpu GPU "$name" || :
	vm_get version DRIVER_VERSION "$name" || :
	vm_get accel ACCEL "$name" || :
	vm_get boot BOOT_NS "$name" || :
	if [ "$opt_json" -eq 1 ]; then
		jq -cn --arg name "$name" --arg role "$role" \
			--arg state "$state" --arg cid "${cid:-0}" \
			--arg pid "$pid" --arg gpu "$gpu" \
			--arg driver_version "$version" --arg accel "$accel" \
			--arg boot_ns "${boot:-0}" '{name: $name, role: $role,
			state: $state, pid: ($pid | tonumber),
			cid: ($cid | tonumber), gpu_vm: $gpu,
			driver_version: $driver_version, accel: $accel,
			boot_ms: (($boot_ns | tonumber) / 1000000 | round)}'
		return
	fi
	printf '%-12s %-7s %-9s pid %-8s cid %-4s %s' "$name" "$role" "$state" \
		"$pid" "${cid:--}" "$accel"
	[ -z "$gpu" ] || printf '  GPU of %s' "$gpu"
	[ -z "$version" ] || printf '  driver %s' "$version"
	[ -z "$boot" ] || printf '  up in %d.%03d s' $((boot / 1000000000)) \
		$((boot / 1000000 % 1000))
	echo
}

# vm_printable: stdin without what could act on a terminal: a guest wrote it.
vm_printable()
{
	LC_ALL=C sed -u 's/[^[:print:]\t]//g'
}

# vm_pass_through NAME ROLE [COMMAND...]: runs it there, or a shell on a
# terminal, and ends with its status.
vm_pass_through()
{
	local name="$1" role="$2" state is rc=0

	shift 2
	base_own_status=125
	vm_state state "$name"
	[ "$state" = running ] ||
		die 69 "VM '$name' is $state; see isospin status"
	vm_get is ROLE "$name" || :
	[ "$is" = "$role" ] || die 69 "'$name' is no $role VM; see isospin status"
	if [ $# -eq 0 ]; then
		tty=1
		set -- /bin/sh
	fi
	set -- -- "$@"
	[ "${tty:-0}" -eq 0 ] || set -- --tty --env "TERM=${TERM:-linux}" "$@"
	vm_exec "$name" "$@" || rc=$?
	leave "$rc"
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
