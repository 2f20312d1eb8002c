#!/usr/bin/env bats
# A lab whose kernel has the IOMMU switched off.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	isospin lab --name plain --append intel_iommu=off --detach
}

teardown_file()
{
	stack_end
}

in_lab()
{
	isospin lab --exec plain -- "$@"
}

# files: prints everything that vfio-bind would change or make.
files()
{
	in_lab sh -c 'cd /sys/bus/pci/devices
		ls -l */driver | sed "s/.* \([^ ]* -> \)/\1/"
		grep . */driver_override */power/control */d3cold_allowed
		find /run/isospin /etc/driverctl.d /etc/udev/rules.d -type f \
			! -name lock 2>/dev/null || :'
}

@test "IOMMU off: the reason and the remedy are those of this machine" {
	why="intel_iommu=off is on the kernel's command line"
	run -1 --separate-stderr in_lab scripts/vfio-status.sh 00:05.0
	has "$output" "IOMMU off: $why"
	has "$output" '0000:00:05.0 1b36:0010 class 010802: blocked'
	has "$output" 'group    none'
	has "$output" "error    iommu_off: the IOMMU is off: $why"
	has "$output" "-> take intel_iommu=off from the kernel's command line and reboot"
	run -1 --separate-stderr in_lab scripts/doctor.sh gpu
	has "$output" "fail  iommu: off: $why"
}

@test "without an IOMMU nothing is written" {
	before=$(files)
	has "$before" nvme
	run -69 --separate-stderr in_lab scripts/vfio-bind.sh --persist --force 00:05.0
	equal '' "$output"
	has "$stderr" 'the IOMMU is off: intel_iommu=off is'
	has "$stderr" 'nothing was changed'
	equal "$before" "$(files)"
}
