#!/usr/bin/env bats
# Each process of isospin is killed with kill -9 at each phase of its life. A good
# worker lives on, and afterwards the same things exist as before. test/vm and
# test/cmd try one case of each kind.

load ../lib/common.sh
load ../lib/stack.sh

workers=50

setup_file()
{
	stack_new
	stack_boot w1
	put worker w1 rm-test
	smi w1
	list_before w1
}

teardown_file()
{
	stack_end
}

setup()
{
	dir=$(echo "$ISOSPIN_RUN_DIR"/*/vms)
	out=$BATS_TEST_TMPDIR/out
	good=
}

# good_starts: makes w1 make calls until good_lives.
good_starts()
{
	in_worker w1 timeout 1800 /tmp/rm-test steady /tmp/stop </dev/null \
		>"$BATS_TEST_TMPDIR/good" 2>&1 3>&- &
	good=$!
	wait_text "$BATS_TEST_TMPDIR/good" steady
}

# good_lives: all calls of w1 succeeded, and nothing is left of the other workers.
good_lives()
{
	local rc=0

	in_worker w1 touch /tmp/stop </dev/null
	wait "$good" || rc=$?
	in_worker w1 rm /tmp/stop </dev/null
	cat "$BATS_TEST_TMPDIR/good"
	equal 0 "$rc"
	list_same w1
}

# starts COMMAND...: runs COMMAND in the background; $pid is its pid.
starts()
{
	: >"$out"
	"$TOP/bin/isospin" "$@" --detach >"$out" 2>&1 3>&- 4>&- &
	pid=$!
}

# ends STATUS: the command that `starts` began ends with STATUS.
ends()
{
	local rc=0

	wait "$pid" || rc=$?
	cat "$out"
	equal "$1" "$rc"
}

# booting NAME: waits until the VM's VMM has just been started.
booting()
{
	wait_for 60 test -s "$dir/$1/vmm/pid"
}

@test "a GPU VM's processes killed while it boots" {
	local process

	for process in vmm vsock-device owner; do
		echo "# $process"
		good_starts
		starts gpu-vm --name g2 --driver soft
		booting g2
		kill_hard "vms/g2/$process"
		case $process in
		owner) ends 137 ;;
		*)
			ends 69
			has "$(cat "$out")" "VM 'g2'" ;;
		esac
		[ ! -d "$dir/g2" ] || isospin kill-vms g2
		good_lives
	done
}

@test "a worker's processes killed while it boots" {
	local process

	for process in vmm vsock-device owner; do
		echo "# $process"
		good_starts
		starts worker-vm --name w2
		booting w2
		kill_hard "vms/w2/$process"
		case $process in
		owner) ends 137 ;;
		*) ends 69 ;;
		esac
		[ ! -d "$dir/w2" ] || isospin kill-vms w2
		good_lives
	done
}

@test "the bridge killed while a worker boots: started again, the worker comes up" {
	starts worker-vm --name w2
	booting w2
	kill_hard bridge
	isospin vsock-bridge --detach
	ends 0
	has "$(smi w2)" 'Isospin Soft GPU'
	isospin kill-vms w2
	wait_for 30 smi w1
	list_same w1
}

@test "the broker killed while a worker boots: the worker comes up" {
	starts worker-vm --name w2
	booting w2
	in_gpu kill -9 "$(broker_pid)"
	ends 0
	has "$(smi w2)" 'Isospin Soft GPU'
	isospin kill-vms w2
	wait_for 30 smi w1
	list_same w1
}

@test "the GPU VM killed while a worker boots: the worker comes up with the next one" {
	starts worker-vm --name w2
	booting w2
	kill_hard vms/gpu0/vmm
	isospin kill-vms gpu0
	isospin gpu-vm --driver soft --detach
	ends 0
	has "$(smi w2)" 'Isospin Soft GPU'
	isospin kill-vms w2
	wait_for 30 smi w1
	list_same w1
}

@test "a worker's processes killed while it is idle" {
	local process

	for process in vmm vsock-device tie; do
		echo "# $process"
		good_starts
		isospin worker-vm --name w2 --detach
		kill_hard "vms/w2/$process"
		isospin kill-vms w2
		good_lives
	done
}

@test "a worker's command killed with a program in the worker" {
	good_starts
	: >"$out"
	"$TOP/bin/isospin" worker-vm --name w2 -- sh -c 'echo runs; sleep 1000' \
		>"$out" 2>&1 3>&- 4>&- </dev/null &
	pid=$!
	wait_text "$out" runs
	kill -9 "$pid"
	ends 137
	isospin kill-vms w2
	good_lives
}

@test "a child of the broker killed while its worker is idle" {
	good_starts
	isospin worker-vm --name w2 --detach
	in_gpu kill -9 "$(broker_pid w2)"
	wait_for 30 smi w2
	isospin kill-vms w2
	good_lives
}

@test "the GPU VM's monitor killed: ENODEV, and the next GPU VM heals the worker" {
	kill_hard vms/gpu0/vmm
	run ! smi w1
	isospin kill-vms gpu0
	isospin gpu-vm --driver soft --detach
	wait_for 60 smi w1
	list_same w1
}

@test "the bridge killed while all is idle" {
	kill_hard bridge
	run ! smi w1
	isospin vsock-bridge --detach
	wait_for 30 smi w1
	list_same w1
}

@test "kill-vms killed while it waits for a monitor that does not end" {
	local vmm since

	good_starts
	isospin worker-vm --name w2 --detach
	read -r vmm since <"$dir/w2/vmm/pid"
	kill -STOP "$vmm"
	"$TOP/bin/isospin" kill-vms w2 3>&- 4>&- &
	pid=$!
	# The VMM has been told to end, and cannot.
	wait_for 30 grep -qE '^(Sig|Shd)Pnd:.*4000$' "/proc/$vmm/status"
	kill -9 "$pid"
	wait "$pid" || :
	isospin kill-vms w2
	good_lives
}

@test "a worker's processes killed while kill-vms stops them" {
	local process vmm since

	for process in vmm vsock-device tie; do
		echo "# $process"
		good_starts
		isospin worker-vm --name w2 --detach
		read -r vmm since <"$dir/w2/vmm/pid"
		kill -STOP "$vmm"
		: >"$out"
		"$TOP/bin/isospin" kill-vms w2 >"$out" 2>&1 3>&- 4>&- &
		pid=$!
		wait_for 30 grep -qE '^(Sig|Shd)Pnd:.*4000$' "/proc/$vmm/status"
		kill_hard "vms/w2/$process"
		ends 0
		good_lives
	done
}

@test "workers in a loop leave nothing" {
	local n

	good_starts
	# The variable is not i, because bats's run sets i.
	for ((n = 0; n < workers; n++)); do
		run -0 --separate-stderr isospin worker-vm -- isospin-smi -L
		has "$output" 'Isospin Soft GPU'
	done
	good_lives
}
