# shellcheck shell=sh
# boot.sh - boot the VM that vm.sh has selected and claimed
#
# Takes vm_role (gpu, worker or lab), vm_cpus, vm_mem (in bytes), vm_kernel, vm_initrd
# (where it is to be made), vm_kept (1: the VM outlives this command) and in a
# worker vm_version (whose programs go in). Needs assets image vmm vm.

use conf proc assets image vmm vm snapshot lab

vm_kept=0
vm_append=
boot_restored=0
boot_log_max=16777216
boot_start=proc_spawn

# boot_take_cid WANTED: sets vm_cid to the first from WANTED on that no VM of this
# machine has; of those that vhost-vsock serves nor the machine itself, which may be
# a VM too.
boot_take_cid()
{
	local own=''

	vm_cid=$1
	[ "$DRY_RUN" -eq 0 ] || return 0
	proc_mkdir "$proc_run/cids"
	proc_lock "$proc_run/cids/.lock" 10 ||
		die 75 "another command holds $proc_run/cids/.lock; try again"
	[ "$vmm_vsock" != vhost ] || own=$("$vm_vmctl" cid) || own=
	while [ "$vm_cid" = "$own" ] || boot_cid_used "$vm_cid"; do
		vm_cid=$((vm_cid + 1))
	done
	vm_note CID "$vm_cid"
	printf '%s\n' "$vm_home" >"$proc_run/cids/$vm_cid"
	proc_unlock
	[ "$vm_cid" = "$1" ] ||
		log_debug "CID $1 is taken; VM '$vm_name' gets $vm_cid"
}

boot_cid_used()
{
	local proc_dir=''

	{ IFS= read -r proc_dir <"$proc_run/cids/$1"; } 2>/dev/null || return 1
	proc_alive vmm || proc_alive owner
}

# boot_await PROC FILE LINE SECONDS: waits until FILE holds LINE, as long as PROC
# runs. Sets vm_at to the time in ns. 1: the process ended or the guest gave
# up; 75: the deadline.
boot_await()
{
	local pid start rc=0

	read -r pid start <"$proc_dir/$vm_key/$1/pid"
	# In the background, so that a signal to us is heard at once.
	"$vm_vmctl" wait --pid "$pid" --start-time "$start" \
		--file "$vm_home/$2" --line "$3" --fail 'isospin: failed:' \
		--timeout-ms "$(($4 * 1000))" >"$vm_home/at" &
	wait "$!" || rc=$?
	read -r vm_at <"$vm_home/at" || vm_at=
	return "$rc"
}

# boot_explain RC WHAT FILE HINT: ends the command after a step that failed, with
# the last lines of the log.
boot_explain()
{
	local why='ended before' file="$vm_home/$3" text=''

	case $1 in
	75) why='did not get there in time:' ;;
	esac
	step_stop
	if [ -s "$file" ]; then
		text=$(tail -n "$vm_fail_lines" -- "$file" | tr -cd '\11\12\40-\176')
		log_error "last lines of $3:"
		printf '%s\n' "$text" | sed 's/^/  | /' >&2
	fi
	die 69 "VM '$vm_name' $why $2; $(vmm_remedy "$text" "$4")"
}

# boot_secret FILE: 32 random bytes for this boot.
boot_secret()
{
	head -c 32 /dev/urandom >"$1"
	[ "$(stat -c %s -- "$1")" -eq 32 ] || die 74 "$1: cannot be written"
}

# boot_spawn_vmm COMMAND [ARG...]: starts the monitor. It can gain no privilege
# and as root has no capability; unless the VM will be kept it ends with us.
# setpriv by its path: busybox ash prefers busybox's, which cannot. boot_start
# may name another proc_spawn.
boot_spawn_vmm()
{
	[ "$(id -u)" -ne 0 ] ||
		set -- --inh-caps=-all --bounding-set=-all "$@"
	[ "$vm_kept" -eq 1 ] || set -- --pdeathsig TERM "$@"
	# A log that is full (boot_limit) costs a message, not the VM.
	trap '' XFSZ
	"$boot_start" "$vm_key/vmm" /usr/bin/setpriv --no-new-privs "$@"
	trap - XFSZ
}

# boot_limit: until it is ready only what we brought has run in the guest. From
# now on what it says may fill no disk.
boot_limit()
{
	local pid

	proc_pid pid "$vm_key/vmm" || return 0
	prlimit --pid "$pid" --fsize="$boot_log_max" ||
		die 70 "prlimit cannot limit the logs of VM '$vm_name'"
}

# boot_tie_to PID: the VM ends when that process does.
boot_tie_to()
{
	local vmm vmm_start start

	proc_pid vmm "$vm_key/vmm" && proc_start_time vmm_start "$vmm" &&
		proc_start_time start "$1" || return 0
	proc_spawn "$vm_key/tie" "$vm_vmctl" tie --pid "$vmm" \
		--start-time "$vmm_start" --to-pid "$1" --to-start-time "$start" || :
}

# boot_vm LINE SECONDS: starts the selected VM and waits until the console says
# LINE. Takes vm_role, vm_cpus, vm_mem (bytes), vm_cid, vm_kernel, vm_initrd and
# vm_kept (1: it outlives this command). With boot_restored=1 it goes on from
# vm_snapshot instead. Sets vm_boot_ns.
boot_vm()
{
	local from rc=0 said=console.log

	[ "$DRY_RUN" -eq 1 ] || : >"$vm_home/console.log"
	[ "$DRY_RUN" -eq 1 ] || vm_now from
	if [ "$boot_restored" -eq 1 ]; then
		boot_adopt "$2"
		vmm_restore
	else
		vmm_start
	fi
	[ "$DRY_RUN" -eq 0 ] || return 0
	boot_await vmm console.log "$1" "$2" || rc=$?
	if [ "$rc" -ne 0 ]; then
		[ -s "$vm_home/$said" ] || said=vmm/log
		[ ! -s "$vm_home/adopt.log" ] ||
			log_error "$(tail -n 1 -- "$vm_home/adopt.log")"
		[ "$boot_restored" -eq 0 ] || snapshot_give_up
		boot_explain "$rc" "its console said '$1'" "$said" \
			"see isospin logs $vm_name"
	fi
	rm -f -- "$vm_initrd" "$vm_home/kernel"
	boot_limit
	vmm_ready
	vm_boot_ns=$((vm_at - from))
	vm_note BOOT_NS "$vm_boot_ns"
	vm_note READY_NS "$vm_at"
}

# boot_adopt SECONDS: what goes on from a snapshot becomes the selected VM. In the
# background: that it did, or failed, the guest says on its console.
boot_adopt()
{
	local address port

	if [ "$DRY_RUN" -eq 1 ]; then
		run "$vm_vmctl" adopt --name "$vm_name" \
			--new-secret-file "$vm_home/agent.secret"
		return
	fi
	vm_address address "$vm_name"
	vm_get port AGENT_PORT
	/usr/bin/setpriv --pdeathsig TERM "$vm_vmctl" adopt "$address" \
		--port "$port" --secret-file "$vm_snapshot/agent.secret" \
		--name "$vm_name" --new-secret-file "$vm_home/agent.secret" \
		--timeout-ms "$(($1 * 1000))" >"$vm_home/adopt.log" 2>&1 &
}

# boot_stay WHAT: shows the console of the selected VM, which is up, until it ends or
# somebody ends us.
boot_stay()
{
	local pid

	vm_notify "$1 '$vm_name' is up"
	log_info "$1 '$vm_name' is up; Ctrl-C stops it"
	/usr/bin/tail -n +1 -f --pid="$$" -- "$vm_home/console.log" | vm_printable &
	on_exit kill "$!"
	proc_pid pid "$vm_key/vmm" || pid=0
	wait "$pid" || :
	boot_explain 1 'it was told to' console.log "isospin logs $vm_name"
}

# boot_seconds VAR: how long a boot may take.
boot_seconds()
{
	conf_get "$1" BOOT_TIMEOUT "$vm_conf"
}

# boot_register SUFFIX: tells the bridge about the selected VM; stdin is the text.
# It sees the whole file or none.
boot_register()
{
	proc_mkdir "$proc_dir/bridge.d"
	if ! cat >"$proc_dir/bridge.d/.$vm_name.$1" ||
		! mv -f -- "$proc_dir/bridge.d/.$vm_name.$1" \
			"$proc_dir/bridge.d/$vm_name.$1"; then
		die 74 "$proc_dir/bridge.d: cannot be written"
	fi
}

# boot_stream_to PORT, boot_stream_from PORT: where the bridge reaches the selected
# VM's PORT; where it hears a connection of the VM to the host's PORT.
boot_stream_to()
{
	if [ "$vmm_vsock" = vhost ]; then
		printf 'vsock:%s:%s\n' "$vm_cid" "$1"
	else
		printf 'hybrid:%s:%s\n' "$vm_uds" "$1"
	fi
}

boot_stream_from()
{
	if [ "$vmm_vsock" = vhost ]; then
		printf 'vsock:%s\n' "$vm_cid"
	else
		printf 'unix:%s\n' "${vm_uds}_$1"
	fi
}

# boot_note RELEASE
boot_note()
{
	local port

	conf_get port AGENT_PORT "$vm_conf"
	vm_note NAME "$vm_name"
	vm_note AGENT_PORT "$port"
	vm_note VMM "$vmm"
	vm_note ACCEL "$vmm_accel"
	vm_note VSOCK "$vmm_vsock"
	vm_note KERNEL "$1"
	vmm_place
}

# boot_initrd RELEASE: from the images and what only this boot may know,
# which is in the VM's home. In a worker vm_version says whose programs go in.
# The kernel goes there too: the monitor has no capability, so what belongs to
# the user behind sudo is closed to it.
boot_initrd()
{
	local private='boot.conf agent.secret'

	boot_secret "$vm_home/agent.secret"
	[ "$vm_role" != gpu ] || private="$private broker.secret isospin.conf"
	# shellcheck disable=SC2086 # a list of names
	image_boot "$vm_home/boot.cpio" "$vm_home" $private ||
		die 74 "$vm_home/boot.cpio: cannot be made; is the disk full?"
	boot_pieces "$1" boot_concat
	rm -f -- "$vm_home/boot.cpio"
	cp -- "$vm_kernel" "$vm_home/kernel" ||
		die 74 "$vm_home/kernel: cannot be made; is the disk full?"
	vm_kernel=$vm_home/kernel
}

boot_concat()
{
	image_concat "$vm_initrd" "$@" "$vm_home/boot.cpio" ||
		die 74 "$vm_initrd: cannot be made; is the disk full?"
}

# boot_pieces RELEASE COMMAND [ARG...]: makes the images of an initrd, up to the
# boot's own part, and calls COMMAND with their files added.
boot_pieces()
{
	local nonfree release="$1"

	shift
	case $vm_role in
	gpu) image_gpu "$release" ;;
	lab) image_lab "$release" ;;
	*) image_worker "$release" ;;
	esac || die $? "$why"
	set -- "$@" "$image_file"
	if [ "$vm_role" = worker ]; then
		conf_get nonfree NONFREE "$vm_conf"
		if [ "$nonfree" = yes ] && [ -n "$vm_version" ] &&
			[ -d "$(assets_nvidia_dir "$vm_version")" ]; then
			image_nvidia "$vm_version" || die $? "$why"
			set -- "$@" "$image_file"
		fi
	fi
	"$@"
}

# boot_conf: what the guest's agent is told, KEY=value lines on stdout.
boot_conf()
{
	local agent broker

	conf_get agent AGENT_PORT "$vm_conf"
	conf_get broker BROKER_PORT "$vm_conf"
	printf '%s\n' "ROLE=$vm_role" "NAME=$vm_name" "CID=$vm_cid" \
		"AGENT_PORT=$agent" "BROKER_PORT=$broker"
}
