# shellcheck shell=bash
# stack.sh - a GPU VM, the bridge and workers, booted once for a bats file
#
# A file's setup_file calls stack_new, boots VMs with isospin and puts programs into
# the guests. Its teardown_file calls stack_end. Needs common.sh.

guest_bin=$TOP/build/static/test

# stack_new: gives this bats file a state directory of its own, so that the lists
# below contain nothing else of the machine. Its path is short, because it holds
# sockets.
stack_new()
{
	ISOSPIN_RUN_DIR=$(mktemp -d /tmp/isospin.XXXXXX)
	export ISOSPIN_RUN_DIR
}

stack_end()
{
	isospin kill-vms
	rm -rf -- "$ISOSPIN_RUN_DIR"
}

# stack_boot WORKER...: boots the GPU VM gpu0, the bridge and these workers.
stack_boot()
{
	isospin gpu-vm --driver soft --detach
	isospin vsock-bridge --detach
	stack_workers "$@"
}

# stack_workers NAME...: boots these workers side by side.
stack_workers()
{
	local name pids=() pid

	for name; do
		isospin worker-vm --name "$name" --detach &
		pids+=("$!")
	done
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
}

isospin()
{
	timeout 240 "$TOP/bin/isospin" "$@" 3>&- 4>&-
}

in_worker()
{
	isospin worker-vm --exec "$1" -- "${@:2}"
}

in_gpu()
{
	isospin gpu-vm --exec gpu0 -- "$@" </dev/null
}

# put ROLE NAME PROGRAM...: copies test programs into /tmp of a VM.
put()
{
	local role=$1 name=$2 program

	shift 2
	for program; do
		# shellcheck disable=SC2016 # for the shell in there
		isospin "$role-vm" --exec "$name" -- sh -c \
			'cat >"$0" && chmod 755 "$0"' "/tmp/$program" \
			<"$guest_bin/$program"
	done
}

# state_of NAME: prints pid and start time of a recorded process.
state_of()
{
	cat "$ISOSPIN_RUN_DIR"/*/"$1/pid"
}

# kill_hard NAME: kills the recorded process with SIGKILL, and waits until it is gone.
kill_hard()
{
	local pid since

	read -r pid since <<<"$(state_of "$1")"
	"$TOP/build/bin/vmctl" signal --pid "$pid" --start-time "$since" \
		--signal 9
	"$TOP/build/bin/vmctl" stop --pid "$pid" --start-time "$since"
}

# broker_pid [WORKER]: prints the pid of the broker's monitor in the GPU VM, or of
# WORKER's child.
broker_pid()
{
	local what=--listen

	[ $# -eq 0 ] || what="--child $1\$"
	in_gpu ps -o pid,args | awk -v "what=$what" '$0 ~ what { print $1 }'
}

# smi WORKER: runs nvidia-smi in the worker if it has that, or isospin-smi.
smi()
{
	in_worker "$1" sh -c 'if command -v nvidia-smi >/dev/null
		then exec nvidia-smi; else exec isospin-smi; fi' </dev/null
}

# wait_for SECONDS COMMAND [ARG...]: runs COMMAND until it succeeds, at least once.
wait_for()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
	done
}

# wait_text FILE TEXT: waits until FILE has a line that is or begins with TEXT. A job in
# the background may not have made FILE yet.
wait_text()
{
	wait_for 10 test -e "$1"
	"$TOP/build/bin/vmctl" wait --file "$1" --line "$2" --timeout-ms 60000 \
		>/dev/null || {
		cat "$1"
		return 1
	}
}

# ---- lists of processes, fds and files ---------------------------------------

# list_host: prints processes with their fds, sockets, mounts and files of this
# file's state, except the logs that a removed VM leaves on purpose.
list_host()
{
	local dir pid

	grep -lzx "ISOSPIN_RUN_DIR=$ISOSPIN_RUN_DIR" /proc/[0-9]*/environ \
		2>/dev/null | while IFS= read -r dir; do
		pid=${dir//[!0-9]/}
		case $(cat "/proc/$pid/comm" 2>/dev/null) in
		qemu* | cloud-hyp* | firecracker | vsock-* | vmctl | *.sh)
			list_process "$pid" ;;
		esac
	done | sort
	awk -v "dir=$ISOSPIN_RUN_DIR/" 'index($NF, dir) == 1 {
		print "socket", $6, $NF }' /proc/net/unix | sort
	awk -v "dir=$ISOSPIN_RUN_DIR/" 'index($2, dir) == 1 {
		print "mount", $0 }' /proc/self/mounts
	find "$ISOSPIN_RUN_DIR" -path "$ISOSPIN_RUN_DIR/*/log" -prune -o \
		-printf 'file %y %p\n' | sort
}

# list_process PID: prints one line. Of an fd it names the kind, without the number
# that differs from one fd of the kind to the next.
list_process()
{
	printf 'process %s: %s\n' "$(tr '\0' ' ' <"/proc/$1/cmdline" |
		sed -E 's/(pid|start-time) [0-9]+/\1 N/g')" "$(
		find "/proc/$1/fd" -type l -printf '%l\n' 2>/dev/null |
			sed 's/:\[[0-9]*\]$//' | sort | uniq -c | tr -s '\n ' ' ')"
}

# list_guest ROLE NAME: prints the same for a VM, except the listing command itself.
list_guest()
{
	# shellcheck disable=SC2016 # for the shell in there
	isospin "$1-vm" --exec "$2" -- sh -c '
	all=$(ls -l /proc/[0-9]*/exe 2>/dev/null |
		sed -n "s|.* \(/proc/[0-9]*\)/exe -> .*|\1|p")
	for p in $all; do
		[ "$p" != "/proc/$$" ] && [ -e "$p" ] || continue
		printf "process %s: %s\n" "$(tr "\0" " " <"$p/cmdline")" \
			"$(ls -l "$p/fd" | sed -n "s/.* -> //p" |
			sed "s/:\[[0-9]*\]$//" | sort | uniq -c | tr -s "\n " " ")"
	done
	sed "s/^/mount /" /proc/mounts
	find / -xdev
	find /tmp /run /dev' </dev/null | sed "s/^/$2: /" | sort
}

# list_all [WORKER...]: prints the lists of the host, the GPU VM and these workers.
list_all()
{
	local name dir

	dir=$(mktemp -d "$BATS_FILE_TMPDIR/list.XXXXXX")
	list_guest gpu gpu0 >"$dir/0" &
	for name; do
		list_guest worker "$name" >"$dir/$name" &
	done
	wait
	# The host comes last, when these commands have ended.
	list_host
	cat "$dir"/*
	rm -r "$dir"
}

# list_before WORKER...: remembers the present lists.
list_before()
{
	list_all "$@" >"$BATS_FILE_TMPDIR/before"
}

# list_same WORKER...: waits up to ten seconds until the lists are as remembered.
list_same()
{
	local now=$BATS_FILE_TMPDIR/now

	wait_for 10 same_now "$@" || {
		diff "$BATS_FILE_TMPDIR/before" "$now"
		return 1
	}
}

same_now()
{
	list_all "$@" >"$BATS_FILE_TMPDIR/now"
	cmp -s "$BATS_FILE_TMPDIR/before" "$BATS_FILE_TMPDIR/now"
}
