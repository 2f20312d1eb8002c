#!/usr/bin/env bats
# bats file_tags=lab
# doctor where KVM runs guests, an IOMMU translates and cards are real, so that its
# rules judge what a real kernel writes to sysfs.

load ../lib/common.sh

nvme=0000:00:05.0
vga=0000:01:00.0
big=0000:00:08.0

setup()
{
	export ISOSPIN_GPU_VM_MEM=512M
	export ISOSPIN_GPU_VMM=qemu ISOSPIN_WORKER_VMM=qemu
}

teardown()
{
	"$TOP/scripts/vfio-unbind.sh" "$nvme" 2>/dev/null || :
}

# says TEXT BDF: doctor prints a line with TEXT about BDF.
says()
{
	local rc=0

	output=$(ISOSPIN_GPU_BDF=$2 "$TOP/scripts/doctor.sh" gpu) || rc=$?
	equal 1 "$rc"
	has "$output" "$1"
}

@test "KVM runs a guest, the IOMMU is on and interrupts are remapped" {
	says 'ok    cpu: x86-64 with AMD-V (svm)' "$nvme"
	has "$output" 'ok    kvm: a probe guest runs'
	has "$output" 'ok    vsock: /dev/vhost-vsock opens'
	has "$output" 'ok    iommu: on: Intel VT-d, dmar0'
	has "$output" 'ok    remapping: '
	has "$output" 'ok    memory: the GPU VM has 512 MiB'
}

@test "MSI-X and BARs are those that lspci shows" {
	says 'ok    msix: MSI-X with ' "$nvme"
	vectors=$(sed -n 's/^ok    msix: MSI-X with \([0-9]*\) .*/\1/p' <<<"$output")
	has "$(lspci -vv -s "$nvme")" "MSI-X: Enable+ Count=$vectors "
	has "$output" 'ok    bars: 64-bit BARs of 1 MiB fit into 40 address bits of the guest and 48 of the IOMMU'
	says 'warn  msix: 0000:01:00.0 has neither MSI-X nor MSI' "$vga"
	run ! grep MSI <<<"$(lspci -vv -s "$vga")"
}

@test "a BAR of 64 GiB wants room beside the guest's memory" {
	says 'ok    bars: 64-bit BARs of 65536 MiB fit into 40 address bits of the guest and 48 of the IOMMU' "$big"
	export ISOSPIN_GPU_VM_MEM=960G
	says "fail  bars: 64-bit BARs of 65536 MiB do not fit into the guest's 40 address bits beside its memory" "$big"
}

@test "a card is to be bound, and then is" {
	says "fail  bind: $nvme is not bound to vfio-pci (driver nvme, " "$nvme"
	"$TOP/scripts/vfio-bind.sh" "$nvme"
	says "ok    bind: $nvme is bound to vfio-pci" "$nvme"
}

@test "the limit of locked memory is the shell's" {
	says 'fail  memlock: 8192 KiB may be locked; the VM has 512 MiB' "$nvme"
	ulimit -l unlimited
	says 'ok    memlock: unlimited' "$nvme"
}
