# shellcheck shell=sh
# worker.sh - bring worker VMs up
#
# DIR is the VM's directory, see vm.sh. A function that fails sets why.

use conf record proc accel assets vmm vm launch boot bridge snapshot pool

worker_kept=no
# yes if the worker is for the pool.
worker_pooled=no

# worker_describe DIR NAME: writes the record of the worker NAME as it would be made now.
# worker_kept says whether it outlives this command.
worker_describe()
{
	local gpu version='' snapshot release cpus mem

	conf_get gpu GPU_VM "$2"
	worker_need "$gpu" || return
	release=$(assets_worker_kernel) ||
		fail 66 'no kernel; run: isospin setup demo' || return
	accel_choose && vmm_choose worker "$2" || return
	log_debug "$(vmm_said)"
	conf_get cpus WORKER_CPUS "$2"
	conf_get_bytes mem WORKER_MEM "$2"
	vm_get version DRIVER_VERSION "$gpu" || :
	boot_describe "$1" "$2" worker "$release" "$cpus" "$mem" "$worker_kept" \
		GPU "$gpu" DRIVER_VERSION "$version"
}

# worker_need GPU-VM: 69 without that VM or the bridge: the worker would wait for a link
# that never comes.
worker_need()
{
	local state

	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_state state "$1"
	[ "$state" = running ] || fail 69 "the GPU VM '$1' is $state; \
start it: isospin gpu-vm --detach --name $1" || return
	proc_alive bridge || fail 69 \
		'the bridge does not run; start it: isospin vsock-bridge --detach'
}

# worker_prepare DIR NAME: writes the record, finds or makes the snapshot that is
# wanted, and makes the files that the worker boots from. The bridge is told before the
# boot, so that the shim's first connection finds the way.
worker_prepare()
{
	local snapshot fit

	worker_describe "$1" "$2" || return
	# Before the worker is made: an input that changes meanwhile makes it one of
	# another kind.
	if [ "$worker_pooled" = yes ]; then
		pool_fit fit "$1" && record_add "$1/vm.conf" FIT "$fit" || return
	fi
	conf_get snapshot WORKER_SNAPSHOT "$2"
	[ "$snapshot" = no ] || snapshot_prepare "$1" || return
	boot_take_cid "$1" || return
	[ "$DRY_RUN" -eq 0 ] || return 0
	vmm_place "$1" || return
	if [ "$snapshot" = yes ]; then
		boot_secret "$1/agent.secret" || return
	else
		boot_files "$1" || return
	fi
	worker_register "$1" "$2"
}

worker_register()
{
	local port gpu caps

	record_read "$1/vm.conf" port=BROKER_PORT gpu=GPU
	conf_get caps CAPABILITIES "$2"
	bridge_register "$2" worker <<-EOT
	listen=$(boot_stream_from "$1" "$port")
	gpu=$gpu
	caps=$caps
	quota_class=0
	EOT
}

# worker_start VAR NAME OWNER: starts the worker NAME, or if that is empty one of the
# next free name, up to the moment when commands can run. Sets VAR to its name. With
# --dry-run the commands are printed.
worker_start()
{
	local worker_dir worker_name="$2" worker_restore worker_what=booting

	if [ -n "$2" ]; then
		vm_claim worker_dir "$2" "$3" || return
	else
		vm_claim_next worker_dir worker_name w "$3" || return
	fi
	worker_prepare "$worker_dir" "$worker_name" || return
	record_get worker_restore "$worker_dir/vm.conf" RESTORE || :
	[ "$worker_restore" != yes ] || worker_what=restoring
	step_begin "$worker_what worker VM '$worker_name'"
	boot_vm "$worker_dir" 'isospin: state=shim-ready' || {
		set -- "$1" $? "$why"
		# A full disk is no fault of the snapshot.
		[ "$2" -ne 69 ] || snapshot_give_up "$worker_dir"
		fail "$2" "$3" || return
	}
	base_set "$1" "$worker_name"
	[ "$DRY_RUN" -eq 0 ] || return 0
	step_end
}

# worker_take VAR OWNER: sets VAR to the name of a pooled worker, which is ours now. 1 if
# there is none.
worker_take()
{
	local worker_found

	[ "$DRY_RUN" -eq 0 ] && [ "$(pool_wanted)" -gt 0 ] &&
		[ -n "$(pool_names)" ] || return 1
	pool_take worker_found worker_describe "$2" || return
	log_info "worker VM '$worker_found' was ready"
	[ "$worker_kept" = yes ] || launch_tie "$proc_dir/vms/$worker_found" "$$"
	base_set "$1" "$worker_found"
}

# worker_fill_pool: has as many workers ready as WORKER_POOL says. 1 if another command
# is about to do so.
worker_fill_pool()
{
	local name fit

	pool_enter || return
	pool_sweep worker_describe || return
	worker_kept=yes worker_pooled=yes
	while pool_missing; do
		worker_start name '' '' || return
		vm_get fit FIT "$name" || :
		pool_give "$name" "$fit" || return
	done
}
