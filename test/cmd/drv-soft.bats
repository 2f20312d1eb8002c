#!/usr/bin/env bats
# NVIDIA's unmodified nvidia-smi on the soft driver, without a VM, in every version
# that isospin setup has unpacked.

load ../lib/common.sh

setup()
{
	versions=()
	for dir in "$TOP"/.vm-assets/nvidia/[0-9]*/; do
		[ ! -x "$dir/nvidia-smi" ] || versions+=("$(basename "$dir")")
	done
	[ "${#versions[@]}" -gt 0 ] || skip 'nvidia-smi is not unpacked'
}

# smi VERSION ARG...: runs nvidia-smi on the model that SOFT_* describe.
smi()
{
	local dir=$TOP/.vm-assets/nvidia/$1

	SOFT_VERSION=$1 LD_LIBRARY_PATH=$dir/lib \
		LD_PRELOAD=$TOP/build/test/soft-preload.so \
		timeout 20 "$dir/nvidia-smi" "${@:2}"
}

@test "nvidia-smi -L lists as many GPUs as the model has, UUIDs counting on" {
	for v in "${versions[@]}"; do
		SOFT_COUNT=3 SOFT_NAME='Any Name' run -0 smi "$v" -L
		[ "${#lines[@]}" = 3 ]
		equal 'GPU 2: Any Name (UUID: GPU-49534f53-5049-4e00-0000-000000000002)' \
			"${lines[2]}"
	done
}

@test "nvidia-smi says that there is no GPU when the model has none" {
	for v in "${versions[@]}"; do
		SOFT_COUNT=0 run ! smi "$v" -L
		[[ $output != *'GPU 0'* ]]
	done
}

@test "nvidia-smi's table shows name, bus, memory, temperature, power, load" {
	for v in "${versions[@]}"; do
		SOFT_NAME='Table GPU' SOFT_MEM_MIB=4321 SOFT_BUS=0x2a \
			SOFT_TEMP=77 SOFT_POWER_MW=123456 SOFT_UTIL=42 \
			run -0 smi "$v"
		has "$output" "Driver Version: $v"
		has "$output" 'Table GPU'
		has "$output" '00000000:2A:00.0'
		has "$output" '4321MiB'
		has "$output" '77C'
		has "$output" '123W'
		has "$output" '42%'
		has "$output" 'No running processes found'
	done
}

@test "nvidia-smi -q runs to its end without an unknown error" {
	for v in "${versions[@]}"; do
		SOFT_TEMP=66 run -0 smi "$v" -q
		has "$output" 'GPU Current Temp                  : 66 C'
		has "$output" 'Processes                             : None'
		[[ $output != *'Unknown Error'* ]]
	done
}

@test "nvidia-smi --query-gpu gives the model's numbers as csv" {
	for v in "${versions[@]}"; do
		SOFT_MEM_MIB=2048 SOFT_UTIL=7 run -0 smi "$v" --format=csv,noheader \
			--query-gpu=name,uuid,memory.total,memory.free,temperature.gpu,utilization.gpu,power.draw,driver_version
		equal "Isospin Soft GPU, GPU-49534f53-5049-4e00-0000-000000000000, 2048 MiB, 2048 MiB, 35, 7 %, 50.00 W, $v" \
			"$output"
	done
}

@test "nvidia-smi of another version is refused, as by the real driver" {
	for v in "${versions[@]}"; do
		dir=$TOP/.vm-assets/nvidia/$v
		SOFT_VERSION=${v%.*}.99 LD_LIBRARY_PATH=$dir/lib \
			LD_PRELOAD=$TOP/build/test/soft-preload.so \
			run ! timeout 20 "$dir/nvidia-smi" -L
		has "$output" 'Driver/library version mismatch'
	done
}
