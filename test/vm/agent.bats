# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The agent in real guests, a GPU VM and a worker.
load ../lib/common.sh

setup_file()
{
	TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
	instance=agent$((BASHPID % 10000))
	export instance
	"$TOP/bin/isospin" gpu-vm --instance "$instance" --detach
	"$TOP/bin/isospin" vsock-bridge --instance "$instance" --detach
	"$TOP/bin/isospin" worker-vm --instance "$instance" --name w1 --detach
}

teardown_file()
{
	"$TOP/bin/isospin" kill-vms --instance "$instance"
}

setup()
{
	vmctl=$TOP/build/bin/vmctl
	run_dir=${ISOSPIN_RUN_DIR:-/run/isospin}
	[ "$(id -u)" -eq 0 ] || run_dir=${ISOSPIN_RUN_DIR:-$XDG_RUNTIME_DIR/isospin}
	dir=$BATS_TEST_TMPDIR
	home gpu0 in_gpu
	home w1 in_worker
}

# home VM VAR: sets the array VAR to a command that executes programs in VM.
home()
{
	local -n cmd=$2

	# shellcheck disable=SC2034 # cmd is the caller's array
	cmd=("$vmctl" exec --uds "$run_dir/$instance/vms/$1/vsock.sock"
		--port 9998
		--secret-file "$run_dir/$instance/vms/$1/agent.secret")
}

@test "a mebibyte goes through a guest and comes back unchanged" {
	head -c 1048576 /dev/urandom >"$dir/in"
	"${in_worker[@]}" -- cat <"$dir/in" >"$dir/out"
	cmp "$dir/in" "$dir/out"
	"${in_worker[@]}" -- sh -c 'cat >&2' <"$dir/in" 2>"$dir/out"
	cmp "$dir/in" "$dir/out"
}

@test "stdout, stderr and status of a command in a guest are its own" {
	run -42 --separate-stderr "${in_worker[@]}" -- \
		sh -c 'echo out; echo err >&2; exit 42'
	equal out "$output"
	# shellcheck disable=SC2154 # bats sets it
	equal err "$stderr"
	run -127 "${in_worker[@]}" -- no-such-program
}

@test "a signal reaches the command in the guest" {
	: >"$dir/out"
	"${in_worker[@]}" -- sh -c 'trap "exit 5" TERM; echo up
		while :; do sleep 0.05; done' >"$dir/out" 3>&- &
	"$vmctl" wait --file "$dir/out" --line up --timeout-ms 20000
	kill -TERM $!
	rc=0
	wait $! || rc=$?
	equal 5 "$rc"
}

@test "a command in the guest has a terminal of the size of ours" {
	run -9 script -qec "stty rows 33 cols 77
		$(printf '%q ' "${in_worker[@]}") --tty -- \
			sh -c 'stty size; tty; exit 9'" /dev/null </dev/null
	has "$output" '33 77'
	has "$output" /dev/pts/
}

@test "when the host's end is killed the command in the guest is too" {
	: >"$dir/out"
	"${in_worker[@]}" -- sh -c 'echo up; exec sleep 98765' >"$dir/out" 3>&- &
	"$vmctl" wait --file "$dir/out" --line up --timeout-ms 20000
	kill -KILL $!
	wait $! || :
	# shellcheck disable=SC2016 # for the shell in there
	run -0 "${in_worker[@]}" -- sh -c 'while pgrep -f "sleep 9876[5]"; do
		sleep 0.05; done'
}

@test "eight commands run in one guest at once" {
	local pids=() i

	for i in 1 2 3 4 5 6 7 8; do
		"${in_worker[@]}" -- sh -c "cat; exit $i" <<<"in $i" \
			>"$dir/out$i" 3>&- &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6 7 8; do
		rc=0
		wait "${pids[i - 1]}" || rc=$?
		equal "$i" "$rc"
		equal "in $i" "$(cat "$dir/out$i")"
	done
}

@test "a wrong secret gets nothing, and the guest still serves" {
	head -c 32 /dev/zero >"$dir/wrong"
	run -125 "$vmctl" exec --uds "${in_gpu[3]}" --port 9998 \
		--secret-file "$dir/wrong" -- true
	run -125 "$vmctl" exec --uds "${in_gpu[3]}" --port 9998 \
		--secret-file "${in_worker[7]}" -- true
	run -0 "${in_gpu[@]}" -- true
}

@test "another user of the host does not reach the agent" {
	[ "$(id -u)" -eq 0 ] || skip 'needs root'
	cp "$vmctl" "${in_gpu[7]}" "$dir/"
	chmod -R go+rX "$BATS_RUN_TMPDIR"
	chmod 644 "$dir/agent.secret"
	run -125 setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$dir/vmctl" exec --uds "${in_gpu[3]}" --port 9998 \
		--secret-file "$dir/agent.secret" -- true
	has "$output" 'Permission denied'
}

@test "a worker reaches no agent, not even its own" {
	local cid

	"${in_worker[@]}" -- sh -c 'cat >/tmp/echo && chmod +x /tmp/echo' \
		<"$TOP/build/static/test/vsock-echo"
	for cid in 1 2 3 5; do
		run "${in_worker[@]}" -- timeout 20 /tmp/echo \
			connect "vsock:$cid:9998" --count 1
		echo "CID $cid: $status $output"
		[ "$status" -eq 69 ] || [ "$status" -eq 74 ]
	done
}

@test "no secret is left in a guest" {
	run -0 "${in_gpu[@]}" -- ls /isospin
	run ! grep -q secret <<<"$output"
	run -0 "${in_worker[@]}" -- ls /isospin
	run ! grep -q secret <<<"$output"
}

@test "gpu-broker is started again when it dies" {
	# shellcheck disable=SC2016 # for the shell in there
	run -0 "${in_gpu[@]}" -- sh -c 'old=$(pidof gpu-broker) &&
		killall -9 gpu-broker && for i in $(seq 200); do
		new=$(pidof gpu-broker) && [ "$new" != "$old" ] && exit 0
		sleep 0.1; done; exit 1'
}
