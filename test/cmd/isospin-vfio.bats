#!/usr/bin/env bats
# The refusals of isospin-vfio before it opens anything. All else needs VFIO and is in
# test/lab/isospin-vfio.bats.

load ../lib/common.sh

setup()
{
	export SYSFS_ROOT=$BATS_TEST_TMPDIR/sys
	vfio=$TOP/build/bin/isospin-vfio
	bdf=0000:01:00.0
}

# card BDF [DRIVER [GROUP]]
card()
{
	local dev=$SYSFS_ROOT/bus/pci/devices/$1

	mkdir -p "$dev"
	[ -z "${2:-}" ] || ln -s "../../drivers/$2" "$dev/driver"
	[ -z "${3:-}" ] || ln -s "../../kernel/iommu_groups/$3" "$dev/iommu_group"
}

# refused STATUS TEXT ARG...: isospin-vfio ends with STATUS, prints nothing on stdout,
# and one line that has TEXT on stderr.
refused()
{
	local status=$1 text=$2

	shift 2
	run "-$status" --separate-stderr "$vfio" "$@"
	equal '' "$output"
	# shellcheck disable=SC2154 # bats sets them
	equal 1 "${#stderr_lines[@]}"
	has "$stderr" "$text"
}

@test "a command that is none, or without a device, is wrong usage" {
	refused 64 'a command and a device are needed'
	refused 64 'a command and a device are needed' info
	refused 64 'a command and a device are needed' info "$bdf" "$bdf"
	refused 64 "unknown command 'inform'" inform "$bdf"
	refused 64 'invalid option' info -x "$bdf"
}

@test "what is no PCI address is wrong usage" {
	for word in '' 01:00.0 0000:01:00 0000:01:00.8 0000:01:20.0 \
		0000:0G:00.0 ../../../x 0000:01:00.0/..; do
		refused 64 'is not a PCI address' info "$word"
	done
}

@test "map-time wants a size of whole pages, and nothing else takes one" {
	refused 64 'map-time needs --size' map-time "$bdf"
	for size in 0 1 4097 1T -4K 99999999999999999999 65537G; do
		refused 64 "--size: '$size'" map-time --size "$size" "$bdf"
	done
	refused 64 "--chunk: '5'" map-time --size 1G --chunk 5 "$bdf"
	refused 64 'info takes neither --size nor --chunk' info --size 1G "$bdf"
	refused 64 'hold takes neither' hold --chunk 1G "$bdf"
}

@test "a device that is not there is unavailable" {
	mkdir -p "$SYSFS_ROOT/bus/pci/devices"
	for command in group info regions irqs reset hold; do
		refused 69 "$bdf: there is no such device" "$command" "$bdf"
	done
	refused 69 "$bdf: there is no such device" map-time --size 1G "$bdf"
}

@test "a device without an IOMMU group points to vfio-status" {
	card "$bdf" nvidia
	refused 69 "the IOMMU is off; \`isospin vfio-status $bdf\`" info "$bdf"
}

@test "a device of another driver, or of none, comes with the command that binds it" {
	card "$bdf" nvidia 4711
	refused 69 "its driver is nvidia, not vfio-pci; bind it with \`isospin vfio-bind $bdf\`" \
		info "$bdf"
	card 0000:02:00.0 '' 4711
	refused 69 'its driver is none, not vfio-pci' info 0000:02:00.0
	card 0000:03:00.0 vfio-pci-not 4711
	refused 69 'its driver is vfio-pci-not' info 0000:03:00.0
}

@test "a variant of vfio-pci is as good as vfio-pci" {
	card "$bdf" vfio-pci 2147483647
	refused 69 '/dev/vfio/2147483647: No such file' info "$bdf"
	card 0000:02:00.0 nvgrace-gpu-vfio-pci 2147483647
	refused 69 '/dev/vfio/2147483647: No such file' info 0000:02:00.0
}

@test "a group that is no number is no group" {
	card "$bdf" vfio-pci ../x
	refused 74 'sysfs: Invalid argument' info "$bdf"
}
