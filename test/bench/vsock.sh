#!/bin/sh
# vsock.sh - compare vsock-device with vhost-device-vsock
#
# usage: test/bench/vsock.sh [PAIRS]
#
# Boots two VMs that differ only in the program that serves their vsock, and in
# which nothing runs but an echo. The host sends messages of 64 bytes and of 16 KiB
# to the two echoes in turn, through the Unix sockets of the two programs. There
# are no larger messages, since vhost-device-vsock hangs when a guest sends 64 KiB
# at once. The benchmark is skipped where vhost-device-vsock is not on PATH.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/test/lib/vm.sh"

port=9997
echo=$TOP/build/static/test/vsock-echo

# Takes the place of boot_device in lib/vm/boot.sh: the VM's name, ours or theirs,
# picks the program that serves its vsock.
boot_device()
{
	local socket="$vm_home/vhost.sock" uds="$vm_home/vsock.sock"

	set -- "$vm_key/vsock-device"
	case $vm_name in
	ours) set -- "$@" "$TOP/build/bin/vsock-device" --cid "$vm_cid" --uds "$uds" ;;
	theirs) set -- "$@" "$other" --guest-cid "$vm_cid" --uds-path "$uds" ;;
	esac
	proc_spawn "$@" --socket "$socket"
	poll_until 10 test -S "$socket" ||
		die 69 "no $socket: $(cat "$vm_home/vsock-device/log")"
}

# Prints /init of the two VMs.
guest_init()
{
	cat <<-EOT
	#!/bin/busybox sh
	/bin/busybox mount -t devtmpfs dev /dev
	exec </dev/null >/dev/console 2>&1
	while read -r file shim; do
		[ "\$shim" ] || /bin/busybox insmod "/isospin/\$file"
	done </isospin/modules
	exec /vsock-echo serve vsock:any:$port
	EOT
}

# boot NAME RELEASE: boots that VM with the kernel of that release.
boot()
{
	vm_select "$1"
	vm_claim
	vmm_init
	vmm_kernel "$2"
	vm_initrd=$vm_home/initrd
	conf_get vm_cpus WORKER_CPUS "$vm_name"
	conf_get_bytes vm_mem WORKER_MEM "$vm_name"
	boot_take_cid 100
	boot_note "$2"
	boot_conf >"$vm_home/boot.conf"
	boot_initrd "$2"
	mkdir -- "$vm_home/echo"
	guest_init >"$vm_home/echo/init"
	cp -- "$echo" "$vm_home/echo/"
	chmod 755 "$vm_home/echo/init"
	image_cpio "$vm_home/echo" "$vm_home/echo.cpio"
	cat -- "$vm_home/echo.cpio" >>"$vm_initrd"
	boot_vm 'vsock-echo: ready' 180
}

# round_trip NAME BYTES COUNT: prints the median of a message's way there and back,
# in nanoseconds.
round_trip()
{
	timeout 120 "$echo" connect "hybrid:$proc_dir/vms/$1/vsock.sock:$port" \
		--size "$2" --count "$3" --json | jq .p50_ns
}

# measure NAME BYTES COUNT PAIRS LIMIT: prints the comparison of one size; sets
# missed if it is past its limit.
measure()
{
	local pairs='' n=0 ours theirs said

	while [ "$n" -lt "$4" ]; do
		if [ $((n % 2)) -eq 0 ]; then
			ours=$(round_trip ours "$2" "$3")
			theirs=$(round_trip theirs "$2" "$3")
		else
			theirs=$(round_trip theirs "$2" "$3")
			ours=$(round_trip ours "$2" "$3")
		fi
		pairs="$pairs$ours $theirs$base_nl"
		n=$((n + 1))
	done
	said=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench "$1" --arg ours vsock_device_ns \
		--arg theirs vhost_device_vsock_ns --argjson at_most "$5")
	printf '%s\n' "$said"
	case $said in
	*'"kept":false'*) missed=1 ;;
	esac
}

main()
{
	local release missed=0

	base_init bench
	other=$(command -v vhost-device-vsock) || {
		printf '{"bench":"vsock_device","skipped":"%s"}\n' \
			'vhost-device-vsock is not on PATH'
		leave 0
	}
	opt_conf='' opt_instance=bench vm_role=worker vm_kept=0 vm_version=''
	conf_set_flag VSOCK vhost-user
	conf_set_flag NONFREE no
	vm_init
	release=$(assets_kernel) || die 66 'no kernel; run: isospin setup demo'
	boot ours "$release"
	boot theirs "$release"
	measure vsock_device_64 64 400 "${1:-21}" 1.1
	measure vsock_device_16k 16384 100 "${1:-21}" 1.1
	[ "$missed" -eq 0 ] || leave 1
}

main "$@"
