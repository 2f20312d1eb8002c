#!/bin/sh
# lab - a machine with an IOMMU and cards to try VFIO on
#
# usage: isospin lab [-hnVv] [-c FILE] [--instance NAME] [--json]
#                    [--name NAME] [--disk FILE] [--append WORDS] [--tty]
#                    [-- COMMAND [ARG...]]
#        isospin lab [...] --detach [--owner PID]
#        isospin lab --exec NAME [--tty] [-- COMMAND [ARG...]]
#
# Boots a Debian in QEMU, without KVM, with VFIO, nested virtualization and cards
# that stand in for GPUs, and this checkout as it is now in /isospin. There runs
# COMMAND as root with our stdin, stdout and stderr, and the machine is removed.
# Without COMMAND, on a terminal: a shell. The status is the command's, 126 or
# 127 if it cannot be run there, 128+n after signal n, and 125 for a failure of
# our own. Needs neither root nor KVM; isospin setup lab fetches it.
#
#   --name NAME     its name (the first free of lab1, lab2, ...)
#   --disk FILE     keep what is written outside of /isospin in FILE, made if it
#                   is not there
#   --append WORDS  add WORDS to the kernel's command line
#   --tty           give COMMAND a terminal, as the shell has
#   --detach        leave it running; isospin kill-vms stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --exec NAME     run COMMAND, or a shell, in a lab that runs
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf disk vmm vm boot lab

prepare()
{
	local cid

	lab_init
	if [ -n "$name" ]; then
		vm_select "$name"
		vm_claim "$owner"
	else
		vm_claim_next lab "$owner"
	fi
	vmm_init
	vmm_kernel "$lab_release"
	vm_initrd=$vm_home/initrd
	conf_get vm_cpus LAB_CPUS "$vm_name"
	conf_get_bytes vm_mem LAB_MEM "$vm_name"
	if [ -n "$lab_vmms" ]; then
		[ "$vm_cpus" -ge 2 ] || vm_cpus=2
		[ "$vm_mem" -ge 4294967296 ] || vm_mem=4294967296
	fi
	conf_get cid WORKER_CID "$vm_name"
	boot_take_cid "$cid"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vm_note ROLE lab
	boot_note "$lab_release"
	boot_conf >"$vm_home/boot.conf"
	boot_initrd "$lab_release"
	lab_checkout "$vm_home/checkout.img" ||
		die 74 "$vm_home/checkout.img: cannot be made; is the disk full?"
	[ -z "$lab_disk" ] || [ -e "$lab_disk" ] || lab_disk_new
}

lab_disk_new()
{
	disk_empty "$lab_disk" "$lab_disk_mib" ||
		die 74 "$lab_disk: cannot be made; is the disk full?"
	base_owner_fix "$lab_disk"
}

# up: the agent answers; share/lab/up makes it the lab.
up()
{
	vm_exec "$vm_name" -- sh /mnt/share/lab/up >"$vm_home/up.log" 2>&1 \
		</dev/null || boot_explain $? 'its drivers were loaded' up.log \
		"see isospin logs $vm_name"
}

# keep_disk: to end the machine is to cut its power.
keep_disk()
{
	vm_exec_how=''
	vm_exec "$vm_name" -- sync </dev/null
}

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--disk) opt_need "$@"; lab_disk=$2 opt_n=2 ;;
	--append) opt_need "$@"; append=$2 opt_n=2 ;;
	--tty) tty=1 ;;
	--detach) detach=1 ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

wanted()
{
	opt_command "$@"
	[ "$detach" -eq 0 ] || opt_none "$@"
	if [ "$detach$DRY_RUN" = 00 ] && [ $# -eq 0 ] && ! [ -t 0 ]; then
		die 64 'no terminal for a shell: give a command after --, or --detach'
	fi
}

work()
{
	wanted "$@"
	# What the lab is for must be the same on any machine.
	conf_set_flag ACCEL tcg
	vm_init
	vm_cwd=$lab_top
	vm_shell=/bin/bash
	[ -z "$exec_in" ] || vm_pass_through "$exec_in" lab "$@"
	vm_role=lab
	vm_kept=$detach
	# On a busy machine the timer seems not to work, a panic where
	# interrupts are remapped.
	vm_append="intel_iommu=on no_timer_check${append:+ $append}"
	qemu_cpu=EPYC,+svm
	boot_start=lab_start
	boot_log_max=unlimited
	prepare
	boot_seconds seconds
	step_begin "booting lab '$vm_name'"
	boot_vm 'isospin: agent ready' "$seconds"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	up
	step_end
	[ -z "$lab_disk" ] || [ "$detach" -eq 1 ] || on_exit keep_disk
	[ "$detach" -eq 1 ] || vm_pass_through "$vm_name" lab "$@"
	vm_keep "$owner"
	vm_show "$vm_name"
}

main()
{
	name='' lab_disk='' append='' tty=0 detach=0 owner='' exec_in=''
	base_init "$0"
	opt_flags='dry-run json instance'
	for word; do
		[ "$word" != -- ] || base_own_status=125
	done
	opt_parse option work "$@"
}

main "$@"
