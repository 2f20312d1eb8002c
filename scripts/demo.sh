#!/bin/sh
# demo - NVIDIA's nvidia-smi in two worker VMs, from nothing
#
# usage: isospin demo [-hVv] [-c FILE] [--instance NAME] [--json] [--keep]
#                     [--nvidia BRANCH] [--no-nonfree] [--workers N]
#
# Fetches missing tools, kernels and programs, builds, boots a GPU VM with the soft
# driver, the bridge and two workers side by side, runs nvidia-smi in each, shows the
# times that it measured, and removes the VMs. Needs no GPU and no KVM.
#
#   --keep          leave it running, and say how to go on
#   --nvidia BRANCH which of NVIDIA's programs the workers run (NVIDIA_BRANCH)
#   --no-nonfree    without them: our own isospin-smi stands in
#   --workers N     this many workers (2)
#   --json          the times, as one object; all else on stderr
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc abi assets launch vm bridge demo

gpu=gpu0

# child COMMAND [ARG...]: runs one of our commands so that a signal ends both.
child()
{
	base_hold
	"$@" &
	child_pid=$!
	base_go
	await_child "$child_pid"
}

await_child()
{
	local rc=0

	wait "$1" || rc=$?
	child_pid=
	return "$rc"
}

stop_child()
{
	[ -n "$child_pid" ] || return 0
	kill -TERM "$child_pid" 2>/dev/null || return 0
	wait "$child_pid" || :
}

# common TAKES NAME ARG...: calls one of our commands with the flags that we were given.
common()
{
	local takes="$1" cmd="$2"

	shift 2
	opt_pass "$takes" child "$TOP/scripts/$cmd.sh" @ "$@"
}

set_up()
{
	set -- demo
	[ "$nonfree" = yes ] || set -- --no-nonfree "$@"
	common '' setup "$@" || die "$?" \
		'setting up failed, see above; isospin setup demo tries again'
}

# build: brings the checkout's programs and kernel module up to date, under sudo as the
# calling user. An installed isospin lacks only the kernel module.
build()
{
	local release log

	release=$(assets_worker_kernel) || die 66 'no kernel; run: isospin setup demo'
	log=$proc_dir/demo/build.log
	step_begin 'building what is out of date'
	if [ -n "$paths_source" ]; then
		set -- make -C "$paths_source" -s -j "$(nproc)" all \
			"build/kmod/$release/nvidia-shim.ko"
	else
		set -- "$TOP/scripts/build.sh" @ nvidia-shim
	fi
	if base_sudo_user; then
		set -- setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups "$@"
	fi
	if ! opt_pass '' child "$@" >"$log" 2>&1; then
		step_stop
		log_error "last lines of $log:"
		tail -n "$launch_lines" -- "$log" | vm_printable >&2
		die 69 'the build failed, see above'
	fi
	step_end
}

# claim: makes sure that no other demo and no other VM runs in this instance.
claim()
{
	local pid name

	{ proc_room && vm_lock; } || die $? "$why"
	proc_pid pid demo && die 75 "another demo runs here (pid $pid); wait for \
it, or use a set of VMs of its own: isospin demo --instance demo2"
	vm_sweep
	bridge_sweep || die $? "$why"
	for name in $(vm_names); do
		die 75 "VM '$name' runs here; stop it: isospin kill-vms, or use \
another set of VMs: isospin demo --instance demo2"
	done
	on_exit release
	proc_record demo "$$" || die $? "$why"
	proc_unlock
}

release()
{
	local name

	proc_unlock
	if [ "$kept" -eq 0 ]; then
		for name in $names; do
			vm_remove "$name" || log_warn "$why"
		done
		bridge_remove || log_warn "$why"
		vm_remove "$gpu" || log_warn "$why"
	fi
	rm -rf -- "$proc_dir/demo"
}

# boot_workers: boots all workers side by side.
boot_workers()
{
	local name pids='' pid rc=0

	for name in $names; do
		base_hold
		opt_pass instance exec "$TOP/scripts/worker-vm.sh" @ --name "$name" \
			--detach --owner "$$" >/dev/null &
		pids="$pids $!"
		on_exit stop_pid "$!"
		base_go
	done
	for pid in $pids; do
		wait "$pid" || rc=$?
	done
	[ "$rc" -eq 0 ] || die "$rc" 'a worker did not start, see above'
}

# stop_pid PID: ends a child of ours, if it still runs.
stop_pid()
{
	kill -TERM "$1" 2>/dev/null || return 0
	wait "$1" || :
}

# run_smi: runs nvidia-smi, or isospin-smi, in all workers at the same time.
run_smi()
{
	local name pids='' pid rc=0

	for name in $names; do
		demo_run "$name" "$smi" &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || rc=$?
	done
	for name in $names; do
		log_info "$smi in worker $name:"
		vm_printable <"$proc_dir/demo/$name.out" >&3
	done
	[ "$rc" -eq 0 ] || die 69 "$smi failed with status $rc"
}

# show_children: shows the broker's processes, as the GPU VM itself lists them.
show_children()
{
	local list

	list=$(vm_exec "$gpu" -- ps -o pid,user,args </dev/null |
		grep '[g]pu-broker') || die 69 "no gpu-broker in VM '$gpu'"
	log_info 'the broker in the GPU VM, one child with a user of its own a worker:'
	printf '%s\n' "$list" | vm_printable | sed 's/^/  /' >&3
}

# uptime_ns VAR: sets VAR to the nanoseconds since boot, to a hundredth of a second. It
# needs no program of ours, so it works before anything is built.
uptime_ns()
{
	local up rest

	read -r up rest </proc/uptime
	base_set "$1" "${up%.*}${up#*.}0000000"
}

keep()
{
	local name

	for name in "$gpu" $names; do
		vm_keep "$name" || die $? "$why"
	done
	bridge_keep || die $? "$why"
	kept=1
	set -- "${opt_instance:+ --instance $opt_instance}"
	log_info "it goes on running: $me worker-vm$1 --exec w1 -- $smi"
	log_info "a new worker: $me worker-vm$1 -- $smi -L"
	log_info "to stop it: $me kill-vms$1"
}

# what_to_type VAR: sets VAR to the words by which the user called isospin.
what_to_type()
{
	set -- "$1" "$paths_command"
	[ "$PWD" != "$TOP" ] || set -- "$1" ./bin/isospin
	base_set "$1" "${SUDO_UID:+sudo }$2"
}

option()
{
	case $1 in
	--keep) keep=1 ;;
	--nvidia)
		opt_need "$@"
		conf_set_flag NVIDIA_BRANCH "$2" || die $? "$why"
		asked=$2
		opt_n=2 ;;
	--no-nonfree)
		conf_set_flag NONFREE no
		export ISOSPIN_NONFREE=no ;;
	--workers)
		opt_need "$@"
		case $2 in
		[1-9] | 1[0-6]) workers=$2 ;;
		*) die 64 "--workers: '$2': 1 to 16" ;;
		esac
		opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	opt_none "$@"
	exec 3>&1
	[ "$opt_json" -eq 0 ] || exec 3>&2
	for n in $(seq "$workers"); do
		names="$names w$n"
	done
	conf_load "$opt_conf" || die $? "$why"
	conf_get nonfree NONFREE
	# For the commands that we run. conf_load has checked it as a flag.
	[ -z "$asked" ] || export ISOSPIN_NVIDIA_BRANCH="$asked"
	proc_init "$opt_instance" || die $? "$why"
	assets_init
	uptime_ns began
	claim
	# Registered after claim, so it runs first: a child that still ran could start
	# more VMs while the others are removed.
	on_exit stop_child
	set_up
	build
	common instance gpu-vm --name "$gpu" --driver soft --detach --owner "$$" >/dev/null ||
		die "$?" 'the GPU VM did not start, see above'
	common instance vsock-bridge --detach --owner "$$" ||
		die "$?" 'the bridge did not start, see above'
	demo_program smi "$gpu"
	boot_workers
	run_smi
	show_children
	uptime_ns now
	# shellcheck disable=SC2086 # a list of names
	if [ "$opt_json" -eq 1 ]; then
		demo_json "$gpu" "$smi" $((now - began)) $names
	else
		demo_table "$gpu" "$smi" $((now - began)) $names
	fi
	what_to_type me
	if [ "$keep" -eq 1 ]; then
		keep
	else
		log_info "$smi ran in $workers workers; stopping the VMs" \
			"($me demo --keep leaves them running)"
	fi
}

main()
{
	keep=0 workers=2 names='' kept=0 child_pid='' asked=''
	base_init "$0"
	opt_flags='json instance'
	opt_parse option work "$@"
}

main "$@"
