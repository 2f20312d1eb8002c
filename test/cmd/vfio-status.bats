#!/usr/bin/env bats
# vfio-status and the libraries that it uses (sysfs, pci, users, judge), on trees
# dumped from the lab. There, 01:00.0 and .1 are a display card with sound, 03:01.0
# (e1000) and 03:02.0 share a group behind one bridge, 00:05.0 and 00:06.0 are alike,
# and 00:02.0 is the boot display.

load ../lib/common.sh
load ../lib/tree.sh

card=0000:01:00.0
sound=0000:01:00.1

setup()
{
	cd "$BATS_TEST_TMPDIR" || return
	tree_make lab
}

teardown()
{
	tree_unstick
}

# status ARG...: runs vfio-status under $shell.
status()
{
	# shellcheck disable=SC2086 # busybox ash is two words
	$shell "$TOP/scripts/vfio-status.sh" "$@"
}

# ask FILTER ARG...: prints vfio-status's JSON through the jq filter.
ask()
{
	local filter="$1"

	shift
	status --json "$@" | jq -r "$filter"
}

# ask_all FILTER ARG...: sets the array lines to several answers of one jq, which is
# slow to start.
ask_all()
{
	mapfile -t lines < <(ask "$@")
}

codes='([.problems[] | select(.severity == "error") | .code] | sort | join(" "))'

users='([.users[] | "\(.pid) \(.kind) \(.name)"] | sort | join("|"))'

# codes ARG...: prints the codes of the errors, sorted, on one line.
codes()
{
	ask "$codes" "$@"
}

# ready: puts the card into the state in which vfio-bind leaves it.
ready()
{
	tree_driver "$card" vfio-pci
	tree_driver "$sound" vfio-pci
	echo vfio-pci >"$(tree_dev "$card")/driver_override"
	echo vfio-pci >"$(tree_dev "$sound")/driver_override"
}

# quiet: removes all users of the card; another card shows the console.
quiet()
{
	rm -rf "$tree"/sys/class/vtconsole "$tree"/proc/[0-9]*
}

@test "a card that nobody uses is bindable, not ready" {
	quiet
	bindable()
	{
		equal bindable "$(ask .state "$card")"
		run -1 --separate-stderr status "$card"
		equal '' "$stderr"
		has "$output" 'IOMMU on: Intel VT-d, dmar0'
		has "$output" "$card 1234:1111 class 038000: bindable"
	}
	with_shells bindable
}

@test "a card whose group is bound to vfio-pci is ready, and the status is 0" {
	quiet
	ready
	is_ready()
	{
		run -0 --separate-stderr status "$card" "$sound"
		has "$output" "$card 1234:1111 class 038000: ready"
		equal true "$(ask .ready "$card")"
	}
	with_shells is_ready
}

@test "of several devices one that is not ready makes the status 1" {
	quiet
	ready
	shell=dash
	run -1 --separate-stderr status "$card" 00:05.0
}

@test "an absent device ends with 69, a nonsense one with 64, nothing shown" {
	bad()
	{
		run -69 --separate-stderr status 0000:7f:00.0
		equal '' "$output"
		has "$stderr" '0000:7f:00.0: there is no such device'
		run -69 --separate-stderr status 10de:2330
		for arg in x 0000:01:00 0000:01:00.8 0000:01:40.0 ../x 1:2 '' \
			0000:1:00.0 '*' 0000:01:00.0/ 10de:2330:1; do
			run -64 --separate-stderr status "$arg"
			equal '' "$output"
		done
	}
	with_shells bad
}

@test "a short address, an upper case one and VENDOR:DEVICE name devices" {
	names()
	{
		equal "$card" "$(ask .bdf 01:00.0)"
		equal '0000:00:05.0 0000:00:06.0' \
			"$(ask .bdf 1B36:0010 | tr '\n' ' ' | sed 's/ $//')"
	}
	with_shells names
}

@test "without a device the status is about the configured one" {
	quiet
	ready
	configured()
	{
		run -0 --separate-stderr env ISOSPIN_GPU_BDF="$card" \
			$shell "$TOP/scripts/vfio-status.sh"
		has "$output" "$card"
		has "$output" '0000:00:02.0'
		run -1 --separate-stderr env ISOSPIN_GPU_BDF=0000:00:05.0 \
			$shell "$TOP/scripts/vfio-status.sh"
		has "$output" '0000:00:05.0'
		run -69 --separate-stderr env ISOSPIN_GPU_BDF=0000:7f:00.0 \
			$shell "$TOP/scripts/vfio-status.sh"
		has "$output" "$card"
		has "$stderr" 'GPU_BDF'
	}
	with_shells configured
}

@test "every function made by NVIDIA is shown, bridges of theirs are not" {
	shell=dash
	echo 0x10de >"$(tree_dev 0000:00:05.0)/vendor"
	echo 0x10de >"$(tree_dev 0000:00:03.0)/vendor"
	ask .bdf >"$BATS_TEST_TMPDIR/list"
	grep -qx 0000:00:05.0 "$BATS_TEST_TMPDIR/list"
	run ! grep -x 0000:00:03.0 "$BATS_TEST_TMPDIR/list"
	run ! grep -x 0000:00:06.0 "$BATS_TEST_TMPDIR/list"
}

@test "text and JSON say the same of BARs, group, reset and power" {
	same()
	{
		run -1 --separate-stderr status "$card"
		ask_all '.bars[0].size, ([.members[] |
			select(.class[:2] != "06") | .bdf] | join(" ")),
			.iommu_group, .power_state, (.reset_methods | join(" "))' \
			"$card"
		has "$output" "0: $((lines[0] >> 20))M mem32,pref"
		has "$output" "$sound (snd_hda_intel)"
		equal "$card $sound" "${lines[1]}"
		equal "$(basename "$(readlink "$(tree_dev "$card")/iommu_group")")" \
			"${lines[2]}"
		equal "$(cat "$(tree_dev "$card")/power_state")" "${lines[3]}"
		equal "$(cat "$(tree_dev "$card")/reset_method")" "${lines[4]}"
	}
	with_shells same
}

@test "a 64-bit BAR of 64 GiB is shown with its size and kind" {
	printf '%s\n' '0x0000380000000000 0x0000380fffffffff 0x000000000014220c' \
		>"$(tree_dev "$card")/resource"
	big()
	{
		equal '[{"index":0,"start":"0x0000380000000000","size":68719476736,"flags":["mem64","pref"]}]' \
			"$(ask '.bars | tojson' "$card")"
		run -1 --separate-stderr status "$card"
		has "$output" '0: 64G mem64,pref'
	}
	with_shells big
}

@test "a device that does not answer is stuck, and is shown within its deadline" {
	quiet
	tree_stick "$card"
	stuck()
	{
		local since="$SECONDS"

		run -1 --separate-stderr status "$card" 00:05.0
		[ $((SECONDS - since)) -le 10 ]
		equal '' "$stderr"
		has "$output" "$card 1234:1111 class 038000: stuck"
		has "$output" '0000:00:05.0 1b36:0010 class 010802: bindable'
		equal stuck "$(codes "$card")"
	}
	with_shells stuck
}

@test "a device stuck in an unbind names the driver and the process" {
	quiet
	tree_driver "$card"
	tree_stick "$card"
	tree_user 77 sh /sys/bus/pci/drivers/hang/unbind
	shell=dash
	has "$(ask '.problems[0].message' "$card")" 'its driver hangs (hang, pid 77)'
	# The process that hangs belongs to another driver than the card's.
	tree_driver "$card" bochs-drm
	equal "$card does not answer: its driver hangs" \
		"$(ask '.problems[0].message' "$card")"
}

@test "a member of the group that does not answer is named" {
	quiet
	tree_stick "$sound"
	shell=dash
	ask_all "$codes, .state" "$card"
	equal 'group_member_stuck blocked' "${lines[*]}"
}

@test "IOMMU off: the reason and the remedy are those of this machine" {
	rm -rf "$tree/sys/kernel/iommu_groups" "$tree/sys/class/iommu"
	rm -f "$(readlink -f "$(tree_dev "$card")")/iommu_group"
	off()
	{
		echo 'quiet intel_iommu=off' >"$tree/proc/cmdline"
		ask_all "$codes, .iommu_why" "$card"
		has "${lines[0]}" iommu_off
		equal "intel_iommu=off is on the kernel's command line" "${lines[1]}"
		echo quiet >"$tree/proc/cmdline"
		has "$(ask '.problems[].remedy' "$card")" 'add intel_iommu=on to'
		echo 'intel_iommu=on quiet' >"$tree/proc/cmdline"
		has "$(ask .iommu_why "$card")" 'the kernel made no groups'
		mv "$tree/sys/firmware/acpi/tables/DMAR" \
			"$tree/sys/firmware/acpi/tables/IVRS"
		has "$(ask .iommu_why "$card")" AMD-Vi
		mv "$tree/sys/firmware/acpi/tables/IVRS" dmar
		has "$(ask .iommu_why "$card")" 'the firmware reports none'
		mv dmar "$tree/sys/firmware/acpi/tables/DMAR"
	}
	with_shells off
}

@test "a device outside of every group is told apart from an IOMMU that is off" {
	quiet
	rm "$(readlink -f "$(tree_dev "$card")")/iommu_group"
	shell=dash
	equal no_group "$(codes "$card")"
}

@test "a bridge is refused as a bridge" {
	shell=dash
	equal bridge "$(codes 00:03.0)"
}

@test "the boot display is refused, unless it is bound already" {
	quiet
	shell=dash
	ask_all "$codes, .boot_display" 00:02.0
	equal 'boot_display true' "${lines[*]}"
	tree_driver 0000:00:02.0 vfio-pci
	equal '' "$(codes 00:02.0)"
}

@test "the kernel's text console is a user, with the command that ends it" {
	console()
	{
		for con in "$tree"/sys/class/vtconsole/vtcon*; do
			case $(cat "$con/name") in
			*'frame buffer'*) break ;;
			esac
		done
		echo 1 >"$con/bind"
		ask_all "$codes, (.users[] | \"\\(.pid) \\(.kind)\"),
			.problems[].remedy" "$card"
		equal console "${lines[0]}"
		equal '0 console' "${lines[1]}"
		has "${lines[*]:2}" "echo 0 >/sys/class/vtconsole/${con##*/}/bind"
		echo 0 >"$con/bind"
		equal '' "$(codes "$card")"
	}
	rm -rf "$tree"/proc/[0-9]*
	mkdir -p "$(tree_dev "$card")/graphics/fb0"
	with_shells console
}

@test "processes that have its DRM, fb and sound files open are its users" {
	quiet
	mkdir -p "$(tree_dev "$card")/drm/card7" \
		"$(tree_dev "$card")/drm/renderD199" \
		"$(tree_dev "$card")/graphics/fb3" \
		"$(tree_dev "$sound")/sound/card5"
	tree_user 100 'X org' /dev/dri/card7 /dev/dri/card7 /tmp/x
	tree_user 101 ai /dev/dri/renderD199 /dev/fb3
	tree_user 102 pipewire /dev/snd/controlC5 /dev/snd/pcmC5D3p
	tree_user 103 other /dev/dri/card70 /dev/snd/controlC55 /dev/fb33
	used()
	{
		ask_all "$codes, $users, .problems[].message" "$card"
		equal 'group_member_in_use in_use in_use in_use' "${lines[0]}"
		equal '100 drm X org|101 drm ai|101 fb ai' "${lines[1]}"
		has "${lines[*]:2}" \
			"$sound of the group of $card is in use: pid 102 (pipewire), sound"
		equal '102 sound pipewire' "$(ask "$users" "$sound")"
	}
	with_shells used
}

@test "a process is the user of its own NVIDIA GPU, not of the other" {
	quiet
	for bdf in 0000:00:05.0 0000:00:06.0; do
		tree_driver "$bdf" nvidia
		mkdir -p "$tree/proc/driver/nvidia/gpus/$bdf"
		printf 'Model: \t\t X\nDevice Minor: \t %s\n' "${bdf:9:1}" \
			>"$tree/proc/driver/nvidia/gpus/$bdf/information"
	done
	tree_user 200 python3 /dev/nvidiactl /dev/nvidia6 /dev/nvidia-uvm
	nvidia()
	{
		equal '' "$(codes 00:05.0)"
		ask_all "$codes, $users" 00:06.0
		equal in_use "${lines[0]}"
		equal '200 nvidia python3' "${lines[1]}"
	}
	with_shells nvidia
	rm -r "$tree/proc/driver"
	equal in_use "$(codes 00:05.0)"
}

@test "a card that a VM has is in use, neither ready nor blocked" {
	quiet
	ready
	group=$(basename "$(readlink "$(tree_dev "$card")/iommu_group")")
	tree_user 300 qemu-system-x86 "/dev/vfio/$group" /dev/vfio/vfio
	vm()
	{
		run -1 --separate-stderr status "$card"
		has "$output" "$card 1234:1111 class 038000: used"
		ask_all "$codes, .problems[].message" "$card"
		equal in_use "${lines[0]}"
		has "${lines[*]:1}" "$card is in a VM: pid 300 (qemu-system-x86)"
	}
	with_shells vm
}

@test "a bound card is not ready while a function of its group is not bound" {
	quiet
	ready
	tree_driver "$sound" snd_hda_intel
	shell=dash
	ask_all "$codes, .problems[].remedy" "$card"
	equal group_member_bound "${lines[0]}"
	has "${lines[*]:1}" "isospin vfio-bind $card"
}

@test "another card of the group with a driver of the host is foreign" {
	quiet
	shell=dash
	equal group_member_foreign "$(codes 03:02.0)"
	tree_driver 0000:03:01.0
	equal '' "$(codes 03:02.0)"
}

@test "no vfio-pci: an error only if it cannot be loaded either" {
	quiet
	rm -rf "$tree/sys/bus/pci/drivers/vfio-pci"
	fake modprobe <<<'exit 1'
	shell=dash
	equal no_vfio_pci "$(codes "$card")"
	fake modprobe <<<'exit 0'
	equal '' "$(codes "$card")"
	for word in false true; do
		fake modprobe <<<"echo install /usr/bin/$word"
		equal no_vfio_pci "$(codes "$card")"
		has "$(ask '.problems[].message' "$card")" 'must not be loaded'
	done
}

@test "no reset, another override, a BAR without address are told" {
	quiet
	shell=dash
	rm -f "$(tree_dev "$card")/reset_method" "$(tree_dev "$card")/reset"
	echo bochs >"$(tree_dev "$card")/driver_override"
	equal 'no_reset override' "$(ask '[.problems[].code] | sort | join(" ")' \
		"$card")"
	printf '%s\n' '0x0000000000000000 0x0000000fffffffff 0x000000002014220c' \
		>"$(tree_dev "$card")/resource"
	equal bar_unassigned "$(codes "$card")"
	# If there was no room for a BAR, Linux keeps only its register. Here BAR 0
	# has an address, BAR 1 (0x0c) has none, and BAR 2 is the upper half of 1.
	yes '0x0 0x0 0x0' | sed '1s/.*/0xfd000000 0xfdffffff 0x42208/; 7q' \
		>"$(tree_dev "$card")/resource"
	{
		head -c 16 /dev/zero
		printf '\010\0\0\375\014\0\0\0\014\0\0\0\0\0\0\0'
		head -c 32 /dev/zero
	} >"$(tree_dev "$card")/config"
	unassigned()
	{
		equal bar_unassigned "$(codes "$card")"
		run -1 --separate-stderr status "$card"
		has "$output" 'BARs     0: 16M mem32,pref; 1: ? mem64,pref,unassigned'$'\n'
		has "$output" "BAR 1 of $card has no address"
	}
	with_shells unassigned
}

@test "a BAR that holds the firmware's framebuffer is told" {
	quiet
	shell=dash
	mkdir -p "$tree/sys/bus/platform/devices/simple-framebuffer.0"
	framebuffer()
	{
		equal "$1" "$(ask '[.problems[].code] |
			any(. == "boot_framebuffer")' "$card")"
	}
	printf '%s\n' 'c0000000-dfffffff : PCI Bus 0000:01' \
		"  d0000000-d0ffffff : $card" '    d0000000-d02fffff : BOOTFB' \
		>"$tree/proc/iomem"
	framebuffer true
	printf '%s\n' 'c0000000-dfffffff : PCI Bus 0000:01' \
		"  d0000000-d0ffffff : $card" '    d0000000-d02fffff : bochs-drm' \
		'  d1000000-d1ffffff : 0000:02:00.0' \
		'    d1000000-d12fffff : BOOTFB' >"$tree/proc/iomem"
	framebuffer false
}

@test "a hostile file name or process name forges no user and no line" {
	quiet
	mkdir -p "$(tree_dev "$card")/drm/card7"
	tree_user 400 "$(printf 'a\tb\033[2J*')" /dev/dri/card7
	tree_user 401 evil "$(printf '/tmp/x\n1/fd:\nl 1 0 0 64 J 1 1 4 -> /dev/dri/card7')"
	tree_user 402 evil "$(printf '/tmp/x\nl 1 0 0 64 J 1 1 9 -> /dev/dri/card7')"
	forged()
	{
		equal '400 drm a?b?[2J*' "$(ask "$users" "$card")"
		run -1 --separate-stderr status "$card"
		has "$output" '400 a?b?[2J* (drm)'
	}
	with_shells forged
}

@test "without the users the scan is left out, and said to be" {
	tree_user 100 x /dev/dri/card7
	mkdir -p "$(tree_dev "$card")/drm/card7"
	fake ls <<<'exit 9'
	shell=dash
	equal null "$(ask .users --no-users "$card")"
	equal '' "$(codes --no-users "$card")"
}

@test "the page lists the codes of the rules, no more and no fewer" {
	grep -oE 'judge_say [a-z_]+' "$TOP/lib/host/judge.sh" | sed 's/.* //' |
		sort -u >rules
	grep -oE 'judge_users "[^"]*" [a-z_]+' "$TOP/lib/host/judge.sh" |
		sed 's/.* //' >>rules
	sort -u -o rules rules
	sed -n '/^# PROBLEMS/,/^# OPTIONS/s/^\*\([a-z_]*\)\*	.*/\1/p' \
		"$TOP/share/man/isospin-vfio-status.1.scd" | sort >page
	diff rules page
}
