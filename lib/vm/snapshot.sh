# shellcheck shell=sh
# snapshot.sh - workers that go on from a saved one
#
# A template is a worker that is booted with the shim on hold, and saved; then it
# is gone. What was saved is in $ASSETS_DIR/snapshots/HOST-KEY/, 0700:
#
#	state, memory  the monitor's own; memory is empty where state holds all
#	agent.secret   proves the host to the agent of a clone, once
#	about          what the first two were like when they were whole
#
# HOST is a hash of the machine and monitor, KEY of all else that must be as it
# was: kernel, images, size, configuration. A directory has its name once it is
# whole. Its files may be read by all who get there: monitors have users of their
# own, and are given the open files.
#
# Needs assets boot conf image proc vm vmm.

use conf proc assets vmm vm boot

snapshot_cpuinfo=/proc/cpuinfo
# So many are kept, as several GPU VMs or sizes of workers may want them in turn.
snapshot_keep=4

# snapshot_prepare RELEASE: has the selected VM, which vm_* describe, go on from a
# snapshot, made if there is none that fits.
snapshot_prepare()
{
	vmm_saves
	snapshot_root=$assets_dir/snapshots
	boot_restored=1
	vm_snapshot=$snapshot_root/HOST-KEY
	[ "$DRY_RUN" -eq 0 ] || return 0
	snapshot_name "$1"
	vm_snapshot=$snapshot_root/$snapshot_name
	! snapshot_whole "$vm_snapshot" || return 0
	snapshot_lock
	# Another may have made it meanwhile.
	snapshot_whole "$vm_snapshot" || snapshot_make "$1"
	exec 8>&-
}

# snapshot_name RELEASE: sets snapshot_host and snapshot_name.
snapshot_name()
{
	local key

	if ! snapshot_host=$(snapshot_of_host) ||
		! key=$(snapshot_of_worker "$1"); then
		die 70 'what a snapshot must fit cannot be read'
	fi
	snapshot_name=$snapshot_host-$key
}

snapshot_hash()
{
	sha256sum | head -c 16
}

snapshot_of_host()
{
	local text

	text=$(uname -r && vmm_key && awk -F : '
		/^$/ { exit }
		/^(vendor_id|cpu family|model|model name|stepping|microcode|flags)[ \t]/
		' "$snapshot_cpuinfo") || return
	printf '%s\n' "$vmm" "$vmm_accel" "$text" | snapshot_hash
}

snapshot_of_worker()
{
	local agent broker kernel images

	conf_get agent AGENT_PORT "$vm_conf"
	conf_get broker BROKER_PORT "$vm_conf"
	# The file from which others may be made at any time.
	kernel=$(stat -L -c '%i %s %Y' -- "$(assets_kernel_dir "$1")/vmlinuz") ||
		return
	images=$(boot_pieces "$1" snapshot_stamps) || return
	printf '%s\n' "$vm_cpus" "$vm_mem" "$agent" "$broker" "$kernel" \
		"$images" | snapshot_hash
}

snapshot_stamps()
{
	local file

	for file; do
		cat -- "$file.stamp" || return
	done
}

# snapshot_seal DIR: what `about` says of the files there. What is small enough is
# hashed each time; of the rest size and time must do.
snapshot_seal()
{
	local file size

	for file in state memory agent.secret; do
		size=$(stat -c %s -- "$1/$file") || return
		stat -c "$file %s %Y" -- "$1/$file" || return
		[ "$size" -gt 1048576 ] || sha256sum <"$1/$file" || return
	done
}

# snapshot_whole DIR: it is there, and as it was made.
snapshot_whole()
{
	local is was

	was=$(cat -- "$1/about" 2>/dev/null) || return
	is=$(snapshot_seal "$1" 2>/dev/null) || is=
	[ "$is" != "$was" ] || return 0
	log_warn "$1 is damaged, and is not used"
	return 1
}

# snapshot_give_up: nothing came up from vm_snapshot; it may be damaged where no seal
# shows it, and the next worker shall have another.
snapshot_give_up()
{
	log_warn "$vm_snapshot is removed: a worker did not come up from it"
	rm -rf -- "$vm_snapshot"
}

# snapshot_lock: in fd 8. One snapshot is made at a time; who waits will find it.
snapshot_lock()
{
	mkdir -p -- "$snapshot_root" ||
		die 74 "$snapshot_root: cannot be made"
	true 2>/dev/null >>"$snapshot_root/.lock" ||
		die 74 "$snapshot_root: cannot be written; is the disk full?"
	base_owner_fix "$snapshot_root" "$snapshot_root/.lock"
	exec 8>>"$snapshot_root/.lock"
	! flock -n 8 || return 0
	log_info 'waiting for another command that makes a snapshot'
	flock -w $((seconds + 120)) 8 ||
		die 75 "another command holds $snapshot_root/.lock; try again"
}

# snapshot_make RELEASE: needs snapshot_lock. The template is a VM of its own, and
# has nothing of the selected one but its configuration.
snapshot_make()
{
	local name="$vm_name" cid="$vm_cid" kernel="$vm_kernel" kept="$vm_kept"
	local start="$boot_start" log_max="$boot_log_max" to="$vm_snapshot"

	rm -rf -- "$snapshot_root"/.new.*
	vm_snapshot=$snapshot_root/.new.$$
	on_exit rm -rf -- "$vm_snapshot"
	{ mkdir -m 700 -- "$vm_snapshot" && : >"$vm_snapshot/state" &&
		: >"$vm_snapshot/memory"; } ||
		die 74 "$vm_snapshot: cannot be made; is the disk full?"
	step_begin 'making the snapshot that workers start from'
	vm_claim_next template
	vm_conf=$name
	vm_kept=0
	boot_start=snapshot_open
	boot_log_max=unlimited
	boot_restored=0
	snapshot_boot "$1"
	vmm_snapshot
	vm_remove "$vm_name" || die 75 "VM '$vm_name' does not end"
	snapshot_publish "$to"
	step_end
	boot_start=$start boot_log_max=$log_max boot_restored=1
	vm_select "$name"
	vm_cid=$cid vm_kernel=$kernel vm_kept=$kept vm_snapshot=$to
	vm_uds=$vm_home/vsock.sock
}

snapshot_boot()
{
	boot_take_cid "$vm_cid"
	vm_uds=$vm_home/vsock.sock
	vm_initrd=$vm_home/initrd
	vm_note ROLE worker
	boot_note "$1"
	{
		boot_conf
		echo TEMPLATE=yes
	} >"$vm_home/boot.conf"
	boot_initrd "$1"
	cp -- "$vm_home/agent.secret" "$vm_snapshot/" ||
		die 74 "$vm_snapshot: cannot be written; is the disk full?"
	boot_vm 'isospin: template ready' "$seconds"
}

# snapshot_open NAME COMMAND [ARG...]: proc_spawn with the snapshot's files open; to
# be written while it is made.
snapshot_open()
{
	local name="$1" how=r

	shift
	[ "$boot_restored" -eq 1 ] || how=w
	# shellcheck disable=SC2016 # the inner shell's words
	proc_spawn "$name" sh -c 'dir=$1 how=$2
		shift 2
		case $how in
		r) exec "$@" 5<"$dir/state" 6<"$dir/memory" ;;
		w) exec "$@" 5<>"$dir/state" 6<>"$dir/memory" ;;
		esac' sh "$vm_snapshot" "$how" "$@"
}

# snapshot_publish DIR: what was written is whole, and gets its name. Holes take the
# place of memory that nobody has touched. sync by its path: busybox ash prefers
# busybox's, which takes no names.
snapshot_publish()
{
	fallocate -d -- "$vm_snapshot/memory" 2>/dev/null || :
	! base_sudo_user || chown -R "$SUDO_UID:$SUDO_GID" -- "$vm_snapshot"
	if ! chown "$(stat -c %u:%g -- "$vm_snapshot")" -- "$vm_snapshot/state" \
			"$vm_snapshot/memory" ||
		! chmod 444 -- "$vm_snapshot/state" "$vm_snapshot/memory" ||
		! snapshot_seal "$vm_snapshot" >"$vm_snapshot/about" ||
		! base_owner_fix "$vm_snapshot/about" ||
		! /bin/sync -- "$vm_snapshot"/* "$vm_snapshot" ||
		! rm -rf -- "$1" || ! mv -T -- "$vm_snapshot" "$1"; then
		die 74 "$1: cannot be made; is the disk full?"
	fi
	snapshot_sweep
}

# snapshot_sweep: removes those that another machine or monitor has made, and the
# oldest. A VM that maps one keeps what it maps.
snapshot_sweep()
{
	local dir n=0

	# shellcheck disable=SC2012 # names of ours: hexadecimal and a dash
	ls -t -- "$snapshot_root" | while IFS= read -r dir; do
		case $dir in
		"$snapshot_host"-*)
			n=$((n + 1))
			[ "$n" -gt "$snapshot_keep" ] || continue ;;
		esac
		log_debug "removing the snapshot $dir"
		rm -rf -- "${snapshot_root:?}/$dir"
	done
}
