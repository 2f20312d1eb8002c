#!/usr/bin/env bats
# isospin demo, run to the end, and ended at each of its steps.

load ../lib/common.sh

setup()
{
	cd "$TOP"
	export ISOSPIN_RUN_DIR=$BATS_FILE_TMPDIR/r
	log=$BATS_TEST_TMPDIR/log
	: >"$log"
}

teardown()
{
	bin/isospin kill-vms
}

nothing_left()
{
	equal '' "$(find "$ISOSPIN_RUN_DIR"/*/{vms,bridge.d} \
		"$ISOSPIN_RUN_DIR/cids" -type f ! -name .lock)"
	equal '' "$(pgrep -f "$ISOSPIN_RUN_DIR/" || :)"
}

# demo BRANCH: runs the demo with NVIDIA's programs of that branch. Where these cannot
# be fetched, it runs with the stand-in, which must be labelled as such.
demo()
{
	local version smi=isospin-smi

	version=$(cd .vm-assets/nvidia 2>/dev/null &&
		ls -d "$1".[0-9]* | sort -V | tail -n 1) || :
	[ -z "$version" ] || smi=nvidia-smi
	run -0 --separate-stderr bin/isospin demo --nvidia "$1"
	[ "$smi" = nvidia-smi ] || has "$stderr" 'isospin-smi stands in'
	[ "$smi" = isospin-smi ] ||
		equal 2 "$(grep -c "NVIDIA-SMI $version" <<<"$output")"
	equal 2 "$(grep -c 'Isospin Soft GPU' <<<"$output")"
	equal 2 "$(grep -c 'gpu-broker --child w[12]' <<<"$output")"
	has "$output" 'GPU VM: boot to broker ready'
	has "$output" "worker w2: shim ready, to the end of $smi"
	nothing_left
}

@test "the demo shows nvidia-smi 550 in two workers and leaves nothing" {
	demo 550
}

@test "the demo shows nvidia-smi 535 in two workers and leaves nothing" {
	demo 535
}

@test "demo --json measures, --keep goes on, and a second demo is refused" {
	run -0 --separate-stderr bin/isospin demo --no-nonfree --json --keep
	has "${stderr//: sudo /: }" 'to stop it: ./bin/isospin kill-vms'
	equal isospin-smi "$(jq -r .program <<<"$output")"
	equal 2 "$(jq '.workers | length' <<<"$output")"
	[ "$(jq .total_ms <<<"$output")" -gt "$(jq .broker_ready_ms <<<"$output")" ]
	run -75 --separate-stderr bin/isospin demo
	has "$stderr" 'isospin kill-vms'
	run -0 --separate-stderr bin/isospin worker-vm --exec w2 -- isospin-smi -L
	has "$output" 'Isospin Soft GPU'
	# The columns of its table are aligned.
	run -0 --separate-stderr bin/isospin worker-vm --exec w2 -- isospin-smi
	equal 79 "$(awk '{ print length }' <<<"$output" | sort -u)"
	bin/isospin kill-vms
	nothing_left
}

# ended SIGNAL TEXT: sends SIGNAL to the demo when it has printed TEXT.
ended()
{
	local pid rc=0

	scripts/demo.sh --no-nonfree >"$log" 2>&1 3>&- &
	pid=$!
	build/bin/vmctl wait --file "$log" --line "$2" \
		--fail 'demo: error:' --timeout-ms 120000
	kill -s "$1" "$pid"
	wait "$pid" || rc=$?
	: >"$log"
	case $1 in
	KILL) equal 137 "$rc" ;;
	*) equal 143 "$rc" ;;
	esac
}

@test "a demo that is told to end leaves nothing, at any step" {
	for step in 'demo: info: building what is out of date' \
		"gpu-vm: info: booting GPU VM 'gpu0'" \
		"worker-vm: info: booting worker VM 'w2'" \
		'demo: info: isospin-smi in worker w1:'; do
		echo "# at $step"
		ended TERM "$step"
		nothing_left
	done
}

@test "what a killed demo leaves is gone after the next command" {
	# The bridge starts right after the GPU VM.
	for step in 'demo: info: building what is out of date' \
		"gpu-vm: info: booting GPU VM 'gpu0'" \
		"gpu-vm: info: booting GPU VM 'gpu0': done" \
		"worker-vm: info: booting worker VM 'w2'"; do
		echo "# at $step"
		ended KILL "$step"
		run -0 bin/isospin kill-vms
		poll_gone
		nothing_left
	done
}

# poll_gone: waits for the commands that the killed demo had started. A command may
# still be booting its VM; it then finds its owner gone and removes the VM.
poll_gone()
{
	local end=$((SECONDS + 60))

	while pgrep -f "$TOP/scripts/(gpu-vm|vsock-bridge|worker-vm).sh" >/dev/null; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.2
	done
}
