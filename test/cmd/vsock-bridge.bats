#!/usr/bin/env bats
# The program vsock-bridge: its options and its messages about bad files.
# build/test/unit/test_bridge_run tests how it carries bytes.

load ../lib/common.sh

bridge=$TOP/build/bin/vsock-bridge

setup()
{
	cd "$BATS_TEST_TMPDIR"
	mkdir -p s/bridge.d s/vms
	printf '%032d' 7 >s/vms/secret
	printf 'connect=unix:%s\nsecret_file=%s\n' \
		"$PWD/s/vms/gpu" "$PWD/s/vms/secret" >s/bridge.d/gpu0.gpu
	printf 'listen=unix:%s\ngpu=gpu0\ncaps=utility\n' \
		"$PWD/s/vms/w1" >s/bridge.d/w1.worker
}

teardown()
{
	[ -z "${pid:-}" ] || kill "$pid" 2>/dev/null || :
	[ -z "${gpu:-}" ] || kill "$gpu" 2>/dev/null || :
}

# start_bridge [OPTION...]: starts the bridge and waits until it serves; its log is
# ./log.
start_bridge()
{
	"$bridge" --dir "$PWD/s/bridge.d" "$@" 2>log 3>&- &
	pid=$!
	wait_line 'info: state=ready'
}

# wait_until COMMAND [ARG...]: waits ten seconds at most until COMMAND succeeds.
wait_until()
{
	TOP=$TOP sh -c '. "$0/lib/base/base.sh"; use poll; poll_until 10 "$@"' \
		"$TOP" "$@"
}

# wait_line TEXT: waits until the log has TEXT.
wait_line()
{
	wait_until grep -qF -- "$1" log || {
		cat log
		return 1
	}
}

@test "vsock-bridge says what its options are, and refuses others with 64" {
	run -0 --separate-stderr "$bridge" --help
	has "$output" '--dir DIR'
	equal '' "$stderr"
	run -0 "$bridge" -V
	equal "vsock-bridge $(cat "$TOP/share/version")" "$output"
	run -64 --separate-stderr "$bridge"
	has "$stderr" 'error: --dir is missing'
	run -64 --separate-stderr "$bridge" --nope
	run -64 --separate-stderr "$bridge" --dir s/bridge.d more
	has "$stderr" "unexpected operand 'more'"
	run -64 --separate-stderr "$bridge" --dir s/bridge.d --max-conns 0
	has "$stderr" "--max-conns: '0': must be a number from 1 to 1024"
}

@test "a directory that is not there is 66" {
	run -66 --separate-stderr "$bridge" --dir "$PWD/none"
	has "$stderr" "$PWD/none: No such file or directory"
}

@test "each bad file is named with line and reason, and the good ones served" {
	echo 'listen=unix:/x' >s/bridge.d/w2.worker
	printf 'connect=unix:/x\nwhat=now\n' >s/bridge.d/gpu2.gpu
	printf 'connect=unix:/x\nsecret_file=/none\n' >s/bridge.d/gpu3.gpu
	: >s/bridge.d/README
	: >s/bridge.d/.w3.worker
	start_bridge
	has "$(cat log)" "s/bridge.d/w2.worker:0: a key is missing"
	has "$(cat log)" "s/bridge.d/gpu2.gpu:2: unknown key"
	has "$(cat log)" "gpu3.gpu: secret_file: /none: "
	has "$(cat log)" "s/bridge.d/README: neither NAME.gpu nor NAME.worker"
	run ! grep -F .w3.worker log
	[ -S s/vms/w1 ]
}

@test "a worker gets an answer from its GPU VM through the bridge" {
	# The first 120 bytes are IDENT, which the bridge sends itself.
	socat "UNIX-LISTEN:$PWD/s/vms/gpu" \
		SYSTEM:'head -c 120 >ident; cat' 3>&- &
	gpu=$!
	start_bridge
	wait_until test -S s/vms/gpu
	run -0 --separate-stderr bash -c 'printf "hello\n" |
		socat -t 10 - "UNIX-CONNECT:$PWD/s/vms/w1,shut-none" |
		head -n 1'
	equal hello "$output"
	equal 120 "$(wc -c <ident)"
	has "$(tr -d '\0' <ident)" w1
}

@test "the bridge's sockets are for its user and the group of the directory alone" {
	start_bridge
	equal 770 "$(stat -c %a s/vms/w1)"
	equal "$(stat -c %g s/vms)" "$(stat -c %g s/vms/w1)"
}

@test "vsock-bridge runs without capabilities, under a filter" {
	start_bridge
	status=$(cat "/proc/$pid/status")
	has "$status" $'CapEff:\t0000000000000000'
	has "$status" $'NoNewPrivs:\t1'
	has "$status" $'Seccomp:\t2'
}

@test "SIGHUP makes it try again what it could not do" {
	mv s/vms away
	start_bridge
	has "$(cat log)" 'w1: '
	[ ! -e s/vms ]
	mv away s/vms
	kill -HUP "$pid"
	wait_until test -S s/vms/w1
}
