#!/bin/sh
# worker-vm - run a command in a fresh VM that sees the GPU
#
# usage: isospin worker-vm [-hnVv] [-c FILE] [--instance NAME] [--json]
#                          [--name NAME] [--gpu NAME] [--from-snapshot] [--tty]
#                          [-- COMMAND [ARG...]]
#        isospin worker-vm [...] --detach [--owner PID] | --stay
#        isospin worker-vm [...] --fill-pool
#        isospin worker-vm --exec NAME [--tty] [-- COMMAND [ARG...]]
#
# Boots a worker VM, runs COMMAND there with our stdin, stdout and stderr, and
# removes the VM. Without COMMAND, on a terminal: a shell. The status is the
# command's, 126 or 127 if it cannot be run there, 128+n after signal n, and 125
# for a failure of our own. The GPU VM and the bridge must be running.
#
#   --name NAME     its name (the first free of w1, w2, ...)
#   --gpu NAME      the GPU VM that serves it, in the place of GPU_VM
#   --from-snapshot go on from a worker that was booted once and saved, instead of
#                   booting one; makes the snapshot if there is none that fits
#   --tty           give COMMAND a terminal, as the shell has
#   --detach        leave it running; isospin kill-vms stops it
#   --stay          run nothing: show its console until Ctrl-C, which stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --fill-pool     have as many workers ready as WORKER_POOL says, for those who
#                   name none
#   --exec NAME     run COMMAND, or a shell, in a worker that runs
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc assets vmm vm boot snapshot pool

# need_others: the GPU VM and the bridge. A worker without them would wait for
# a link that never comes.
need_others()
{
	local state

	conf_get gpu GPU_VM "$vm_name"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_state state "$gpu"
	[ "$state" = running ] || die 69 "the GPU VM '$gpu' is $state; \
start it: isospin gpu-vm --detach --name $gpu"
	proc_alive bridge ||
		die 69 'the bridge does not run; start it: isospin vsock-bridge --detach'
}

# describe: what the selected worker is, or will be, made of.
describe()
{
	need_others
	vmm_init
	log_debug "$(vmm_said)"
	vmm_kernel "$release"
	conf_get vm_cpus WORKER_CPUS "$vm_name"
	conf_get_bytes vm_mem WORKER_MEM "$vm_name"
	vm_version=
	vm_get vm_version DRIVER_VERSION "$gpu" || :
}

prepare()
{
	local cid snapshot

	if [ -n "$name" ]; then
		vm_select "$name"
		vm_claim "$owner"
	else
		vm_claim_next w "$owner"
	fi
	boot_seconds seconds
	describe
	[ "$fill" -eq 0 ] || fit=$(pool_fit "$release") || leave $?
	vm_initrd=$vm_home/initrd
	conf_get cid WORKER_CID "$vm_name"
	boot_take_cid "$cid"
	conf_get snapshot WORKER_SNAPSHOT "$vm_name"
	boot_start=proc_spawn boot_restored=0 vm_snapshot=
	[ "$snapshot" = no ] || snapshot_prepare "$release"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_note ROLE worker
	vm_note GPU "$gpu"
	vm_note DRIVER_VERSION "$vm_version"
	boot_note "$release"
	if [ "$snapshot" = yes ]; then
		vm_note SNAPSHOT "$snapshot_name"
		boot_secret "$vm_home/agent.secret"
		boot_start=snapshot_open
	else
		boot_conf >"$vm_home/boot.conf"
		boot_initrd "$release"
	fi
}

# register: before the boot, so that the shim's first connection finds the way.
register()
{
	local port caps

	[ "$DRY_RUN" -eq 0 ] || return 0
	conf_get port BROKER_PORT "$vm_name"
	conf_get caps CAPABILITIES "$vm_name"
	boot_register worker <<-EOT
	listen=$(boot_stream_from "$port")
	gpu=$gpu
	caps=$caps
	quota_class=0
	EOT
}

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--gpu)
		opt_need "$@"
		conf_set_flag GPU_VM "$2" || die $? "$why"
		opt_n=2 ;;
	--from-snapshot) conf_set_flag WORKER_SNAPSHOT yes ;;
	--tty) tty=1 ;;
	--detach) detach=1 ;;
	--stay) stay=1 ;;
	--fill-pool) fill=1 ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

wanted()
{
	opt_command "$@"
	[ "$detach$stay" != 11 ] || die 64 '--detach and --stay exclude each other'
	[ "$fill" -eq 0 ] || [ "$detach$stay$DRY_RUN$name" = 000 ] ||
		die 64 '--fill-pool excludes --name, --detach, --stay and --dry-run'
	[ "$detach$stay$fill" = 000 ] || opt_none "$@"
	if [ "$detach$stay$fill$DRY_RUN" = 0000 ] && [ $# -eq 0 ] && ! [ -t 0 ]; then
		die 64 'no terminal for a shell: give a command after --, or --detach'
	fi
}

# start: the worker, up to the moment when commands can run.
start()
{
	local what=booting

	prepare
	register
	[ "$boot_restored" -eq 0 ] || what=restoring
	step_begin "$what worker VM '$vm_name'"
	boot_vm 'isospin: shim ready' "$seconds"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	step_end
}

# take: a worker of the pool, if there is one; its pool is filled again meanwhile.
take()
{
	[ -z "$name" ] && [ "$DRY_RUN" -eq 0 ] && [ "$(pool_wanted)" -gt 0 ] ||
		return 1
	[ -n "$(pool_names)" ] && pool_take describe "$owner" || return 1
	log_info "worker VM '$vm_name' was ready"
	[ "$detach" -eq 1 ] || boot_tie_to "$$"
}

refill()
{
	[ -z "$name" ] && [ "$(pool_wanted)" -gt 0 ] || return 0
	set -- "$TOP/scripts/worker-vm.sh" --fill-pool
	[ -z "$opt_conf" ] || set -- "$@" -c "$opt_conf"
	[ -z "$opt_instance" ] || set -- "$@" --instance "$opt_instance"
	pool_refill "$@"
}

fill_pool()
{
	pool_enter || {
		log_info 'another command is about to fill the pool'
		leave 0
	}
	pool_sweep describe
	vm_kept=1
	while pool_missing; do
		start
		pool_give "$fit"
	done
	leave 0
}

work()
{
	wanted "$@"
	vm_init
	[ -z "$exec_in" ] || vm_pass_through "$exec_in" worker "$@"
	vm_role=worker
	release=$(assets_worker_kernel) || die 66 'no kernel; run: isospin setup demo'
	[ "$fill" -eq 0 ] || fill_pool
	vm_kept=$detach
	take || start
	refill
	[ "$stay" -eq 0 ] || boot_stay 'worker VM'
	[ "$detach" -eq 1 ] || vm_pass_through "$vm_name" worker "$@"
	vm_keep "$owner"
	vm_show "$vm_name"
}

main()
{
	name='' gpu='' tty=0 detach=0 stay=0 owner='' exec_in='' fill=0
	base_init "$0"
	opt_flags='dry-run json instance'
	for word; do
		[ "$word" != -- ] || base_own_status=125
	done
	opt_parse option work "$@"
}

main "$@"
