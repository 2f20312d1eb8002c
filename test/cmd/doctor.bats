#!/usr/bin/env bats
# doctor on a host made of files, where one thing at a time is wrong.
# shellcheck disable=SC2030,SC2031 # each test is on its own

load ../lib/common.sh

card=0000:01:00.0

setup_file()
{
	mkdir "$BATS_FILE_TMPDIR/host"
	(
		cd "$BATS_FILE_TMPDIR/host" || exit
		trap - DEBUG # bats' own, a fifth of a millisecond a command
		host
	)
}

host()
{
	printf 'ID=debian\nVERSION_ID="12"\n' >os-release
	mkdir -p etc dev proc/self assets/nvidia top/build
	mkdir -m 700 run
	: >dev/kvm
	: >dev/vhost-vsock
	mkdir -p top/build/images
	: >top/build/images/gpu-rootfs-580.95.05-6.12.0-test.ext4
	host_files
	host_proc
	host_card
}

setup()
{
	cp -a "$BATS_FILE_TMPDIR/host/." "$BATS_TEST_TMPDIR"
	cd "$BATS_TEST_TMPDIR" || return
	unset SUDO_UID SUDO_GID
	export SYSFS_ROOT=$PWD/sys PROCFS_ROOT=$PWD/proc ETC_ROOT=$PWD/etc
	export DEV_ROOT=$PWD/dev OS_RELEASE=$PWD/os-release
	export ISOSPIN_RUN_DIR=$PWD/run ISOSPIN_ASSETS_DIR=$PWD/assets
	dev=sys/bus/pci/devices/$card
	fake_qemu 33
	fake dpkg-query <<-'EOT'
	shift 2
	lacks=none
	[ ! -e "$BATS_TEST_TMPDIR/lacks" ] || read -r lacks <"$BATS_TEST_TMPDIR/lacks"
	for p; do
		[ "$p" = "$lacks" ] || echo "$p installed"
	done
	EOT
}

# host_files: makes a checkout that was built, with the files that setup fetches.
host_files()
{
	local name

	ln -s "$TOP/lib" "$TOP/scripts" "$TOP/share" top
	for name in 6.12.0-test 6.1.0-test; do
		mkdir -p "assets/kernels/$name" "top/build/kmod/$name"
		: >"top/build/kmod/$name/nvidia-shim.ko"
	done
	mkdir assets/nvidia/535.261.03 assets/nvidia/550.163.01 \
		assets/nvidia/580.95.05
	mkdir -p top/build/bin top/build/static/bin
	for name in bin/vmctl bin/vsock-bridge bin/vsock-device \
		static/bin/gpu-broker static/bin/isospin-agent; do
		: >"top/build/$name"
		chmod +x "top/build/$name"
	done
}

host_proc()
{
	cat >proc/cpuinfo <<-'EOT'
	processor	: 0
	flags		: fpu vme lm vmx sse2
	address sizes	: 46 bits physical, 48 bits virtual

	processor	: 1
	EOT
	meminfo 64000000 32000000 0
	echo 'quiet intel_iommu=on iommu=pt' >proc/cmdline
	printf ' 24:  0  IR-PCI-MSI-0000:00:1f.2  0-edge  ahci\n' >proc/interrupts
	limits unlimited
}

# meminfo TOTAL AVAILABLE HUGEPAGES: writes /proc/meminfo; the first two are in kB,
# the last is a number of 2 MiB pages.
meminfo()
{
	cat >proc/meminfo <<-EOT
	MemTotal:       $1 kB
	MemAvailable:   $2 kB
	SwapFree:       0 kB
	HugePages_Free:      $3
	Hugepagesize:       2048 kB
	EOT
}

# limits BYTES
limits()
{
	printf 'Max locked memory         %-20s %-20s bytes\n' "$1" "$1" \
		>proc/self/limits
}

# host_card: adds a GPU that is bound to vfio-pci, with BARs of 16 MiB, 128 GiB and
# 32 MiB, alone in its group.
host_card()
{
	dev=sys/bus/pci/devices/$card
	mkdir -p "$dev" sys/bus/pci/drivers/vfio-pci sys/bus/pci/drivers/nouveau \
		sys/kernel/iommu_groups/1/devices sys/kernel/security \
		sys/class/iommu/dmar0/intel-iommu sys/kernel/mm/transparent_hugepage
	echo 0x10de >"$dev/vendor"
	echo 0x2330 >"$dev/device"
	echo 0x030200 >"$dev/class"
	echo vfio-pci >"$dev/driver_override"
	echo flr bus >"$dev/reset_method"
	cat >"$dev/resource" <<-'EOT'
	0x0000600000000000 0x0000600000ffffff 0x000000000014220c
	0x0000000000000000 0x0000000000000000 0x0000000000000000
	0x0000610000000000 0x0000611fffffffff 0x000000000014220c
	0x0000000000000000 0x0000000000000000 0x0000000000000000
	0x0000620000000000 0x0000620001ffffff 0x000000000014220c
	0x0000000000000000 0x0000000000000000 0x0000000000000000
	0x0000000000000000 0x0000000000000000 0x0000000000000000
	EOT
	ln -s ../../drivers/vfio-pci "$dev/driver"
	ln -s ../../../../kernel/iommu_groups/1 "$dev/iommu_group"
	ln -s "../../../../bus/pci/devices/$card" sys/kernel/iommu_groups/1/devices
	ln -s ../../../../class/iommu/dmar0 "$dev/iommu"
	echo d2008c222f0686 >sys/class/iommu/dmar0/intel-iommu/cap
	echo 'always within_size [advise] never deny force' \
		>sys/kernel/mm/transparent_hugepage/shmem_enabled
	echo '[none] integrity confidentiality' >sys/kernel/security/lockdown
	capabilities 0x40 0x11 0x08 0x00 0x00 0x00 0xb9 0x00
}

# capabilities [OFFSET BYTE...]: writes a configuration space with one capability at
# OFFSET, or without arguments with none. The BYTEs begin with the capability's ID;
# its next pointer must be 0.
capabilities()
{
	local at="${1:-0}"

	head -c 256 /dev/zero >"$dev/config"
	config 0 0xde 0x10 0x30 0x23
	[ $# -gt 0 ] || return 0
	config 6 0x10
	config 52 "$at"
	shift
	config "$at" "$1" 0x00 "${@:2}"
}

# config OFFSET BYTE...
config()
{
	local at="$1" byte text=''

	shift
	for byte; do
		text=$text$(printf '\\x%02x' "$byte")
	done
	printf '%b' "$text" | dd of="$dev/config" bs=1 seek=$((at)) conv=notrunc \
		status=none
}

# fake_qemu STATUS: fakes a QEMU in which the probe's guest ends with STATUS.
fake_qemu()
{
	fake qemu-system-x86_64 <<-EOT
	[ "\$1" != --version ] || {
		echo 'QEMU emulator version 7.2.22 (Debian 1:7.2)'
		exit
	}
	exit $1
	EOT
}

# doctor ARG...: runs doctor under $shell.
doctor()
{
	# shellcheck disable=SC2086 # busybox ash is two words
	${shell:-dash} top/scripts/doctor.sh "$@"
}

# finds TARGET STATUS NAME TEXT: doctor prints such a line, and its exit status fits
# the findings. Calls alternate between the two shells. $output is the whole output.
finds()
{
	local target=$1 want=$2 name=$3 text=$4 nl=$'\n'

	turn=$((1 - ${turn:-1}))
	shell=${only:-${shells[turn]}}
	rc=0
	output=$(doctor "$target") || rc=$?
	[[ $nl$output =~ $nl"$want"[^$nl]*" $name: "[^$nl]*"$text" ]] || {
		echo "under $shell, no: $want  $name: ...$text"
		echo "$output"
		return 1
	}
	if [[ $nl$output == *"${nl}fail"* ]]; then
		equal 1 "$rc"
	else
		equal 0 "$rc"
	fi
}

# lacks NAME: the last output has no line about NAME.
lacks()
{
	! grep -q "^[a-z]*  *$1: " <<<"$output" || {
		printf 'there is %s in: %s\n' "$1" "$output"
		return 1
	}
}

@test "on a host where all is well a GPU VM would start" {
	with_shells well
}

well()
{
	only=$shell
	finds gpu ok image 'gpu-rootfs-580.95.05-6.12.0-test.ext4 has driver 580.95.05'
	equal '' "$(grep '^fail' <<<"$output")"
	equal '' "$(grep '^warn' <<<"$output" | grep -v ' users: ')"
	for name in tools state disk cpu kvm vmm vsock cids memory hugepages \
		commands kernel programs iommu remapping parameters gpu bind msix bars \
		lockdown memlock pair; do
		grep -q "^ok    $name: " <<<"$output"
	done
}

@test "a host where all is well would run the demo" {
	finds demo ok kvm 'a probe guest runs'
	equal '' "$(grep -v '^ok ' <<<"$output")"
	for name in iommu gpu bind msix bars memlock image; do
		lacks "$name"
	done
	run -0 --separate-stderr doctor demo
	equal '' "$stderr"
}

@test "without a word it checks for the GPU where there is an NVIDIA one" {
	run -0 --separate-stderr doctor
	has "$stderr" 'checking for gpu'
	has "$output" 'bars: '
	echo 0x1002 >"$dev/vendor"
	run -0 --separate-stderr doctor
	has "$stderr" 'checking for demo'
	rm -r "$dev"
	run -0 --separate-stderr doctor
}

@test "doctor refuses what it does not know" {
	for args in 'moon' 'demo gpu' '--bogus' '--instance'; do
		# shellcheck disable=SC2086 # words
		run -64 --separate-stderr doctor $args
		equal '' "$output"
		equal 1 "$(wc -l <<<"$stderr")"
	done
	export ISOSPIN_ACCEL=maybe
	run -78 --separate-stderr doctor demo
}

@test "JSON has an object with the same keys for each line of the text" {
	limits 65536
	json()
	{
		run -1 --separate-stderr doctor --json gpu
		equal '["message","name","remedy","status","target"]' \
			"$(jq -c keys <<<"$output" | sort -u)"
		equal gpu "$(jq -r .target <<<"$output" | sort -u)"
		# The free space on a disk changes.
		text=$(doctor gpu | grep -v 'MiB are free in') || :
		equal "$text" "$(jq -r 'select(.message | test("MiB are free in") |
			not) | (.status + "    ")[:4] + "  " + .name +
			": " + .message + (if .remedy == "" then "" else
			"; " + .remedy end)' <<<"$output")"
	}
	with_shells json
}

@test "nothing is changed but the kept answer of KVM's probe" {
	list()
	{
		# The size of a directory depends on the file system.
		find . -path ./fake -prune -o -type d -printf '%p %m\n' -o \
			-printf '%p %s %m %l\n' | grep -v probe-kvm | sort
	}
	list >"$BATS_RUN_TMPDIR/before"
	doctor gpu || :
	list | diff "$BATS_RUN_TMPDIR/before" -
	[ -s run/probe-kvm ]
	rm -r run
	run -0 doctor demo
	[ ! -e run ]
}

@test "what cannot be read is unknown, and never ok" {
	rm -r proc "$dev/config" sys/class/iommu/dmar0/intel-iommu \
		sys/kernel/mm/transparent_hugepage
	for name in cpu memory hugepages remapping parameters memlock msix \
		bars; do
		finds gpu warn "$name" 'unknown: '
		run ! grep -E "^ok +$name: " <<<"$output"
	done
}

@test "tools: a missing one fails where the demo could not install it" {
	echo jq >lacks
	finds gpu warn tools 'not installed: jq; sudo isospin setup demo'
	if [ "$(id -u)" -eq 0 ]; then
		finds demo warn tools 'not installed: jq'
	else
		finds demo fail tools 'not installed: jq'
	fi
	rm lacks
	finds gpu ok tools 'is there'
}

@test "tools: another distribution ends the demo, and is unknown for the GPU" {
	printf 'ID=fedora\nVERSION_ID=40\n' >os-release
	finds demo fail tools 'this is fedora 40'
	finds gpu warn tools 'unknown: '
}

@test "state: a directory that others can read, and a path too long" {
	chmod 755 run
	finds demo fail state 'mode 0700'
	equal '' "$(ls run)"
	chmod 700 run
	local long=$PWD/run/

	while [ "${#long}" -lt 64 ]; do long=${long}x; done
	export ISOSPIN_RUN_DIR=$long
	run -1 --separate-stderr doctor --instance abcdefghijklmnop demo
	has "$output" 'too long for the address of a socket'
	run -0 --separate-stderr doctor --instance abc demo
	export ISOSPIN_RUN_DIR=relative
	finds demo fail state 'not absolute'
}

@test "disk: what has to be fetched needs room" {
	only=dash # busybox has a df of its own
	fake df <<<'printf "head\nfs 9 9 150 9%% /\n"'
	finds demo ok disk '150 MiB are free'
	rm -r assets/nvidia/5*
	finds demo ok disk '150 MiB are free'
	rm -r assets/kernels
	finds demo fail disk '304 MiB are wanted; make room'
	fake df <<<'exit 1'
	finds demo warn disk 'unknown: '
}

@test "cpu: without virtualization it warns, and fails for ACCEL=kvm" {
	sed -i 's/vmx/hypervisor/' proc/cpuinfo
	finds demo warn cpu 'nested virtualization'
	sed -i 's/hypervisor/sse3/' proc/cpuinfo
	finds demo warn cpu 'firmware setup'
	export ISOSPIN_ACCEL=kvm
	finds demo fail cpu 'neither vmx nor svm'
	sed -i 's/sse3/svm/' proc/cpuinfo
	finds demo ok cpu AMD-V
	sed -i 's/ lm / /' proc/cpuinfo
	finds demo fail cpu x86-64
}

@test "kvm: that /dev/kvm opens is not enough, a guest must run" {
	fake_qemu 1
	finds demo warn kvm 'a probe guest does not run'
	export ISOSPIN_ACCEL=kvm
	finds demo fail kvm 'a probe guest does not run'
	rm dev/kvm
	finds demo fail kvm 'there is no /dev/kvm'
	export ISOSPIN_ACCEL=tcg
	finds demo ok kvm 'not wanted'
}

@test "kvm: a kept failure is tried again, a kept success is not" {
	fake_qemu 1
	finds demo warn kvm 'does not run'
	fake_qemu 33
	finds demo ok kvm 'a probe guest runs'
	fake_qemu 1
	finds demo ok kvm 'a probe guest runs'
}

# fake_vmm NAME VERSION
fake_vmm()
{
	fake "$1" <<<"echo '$2'"
}

@test "vmm: what is installed is chosen if KVM works, and must be new enough" {
	finds demo ok vmm 'the GPU VM: QEMU 7.2.22 (Debian 1:7.2) (cloud-hypervisor is not installed)'
	fake_vmm cloud-hypervisor 'cloud-hypervisor v53.0'
	fake_vmm firecracker 'Firecracker v1.13.1'
	finds demo ok vmm 'workers: Firecracker v1.13.1'
	finds demo ok vmm 'the GPU VM: cloud-hypervisor v53.0'
	has "$output" 'ok    vsock: the VMMs have their own'
	has "$output" 'ok    cids: each VM'
	fake_vmm cloud-hypervisor 'cloud-hypervisor v40.0'
	finds demo fail vmm 'the GPU VM: cloud-hypervisor: version 41.0 is the first'
	fake firecracker <<<'echo broken >&2; exit 1'
	finds demo fail vmm 'workers: firecracker --version failed: broken'
	rm dev/kvm
	finds demo ok vmm 'workers: QEMU 7.2.22 (Debian 1:7.2) (no KVM here)'
	export ISOSPIN_WORKER_VMM=firecracker
	finds demo fail vmm 'WORKER_VMM=firecracker needs KVM'
}

# path_without PROGRAM: sets PATH to all installed programs except this one.
path_without()
{
	path=$PATH
	mkdir bin
	find /usr/sbin/ /usr/bin/ -maxdepth 1 ! -type d ! -name "$1" \
		-exec ln -sf -t bin {} +
	PATH=$PWD/bin
}

@test "commands: one that booting a VM calls is missing" {
	path_without cpio
	only=dash # busybox has a cpio of its own
	finds gpu fail commands 'not found: cpio'
	PATH=$path
}

@test "vmm: a QEMU that does not start, and none" {
	fake qemu-system-x86_64 <<<'echo libx.so is missing >&2; exit 127'
	finds demo fail vmm 'QEMU does not start: libx.so is missing'
	lacks vsock
	path_without qemu-system-x86_64
	finds gpu fail vmm 'qemu-system-x86_64 is not installed'
	finds gpu warn kvm 'unknown: '
	PATH=$path
}

@test "vsock: VSOCK=vhost wants the node, auto does without" {
	rm dev/vhost-vsock
	finds demo ok vsock 'a vsock-device process'
	export ISOSPIN_VSOCK=vhost
	finds demo fail vsock 'modprobe vhost_vsock'
}

@test "vsock, cids: what the VMM says of its guests counts, not its name" {
	mkdir proc/77
	printf 'qemu\0-device\0vhost-vsock-pci,guest-cid=5\0' >proc/77/cmdline
	other()
	{
		# shellcheck disable=SC2016 # for that shell
		run -0 sh_lib 'use doctor
			vmm_choose()
			{
				vmm_record="VMM=other${base_nl}VSOCK=hybrid$base_nl"
				[ "$1" != worker ] ||
					vmm_record="VMM=other${base_nl}VSOCK=vhost$base_nl"
			}
			conf_load
			doctor_begin demo
			proc_run= doctor_accel=kvm doctor_no_tool=fail
			doctor_vmm; doctor_vsock; doctor_cids'
		has "$output" 'ok    vsock: /dev/vhost-vsock opens'
		has "$output" "fail  cids: WORKER_CID=5 is another VM's"
	}
	with_shells other
}

@test "cids: one of somebody else's VM fails, one of ours does not" {
	mkdir proc/77
	printf 'qemu\0-device\0vhost-vsock-pci,guest-cid=3\0' >proc/77/cmdline
	finds demo fail cids "GPU_VM_CID=3 is another VM's"
	printf 'qemu\0-device\0{"driver":"vhost-vsock-pci","guest-cid":5}\0' \
		>proc/77/cmdline
	finds demo fail cids "WORKER_CID=5 is another VM's"
	shell=dash
	sh_lib "conf_load; proc_init abcd; proc_record vms/w1/vmm $$"
	mkdir run/cids
	echo "$PWD/run/abcd/vms/w1" >run/cids/5
	finds demo ok cids '5 is in use: the next free one'
	rm -r run/cids
	export ISOSPIN_VSOCK=vhost-user
	finds demo ok cids 'address space of its own'
	finds demo ok vsock 'a vsock-device process'
}

@test "memory: VFIO pins all of it, the demo only may need it" {
	meminfo 64000000 1000000 0
	finds gpu fail memory 'the GPU VM has 8192 MiB'
	finds demo warn memory '1280 MiB, but 977 MiB are free'
	export ISOSPIN_GPU_VM_MEM=512M
	finds gpu ok memory '512 MiB of 977 MiB'
}

@test "hugepages: reserved ones are missing when memory is short" {
	meminfo 64000000 32000000 1024
	finds gpu ok hugepages '2048 MiB are reserved'
	meminfo 64000000 1000000 1024
	finds gpu warn hugepages 'nr_hugepages'
}

@test "kernel: none, and not the one that was asked for" {
	export ISOSPIN_KERNEL=6.6
	finds demo fail kernel 'no kernel of KERNEL=6.6'
	unset ISOSPIN_KERNEL
	mkdir assets/kernels/6.12.9-isospin
	finds gpu ok kernel '6.12.0-test boots the GPU VM, 6.12.9-isospin the workers'
	rm -r assets/kernels
	finds gpu fail kernel 'isospin setup demo fetches it'
}

@test "programs: the demo builds them, gpu-vm does not" {
	rm top/build/bin/vmctl
	finds gpu fail programs 'not built: vmctl; make'
	finds demo ok programs 'isospin demo builds: vmctl'
	mkdir assets/kernels/6.12.9-isospin
	finds gpu fail programs 'kmod/6.12.9-isospin/nvidia-shim.ko'
}

@test "pair: a real driver wants its own table and programs" {
	export ISOSPIN_DRIVER_VERSION=999.10.01
	finds gpu fail pair 'no table of driver 999.10.01'
	unset ISOSPIN_DRIVER_VERSION
	rm -r assets/nvidia/580.95.05
	finds gpu fail pair 'set DRIVER_VERSION=550.163.01'
	rm -r assets/nvidia/5*
	finds gpu fail pair 'none; isospin setup demo'
}

@test "image: none with the driver for this kernel, with the command that makes it" {
	rm top/build/images/*
	finds gpu fail image "no image with NVIDIA's driver 580.95.05 for kernel 6.12.0-test; isospin build --driver 580.95.05 gpu-rootfs"
}

@test "pair: the soft driver wants a table of the branch" {
	finds demo ok pair 'nvidia-smi 580.95.05'
	export ISOSPIN_NVIDIA_BRANCH=535
	mv assets/nvidia/535.261.03 assets/nvidia/535.999.01
	finds demo ok pair 'nvidia-smi 535.999.01'
	unset ISOSPIN_NVIDIA_BRANCH
	mkdir assets/nvidia/999.1.1
	finds demo fail pair 'no table of branch 999'
	rm -r assets/nvidia/[59]*
	printf '535 no mirror has it\n550 no mirror has it\n' >assets/nvidia/missing
	finds demo warn pair 'no mirror has it'
	export ISOSPIN_NONFREE=no
	finds demo ok pair 'isospin-smi stands in'
}

@test "iommu: off is said once, with the reason" {
	rm -r sys/kernel/iommu_groups sys/class/iommu "$dev/iommu_group"
	echo 'quiet intel_iommu=off' >proc/cmdline
	finds gpu fail iommu 'intel_iommu=off'
	lacks iommu_off
	lacks remapping
}

@test "remapping: without it VFIO refuses, unless told not to" {
	printf ' 24:  0  PCI-MSI-0000:00:1f.2  0-edge  ahci\n' >proc/interrupts
	finds gpu fail remapping 'VFIO refuses the device'
	mkdir -p sys/module/vfio_iommu_type1/parameters
	echo Y >sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
	finds gpu warn remapping 'are not remapped'
}

@test "parameters: each that is in the way is named" {
	for word in intremap=off intremap=nosid pci=nomsi pci=noaer,nomsi \
		module_blacklist=nouveau,vfio_pci modprobe.blacklist=vfio-pci; do
		echo "quiet $word splash" >proc/cmdline
		finds gpu fail parameters "$word is on"
	done
	echo pcie_acs_override=downstream >proc/cmdline
	finds gpu warn parameters 'pcie_acs_override=downstream is on'
	echo 'module_blacklist=nouveau pci=realloc video=efifb:off *' >proc/cmdline
	finds gpu ok parameters 'nothing'
}

@test "gpu: another address, and a device that is none" {
	export ISOSPIN_GPU_BDF=0000:02:00.0
	finds gpu fail gpu "no device 0000:02:00.0; set GPU_BDF=$card"
	lacks bind
	echo 0x020000 >"$dev/class"
	finds gpu fail gpu 'isospin vfio-status shows'
	unset ISOSPIN_GPU_BDF
	finds gpu fail gpu 'is no NVIDIA display device'
}

@test "bind: a GPU with its own driver is to be bound first" {
	ln -sfn ../../drivers/nouveau "$dev/driver"
	finds gpu fail bind "driver nouveau, group 1); isospin vfio-bind $card"
}

@test "the rules of vfio-status are doctor's too" {
	other=sys/bus/pci/devices/0000:02:00.0
	cp -r "$dev" "$other"
	ln -sfn ../../drivers/nouveau "$other/driver"
	ln -s "../../../../bus/pci/devices/0000:02:00.0" \
		sys/kernel/iommu_groups/1/devices
	finds gpu fail group_member_foreign 'belongs to nouveau'
	lacks bind
	rm -r "$other" sys/kernel/iommu_groups/1/devices/0000:02:00.0
	: >"$dev/reset_method"
	finds gpu warn no_reset 'no way to be reset'
}

@test "a device that hangs is stuck, and doctor is not" {
	rm "$dev/driver_override"
	mkfifo "$dev/driver_override"
	finds gpu fail stuck 'does not answer'
}

@test "msix: MSI will do, neither is slow, all ones is gone, 64 bytes is unknown" {
	finds gpu ok msix '9 vectors, its table in BAR 0'
	capabilities 0x68 0x05
	finds gpu ok msix 'MSI, no MSI-X'
	capabilities
	finds gpu warn msix 'neither'
	capabilities 0x40 0x11
	config 0x41 0x40 # a list that leads to itself
	config 0x40 0x01
	finds gpu warn msix 'neither'
	head -c 64 "$dev/config" >short
	mv short "$dev/config"
	finds gpu warn msix 'unknown: '
	head -c 256 /dev/zero | tr '\0' '\377' >"$dev/config"
	finds gpu fail msix 'left the bus'
}

@test "bars: beyond the guest's address bits, or beyond the IOMMU's" {
	finds gpu ok bars '131120 MiB fit into 46 address bits of the guest and 48'
	sed -i 's/46 bits/37 bits/' proc/cpuinfo
	finds gpu fail bars "the guest's 37 address bits"
	sed -i 's/37 bits/39 bits/' proc/cpuinfo
	finds gpu ok bars '39 address bits of the guest'
	# A unit with page tables of three levels (SAGAW) and 36 bits (MGAW).
	echo 230200 >sys/class/iommu/dmar0/intel-iommu/cap
	finds gpu fail bars "the IOMMU's 36 address bits"
	export ISOSPIN_ACCEL=tcg ISOSPIN_GPU_VM_MEM=1000G
	finds gpu fail bars 'get KVM to run'
}

@test "bars: Cloud Hypervisor lays them at the top, and doubles that of a table" {
	fake_vmm cloud-hypervisor 'cloud-hypervisor v53.0'
	sed -i 's/46 bits/52 bits/' proc/cpuinfo
	finds gpu ok bars '131120 MiB fit into 46 address bits of the guest and 48'
	capabilities 0x40 0x11 0x08 0x00 0x04 0x08 0x00 0x00
	finds gpu ok bars '131152 MiB' # BAR 4 takes 64 MiB instead of 32
	export ISOSPIN_GPU_VMM=qemu
	finds gpu ok bars '131120 MiB'
	unset ISOSPIN_GPU_VMM
	echo d2008c22260286 >sys/class/iommu/dmar0/intel-iommu/cap
	finds gpu fail bars "the IOMMU's 39 address bits"
}

@test "lockdown: vfio-pci must be loaded already, or be signed" {
	only=dash # busybox has a modinfo of its own
	fake modinfo <<<"echo 'Some Distribution'"
	fake modprobe <<<':'
	echo 'none [integrity] confidentiality' >sys/kernel/security/lockdown
	finds gpu ok lockdown 'lockdown integrity; vfio-pci is loaded'
	rm -r sys/bus/pci/drivers/vfio-pci
	finds gpu ok lockdown 'signed by Some Distribution'
	fake modinfo <<<':'
	finds gpu fail lockdown 'is not signed and cannot be loaded'
	echo '[none] integrity confidentiality' >sys/kernel/security/lockdown
	finds gpu ok lockdown 'any module may be loaded'
	mkdir -p sys/module/module/parameters
	echo Y >sys/module/module/parameters/sig_enforce
	finds gpu fail lockdown 'is not signed and cannot be loaded'
	rm -r sys/kernel/security/* sys/module
	finds gpu warn lockdown 'unknown: '
}

@test "lockdown: Secure Boot is read where there is UEFI" {
	efi=sys/firmware/efi/efivars
	mkdir -p "$efi"
	finds gpu ok lockdown 'Secure Boot unknown'
	printf '\6\0\0\0\1' >"$efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	finds gpu ok lockdown 'Secure Boot is on'
	printf '\6\0\0\0\0' >"$efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	finds gpu ok lockdown 'Secure Boot is off'
}

@test "memlock: all of the VM, and its firmware, must be lockable" {
	limits 8388608
	finds gpu fail memlock '8192 KiB may be locked; the VM has 8192 MiB'
	limits 8589934592
	finds gpu warn memlock 'its firmware comes on top'
	limits 9663676416
	finds gpu ok memlock '9216 MiB'
}
