# shellcheck shell=sh
# launch.sh - the processes of a VM: start them, wait for them, say why they ended
#
# DIR is the VM's directory, see lib/vm/vm.sh. A function that fails sets why, and
# launch_said to the error text of the VMM or the guest, from which the caller finds the
# remedy.

use record proc cards

launch_said=
# How many lines of a log are shown when something has failed.
launch_lines=15

# launch_await DIR PROC FILE LINE SECONDS: waits until FILE of the VM contains LINE, as
# long as its process PROC runs. Sets launch_at to the time in ns. 1: the process ended
# or the guest gave up; 75: the deadline.
launch_await()
{
	local name home pid start rc=0

	record_read "$1/vm.conf" name=NAME home=DIR
	read -r pid start <"$proc_dir/vms/$name/$2/pid"
	# In the background, so that a signal to us is heard at once.
	"$paths_bin/vmctl" wait --pid "$pid" --start-time "$start" \
		--file "$home/$3" --line "$4" --fail 'isospin: state=failed' \
		--timeout-ms "$(($5 * 1000))" >"$home/at" &
	wait "$!" || rc=$?
	read -r launch_at <"$home/at" || launch_at=
	return "$rc"
}

# launch_failed RC DIR WHAT FILE: shows the last lines of FILE after a step that
# failed with RC, and fails with 69: the VM ended before WHAT.
launch_failed()
{
	local name home how='ended before'

	record_read "$2/vm.conf" name=NAME home=DIR
	case $1 in
	75) how='did not get there in time:' ;;
	esac
	step_stop
	launch_said=
	if [ -s "$home/$4" ]; then
		launch_said=$(tail -n "$launch_lines" -- "$home/$4" |
			tr -cd '\11\12\40-\176')
		log_error "last lines of $4:"
		printf '%s\n' "$launch_said" | sed 's/^/  | /' >&2
	fi
	fail 69 "VM '$name' $how $3"
}

# launch_vmm DIR COMMAND [ARG...]: starts the VMM. It can gain no privilege, and as root
# has no capability; unless the VM will be kept it ends with us. setpriv is called by its
# path: busybox ash prefers busybox's, which lacks these options.
launch_vmm()
{
	local dir="$1" rc=0 role kept devices snapshot_dir

	shift
	record_read "$dir/vm.conf" role=ROLE kept=KEPT devices=DEVICES \
		snapshot_dir=SNAPSHOT_DIR
	[ "$(id -u)" -ne 0 ] ||
		set -- --inh-caps=-all --bounding-set=-all "$@"
	[ "$kept" = yes ] || set -- --pdeathsig TERM "$@"
	set -- /usr/bin/setpriv --no-new-privs "$@"
	# A log that is full (boot_limit) costs a message, not the VM.
	trap '' XFSZ
	if [ "$role" = lab ]; then
		cards_start "$dir" "$@"
	elif [ -n "$snapshot_dir" ]; then
		launch_with_snapshot "$dir" "$@"
	elif [ -n "$devices" ]; then
		launch_with_devices "$dir" "$@"
	else
		launch_spawn "$dir" vmm "$@"
	fi || rc=$?
	trap - XFSZ
	return "$rc"
}

# launch_spawn DIR PROC COMMAND [ARG...]: proc_spawn for the VM's process PROC.
launch_spawn()
{
	local name proc="$2"

	record_get name "$1/vm.conf" NAME
	shift 2
	proc_spawn "vms/$name/$proc" "$@"
}

# launch_with_devices DIR COMMAND [ARG...]: starts the VMM of a VM that is handed
# devices, with a limit that lets VFIO lock its memory, and with the image, if it has one,
# as fd 5: the VMM has no capability, so files of the user behind sudo are closed to it.
launch_with_devices()
{
	local dir="$1" disk mem

	shift
	record_read "$dir/vm.conf" disk=DISK mem=MEM
	# shellcheck disable=SC2016 # the inner shell's words
	launch_spawn "$dir" vmm sh -c 'disk=$1 kib=$2
		shift 2
		ulimit -l unlimited 2>/dev/null || ulimit -l "$kib" 2>/dev/null || :
		[ -z "$disk" ] || exec 5<"$disk"
		exec "$@"' sh "$disk" "$(((mem >> 10) + 1048576))" "$@"
}

# launch_with_snapshot DIR COMMAND [ARG...]: starts the VMM with the snapshot's files
# open, as fds 5 and 6: for writing if the VM is a template, else for reading.
launch_with_snapshot()
{
	local dir="$1" how=w restore snapshot_dir

	shift
	record_read "$dir/vm.conf" restore=RESTORE snapshot_dir=SNAPSHOT_DIR
	[ "$restore" != yes ] || how=r
	# shellcheck disable=SC2016 # the inner shell's words
	launch_spawn "$dir" vmm sh -c 'dir=$1 how=$2
		shift 2
		case $how in
		r) exec "$@" 5<"$dir/state" 6<"$dir/memory" ;;
		w) exec "$@" 5<>"$dir/state" 6<>"$dir/memory" ;;
		esac' sh "$snapshot_dir" "$how" "$@"
}

# launch_tie DIR PID: has the VM end when the process PID does.
launch_tie()
{
	local name vmm since start

	record_get name "$1/vm.conf" NAME
	proc_pid vmm "vms/$name/vmm" && proc_start_time since "$vmm" &&
		proc_start_time start "$2" || return 0
	launch_spawn "$1" tie "$paths_bin/vmctl" tie --pid "$vmm" \
		--start-time "$since" --to-pid "$2" --to-start-time "$start" || :
}

# launch_version PROGRAM: sets launch_major, launch_minor and launch_text (its first
# line).
launch_version()
{
	local v

	command -v "$1" >/dev/null || fail 69 "$1 is not on PATH" || return
	launch_text=$(timeout 10 "$1" --version 2>&1) ||
		fail 69 "$1 --version failed: ${launch_text%%"$base_nl"*}" || return
	launch_text=${launch_text%%"$base_nl"*}
	v=${launch_text##* }
	v=${v#v}
	launch_major=${v%%.*}
	v=${v#*.}
	launch_minor=${v%%[!0-9]*}
	case $launch_major:$launch_minor in
	*[!0-9:]* | :* | *:) fail 69 "$1 --version said '$launch_text'" ;;
	esac
}

# launch_needs PROGRAM MAJOR MINOR FEATURE: 69, and why, if PROGRAM is older than the first
# version with FEATURE. Call launch_version before.
launch_needs()
{
	[ "$launch_major" -gt "$2" ] ||
		{ [ "$launch_major" -eq "$2" ] && [ "$launch_minor" -ge "$3" ]; } ||
		fail 69 "$1: version $2.$3 is the first with $4; this is '$launch_text'"
}

# launch_file PROGRAM: prints the inode, size and time of the program, which no other
# file at that path shares.
launch_file()
{
	local bin

	bin=$(command -v "$1") && stat -L -c '%i %s %Y' -- "$bin"
}

# launch_api DIR SOCKET METHOD PATH [BODY]: makes one request to the API of the VMM, once
# it serves; sets launch_answer. If the VMM refuses, its own words are shown.
launch_api()
{
	local dir="$1" socket="$2" name vmm pid start rc=0

	shift 2
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$paths_bin/vmctl" api --socket "$socket" "$@"
		return
	fi
	record_read "$dir/vm.conf" name=NAME vmm=VMM
	read -r pid start <"$proc_dir/vms/$name/vmm/pid"
	launch_answer=$("$paths_bin/vmctl" api --socket "$socket" --pid "$pid" \
		--start-time "$start" --timeout-ms 120000 "$@" </dev/null) || rc=$?
	case $rc in
	0) return 0 ;;
	1)
		step_stop
		log_error "$vmm refused $1 $2: $launch_answer"
		launch_said=$launch_answer
		fail 69 "VM '$name': $vmm refused $1 $2" ;;
	*) launch_failed "$rc" "$dir" "its VMM did $1 $2" vmm/log ;;
	esac
}

# launch_kernel VAR DIR: sets VAR to the kernel's file: the VM's own copy, if there is
# one. The VMM has no capability, so files of the user behind sudo are closed to it.
launch_kernel()
{
	local launch_home launch_file launch_restore

	record_read "$2/vm.conf" launch_home=DIR launch_file=KERNEL_FILE \
		launch_restore=RESTORE
	if [ "$launch_restore" = yes ] || [ -f "$launch_home/kernel" ]; then
		launch_file=$launch_home/kernel
	fi
	base_set "$1" "$launch_file"
}
