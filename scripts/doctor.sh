#!/bin/sh
# doctor - say what would fail later, before anything is booted
#
# usage: isospin doctor [-hVv] [-c FILE] [--instance NAME] [--json] [demo|gpu]
#
# Checks this machine for the demo (the soft driver, no GPU needed) or for a GPU
# VM with a real GPU; without either, for the GPU if there is an NVIDIA display
# device. One line for each finding: ok, warn (it works, but; or it could not be
# seen) or fail, and what to do. Changes nothing. Needs no root; as root it sees
# more.
#
#   --json          one JSON object a line
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
#
# Exit status: 0 it would work as far as can be seen; 1 it would fail.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf abi assets doctor doctor_gpu

# check_setup: setup itself says what it would fetch. Sets doctor_no_tool and
# doctor_no_asset, how bad it is that something is missing: the demo begins with
# setup, which installs as root only; a GPU VM takes what is there.
check_setup()
{
	local line rc=0 list='' error='' out warn=''

	doctor_no_tool=fail doctor_no_asset=fail
	set -- -n -v demo
	[ -z "$opt_conf" ] || set -- -c "$opt_conf" "$@"
	out=$(timeout 60 "$TOP/scripts/setup.sh" "$@" 2>&1 >/dev/null </dev/null) ||
		rc=$?
	while IFS= read -r line; do
		case $line in
		'setup: info: missing tool: '*)
			line=${line#*tool: }
			list="$list ${line%% *}" ;;
		'setup: error: '*) error=${line#*error: } ;;
		esac
	done <<-EOT
	$out
	EOT
	if [ "$doctor_target" = demo ] && [ "$rc" -eq 0 ]; then
		doctor_no_asset=warn
		[ "$(id -u)" -ne 0 ] || doctor_no_tool=warn
	fi
	if [ -n "$list" ]; then
		[ "$doctor_target" = demo ] || warn=warn
		doctor_say "${warn:-$doctor_no_tool}" tools "not installed:$list" \
			'sudo isospin setup demo installs them'
	elif [ "$rc" -eq 0 ]; then
		doctor_say ok tools 'all that setup would install is there'
	elif [ "$doctor_target" = demo ]; then
		doctor_say fail tools "setup fails: ${error:-status $rc}"
	else
		doctor_unknown tools "setup cannot say what is missing: ${error:-status $rc}"
	fi
}

# check_programs: NVIDIA's, for the workers of the demo.
check_programs()
{
	local branch version nonfree why

	conf_get nonfree NONFREE
	conf_get branch NVIDIA_BRANCH
	[ "$branch" != auto ] || branch=
	if [ "$nonfree" = no ]; then
		doctor_say ok pair 'isospin-smi stands in for nvidia-smi (NONFREE=no)'
		return 0
	fi
	version=$(assets_nvidia_versions "$branch" | head -n 1)
	if [ -z "$version" ]; then
		why=$(assets_nvidia_missing "${branch:-$(abi_default_branch)}") ||
			why='isospin setup demo fetches it'
		doctor_say warn pair 'no nvidia-smi for the workers: isospin-smi stands in' \
			"$why"
		return 0
	fi
	if [ -n "$(abi_versions "${version%%.*}")" ]; then
		doctor_say ok pair "nvidia-smi $version in the workers, and the soft driver knows branch ${version%%.*}"
		return 0
	fi
	doctor_say fail pair "nvidia-smi is $version, and share/abi has no table of branch ${version%%.*}" \
		'set NVIDIA_BRANCH to another'
}

check_gpu()
{
	doctor_gpu_iommu
	doctor_gpu_remapping
	doctor_gpu_parameters
	doctor_gpu_device
	if [ -n "$doctor_bdf" ]; then
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
	doctor_target=${1:-}
	[ $# -eq 0 ] || shift
	opt_none "$@"
	case $doctor_target in
	'' | demo | gpu) ;;
	*) die 64 "'$doctor_target': demo or gpu" ;;
	esac
	[ "$opt_json" -eq 0 ] || command -v jq >/dev/null ||
		die 69 '--json needs jq; isospin setup demo installs it'
	conf_load "$opt_conf" || die $? "$why"
	assets_init
	if [ -z "$doctor_target" ]; then
		doctor_target=demo
		! doctor_gpu_find >/dev/null || doctor_target=gpu
		log_info "checking for $doctor_target; isospin doctor demo or gpu names one"
	fi
	if [ "$doctor_target" = gpu ]; then
		conf_get_bytes doctor_mem GPU_VM_MEM
	else
		conf_get_bytes doctor_mem GPU_VM_SOFT_MEM
	fi
	check_setup
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
	if [ "$doctor_target" = gpu ]; then
		check_gpu
	else
		check_programs
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
