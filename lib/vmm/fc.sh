# shellcheck shell=sh
# fc.sh - Firecracker; the functions are vmm.sh's
#
# It is told by its API what to run; its own seccomp filter stays on. As root the
# jailer starts it (FIRECRACKER_JAIL): another user, an empty root, no capability.
# What it shares with the host is then the directory `v` of the VM's home, the VM's
# log and the files of a snapshot, bound into a file system of its own that nothing
# else sees and that ends with it.
#
# fc_dir is that directory as the host sees it, fc_at as Firecracker does.

use conf proc assets image vmm vm boot

fc_bin=firecracker
# As vsock-device: as root each VM's process is a user of its own, this number
# plus the lowest 24 bits of the CID.
fc_uid_base=1879048192

fc_init()
{
	conf_get fc_pci FIRECRACKER_PCI "$vm_name"
	vmm_version "$fc_bin"
	[ "$fc_pci" = no ] || vmm_needs "$fc_bin" 1 13 '--enable-pci'
	fc_text=$vmm_text
	fc_choose_jail
	vmm_no_devices
	vmm_vsock=hybrid
	vmm_vsock_why='it has its own'
}

# fc_choose_jail: sets fc_jail (1 or 0) and fc_jail_why.
fc_choose_jail()
{
	local want

	conf_get want FIRECRACKER_JAIL "$vm_name"
	fc_jail=0 fc_jail_why='set by FIRECRACKER_JAIL'
	[ "$want" != no ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		fc_jail_why='only root can'
	elif ! command -v jailer >/dev/null; then
		fc_jail_why='jailer is not on PATH'
	elif ! /usr/bin/unshare -m true 2>/dev/null; then
		fc_jail_why='this root may not mount'
	else
		fc_jail=1 fc_jail_why='root, and jailer is there'
		return 0
	fi
	[ "$want" = auto ] ||
		die 69 "FIRECRACKER_JAIL=yes, but $fc_jail_why"
}

fc_describe()
{
	local how='without jailer'

	[ "$fc_jail" -eq 0 ] || how='by jailer'
	printf '%s %s (%s)\n' "$fc_text" "$how" "$fc_jail_why"
}

# fc_kernel RELEASE: unpacked, which every version takes.
fc_kernel()
{
	vm_kernel=$(assets_kernel_dir "$1")/vmlinuz
	[ "$DRY_RUN" -eq 0 ] || return 0
	image_kernel "$1" || die 69 "kernel $1 cannot be unpacked (zstd is \
needed, and a kernel packed with it); Firecracker boots no packed one"
	vm_kernel=$image_file
}

# fc_place: sets fc_dir and fc_at. What anybody makes in `v` is of the group of
# this VM's user: so Firecracker may connect to the socket that the bridge makes,
# which has no capability to give it away. So may it write the log.
fc_place()
{
	fc_dir=$vm_home fc_at=$vm_home
	[ "$fc_jail" -eq 1 ] || return 0
	fc_dir=$vm_home/v fc_at=/v
	vm_uds=$fc_dir/vsock.sock
	fc_uid=$((fc_uid_base + (vm_cid & 16777215)))
	[ "$DRY_RUN" -eq 0 ] && [ ! -d "$fc_dir" ] || return 0
	[ "${#vm_home}" -le 87 ] ||
		die 78 "$vm_home: too long for a socket's address; set RUN_DIR"
	if ! mkdir -- "$fc_dir" "$vm_home/jail" "$vm_home/vmm" ||
		! (umask 007 && : >"$vm_home/vmm/log") ||
		! chown "0:$fc_uid" -- "$fc_dir" "$vm_home/vmm/log" ||
		! chmod 2770 -- "$fc_dir"; then
		die 74 "$fc_dir: cannot be made"
	fi
	vm_note UDS "$vm_uds"
}

fc_spawn()
{
	set -- --api-sock "$fc_at/api.sock" --id "$vm_name"
	[ "$fc_pci" = no ] || set -- "$@" --enable-pci
	if [ "$fc_jail" -eq 1 ]; then
		fc_spawn_jailed "$@"
	else
		# shellcheck disable=SC2016 # the inner shell's words
		boot_spawn_vmm sh -c 'exec "$@" >>"$0"' "$vm_home/console.log" \
			"$fc_bin" "$@" --log-path "$vm_home/vmm/log"
	fi
}

# fc_spawn_jailed --api-sock SOCKET --id NAME...: the jailer gives the id itself.
fc_spawn_jailed()
{
	local bin root

	bin=$(command -v "$fc_bin")
	bin=$(readlink -f -- "$bin")
	root=$vm_home/jail/${bin##*/}/$vm_name/root
	shift 4
	set -- -- jailer --id "$vm_name" --exec-file "$bin" --uid "$fc_uid" \
		--gid "$fc_uid" --chroot-base-dir "$vm_home/jail" -- \
		--api-sock /v/api.sock --log-path /log "$@"
	[ -z "$vm_snapshot" ] || set -- --bind "$vm_snapshot/state" "$root/state" \
		--bind "$vm_snapshot/memory" "$root/memory" "$@"
	trap '' XFSZ
	# shellcheck disable=SC2016 # the inner shell's words
	proc_spawn "$vm_key/vmm" sh -c 'umask 007; exec "$@" >>"$0"' \
		"$vm_home/console.log" "$vm_vmctl" jail --tmpfs "$vm_home/jail" \
		--bind "$vm_home/v" "$root/v" --bind "$vm_home/vmm/log" "$root/log" \
		"$@"
	trap - XFSZ
	# Who becomes another user forgets whom to end with.
	[ "$vm_kept" -eq 1 ] || boot_tie_to "$$"
}

fc_api()
{
	vmm_api "$fc_dir/api.sock" "$@"
}

fc_start()
{
	local kernel initrd args uds

	fc_place
	[ "$fc_jail" -eq 0 ] || [ -z "$vm_snapshot" ] ||
		run chown "$fc_uid" -- "$vm_snapshot/state" "$vm_snapshot/memory"
	fc_spawn
	if [ "$fc_jail" -eq 1 ]; then
		run chmod 644 -- "$vm_home/kernel" "$vm_initrd"
		run mv -f -- "$vm_home/kernel" "$vm_initrd" "$fc_dir/" ||
			die 74 "$fc_dir: cannot be written; is the disk full?"
	fi
	fc_json kernel "$fc_at/kernel"
	fc_json initrd "$fc_at/initrd"
	fc_json args "$(fc_append)"
	fc_json uds "$fc_at/vsock.sock"
	fc_api PUT /machine-config \
		"{\"vcpu_count\":$vm_cpus,\"mem_size_mib\":$((vm_mem >> 20))}"
	fc_api PUT /boot-source "{\"kernel_image_path\":$kernel,\
\"initrd_path\":$initrd,\"boot_args\":$args}"
	fc_api PUT /vsock "{\"guest_cid\":$vm_cid,\"uds_path\":$uds}"
	fc_api PUT /entropy '{}'
	fc_api PUT /actions '{"action_type":"InstanceStart"}'
}

# fc_json VAR TEXT: a JSON string of a line of printable ASCII. jq starts slower than
# Firecracker, and would be the most of a restore.
fc_json()
{
	local fc_head fc_rest="$2" fc_made=''

	while :; do
		fc_head=${fc_rest%%[\"\\]*}
		fc_made=$fc_made$fc_head
		fc_rest=${fc_rest#"$fc_head"}
		[ -n "$fc_rest" ] || break
		fc_made=$fc_made\\${fc_rest%"${fc_rest#?}"}
		fc_rest=${fc_rest#?}
	done
	base_set "$1" "\"$fc_made\""
}

# Without i8042 nothing else could end the VM: panic=-1 resets by it.
fc_append()
{
	local pci=' pci=off'

	[ "$fc_pci" = no ] || pci=
	printf 'console=ttyS0 quiet panic=-1 reboot=k%s%s\n' "$pci" \
		"${vm_append:+ $vm_append}"
}

fc_ready()
{
	[ "$fc_jail" -eq 0 ] || rm -f -- "$fc_dir/kernel" "$fc_dir/initrd"
}

fc_saves()
{
	vmm_needs "$fc_bin" 1 16 'a name for the vsock of a restored VM'
}

fc_key()
{
	printf '%s\n' "$fc_text" "$fc_pci" "$(fc_append)"
	vmm_file "$fc_bin"
}

# fc_files: sets fc_state and fc_memory, as Firecracker sees them.
fc_files()
{
	fc_state=/proc/self/fd/5 fc_memory=/proc/self/fd/6
	[ "$fc_jail" -eq 0 ] || fc_state=/state fc_memory=/memory
}

fc_snapshot()
{
	fc_files
	fc_api PATCH /vm '{"state":"Paused"}'
	fc_api PUT /snapshot/create "{\"snapshot_type\":\"Full\",\
\"snapshot_path\":\"$fc_state\",\"mem_file_path\":\"$fc_memory\"}"
}

# fc_restore: memory is read as it is touched, and shared as long as it is not
# written; the vsock's sockets are where this VM's belong. Its CID as the guest
# sees it is the template's, and nobody else's business.
fc_restore()
{
	local uds

	fc_place
	fc_files
	fc_spawn
	fc_json uds "$fc_at/vsock.sock"
	fc_api PUT /snapshot/load "{\"snapshot_path\":\"$fc_state\",\
\"resume_vm\":true,\"mem_backend\":{\"backend_type\":\"File\",\
\"backend_path\":\"$fc_memory\"},\"vsock_override\":{\"uds_path\":$uds}}"
}
