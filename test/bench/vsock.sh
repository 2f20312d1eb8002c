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

# Takes the place of qemu_device in lib/vmm/qemu.sh: the VM's name, ours or theirs,
# picks the program that serves its vsock.
take_device()
{
	vmm_load
	qemu_device()
	{
		local name cid socket="$1/vhost.sock" uds="$1/vsock.sock"

		record_read "$1/vm.conf" name=NAME cid=CID
		set -- "$1" vsock-device
		case $name in
		ours) set -- "$@" "$TOP/build/bin/vsock-device" --cid "$cid" --uds "$uds" ;;
		theirs) set -- "$@" "$other" --guest-cid "$cid" --uds-path "$uds" ;;
		esac
		launch_spawn "$@" --socket "$socket" || return
		poll_until 10 test -S "$socket" ||
			fail 69 "no $socket: $(cat "$proc_dir/vms/$name/vsock-device/log")"
	}
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
	local dir cpus mem

	{ accel_choose && vm_claim dir "$1" && vmm_choose worker "$1"; } ||
		die $? "$why"
	conf_get cpus WORKER_CPUS "$1"
	conf_get_bytes mem WORKER_MEM "$1"
	{ boot_describe "$dir" "$1" worker "$2" "$cpus" "$mem" no &&
		boot_take_cid "$dir" && boot_files "$dir"; } || die $? "$why"
	mkdir -- "$dir/echo"
	guest_init >"$dir/echo/init"
	cp -- "$echo" "$dir/echo/"
	chmod 755 "$dir/echo/init"
	image_cpio "$dir/echo" "$dir/echo.cpio"
	cat -- "$dir/echo.cpio" >>"$dir/initrd"
	boot_vm "$dir" 'vsock-echo: ready' || die $? "$why"
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
	opt_conf='' opt_instance=bench
	conf_set_flag VSOCK vhost-user
	conf_set_flag NONFREE no
	vm_init || die $? "$why"
	take_device
	release=$(assets_kernel) || die 66 'no kernel; run: isospin setup demo'
	boot ours "$release"
	boot theirs "$release"
	measure vsock_device_64 64 400 "${1:-21}" 1.1
	measure vsock_device_16k 16384 100 "${1:-21}" 1.1
	[ "$missed" -eq 0 ] || leave 1
}

main "$@"
