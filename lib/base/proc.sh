# shellcheck shell=sh
# proc.sh - state directories, locks, and processes known by pid and start time
#
# A function that fails sets why; 74 is a full disk.
#
# State of one checkout is in $RUN_DIR/INSTANCE (proc_dir), that of one process
# in proc_dir/NAME: `pid` (pid and start time, then on a line of its own the boot
# of the machine), `log`, sockets. Resources of the whole machine (CIDs, PCI
# devices) are locked in $RUN_DIR itself (proc_run).

use conf poll

proc_this_boot=
proc_grace_s=5

# proc_init [INSTANCE]: sets proc_run and proc_dir and makes both, 0700. Needs
# conf_load. INSTANCE defaults to a short hash of the checkout's path.
proc_init()
{
	proc_where "${1:-}" && proc_own "$proc_run" && proc_own "$proc_dir"
}

# proc_where [INSTANCE]: the same without making anything.
proc_where()
{
	local hash

	conf_get proc_run RUN_DIR
	if [ -z "$proc_run" ]; then
		if [ "$(id -u)" -eq 0 ]; then
			proc_run=/run/isospin
		elif [ -n "${XDG_RUNTIME_DIR:-}" ]; then
			proc_run=$XDG_RUNTIME_DIR/isospin
		else
			fail 78 "no place for state: run this with sudo, or" \
				"set ISOSPIN_RUN_DIR to a directory of your own" ||
				return
		fi
	fi
	case $proc_run in
	/*) ;;
	*) fail 78 "RUN_DIR: '$proc_run' is not absolute" || return ;;
	esac
	proc_instance=${1:-}
	if [ -z "$proc_instance" ]; then
		hash=$(printf '%s' "$TOP" | sha256sum)
		proc_instance=${hash%"${hash#????????}"}
	fi
	proc_dir=$proc_run/$proc_instance
}

# proc_mkdir DIR: makes DIR, 0700, in a directory that is ours alone.
proc_mkdir()
{
	local error

	[ -d "$1" ] || error=$(umask 077 && mkdir -p -- "$1" 2>&1) ||
		case $error in
		*'No space'* | *'quota'*)
			fail 74 "$1: cannot be made; is the disk full?" ;;
		*) fail 77 "$1: cannot be made" ;;
		esac
}

# proc_own DIR: makes DIR unless it is there; 77 if it is not ours alone.
proc_own()
{
	local owner

	proc_mkdir "$1" || return
	owner=$(stat -c %u:%a:%F -- "$1") || fail 74 "$1: cannot be read" || return
	case $owner in
	"$(id -u):700:directory") ;;
	*) fail 77 "$1: must be a directory of this user with mode 0700" ;;
	esac
}

# proc_room: 74 unless there is room for the small files that a command keeps in
# proc_dir. A function that makes a large one there checks by itself.
proc_room()
{
	local rc=0

	{ head -c 131072 /dev/zero >"$proc_dir/.room.$$"; } 2>/dev/null || rc=$?
	rm -f -- "$proc_dir/.room.$$"
	[ "$rc" -eq 0 ] || fail 74 "$proc_dir: no room; is the disk full?"
}

# proc_lock FILE [SECONDS]: holds an exclusive lock on FILE in fd 9 until
# proc_unlock or the command's end; 75 if another holds it for longer than
# SECONDS (0).
proc_lock()
{
	true 2>/dev/null >>"$1" ||
		fail 74 "$1: cannot be written; is the disk full?" || return
	exec 9>>"$1"
	flock -w "${2:-0}" 9 || {
		exec 9>&-
		fail 75 "another command holds $1; try again"
	}
}

proc_unlock()
{
	exec 9>&-
}

# proc_start_time VAR PID: the process's start time in clock ticks since boot
# (field 22 of stat); 1 if there is none or it is a zombie.
proc_start_time()
{
	local proc_stat=''

	{ IFS= read -r proc_stat <"/proc/$2/stat"; } 2>/dev/null || return 1
	# The name in brackets may hold anything, brackets too.
	proc_stat=${proc_stat##*) }
	case $proc_stat in
	[ZX]*) return 1 ;;
	esac
	proc_field "$1" 20 "$proc_stat"
}

# proc_field VAR N TEXT: the N-th word of TEXT.
proc_field()
{
	local proc_var="$1" proc_n="$2"

	# shellcheck disable=SC2086 # the words of the text
	set -- $3
	shift $((proc_n - 1))
	base_set "$proc_var" "$1"
}

# proc_boot: sets proc_this_boot, which no other boot of this machine has.
proc_boot()
{
	[ -n "$proc_this_boot" ] ||
		read -r proc_this_boot </proc/sys/kernel/random/boot_id
}

# proc_record NAME PID: remembers a running process; 64 if there is none.
proc_record()
{
	local start

	proc_start_time start "$2" || fail 64 "there is no process $2" || return
	proc_mkdir "$proc_dir/$1" || return
	proc_write "$1" "$2 $start" || proc_full "$1"
}

proc_write()
{
	proc_boot
	{ printf '%s\n' "$2" "$proc_this_boot" \
		>"$proc_dir/$1/pid.new"; } 2>/dev/null &&
		mv -f "$proc_dir/$1/pid.new" "$proc_dir/$1/pid"
}

proc_full()
{
	fail 74 "$proc_dir/$1: cannot be written; is the disk full?"
}

# proc_pid VAR NAME: the pid of a recorded process that still runs, else 1. No process
# of an earlier boot does, even if another one has its pid and start time now.
proc_pid()
{
	local proc_p proc_s proc_b proc_now

	{ read -r proc_p proc_s && read -r proc_b; } \
		2>/dev/null <"$proc_dir/$2/pid" || return 1
	case $proc_p:$proc_s in
	*[!0-9:]* | :* | *:) return 1 ;;
	esac
	proc_boot
	[ "$proc_b" = "$proc_this_boot" ] || return 1
	proc_start_time proc_now "$proc_p" || return 1
	[ "$proc_now" = "$proc_s" ] || return 1
	base_set "$1" "$proc_p"
}

proc_alive()
{
	local pid

	proc_pid pid "$1"
}

# proc_gone NAME...: none of them runs.
proc_gone()
{
	local name

	for name; do
		! proc_alive "$name" || return 1
	done
}

# proc_spawn NAME COMMAND [ARG...]: starts COMMAND in a session of its own with its
# output in the log, and records it; 1 if it has ended by then. Sets proc_spawned to
# its pid. COMMAND inherits neither our locks nor a test's fds.
proc_spawn()
{
	local name="$1" rc=0 start

	shift
	if [ "$DRY_RUN" -eq 1 ]; then
		run setsid "$@"
		return
	fi
	proc_mkdir "$proc_dir/$name" || return
	log_debug "+ $(base_quote "$@") >$proc_dir/$name/log"
	# Emptied here, not in the child: the caller may wait for a line of the log.
	true 2>/dev/null >"$proc_dir/$name/log" || proc_full "$name" || return
	base_hold
	setsid "$@" </dev/null >>"$proc_dir/$name/log" 2>&1 3>&- 4>&- 5>&- 6>&- \
		7>&- 8>&- 9>&- &
	proc_spawned=$!
	if ! proc_start_time start "$proc_spawned"; then
		fail 1 "$name ended at once" || rc=$?
	elif ! proc_write "$name" "$proc_spawned $start"; then
		# Without a record nobody could find the process later.
		kill -KILL "$proc_spawned"
		proc_full "$name" || rc=$?
	fi
	base_go
	return "$rc"
}

# proc_stop NAME...: ends recorded processes side by side, with SIGTERM, after
# proc_grace_s with SIGKILL, and forgets them. 75 if one is still there.
proc_stop()
{
	local name left=''

	[ $# -gt 0 ] || return 0
	for name; do
		! proc_signal TERM "$name" || left="$left $name"
	done
	if [ -n "$left" ] && [ "$DRY_RUN" -eq 0 ]; then
		# shellcheck disable=SC2086 # a list of names
		poll_until "$proc_grace_s" proc_gone $left ||
			proc_kill $left || fail 75 "a process does not end, of:$left" ||
			return
	fi
	for name; do
		set -- "$@" "$proc_dir/$name/pid"
		shift
	done
	run rm -f -- "$@"
}

proc_kill()
{
	local name

	for name; do
		! proc_signal KILL "$name" ||
			log_warn "$name does not end; killing it"
	done
	poll_until 5 proc_gone "$@"
}

# proc_signal SIGNAL NAME: 1 if there is nobody to get it.
proc_signal()
{
	local pid

	proc_pid pid "$2" || return 1
	run kill -s "$1" "$pid" 2>/dev/null || :
}

# proc_tool VAR NAME: sets VAR to the path of one of our programs; 69 if it is not built.
proc_tool()
{
	local proc_path="$paths_bin/$2"

	[ -x "$proc_path" ] || [ "$DRY_RUN" -eq 1 ] || fail 69 \
		"$proc_path is not built; run isospin demo first, or make" || return
	base_set "$1" "$proc_path"
}
