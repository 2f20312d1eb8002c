#!/usr/bin/env bats
# A hostile worker sends frames past its shim (wire-client) and makes calls through it
# (rm-test), by way of the bridge to the broker. After each case another worker still
# sees its GPU, and processes, fds, sockets, mounts and files are as before.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	stack_boot w1 w2
	put worker w1 wire-client rm-test
	cat "$ISOSPIN_RUN_DIR"/*/vms/gpu0/broker.secret |
		in_worker w1 sh -c 'cat >/tmp/secret'
	smi w2
	list_before w1 w2
}

teardown_file()
{
	stack_end
}

# play SCENARIO [OPTION...]: runs wire-client in w1. Without options it leaves IDENT to
# the bridge.
play()
{
	local scenario=$1

	shift
	[ $# -gt 0 ] || set -- --no-ident
	echo "# $scenario"
	in_worker w1 timeout 60 /tmp/wire-client "$@" vsock:2:9999 \
		"$scenario" </dev/null
}

# unharmed: the other worker and this one still see their GPU, and nothing is left.
unharmed()
{
	has "$(smi w2)" 'Isospin Soft GPU'
	has "$(smi w1)" 'Isospin Soft GPU'
	list_same w1 w2
}

@test "every malformed, oversize or out-of-state frame ends its connection" {
	run -0 play hostile-frames
	has "$output" 'refused 23'
	run -0 play hostile-ioctls
	has "$output" 'refused 12'
	play bad-version
	unharmed
}

@test "a burst of calls, more than is read at once, is answered to the last" {
	play burst
	unharmed
}

@test "a frame that stops half-way leaves nothing behind" {
	play truncated
	unharmed
}

@test "a worker's own IDENT is refused, even with the right secret" {
	play no-ident --name w2
	play no-ident --name w2 --secret-file /tmp/secret
	play no-ident --name w1 --secret-file /tmp/secret
	unharmed
}

@test "past the shim, what no table allows gets the driver's errors" {
	local scenario

	for scenario in unknown-ioctl unknown-control unknown-class wrong-size \
		bad-fd huge-length huge-nested; do
		play "$scenario"
	done
	unharmed
}

@test "past the shim, handles of other files and processes are refused" {
	play foreign-client
	play foreign-dup
	unharmed
}

@test "a pointer that cannot be read, and a killed caller, end the call alone" {
	play more-efault
	play cancel
	unharmed
}

@test "through the shim, bad calls get the driver's errors" {
	run -0 in_worker w1 timeout 60 /tmp/rm-test bad </dev/null
	has "$output" '1..16'
	unharmed
}
