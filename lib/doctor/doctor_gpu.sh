# shellcheck shell=sh
# doctor_gpu.sh - check this host for anything that would fail later with a real GPU
#
# doctor_cpu, doctor_kvm and doctor_vmm come first: the size of the guest's address space
# follows from them.

use conf sysfs pci users judge abi assets gpu doctor

# doctor_gpu_device: the GPU of the configuration. Sets doctor_gpu_bdf to its address, or
# to nothing if there is no such device.
doctor_gpu_device()
{
	local found vendor device class driver

	conf_get doctor_gpu_bdf GPU_BDF
	if pci_load "$doctor_gpu_bdf"; then
		base_fields "$pci_record" vendor device class driver
		case $vendor:$class in
		10de:03*) doctor_say ok gpu "$doctor_gpu_bdf is there: NVIDIA $vendor:$device, driver ${driver:-none}" ;;
		*) doctor_say fail gpu "$doctor_gpu_bdf is no NVIDIA display device ($vendor:$device, class ${class%??})" \
			'set GPU_BDF; isospin vfio-status shows what there is' ;;
		esac
		return 0
	fi
	if found=$(doctor_gpu_find); then
		found="set GPU_BDF=$found"
	else
		found='isospin vfio-status shows what there is'
	fi
	doctor_say fail gpu "there is no device $doctor_gpu_bdf" "$found"
	doctor_gpu_bdf=
}

# doctor_gpu_find: prints the first NVIDIA display device; 1 if there is none.
doctor_gpu_find()
{
	local dev vendor class

	for dev in "$SYSFS_ROOT"/bus/pci/devices/*; do
		sysfs_get "$dev/vendor" vendor || continue
		sysfs_get "$dev/class" class || continue
		case $vendor:$class in
		0x10de:0x03*)
			printf '%s\n' "${dev##*/}"
			return 0 ;;
		esac
	done
	return 1
}

# doctor_gpu_iommu: whether the host's IOMMU is on.
doctor_gpu_iommu()
{
	pci_iommu_load
	if [ "$pci_iommu" -eq 1 ]; then
		doctor_say ok iommu "on: $pci_iommu_why"
	else
		doctor_say fail iommu "off: $pci_iommu_why" "$pci_iommu_remedy"
	fi
}

# doctor_gpu_rules: the findings of vfio-status and vfio-bind about the device and its
# group, except that the IOMMU is off, which has a check of its own. Sets
# doctor_gpu_record to the device's record.
doctor_gpu_rules()
{
	local code severity message remedy state driver iommu_group users_complete

	users_scan
	judge_load "$doctor_gpu_bdf"
	doctor_gpu_record=$judge_record
	while IFS='	' read -r code severity message remedy; do
		case $code:$severity in
		problem=iommu_off:*) ;;
		problem=*:error)
			doctor_say fail "${code#*=}" "$message" "$remedy" ;;
		problem=*) doctor_say warn "${code#*=}" "$message" "$remedy" ;;
		esac
	done <<-EOT
	$doctor_gpu_record
	EOT
	base_fields "$doctor_gpu_record" state driver iommu_group users_complete
	case $state in
	ready) doctor_say ok bind "$doctor_gpu_bdf is bound to vfio-pci, group $iommu_group" ;;
	bindable) doctor_say fail bind "$doctor_gpu_bdf is not bound to vfio-pci (driver ${driver:-none}, group $iommu_group)" \
		"isospin vfio-bind $doctor_gpu_bdf" ;;
	esac
	[ "$users_complete" != 0 ] || doctor_unknown users \
		'whether processes of other users use it' 'as root doctor sees them'
}

# doctor_gpu_remapping: whether the IOMMU remaps interrupts. If it does not,
# vfio_iommu_type1_attach_group() of Linux 6.1 to 6.12 fails with EPERM, unless the
# module's parameter allow_unsafe_interrupts is set. If it does, the names of the
# interrupts' controllers begin with IR-.
doctor_gpu_remapping()
{
	local text unsafe

	[ "$pci_iommu" -eq 1 ] || return 0
	text=$(cat "$PROCFS_ROOT/interrupts" 2>/dev/null) || text=
	sysfs_get "$SYSFS_ROOT/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts" \
		unsafe || unsafe=
	case $text:$unsafe in
	*' IR-'*) doctor_say ok remapping 'interrupts are remapped' ;;
	:*) doctor_unknown remapping "$PROCFS_ROOT/interrupts cannot be read" ;;
	*:Y) doctor_say warn remapping 'interrupts are not remapped, and vfio_iommu_type1 is told to go on' \
		'a guest can raise any interrupt of the host: trust what runs in it' ;;
	*) doctor_say fail remapping 'interrupts are not remapped: VFIO refuses the device' \
		'switch x2APIC or interrupt remapping on in the firmware setup; take intremap=off from the command line' ;;
	esac
}

# doctor_gpu_parameters: words on the kernel's command line that are in the way. Those
# that switch the IOMMU off are named by the IOMMU's own check.
doctor_gpu_parameters()
{
	local line word bad=0

	if ! sysfs_get "$PROCFS_ROOT/cmdline" line; then
		doctor_unknown parameters "$PROCFS_ROOT/cmdline cannot be read"
		return 0
	fi
	set -f
	# shellcheck disable=SC2086 # the words of the line
	set -- $line
	set +f
	for word; do
		case $word in
		intremap=off | intremap=nosid)
			bad=1
			doctor_say fail parameters "$word is on the kernel's command line" \
				'take it away and reboot: VFIO wants interrupts remapped and verified' ;;
		pci=nomsi | pci=*,nomsi | pci=nomsi,* | pci=*,nomsi,*)
			bad=1
			doctor_say fail parameters "$word is on the kernel's command line" \
				'take nomsi away and reboot: without MSI a GPU has no interrupts of its own' ;;
		pcie_acs_override=*)
			bad=1
			doctor_say warn parameters "$word is on the kernel's command line" \
				'groups look smaller than they are; devices of one can reach each other' ;;
		module_blacklist=* | modprobe.blacklist=*)
			case ",${word#*=}," in
			*,vfio-pci,* | *,vfio_pci,* | *,vfio,* | *,vfio_iommu_type1,*)
				bad=1
				doctor_say fail parameters "$word is on the kernel's command line" \
					'take vfio away from it and reboot' ;;
			esac ;;
		esac
	done
	[ "$bad" -ne 0 ] || doctor_say ok parameters \
		"nothing on the kernel's command line is in the way"
}

# doctor_gpu_lockdown: whether the kernel would refuse to load vfio-pci. VFIO itself works
# under lockdown and Secure Boot (Linux' LOCKDOWN_PCI_ACCESS guards the config and
# resource files of sysfs, drivers/pci/pci-sysfs.c, and nothing in drivers/vfio); a
# module without a signature is refused.
doctor_gpu_lockdown()
{
	local level signer what enforce

	doctor_gpu_level level
	doctor_gpu_secure_boot what
	what="$what, lockdown ${level:-unknown}"
	sysfs_get "$SYSFS_ROOT/module/module/parameters/sig_enforce" enforce || :
	if [ -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ]; then
		doctor_say ok lockdown "$what; vfio-pci is loaded"
		return 0
	fi
	# If there is no such module, the rule no_vfio_pci reports it.
	signer=$(PATH=$PATH:/usr/sbin:/sbin modinfo -F signer vfio-pci 2>/dev/null) ||
		return 0
	case $enforce:$level:$signer in
	*:?*:?* | *::?*)
		doctor_say ok lockdown "$what; vfio-pci is signed by $signer" ;;
	Y:* | *:integrity:* | *:confidentiality:*)
		doctor_say fail lockdown "$what: vfio-pci is not signed and cannot be loaded" \
			"boot the distribution's kernel, or sign its modules" ;;
	*:none:*) doctor_say ok lockdown "$what: any module may be loaded" ;;
	*) doctor_unknown lockdown "$what; vfio-pci is not signed" ;;
	esac
}

# doctor_gpu_level VAR: sets VAR to the level of lockdown: none, integrity or
# confidentiality; empty if unknown.
doctor_gpu_level()
{
	local doctor_l dir="$SYSFS_ROOT/kernel/security"

	if sysfs_get "$dir/lockdown" doctor_l; then
		doctor_l=${doctor_l#*\[}
		doctor_l=${doctor_l%%\]*}
	elif [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then
		doctor_l=none # securityfs is there, this kernel has no lockdown
	fi
	base_set "$1" "$doctor_l"
}

# doctor_gpu_secure_boot VAR: sets VAR to a phrase about Secure Boot. The file of an EFI
# variable holds four bytes of attributes, then the value (Linux'
# Documentation/filesystems/efivarfs.rst).
doctor_gpu_secure_boot()
{
	local doctor_b doctor_p='no Secure Boot (no UEFI)'
	local dir="$SYSFS_ROOT/firmware/efi"

	if [ -d "$dir" ]; then
		doctor_b=$(od -An -tu1 -j4 -N1 \
			"$dir/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c" \
			2>/dev/null | tr -d ' ')
		case $doctor_b in
		1) doctor_p='Secure Boot is on' ;;
		0) doctor_p='Secure Boot is off' ;;
		*) doctor_p='Secure Boot unknown' ;;
		esac
	fi
	base_set "$1" "$doctor_p"
}

# doctor_gpu_memlock: whether the VM's memory may be locked. VFIO pins it and counts it
# against RLIMIT_MEMLOCK unless the VMM has CAP_IPC_LOCK (vfio_pin_pages_remote() of
# Linux' vfio_iommu_type1.c), which isospin's VMMs have not, even as root. Firmware and
# ROMs of the VM count too: libvirt allows 1 GiB for them.
doctor_gpu_memlock()
{
	local limit want remedy='ulimit -l unlimited, as root, in the shell that starts it'

	limit=$(sed -n 's/^Max locked memory  *\([^ ]*\) .*/\1/p' \
		"$PROCFS_ROOT/self/limits" 2>/dev/null) || limit=
	[ "$(id -u)" -eq 0 ] ||
		remedy='raise memlock for this user in /etc/security/limits.conf and log in again'
	case $limit in
	unlimited)
		doctor_say ok memlock 'unlimited'
		return 0 ;;
	'' | *[!0-9]*)
		doctor_unknown memlock "$PROCFS_ROOT/self/limits cannot be read"
		return 0 ;;
	esac
	doctor_mib want "$doctor_mem"
	if [ "$limit" -lt "$doctor_mem" ]; then
		doctor_say fail memlock "$((limit >> 10)) KiB may be locked; the VM has $want, all pinned" \
			"$remedy"
	elif [ "$limit" -lt $((doctor_mem + (1 << 30))) ]; then
		doctor_say warn memlock "$((limit >> 20)) MiB may be locked; the VM has $want and its firmware comes on top" \
			"$remedy"
	else
		doctor_say ok memlock "$((limit >> 20)) MiB may be locked, the VM has $want"
	fi
}

# doctor_gpu_capabilities BDF: prints the kind of interrupts that the capabilities in
# config space name: `msix VECTORS BAR OFFSET`, `msi` or `none`; `silent` if they cannot
# be read, `gone` if all reads as ones, `short` if only root may read enough. Reading
# them wakes a sleeping device.
doctor_gpu_capabilities()
{
	timeout "$sysfs_deadline" od -An -v -tu1 \
		"$SYSFS_ROOT/bus/pci/devices/$1/config" 2>/dev/null | awk '
	{ for (i = 1; i <= NF; i++) b[n++] = $i }
	function find(id,    p, left)
	{
		if (int(b[6] / 16) % 2 == 0)
			return 0
		p = b[52] - b[52] % 4
		for (left = 48; p && left; left--) {
			if (p + 12 > n)
				return -1
			if (b[p] == id)
				return p
			p = b[p + 1] - b[p + 1] % 4
		}
		return 0
	}
	END {
		if (n < 64) { print "silent"; exit }
		if (b[0] == 255 && b[1] == 255) { print "gone"; exit }
		p = find(17)
		if (p < 0) { print "short"; exit }
		if (p) {
			bar = b[p + 4] % 8
			print "msix", b[p + 2] + b[p + 3] % 8 * 256 + 1, bar, \
				b[p + 4] - bar + b[p + 5] * 256 + \
				b[p + 6] * 65536 + b[p + 7] * 16777216
			exit
		}
		print (find(5) > 0 ? "msi" : "none")
	}'
}

# doctor_gpu_msix: which interrupts the device has. Sets doctor_gpu_table to the BAR whose
# MSI-X table does not begin at a page boundary, else to nothing. The VMM gives the guest
# MSI-X or MSI if the device has it. Without them, a line interrupt stays masked until
# the guest touches a BAR (Cloud Hypervisor's pci/src/vfio.rs, read_bar), for which QEMU
# unmaps the BARs (hw/vfio/pci.c, vfio_intx_interrupt).
doctor_gpu_msix()
{
	local kind vectors bar offset

	read -r kind vectors bar offset <<-EOT
	$(doctor_gpu_capabilities "$doctor_gpu_bdf")
	EOT
	doctor_gpu_table=
	case $kind in
	msix)
		[ $((offset % 4096)) -eq 0 ] || doctor_gpu_table=$bar
		doctor_say ok msix "MSI-X with $vectors vectors, its table in BAR $bar" ;;
	msi) doctor_say ok msix 'MSI, no MSI-X' ;;
	none) doctor_say warn msix "$doctor_gpu_bdf has neither MSI-X nor MSI: its interrupts will be slow" \
		'if it should have: look for a firmware update of the card' ;;
	gone) doctor_say fail msix "the config space of $doctor_gpu_bdf reads as all ones: it has left the bus" \
		'reset its bus or the machine; look for AER and Xid in dmesg' ;;
	silent) doctor_unknown msix "the config space of $doctor_gpu_bdf does not answer" ;;
	*) doctor_unknown msix 'the capabilities in config space' 'as root doctor sees them' ;;
	esac
}

# doctor_gpu_bars: whether the guest and the IOMMU can reach the 64-bit BARs. Each lies
# above the memory, aligned to its size; VFIO maps BARs for DMA too. A guest under KVM
# has the processor's address bits, under Cloud Hypervisor at most 46
# (DEFAULT_MAX_PHYS_BITS of its vmm/src/vm_config.rs), without KVM QEMU's 40
# (TCG_PHYS_ADDR_BITS of its target/i386/cpu.h). Cloud Hypervisor lays BARs at the top,
# and doubles one whose MSI-X table does not begin at a page boundary (fixup_msix_region).
doctor_gpu_bars()
{
	local bits="$doctor_phys_bits" dma size all=0 end reach
	local vmm="$doctor_vmm_gpu"

	if [ "$doctor_accel" = tcg ]; then
		bits=40
	elif [ -z "$bits" ]; then
		doctor_unknown bars "how many address bits the processor has"
		return 0
	elif [ "$vmm" = cloud-hypervisor ] && [ "$bits" -gt 46 ]; then
		bits=46
	fi
	end=$((doctor_mem + (4 << 30)))
	for size in $(printf '%s' "$doctor_gpu_record" | awk -v vmm="$vmm" \
		-v table="$doctor_gpu_table" '
		sub(/^bar=/, "") && $1 < 6 && $3 > 0 && $4 ~ /mem64/ {
			doubled = vmm == "cloud-hypervisor" && $1 == table
			printf "%.0f\n", $3 * (doubled ? 2 : 1)
		}' | sort -rn); do
		end=$(((end + size - 1) / size * size + size))
		all=$((all + size))
	done
	reach=$end
	[ "$vmm" != cloud-hypervisor ] || reach=$((1 << bits))
	doctor_mib size "$all"
	if [ "$end" -gt $((1 << bits)) ]; then
		doctor_say fail bars "64-bit BARs of $size do not fit into the guest's $bits address bits beside its memory" \
			"$([ "$doctor_accel" = kvm ] || printf 'get KVM to run (see kvm); or ')lower GPU_VM_MEM"
	elif ! doctor_gpu_dma_bits dma; then
		doctor_unknown bars "64-bit BARs of $size fit into the guest's $bits address bits; the IOMMU's are unknown"
	elif [ "$reach" -gt $((1 << dma)) ]; then
		doctor_say fail bars "64-bit BARs of $size lie beyond the IOMMU's $dma address bits" \
			'switch 48-bit addresses (aw-bits=48) of a virtual IOMMU on, or lower GPU_VM_MEM'
	else
		doctor_say ok bars "64-bit BARs of $size fit into $bits address bits of the guest and $dma of the IOMMU"
	fi
}

# doctor_gpu_dma_bits VAR: sets VAR to how many address bits the IOMMU of the device
# translates; 1 if unknown. Intel: MGAW (bits 16-21 of CAP, less one) and the deepest page
# table of SAGAW (bits 8-12), as in Linux' drivers/iommu/intel/iommu.h. AMD's page tables
# have 6 levels, all 64 bits.
doctor_gpu_dma_bits()
{
	local doctor_cap doctor_width=0 unit
	unit=$SYSFS_ROOT/bus/pci/devices/$doctor_gpu_bdf/iommu

	if [ -e "$unit/amd-iommu/cap" ]; then
		base_set "$1" 62 # as far as the shell counts
		return 0
	fi
	sysfs_get "$unit/intel-iommu/cap" doctor_cap || return 1
	case $doctor_cap in
	'' | *[!0-9a-f]*) return 1 ;;
	esac
	# The shell has 63 bits; only the low 24 matter.
	[ "${#doctor_cap}" -le 6 ] ||
		doctor_cap=${doctor_cap#"${doctor_cap%??????}"}
	doctor_cap=$((0x$doctor_cap))
	[ $((doctor_cap & 0x200)) -eq 0 ] || doctor_width=39
	[ $((doctor_cap & 0x400)) -eq 0 ] || doctor_width=48
	[ $((doctor_cap & 0x800)) -eq 0 ] || doctor_width=57
	doctor_cap=$(((doctor_cap >> 16 & 0x3f) + 1))
	[ "$doctor_cap" -ge "$doctor_width" ] || doctor_width=$doctor_cap
	[ "$doctor_width" -gt 0 ] || return 1
	base_set "$1" "$doctor_width"
}

# doctor_gpu_pair: whether the driver, its call table and NVIDIA's programs have the same
# version. With the real driver the broker takes only the exact table, and the driver
# only programs of its own version (RM's CHECK_VERSION_STR).
doctor_gpu_pair()
{
	local version at hand='' fit='' remedy

	conf_get version DRIVER_VERSION
	for at in $(assets_nvidia_versions); do
		hand="$hand $at"
		! abi_has "$at" || fit=${fit:-$at}
	done
	remedy=${fit:+set DRIVER_VERSION=$fit}
	if ! abi_has "$version"; then
		doctor_say fail pair "no table of driver $version in share/abi" \
			"${remedy:+$remedy, or }make one (share/abi/README.md)"
	elif [ ! -d "$(assets_nvidia_dir "$version")" ]; then
		doctor_say fail pair "the driver is to be $version; NVIDIA's programs must be too, those at hand for the workers:${hand:- none}" \
			"${remedy:-isospin setup demo fetches some}"
	else
		doctor_say ok pair "driver $version in the GPU VM, programs $version in the workers"
	fi
}

# doctor_gpu_image: the image of the GPU VM.
doctor_gpu_image()
{
	local version release disk

	conf_get version DRIVER_VERSION
	# Without a kernel doctor_kernel has said so.
	release=$(assets_kernel) || return 0
	if gpu_image disk "$release" "$version"; then
		doctor_say ok image "$disk has driver $version"
	else
		doctor_say fail image "no image with NVIDIA's driver $version for kernel $release" \
			"isospin build --driver $version gpu-rootfs"
	fi
}
