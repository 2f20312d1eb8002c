#!/usr/bin/env bats
# bats file_tags=lab
# vfio-bind and all its children are killed before the first write to sysfs and after
# another one, with LONG=1 after every write; vfio-unbind restores the devices.
# The same is done to vfio-unbind, and with a Ctrl-C, which the command itself undoes.

load ../lib/common.sh
load ../lib/pci.sh

vga=0000:01:00.0 audio=0000:01:00.1
pci=/sys/bus/pci

setup_file()
{
	pci_no_console
}

setup()
{
	cd "$TOP" || return
	trace=$BATS_TEST_TMPDIR/trace
}

state()
{
	local dev

	for dev in "$pci"/devices/{"$vga","$audio"}; do
		printf '%s: %s %s %s %s\n' "${dev##*/}" \
			"$(basename "$(readlink "$dev/driver")")" \
			"$(cat "$dev/driver_override")" "$(cat "$dev/power/control")" \
			"$(cat "$dev/d3cold_allowed")"
	done
	find /etc/driverctl.d /run/isospin/pci -type f ! -name lock 2>/dev/null || :
}

# writes: prints the writes of a dry run, a line "VALUE PATH" for each.
writes()
{
	scripts/vfio-bind.sh -n "$vga" |
		sed -n "s|^+ printf '%s\\\\n' \(.*\) > \(/sys/.*\)|\1 \2|p"
}

# stopped_at VALUE: reads a trace of writes, each of which stops the process that makes
# it. Lets a process go on if it wrote something else, and returns at VALUE. Other
# values occur because the checks write a word to power/control that no device takes.
stopped_at()
{
	local pid what value=

	while read -r pid what; do
		case $what in
		write\(*) value=${what#*\"} value=${value%%\\n*} ;;
		*'stopped by SIGSTOP'*)
			[ "$value" != "$1" ] || return 0
			kill -CONT "$pid" ;;
		esac
	done
	return 1
}

# stop_at VALUE PATH HOW COMMAND [ARG...]: runs COMMAND until it is stopped at its write
# of VALUE to PATH: after the write, or with HOW ":error=EIO" before it. Sets group,
# its process group, which is a session of its own.
stop_at()
{
	local value=$1 path=$2 how=$3

	shift 3
	: >"$trace"
	# A process started with & would ignore a Ctrl-C.
	env --default-signal=INT setsid strace -f -qq -s 100 -o "$trace" \
		-P "$path" -e trace=write -e inject="write$how:signal=SIGSTOP" \
		"$@" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	group=$!
	timeout 300 tail -n +1 -f --pid="$group" "$trace" | stopped_at "$value"
}

# kill_at VALUE PATH HOW COMMAND [ARG...]: the same, and then kills the command.
kill_at()
{
	stop_at "$@"
	kill -KILL -- "-$group"
	wait "$group" || :
}

# killed VALUE PATH [HOW]: kills vfio-bind there; vfio-unbind restores everything.
killed()
{
	kill_at "$1" "$2" "${3:-}" scripts/vfio-bind.sh "$vga"
	[ "$before" != "$(state)" ]
	scripts/vfio-unbind.sh "$vga"
	equal "$before" "$(state)"
}

@test "killed at a write with all its children, it leaves what vfio-unbind restores" {
	before=$(state)
	list=$(writes)
	[ "$(printf '%s\n' "$list" | wc -l)" -ge 8 ]
	read -r value path <<<"$list"
	killed "$value" "$path" :error=EIO
	[ -n "${LONG:-}" ] || list=$(printf '%s\n' "$list" | grep -m 1 bind)
	# The state before a write is the state after the previous one, so it needs
	# no test of its own.
	while read -r value path; do
		killed "$value" "$path"
	done <<<"$list"
}

@test "killed and run again, it still knows what was there at first" {
	before=$(state)
	kill_at "$vga" $pci/devices/$vga/driver/unbind '' scripts/vfio-bind.sh $vga
	scripts/vfio-bind.sh $vga
	kill_at $vga $pci/drivers/bochs-drm/bind :error=EIO scripts/vfio-unbind.sh $vga
	[ "$before" != "$(state)" ]
	scripts/vfio-unbind.sh $vga
	equal "$before" "$(state)"
}

@test "a Ctrl-C at a write, which all its children get too, undoes all of it" {
	local rc=0

	before=$(state)
	stop_at $audio $pci/devices/$audio/driver/unbind '' \
		scripts/vfio-bind.sh --persist $vga
	kill -INT -- "-$group"
	kill -CONT -- "-$group"
	wait "$group" || rc=$?
	equal 130 "$rc"
	equal 'vfio-bind: warning: undoing what was done' \
		"$(grep -v ^strace: "$BATS_TEST_TMPDIR/said")"
	equal "$before" "$(state)"
}
