#!/usr/bin/env bats
# Several GPU VMs with workers of their own, VMs that stay until their command is
# ended, and commands with only the privileges that systemd's units leave them.

load ../lib/common.sh
load ../lib/stack.sh

second=GPU-15051510-0000-4000-8000-0000000000ff

setup_file()
{
	stack_new
	export CONF=$ISOSPIN_RUN_DIR/conf
	printf '%s\n' 'GPU_VM@a=g1' 'GPU_VM@b=g2' 'GPU_VM@c=g2' \
		"SOFT_GPU_UUID@g2=$second" >"$CONF"
	isospin gpu-vm -c "$CONF" --name g1 --driver soft --detach &
	isospin gpu-vm -c "$CONF" --name g2 --driver soft --detach
	wait "$!"
	isospin vsock-bridge --detach
	isospin worker-vm -c "$CONF" --name a --detach &
	isospin worker-vm -c "$CONF" --name b --detach
	wait "$!"
}

teardown_file()
{
	stack_end
}

# states: prints "NAME STATE" of all VMs, on one line.
states()
{
	isospin status --json | jq -r '"\(.name) \(.state)"' | sort | paste -sd ,
}

# unit_caps UNIT: prints the unit's capability set in the form that setpriv takes.
unit_caps()
{
	sed -n 's/^CapabilityBoundingSet=//p' "$TOP/share/systemd/$1" |
		tr ' A-Z' '\na-z' | sed 's/^cap_/+/' | paste -sd , |
		sed 's/^/-all,/'
}

# as_unit UNIT: sets the array `as`, a prefix that runs isospin with the unit's
# capabilities only.
as_unit()
{
	as=(timeout 240 setpriv --no-new-privs)
	[ "$(id -u)" -ne 0 ] ||
		as+=(--bounding-set="$(unit_caps "$1")" --inh-caps=-all)
	as+=("$TOP/bin/isospin")
}

@test "each worker has the GPU of the GPU VM that GPU_VM names for it" {
	run ! grep -F "$second" <<<"$(smi a)"
	isospin worker-vm --exec b -- sh -c 'if command -v nvidia-smi >/dev/null
		then nvidia-smi -L; else isospin-smi -L; fi' >"$BATS_TEST_TMPDIR/b"
	has "$(cat "$BATS_TEST_TMPDIR/b")" "$second"
	equal 'g1 g2' "$(isospin status --json | jq -r \
		'select(.role == "worker").gpu_vm' | paste -sd ' ')"
}

@test "a GPU VM stopped takes the GPU from its own workers alone; back, they heal" {
	run -0 isospin kill-vms g2
	has "$(states)" 'a running,b running'
	run ! smi b
	has "$(smi a)" 'Isospin Soft GPU'
	isospin gpu-vm -c "$CONF" --name g2 --driver soft --detach
	wait_for 30 smi b
}

@test "the bridge serves with what its unit leaves it" {
	isospin vsock-bridge --stop
	as_unit isospin-bridge.service
	instance=$(basename "$(dirname "$ISOSPIN_RUN_DIR"/*/bridge.d)")
	# The unit's root has no capability to read a checkout of another user.
	(cd "$TOP" && sh scripts/gen/install.sh install "$BATS_TEST_TMPDIR/dest" /opt)
	start=("${as[@]/%"$TOP/bin/isospin"/$BATS_TEST_TMPDIR/dest/opt/bin/isospin}")
	"${start[@]}" vsock-bridge --instance "$instance" --detach 3>&- 4>&-
	wait_for 30 smi a
	wait_for 30 smi b
}

@test "as its unit runs it a worker says that it is up, and SIGTERM ends all of it" {
	command -v systemd-notify >/dev/null || skip 'systemd is not installed'
	list_before a b
	socat -u "UNIX-RECV:$BATS_TEST_TMPDIR/notify" \
		"OPEN:$BATS_TEST_TMPDIR/said,creat,append" 3>&- 4>&- &
	wait_for 10 test -S "$BATS_TEST_TMPDIR/notify"
	listener=$!
	as_unit isospin-worker@.service
	NOTIFY_SOCKET=$BATS_TEST_TMPDIR/notify "${as[@]}" worker-vm -c "$CONF" \
		--name c --stay >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- 4>&- &
	pid=$!
	wait_text "$BATS_TEST_TMPDIR/out" \
		"worker-vm: info: worker VM 'c' is up; Ctrl-C stops it"
	wait_for 10 grep -qs READY=1 "$BATS_TEST_TMPDIR/said"
	wait_for 10 smi c
	has "$(cat "$BATS_TEST_TMPDIR/out")" 'isospin: state=shim-ready'
	kill -TERM "$pid"
	rc=0
	wait "$pid" || rc=$?
	equal 143 "$rc"
	kill "$listener"
	list_same a b
}

@test "as its unit runs it a GPU VM boots" {
	isospin kill-vms g2
	as_unit isospin-gpu-vm@.service
	"${as[@]}" gpu-vm -c "$CONF" --name g2 --driver soft --detach 3>&- 4>&-
	wait_for 30 smi b
}

@test "kill-vms stops all of it, also a worker whose owner is gone" {
	sleep 1000 3>&- 4>&- &
	isospin worker-vm -c "$CONF" --name c --detach --owner "$!"
	kill "$!"
	wait "$!" || :
	has "$(states)" 'c stale'
	run -0 isospin kill-vms
	equal 'bridge absent' "$(states)"
	equal '' "$(pgrep -f "$ISOSPIN_RUN_DIR/" || :)"
	equal '' "$(find "$ISOSPIN_RUN_DIR/cids" -type f ! -name .lock)"
}
