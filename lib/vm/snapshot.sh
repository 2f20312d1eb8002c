# shellcheck shell=sh
# snapshot.sh - have workers go on from a saved one
#
# A template is a worker that is booted with the shim on hold, and saved; then it
# is gone. The snapshot is in $ASSETS_DIR/snapshots/HOST-KEY/, 0700:
#
#	state, memory  the VMM's own; memory is empty where state holds all
#	agent.secret   proves the host to the agent of a clone, once
#	about          sizes, times and hashes of these files when they were whole
#
# HOST is a hash of the machine and VMM, KEY of all else that must be the same:
# kernel, images, size, configuration. A directory has its name once it is
# whole. The files in it are readable for all users, since the directory is not:
# VMMs have users of their own, and are given the open files.
#
# DIR is a VM's directory, see vm.sh. A function that fails sets why.

use record proc assets vmm vm boot

snapshot_cpuinfo=/proc/cpuinfo
# How many are kept: several GPU VMs or sizes of workers may want them in turn.
snapshot_keep=4

# snapshot_prepare DIR: has the worker go on from a snapshot, made if there is none
# that fits. Adds SNAPSHOT, SNAPSHOT_DIR and RESTORE to the record.
snapshot_prepare()
{
	local root="$assets_dir/snapshots" name=HOST-KEY rc=0

	vmm_saves "$1" || return
	if [ "$DRY_RUN" -eq 0 ]; then
		snapshot_name name "$1" || return
		if ! snapshot_whole "$root/$name"; then
			snapshot_lock "$1" "$root" || return
			# Another may have made it meanwhile.
			snapshot_whole "$root/$name" ||
				snapshot_make "$1" "$root" "$name" || rc=$?
			exec 8>&-
			[ "$rc" -eq 0 ] || return "$rc"
		fi
	fi
	record_add "$1/vm.conf" SNAPSHOT "$name" SNAPSHOT_DIR "$root/$name" \
		RESTORE yes
}

# snapshot_name VAR DIR: sets VAR to HOST-KEY of the worker.
snapshot_name()
{
	local snapshot_host snapshot_key

	snapshot_host=$(snapshot_ask snapshot_of_host "$2") ||
		fail $? "$snapshot_host" || return
	snapshot_key=$(snapshot_ask snapshot_of_worker "$2") ||
		fail $? "$snapshot_key" || return
	base_set "$1" "$snapshot_host-$snapshot_key"
}

# snapshot_ask COMMAND [ARG...]: for a $( ), in which why would be lost: prints the output
# of COMMAND or, if that fails, why.
snapshot_ask()
{
	local rc=0

	why='the machine, VMM or image that a snapshot is made for cannot be read'
	"$@" || rc=$?
	[ "$rc" -eq 0 ] || printf '%s\n' "$why"
	return "$rc"
}

snapshot_hash()
{
	sha256sum | head -c 16
}

snapshot_of_host()
{
	local text vmm accel_is

	record_read "$1/vm.conf" vmm=VMM accel_is=ACCEL
	text=$(uname -r && vmm_key "$1" && awk -F : '
		/^$/ { exit }
		/^(vendor_id|cpu family|model|model name|stepping|microcode|flags)[ \t]/
		' "$snapshot_cpuinfo") || return
	printf '%s\n' "$vmm" "$accel_is" "$text" | snapshot_hash
}

snapshot_of_worker()
{
	local release cpus mem agent broker kernel images

	record_read "$1/vm.conf" release=KERNEL cpus=CPUS mem=MEM \
		agent=AGENT_PORT broker=BROKER_PORT
	# The file from which others may be made at any time.
	kernel=$(stat -L -c '%i %s %Y' \
		-- "$(assets_kernel_dir "$release")/vmlinuz") || return
	images=$(snapshot_ask boot_pieces "$1" snapshot_stamps) ||
		fail $? "$images" || return
	printf '%s\n' "$cpus" "$mem" "$agent" "$broker" "$kernel" \
		"$images" | snapshot_hash
}

snapshot_stamps()
{
	local file

	for file; do
		cat -- "$file.stamp" || return
	done
}

# snapshot_seal DIR: prints the content of `about` for the files there. Small files are
# hashed each time; for the others size and time must do.
snapshot_seal()
{
	local file size

	for file in state memory agent.secret; do
		size=$(stat -c %s -- "$1/$file") || return
		stat -c "$file %s %Y" -- "$1/$file" || return
		[ "$size" -gt 1048576 ] || sha256sum <"$1/$file" || return
	done
}

# snapshot_whole DIR: whether the snapshot is there, and as it was made.
snapshot_whole()
{
	local is was

	was=$(cat -- "$1/about" 2>/dev/null) || return
	is=$(snapshot_seal "$1" 2>/dev/null) || is=
	[ "$is" != "$was" ] || return 0
	log_warn "$1 is damaged, and is not used"
	return 1
}

# snapshot_give_up DIR: the worker did not come up from its snapshot, if it has one;
# that may be damaged where no seal shows it, and the next worker shall have another.
snapshot_give_up()
{
	local restore snapshot_dir

	record_read "$1/vm.conf" restore=RESTORE snapshot_dir=SNAPSHOT_DIR
	[ "$restore" = yes ] || return 0
	log_warn "$snapshot_dir is removed: a worker did not come up from it"
	rm -rf -- "$snapshot_dir"
}

# snapshot_lock DIR ROOT: in fd 8. One snapshot is made at a time; a command that
# waits will find it.
snapshot_lock()
{
	local seconds

	record_get seconds "$1/vm.conf" BOOT_TIMEOUT
	mkdir -p -- "$2" ||
		fail 74 "$2: cannot be made; is the disk full?" || return
	true 2>/dev/null >>"$2/.lock" ||
		fail 74 "$2: cannot be written; is the disk full?" || return
	base_owner_fix "$2" "$2/.lock"
	exec 8>>"$2/.lock"
	! flock -n 8 || return 0
	log_info 'waiting for another command that makes a snapshot'
	flock -w $((seconds + 120)) 8 ||
		fail 75 "another command holds $2/.lock; try again"
}

# snapshot_make DIR ROOT NAME: makes the snapshot ROOT/NAME for the worker; needs
# snapshot_lock. The template is a VM of its own, whose record is the worker's but for
# its name and place, and that it is saved.
snapshot_make()
{
	local new="$2/.new.$$" dir name

	rm -rf -- "$2"/.new.*
	on_exit rm -rf -- "$new"
	{ mkdir -m 700 -- "$new" && : >"$new/state" && : >"$new/memory"; } ||
		fail 74 "$new: cannot be made; is the disk full?" || return
	step_begin 'making the snapshot that workers start from'
	vm_claim_next dir name template &&
		record_derive "$1/vm.conf" "$dir/vm.conf" NAME "$name" DIR "$dir" \
			KEPT no RESTORE no SNAPSHOT_DIR "$new" LOG_MAX unlimited &&
		snapshot_boot "$dir" && vmm_snapshot "$dir" &&
		vm_remove "$name" && snapshot_publish "$new" "$2/$3" || return
	step_end
}

# snapshot_boot DIR: boots the template.
snapshot_boot()
{
	local to

	record_get to "$1/vm.conf" SNAPSHOT_DIR
	boot_take_cid "$1" && vmm_place "$1" &&
		boot_files "$1" TEMPLATE=yes || return
	cp -- "$1/agent.secret" "$to/" ||
		fail 74 "$to: cannot be written; is the disk full?" || return
	boot_vm "$1" 'isospin: state=template-ready'
}

# snapshot_publish NEW DIR: gives the snapshot in NEW, which is whole, its name. Holes
# take the place of memory that the guest has not touched. sync is called by its path:
# busybox ash prefers busybox's, which takes no names.
snapshot_publish()
{
	fallocate -d -- "$1/memory" 2>/dev/null || :
	! base_sudo_user || chown -R "$SUDO_UID:$SUDO_GID" -- "$1"
	if ! chown "$(stat -c %u:%g -- "$1")" -- "$1/state" "$1/memory" ||
		! chmod 444 -- "$1/state" "$1/memory" ||
		! snapshot_seal "$1" >"$1/about" ||
		! base_owner_fix "$1/about" ||
		! /bin/sync -- "$1"/* "$1" ||
		! rm -rf -- "$2" || ! mv -T -- "$1" "$2"; then
		fail 74 "$2: cannot be made; is the disk full?" || return
	fi
	snapshot_sweep "$2"
}

# snapshot_sweep DIR: removes the snapshots of another machine or VMM than DIR's, and the
# oldest. A VM that maps one keeps its pages.
snapshot_sweep()
{
	local root="${1%/*}" host="${1##*/}" dir n=0

	host=${host%%-*}
	# shellcheck disable=SC2012 # names of ours: hexadecimal and a dash
	ls -t -- "$root" | while IFS= read -r dir; do
		case $dir in
		"$host"-*)
			n=$((n + 1))
			[ "$n" -gt "$snapshot_keep" ] || continue ;;
		esac
		log_debug "removing the snapshot $dir"
		rm -rf -- "${root:?}/$dir"
	done
}
