#!/usr/bin/env bats
# bats file_tags=lab
# Workers that go on from a snapshot, in Firecracker, which LAB_VMMS brings into the
# lab, and in QEMU, whose guests have /dev/vhost-vsock there.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	cd "$TOP" || return
	stack_new
	# KVM is nested here, and the probe would exceed its five seconds.
	export ISOSPIN_ACCEL=kvm ISOSPIN_BOOT_TIMEOUT=200
	export ISOSPIN_WORKER_MEM=256M ISOSPIN_GPU_VMM=qemu
	# The first CID would be the lab's own, which no guest of it can have.
	export ISOSPIN_WORKER_CID=100
	# The lab has no strip. A bigger initrd serves as well.
	mkdir -p "$BATS_FILE_TMPDIR/bin"
	cat >"$BATS_FILE_TMPDIR/bin/strip" <<-'EOT'
	#!/bin/sh
	while [ $# -gt 0 ]; do
		case $1 in
		-o) to=$2; shift 2 ;;
		-R) shift 2 ;;
		-*) shift ;;
		*) from=$1; shift ;;
		esac
	done
	[ -z "${to:-}" ] || cp -- "$from" "$to"
	EOT
	chmod +x "$BATS_FILE_TMPDIR/bin/strip"
	export PATH=$BATS_FILE_TMPDIR/bin:$PATH
	again isospin gpu-vm --driver soft --detach
	isospin vsock-bridge --detach
}

teardown_file()
{
	stack_end
	rm -rf "$TOP/.vm-assets/snapshots"
}

setup()
{
	cd "$TOP" || return
	root=.vm-assets/snapshots
}

firecracker_or_skip()
{
	command -v firecracker >/dev/null && command -v jailer >/dev/null ||
		skip 'LAB_VMMS has no firecracker and jailer'
	export ISOSPIN_WORKER_VMM=firecracker
	echo "# with $(firecracker --version | head -n 1)" >&3
}

# isospin: like the function of stack.sh, with the time that nested guests need.
isospin()
{
	timeout 500 "$TOP/bin/isospin" "$@" 3>&- 4>&-
}

# again COMMAND...: runs COMMAND, and once more if it fails, because a nested guest
# hangs now and then.
again()
{
	"$@" || "$@"
}

# restore NAME: starts a worker that goes on from the snapshot.
restore()
{
	isospin worker-vm --from-snapshot --name "$1" --detach
}

conf_of()
{
	sed -n "s/^$2=//p" "$ISOSPIN_RUN_DIR"/*/"vms/$1/vm.conf"
}

# exec_with SECRET NAME: executes a command in the worker NAME, using the secret in
# the file SECRET.
exec_with()
{
	local to="--uds=$(conf_of "$2" UDS)"

	if [ "$(conf_of "$2" VSOCK)" = vhost ]; then
		to=--vsock=$(conf_of "$2" CID)
	fi
	[ "$to" != --uds= ] || to=--uds=$(echo "$ISOSPIN_RUN_DIR"/*/"vms/$2/vsock.sock")
	build/bin/vmctl exec "$to" --port 9998 --secret-file "$1" -- hostname
}

# what_it_is NAME: notes in NAME.is, as KEY=value, what must differ between workers.
what_it_is()
{
	# shellcheck disable=SC2016 # for the shell in there
	in_worker "$1" sh -c '
		echo "random=$(head -c 32 /dev/urandom | sha256sum)"
		echo "uuid=$(cat /proc/sys/kernel/random/uuid)"
		echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
		echo "host=$(hostname)"
		echo "time=$(date +%s)"' </dev/null >"$BATS_TEST_TMPDIR/$1.is"
	date +%s >"$BATS_TEST_TMPDIR/$1.now"
}

is()
{
	sed -n "s/^$2=//p" "$BATS_TEST_TMPDIR/$1.is"
}

# snapshot_of NAME: prints the directory of NAME's snapshot.
snapshot_of()
{
	echo "$root/$(conf_of "$1" SNAPSHOT)"
}

# clones A B: starts two clones of one template at once; each has an identity of its
# own.
clones()
{
	local key name late secrets=$ISOSPIN_RUN_DIR/*/vms

	again restore "$1" &
	again restore "$2"
	wait "$!"
	equal "$(snapshot_of "$1")" "$(snapshot_of "$2")"
	for name; do
		what_it_is "$name"
		cat "$BATS_TEST_TMPDIR/$name.is"
		equal "$name" "$(is "$name" host)"
		late=$(($(cat "$BATS_TEST_TMPDIR/$name.now") - $(is "$name" time)))
		echo "clock of $name: $late s behind"
		# The command itself took a part of this time.
		[ "$late" -ge -2 ] && [ "$late" -le 2 ]
		has "$(smi "$name")" 'Isospin Soft GPU'
	done
	for key in random uuid boot_id; do
		[ "$(is "$1" $key)" != "$(is "$2" $key)" ]
	done
	[ "$(broker_pid "$1")" != "$(broker_pid "$2")" ]
	# shellcheck disable=SC2086 # a pattern
	set -- "$1" "$2" $secrets
	equal "$1" "$(exec_with "$3/$1/agent.secret" "$1")"
	run -125 exec_with "$3/$2/agent.secret" "$1"
	run -125 exec_with "$3/$1/agent.secret" "$2"
	run -125 exec_with "$(snapshot_of "$1")/agent.secret" "$1"
	run -125 exec_with "$(snapshot_of "$1")/agent.secret" "$2"
}

@test "Firecracker: two at once from one snapshot, each with all of its own" {
	firecracker_or_skip
	clones fa fb
}

@test "Firecracker: the next finds the snapshot; who ends takes nothing from others" {
	firecracker_or_skip
	run -0 --separate-stderr again isospin worker-vm --from-snapshot -- \
		sh -c 'hostname; isospin-smi -L'
	equal w1 "${lines[0]}"
	[[ $stderr != *'making the snapshot'* ]]
	has "$(smi fa)" 'Isospin Soft GPU'
	# Each clone maps the same file, privately.
	pid=$(isospin status --json | jq 'select(.name == "fa").pid')
	inode=$(stat -c %i "$(snapshot_of fa)/memory")
	grep -E "rw-p .* $inode +/memory" "/proc/$pid/maps"
}

@test "Firecracker: without jailer a worker goes on from a snapshot as well" {
	firecracker_or_skip
	ISOSPIN_FIRECRACKER_JAIL=no run -0 --separate-stderr again \
		isospin worker-vm --from-snapshot -- hostname
	equal w1 "$output"
}

@test "Firecracker: a snapshot of another kernel is not used" {
	firecracker_or_skip
	before=$(snapshot_of fa)
	touch .vm-assets/kernels/*/vmlinuz
	run -0 --separate-stderr again isospin worker-vm --from-snapshot -- hostname
	has "$stderr" 'making the snapshot'
	[ -d "$before" ]
	isospin kill-vms fa fb
}

@test "QEMU: two at once from one snapshot, each with all of its own" {
	export ISOSPIN_WORKER_VMM=qemu
	clones qa qb
}
