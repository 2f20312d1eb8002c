#!/bin/sh
# doctor - say what would fail later, before anything is booted
#
# usage: isospin doctor [-hVv] [-c FILE] [--instance NAME] [--json] [demo|gpu]
#
# Checks this machine for the demo (the soft driver, no GPU needed) or for a GPU
# VM with a real GPU; if neither is named, for the GPU if there is an NVIDIA display
# device. Prints one line for each finding: ok, warn (it works with a drawback, or
# cannot be seen) or fail, with what to do. Changes nothing. Needs no root; as root
# it sees more.
#
#   --json          one JSON object a line
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
#
# Exit status: 0 the VMs would work, as far as can be seen; 1 they would not.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf assets doctor doctor_gpu

# check_gpu: runs the checks that only a real GPU needs.
check_gpu()
{
	doctor_gpu_iommu
	doctor_gpu_remapping
	doctor_gpu_parameters
	doctor_gpu_device
	if [ -n "$doctor_gpu_bdf" ]; then
		doctor_gpu_rules
		doctor_gpu_msix
		doctor_gpu_bars
	fi
	doctor_gpu_lockdown
	doctor_gpu_memlock
	doctor_gpu_pair
	doctor_gpu_image
}

work()
{
	local target="${1:-}"

	[ $# -eq 0 ] || shift
	opt_none "$@"
	case $target in
	'' | demo | gpu) ;;
	*) die 64 "'$target': demo or gpu" ;;
	esac
	[ "$opt_json" -eq 0 ] || command -v jq >/dev/null ||
		die 69 '--json needs jq; isospin setup demo installs it'
	conf_load "$opt_conf" || die $? "$why"
	assets_init
	if [ -z "$target" ]; then
		target=demo
		! doctor_gpu_find >/dev/null || target=gpu
		log_info "checking for $target; isospin doctor demo or gpu names one"
	fi
	doctor_begin "$target"
	doctor_tools
	doctor_state
	doctor_disk
	doctor_cpu
	doctor_kvm
	doctor_vmm
	if [ -n "$doctor_vmm_gpu$doctor_vmm_worker" ]; then
		doctor_vsock
		doctor_cids
	fi
	doctor_memory
	doctor_hugepages
	doctor_commands
	doctor_kernel
	doctor_programs
	if [ "$target" = gpu ]; then
		check_gpu
	else
		doctor_pair
	fi
	doctor_end
	leave "$doctor_failed"
}

main()
{
	base_init "$0"
	opt_flags='json instance'
	opt_parse opt_unknown work "$@"
}

main "$@"
