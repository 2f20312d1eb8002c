#!/usr/bin/env bats
# bats file_tags=lab
# vfio-bind and vfio-unbind on the lab's cards: Linux itself, real drivers. The
# rules are those of test/cmd/vfio-bind.bats. LONG=1 binds a hundred times.

load ../lib/common.sh
load ../lib/pci.sh
shopt -s extglob

vga=0000:01:00.0 audio=0000:01:00.1
net=0000:03:01.0 beside=0000:03:02.0
disk=0000:00:05.0 twin=0000:00:06.0
hung=0000:00:07.0
pci=/sys/bus/pci

setup_file()
{
	pci_no_console
}

setup()
{
	cd "$TOP" || return
	before=$(state)
	shell='sh'
}

teardown()
{
	exec 7>&-
	jobs -p | xargs -r kill 2>/dev/null || :
	[ "$before" = "$(state)" ] || {
		scripts/vfio-unbind.sh $vga $net $disk $twin
		equal "$before" "$(state)"
	}
}

# state: driver, override and power settings of every card but the one that
# hangs.
state()
{
	(
		cd "$pci/devices" || return
		# shellcheck disable=SC2012 # names of the kernel's
		ls -l !($hung)/driver | sed 's/.* \([^ ]* -> \)/\1/'
		grep -H . !($hung)/{driver_override,power/control,d3cold_allowed}
	)
}

driver()
{
	basename "$(readlink "$pci/devices/$1/driver")"
}

cmd()
{
	local name=$1

	shift
	# shellcheck disable=SC2086 # busybox ash is two words
	timeout 300 $shell "scripts/$name.sh" "$@"
}

# refused STATUS TEXT [ARG...]: vfio-bind ends so, and changes nothing.
refused()
{
	local status_wanted=$1 text=$2

	shift 2
	run -"$status_wanted" --separate-stderr cmd vfio-bind "$@"
	has "$stderr" "$text"
	equal "$before" "$(state)"
}

@test "a graphics card and its audio function go to vfio-pci and come back" {
	comes_back()
	{
		cmd vfio-bind $vga 2>/dev/null
		equal vfio-pci "$(driver $vga)"
		equal vfio-pci "$(driver $audio)"
		equal on "$(cat $pci/devices/$vga/power/control)"
		equal 0 "$(cat $pci/devices/$vga/d3cold_allowed)"
		cmd vfio-unbind $vga 2>/dev/null
		equal "$before" "$(state)"
	}
	for ((i = 0; i < (${LONG:-0} ? 50 : 1); i++)); do
		with_shells comes_back
	done
}

@test "what --dry-run prints is all that is written to sysfs" {
	planned=$(scripts/vfio-bind.sh -n $vga |
		sed -n "s|^+ printf '%s\\\\n' \(.*\) > /sys/.*|\1|p")
	[ "$(printf '%s\n' "$planned" | wc -l)" -ge 8 ]
	strace -f -y --seccomp-bpf -qq -s 100 -e trace=write -e signal=none -o \
		"$BATS_TEST_TMPDIR/trace" scripts/vfio-bind.sh $vga
	# One that takes its time stands there as unfinished.
	equal "$planned" "$(sed -nE \
		's#.*write\([0-9]*</sys/[^>]*>, "(.*)\\n", [0-9]*(\) *= [0-9]*$| <unf.*)#\1#p' \
		"$BATS_TEST_TMPDIR/trace")"
}

@test "a card whose audio function is in use is refused, and its user named" {
	exec 7</dev/snd/controlC0
	refused 75 "pid $BASHPID (" $vga
	exec 7<&-
	cmd vfio-bind $vga
}

@test "of two identical cards one goes, by vendor and device both do" {
	cmd vfio-bind $disk
	equal vfio-pci "$(driver $disk)"
	equal nvme "$(driver $twin)"
	run -0 --separate-stderr cmd vfio-bind $disk
	has "$stderr" 'bound to vfio-pci already'
	cmd vfio-bind "$(sed 's/0x//' $pci/devices/$disk/vendor):$(
		sed 's/0x//' $pci/devices/$disk/device)"
	equal vfio-pci "$(driver $twin)"
}

@test "a card behind a bridge goes with its neighbour, the bridges stay" {
	run -0 --separate-stderr cmd vfio-bind $net $beside
	equal vfio-pci "$(driver $net)"
	equal vfio-pci "$(driver $beside)"
	equal "$(printf '%s\n' "$before" | grep pcieport)" "$(state | grep pcieport)"
	refused_bridge=$(state)
	run -64 cmd vfio-bind 0000:02:00.0
	equal "$refused_bridge" "$(state)"
}

@test "the boot display is refused" {
	refused 69 'boot display' 0000:00:02.0
}

@test "nonsense and absent devices are refused" {
	refused 64 'neither a PCI address' 1:0:0
	refused 69 'no such device' 0000:09:00.0
}

@test "another user is told to use sudo, a read-only sysfs is called so" {
	run -77 --separate-stderr setpriv --reuid 1000 --regid 1000 \
		--clear-groups scripts/vfio-bind.sh $vga
	has "$stderr" 'use sudo'
	not_on_ro()
	{
		# shellcheck disable=SC2016 # the inner shell's
		run -77 --separate-stderr unshare -m sh -c '
			mount --bind -o ro /sys /sys && mount -o remount,bind,ro /sys
			exec "$@"' sh $shell scripts/vfio-bind.sh $vga
		has "$stderr" 'read-only'
	}
	with_shells not_on_ro
	equal "$before" "$(state)"
}

@test "while a process has the group vfio-unbind refuses and names it" {
	cmd vfio-bind $vga
	group=$(basename "$(readlink $pci/devices/$vga/iommu_group)")
	exec 7<>"/dev/vfio/$group"
	run -75 --separate-stderr cmd vfio-unbind $vga
	has "$stderr" "process $BASHPID ("
	equal vfio-pci "$(driver $vga)"
	exec 7>&-
	cmd vfio-unbind $vga
}

@test "a write that the kernel refuses undoes what was done" {
	refused_write=$pci/devices/$audio/driver/unbind
	run -74 --separate-stderr strace -f -qq -o /dev/null -P "$refused_write" \
		-e trace=write -e inject=write:error=EIO scripts/vfio-bind.sh $vga
	has "$stderr" "$audio: the write to $refused_write failed"
	has "$stderr" 'undoing what was done'
	equal "$before" "$(state)"
}

@test "bound by hand before, a card comes back as it was" {
	echo vfio-pci >$pci/devices/$disk/driver_override
	echo $disk >$pci/devices/$disk/driver/unbind
	echo $disk >$pci/drivers/vfio-pci/bind
	cmd vfio-bind $disk
	cmd vfio-unbind $disk
	equal "$before" "$(state)"
}

@test "on an /etc that is read-only nothing is bound, and nothing recorded" {
	# shellcheck disable=SC2016 # the inner shell's
	run -74 --separate-stderr unshare -m sh -c '
		mount --bind /etc /etc && mount -o remount,bind,ro /etc
		exec "$@"' sh scripts/vfio-bind.sh --persist $disk
	equal 'vfio-bind: error: /etc: cannot be written; it may be read-only, or full' \
		"$stderr"
	equal "$before" "$(state)"
	[ ! -e /run/isospin/pci/$disk ]
}

@test "removed from the bus and found again, a card has its driver" {
	cmd vfio-bind $disk
	cmd vfio-unbind --rescan $disk
	equal nvme "$(driver $disk)"
}

@test "driverctl shows what --persist has saved, and vfio-bind reads what it has" {
	cmd vfio-bind --persist $disk
	equal vfio-pci "$(cat /etc/driverctl.d/pci-$disk)"
	has "$(driverctl list-overrides)" "$disk vfio-pci"
	cmd vfio-unbind --persist $disk
	[ ! -e /etc/driverctl.d/pci-$disk ]
	driverctl set-override $disk pci-stub || :
	refused_state=$(state)
	run -69 --separate-stderr cmd vfio-bind --persist $disk
	has "$stderr" "driverctl gives $disk to pci-stub"
	equal "$refused_state" "$(state)"
	driverctl unset-override $disk
}

# Last: the card is lost until the driver is let go.
@test "a driver that hangs is named, and holds up nobody for longer than it may" {
	SECONDS=0
	ISOSPIN_VFIO_TIMEOUT=10 cmd vfio-bind $hung 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	first=$!
	# shellcheck disable=SC2016 # the inner shell's
	timeout 30 sh -c 'until [ -e "$0" ]; do sleep 0.1; done' \
		/run/isospin/pci/$hung
	refused 75 'another vfio-bind or vfio-unbind is at work' $vga
	rc=0
	wait "$first" || rc=$?
	equal 74 "$rc"
	[ "$SECONDS" -lt 40 ]
	said=$(cat "$BATS_TEST_TMPDIR/said")
	has "$said" "driver 'hang' does not let go of it"
	pid=${said#*process }
	pid=${pid%% *}
	has "$(cat "/proc/$pid/status")" 'D (disk sleep)'

	run -1 --separate-stderr cmd vfio-status $hung
	has "$output" 'stuck'
	has "$output" "$pid"
	run -69 --separate-stderr cmd vfio-bind $hung
	has "$stderr" 'does not answer'
	run -69 --separate-stderr cmd vfio-unbind $hung
	has "$stderr" 'reboot'
	cmd vfio-bind $disk
	cmd vfio-unbind $disk

	# What a reboot would do.
	echo 1 >/sys/module/hang/parameters/release
	timeout 10 tail --pid="$pid" -f /dev/null
	cmd vfio-unbind $hung
	equal hang "$(driver $hung)"
}
