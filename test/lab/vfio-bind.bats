#!/usr/bin/env bats
# bats file_tags=lab
# vfio-bind and vfio-unbind on the lab's cards, with a real kernel and real drivers.
# The rules are those of test/cmd/vfio-bind.bats. LONG=1 binds a hundred times.

load ../lib/common.sh
load ../lib/pci.sh
shopt -s extglob

vga=0000:01:00.0 audio=0000:01:00.1
net=0000:03:01.0 beside=0000:03:02.0
disk=0000:00:05.0 twin=0000:00:06.0
hung=0000:00:07.0 listed=0000:00:08.0
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
	rm -f /etc/modprobe.d/forbidden.conf
	modprobe vfio-pci
	[ "$before" = "$(state)" ] || {
		scripts/vfio-unbind.sh $vga $net $disk $twin
		equal "$before" "$(state)"
	}
}

# state: prints driver, override and power settings of every card except the one
# that hangs.
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

# by_hand BDF: binds the device to vfio-pci without a record.
by_hand()
{
	echo vfio-pci >"$pci/devices/$1/driver_override"
	echo "$1" >"$pci/devices/$1/driver/unbind"
	echo "$1" >$pci/drivers/vfio-pci/bind
}

# injected WHAT FILE COMMAND [ARG...]: runs COMMAND; its writes to FILE of sysfs end
# with WHAT, as strace injects it.
injected()
{
	local what=$1 file=$2

	shift 2
	strace -f -qq -o /dev/null -P "$file" -e trace=write \
		-e inject=write:"$what" "$@"
}

# records: prints the files with records of devices, and those for the next boot.
records()
{
	find /run/isospin/pci /etc/driverctl.d /etc/udev/rules.d -type f \
		\( -path '*/pci/0*' -o -name 'pci-*' -o -name '*isospin*' \) \
		2>/dev/null || :
}

# refused STATUS TEXT [ARG...]: vfio-bind ends with STATUS, prints TEXT, and changes
# nothing.
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

# as_planned COMMAND [ARG...]: sets planned to the writes that COMMAND's dry run
# prints; COMMAND then makes exactly these writes.
as_planned()
{
	planned=$("$@" -n | sed -n "s|^+ printf '%s\\\\n' \(.*\) > /sys/.*|\1|p" |
		tr -d "'")
	strace -f -y --seccomp-bpf -qq -s 100 -e trace=write -e signal=none -o \
		"$BATS_TEST_TMPDIR/trace" "$@"
	# A slow write is in the trace as unfinished.
	equal "$planned" "$(sed -nE \
		's#.*write\([0-9]*</sys/[^>]*>, "(.*)\\n", [0-9]*(\) *= [0-9]*$| <unf.*)#\1#p' \
		"$BATS_TEST_TMPDIR/trace")"
}

@test "what --dry-run prints is all that is written to sysfs" {
	as_planned scripts/vfio-bind.sh $vga
	[ "$(printf '%s\n' "$planned" | wc -l)" -ge 8 ]
}

@test "--reset is made while nobody has the device, as --dry-run prints it" {
	cmd vfio-bind $disk
	as_planned scripts/vfio-unbind.sh --reset $disk
	has "$planned" "
$disk
1
$disk
"
	equal "$before" "$(state)"
	equal '' "$(records)"
}

@test "a card whose audio function is in use is refused, and its user named" {
	exec 7</dev/snd/controlC0
	refused 75 "pid $BASHPID (" $vga
	exec 7<&-
	cmd vfio-bind $vga
}

@test "--force takes what is in use and the boot display, and says so" {
	exec 7<"/dev/dri/$(basename $pci/devices/$vga/drm/card*)"
	refused 75 "pid $BASHPID (" $vga
	run -0 --separate-stderr cmd vfio-bind --force $vga 0000:00:02.0
	has "$stderr" '--force overrides in_use'
	has "$stderr" "pid $BASHPID ("
	has "$stderr" '--force overrides boot_display'
	equal vfio-pci "$(driver $vga)"
	equal vfio-pci "$(driver 0000:00:02.0)"
	exec 7<&-
	# The boot display comes first, so that its framebuffer is the first again.
	cmd vfio-unbind 0000:00:02.0 $vga
	pci_no_console
}

@test "--function-only leaves the rest of the group, and no more is taken unasked" {
	exec 7</dev/snd/controlC0
	cmd vfio-bind --function-only $vga
	equal vfio-pci "$(driver $vga)"
	equal snd_hda_intel "$(driver $audio)"
	run -75 --separate-stderr cmd vfio-bind $vga
	has "$stderr" "pid $BASHPID ("
	exec 7<&-
	cmd vfio-bind
	equal vfio-pci "$(driver $audio)"
}

@test "vfio-pci is loaded where it is not, and its absence is said" {
	modprobe -r vfio-pci
	echo 'install vfio-pci /bin/false' >/etc/modprobe.d/forbidden.conf
	refused 69 'vfio-pci must not be loaded' $disk
	rm /etc/modprobe.d/forbidden.conf
	# shellcheck disable=SC2016 # the inner shell's
	run -69 --separate-stderr unshare -m sh -c '
		mount -t tmpfs none /usr/lib/modules && exec "$@"' sh \
		scripts/vfio-bind.sh $disk
	has "$stderr" 'no driver vfio-pci'
	equal "$before" "$(state)"
	[ ! -e $pci/drivers/vfio-pci ]
	cmd vfio-bind $disk
	equal vfio-pci "$(driver $disk)"
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
	refused 69 "$net of its group belongs to e1000" $beside
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
	refused 69 'no NVIDIA device' --all-nvidia
	run -64 cmd vfio-unbind 1:0:0
	run -69 cmd vfio-unbind 0000:09:00.0
	run -64 cmd vfio-unbind 0000:02:00.0
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

@test "a bind that the kernel only pretends to make is noticed and undone" {
	# The bind is undone even if the override names another driver than the
	# device had.
	echo vfio-pci >$pci/devices/$vga/driver_override
	reserved=$(state)
	run -74 --separate-stderr injected retval=13 $pci/drivers/vfio-pci/bind \
		scripts/vfio-bind.sh --persist $vga
	has "$stderr" 'the kernel does not bind it to vfio-pci'
	equal "$reserved" "$(state)"
	equal '' "$(records)"
	echo >$pci/devices/$vga/driver_override
}

@test "a driver that does not take its card back gets it reset, then found anew" {
	cmd vfio-bind $disk
	run -0 --separate-stderr injected error=EIO $pci/drivers/nvme/bind \
		scripts/vfio-unbind.sh $disk
	has "$stderr" "'nvme' does not take it; resetting it"
	has "$stderr" "'nvme' does not take it; removing it from the bus"
	has "$stderr" "$disk: given back to nvme"
	equal "$before" "$(state)"
}

@test "bound by hand before, a card comes back as it was" {
	by_hand $disk
	cmd vfio-bind $disk
	cmd vfio-unbind $disk
	equal "$before" "$(state)"
	# Without a record, the kernel picks the driver.
	by_hand $disk
	run -0 --separate-stderr cmd vfio-unbind $disk
	has "$stderr" "$disk: given back to nvme"
	equal "$before" "$(state)"
	run -0 --separate-stderr cmd vfio-unbind $disk
	has "$stderr" 'vfio-pci has none of them'
	equal "$before" "$(state)"
}

@test "what had a foreign override has it again, with its driver or without" {
	echo pci-stub >$pci/devices/$disk/driver_override
	reserved=$(state)
	run -0 --separate-stderr cmd vfio-bind $disk
	has "$stderr" "driver_override of $disk is pci-stub"
	cmd vfio-unbind $disk
	equal "$reserved" "$(state)"
	echo $disk >$pci/devices/$disk/driver/unbind
	reserved=$(state)
	cmd vfio-bind $disk
	cmd vfio-unbind $disk
	equal "$reserved" "$(state)"
	echo >$pci/devices/$disk/driver_override
	echo $disk >$pci/drivers_probe
}

@test "a card that vfio-pci lists is left alone, and the list is named" {
	# Like ids=, new_id makes vfio-pci take devices without a driver.
	echo '1b36 0005' >$pci/drivers/vfio-pci/new_id
	equal vfio-pci "$(driver $listed)"
	for option in '' --rescan; do
		# shellcheck disable=SC2086 # an option or none
		run -74 --separate-stderr cmd vfio-unbind $option $listed
		has "$stderr" 'lists 1b36:0005'
		has "$stderr" "write '1b36 0005' to $pci/drivers/vfio-pci/remove_id"
		[[ $stderr != *'does not take it'* ]]
	done
	echo '1b36 0005' >$pci/drivers/vfio-pci/remove_id
	run -0 --separate-stderr cmd vfio-unbind $listed
	has "$stderr" "$listed: given back to no driver"
	cmd vfio-unbind --function-only $beside
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

@test "what cannot be recorded is not bound, what is no record is named" {
	mkdir -p "/run/isospin/pci/$audio.new"
	refused 74 "/run/isospin/pci/$audio: cannot be written" $vga
	rmdir "/run/isospin/pci/$audio.new"
	equal '' "$(records)"
	cmd vfio-bind $disk
	record=$(cat /run/isospin/pci/$disk)
	echo 'driver=../../evil' >/run/isospin/pci/$disk
	run -65 --separate-stderr cmd vfio-unbind $disk
	has "$stderr" "/run/isospin/pci/$disk"
	equal vfio-pci "$(driver $disk)"
	printf '%s\n' "$record" >/run/isospin/pci/$disk
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
	cmp share/udev/04-isospin-vfio.rules \
		/etc/udev/rules.d/04-isospin-vfio.rules
	run -0 --separate-stderr cmd vfio-unbind $disk
	has "$stderr" 'again at the next boot'
	# shellcheck disable=SC2016 # the inner shell's
	run -74 --separate-stderr unshare -m sh -c '
		mount --bind /etc /etc && mount -o remount,bind,ro /etc
		exec "$@"' sh scripts/vfio-unbind.sh --persist $disk
	has "$stderr" "/etc/driverctl.d/pci-$disk: cannot be removed"
	cmd vfio-unbind --persist $disk
	equal '' "$(records)"
	[ ! -e /etc/driverctl.d/pci-$disk ]
	driverctl set-override $disk pci-stub || :
	refused_state=$(state)
	run -69 --separate-stderr cmd vfio-bind --persist $disk
	has "$stderr" "driverctl gives $disk to pci-stub"
	equal "$refused_state" "$(state)"
	driverctl unset-override $disk
}

# This test comes last: the card is lost until the driver is released.
@test "a driver that hangs is named, and holds up nobody for longer than it may" {
	SECONDS=0
	ISOSPIN_VFIO_TIMEOUT=5 cmd vfio-bind $hung 2>"$BATS_TEST_TMPDIR/said" 3>&- &
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

	# Release the driver, as a reboot would.
	echo 1 >/sys/module/hang/parameters/release
	timeout 10 tail --pid="$pid" -f /dev/null
	cmd vfio-unbind $hung
	equal hang "$(driver $hung)"
}
