#!/bin/sh
# chain.sh - compare a worker's RM control with bare bytes on the same way
#
# usage: test/bench/chain.sh [PAIRS]
#
# Boots a GPU VM, the bridge and a worker, and runs rm-bench in the worker. Its
# controls go through shim, vsock-device, bridge and broker. The bare bytes go
# through the same vsock-devices and bridge to an echo in the GPU VM that blocks
# in read(). The bridge knows the echo as a second GPU VM, and the worker's other
# port as a second worker. The machine's other work is not part of the
# comparison: where the kernel permits it, the VMs and the bridge run at real-time
# priority.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

port=9997
name=bench

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance "$name" "$@"
}

# put ROLE VM PROGRAM: copies a test program to /tmp in the VM.
put()
{
	# shellcheck disable=SC2016 # for the VM's shell
	isospin "$1-vm" --exec "$2" -- sh -c 'cat >"$0" && chmod 755 "$0"' \
		"/tmp/$3" <"$TOP/build/static/test/$3"
}

# register FILE: gives the bridge the entry on stdin, at once and whole.
register()
{
	local dir="$run_dir/bridge.d" file="$1"

	cat >"$dir/.$file" && mv -- "$dir/.$file" "$dir/$file"
}

# Sets run_dir to the folder with the state of this instance.
find_run_dir()
{
	run_dir=${ISOSPIN_RUN_DIR:-/run/isospin}
	[ -n "${ISOSPIN_RUN_DIR:-}" ] || [ "$(id -u)" -eq 0 ] ||
		run_dir=${XDG_RUNTIME_DIR:-}/isospin
	run_dir=$run_dir/$name
	[ -S "$run_dir/vms/w1/vsock.sock" ] ||
		die 69 'w1 has no vsock-device: set VSOCK=vhost-user'
}

# Gives the VMs, their vsock-devices and the bridge real-time priority.
go_first()
{
	local file pid start pids

	for file in "$run_dir"/vms/*/*/pid "$run_dir/bridge/pid"; do
		read -r pid start <"$file" || return
		pids=
		# The line has no newline, which read reports as a failure.
		read -r pids <"/proc/$pid/task/$pid/children" || :
		for pid in "$pid" $pids; do
			chrt --all-tasks --rr --pid 1 "$pid" 2>/dev/null ||
				return
		done
	done
}

main()
{
	base_init bench
	export ISOSPIN_VSOCK=vhost-user
	on_exit isospin kill-vms
	isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	isospin worker-vm --name w1 --detach >&2
	find_run_dir
	put gpu gpu0 vsock-echo
	put worker w1 rm-bench
	isospin gpu-vm --exec gpu0 -- sh -c "/tmp/vsock-echo serve \
		vsock:any:$port --ident </dev/null >/dev/null 2>&1 &"
	register echo.gpu <<-EOT
	connect=hybrid:$run_dir/vms/gpu0/vsock.sock:$port
	secret_file=$run_dir/vms/gpu0/broker.secret
	EOT
	register echo.worker <<-EOT
	listen=unix:$run_dir/vms/w1/vsock.sock_$port
	gpu=echo
	caps=
	EOT
	go_first || log_warn 'no real-time priority: other work disturbs the numbers'
	isospin worker-vm --exec w1 -- /tmp/rm-bench "vsock:2:$port" \
		"${1:-101}" || leave $?
}

main "$@"
