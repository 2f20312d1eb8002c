# shellcheck shell=sh
# demo.sh - time the program that isospin demo runs in its workers
#
# The output of the program in the worker NAME, and its time in ns, are in
# $proc_dir/demo/NAME.out and NAME.ns.

use conf proc assets vm

# demo_program VAR GPU-VM: sets VAR to the program that the workers run. If a program of
# ours stands in for NVIDIA's, logs the reason.
demo_program()
{
	local demo_version demo_nonfree demo_reason=NONFREE=no

	vm_get demo_version DRIVER_VERSION "$2"
	conf_get demo_nonfree NONFREE
	base_set "$1" nvidia-smi
	if [ "$demo_nonfree" = yes ]; then
		[ ! -d "$(assets_nvidia_dir "$demo_version")" ] || return 0
		demo_reason=$(assets_nvidia_missing "${demo_version%%.*}") ||
			demo_reason='run isospin setup demo'
	fi
	base_set "$1" isospin-smi
	log_info "no nvidia-smi here ($demo_reason): our own isospin-smi stands in"
}

# demo_run NAME PROGRAM: runs PROGRAM in the worker, and returns its status. Call it in a
# subshell.
demo_run()
{
	local from to rc=0

	trap - EXIT HUP INT TERM
	vm_now from || return
	vm_exec "$1" -- "$2" >"$proc_dir/demo/$1.out" 2>&1 </dev/null || rc=$?
	vm_now to || return
	printf '%s\n' $((to - from)) >"$proc_dir/demo/$1.ns"
	return "$rc"
}

# demo_row TEXT NS: prints a line of the table.
demo_row()
{
	printf '  %-52s %10s\n' "$1" "$(printf '%d.%02d s' $(($2 / 1000000000)) \
		$(($2 / 10000000 % 100)))"
}

# demo_table GPU-VM PROGRAM NS NAME...: prints the times; NS is the whole time.
demo_table()
{
	local gpu="$1" program="$2" total="$3" name ns how

	shift 3
	vm_get how ACCEL "$gpu"
	case $how in
	tcg) how='without KVM (QEMU TCG)' ;;
	*) how="under $how" ;;
	esac
	printf '\nmeasured here, VMs %s:\n' "$how"
	vm_get ns BOOT_NS "$gpu"
	demo_row 'GPU VM: boot to broker ready' "$ns"
	for name; do
		vm_get ns BOOT_NS "$name"
		demo_row "worker $name: boot to shim ready" "$ns"
	done
	for name; do
		read -r ns <"$proc_dir/demo/$name.ns"
		demo_row "worker $name: shim ready, to the end of $program" "$ns"
	done
	demo_row 'all of it' "$total"
	cat <<-EOT

	The soft driver is there at once. A real NVIDIA driver takes some 20 s to
	start; the GPU VM pays that once, a worker never.
	EOT
}

# demo_json GPU-VM PROGRAM NS NAME...: the same as a JSON object.
demo_json()
{
	local gpu="$1" program="$2" total="$3" name boot ns version accel list=''

	shift 3
	for name; do
		vm_get boot BOOT_NS "$name"
		read -r ns <"$proc_dir/demo/$name.ns"
		list=$list$(jq -cn --arg name "$name" --argjson boot "$boot" \
			--argjson smi "$ns" '{name: $name,
			shim_ready_ms: ($boot / 1000000 | round),
			smi_ms: ($smi / 1000000 | round)}')
	done
	vm_get version DRIVER_VERSION "$gpu"
	vm_get accel ACCEL "$gpu"
	vm_get boot BOOT_NS "$gpu"
	printf '%s' "$list" | jq -cs --argjson boot "$boot" --arg smi "$program" \
		--arg version "$version" --arg accel "$accel" \
		--argjson total "$total" '{driver: "soft",
		driver_version: $version, program: $smi, accel: $accel,
		broker_ready_ms: ($boot / 1000000 | round), workers: .,
		total_ms: ($total / 1000000 | round)}'
}
