# shellcheck shell=sh
# accel.sh - find whether this host offers KVM and vhost-vsock to guests
#
# That /dev/kvm opens says little, so a small guest is run under it. Answers that cost
# something to find are kept in $RUN_DIR until the next boot. Needs conf_load and
# proc_init (proc_where with --dry-run).

use conf proc

accel_qemu=qemu-system-x86_64
# A guest within a guest on a busy machine took 7.
accel_probe_s=15

# accel_use PROGRAM: from now on this program is QEMU for this command.
accel_use()
{
	accel_qemu=$1
}

# accel_choose: sets accel_kind (kvm or tcg) and accel_why. 69, and why, if ACCEL asks for
# KVM and this host has none.
accel_choose()
{
	conf_get accel_kind ACCEL
	accel_why='set by ACCEL'
	case $accel_kind in
	kvm) accel_opens /dev/kvm || fail $? "ACCEL=kvm, but $why" ;;
	auto) accel_find ;;
	esac
}

# accel_find: sets accel_kind to the better one that works here, and accel_why.
accel_find()
{
	accel_kind=tcg
	if ! accel_opens /dev/kvm; then
		accel_why=$why
	elif ! command -v "$accel_qemu" >/dev/null; then
		accel_kind=kvm
		accel_why="/dev/kvm opens; $accel_qemu is not there to try it"
	else
		accel_cached kvm accel_probe_word || return
		accel_why='a probe guest does not run under /dev/kvm'
		[ "$accel_answer" = ran ] || return 0
		accel_kind=kvm
		accel_why='a probe guest ran under it'
	fi
}

# accel_opens NODE: whether this user may open that node of /dev; 69, and why, if not.
accel_opens()
{
	[ -e "$1" ] || fail 69 "/dev/${1##*/} is not there" || return
	{ [ -r "$1" ] && [ -w "$1" ]; } ||
		fail 69 "/dev/${1##*/} may not be opened by this user"
}

# accel_choose_vsock: sets accel_vsock (vhost or vhost-user) and accel_vsock_why: how a
# QEMU's guest gets its vsock.
accel_choose_vsock()
{
	conf_get accel_vsock VSOCK
	accel_vsock_why='set by VSOCK'
	[ "$accel_vsock" = auto ] || return 0
	if accel_opens /dev/vhost-vsock; then
		accel_vsock=vhost
		accel_vsock_why='/dev/vhost-vsock opens'
	else
		accel_vsock=vhost-user
		accel_vsock_why=$why
	fi
}

# accel_cached NAME COMMAND: sets accel_answer to COMMAND's output, one word, which is kept
# until the next boot of this machine. 70, and why, if COMMAND fails.
accel_cached()
{
	local boot file="$proc_run/probe-$1" kept=''

	read -r boot </proc/sys/kernel/random/boot_id
	{ read -r kept accel_answer <"$file"; } 2>/dev/null || :
	[ "$kept" != "$boot" ] || return 0
	accel_answer=$("$2") || fail 70 "probe of $1 failed" || return
	[ "$DRY_RUN" -eq 0 ] || return 0
	# If it cannot be kept, it is found once more.
	{ printf '%s %s\n' "$boot" "$accel_answer" >"$file.$$" &&
		mv -f "$file.$$" "$file"; } 2>/dev/null || rm -f -- "$file.$$"
}

accel_probe_word()
{
	local rc=0

	step_begin 'trying whether KVM runs a guest'
	accel_probe kvm host >/dev/null 2>&1 || rc=$?
	step_stop
	case $rc in
	33) echo ran ;;
	*) echo failed ;;
	esac
}

# accel_probe ACCEL CPU: runs a guest of a few instructions; status 33 if it ran. That a
# /dev/kvm opens says little: under a pagetable virtual machine a guest starts
# and stands still at its first VEX-coded instruction, so the guest has one.
accel_probe()
{
	local dir rc=0

	dir=$(mktemp -d) || return 74
	accel_probe_image >"$dir/probe"
	timeout "$accel_probe_s" "$accel_qemu" -accel "$1" -cpu "$2" -M q35 -m 16 \
		-nodefaults -no-user-config -display none -no-reboot \
		-device isa-debug-exit,iobase=0xf4,iosize=4 \
		-kernel "$dir/probe" </dev/null || rc=$?
	rm -rf -- "$dir"
	return "$rc"
}

# accel_probe_image: a multiboot image: header (load and entry addresses), then
#	mov eax,7; xor ecx,ecx; cpuid; test bl,8 (BMI1); jz 1f
#	andn eax,ebx,ebx
# 1:	mov al,0x10; out 0xf4,al (QEMU ends with 2*0x10+1); hlt
# QEMU reads it in one piece of 4 KiB.
accel_probe_image()
{
	printf '\002\260\255\033\000\000\001\000\376\117\121\344'
	printf '\000\000\020\000\000\000\020\000\000\020\020\000'
	printf '\000\020\020\000\040\000\020\000'
	printf '\270\007\000\000\000\061\311\017\242\366\303\010\164\005'
	printf '\304\342\140\362\303\260\020\346\364\364\353\375'
	head -c 4038 /dev/zero
}

# accel_tsc_khz: sets accel_answer to the rate of the processor's time stamp counter.
accel_tsc_khz()
{
	accel_cached tsc accel_tsc || return
	case $accel_answer in
	'' | *[!0-9]*) fail 70 "vmctl tsc-khz said '$accel_answer'" ;;
	esac
}

accel_tsc()
{
	"$paths_bin/vmctl" tsc-khz
}
