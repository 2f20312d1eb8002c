# shellcheck shell=sh
# qemu.sh - QEMU, its functions vmm.sh's; whether KVM works, which it finds out
#
# Needs conf_load and proc_init (proc_where with --dry-run). Answers that cost
# something to find are kept in $RUN_DIR until the next boot.

use conf poll proc assets image vmm vm boot

qemu_bin=qemu-system-x86_64
# A guest within a guest on a busy machine took 7.
qemu_probe_s=15
# Without KVM; see qemu_vm.
qemu_cpu=max,la57=off
qemu_cpu_off=,cx16=off,erms=off,fsrm=off
# How the monitor's process reaches it, if not by qemu_bin.
qemu_run=

qemu_init()
{
	command -v "$qemu_bin" >/dev/null ||
		die 69 "$qemu_bin is not installed; run: isospin setup"
	qemu_choose_vsock
}

qemu_describe()
{
	"$qemu_bin" --version | sed -n '1s/ emulator version / /p'
}

# qemu_is_old: whether it is of before 8.1, as that of Debian 12 is.
qemu_is_old()
{
	case $("$qemu_bin" --version) in
	*' version '[1-7].* | *' version 8.0.'*) ;;
	*) return 1 ;;
	esac
}

# qemu_kernel RELEASE: without KVM it is the unpacked one, which starts in half
# the time, at the one address it was linked for.
qemu_kernel()
{
	vm_kernel=$(assets_kernel_dir "$1")/vmlinuz
	[ "$vmm_accel" = tcg ] && [ "$DRY_RUN" -eq 0 ] || return 0
	# With it and a small initrd the microvm of QEMU 10.0 shows no ACPI
	# tables to the guest, so no virtio-mmio either; that of 7.2 does.
	if [ "$vm_role" = worker ] && ! qemu_is_old; then return 0; fi
	if image_kernel "$1"; then vm_kernel=$image_file; fi
}

qemu_place() { :; }

qemu_start()
{
	[ "$vmm_vsock" = vhost ] || qemu_device
	qemu_vm boot_spawn_vmm
}

# qemu_device: the vsock of a guest where the host has none.
qemu_device()
{
	local device rc=0

	vm_tool device vsock-device
	proc_spawn "$vm_key/vsock-device" "$device" --socket "$vm_home/vhost.sock" \
		--uds "$vm_home/vsock.sock" --cid "$vm_cid"
	[ "$DRY_RUN" -eq 0 ] || return 0
	boot_await vsock-device vsock-device/log 'vsock-device: info: ready' 10 ||
		rc=$?
	[ "$rc" -eq 0 ] || boot_explain "$rc" 'its vsock was there' \
		vsock-device/log 'is the disk full?'
}

# qemu_ready: a guest whose vsock-device has ended hears nothing any more, and
# QEMU never starts another (chardev `reconnect` does not serve vhost-user-vsock).
# So the VM ends with it.
qemu_ready()
{
	local device

	[ "$vmm_vsock" != vhost ] || return 0
	if proc_pid device "$vm_key/vsock-device"; then
		boot_tie_to "$device"
	fi
}

qemu_saves()
{
	[ "$vmm_vsock" = vhost ] || die 69 "a worker of QEMU cannot start from a \
snapshot here: QEMU saves no guest whose vsock is vhost-user, and this one's is \
($vmm_vsock_why); with /dev/vhost-vsock (VSOCK=vhost) it can"
}

# qemu_key: the command line, but for what each VM has of its own, and its size.
qemu_key()
{
	local vm_name=- vm_cid=- vm_home=- vm_kernel=- vm_initrd=- vm_snapshot=
	local vm_cpus=- vm_mem=0

	qemu_describe
	vmm_file "$qemu_bin"
	qemu_vm printf '%s\n'
}

# qemu_snapshot: all of it goes into the state; its memory is no file of its own. It
# is paused by QEMU when the rest is written: what had been paused before would stay
# so where it goes on.
qemu_snapshot()
{
	qemu_qmp --pass "$vm_snapshot/state" \
		'{"execute":"getfd","arguments":{"fdname":"state"}}' \
		'{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1099511627776}}' \
		'{"execute":"migrate","arguments":{"uri":"fd:state"}}'
	[ "$DRY_RUN" -eq 0 ] || return 0
	poll_until 120 qemu_saved || qemu_answer='it is not done in time'
	case $qemu_answer in
	*'"status": "completed"'*) ;;
	*)
		step_stop
		die 69 "VM '$vm_name' was not saved: QEMU says: $qemu_answer" ;;
	esac
}

# qemu_saved: it has been, or will not be.
qemu_saved()
{
	qemu_qmp '{"execute":"query-migrate"}'
	case $qemu_answer in
	*'"status": "completed"'* | *'"status": "failed"'*) ;;
	*) return 1 ;;
	esac
}

# qemu_qmp [--pass FILE] REQUEST...: sets qemu_answer. A refusal ends the command.
qemu_qmp()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$vm_vmctl" qmp --socket "$vm_home/qmp.sock" "$@"
		return
	fi
	qemu_answer=$("$vm_vmctl" qmp --socket "$vm_home/qmp.sock" "$@" \
		2>&1 </dev/null) || {
		step_stop
		die 69 "VM '$vm_name' was not saved: QEMU says: $qemu_answer"
	}
}

qemu_restore()
{
	run cp -- "$vm_kernel" "$vm_home/kernel" ||
		die 74 "$vm_home/kernel: cannot be made; is the disk full?"
	vm_kernel=$vm_home/kernel
	qemu_vm boot_spawn_vmm
}

qemu_choose_accel()
{
	conf_get vmm_accel ACCEL
	vmm_accel_why='set by ACCEL'
	case $vmm_accel in
	kvm)
		qemu_opens /dev/kvm ||
			die 69 "ACCEL=kvm, but /dev/kvm $qemu_opens_why" ;;
	auto)
		vmm_accel=tcg
		if ! qemu_opens /dev/kvm; then
			vmm_accel_why="/dev/kvm $qemu_opens_why"
			return 0
		fi
		if ! command -v "$qemu_bin" >/dev/null; then
			vmm_accel=kvm
			vmm_accel_why="/dev/kvm opens; $qemu_bin is not there to try it"
			return 0
		fi
		qemu_cached kvm qemu_probe_word
		if [ "$qemu_answer" = ran ]; then
			vmm_accel=kvm
			vmm_accel_why='a probe guest ran under it'
		else
			vmm_accel_why='a probe guest does not run under /dev/kvm'
		fi ;;
	esac
}

# qemu_opens NODE: whether this user may open it; qemu_opens_why says why not.
qemu_opens()
{
	qemu_opens_why='is not there'
	[ -e "$1" ] || return 1
	qemu_opens_why='may not be opened by this user'
	[ -r "$1" ] && [ -w "$1" ]
}

qemu_choose_vsock()
{
	conf_get vmm_vsock VSOCK
	vmm_vsock_why='set by VSOCK'
	[ "$vmm_vsock" = auto ] || return 0
	vmm_vsock=vhost-user
	if qemu_opens /dev/vhost-vsock; then
		vmm_vsock=vhost
		vmm_vsock_why='/dev/vhost-vsock opens'
	else
		vmm_vsock_why="/dev/vhost-vsock $qemu_opens_why"
	fi
}

# qemu_cached NAME COMMAND: sets qemu_answer to what COMMAND prints, one word,
# found once in each boot of this machine.
qemu_cached()
{
	local boot file="$proc_run/probe-$1" kept=''

	read -r boot </proc/sys/kernel/random/boot_id
	{ read -r kept qemu_answer <"$file"; } 2>/dev/null || :
	[ "$kept" != "$boot" ] || return 0
	qemu_answer=$("$2") || die 70 "probe of $1 failed"
	[ "$DRY_RUN" -eq 0 ] || return 0
	# What cannot be kept is found once more.
	{ printf '%s %s\n' "$boot" "$qemu_answer" >"$file.$$" &&
		mv -f "$file.$$" "$file"; } 2>/dev/null || rm -f -- "$file.$$"
}

qemu_probe_word()
{
	local rc=0

	step_begin 'trying whether KVM runs a guest'
	qemu_probe kvm host >/dev/null 2>&1 || rc=$?
	step_stop
	case $rc in
	33) echo ran ;;
	*) echo failed ;;
	esac
}

# qemu_probe ACCEL CPU: runs a guest of a few instructions; status 33 if it ran. That a
# /dev/kvm opens says little: under a pagetable virtual machine a guest starts
# and stands still at its first VEX-coded instruction, so the guest has one.
qemu_probe()
{
	local dir rc=0

	dir=$(mktemp -d) || return 74
	qemu_probe_image >"$dir/probe"
	timeout "$qemu_probe_s" "$qemu_bin" -accel "$1" -cpu "$2" -M q35 -m 16 \
		-nodefaults -no-user-config -display none -no-reboot \
		-device isa-debug-exit,iobase=0xf4,iosize=4 \
		-kernel "$dir/probe" </dev/null || rc=$?
	rm -rf -- "$dir"
	return "$rc"
}

# qemu_probe_image: a multiboot image: header (load and entry addresses), then
#	mov eax,7; xor ecx,ecx; cpuid; test bl,8 (BMI1); jz 1f
#	andn eax,ebx,ebx
# 1:	mov al,0x10; out 0xf4,al (QEMU ends with 2*0x10+1); hlt
# QEMU reads it in one piece of 4 KiB.
qemu_probe_image()
{
	printf '\002\260\255\033\000\000\001\000\376\117\121\344'
	printf '\000\000\020\000\000\000\020\000\000\020\020\000'
	printf '\000\020\020\000\040\000\020\000'
	printf '\270\007\000\000\000\061\311\017\242\366\303\010\164\005'
	printf '\304\342\140\362\303\260\020\346\364\364\353\375'
	head -c 4038 /dev/zero
}

# qemu_tsc: prints the rate of the processor's time stamp counter in kHz.
qemu_tsc()
{
	"$paths_bin/vmctl" tsc-khz
}

# qemu_append: sets qemu_append to the kernel command line.
#
# Under TCG a microvm has no clock that the kernel could calibrate the TSC
# against, and a guest under load takes its TSC for unstable; both are said here.
# The self-tests of the kernel's cryptography would be a third of its start.
qemu_append()
{
	qemu_append='console=ttyS0 quiet panic=-1'
	[ "$vmm_accel" = tcg ] || return 0
	qemu_cached tsc qemu_tsc
	case $qemu_answer in
	'' | *[!0-9]*) die 70 "vmctl tsc-khz said '$qemu_answer'" ;;
	esac
	qemu_append="$qemu_append tsc=reliable clocksource=tsc"
	qemu_append="$qemu_append tsc_early_khz=$qemu_answer cryptomgr.notests=1"
}

# qemu_vm COMMAND [ARG...]: calls COMMAND with QEMU's command line added, for
# the VM that vm_name, vm_role (worker: microvm; else q35), vm_cpus, vm_mem (in
# bytes), vm_cid, vm_home, vm_kernel, vm_append (words for the kernel), vm_initrd and
# vm_snapshot describe.
#
# QEMU 7.2 under TCG breaks cmpxchg16b (6.12 kernels panic): cx16=off. It runs
# `rep movsb` byte by byte, and a kernel with erms copies with nothing else.
# Without erms 6.1 hangs where there is fsrm, which newer QEMUs (10.0) have. Before 8.1
# a processor may keep a translation of code that another one changed meanwhile: a
# kernel that patches itself then runs into an int3 that it has taken out again.
qemu_vm()
{
	local mem="$((vm_mem >> 20))M" bus=device device huge='' thread=multi

	[ "$vm_role" = worker ] || bus=pci
	[ "$vm_hugepages" = no ] || huge=',hugetlb=on,hugetlbsize=2M'
	qemu_append
	set -- "$@" "${qemu_run:-$qemu_bin}" -name "$vm_name" -nodefaults -no-user-config \
		-display none -monitor none -no-reboot \
		-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
	if [ "$vm_role" = worker ]; then
		set -- "$@" -M microvm,memory-backend=mem
	else
		set -- "$@" -M q35,memory-backend=mem
	fi
	if [ "$vmm_accel" = kvm ]; then
		set -- "$@" -accel kvm -cpu host
	else
		if [ "$vm_cpus" != 1 ] && qemu_is_old; then thread=single; fi
		set -- "$@" -accel "tcg,thread=$thread" -cpu "$qemu_cpu$qemu_cpu_off"
	fi
	set -- "$@" -smp "$vm_cpus" -m "$mem" \
		-object "memory-backend-memfd,id=mem,size=$mem,share=on$huge" \
		-chardev "file,id=console,path=$vm_home/console.log" \
		-serial chardev:console
	if [ "$vmm_vsock" = vhost ]; then
		set -- "$@" -device "vhost-vsock-$bus,guest-cid=$vm_cid"
	else
		set -- "$@" -chardev "socket,id=vsock,path=$vm_home/vhost.sock" \
			-device "vhost-user-vsock-$bus,chardev=vsock"
	fi
	if [ -z "$vm_snapshot" ]; then
		:
	elif [ "$boot_restored" -eq 1 ]; then
		set -- "$@" -incoming fd:5
	else
		set -- "$@" -qmp "unix:$vm_home/qmp.sock,server=on,wait=off"
	fi
	[ -z "$vm_disk" ] || set -- "$@" -add-fd fd=5,set=1 \
		-blockdev driver=file,node-name=image,filename=/dev/fdset/1,read-only=on \
		-device virtio-blk-pci,drive=image
	for device in $vm_devices; do
		set -- "$@" -device "vfio-pci,host=$device"
	done
	# What is restored has all this in memory; but by the kernel QEMU chooses
	# its ROMs, which must be the same.
	[ "$boot_restored" -eq 1 ] || set -- "$@" -initrd "$vm_initrd"
	"$@" -kernel "$vm_kernel" -append "$qemu_append${vm_append:+ $vm_append}"
}
