#!/usr/bin/env bats
# vfio-unbind on a host that is made of files and behaves as Linux does.

load ../lib/common.sh
load ../lib/pci.sh

setup()
{
	pci_host
	gpu=0000:01:00.0 audio=0000:01:00.1
	pci_card $gpu 10de:2330 030000 7 nvidia
	pci_card $audio 10de:22a0 040300 7 snd_hda_intel
}

unbind()
{
	pci_cmd vfio-unbind "$@"
}

# taken: vfio-pci has had both functions since boot, and nothing is recorded.
taken()
{
	local bdf

	for bdf in $gpu $audio; do
		ln -sfn ../../drivers/vfio-pci "$pci/devices/$bdf/driver"
		echo vfio-pci >"$pci/devices/$bdf/driver_override"
	done
}

@test "without a record the kernel picks the driver" {
	kernel_picks()
	{
		taken
		run -0 --separate-stderr unbind $gpu
		equal '' "$output"
		has "$stderr" "$gpu: given back to nvidia"
		equal "$gpu: nvidia (null) on 1
$audio: snd_hda_intel (null) on 1" "$(pci_state)"
	}
	with_shells kernel_picks
}

@test "what --persist wrote and cannot be removed is named" {
	bdf=$gpu
	stays()
	{
		mkdir -p "$ETC_ROOT/driverctl.d/pci-$bdf"
		run -74 --separate-stderr unbind --persist --function-only $bdf
		has "$stderr" "$ETC_ROOT/driverctl.d/pci-$bdf: cannot be removed"
	}
	with_shells stays
}

@test "what vfio-pci had before vfio-bind does not keep the power setting of vfio-pci" {
	taken
	pci_cmd vfio-bind $gpu
	unbind $gpu
	equal "$gpu: nvidia (null) on 1
$audio: snd_hda_intel (null) on 1" "$(pci_state)"
}

@test "a card that vfio-pci lists is left alone, and the list is named" {
	taken
	echo vfio-pci >"$pci/devices/$gpu/native"
	for option in '' --rescan; do
		# shellcheck disable=SC2086 # an option or none
		run -74 --separate-stderr unbind --function-only $option $gpu
		has "$stderr" 'lists 10de:2330'
		has "$stderr" "write '10de 2330' to $pci/drivers/vfio-pci/remove_id"
		[[ $stderr != *'does not take it'* ]]
		[ -n "$option" ] || equal '' "$(writes | grep -e reset -e remove)"
	done
}

@test "what had no driver and a foreign override has them again" {
	rm "$pci/devices/$gpu/driver"
	echo pci-stub >"$pci/devices/$gpu/driver_override"
	before=$(pci_state)
	pci_cmd vfio-bind $gpu
	unbind $gpu
	equal "$before" "$(pci_state)"
}

@test "a driver that the override did not name takes it back at once" {
	for name in vfio-pci pci-stub; do
		echo $name >"$pci/devices/$gpu/driver_override"
		before=$(pci_state)
		pci_cmd vfio-bind $gpu
		writes
		unbind $gpu
		equal "$before" "$(pci_state)"
		equal '' "$(writes | grep -e reset -e remove)"
	done
}

@test "what is not vfio-pci's is left alone" {
	before=$(pci_state)
	run -0 --separate-stderr unbind $gpu
	has "$stderr" 'vfio-pci has none of them'
	equal '' "$(writes)"
	equal "$before" "$(pci_state)"
}

@test "--dry-run prints the writes that are then made, and makes none" {
	pci_cmd vfio-bind $gpu
	writes
	before=$(pci_state)
	run -0 --separate-stderr unbind -n $gpu
	equal "$before" "$(pci_state)"
	planned=$(printf '%s\n' "$output" |
		sed -n "s|^+ printf '%s\\\\n' \(.*\) > $pci/|\1 |p" | tr -d "'")
	unbind $gpu
	equal "$planned" "$(writes)"
}

@test "while a VM has the group it is refused, and the VM's pid is named" {
	pci_cmd vfio-bind $gpu
	writes
	pci_user 777 qemu-system-x86 vfio/7
	run -75 --separate-stderr unbind $gpu
	has "$stderr" "process 777 (qemu-system-x86) has it"
	equal '' "$(writes)"
	rm -r "$PROCFS_ROOT/777"
	unbind $gpu
}

@test "a group that a VM has left behind is waited for" {
	pci_cmd vfio-bind $gpu
	writes
	# The file of a running program cannot be opened for writing; that stands
	# for a group that is open for a while.
	mkdir -p "$DEV_ROOT/vfio"
	cp /bin/sleep "$DEV_ROOT/vfio/7"
	"$DEV_ROOT/vfio/7" 1000 3>&- &
	ISOSPIN_VFIO_TIMEOUT=1 run -75 --separate-stderr unbind $gpu
	has "$stderr" "its group 7 is still open, but no process with it can be seen"
	equal '' "$(writes)"
	(unbind $gpu 2>"$BATS_TEST_TMPDIR/said" 3>&-) &
	until grep -q 'let go of group 7' "$BATS_TEST_TMPDIR/said"; do :; done
	kill %1
	wait %2
	equal "$(printf '%s\n' nvidia snd_hda_intel)" \
		"$(basename -a "$(readlink "$pci/devices/$gpu/driver")" \
			"$(readlink "$pci/devices/$audio/driver")")"
}

@test "a driver that does not take it back gets it reset, then found anew" {
	pci_cmd vfio-bind $gpu
	writes
	echo "$gpu nvidia" >"$KERNEL/unwilling"
	run -74 --separate-stderr unbind $gpu
	has "$stderr" 'resetting it'
	has "$stderr" 'removing it from the bus'
	has "$stderr" "$gpu: 'nvidia' does not take it"
	log=$(writes)
	has "$log" "1 devices/$gpu/reset"
	has "$log" "1 devices/$gpu/remove"
	has "$log" '1 rescan'
	equal snd_hda_intel "$(basename "$(readlink "$pci/devices/$audio/driver")")"
	rm "$KERNEL/unwilling"
	unbind $gpu
	equal "$gpu: nvidia (null) auto 1
$audio: snd_hda_intel (null) auto 1" "$(pci_state)"
}

@test "--reset and --rescan are made while nobody has the device" {
	before=$(pci_state)
	pci_cmd vfio-bind $gpu
	writes
	unbind --reset --function-only $gpu
	equal " devices/$gpu/driver_override
$gpu devices/$gpu/driver/unbind
1 devices/$gpu/reset
$gpu drivers/nvidia/bind
auto devices/$gpu/power/control
1 devices/$gpu/d3cold_allowed" "$(writes)"
	unbind --rescan $gpu
	has "$(writes)" "$audio devices/$audio/driver/unbind
1 devices/$audio/remove
1 rescan"
	equal "$before" "$(pci_state)"
}

@test "killed at any write, it is finished by the next" {
	before=$(pci_state)
	pci_cmd vfio-bind $gpu
	writes
	unbind $gpu
	all=$(writes)
	while IFS= read -r write; do
		pci_cmd vfio-bind $gpu
		printf '%s\n' "$write" >"$KERNEL/stop"
		run -137 unbind $gpu
		rm "$KERNEL/stop"
		unbind $gpu
		equal "$before" "$(pci_state)"
	done <<-EOT
	$all
	EOT
}

@test "a record that is not one is an error that names it" {
	pci_cmd vfio-bind $gpu
	echo 'driver=../../evil' >"$ISOSPIN_RUN_DIR/pci/$gpu"
	run -65 --separate-stderr unbind $gpu
	has "$stderr" "$ISOSPIN_RUN_DIR/pci/$gpu"
}

@test "nonsense, absent devices and bridges are refused" {
	pci_card 0000:00:01.0 8086:1901 060400 8 pcieport
	run -64 unbind 1:0:0
	run -69 unbind 0000:09:00.0
	run -64 unbind 0000:00:01.0
}
