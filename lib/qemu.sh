# shellcheck shell=sh
# qemu.sh - QEMU: which accelerator and vsock it can have here, its command line
#
# Needs conf_load and proc_init (proc_where with --dry-run). Answers that cost
# something to find are kept in $RUN_DIR until the next boot.

qemu_bin=qemu-system-x86_64
qemu_probe_s=5
# Without KVM; see qemu_vm.
qemu_cpu=max,la57=off

# qemu_init: finds QEMU and sets qemu_accel and qemu_vsock with their reasons,
# or ends the command.
qemu_init()
{
	command -v "$qemu_bin" >/dev/null ||
		die 69 "$qemu_bin is not installed; run: isospin setup"
	qemu_choose_accel
	qemu_choose_vsock
}

# qemu_only KEY: the monitor that KEY names for the selected VM must be QEMU; no
# other is silently replaced by it.
qemu_only()
{
	local vmm

	conf_get vmm "$1" "$vm_name"
	case $vmm in
	auto | qemu) ;;
	*) die 69 "$1=$vmm is not there yet; qemu is" ;;
	esac
}

qemu_choose_accel()
{
	conf_get qemu_accel ACCEL
	qemu_accel_why='set by ACCEL'
	case $qemu_accel in
	kvm)
		qemu_opens /dev/kvm ||
			die 69 "ACCEL=kvm, but /dev/kvm $qemu_opens_why" ;;
	auto)
		qemu_accel=tcg
		if ! qemu_opens /dev/kvm; then
			qemu_accel_why="/dev/kvm $qemu_opens_why"
			return 0
		fi
		qemu_cached kvm qemu_probe_word
		if [ "$qemu_answer" = ran ]; then
			qemu_accel=kvm
			qemu_accel_why='a probe guest ran under it'
		else
			qemu_accel_why='a probe guest does not run under /dev/kvm'
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
	conf_get qemu_vsock VSOCK
	qemu_vsock_why='set by VSOCK'
	[ "$qemu_vsock" = auto ] || return 0
	qemu_vsock=vhost-user
	if qemu_opens /dev/vhost-vsock; then
		qemu_vsock=vhost
		qemu_vsock_why='/dev/vhost-vsock opens'
	else
		qemu_vsock_why="/dev/vhost-vsock $qemu_opens_why"
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

	qemu_probe kvm host >/dev/null 2>&1 || rc=$?
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
	"$TOP/build/bin/vmctl" tsc-khz
}

# qemu_append: sets qemu_append to the kernel command line.
#
# Under TCG a microvm has no clock that the kernel could calibrate the TSC
# against, and a guest under load takes its TSC for unstable; both are said here.
# The self-tests of the kernel's cryptography would be a third of its start.
qemu_append()
{
	qemu_append='console=ttyS0 quiet panic=-1'
	[ "$qemu_accel" = tcg ] || return 0
	qemu_cached tsc qemu_tsc
	case $qemu_answer in
	'' | *[!0-9]*) die 70 "vmctl tsc-khz said '$qemu_answer'" ;;
	esac
	qemu_append="$qemu_append tsc=reliable clocksource=tsc"
	qemu_append="$qemu_append tsc_early_khz=$qemu_answer cryptomgr.notests=1"
}

# qemu_vm COMMAND [ARG...]: calls COMMAND with QEMU's command line added, for
# the VM that vm_name, vm_role (worker: microvm; else q35), vm_cpus, vm_mem (in
# bytes), vm_cid, vm_home, vm_kernel, vm_append (words for the kernel) and
# vm_initrd describe.
#
# QEMU 7.2 under TCG breaks cmpxchg16b (6.12 kernels panic): cx16=off. It runs
# `rep movsb` byte by byte, and a kernel with erms copies with nothing else.
# Without erms 6.1 hangs where there is fsrm, which newer QEMUs (10.0) have.
qemu_vm()
{
	local mem="$((vm_mem >> 20))M" bus=device

	[ "$vm_role" = worker ] || bus=pci
	qemu_append
	set -- "$@" "$qemu_bin" -name "$vm_name" -nodefaults -no-user-config \
		-display none -monitor none -no-reboot \
		-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
	if [ "$vm_role" = worker ]; then
		set -- "$@" -M microvm,memory-backend=mem
	else
		set -- "$@" -M q35,memory-backend=mem
	fi
	if [ "$qemu_accel" = kvm ]; then
		set -- "$@" -accel kvm -cpu host
	else
		set -- "$@" -accel tcg,thread=multi -cpu "$qemu_cpu,cx16=off,erms=off,fsrm=off"
	fi
	set -- "$@" -smp "$vm_cpus" -m "$mem" \
		-object "memory-backend-memfd,id=mem,size=$mem,share=on" \
		-chardev "file,id=console,path=$vm_home/console.log" \
		-serial chardev:console
	if [ "$qemu_vsock" = vhost ]; then
		set -- "$@" -device "vhost-vsock-$bus,guest-cid=$vm_cid"
	else
		set -- "$@" -chardev "socket,id=vsock,path=$vm_home/vhost.sock" \
			-device "vhost-user-vsock-$bus,chardev=vsock"
	fi
	"$@" -kernel "$vm_kernel" -initrd "$vm_initrd" \
		-append "$qemu_append${vm_append:+ $vm_append}"
}
