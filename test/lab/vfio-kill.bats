#!/usr/bin/env bats
# bats file_tags=lab
# vfio-bind and all its children killed before and after a write to sysfs: what
# is left, vfio-unbind restores. LONG=1 does it at every write.

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

# writes: what a dry run prints, "PATH N" each: N counts those of the same path.
writes()
{
	scripts/vfio-bind.sh -n "$vga" | sed -n "s|^+ printf .* > \(/sys/.*\)|\1|p" |
		awk '{ print $0, ++n[$0] }'
}

# kill_at PATH N HOW: the N-th write to PATH stops, with HOW ",error=EIO" before
# it is made; then its process group, a session of its own, is killed.
kill_at()
{
	local group

	: >"$trace"
	setsid strace -f -qq -o "$trace" -P "$1" -e trace=write \
		-e inject="write$3:signal=SIGSTOP:when=$2" \
		scripts/vfio-bind.sh "$vga" >/dev/null 2>&1 3>&- &
	group=$!
	timeout 60 tail -n +1 -f --pid="$group" "$trace" |
		grep -qm 1 'stopped by SIGSTOP'
	kill -KILL -- "-$group"
	wait "$group" || :
}

@test "killed at a write with all its children, it leaves what vfio-unbind restores" {
	before=$(state)
	list=$(writes)
	[ "$(printf '%s\n' "$list" | wc -l)" -ge 8 ]
	[ -n "${LONG:-}" ] || list=$(printf '%s\n' "$list" | grep -m 1 bind)
	while read -r path n; do
		for how in '' :error=EIO; do
			kill_at "$path" "$n" "$how"
			[ "$before" != "$(state)" ]
			scripts/vfio-unbind.sh "$vga"
			equal "$before" "$(state)"
		done
	done <<-EOT
	$list
	EOT
}
