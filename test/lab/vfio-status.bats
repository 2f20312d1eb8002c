#!/usr/bin/env bats
# bats file_tags=lab
# vfio-status on the lab's cards: the rules of test/cmd/vfio-status.bats, as Linux
# itself shows what they judge.

load ../lib/common.sh

vga=0000:01:00.0 audio=0000:01:00.1 boot=0000:00:02.0
disk=0000:00:05.0 hung=0000:00:07.0
pci=/sys/bus/pci

setup()
{
	cd "$TOP" || return
	console 0
}

teardown()
{
	exec 7>&-
	console 0
	echo 1 >/sys/module/hang/parameters/release
	scripts/vfio-unbind.sh $vga $disk 2>/dev/null || :
}

# console 0|1: takes the text console off the framebuffers, or puts it there.
console()
{
	local con

	for con in /sys/class/vtconsole/*; do
		! grep -q 'frame buffer' "$con/name" || echo "$1" >"$con/bind"
	done
}

# is BDF STATE [CODE...]: its state, and its errors, sorted.
is()
{
	local bdf="$1"

	shift
	equal "$*" "$(scripts/vfio-status.sh --json "$bdf" | jq -r '[.state] +
		([.problems[] | select(.severity == "error") | .code] | unique) |
		join(" ")')"
}

@test "the dump that check-fast works on has the cards of this lab" {
	cards()
	{
		awk -F '\t' '$3 ~ /^sys\/devices\/pci.*\/(class|vendor|device|reset_method|iommu_group)$/ {
			print $3, $4 }'
	}
	diff <(cards <test/fixtures/sysfs/lab.dump) <(test/lab/dump.sh | cards)
}

@test "a card that nobody uses is bindable, bound it is ready, open it is used" {
	is $disk bindable
	scripts/vfio-bind.sh $disk
	run -0 --separate-stderr scripts/vfio-status.sh $disk
	is $disk ready
	exec 7<>"/dev/vfio/$(basename "$(readlink $pci/devices/$disk/iommu_group)")"
	is $disk used in_use
}

@test "what has a DRM, sound or framebuffer file open is the user" {
	is $vga bindable
	exec 7<"/dev/dri/$(basename $pci/devices/$vga/drm/card*)"
	is $vga blocked in_use
	exec 7<"/dev/$(basename $pci/devices/$vga/graphics/fb*)"
	is $vga blocked in_use
	exec 7<"/dev/snd/controlC$(basename $pci/devices/$audio/sound/card* |
		tr -dc 0-9)"
	is $vga blocked group_member_in_use
	is $audio blocked in_use
}

@test "the text console is on the card of the first framebuffer" {
	console 1
	first=$(basename "$(readlink -f /sys/class/graphics/fb0/device)")
	case $first in
	"$boot") is $boot blocked boot_display console ;;
	*) is "$first" blocked console ;;
	esac
	console 0
	is $boot blocked boot_display
}

@test "a bridge, a card beside another's, a half-bound group are refused" {
	is 0000:00:03.0 blocked bridge
	is 0000:03:02.0 blocked group_member_foreign
	scripts/vfio-bind.sh --function-only $vga
	is $vga blocked group_member_bound
}

@test "another driver_override and no reset are warnings" {
	echo nvme >$pci/devices/$hung/driver_override
	run -1 --separate-stderr scripts/vfio-status.sh $hung
	echo >$pci/devices/$hung/driver_override
	has "$output" 'warning  override:'
	has "$output" 'warning  no_reset:'
}

@test "another user than root sees that it does not see all" {
	run -1 --separate-stderr setpriv --reuid 65534 --regid 65534 \
		--clear-groups scripts/vfio-status.sh $disk
	has "$output" 'users    none (root sees those of other users)'
}

@test "a hanging driver: stuck, with its name and the process, until it lets go" {
	local since

	echo $hung >$pci/drivers/hang/unbind 3>&- &
	while [ -e $pci/devices/$hung/driver ]; do :; done
	since=$SECONDS
	run -1 --separate-stderr scripts/vfio-status.sh $hung $disk
	[ $((SECONDS - since)) -le 20 ]
	has "$output" "$hung 1234:11e8 class 00ff00: stuck"
	has "$output" 'its driver hangs (hang, pid '
	has "$output" "$disk 1b36:0010 class 010802: bindable"
	equal on "$(cat $pci/devices/$hung/power/control)"
	echo 1 >/sys/module/hang/parameters/release
	wait
	is $hung bindable
	echo $hung >$pci/drivers/hang/bind
}
