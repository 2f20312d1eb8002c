#!/usr/bin/env bats
# Processes that die in the middle of calls: a child of the broker, its monitor, the
# bridge, a vsock-device, a worker. The GPU VM's broker is gpu-broker-test, whose
# driver blocks a call until it is told to go on; rm-test measures inside the workers.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	stack_boot w1 w2
	put gpu gpu0 gpu-broker-test
	put worker w1 rm-test
	put worker w2 rm-test
	use_test_broker
	smi w1
	smi w2
	list_before w1 w2
}

teardown_file()
{
	stack_end
}

# use_test_broker: makes the agent start the test broker, by killing the other one.
use_test_broker()
{
	isospin gpu-vm --exec gpu0 -- sh -c 'cat >/tmp/b && chmod 755 /tmp/b &&
		mv /tmp/b /isospin/gpu-broker' <<-'EOT'
	#!/bin/sh
	exec /tmp/gpu-broker-test "$@" --driver block
	EOT
	in_gpu kill -9 "$(broker_pid)"
	wait_for 10 smi w1
}

rm_test()
{
	in_worker "$1" timeout 60 /tmp/rm-test "${@:2}"
}

# play WORKER TEXT SCENARIO [ARG]: runs rm-test in the background; $pid is its pid.
# Returns when rm-test has printed TEXT.
play()
{
	local out=$BATS_TEST_TMPDIR/$1.out

	: >"$out"
	rm_test "$1" "${@:3}" </dev/null >"$out" 2>&1 3>&- &
	pid=$!
	wait_text "$out" "$2"
}

# healed PID WORKER [MS]: the call that was under way and the next one end with ENODEV
# within a second, and a new file works within MS.
healed()
{
	local out=$BATS_TEST_TMPDIR/$2.out rc=0

	wait "$1" || rc=$?
	cat "$out"
	equal 0 "$rc"
	equal 1 "$(grep -c '^call: No such device after' "$out")"
	equal 1 "$(grep -c '^blocked call: No such device after' "$out")"
	equal 1 "$(grep -c '^old file: No such device' "$out")"
	awk -v "new=${3:-5000}" '/ after / {
		if ($(NF - 1) > ($1 == "new" ? new : 1000))
			exit 1
		n++
	} END { exit n != 3 }' "$out"
}

# stayed PID WORKER: all calls of the worker succeeded.
stayed()
{
	local rc=0

	in_worker "$2" touch /tmp/stop </dev/null
	wait "$1" || rc=$?
	cat "$BATS_TEST_TMPDIR/$2.out"
	in_worker "$2" rm /tmp/stop </dev/null
	equal 0 "$rc"
}

same()
{
	has "$(smi w1)" 'Isospin Soft GPU'
	has "$(smi w2)" 'Isospin Soft GPU'
	list_same w1 w2
}

# block_again WORKER: gives the worker a new child, because a driver that was released
# does not block again.
block_again()
{
	in_gpu kill -9 "$(broker_pid "$1")"
	wait_for 10 smi "$1"
}

# third: starts a third worker for one test.
third()
{
	isospin worker-vm --name w3 --detach
	put worker w3 rm-test
}

@test "with one call blocked in the broker, 31 threads make theirs" {
	run -0 rm_test w1 threads </dev/null
	has "$output" '1..4'
	block_again w1
	same
}

@test "the shim unloads while idle, not with a call out, and loads again" {
	play w1 blocked block
	run ! in_worker w1 rmmod nvidia_shim </dev/null
	has "$output" 'temporarily unavailable'
	rm_test w1 release </dev/null
	wait "$pid" || :
	in_worker w1 rmmod nvidia_shim </dev/null
	run ! in_worker w1 sh -c 'ls /dev/nvidia* /proc/driver/nvidia' </dev/null
	in_worker w1 insmod /isospin/nvidia-shim.ko cid=2 port=9999 </dev/null
	wait_for 10 smi w1
	same
}

@test "a process killed in the middle of a call leaves nothing behind" {
	play w1 blocked block
	in_worker w1 killall -9 rm-test </dev/null
	wait "$pid" || :
	rm_test w1 release </dev/null
	same
	block_again w1
}

@test "a child of the broker killed: its worker heals, no other notices" {
	local w1 w2

	play w1 watching watch
	w1=$pid
	play w2 steady steady /tmp/stop
	w2=$pid
	in_gpu kill -9 "$(broker_pid w1)"
	healed "$w1" w1
	stayed "$w2" w2
	same
}

@test "the broker's monitor killed: ENODEV within a second, well within five" {
	local w1 w2

	play w1 watching watch
	w1=$pid
	play w2 watching watch
	w2=$pid
	in_gpu kill -9 "$(broker_pid)"
	healed "$w1" w1
	healed "$w2" w2
	same
}

@test "the bridge killed: ENODEV within a second, well within five" {
	local w1 w2

	play w1 watching watch
	w1=$pid
	play w2 watching watch
	w2=$pid
	kill_hard bridge
	isospin vsock-bridge --detach
	healed "$w1" w1
	healed "$w2" w2
	same
}

@test "a worker VM killed in the middle of a call harms no other" {
	local w2

	third
	play w2 steady steady /tmp/stop
	w2=$pid
	play w3 blocked block
	kill_hard vms/w3/vmm
	wait "$pid" || :
	isospin kill-vms w3
	stayed "$w2" w2
	same
}

@test "a worker's vsock-device killed in the middle of a call harms no other" {
	local w2

	third
	play w2 steady steady /tmp/stop
	w2=$pid
	play w3 blocked block
	kill_hard vms/w3/vsock-device
	wait "$pid" || :
	isospin kill-vms w3
	stayed "$w2" w2
	same
}

@test "the GPU VM's vsock-device killed: ENODEV, and a new GPU VM heals all" {
	local w1 w2

	play w1 watching watch
	w1=$pid
	play w2 watching watch
	w2=$pid
	kill_hard vms/gpu0/vsock-device
	isospin kill-vms gpu0
	isospin gpu-vm --driver soft --detach
	healed "$w1" w1 60000
	healed "$w2" w2 60000
	put gpu gpu0 gpu-broker-test
	use_test_broker
	same
}
