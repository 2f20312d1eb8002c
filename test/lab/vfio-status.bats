#!/usr/bin/env bats
# bats file_tags=lab
# vfio-status on the lab's cards: the rules of test/cmd/vfio-status.bats, on the files
# of a real kernel.

load ../lib/common.sh

vga=0000:01:00.0 audio=0000:01:00.1 boot=0000:00:02.0
disk=0000:00:05.0 twin=0000:00:06.0 hung=0000:00:07.0 big=0000:00:08.0
net=0000:03:01.0 beside=0000:03:02.0 apart=0000:11:00.0
pci=/sys/bus/pci

setup()
{
	cd "$TOP" || return
	console 0
}

teardown()
{
	exec 7>&-
	jobs -p | xargs -r kill 2>/dev/null || :
	console 0
	rm -f /etc/modprobe.d/forbidden.conf
	modprobe vfio-pci
	echo 1 >/sys/module/hang/parameters/release
	bound=$(cd $pci/drivers/vfio-pci && echo 0000:*)
	# shellcheck disable=SC2086 # a list of addresses
	[ "$bound" = '0000:*' ] || scripts/vfio-unbind.sh $bound
	for bdf in $disk $twin $audio $net; do
		[ "$(cat $pci/devices/$bdf/driver_override)" = '(null)' ] ||
			restore "$bdf"
	done
	! [ -d $pci/drivers/nvidia ] || rmmod nvidia_stand_in
	rm -f /dev/nvidia*
}

# give BDF DRIVER: takes the device from its driver and gives it to DRIVER, without
# isospin's commands.
give()
{
	echo "$2" >"$pci/devices/$1/driver_override"
	echo "$1" >"$pci/devices/$1/driver/unbind"
	echo "$1" >"$pci/drivers/$2/bind"
}

# restore BDF: makes the kernel pick the device's driver.
restore()
{
	echo >"$pci/devices/$1/driver_override"
	! [ -e "$pci/devices/$1/driver" ] ||
		echo "$1" >"$pci/devices/$1/driver/unbind"
	echo "$1" >$pci/drivers_probe
}

# hang BDF: unbinds the device from the driver that hangs; returns once it hangs.
hang()
{
	echo "$1" >$pci/drivers/hang/unbind 3>&- &
	while [ -e "$pci/devices/$1/driver" ]; do :; done
}

# ask FILTER ARG...: prints vfio-status's JSON through the jq filter.
ask()
{
	local filter="$1"

	shift
	scripts/vfio-status.sh --json "$@" | jq -r "$filter"
}

# console 0|1: takes the text console off the framebuffers (0), or puts it there (1).
console()
{
	local con

	for con in /sys/class/vtconsole/*; do
		! grep -q 'frame buffer' "$con/name" || echo "$1" >"$con/bind"
	done
}

# is BDF STATE [CODE...]: vfio-status shows this state and these errors for BDF.
is()
{
	local bdf="$1"

	shift
	equal "$*" "$(scripts/vfio-status.sh "$bdf" | awk '
		/ class [0-9a-f]*: / { said = $NF }
		$1 == "error" && !seen[$2]++ {
			sub(/:$/, "", $2)
			said = said " " $2
		}
		END { print said }')"
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
	exec 7>&-
	run -1 --separate-stderr scripts/vfio-status.sh $disk $twin
	has "$output" "$disk 1b36:0010 class 010802: ready"
	has "$output" "$twin 1b36:0010 class 010802: bindable"
}

@test "devices are named by address or kind, the configured one by nothing" {
	equal "$disk $twin" "$(ask .bdf 1B36:0010 | xargs)"
	equal $vga "$(ask .bdf 01:00.0)"
	run -69 --separate-stderr scripts/vfio-status.sh 0000:7f:00.0
	equal '' "$output"
	run -64 --separate-stderr scripts/vfio-status.sh 0000:01:00
	run -1 --separate-stderr scripts/vfio-status.sh
	has "$output" "0000:00:02.0 1234:1111 class 030000: blocked"
	has "$output" "$vga 1234:1111 class 038000: bindable"
	run ! grep ^$disk <<<"$output"
	scripts/vfio-bind.sh $disk
	run -0 --separate-stderr env ISOSPIN_GPU_BDF=$disk scripts/vfio-status.sh
	has "$output" "$disk 1b36:0010 class 010802: ready"
}

@test "text and JSON say what sysfs says of BARs, group, reset and power" {
	run -1 --separate-stderr scripts/vfio-status.sh $vga
	read -r start end _ <$pci/devices/$vga/resource
	equal "$start $((end - start + 1))" \
		"$(ask '.bars[0] | "\(.start) \(.size)"' $vga)"
	has "$output" "0: $(((end - start + 1) >> 20))M mem32,pref"
	has "$output" "$audio (snd_hda_intel)"
	equal "$(ls $pci/devices/$vga/iommu_group/devices | xargs)" \
		"$(ask '[.members[].bdf] | join(" ")' $vga)"
	equal "$(cat $pci/devices/$vga/power_state) $(cat \
		$pci/devices/$vga/reset_method)" "$(ask \
		'"\(.power_state) \(.reset_methods | join(" "))"' $vga)"
}

@test "a 64-bit BAR of 64 GiB is shown with its size and kind, and can be bound" {
	read -r start _ < <(sed -n 3p $pci/devices/$big/resource)
	equal "{\"index\":2,\"start\":\"$start\",\"size\":68719476736,\"flags\":[\"mem64\",\"pref\"]}" \
		"$(ask '.bars[2] | tojson' $big)"
	run -1 --separate-stderr scripts/vfio-status.sh $big
	has "$output" '2: 64G mem64,pref'
	scripts/vfio-bind.sh $big
	is $big ready
	equal 68719476736 "$(build/bin/isospin-vfio regions $big |
		jq 'select(.index == 2) | .size')"
}

@test "a device outside of every group is told apart from an IOMMU that is off" {
	is $apart blocked no_group
	run -69 --separate-stderr scripts/vfio-bind.sh $apart
	has "$stderr" "$apart is in no IOMMU group"
	[ ! -e $pci/devices/$apart/driver ]
}

@test "no vfio-pci: an error only if it cannot be loaded either" {
	modprobe -r vfio-pci
	[ ! -e $pci/drivers/vfio-pci ]
	is $disk bindable
	echo 'install vfio-pci /bin/false' >/etc/modprobe.d/forbidden.conf
	is $disk blocked no_vfio_pci
	has "$(ask '.problems[].message' $disk)" 'must not be loaded'
	rm /etc/modprobe.d/forbidden.conf
	# shellcheck disable=SC2016 # the inner shell's
	run -1 --separate-stderr unshare -m sh -c '
		mount -t tmpfs none /usr/lib/modules && exec "$@"' sh \
		scripts/vfio-status.sh $disk
	has "$output" 'no_vfio_pci: the kernel has no driver vfio-pci'
	[ ! -e $pci/drivers/vfio-pci ]
}

@test "a process is the user of its own NVIDIA GPU, not of the other" {
	insmod "build/lab/$(uname -r)/nvidia_stand_in.ko"
	# The driver assigns minors in the order in which it gets the cards.
	give $twin nvidia
	give $disk nvidia
	mknod /dev/nvidiactl c 195 255
	mknod /dev/nvidia0 c 195 0
	mknod /dev/nvidia1 c 195 1
	sleep 1000 7<>/dev/nvidiactl 8<>/dev/nvidia0 3>&- &
	is $disk bindable
	equal "$! nvidia sleep" \
		"$(ask '.users[] | "\(.pid) \(.kind) \(.name)"' $twin)"
	is $twin blocked in_use
	# If the driver does not say which card has which minor, the process counts
	# as a user of all of them.
	# shellcheck disable=SC2016 # the inner shell's
	run -1 --separate-stderr unshare -m sh -c '
		mount -t tmpfs none /proc/driver && exec "$@"' sh \
		scripts/vfio-status.sh $disk
	has "$output" "in_use: $disk is in use: pid $! (sleep), nvidia"
}

@test "a hostile file name or process name forges no user and no line" {
	node=/dev/dri/$(basename $pci/devices/$vga/drm/card*)
	cd "$BATS_TEST_TMPDIR"
	cp /bin/sleep evil
	for name in $'a\tb\e[2J) *' $'two\nlines'; do
		cp /bin/sleep "$name"
		"./$name" 1000 <"$node" 3>&- &
		users="${users:-}$! "
	done
	for name in $'x\n1/fd:\nl 1 0 0 64 J 1 1 4 -> '"$node" \
		$'x\nl 1 0 0 64 J 1 1 9 -> '"$node"; do
		mkdir -p "${name%/*}"
		: >"$name"
		./evil 1000 <"$name" 3>&- &
	done
	read -r first second <<<"$users"
	until grep -q two "/proc/$second/comm" && grep -q evil "/proc/$!/comm"; do
		:
	done
	cd "$TOP"
	for shell in "${shells[@]}"; do
		equal "$first drm a?b?[2J) *|$second drm two" "$(
			$shell scripts/vfio-status.sh --json $vga | jq -r '[.users |
			sort_by(.pid)[] | "\(.pid) \(.kind) \(.name)"] | join("|")')"
		run -1 --separate-stderr $shell scripts/vfio-status.sh $vga
		has "$output" "$first a?b?[2J) * (drm)"
		has "$output" "$second two (drm)"
		run ! grep -e evil -e '^lines' -e $'\e' <<<"$output"
	done
}

@test "what has a DRM, sound or framebuffer file open is the user" {
	is $vga bindable
	exec 7<"/dev/dri/$(basename $pci/devices/$vga/drm/card*)"
	is $vga blocked in_use
	equal 'null bindable' "$(ask '"\(.users) \(.state)"' --no-users $vga)"
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
	# The remedy that it prints solves the problem.
	ask '.problems[] | select(.code == "console") | .remedy' "$first" | sh
	is $boot blocked boot_display
	is $vga bindable
}

@test "the boot display is in nobody's way once it is bound" {
	scripts/vfio-bind.sh --force $boot $vga
	equal true "$(ask .boot_display $boot)"
	is $boot ready
	# The boot display comes back first, so that its framebuffer is the first.
	scripts/vfio-unbind.sh $boot $vga
	console 0
	is $boot blocked boot_display
}

@test "a bridge, a card beside another's, a half-bound group are refused" {
	is 0000:00:03.0 blocked bridge
	is $beside blocked group_member_foreign
	echo $net >$pci/drivers/e1000/unbind
	is $beside bindable
	restore $net
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

	# After the previous test, the driver may not have finished with it.
	timeout 60 sh -c 'until scripts/vfio-status.sh --json "$0" |
		jq -e ".state == \"bindable\""; do :; done' $disk
	hang $hung
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

@test "a member of the group that does not answer is named" {
	give $audio hang
	hang $audio
	is $vga blocked group_member_stuck
	run -69 --separate-stderr scripts/vfio-bind.sh $vga
	has "$stderr" "$audio of its group does not answer"
	echo 1 >/sys/module/hang/parameters/release
	wait
	restore $audio
	is $vga bindable
}
