#!/usr/bin/env bats
# bats file_tags=lab
# The demo's VMs on real VMMs, which LAB_VMMS brings into the lab: the GPU VM in Cloud
# Hypervisor, with a card by VFIO, and workers in Firecracker.

load ../lib/common.sh
load ../lib/stack.sh

card=0000:00:05.0 other=0000:00:06.0
# Firecracker's user is this number plus the CID.
uid_base=1879048192

setup_file()
{
	cd "$TOP" || return
	vmms || return 0
	echo "# with $(first_line firecracker), $(first_line jailer)," \
		"$(first_line cloud-hypervisor)" >&3
	stack_new
	# KVM is nested here, and the probe would exceed its five seconds.
	export ISOSPIN_ACCEL=kvm ISOSPIN_BOOT_TIMEOUT=200
	export ISOSPIN_GPU_VMM=cloud-hypervisor ISOSPIN_WORKER_VMM=firecracker
	scripts/vfio-bind.sh $card
	list_host >"$BATS_FILE_TMPDIR/before"
	again isospin gpu-vm --driver soft --device $card --detach
	isospin vsock-bridge --detach
	again isospin worker-vm --name w1 --detach &
	again isospin worker-vm --name w2 --detach
	wait "$!"
}

teardown_file()
{
	[ -z "${ISOSPIN_RUN_DIR:-}" ] || stack_end
	cd "$TOP" && scripts/vfio-unbind.sh $card
}

setup()
{
	cd "$TOP" || return
	vmms || skip 'LAB_VMMS has no firecracker, jailer and cloud-hypervisor'
}

vmms()
{
	local name

	for name in firecracker jailer cloud-hypervisor; do
		command -v "$name" >/dev/null || return
	done
}

first_line()
{
	"$1" --version | head -n 1
}

# again COMMAND...: runs COMMAND, and once more if it fails, because a nested guest
# hangs now and then.
again()
{
	"$@" || "$@"
}

# vmm_pid NAME: prints the pid of the VM's VMM.
vmm_pid()
{
	isospin status --json | jq -r --arg name "$1" 'select(.name == $name).pid'
}

# status_of PID KEY: prints that line of the process's status, without the key.
status_of()
{
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# confined PID: the process has no capability and can gain none, and each of its
# threads that run a VM is under a system call filter.
confined()
{
	local threads

	equal 0000000000000000 "$(status_of "$1" CapEff)"
	equal 1 "$(status_of "$1" NoNewPrivs)"
	threads=$(grep -h -A 100 -E '^Name:.*(vcpu|vmm|fc_api|http)' \
		/proc/"$1"/task/*/status | sed -n 's/^Seccomp:[[:space:]]*//p')
	equal 2 "$(sort -u <<<"$threads")"
}

vm_conf()
{
	sed -n "s/^$2=//p" "$ISOSPIN_RUN_DIR"/*/vms/"$1"/vm.conf
}

@test "Cloud Hypervisor has the GPU VM, confined, with the card by VFIO" {
	equal cloud-hypervisor "$(vm_conf gpu0 VMM)"
	confined "$(vmm_pid gpu0)"
	# Nothing shows what Landlock allows a process, so look for the option.
	tr '\0' '\n' <"/proc/$(vmm_pid gpu0)/cmdline" | grep -x -- --landlock
	run -0 in_gpu sh -c 'cat /sys/bus/pci/devices/*/vendor /sys/bus/pci/devices/*/class'
	has "$output" 0x1b36
	has "$output" 0x010802
	run -1 scripts/vfio-status.sh $card
	has "$output" "pid $(vmm_pid gpu0)"
}

@test "Firecracker has each worker, in its jail, another user, under seccomp" {
	local name pid cid

	for name in w1 w2; do
		equal firecracker "$(vm_conf "$name" VMM)"
		pid=$(vmm_pid "$name")
		cid=$(vm_conf "$name" CID)
		confined "$pid"
		equal $((uid_base + cid)) "$(status_of "$pid" Uid | cut -f 1)"
		run -0 ls "/proc/$pid/root/" --ignore firecracker.pid
		equal 'dev firecracker log run v' "$(paste -sd ' ' <<<"$output")"
		# The kernel and the initial RAM disk with the VM's secret are gone.
		run -0 ls -A "/proc/$pid/root/v"
		equal 'api.sock vsock.sock vsock.sock_9999' \
			"$(paste -sd ' ' <<<"$output")"
	done
}

@test "a worker of each has the GPU; the broker has a process and a user for each" {
	has "$(smi w1)" 'Isospin Soft GPU'
	has "$(smi w2)" 'Isospin Soft GPU'
	run -0 in_gpu ps -o pid,user,args
	echo "$output"
	children=$(grep -- '--child w[12]' <<<"$output")
	equal 2 "$(wc -l <<<"$children")"
	equal 2 "$(awk '{ print $2 }' <<<"$children" | sort -u | wc -l)"
}

@test "the bridge started again, workers in Firecracker heal" {
	isospin vsock-bridge --stop
	run ! smi w1
	isospin vsock-bridge --detach
	wait_for 60 smi w1
	wait_for 60 smi w2
}

@test "a worker without the jailer is root with no capability, under seccomp" {
	ISOSPIN_FIRECRACKER_JAIL=no again isospin worker-vm --name w3 --detach
	confined "$(vmm_pid w3)"
	equal 0 "$(status_of "$(vmm_pid w3)" Uid | cut -f 1)"
	has "$(smi w3)" 'Isospin Soft GPU'
	isospin kill-vms w3
}

@test "with FIRECRACKER_PCI its devices are on PCI" {
	ISOSPIN_FIRECRACKER_PCI=yes again isospin worker-vm --name w3 --detach
	has "$(in_worker w3 sh -c 'cat /sys/bus/pci/devices/*/vendor')" 0x1af4
	has "$(smi w3)" 'Isospin Soft GPU'
	isospin kill-vms w3
}

@test "a worker of QEMU has the GPU of the same GPU VM" {
	ISOSPIN_WORKER_VMM=qemu again isospin worker-vm --name w3 --detach
	equal 'qemu vhost' "$(vm_conf w3 VMM) $(vm_conf w3 VSOCK)"
	has "$(smi w3)" 'Isospin Soft GPU'
	isospin kill-vms w3
}

@test "a card that another VM has is refused, and who has it is named" {
	run -75 --separate-stderr isospin gpu-vm --name gpu1 --driver soft \
		--device $card --detach
	has "$stderr" "$card is in a VM: pid $(vmm_pid gpu0) (cloud-hyperviso)"
	has "$stderr" "$card is in use"
	isospin status --json | grep '"gpu0".*running'
}

@test "a card that is taken meanwhile: Cloud Hypervisor's words, and what to do" {
	local group real

	real=$(command -v cloud-hypervisor)
	scripts/vfio-bind.sh $other
	group=$(basename "$(readlink /sys/bus/pci/devices/$other/iommu_group)")
	fake cloud-hypervisor <<-EOT
	[ "\$1" = --version ] || exec 8</dev/vfio/$group
	exec $real "\$@"
	EOT
	run -69 --separate-stderr isospin gpu-vm --name gpu1 --driver soft \
		--device $other --detach
	scripts/vfio-unbind.sh $other
	echo "$stderr"
	has "$stderr" "failed to open /dev/vfio/$group group"
	has "$stderr" 'isospin vfio-status names it'
}

@test "a file that is no kernel: Firecracker's words, and what to do" {
	local kernel

	kernel=build/images/vmlinux-$(vm_conf w1 KERNEL)
	mv "$kernel" "$BATS_TEST_TMPDIR/kernel"
	echo none >"$kernel"
	run -69 --separate-stderr isospin worker-vm --name w3 --detach
	mv "$BATS_TEST_TMPDIR/kernel" "$kernel"
	echo "$stderr"
	has "$stderr" 'firecracker refused PUT /actions'
	has "$stderr" 'isospin build fc-gpu-kernel makes one'
}

@test "the workers' own kernel boots in Cloud Hypervisor" {
	local kernel console=$BATS_TEST_TMPDIR/console pid rc=0

	for kernel in .vm-assets/kernels/*-isospin/vmlinuz; do :; done
	[ -f "$kernel" ] || skip 'fc-gpu-kernel has not been built'
	equal "$(basename "$(dirname "$kernel")")" "$(in_worker w1 uname -r)"
	: >"$console"
	cloud-hypervisor --kernel "$kernel" --cpus boot=1 --memory size=256M \
		--initramfs build/images/worker-*-isospin.cpio --console off \
		--cmdline 'console=ttyS0 quiet panic=-1' \
		--serial "file=$console" 3>&- &
	pid=$!
	wait_for 60 grep -q 'state=failed reason=/isospin/boot.conf: No such' "$console" ||
		rc=1
	kill "$pid"
	wait "$pid" || :
	cat "$console"
	equal 0 "$rc"
}

@test "kill-vms leaves no process, mount, socket or file of any of them" {
	run -0 --separate-stderr isospin kill-vms
	equal 'kill-vms: info: stopped: w1 w2 bridge gpu0' "$stderr"
	equal '' "$(ps -eo comm= | grep -E 'firecracker|jailer|cloud-hyp|qemu' || :)"
	equal '' "$(grep "$ISOSPIN_RUN_DIR" /proc/[0-9]*/mounts || :)"
	list_host >"$BATS_FILE_TMPDIR/after"
	diff <(no_rest "$BATS_FILE_TMPDIR/before") \
		<(no_rest "$BATS_FILE_TMPDIR/after")
	equal '' "$(find "$ISOSPIN_RUN_DIR"/*/{vms,bridge.d} -mindepth 1)"
}

# no_rest FILE: prints FILE without the files that a first command makes for good.
no_rest()
{
	grep -v "^file [df] $ISOSPIN_RUN_DIR" "$1"
}
