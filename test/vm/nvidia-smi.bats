#!/usr/bin/env bats
# NVIDIA's unmodified nvidia-smi of both branches in a worker VM, answered through
# the shim, vsock, the bridge and the broker, on a model that is not the default.

load ../lib/common.sh
load ../lib/stack.sh

setup()
{
	stack_new
}

teardown()
{
	stack_end
}

# boot_branch BRANCH [COUNT]: boots VMs with COUNT GPUs (2), whose properties all
# differ from the defaults.
boot_branch()
{
	compgen -G "$TOP/.vm-assets/nvidia/$1.*/nvidia-smi" >/dev/null ||
		skip 'nvidia-smi is not unpacked'
	export ISOSPIN_NVIDIA_BRANCH=$1
	export ISOSPIN_SOFT_GPU_COUNT=${2:-2}
	export ISOSPIN_SOFT_GPU_NAME='Another GPU'
	export ISOSPIN_SOFT_GPU_UUID=GPU-01234567-89ab-cdef-0123-456789abcd00
	export ISOSPIN_SOFT_GPU_MEM=4321M
	export ISOSPIN_SOFT_GPU_BDF=0001:2a:03.0
	export ISOSPIN_SOFT_GPU_TEMP=77
	export ISOSPIN_SOFT_GPU_POWER_MW=123000
	export ISOSPIN_SOFT_GPU_UTIL=42
	stack_boot w1
}

# shows_model BRANCH
shows_model()
{
	boot_branch "$1"

	run -0 --separate-stderr in_worker w1 nvidia-smi -L
	equal "GPU 0: Another GPU (UUID: GPU-01234567-89ab-cdef-0123-456789abcd00)
GPU 1: Another GPU (UUID: GPU-01234567-89ab-cdef-0123-456789abcd01)" "$output"

	# isospin-smi sees the same.
	local list=$output
	run -0 --separate-stderr in_worker w1 isospin-smi -L
	equal "$list" "$output"
	run -0 --separate-stderr in_worker w1 isospin-smi
	has "$output" 00000001:2A:03.0
	has "$output" 4321MiB

	run -0 in_worker w1 nvidia-smi
	has "$output" "Driver Version: $1."
	for text in 'Another GPU' 00000001:2A:03.0 00000001:2B:03.0 4321MiB \
		77C 123W 42% 'No running processes found'; do
		has "$output" "$text"
	done

	run -0 in_worker w1 nvidia-smi -q
	has "$output" "GPU 00000001:2A:03.0"
	has "$output" 'GPU-01234567-89ab-cdef-0123-456789abcd01'
	has "$output" '4321 MiB'
	[[ $output != *'Unknown Error'* ]]

	run -0 --separate-stderr in_worker w1 nvidia-smi --format=csv \
		--query-gpu=index,name,uuid,pci.bus_id,memory.total,driver_version
	has "${lines[0]}" 'index, name, uuid, pci.bus_id, memory.total [MiB]'
	has "${lines[2]}" '1, Another GPU, GPU-01234567-89ab-cdef-0123-456789abcd01, 00000001:2B:03.0, 4321 MiB, '"$1."

	# In the guest, the GPUs are PCI devices and device nodes.
	run -0 --separate-stderr in_worker w1 sh -c \
		'cat /sys/bus/pci/devices/0001:2b:03.0/vendor; ls /dev/nvidia1'
	equal "0x10de
/dev/nvidia1" "$output"
}

@test "nvidia-smi 535 shows the GPUs that the configuration describes" {
	shows_model 535
}

@test "nvidia-smi 550 shows the GPUs that the configuration describes" {
	shows_model 550
}

@test "without a GPU in the model nvidia-smi says that there is none" {
	boot_branch 550 0
	run ! in_worker w1 nvidia-smi
	has "$output" 'No supported GPUs were found'
}
