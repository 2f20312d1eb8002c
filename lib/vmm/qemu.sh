# shellcheck shell=sh
# qemu.sh - the back end of QEMU; vmm.sh explains its functions
#
# A lab may have another QEMU and another processor than the other VMs: QEMU, QEMU_RUN
# (how the VMM's process reaches it) and CPU_MODEL of its record say so.

use record poll proc accel assets image launch

# Without KVM; see qemu_vm.
qemu_cpu=max,la57=off
qemu_cpu_off=,cx16=off,erms=off,fsrm=off

qemu_about()
{
	cat <<-'EOT'
	NAME=qemu
	ROLES=gpu worker lab
	CAPS=disk devices hugepages snapshot
	FIRST=
	PROGRAM=qemu-system-x86_64
	SETUP=yes
	KVM=no
	EOT
}

qemu_init()
{
	local text

	command -v "$accel_qemu" >/dev/null ||
		fail 69 "$accel_qemu is not installed; run: isospin setup" || return
	text=$(timeout 10 "$accel_qemu" --version 2>&1) ||
		fail 69 "QEMU does not start: ${text%%"$base_nl"*}; install it again" ||
		return
	text=${text%%"$base_nl"*}
	case $text in
	*' emulator version '*)
		text="${text%% emulator version *} ${text#* emulator version }" ;;
	esac
	accel_choose_vsock
	vmm_record="${vmm_record}VMM_TEXT=$text${base_nl}VSOCK=$accel_vsock
VSOCK_WHY=$accel_vsock_why$base_nl"
}

# qemu_is_old [PROGRAM]: whether QEMU is older than 8.1, as that of Debian 12 is.
qemu_is_old()
{
	case $("${1:-$accel_qemu}" --version) in
	*' version '[1-7].* | *' version 8.0.'*) ;;
	*) return 1 ;;
	esac
}

# qemu_kernel VAR RELEASE ROLE: without KVM it is the unpacked one, which starts in
# half the time, at the one address it was linked for.
qemu_kernel()
{
	base_set "$1" "$(assets_kernel_dir "$2")/vmlinuz"
	[ "$accel_kind" = tcg ] && [ "$DRY_RUN" -eq 0 ] || return 0
	# With it and a small initrd the microvm of QEMU 10.0 shows no ACPI
	# tables to the guest, so no virtio-mmio either; that of 7.2 does.
	if [ "$3" = worker ] && ! qemu_is_old; then return 0; fi
	if image_kernel "$2"; then base_set "$1" "$image_file"; fi
}

qemu_place() { :; }

qemu_start()
{
	local vsock

	record_get vsock "$1/vm.conf" VSOCK || :
	[ "$vsock" = vhost ] || qemu_device "$1" || return
	qemu_vm "$1" launch_vmm "$1"
}

# qemu_device DIR: starts the vsock of a guest where the host has none.
qemu_device()
{
	local home cid device rc=0

	record_read "$1/vm.conf" home=DIR cid=CID
	proc_tool device vsock-device || return
	launch_spawn "$1" vsock-device "$device" --socket "$home/vhost.sock" \
		--uds "$home/vsock.sock" --cid "$cid" || rc=$?
	[ "$DRY_RUN" -eq 0 ] || return 0
	[ "$rc" -ne 0 ] || launch_await "$1" vsock-device vsock-device/log \
		'vsock-device: info: state=ready' 10 || rc=$?
	[ "$rc" -eq 0 ] || launch_failed "$rc" "$1" 'its vsock was there' \
		vsock-device/log
}

# qemu_ready: ties the VM to its vsock-device. A guest whose vsock-device has ended hears
# nothing any more, and QEMU never starts another (chardev `reconnect` does not serve
# vhost-user-vsock).
qemu_ready()
{
	local name vsock device

	record_read "$1/vm.conf" name=NAME vsock=VSOCK
	[ "$vsock" != vhost ] || return 0
	! proc_pid device "vms/$name/vsock-device" || launch_tie "$1" "$device"
}

qemu_saves()
{
	local vsock reason

	record_read "$1/vm.conf" vsock=VSOCK reason=VSOCK_WHY
	[ "$vsock" = vhost ] || fail 69 "a worker of QEMU cannot start from a \
snapshot here: QEMU saves no guest whose vsock is vhost-user, and this one's is \
($reason); with /dev/vhost-vsock (VSOCK=vhost) it can"
}

# qemu_key: prints QEMU's version and file, and the command line of a VM without a name,
# paths and size of its own.
qemu_key()
{
	local text draft rc=0

	record_get text "$1/vm.conf" VMM_TEXT
	printf '%s\n' "$text"
	launch_file "$accel_qemu"
	draft=$(mktemp -d) ||
		fail 74 'a temporary directory cannot be made; is the disk full?' ||
		return
	record_derive "$1/vm.conf" "$draft/vm.conf" NAME - CID - DIR - CPUS - MEM 0 \
		KERNEL_FILE - SNAPSHOT_DIR '' RESTORE '' &&
		qemu_vm "$draft" printf '%s\n' || rc=$?
	rm -rf -- "$draft"
	return "$rc"
}

# qemu_snapshot: writes the whole VM to the state; its memory is no file of its own. QEMU
# itself pauses the VM to write the rest: if the VM had been paused before, its clones
# would stay paused.
qemu_snapshot()
{
	local to name

	record_read "$1/vm.conf" name=NAME to=SNAPSHOT_DIR
	qemu_qmp "$1" --pass "$to/state" \
		'{"execute":"getfd","arguments":{"fdname":"state"}}' \
		'{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1099511627776}}' \
		'{"execute":"migrate","arguments":{"uri":"fd:state"}}' || return
	[ "$DRY_RUN" -eq 0 ] || return 0
	poll_until 120 qemu_saved "$1" || qemu_answer='it is not done in time'
	case $qemu_answer in
	*'"status": "completed"'*) ;;
	*)
		step_stop
		fail 69 "VM '$name' was not saved: QEMU says: $qemu_answer" ;;
	esac
}

# qemu_saved DIR: whether QEMU has saved the VM, or failed to.
qemu_saved()
{
	qemu_qmp "$1" '{"execute":"query-migrate"}' || return 0
	case $qemu_answer in
	*'"status": "completed"'* | *'"status": "failed"'*) ;;
	*) return 1 ;;
	esac
}

# qemu_qmp DIR [--pass FILE] REQUEST...: sets qemu_answer.
qemu_qmp()
{
	local home name

	record_read "$1/vm.conf" home=DIR name=NAME
	shift
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$paths_bin/vmctl" qmp --socket "$home/qmp.sock" "$@"
		return
	fi
	qemu_answer=$("$paths_bin/vmctl" qmp --socket "$home/qmp.sock" "$@" \
		2>&1 </dev/null) || {
		step_stop
		fail 69 "VM '$name' was not saved: QEMU says: $qemu_answer"
	}
}

qemu_restore()
{
	local home kernel

	record_read "$1/vm.conf" home=DIR kernel=KERNEL_FILE
	run cp -- "$kernel" "$home/kernel" ||
		fail 74 "$home/kernel: cannot be made; is the disk full?" || return
	qemu_vm "$1" launch_vmm "$1"
}

# qemu_append ACCEL: sets qemu_append to the kernel command line.
#
# Under TCG a microvm has no clock that the kernel could calibrate the TSC
# against, and a guest under load takes its TSC for unstable; both are said here.
# The self-tests of the kernel's cryptography would be a third of its start.
qemu_append()
{
	qemu_append='console=ttyS0 quiet panic=-1'
	[ "$1" = tcg ] || return 0
	accel_tsc_khz || return
	qemu_append="$qemu_append tsc=reliable clocksource=tsc"
	qemu_append="$qemu_append tsc_early_khz=$accel_answer cryptomgr.notests=1"
}

# qemu_vm DIR COMMAND [ARG...]: calls COMMAND with QEMU's command line added. A worker
# is a microvm, everything else a q35.
#
# QEMU 7.2 under TCG breaks cmpxchg16b (6.12 kernels panic): cx16=off. It runs
# `rep movsb` byte by byte, and a kernel with erms copies with nothing else.
# Without erms 6.1 hangs where there is fsrm, which newer QEMUs (10.0) have. Before 8.1
# a processor may keep a translation of code that another one changed meanwhile: a
# kernel that patches itself then runs into an int3 that it has taken out again.
qemu_vm()
{
	local name home role cpus mem cid accel_is vsock append devices disk hugepages
	local snapshot_dir restore cpu_model program run kernel
	local bus=device device huge='' thread=multi

	record_read "$1/vm.conf" name=NAME home=DIR role=ROLE cpus=CPUS mem=MEM \
		cid=CID accel_is=ACCEL vsock=VSOCK append=APPEND devices=DEVICES \
		disk=DISK hugepages=HUGEPAGES snapshot_dir=SNAPSHOT_DIR \
		restore=RESTORE cpu_model=CPU_MODEL program=QEMU run=QEMU_RUN
	launch_kernel kernel "$1"
	program=${program:-$accel_qemu}
	mem=$((mem >> 20))M
	shift
	[ "$role" = worker ] || bus=pci
	[ "$hugepages" != yes ] || huge=',hugetlb=on,hugetlbsize=2M'
	qemu_append "$accel_is" || return
	set -- "$@" "${run:-$program}" -name "$name" -nodefaults -no-user-config \
		-display none -monitor none -no-reboot \
		-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
	if [ "$role" = worker ]; then
		set -- "$@" -M microvm,memory-backend=mem
	else
		set -- "$@" -M q35,memory-backend=mem
	fi
	if [ "$accel_is" = kvm ]; then
		set -- "$@" -accel kvm -cpu host
	else
		if [ "$cpus" != 1 ] && qemu_is_old "$program"; then thread=single; fi
		set -- "$@" -accel "tcg,thread=$thread" \
			-cpu "${cpu_model:-$qemu_cpu$qemu_cpu_off}"
	fi
	set -- "$@" -smp "$cpus" -m "$mem" \
		-object "memory-backend-memfd,id=mem,size=$mem,share=on$huge" \
		-chardev "file,id=console,path=$home/console.log" \
		-serial chardev:console
	if [ "$vsock" = vhost ]; then
		set -- "$@" -device "vhost-vsock-$bus,guest-cid=$cid"
	else
		set -- "$@" -chardev "socket,id=vsock,path=$home/vhost.sock" \
			-device "vhost-user-vsock-$bus,chardev=vsock"
	fi
	if [ -z "$snapshot_dir" ]; then
		:
	elif [ "$restore" = yes ]; then
		set -- "$@" -incoming fd:5
	else
		set -- "$@" -qmp "unix:$home/qmp.sock,server=on,wait=off"
	fi
	[ -z "$disk" ] || set -- "$@" -add-fd fd=5,set=1 \
		-blockdev driver=file,node-name=image,filename=/dev/fdset/1,read-only=on \
		-device virtio-blk-pci,drive=image
	for device in $devices; do
		set -- "$@" -device "vfio-pci,host=$device"
	done
	# A restored VM has all this in memory. It gets the kernel nevertheless: QEMU
	# chooses its ROMs by the kernel, and they must be the same.
	[ "$restore" = yes ] || set -- "$@" -initrd "$home/initrd"
	"$@" -kernel "$kernel" -append "$qemu_append${append:+ $append}"
}

# Other VMMs print QEMU's error texts too, so vmm_remedy knows them.
qemu_remedy() { return 1; }
