#!/usr/bin/env bats
# The installed units, and the messages of commands to systemd.

load ../lib/common.sh

setup()
{
	cd "$TOP" || return
	unset SUDO_UID SUDO_GID
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	units=$BATS_TEST_TMPDIR/lib/systemd/system
}

teardown()
{
	[ -z "${listener:-}" ] || kill "$listener" 2>/dev/null || :
	scripts/kill-vms.sh --instance t
}

# install_units: installs the units, together with the programs that they name.
install_units()
{
	command -v systemd-analyze >/dev/null || skip 'systemd is not installed'
	run -0 sh scripts/gen/install.sh install '' "$BATS_TEST_TMPDIR"
}

# exposure UNIT: prints the level that `systemd-analyze security` gives it, 0 to 100.
exposure()
{
	systemd-analyze security --offline=yes --no-pager "$units/$1" |
		sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]\) .*/\1\2/p'
}

@test "systemd takes every unit, for the paths where isospin is installed" {
	install_units
	run -0 --separate-stderr systemd-analyze verify --man=no \
		--recursive-errors=one "$units"/*.service "$units"/*.target
	equal '' "$output$stderr"
	run -1 grep -rE '@[A-Z]+@' "$units"
	has "$(cat "$units/isospin-bridge.service")" \
		"ExecStart=$BATS_TEST_TMPDIR/bin/isospin vsock-bridge"
}

@test "systemd counts what a unit could do as little: 2.8 the bridge, 3.9 the VMs" {
	install_units
	for unit in isospin-bridge.service:28 isospin-gpu-vm@.service:39 \
		isospin-worker@.service:39; do
		level=$(exposure "${unit%:*}")
		[ "$level" -gt 0 ]
		[ "$level" -le "${unit#*:}" ]
	done
}

@test "GPU VMs start before the bridge and the workers, and stop after them" {
	install_units
	has "$(cat "$units/isospin-gpu-vm@.service")" \
		'Before=isospin-gpu-vm.target isospin-bridge.service'
	has "$(cat "$units/isospin-worker@.service")" \
		'After=isospin-gpu-vm.target isospin-bridge.service'
}

# notified COMMAND [ARG...]: runs COMMAND as systemd runs a service; $pid is its pid.
notified()
{
	local socket=$BATS_TEST_TMPDIR/notify

	socat -u "UNIX-RECV:$socket" \
		"OPEN:$BATS_TEST_TMPDIR/said,creat,append" 3>&- &
	listener=$!
	until [ -S "$socket" ]; do :; done
	NOTIFY_SOCKET=$socket "$@" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	pid=$!
}

@test "as a service the bridge says that it is ready, and SIGTERM ends all of it" {
	command -v systemd-notify >/dev/null || skip 'systemd is not installed'
	notified scripts/vsock-bridge.sh --instance t
	end=$((SECONDS + 20))
	until grep -qs READY=1 "$BATS_TEST_TMPDIR/said"; do
		[ "$SECONDS" -lt "$end" ]
	done
	read -r bridge _ <"$ISOSPIN_RUN_DIR/t/bridge/pid"
	run -1 grep -zq NOTIFY_SOCKET "/proc/$bridge/environ"
	kill -TERM "$pid"
	rc=0
	wait "$pid" || rc=$?
	equal 143 "$rc"
	run ! kill -0 "$bridge"
	run -0 grep -F "SuccessExitStatus=129 130 143" \
		share/systemd/isospin-.service.d/common.conf
}

# complete_line WORD...: prints the completions that bash would offer for the last WORD.
complete_line()
{
	PATH=$TOP/bin:$PATH bash -c '
		. share/completions/isospin.bash
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_isospin isospin "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}

@test "bash completes commands, their options, and the names of VMs" {
	equal kill-vms "$(complete_line isospin kill)"
	has "$(complete_line isospin worker-vm --)" --stay
	has "$(complete_line isospin build fc-)" fc-rootfs
	equal '' "$(complete_line isospin kill-vms nobod)"
}
