#!/usr/bin/env bats
# vfio-bind on a host that is made of files and behaves as Linux does.

load ../lib/common.sh
load ../lib/pci.sh

setup()
{
	pci_host
	gpu=0000:01:00.0 audio=0000:01:00.1
	pci_card 0000:00:01.0 8086:1901 060400 7 pcieport
	pci_card $gpu 10de:2330 030000 7 nvidia
	pci_card $audio 10de:22a0 040300 7 snd_hda_intel
}

bind()
{
	pci_cmd vfio-bind "$@"
}

# refused STATUS TEXT [ARG...]: vfio-bind ends with STATUS, prints TEXT, and changes
# nothing.
refused()
{
	local status_wanted=$1 text=$2 before

	shift 2
	before=$(pci_state)
	run -"$status_wanted" --separate-stderr bind "$@"
	equal '' "$output"
	has "$stderr" "$text"
	equal '' "$(writes)"
	equal "$before" "$(pci_state)"
	equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
}

# driver BDF: prints the device's driver.
driver()
{
	basename "$(readlink "$pci/devices/$1/driver")"
}

@test "a GPU goes to vfio-pci with its audio function, the bridge stays" {
	takes_group()
	{
		before=$(pci_state)
		run -0 --separate-stderr bind $gpu
		equal '' "$output"
		has "$stderr" "$gpu: bound to vfio-pci (was: nvidia)"
		has "$stderr" "$audio: bound to vfio-pci (was: snd_hda_intel)"
		equal "0000:00:01.0: pcieport (null) auto 1
$gpu: vfio-pci vfio-pci on 0
$audio: vfio-pci vfio-pci on 0" "$(pci_state)"
		pci_cmd vfio-unbind $gpu
		equal "$before" "$(pci_state)"
	}
	with_shells takes_group
}

@test "the override is set before the driver lets go, and nothing else is written" {
	bind $gpu
	equal "0 devices/$gpu/d3cold_allowed
vfio-pci devices/$gpu/driver_override
$gpu devices/$gpu/driver/unbind
$gpu drivers/vfio-pci/bind
on devices/$gpu/power/control
0 devices/$audio/d3cold_allowed
vfio-pci devices/$audio/driver_override
$audio devices/$audio/driver/unbind
$audio drivers/vfio-pci/bind
on devices/$audio/power/control" "$(writes)"
}

@test "--dry-run prints the writes that are then made, and makes none" {
	before=$(pci_state)
	run -0 --separate-stderr bind -n $gpu
	equal "$before" "$(pci_state)"
	equal '' "$(writes)"
	equal '' "$(ls "$ISOSPIN_RUN_DIR")"
	planned=$(printf '%s\n' "$output" |
		sed -n "s|^+ printf '%s\\\\n' \(.*\) > $pci/|\1 |p")
	bind $gpu
	equal "$planned" "$(writes)"
}

@test "--dry-run shows what --persist writes where it is written, before the bind" {
	run -0 --separate-stderr bind $gpu -n --persist
	has "${output%%driver_override*}" "$ETC_ROOT/driverctl.d/pci-$audio"
	equal '' "$(writes)"
}

@test "an option may stand behind the devices, but not behind --" {
	for name in vfio-bind vfio-unbind; do
		run -0 --separate-stderr pci_cmd $name $gpu -n $audio
		run -64 --separate-stderr pci_cmd $name $gpu -- -n
	done
	run -1 --separate-stderr pci_cmd vfio-status $gpu --json --no-users
	equal "$gpu" "$(jq -r .bdf <<<"$output")"
	equal '' "$(writes)"
}

@test "what is bound already stays so without a write" {
	bind $gpu
	writes
	run -0 --separate-stderr bind $gpu
	has "$stderr" 'bound to vfio-pci already'
	equal '' "$(writes)"
}

@test "a device is named in short, by its kind, by its maker, or by GPU_BDF" {
	for args in 01:00.0 0000:01:00.0 10DE:2330 --all-nvidia ''; do
		# shellcheck disable=SC2086 # without one it is no operand
		bind $args
		equal vfio-pci "$(driver $gpu)"
		equal vfio-pci "$(driver $audio)"
		# shellcheck disable=SC2086 # the same
		pci_cmd vfio-unbind $args
		equal nvidia "$(driver $gpu)"
	done
}

@test "of two identical cards the other one stays with its driver" {
	pci_card 0000:02:00.0 10de:2330 030000 8 nvidia
	bind $gpu
	equal vfio-pci "$(driver $gpu)"
	equal nvidia "$(driver 0000:02:00.0)"
	bind 10de:2330
	equal vfio-pci "$(driver 0000:02:00.0)"
}

@test "--function-only leaves the rest of the group, even if it is in use" {
	mkdir "$pci/devices/$audio/sound" "$pci/devices/$audio/sound/card0"
	pci_user 42 pipewire snd/pcmC0D3p
	bind --function-only $gpu
	equal vfio-pci "$(driver $gpu)"
	equal snd_hda_intel "$(driver $audio)"
}

@test "a device in use is refused with its user's name, and --force says so" {
	pci_user 4242 python3 nvidia0
	refused 75 'pid 4242 (python3)' $gpu
	run -0 --separate-stderr bind --force $gpu
	has "$stderr" '--force overrides in_use'
	has "$stderr" 'pid 4242 (python3)'
	equal vfio-pci "$(driver $gpu)"
}

@test "a GPU whose audio function is in use is refused" {
	mkdir "$pci/devices/$audio/sound" "$pci/devices/$audio/sound/card0"
	pci_user 42 pipewire snd/pcmC0D3p
	refused 75 'pid 42 (pipewire)' $gpu
}

@test "the boot display is refused, named or not" {
	echo 1 >"$pci/devices/$gpu/boot_vga"
	refused 69 'boot display' $gpu
	refused 69 'boot display' $audio
	run -0 --separate-stderr bind --force $gpu
	has "$stderr" '--force overrides boot_display'
}

@test "another card of the group is refused until it is named too" {
	pci_card 0000:03:00.0 8086:10d3 020000 7 e1000e
	refused 69 '0000:03:00.0 of its group belongs to e1000e' $gpu
	bind $gpu 0000:03:00.0
	equal vfio-pci "$(driver 0000:03:00.0)"
}

@test "a group of which a part is bound already gives up no more unasked" {
	pci_card 0000:03:00.0 8086:10d3 020000 7 e1000e
	bind --function-only $gpu
	writes
	run -69 --separate-stderr bind $gpu
	has "$stderr" '0000:03:00.0 of its group belongs to e1000e'
	rm -r "$pci/devices/0000:03:00.0" \
		"$SYSFS_ROOT/kernel/iommu_groups/7/devices/0000:03:00.0"
	mkdir "$pci/devices/$audio/sound" "$pci/devices/$audio/sound/card0"
	pci_user 42 pipewire snd/pcmC0D3p
	run -75 --separate-stderr bind $gpu
	has "$stderr" 'pid 42 (pipewire)'
	equal '' "$(writes)"
	bind --function-only $gpu
	rm -r "$PROCFS_ROOT/42"
	bind $gpu
	equal vfio-pci "$(driver $audio)"
}

@test "without an IOMMU, a group or vfio-pci nothing is written" {
	rm "$pci/devices/$gpu/iommu_group"
	refused 69 'in no IOMMU group' $gpu
	rm -r "$SYSFS_ROOT/kernel/iommu_groups" "$SYSFS_ROOT/class/iommu"
	refused 69 'the IOMMU is off' $gpu
}

@test "vfio-pci is loaded where it is not, and its absence is said" {
	rmdir "$pci/drivers/vfio-pci"
	fake modprobe <<-'EOT'
	exit 1
	EOT
	refused 69 'no driver vfio-pci' $gpu
	fake modprobe <<-EOT
	[ "\$1" = -n ] || mkdir "$pci/drivers/vfio-pci"
	EOT
	shell=dash
	bind $gpu
	equal vfio-pci "$(driver $gpu)"
}

@test "nonsense, absent devices and bridges are refused" {
	refused 64 'neither a PCI address' 1:0:0
	refused 64 'neither a PCI address' '../../etc'
	refused 64 'neither a PCI address' 10de:
	refused 69 'no such device' 0000:09:00.0
	refused 69 'no such device' 10de:ffff
	refused 64 'is a bridge' 0000:00:01.0
	refused 64 'unknown option' --nonsense
	refused 64 'unexpected operand' --all-nvidia $gpu
	rm -r "${pci:?}/devices/"*
	refused 69 'no NVIDIA device' --all-nvidia
}

@test "a sysfs that cannot be written is refused with 77" {
	rm "$pci/devices/$audio/driver_override"
	mkdir "$pci/devices/$audio/driver_override"
	run -77 --separate-stderr bind $gpu
	has "$stderr" "$audio: "
	equal '' "$(writes)"
}

@test "of two at once the second is told to try again" {
	mkdir -m 700 "$ISOSPIN_RUN_DIR/pci"
	exec 8>"$ISOSPIN_RUN_DIR/pci/lock"
	flock 8
	refused 75 'another vfio-bind' $gpu
	exec 8>&-
	bind $gpu
}

@test "a device that vfio-pci does not take is given back, and the rest with it" {
	gives_back()
	{
		before=$(pci_state)
		echo "$audio drivers/vfio-pci/bind" >"$KERNEL/refuse"
		run -74 --separate-stderr bind $gpu
		has "$stderr" "$audio: the write to $pci/drivers/vfio-pci/bind failed"
		equal "$before" "$(pci_state)"
		equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
	}
	with_shells gives_back
}

@test "what is undone has its driver again though its override names another" {
	echo vfio-pci >"$pci/devices/$gpu/driver_override"
	before=$(pci_state)
	echo "$audio drivers/vfio-pci/bind" >"$KERNEL/refuse"
	run -74 --separate-stderr bind $gpu
	equal "$before" "$(pci_state)"
}

@test "a bind that the kernel only pretends to make is noticed and undone" {
	before=$(pci_state)
	echo "$audio vfio-pci" >"$KERNEL/unwilling"
	run -74 --separate-stderr bind $gpu
	has "$stderr" "$audio: the kernel does not bind it"
	equal "$before" "$(pci_state)"
}

@test "a driver that does not let go in time is left, the others are restored" {
	is_slow()
	{
		before=$(pci_state)
		echo "$audio devices/$audio/driver/unbind" >"$KERNEL/sleep"
		ISOSPIN_VFIO_TIMEOUT=3 run -74 --separate-stderr bind $gpu
		has "$stderr" 'did not end within 3 s'
		has "$stderr" "$audio: the write to $pci/devices/$audio/driver/unbind"
		equal "$before" "$(pci_state)"
		rm "$KERNEL/sleep"
	}
	with_shells is_slow
}

@test "killed at any write, it leaves what vfio-unbind restores" {
	dies_anywhere()
	(
		trap - DEBUG # bats' own, a fifth of a millisecond a command
		before=$(pci_state)
		writes
		bind --persist $gpu
		pci_cmd vfio-unbind --persist $gpu
		equal "$before" "$(pci_state)"
		all=$(writes)
		while IFS= read -r write; do
			echo "$write" >"$KERNEL/stop"
			run -137 bind --persist $gpu
			rm "$KERNEL/stop"
			run -0 pci_cmd vfio-unbind $gpu
			equal "$before" "$(pci_state)"
			equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
		done <<-EOT
		$(printf '%s\n' "$all" | sed '/ devices.*control$/q')
		EOT
	)
	with_shells dies_anywhere
}

@test "a Ctrl-C at any write, which all its children get too, undoes all of it" {
	ends_anywhere()
	(
		trap - DEBUG # as above
		before=$(pci_state)
		writes
		bind --persist $gpu
		all=$(writes)
		pci_cmd vfio-unbind --persist $gpu
		while IFS= read -r write; do
			echo "$write" >"$KERNEL/ctrl-c"
			run -130 --separate-stderr bind --persist $gpu
			equal 'vfio-bind: warning: undoing what was done' \
				"$(grep -v '^$' <<<"$stderr" || :)"
			rm "$KERNEL/ctrl-c"
			equal "$before" "$(pci_state)"
			equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
		done <<-EOT
		$(printf '%s\n' "$all" | sed '/ devices.*control$/q')
		EOT
	)
	with_shells ends_anywhere
}

@test "killed and run again, it still knows what was there at first" {
	before=$(pci_state)
	echo "$gpu drivers/vfio-pci/bind" >"$KERNEL/stop"
	run -137 bind $gpu
	rm "$KERNEL/stop"
	bind $gpu
	pci_cmd vfio-unbind $gpu
	equal "$before" "$(pci_state)"
}

@test "--persist writes driverctl's files and a rule that udev accepts" {
	bind --persist $gpu
	equal vfio-pci "$(cat "$ETC_ROOT/driverctl.d/pci-$gpu")"
	equal vfio-pci "$(cat "$ETC_ROOT/driverctl.d/pci-$audio")"
	cmp "$TOP"/share/udev/04-isospin-vfio.rules \
		"$ETC_ROOT/udev/rules.d/04-isospin-vfio.rules"
	equal 644 "$(stat -c %a "$ETC_ROOT/driverctl.d/pci-$gpu")"
	bind --persist $gpu
	run -0 --separate-stderr pci_cmd vfio-unbind $gpu
	has "$stderr" 'again at the next boot'
	[ -e "$ETC_ROOT/driverctl.d/pci-$gpu" ]
	pci_cmd vfio-unbind --persist $gpu
	equal '' "$(find "$ETC_ROOT" -type f)"
}

@test "--persist of what driverctl gives to another driver is refused" {
	mkdir "$ETC_ROOT/driverctl.d"
	echo nouveau >"$ETC_ROOT/driverctl.d/pci-$gpu"
	refused 69 "driverctl gives $gpu to nouveau" --persist $gpu
	bind $gpu
	equal nouveau "$(cat "$ETC_ROOT/driverctl.d/pci-$gpu")"
}

@test "what cannot be saved leaves nothing behind, and is one line" {
	no_save()
	{
		before=$(pci_state)
		: >"$ETC_ROOT/driverctl.d"
		run -74 --separate-stderr bind --persist $gpu
		equal "vfio-bind: error: $ETC_ROOT: cannot be written; it may be read-only, or full" \
			"$stderr"
		equal '' "$(writes)"
		rm "$ETC_ROOT/driverctl.d"
		equal "$before" "$(pci_state)"
		equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
	}
	with_shells no_save
}

@test "what cannot be recorded is not bound, and no record is left of the rest" {
	no_record()
	{
		before=$(pci_state)
		mkdir -p -m 700 "$ISOSPIN_RUN_DIR/pci"
		mkdir "$ISOSPIN_RUN_DIR/pci/$audio.new"
		run -74 --separate-stderr bind $gpu
		has "$stderr" "$ISOSPIN_RUN_DIR/pci/$audio: cannot be written"
		equal '' "$(writes)"
		equal "$before" "$(pci_state)"
		rmdir "$ISOSPIN_RUN_DIR/pci/$audio.new"
		equal '' "$(ls "$ISOSPIN_RUN_DIR"/pci/0* 2>/dev/null)"
	}
	with_shells no_record
}

@test "--persist undoes its files if the bind fails" {
	echo "$gpu drivers/vfio-pci/bind" >"$KERNEL/refuse"
	before=$(pci_state)
	run -74 bind --persist $gpu
	equal "$before" "$(pci_state)"
}
