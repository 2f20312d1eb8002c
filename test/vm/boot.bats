#!/usr/bin/env bats
# A real GPU VM, the bridge and real workers: commands in guests, VMs that come and go
# while others go on, and the traces that they leave.

load ../lib/common.sh

setup_file()
{
	export ISOSPIN_RUN_DIR
	ISOSPIN_RUN_DIR=$(mktemp -d /tmp/isospin-vm.XXXXXX)
	cd "$BATS_TEST_DIRNAME/../.."
	bin/isospin gpu-vm --detach --driver soft >&2 3>&-
	bin/isospin vsock-bridge --detach 3>&-
	bin/isospin worker-vm --name keep --detach >&2 3>&-
}

teardown_file()
{
	cd "$BATS_TEST_DIRNAME/../.."
	bin/isospin kill-vms
	rm -rf -- "$ISOSPIN_RUN_DIR"
}

setup()
{
	cd "$TOP"
	dir=$(echo "$ISOSPIN_RUN_DIR"/????????)
	vmctl=$TOP/build/bin/vmctl
}

in_keep()
{
	bin/isospin worker-vm --exec keep -- "$@"
}

# smi: prints the GPU's name with nvidia-smi if the worker has it, or isospin-smi.
smi()
{
	in_keep sh -c 'if command -v nvidia-smi >/dev/null
		then nvidia-smi -L; else isospin-smi -L; fi'
}

# proc_kill NAME: kills a process of isospin, found by its record, and waits until it is
# gone: on a busy machine the kernel ends it a moment later.
proc_kill()
{
	local pid since

	read -r pid since <"$dir/$1/pid"
	"$vmctl" signal --pid "$pid" --start-time "$since" --signal 9
	# shellcheck disable=SC2016 # for that shell
	within 10 sh -c '! grep -qs "^State:[[:space:]]*[^ZX]" "/proc/$0/status"' "$pid"
}

# within SECONDS COMMAND...: runs COMMAND until it succeeds.
within()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

@test "worker-vm gives back stdout, stderr and status of a command, byte for byte" {
	head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
	local rc=0
	bin/isospin worker-vm -- sh -c 'cat; echo "on stderr" >&2; exit 42' \
		<"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/err" || rc=$?
	equal 42 "$rc"
	cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	equal 'on stderr' "$(grep -v '^worker-vm: ' "$BATS_TEST_TMPDIR/err")"
	equal '' "$(ls "$dir/vms" | grep '^w')"
}

@test "the guest that tries an accelerator runs" {
	# shellcheck disable=SC2016 # for that shell
	run -33 env TOP="$TOP" sh -c '. "$TOP/lib/base/base.sh"; use accel
		accel_probe_s=60; accel_probe tcg max'
}

@test "126, 127 and 128+n come back as a shell gives them" {
	run -127 in_keep /nonexistent
	run -126 in_keep /etc/passwd
	run -137 in_keep sh -c 'kill -9 $$'
}

@test "a signal to worker-vm reaches the command, whose status it passes on" {
	# shellcheck disable=SC2016 # for the guest's shell
	scripts/worker-vm.sh --exec keep -- sh -c \
		'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done' \
		>"$BATS_TEST_TMPDIR/out" 3>&- &
	local pid=$! rc=0
	within 20 grep -q up "$BATS_TEST_TMPDIR/out"
	kill -TERM "$pid"
	wait "$pid" || rc=$?
	equal 9 "$rc"
}

@test "a 6.1 kernel carries both VMs too" {
	export ISOSPIN_KERNEL=6.1
	bin/isospin gpu-vm --name older --driver soft --detach 3>&-
	run -0 --separate-stderr bin/isospin worker-vm --gpu older -- sh -c \
		'uname -r; isospin-smi -L'
	bin/isospin kill-vms older
	has "$output" 6.1.
	has "$output" 'Isospin Soft GPU'
}

@test "two workers have two children of the broker with two users" {
	bin/isospin worker-vm --name other --detach 3>&-
	smi
	run -0 bin/isospin gpu-vm --exec gpu0 -- ps -o user,args
	bin/isospin kill-vms other
	equal 1 "$(grep -c -- '--child keep' <<<"$output")"
	equal 1 "$(grep -c -- '--child other' <<<"$output")"
	equal 2 "$(grep -- '--child' <<<"$output" | awk '{ print $1 }' |
		grep -vx root | sort -u | wc -l)"
}

@test "each child of the broker has its own share of the GPU VM's processors" {
	bin/isospin worker-vm --name other --detach 3>&-
	smi
	# shellcheck disable=SC2016 # for the shell in there
	run -0 bin/isospin gpu-vm --exec gpu0 -- sh -c '
		cd /sys/fs/cgroup && for g in worker*; do
			[ -z "$(cat "$g/cgroup.procs")" ] ||
				echo "$g $(cat "$g/cpu.weight")"
		done'
	bin/isospin kill-vms other
	equal "$(printf 'worker0 100\nworker1 100')" "$output"
}

@test "the bridge killed and started again heals workers that live" {
	smi
	proc_kill bridge
	bin/isospin vsock-bridge --detach 3>&-
	within 5 smi
}

@test "the broker killed starts again, and workers that live use it" {
	smi
	bin/isospin gpu-vm --exec gpu0 -- sh -c \
		'kill -9 $(pidof gpu-broker | tr " " "\n" | sort -n | head -n 1)'
	within 10 smi
}

@test "a child of the broker killed costs its own worker a moment, no other" {
	bin/isospin worker-vm --name other --detach 3>&-
	smi
	in_keep sh -c 'while nvidia-smi -L >/dev/null 2>&1 ||
			isospin-smi -L >/dev/null 2>&1; do echo on; done
		echo off' >"$BATS_TEST_TMPDIR/out" 3>&- &
	local pid=$!
	within 20 grep -q on "$BATS_TEST_TMPDIR/out"
	bin/isospin gpu-vm --exec gpu0 -- sh -c \
		'kill -9 $(ps -o pid,args | awk "/--child othe[r]/ { print \$1 }")'
	run -0 bin/isospin worker-vm --exec other -- sh -c \
		'n=0; until nvidia-smi -L || isospin-smi -L; do
			n=$((n + 1)); [ "$n" -lt 50 ] || exit 1; sleep 0.1; done'
	run ! grep off "$BATS_TEST_TMPDIR/out"
	kill "$pid"
	wait "$pid" || :
	bin/isospin kill-vms other
}

@test "a worker whose vsock-device was killed ends alone" {
	bin/isospin worker-vm --name other --detach 3>&-
	proc_kill vms/other/vsock-device
	smi
	bin/isospin kill-vms other
	smi
	equal '' "$(pgrep -f "$dir/vms/other/" || :)"
}

@test "the agent runs nothing for another user of the host" {
	command -v setpriv
	[ "$(id -u)" -eq 0 ] || skip 'needs root'
	run -125 setpriv --reuid 65534 --clear-groups "$vmctl" exec \
		--uds "$dir/vms/keep/vsock.sock" --port 9998 \
		--secret-file "$dir/vms/keep/agent.secret" -- id
	head -c 32 /dev/zero >"$BATS_TEST_TMPDIR/wrong"
	run -125 "$vmctl" exec --uds "$dir/vms/keep/vsock.sock" --port 9998 \
		--secret-file "$BATS_TEST_TMPDIR/wrong" -- id
	in_keep true
}

@test "secrets are gone in the guest before anything else runs there" {
	run -0 in_keep sh -c 'ls -A /isospin'
	run ! grep secret <<<"$output"
	run -0 bin/isospin gpu-vm --exec gpu0 -- sh -c 'ls -A /isospin'
	run ! grep secret <<<"$output"
	run -0 bin/isospin gpu-vm --exec gpu0 -- sh -c \
		'cat /proc/cmdline /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" " "'
	run ! grep -E '[0-9a-f]{64}' <<<"$output"
}

@test "after all of it every process of this file is one of status" {
	local pids want

	pids=$(pgrep -f "$ISOSPIN_RUN_DIR/" | sort -n)
	# These are QEMU and the two processes of vsock-device for each VM, and the
	# bridge.
	want=$(bin/isospin status --json | jq -r 'select(.pid > 0) | .pid' |
		wc -l)
	equal 3 "$want"
	[ "$(wc -l <<<"$pids")" -le 8 ]
	smi
}
