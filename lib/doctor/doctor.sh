# shellcheck shell=sh
# doctor.sh - check this host for anything that would fail later, for any kind of VM
#
# Each check reports by doctor_say. A fact that cannot be read is a warning, never ok.
# Nothing is changed except the kept answer of KVM's probe. The checks need conf_load
# and assets_init.

use conf proc sysfs abi apt fetch tools assets accel vmm boot

doctor_failed=0
doctor_found=

# doctor_begin TARGET: call this before the checks. TARGET is demo (the soft driver) or
# gpu (a GPU VM with a real GPU).
doctor_begin()
{
	doctor_target=$1
	if [ "$1" = gpu ]; then
		conf_get_bytes doctor_mem GPU_VM_MEM
	else
		conf_get_bytes doctor_mem GPU_VM_SOFT_MEM
	fi
}

# doctor_say STATUS NAME MESSAGE [REMEDY]: reports a finding; STATUS is ok, warn or fail.
# With --json the finding is kept for doctor_end: a jq for each took longer than all
# checks.
doctor_say()
{
	local text="$3"

	[ "$1" != fail ] || doctor_failed=1
	if [ "$opt_json" -eq 1 ]; then
		doctor_found=$doctor_found$1$base_us$2$base_us$3$base_us${4:-}$base_us
		return 0
	fi
	[ -z "${4:-}" ] || text="$text; $4"
	case $text in
	*[!\ -~]*) text=$(printf '%s' "$text" | tr -c ' -~' '?') ;;
	esac
	printf '%-4s  %s: %s\n' "$1" "$2" "$text"
}

# doctor_end: prints the findings that doctor_say has kept.
doctor_end()
{
	[ -n "$doctor_found" ] || return 0
	printf '%s' "$doctor_found" | jq -cRs --arg target "$doctor_target" '
		split("\u001f") as $f | range(0; ($f | length) - 1; 4) |
		{name: $f[. + 1], target: $target, status: $f[.],
		message: $f[. + 2], remedy: $f[. + 3]}'
}

# doctor_unknown NAME FACT [REMEDY]: reports that a fact could not be found out.
doctor_unknown()
{
	doctor_say warn "$1" "unknown: $2" "${3:-}"
}

# doctor_mib VAR BYTES: sets VAR to the size in MiB, with the unit.
doctor_mib()
{
	base_set "$1" "$((($2 + 1048575) >> 20)) MiB"
}

# doctor_tools: the packages that setup would install. Sets doctor_no_tool and
# doctor_no_asset to how bad it is that something is missing: the demo begins with setup,
# which installs only as root; a GPU VM starts without setup.
doctor_tools()
{
	local list

	doctor_no_tool=fail doctor_no_asset=fail
	if ! tools_machine; then
		doctor_no_setup
		return 0
	fi
	list=$(tools_missing demo | tr '\n' ' ')
	if [ "$doctor_target" = demo ]; then
		[ "$(id -u)" -ne 0 ] || doctor_no_tool=warn
		if doctor_fetch; then
			doctor_no_asset=warn
		elif [ -z "$list" ]; then
			doctor_no_setup
			return 0
		fi
	fi
	if [ -z "$list" ]; then
		doctor_say ok tools 'all that setup would install is there'
	elif [ "$doctor_target" = demo ]; then
		doctor_say "$doctor_no_tool" tools "not installed: ${list% }" \
			'sudo isospin setup demo installs them'
	else
		doctor_say warn tools "not installed: ${list% }" \
			'sudo isospin setup demo installs them'
	fi
}

# doctor_fetch: whether setup can fetch kernels, if it has to; else 66 or 78, and why.
doctor_fetch()
{
	! assets_kernel >/dev/null || return 0
	fetch_keyring || return
	apt_mirrors "$tools_codename" ||
		fail 78 "no source of Debian $tools_codename main in $apt_etc"
}

# doctor_no_setup: setup fails; why says why.
doctor_no_setup()
{
	if [ "$doctor_target" = demo ]; then
		doctor_say fail tools "setup fails: $why"
	else
		doctor_unknown tools "setup cannot say what is missing: $why"
	fi
}

# doctor_cpu: the processor. Sets doctor_phys_bits, its address bits, empty if unknown.
doctor_cpu()
{
	local line flags='' want status=warn

	doctor_phys_bits=
	while IFS= read -r line; do
		case $line in
		flags*) flags="${line#*:} " ;;
		'address sizes'*' bits physical'*)
			line=${line#*: }
			doctor_phys_bits=${line%% *} ;;
		'') [ -z "$flags" ] || break ;;
		esac
	done 2>/dev/null <"$PROCFS_ROOT/cpuinfo" || :
	conf_get want ACCEL
	[ "$want" != kvm ] || status=fail
	case $flags in
	'') doctor_unknown cpu "$PROCFS_ROOT/cpuinfo names no flags" ;;
	*' lm '*) doctor_cpu_flags "$flags" "$status" ;;
	*) doctor_say fail cpu 'this is no x86-64 processor' \
		'isospin runs on x86-64 only' ;;
	esac
}

# doctor_cpu_flags FLAGS STATUS: whether it can run VMs; STATUS is for one that cannot.
doctor_cpu_flags()
{
	case $1 in
	*' vmx '*) doctor_say ok cpu 'x86-64 with VT-x (vmx)' ;;
	*' svm '*) doctor_say ok cpu 'x86-64 with AMD-V (svm)' ;;
	*' hypervisor '*)
		doctor_say "$2" cpu 'this is a virtual machine without virtualization of its own' \
			'switch nested virtualization on where it runs' ;;
	*)
		doctor_say "$2" cpu 'the processor shows neither vmx nor svm' \
			'switch virtualization (VT-x, SVM) on in the firmware setup' ;;
	esac
}

# doctor_kvm: whether the VMs would run under KVM. Sets doctor_accel to kvm or tcg. That
# /dev/kvm opens proves little, so a guest is run.
doctor_kvm()
{
	local want status=warn

	conf_get want ACCEL
	doctor_accel=tcg
	if [ "$want" = tcg ]; then
		doctor_say ok kvm 'not wanted (ACCEL=tcg)'
		return 0
	fi
	[ "$want" != kvm ] || status=fail
	if [ ! -e "$DEV_ROOT/kvm" ]; then
		doctor_say "$status" kvm "there is no /dev/kvm: VMs run without it, far slower" \
			'as root: modprobe kvm_intel, or kvm_amd; dmesg says why if that fails'
	elif ! accel_opens "$DEV_ROOT/kvm"; then
		doctor_say "$status" kvm "$why: VMs run without it, far slower" \
			'run isospin by sudo, or add the user to the group of /dev/kvm'
	elif ! command -v "$accel_qemu" >/dev/null; then
		doctor_accel=kvm
		doctor_unknown kvm "/dev/kvm opens, but without $accel_qemu no guest can be tried" \
			'isospin setup'
	else
		doctor_kvm_run "$status"
	fi
}

# doctor_kvm_run STATUS: runs the guest, even if the kept answer is that one failed: the
# machine may have been busy then. STATUS is for a guest that does not run.
doctor_kvm_run()
{
	local DRY_RUN="$DRY_RUN" kept=''

	if [ -z "$proc_run" ] || [ ! -w "$proc_run" ]; then
		DRY_RUN=1
	else
		{ read -r kept <"$proc_run/probe-kvm"; } 2>/dev/null || :
		case $kept in
		*' ran') ;;
		*) rm -f -- "$proc_run/probe-kvm" ;;
		esac
	fi
	accel_cached kvm accel_probe_word
	if [ "$accel_answer" = ran ]; then
		doctor_accel=kvm
		doctor_say ok kvm 'a probe guest runs under /dev/kvm'
	else
		doctor_say "$1" kvm '/dev/kvm opens, but a probe guest does not run under it: VMs run without it, far slower' \
			'if this is a virtual machine, switch nested virtualization on where it runs'
	fi
}

# doctor_vmm: the VMMs that would run the GPU VM and workers. Sets doctor_vmm_gpu and
# doctor_vmm_worker, empty if there is none, and doctor_vsock_gpu and
# doctor_vsock_worker to the vsock that their guests get. Call doctor_kvm first.
doctor_vmm()
{
	doctor_vmm_role gpu gpu0 'the GPU VM'
	doctor_vmm_gpu=$doctor_vmm doctor_vsock_gpu=$doctor_vmm_vsock
	doctor_vmm_role worker w1 'workers'
	doctor_vmm_worker=$doctor_vmm doctor_vsock_worker=$doctor_vmm_vsock
}

# doctor_vmm_role ROLE NAME WHAT: sets doctor_vmm to the VMM that vmm_choose chooses, and
# doctor_vmm_vsock to the vsock of its guests.
doctor_vmm_role()
{
	local status=fail reason text accel_kind="$doctor_accel" accel_why='see kvm'
	local program setup

	doctor_vmm='' doctor_vmm_vsock=''
	if ! vmm_choose "$1" "$2"; then
		base_fields "$vmm_about" program=PROGRAM setup=SETUP
		[ "$setup" != yes ] || command -v "$program" >/dev/null ||
			status=$doctor_no_tool
		doctor_say "$status" vmm "$3: $why"
		return 0
	fi
	base_fields "$vmm_record" doctor_vmm=VMM doctor_vmm_vsock=VSOCK \
		reason=VMM_WHY text=VMM_TEXT
	doctor_say ok vmm "$3: $text ($reason)"
}

# doctor_vsock: sets doctor_vsock, how guests of a VMM without a vsock of its own get
# theirs: vhost or vhost-user.
doctor_vsock()
{
	local node="$DEV_ROOT/vhost-vsock"

	conf_get doctor_vsock VSOCK
	case $doctor_vsock_gpu:$doctor_vsock_worker in
	*vhost*) ;;
	*)
		doctor_say ok vsock 'the VMMs have their own'
		return 0 ;;
	esac
	accel_opens "$node" || {
		case $doctor_vsock in
		vhost) doctor_say fail vsock "VSOCK=vhost, but $why" \
			'as root: modprobe vhost_vsock; or set VSOCK=auto' ;;
		*)
			doctor_vsock=vhost-user
			doctor_say ok vsock "a vsock-device process for each VM ($why)" ;;
		esac
		return 0
	}
	case $doctor_vsock in
	vhost-user)
		doctor_say ok vsock 'a vsock-device process for each VM (VSOCK=vhost-user)' ;;
	*)
		doctor_vsock=vhost
		doctor_say ok vsock '/dev/vhost-vsock opens' ;;
	esac
}

# doctor_cids: whether the CIDs of our VMs are free. If another VM of ours has one, the
# next is taken; if a VM that is not ours has it, ours cannot start, since the kernel
# gives each CID only once.
doctor_cids()
{
	local key cid list keys='' taken=''

	if [ "$doctor_vsock" = vhost ]; then
		case $doctor_vsock_gpu in
		vhost*) keys=GPU_VM_CID ;;
		esac
		case $doctor_vsock_worker in
		vhost*) keys="$keys WORKER_CID" ;;
		esac
	fi
	if [ -z "$keys" ]; then
		doctor_say ok cids 'each VM has an address space of its own'
		return 0
	fi
	list=" $(cat "$PROCFS_ROOT"/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' |
		sed -n 's/.*guest-cid"\{0,1\}[=:]\([0-9]*\).*/\1/p' |
		tr '\n' ' ')"
	for key in $keys; do
		conf_get cid "$key"
		if [ -n "$proc_run" ] && boot_cid_used "$cid"; then
			taken="$taken, $cid is in use"
			continue
		fi
		case $list in
		*" $cid "*)
			doctor_say fail cids "$key=$cid is another VM's" \
				"end that VM, or set $key to another number"
			return 0 ;;
		esac
	done
	doctor_say ok cids \
		"can be had${taken:+$taken: the next free one is taken}"
}

# doctor_state: the directory of pids, sockets and keys. Makes nothing.
doctor_state()
{
	local owner where

	proc_run=
	if ! proc_where "$opt_instance"; then
		proc_run=
		doctor_say fail state "$why" 'isospin.conf(5), RUN_DIR'
		return 0
	fi
	where=$proc_run
	if [ -e "$where" ]; then
		owner=$(stat -c %u:%a:%F -- "$where") || owner='unreadable'
		if [ "$owner" != "$(id -u):700:directory" ]; then
			proc_run=
			doctor_say fail state "$where must be a directory of this user with mode 0700" \
				"remove it, or set RUN_DIR"
			return 0
		fi
	fi
	# vm_dir allows 89 with /vms/gpu0.
	if [ "${#proc_dir}" -gt 80 ]; then
		doctor_say fail state "$proc_dir is too long for the address of a socket" \
			'set RUN_DIR to a shorter path'
		return 0
	fi
	doctor_room state "$where" 128 "VMs keep their state"
}

# doctor_room NAME DIR MIB USE: whether MIB are free where DIR is or would be; USE is a
# clause that tells its purpose.
doctor_room()
{
	local dir="$2" free

	while [ ! -d "$dir" ]; do
		dir=${dir%/*}
		dir=${dir:-/}
	done
	free=$(df -Pm -- "$dir" 2>/dev/null | awk 'NR == 2 { print $4 }') || free=
	case $free in
	'' | *[!0-9]*)
		doctor_unknown "$1" "df cannot say how much is free in $dir" ;;
	*)
		if [ "$free" -lt "$3" ]; then
			doctor_say fail "$1" "$free MiB are free in $dir, where $4: $3 MiB are wanted" \
				'make room there'
		else
			doctor_say ok "$1" "$free MiB are free in $dir, where $4"
		fi ;;
	esac
}

# doctor_disk: room for the files that setup unpacks and make builds. Measured: a kernel
# with its headers 119 MiB and its packages 40, NVIDIA's programs 32 a version, the build
# 180.
doctor_disk()
{
	local need=16 branch nonfree

	assets_kernel >/dev/null || need=$((need + 160))
	conf_get nonfree NONFREE
	for branch in $(abi_branches); do
		[ "$nonfree" = no ] || [ -n "$(assets_nvidia_versions "$branch")" ] ||
			need=$((need + 64))
	done
	doctor_room disk "$assets_dir" "$need" 'kernels and images are kept'
	[ -x "$paths_bin/vmctl" ] ||
		doctor_room disk "$paths_source" 200 'programs are built'
}

# doctor_meminfo VAR FIELD: sets VAR to a field of /proc/meminfo, a size in bytes or a
# count. 1, and an empty VAR, if there is no such field. Forks nothing.
doctor_meminfo()
{
	local doctor_f='' doctor_n='' doctor_u=''

	while read -r doctor_f doctor_n doctor_u; do
		[ "$doctor_f" != "$2:" ] || break
	done 2>/dev/null <"$PROCFS_ROOT/meminfo" || :
	case $doctor_f:$doctor_n in
	"$2:":*[!0-9]* | "$2::") doctor_n= ;;
	"$2:":*) [ "$doctor_u" != kB ] || doctor_n=$((doctor_n * 1024)) ;;
	*) doctor_n= ;;
	esac
	base_set "$1" "$doctor_n"
	[ -n "$doctor_n" ]
}

# doctor_memory: whether the VMs' memory is free. All memory of a VM with a device behind
# VFIO is pinned when it starts, so too little is a failure; that of another VM is taken
# as it is used.
doctor_memory()
{
	local all="$doctor_mem" what worker total free swap status=warn
	local key=WORKER_MEM

	if [ "$doctor_target" = demo ]; then
		conf_get_bytes worker WORKER_MEM
		all=$((doctor_mem + 2 * worker))
		what='the GPU VM and two workers have'
	else
		what='the GPU VM has'
		key=GPU_VM_MEM
		status=fail
	fi
	if ! doctor_meminfo total MemTotal || ! doctor_meminfo free MemAvailable
	then
		doctor_unknown memory "$PROCFS_ROOT/meminfo does not say what is free"
		return 0
	fi
	doctor_meminfo swap SwapFree || swap=0
	if [ "$all" -gt "$free" ]; then
		[ "$all" -lt "$total" ] && [ "$all" -le $((free + swap)) ] &&
			status=warn
		doctor_mib free "$free"
		doctor_mib all "$all"
		doctor_say "$status" memory "$what $all, but $free are free" \
			"end other programs, or lower $key"
		return 0
	fi
	doctor_mib free "$free"
	doctor_mib all "$all"
	doctor_say ok memory "$what $all of $free that are free"
}

# doctor_hugepages: a VM's memory is a memfd of small pages, which the kernel joins to
# huge ones if its settings allow. No VM takes reserved huge pages by default, so they only
# lessen the free memory.
doctor_hugepages()
{
	local count size free shmem status=ok remedy=''

	if ! doctor_meminfo count HugePages_Free ||
		! doctor_meminfo size Hugepagesize ||
		! doctor_meminfo free MemAvailable; then
		doctor_unknown hugepages "$PROCFS_ROOT/meminfo does not name any"
		return 0
	fi
	if [ "$count" -gt 0 ]; then
		if [ "$doctor_mem" -gt "$free" ]; then
			status=warn
			remedy='as root: echo 0 >/proc/sys/vm/nr_hugepages'
		fi
		doctor_mib size $((count * size))
		doctor_say "$status" hugepages "$size are reserved and unused; isospin takes none of them" \
			"$remedy"
		return 0
	fi
	sysfs_get "$SYSFS_ROOT/kernel/mm/transparent_hugepage/shmem_enabled" \
		shmem || shmem=
	case $shmem in
	*'[never]'* | *'[deny]'*)
		doctor_say ok hugepages 'none reserved, none needed; the kernel makes none for VMs (shmem_enabled)' ;;
	'') doctor_unknown hugepages 'whether the kernel makes any for VMs (shmem_enabled)' ;;
	*) doctor_say ok hugepages 'none reserved, none needed' ;;
	esac
}

# doctor_programs: our own programs that booting a VM needs.
doctor_programs()
{
	local name lacks='' release remedy='make all kmod'

	[ -n "$paths_source" ] || remedy='isospin build nvidia-shim'
	for name in "$paths_bin/vmctl" "$paths_bin/vsock-bridge" \
		"$paths_bin/vsock-device" "$paths_guest/gpu-broker" \
		"$paths_guest/isospin-agent"; do
		[ -x "$name" ] || lacks="$lacks ${name##*/}"
	done
	if release=$(assets_worker_kernel); then
		name=kmod/$release/nvidia-shim.ko
		[ -f "$paths_state/$name" ] || lacks="$lacks $name"
	fi
	if [ -z "$lacks" ]; then
		doctor_say ok programs 'built'
	elif [ "$doctor_target" = demo ]; then
		doctor_say ok programs "isospin demo builds:$lacks"
	else
		doctor_say fail programs "not built:$lacks" \
			"$remedy"
	fi
}

# doctor_commands: other programs that booting a VM calls, besides the VMM.
doctor_commands()
{
	local name lacks=''

	for name in busybox cpio flock jq setpriv setsid strip xz; do
		command -v "$name" >/dev/null || lacks="$lacks $name"
	done
	if [ -z "$lacks" ]; then
		doctor_say ok commands 'those that boot a VM are there'
	else
		doctor_say fail commands "not found:$lacks" 'isospin setup demo'
	fi
}

# doctor_kernel: the kernels of the VMs.
doctor_kernel()
{
	local release want

	conf_get want KERNEL
	if release=$(assets_kernel); then
		doctor_say ok kernel \
			"$release boots the GPU VM, $(assets_worker_kernel) the workers"
	elif [ "$want" = auto ]; then
		doctor_say "$doctor_no_asset" kernel 'no kernel for the VMs' \
			'isospin setup demo fetches it'
	else
		doctor_say fail kernel "no kernel of KERNEL=$want" \
			'isospin setup check fetches 6.1 and 6.12; or set KERNEL=auto'
	fi
}

# doctor_pair: NVIDIA's programs for the workers of the demo, and the soft driver.
doctor_pair()
{
	local branch version nonfree remedy

	conf_get nonfree NONFREE
	conf_get branch NVIDIA_BRANCH
	[ "$branch" != auto ] || branch=
	if [ "$nonfree" = no ]; then
		doctor_say ok pair 'isospin-smi stands in for nvidia-smi (NONFREE=no)'
		return 0
	fi
	version=$(assets_nvidia_versions "$branch" | head -n 1)
	if [ -z "$version" ]; then
		remedy=$(assets_nvidia_missing "${branch:-$(abi_default_branch)}") ||
			remedy='isospin setup demo fetches it'
		doctor_say warn pair 'no nvidia-smi for the workers: isospin-smi stands in' \
			"$remedy"
		return 0
	fi
	if [ -n "$(abi_versions "${version%%.*}")" ]; then
		doctor_say ok pair "nvidia-smi $version in the workers, and the soft driver knows branch ${version%%.*}"
		return 0
	fi
	doctor_say fail pair "nvidia-smi is $version, and share/abi has no table of branch ${version%%.*}" \
		'set NVIDIA_BRANCH to another'
}
