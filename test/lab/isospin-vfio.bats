#!/usr/bin/env bats
# bats file_tags=lab
# isospin-vfio on the lab's cards, with real IOMMU groups and real resets. At the end,
# the cards that were bound here go back to their drivers.

load ../lib/common.sh

nvme=0000:00:05.0
vga=0000:01:00.0
audio=0000:01:00.1
net=0000:03:01.0
beside=0000:03:02.0

setup_file()
{
	modprobe vfio-pci
	give "$nvme" "$vga" "$audio" "$beside"
}

teardown_file()
{
	take_back "$nvme" "$vga" "$audio" "$beside"
}

setup()
{
	vfio=$TOP/build/bin/isospin-vfio
	holder=
}

teardown()
{
	[ -z "$holder" ] || kill "$holder" 2>/dev/null || :
}

# give BDF...: binds the devices to vfio-pci without isospin's commands.
give()
{
	local bdf dev

	for bdf; do
		dev=/sys/bus/pci/devices/$bdf
		echo vfio-pci >"$dev/driver_override"
		[ ! -e "$dev/driver" ] || echo "$bdf" >"$dev/driver/unbind"
		echo "$bdf" >/sys/bus/pci/drivers_probe
	done
}

# take_back BDF...: gives the devices to the drivers that the kernel picks.
take_back()
{
	local bdf dev

	for bdf; do
		dev=/sys/bus/pci/devices/$bdf
		echo >"$dev/driver_override"
		[ ! -e "$dev/driver" ] || echo "$bdf" >"$dev/driver/unbind"
		echo "$bdf" >/sys/bus/pci/drivers_probe
	done
}

# says JQ_FILTER COMMAND [ARG...]: the filter holds for the array of the objects that
# isospin-vfio prints.
says()
{
	local filter=$1

	shift
	run -0 --separate-stderr timeout 60 "$vfio" "$@"
	jq -es "$filter" <<<"$output" >/dev/null || {
		printf 'not so: %s\nin: %s\n' "$filter" "$output"
		return 1
	}
}

# refused STATUS TEXT ARG...: isospin-vfio ends with STATUS and prints TEXT.
refused()
{
	local status=$1 text=$2

	shift 2
	run "-$status" --separate-stderr timeout 60 "$vfio" "$@"
	equal '' "$output"
	# shellcheck disable=SC2154 # bats sets it
	has "$stderr" "$text"
}

# hold_on BDF: starts a process that holds the device; its answers are in
# $BATS_TEST_TMPDIR/held.
hold_on()
{
	: >"$BATS_TEST_TMPDIR/held"
	"$vfio" hold "$1" >"$BATS_TEST_TMPDIR/held" 3>&- &
	holder=$!
	"$TOP/build/bin/vmctl" wait --file "$BATS_TEST_TMPDIR/held" \
		--line "{\"bdf\":\"$1\",\"state\":\"held\"}" --timeout-ms 20000
}

# released BDF REASON: the holder has ended, and gives REASON.
released()
{
	wait "$holder"
	holder=
	equal "{\"bdf\":\"$1\",\"state\":\"released\",\"reason\":\"$2\"}" \
		"$(tail -n 1 "$BATS_TEST_TMPDIR/held")"
}

@test "group names every member with its driver" {
	says "length == 1 and .[0].viable and .[0].bdf == \"$vga\" and
		.[0].members == [{bdf: \"$vga\", driver: \"vfio-pci\"},
			{bdf: \"$audio\", driver: \"vfio-pci\"}]" group "$vga"
	group=$(readlink "/sys/bus/pci/devices/$vga/iommu_group")
	says ".[0].group == ${group##*/}" group "$vga"
}

@test "a group with a member on another driver is not viable, and the member is named" {
	equal e1000 "$(basename "$(readlink "/sys/bus/pci/devices/$net/driver")")"
	run -1 --separate-stderr "$vfio" group "$beside"
	jq -e ".viable == false and any(.members[]; .bdf == \"$net\" and
		.driver == \"e1000\")" <<<"$output"
	for command in info regions irqs reset hold; do
		refused 1 "is not viable, $net has driver e1000;" \
			"$command" "$beside"
	done
	refused 1 'is not viable' map-time --size 4K "$beside"
}

@test "info has the IDs that sysfs has, the resets and the IOMMU's limits" {
	for bdf in "$nvme" "$audio"; do
		cd "/sys/bus/pci/devices/$bdf"
		says ".[0] | .alive and .regions == 9 and .irqs == 5 and
			[.vendor, .device, .class, .revision, .subvendor,
			.subdevice] == $(cat vendor device class revision \
			subsystem_vendor subsystem_device | jq -cnR \
			'[inputs | ltrimstr("0x")]')" info "$bdf"
	done
	says '.[0] | .reset and .hot_reset == null' info "$nvme"
	says ".[0] | (.reset | not) and
		([.hot_reset[].bdf] | sort) == [\"$vga\", \"$audio\"]" info "$vga"
	# The IOMMU reserves the addresses of interrupts.
	says '.[0].iommu | .page_sizes[0] == 4096 and .mappings_left > 1000 and
		.iova_ranges[0].end == "0xfedfffff" and
		.iova_ranges[1].start == "0xfef00000"' info "$vga"
}

@test "regions have the sizes that sysfs has" {
	for bdf in "$nvme" "$vga"; do
		sizes=()
		while read -r start end _ && [ "${#sizes[@]}" -lt 6 ]; do
			sizes+=("$((end - start + (end > 0)))")
		done <"/sys/bus/pci/devices/$bdf/resource"
		says "[range(6) as \$bar | [.[] | select(.name == \"bar\(\$bar)\") |
			.size] | add // 0] == [$(IFS=,; echo "${sizes[*]}")]" \
			regions "$bdf"
	done
	says 'any(.[]; .name == "config" and .size >= 256) and
		any(.[]; .name == "bar0" and .msix_mappable and
			(.flags | index("mmap") != null))' regions "$nvme"
}

@test "irqs count MSI and MSI-X as the capabilities do" {
	# lspci: MSI-X: Enable- Count=65 Masked-
	count=$(lspci -vv -s "$nvme" | sed -n 's/.*MSI-X:.*Count=\([0-9]*\).*/\1/p')
	[ "$count" -gt 0 ]
	says "length == 5 and any(.[]; .name == \"msix\" and .count == $count)" \
		irqs "$nvme"
	says 'any(.[]; .name == "intx" and .count == 1 and
		.flags == ["eventfd", "maskable", "automasked"])' irqs "$audio"
	says 'any(.[]; .name == "request" and .count == 1)' irqs "$vga"
}

@test "reset takes the function's own where there is one, else the bus's" {
	says '.[0] | .method == "function" and .reset_ms > 0' reset "$nvme"
	says '.[0] | .method == "hot" and .reset_ms > 0' reset "$vga"
	says '.[0].alive' info "$vga"
}

@test "a hot reset that would take another driver's function along is refused" {
	take_back "$audio"
	give "$vga"
	echo "$audio" >"/sys/bus/pci/devices/$audio/driver/unbind"
	refused 69 "with its bus $audio would be reset, which vfio-pci does not have" \
		reset "$vga"
	give "$audio"
	says '.[0].method == "hot"' reset "$vga"
}

@test "map-time maps all of the memory, in as many chunks as it takes" {
	says '.[0] | .size == 33554432 and .chunks == 1 and .map_ms > 0 and
		.unmap_ms > 0 and .populate_ms > 0' map-time --size 32M "$nvme"
	says '.[0].chunks == 17' map-time --size 33M --chunk 2M "$nvme"
	refused 69 'bytes of memory are available' map-time --size 1000G "$nvme"
	says '.[0].iommu.mappings_left == 65535' info "$nvme"
}

@test "map-time says where the mappings end" {
	limit=/sys/module/vfio_iommu_type1/parameters/dma_entry_limit
	before=$(cat "$limit")
	echo 16 >"$limit"
	run --separate-stderr timeout 60 "$vfio" map-time --size 34M \
		--chunk 2M "$nvme"
	echo "$before" >"$limit"
	equal 69 "$status"
	equal '' "$output"
	has "$stderr" 'no further mapping after 16: use larger chunks'
}

@test "a user without the group's node is refused, and RLIMIT_MEMLOCK is named" {
	node=/dev/vfio/$(basename "$(readlink "/sys/bus/pci/devices/$nvme/iommu_group")")
	user=(timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups)
	cp "$vfio" "$BATS_TEST_TMPDIR/vfio"
	chmod -R a+rX "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR"
	run -77 --separate-stderr "${user[@]}" "$BATS_TEST_TMPDIR/vfio" \
		info "$nvme"
	has "$stderr" "$node: Permission denied"
	chown 65534 "$node"
	chmod 666 /dev/vfio/vfio
	ulimit -l 8192
	run -77 --separate-stderr "${user[@]}" "$BATS_TEST_TMPDIR/vfio" \
		map-time --size 64M "$nvme"
	has "$stderr" 'RLIMIT_MEMLOCK is 8388608 bytes: `ulimit -l 65536`'
	run -0 --separate-stderr "${user[@]}" "$BATS_TEST_TMPDIR/vfio" \
		map-time --size 4M "$nvme"
	equal 8388608 "$(jq .memlock_limit <<<"$output")"
	chown 0 "$node"
}

@test "who holds a device is named to whoever wants its group" {
	hold_on "$vga"
	for bdf in "$vga" "$audio"; do
		refused 75 "is in use by pid $holder (isospin-vfio)" info "$bdf"
	done
	says '.[0].alive' info "$nvme"
	kill "$holder"
	released "$vga" signal
	says '.[0].alive' info "$vga"
}

@test "a held device that is unbound is given back at once" {
	hold_on "$nvme"
	timeout 10 sh -c 'echo "$0" >/sys/bus/pci/drivers/vfio-pci/unbind' "$nvme"
	released "$nvme" request
	refused 69 "its driver is none, not vfio-pci; bind it with \`isospin vfio-bind $nvme\`" \
		info "$nvme"
	give "$nvme"
	says '.[0].alive' info "$nvme"
}
