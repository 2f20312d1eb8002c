#!/usr/bin/env bats
# isospin demo when something goes wrong: Ctrl-C, kill -9, a full disk, another demo.
# The cases of demo.bats are not repeated.

load ../lib/common.sh

setup()
{
	cd "$TOP"
	ISOSPIN_RUN_DIR=$(mktemp -d /tmp/isospin.XXXXXX)
	export ISOSPIN_RUN_DIR
	log=$BATS_TEST_TMPDIR/log
	: >"$log"
}

teardown()
{
	bin/isospin kill-vms
	bin/isospin kill-vms --instance other
	rm -rf -- "$ISOSPIN_RUN_DIR"
}

# nothing_left: there is no process, no VM, no CID that is taken, nothing for a bridge
# to serve, and no half-made image.
nothing_left()
{
	equal '' "$(pgrep -af "$ISOSPIN_RUN_DIR/" || :)"
	equal '' "$(find "$ISOSPIN_RUN_DIR" -path '*/vms/*' -o \
		-path '*/bridge.d/*' -o -path '*/cids/[0-9]*' -o -name '*.sock*')"
	equal '' "$(find build/images -name '.*' ! -name .lock -mindepth 1)"
}

# start [ARG...]: starts a demo in the background that leads a process group, like a
# command on a terminal; $pid is its pid.
start()
{
	env --default-signal=INT setsid scripts/demo.sh --no-nonfree "$@" \
		>"$log" 2>&1 3>&- &
	pid=$!
}

# said TEXT: waits until the demo has printed TEXT.
said()
{
	build/bin/vmctl wait --file "$log" --line "$1" \
		--fail 'demo: error:' --timeout-ms 120000 >/dev/null || {
		cat "$log"
		return 1
	}
}

# ends STATUS: the demo ends with STATUS.
ends()
{
	local rc=0

	wait "$pid" || rc=$?
	cat "$log"
	equal "$1" "$rc"
}

@test "Ctrl-C, which all processes of a demo get, leaves nothing, at any step" {
	local step

	# The bridge starts right after the GPU VM.
	for step in 'setup: info: everything for demo is here' \
		'demo: info: building what is out of date' \
		"gpu-vm: info: booting GPU VM 'gpu0'" \
		"gpu-vm: info: booting GPU VM 'gpu0': done" \
		"worker-vm: info: booting worker VM 'w2'" \
		'demo: info: isospin-smi in worker w1:'; do
		echo "# at $step"
		: >"$log"
		start
		said "$step"
		kill -INT -- "-$pid"
		ends 130
		nothing_left
	done
}

@test "after a demo that was killed with all its VMs up the next one works" {
	start
	said 'demo: info: isospin-smi in worker w1:'
	kill -9 "$pid"
	ends 137
	run -0 bin/isospin demo --no-nonfree
	has "$output" 'GPU VM: boot to broker ready'
	nothing_left
}

@test "a second demo is refused while one runs, which goes on" {
	start
	said "gpu-vm: info: booting GPU VM 'gpu0'"
	run -75 --separate-stderr bin/isospin demo --no-nonfree
	has "$stderr" "another demo runs here (pid $pid)"
	ends 0
	nothing_left
}

@test "two demos of two instances run side by side" {
	start --instance other
	said "gpu-vm: info: booting GPU VM 'gpu0'"
	run -0 bin/isospin demo --no-nonfree
	equal 2 "$(grep -c 'gpu-broker --child w[12]' <<<"$output")"
	ends 0
	equal 2 "$(grep -c 'gpu-broker --child w[12]' "$log")"
	nothing_left
}

# on_full DIR BYTES [COMMAND...]: runs COMMAND, or the demo, with a DIR that has room
# for BYTES; only this command sees that DIR.
on_full()
{
	[ $# -gt 2 ] || set -- "$@" demo --no-nonfree
	# shellcheck disable=SC2016 # for that shell
	run -74 --separate-stderr unshare -m sh -c '
		mount -t tmpfs -o size="$2",mode=700 none "$1" || exit
		shift 2
		exec bin/isospin "$@"' sh "$@"
	echo "$stderr"
	equal '' "$output"
	has "$stderr" 'disk'
}

@test "a demo whose .vm-assets is on a full disk says so and leaves nothing" {
	export ISOSPIN_ASSETS_DIR=$BATS_TEST_TMPDIR/assets
	mkdir "$ISOSPIN_ASSETS_DIR"
	on_full "$ISOSPIN_ASSETS_DIR" 4096
	nothing_left
}

@test "a demo that cannot write its images says so and leaves nothing" {
	on_full "$TOP/build/images" 1M
	nothing_left
}

@test "a demo whose state is on a full disk says so and leaves nothing" {
	on_full "$ISOSPIN_RUN_DIR" 1M
	nothing_left
}

@test "where there is no room at all for state, one line says so" {
	local cmd

	for cmd in 'demo --no-nonfree' 'gpu-vm --driver soft --detach' \
		'vsock-bridge --detach'; do
		# shellcheck disable=SC2086 # several words
		on_full "$ISOSPIN_RUN_DIR" 4096 $cmd
		equal 1 "$(grep -cv ': info: ' <<<"$stderr")"
		nothing_left
	done
}
