#!/usr/bin/env bats
# The soft driver's objects, made, freed and refused from inside workers, through
# NVIDIA's device files and all processes up to the broker. rm-test has the cases.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	stack_boot w1 w2
	put worker w1 rm-test
	put worker w2 rm-test
}

teardown_file()
{
	stack_end
}

rm_test()
{
	in_worker "$1" timeout 60 /tmp/rm-test "${@:2}"
}

@test "a freed parent takes its children along, and every handle is checked" {
	run -0 rm_test w1 objects </dev/null
	has "$output" '1..13'
}

@test "another file's client, of this process or another, is refused" {
	run -0 rm_test w1 foreign </dev/null
	has "$output" '1..3'
}

@test "another worker's client is refused, and its owner keeps it" {
	local out=$BATS_TEST_TMPDIR/out client

	mkfifo "$BATS_TEST_TMPDIR/in"
	: >"$out"
	rm_test w2 hold 20 <"$BATS_TEST_TMPDIR/in" >"$out" &
	exec 7>"$BATS_TEST_TMPDIR/in"
	wait_for 30 grep -q client "$out"
	client=$(sed 's/client //' "$out")
	run -0 rm_test w1 steal "$client" </dev/null 7>&-
	has "$output" '1..4'
	exec 7>&-
	wait "$!"
}

@test "unknown, mis-sized and badly pointed calls get the driver's errors" {
	run -0 rm_test w1 bad </dev/null
	has "$output" '1..16'
}
