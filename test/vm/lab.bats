#!/usr/bin/env bats
# isospin lab from the outside: its input, its output, and the traces that it leaves.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	export disk=$BATS_FILE_TMPDIR/disk
	isospin lab --name keep --disk "$disk" --detach
}

teardown_file()
{
	stack_end
}

setup()
{
	cd "$TOP"
}

in_lab()
{
	isospin lab --exec keep -- "$@"
}

@test "lab gives back stdout, stderr and status of a command, byte for byte" {
	head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
	local rc=0
	in_lab sh -c 'cat; echo "on stderr" >&2; exit 42' \
		<"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/err" || rc=$?
	equal 42 "$rc"
	cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	equal 'on stderr' "$(cat "$BATS_TEST_TMPDIR/err")"
}

@test "what cannot be run in the lab is 127 or 126, a lab that is not there 125" {
	run -127 in_lab no-such-program
	run -126 in_lab /isospin
	run -125 isospin lab --exec none -- true
}

@test "the lab has the checkout as it is" {
	sums()
	{
		find bin etc kmod lib scripts share src test build/bin -type f |
			sort | xargs sha256sum
	}
	equal "$(sums | sha256sum)" \
		"$(in_lab sh -c "$(declare -f sums); sums | sha256sum")"
}

@test "with --disk the lab has after a reboot what was written before" {
	run -0 isospin kill-vms
	has "$output" 'stopped: keep'
	isospin lab --disk "$disk" -- \
		sh -c 'echo kept >/etc/kept; echo gone >/isospin/gone'
	run -2 --separate-stderr isospin lab --disk "$disk" -- \
		sh -c 'cat /etc/kept; ls /isospin/gone'
	equal kept "$output"
}
