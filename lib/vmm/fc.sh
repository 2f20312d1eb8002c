# shellcheck shell=sh
# fc.sh - the back end of Firecracker; vmm.sh explains its functions
#
# Firecracker gets its VM's configuration by its API; its own seccomp filter stays on. As
# root the jailer starts it (FIRECRACKER_JAIL): another user, an empty root, no
# capability. It then shares with the host only the directory `v` of the VM's directory,
# the VM's log and the files of a snapshot, bound into a file system of its own that no
# other process sees and that ends with it.
#
# Adds to the record: PCI and JAIL, yes or no; VERSION, what Firecracker says of itself.

use conf record assets image launch

fc_bin=firecracker
# As vsock-device: as root each VM's process is a user of its own, this number
# plus the lowest 24 bits of the CID.
fc_uid_base=1879048192

fc_about()
{
	cat <<-'EOT'
	NAME=firecracker
	ROLES=worker
	CAPS=snapshot
	FIRST=worker
	PROGRAM=firecracker
	KVM=yes
	EOT
}

fc_init()
{
	local pci jail reason how='without jailer'

	conf_get pci FIRECRACKER_PCI "$1"
	launch_version "$fc_bin" || return
	[ "$pci" = no ] || launch_needs "$fc_bin" 1 13 '--enable-pci' || return
	fc_choose_jail "$1" || return
	[ "$jail" = no ] || how='by jailer'
	vmm_record="${vmm_record}VMM_TEXT=$launch_text $how ($reason)
VSOCK=hybrid${base_nl}VSOCK_WHY=it has its own${base_nl}PCI=$pci
VERSION=$launch_text${base_nl}JAIL=$jail$base_nl"
}

# fc_choose_jail NAME: sets jail and reason, which the caller has local.
fc_choose_jail()
{
	local want

	conf_get want FIRECRACKER_JAIL "$1"
	jail=no reason='set by FIRECRACKER_JAIL'
	[ "$want" != no ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		reason='only root can'
	elif ! command -v jailer >/dev/null; then
		reason='jailer is not on PATH'
	elif ! /usr/bin/unshare -m true 2>/dev/null; then
		reason='this root may not mount'
	else
		jail=yes reason='root, and jailer is there'
		return 0
	fi
	[ "$want" = auto ] || fail 69 "FIRECRACKER_JAIL=yes, but $reason"
}

# fc_kernel VAR RELEASE ROLE: sets VAR to the unpacked kernel, which every version takes.
fc_kernel()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		base_set "$1" "$(assets_kernel_dir "$2")/vmlinuz"
		return
	fi
	image_kernel "$2" || fail 69 "kernel $2 cannot be unpacked (zstd is \
needed, and a kernel packed with it); Firecracker boots no packed one" || return
	base_set "$1" "$image_file"
}

# fc_read DIR: sets home, name, jail, pci and snapshot_dir to the record's, share and
# at to the directory that is shared as the host and as Firecracker see it, uid to the
# VM's user. The caller has them local.
fc_read()
{
	local cid

	record_read "$1/vm.conf" home=DIR name=NAME jail=JAIL pci=PCI cid=CID \
		snapshot_dir=SNAPSHOT_DIR
	share=$home at=$home uid=$((fc_uid_base + (cid & 16777215)))
	[ "$jail" = no ] || share=$home/v at=/v
}

# fc_place: gives `v` and the log the group of this VM's user. Each file that is made in
# `v` gets that group too, so Firecracker may connect to the bridge's socket there: the
# bridge has no capability to give it away.
fc_place()
{
	local home name jail pci snapshot_dir share at uid

	fc_read "$1"
	[ "$jail" = yes ] || return 0
	[ "${#home}" -le 87 ] ||
		fail 78 "$home: too long for a socket's address; set RUN_DIR" || return
	if ! mkdir -- "$share" "$home/jail" "$home/vmm" ||
		! (umask 007 && : >"$home/vmm/log") ||
		! chown "0:$uid" -- "$share" "$home/vmm/log" ||
		! chmod 2770 -- "$share"; then
		fail 74 "$share: cannot be made; is the disk full?" || return
	fi
	record_add "$1/vm.conf" UDS "$share/vsock.sock"
}

# fc_spawn DIR: starts Firecracker. The caller has the variables of fc_read local.
fc_spawn()
{
	local dir="$1"

	set -- --api-sock "$at/api.sock" --id "$name"
	[ "$pci" = no ] || set -- "$@" --enable-pci
	if [ "$jail" = yes ]; then
		fc_spawn_jailed "$dir" "$@"
	else
		# shellcheck disable=SC2016 # the inner shell's words
		launch_vmm "$dir" sh -c 'exec "$@" >>"$0"' "$home/console.log" \
			"$fc_bin" "$@" --log-path "$home/vmm/log"
	fi
}

# fc_spawn_jailed DIR --api-sock SOCKET --id NAME...: starts Firecracker by the jailer,
# which gives it the id itself.
fc_spawn_jailed()
{
	local dir="$1" kept bin root rc=0

	record_get kept "$dir/vm.conf" KEPT
	bin=$(command -v "$fc_bin") && bin=$(readlink -f -- "$bin") ||
		fail 69 "$fc_bin is not on PATH" || return
	root=$home/jail/${bin##*/}/$name/root
	shift 5
	set -- -- jailer --id "$name" --exec-file "$bin" --uid "$uid" \
		--gid "$uid" --chroot-base-dir "$home/jail" -- \
		--api-sock /v/api.sock --log-path /log "$@"
	[ -z "$snapshot_dir" ] || set -- --bind "$snapshot_dir/state" \
		"$root/state" --bind "$snapshot_dir/memory" "$root/memory" "$@"
	trap '' XFSZ
	# shellcheck disable=SC2016 # the inner shell's words
	launch_spawn "$dir" vmm sh -c 'umask 007; exec "$@" >>"$0"' \
		"$home/console.log" "$paths_bin/vmctl" jail --tmpfs "$home/jail" \
		--bind "$home/v" "$root/v" --bind "$home/vmm/log" "$root/log" \
		"$@" || rc=$?
	trap - XFSZ
	[ "$rc" -eq 0 ] || return "$rc"
	# A process that becomes another user loses its signal for our death.
	[ "$kept" = yes ] || launch_tie "$dir" "$$"
}

# fc_api DIR METHOD PATH [BODY]: makes a request, as launch_api. The caller has the
# variables of fc_read local.
fc_api()
{
	local dir="$1"

	shift
	launch_api "$dir" "$share/api.sock" "$@"
}

fc_start()
{
	local home name jail pci snapshot_dir share at uid cpus mem cid
	local kernel initrd args uds

	fc_read "$1"
	record_read "$1/vm.conf" cpus=CPUS mem=MEM cid=CID
	[ "$jail" = no ] || [ -z "$snapshot_dir" ] ||
		run chown "$uid" -- "$snapshot_dir/state" "$snapshot_dir/memory" ||
		fail 74 "$snapshot_dir: cannot be given to the VM's user" || return
	fc_spawn "$1" || return
	if [ "$jail" = yes ]; then
		run chmod 644 -- "$home/kernel" "$home/initrd" &&
			run mv -f -- "$home/kernel" "$home/initrd" "$share/" ||
			fail 74 "$share: cannot be written; is the disk full?" || return
	fi
	fc_json kernel "$at/kernel"
	fc_json initrd "$at/initrd"
	fc_json args "$(fc_append "$1")"
	fc_json uds "$at/vsock.sock"
	fc_api "$1" PUT /machine-config \
		"{\"vcpu_count\":$cpus,\"mem_size_mib\":$((mem >> 20))}" &&
		fc_api "$1" PUT /boot-source "{\"kernel_image_path\":$kernel,\
\"initrd_path\":$initrd,\"boot_args\":$args}" &&
		fc_api "$1" PUT /vsock "{\"guest_cid\":$cid,\"uds_path\":$uds}" &&
		fc_api "$1" PUT /entropy '{}' &&
		fc_api "$1" PUT /actions '{"action_type":"InstanceStart"}'
}

# fc_json VAR TEXT: sets VAR to the JSON string of a line of printable ASCII. jq starts
# slower than Firecracker, and would take most of a restore.
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

# fc_append DIR: prints the kernel's command line. Without i8042 nothing else could
# end the VM: panic=-1 resets by it.
fc_append()
{
	local pci append no_pci=''

	record_read "$1/vm.conf" pci=PCI append=APPEND
	[ "$pci" = yes ] || no_pci=' pci=off'
	printf 'console=ttyS0 quiet panic=-1 reboot=k%s%s\n' "$no_pci" \
		"${append:+ $append}"
}

fc_ready()
{
	local home name jail pci snapshot_dir share at uid

	fc_read "$1"
	[ "$jail" = no ] || rm -f -- "$share/kernel" "$share/initrd"
}

fc_saves()
{
	launch_version "$fc_bin" && launch_needs "$fc_bin" 1 16 \
		'a name for the vsock of a restored VM'
}

# fc_key DIR: with or without the jailer a snapshot is the same.
fc_key()
{
	local version pci

	record_read "$1/vm.conf" version=VERSION pci=PCI
	printf '%s\n' "$version" "$pci"
	fc_append "$1"
	launch_file "$fc_bin"
}

# fc_files JAIL: sets state and memory, which the caller has local, to the files of
# the snapshot as Firecracker sees them.
fc_files()
{
	state=/proc/self/fd/5 memory=/proc/self/fd/6
	[ "$1" = no ] || state=/state memory=/memory
}

fc_snapshot()
{
	local home name jail pci snapshot_dir share at uid state memory

	fc_read "$1"
	fc_files "$jail"
	fc_api "$1" PATCH /vm '{"state":"Paused"}' &&
		fc_api "$1" PUT /snapshot/create "{\"snapshot_type\":\"Full\",\
\"snapshot_path\":\"$state\",\"mem_file_path\":\"$memory\"}"
}

# fc_restore: memory is read as the guest touches it, and shared until it is written; the
# vsock's sockets are in this VM's directory. The guest goes on with the template's CID,
# which no program outside looks at.
fc_restore()
{
	local home name jail pci snapshot_dir share at uid state memory uds

	fc_read "$1"
	fc_files "$jail"
	fc_spawn "$1" || return
	fc_json uds "$at/vsock.sock"
	fc_api "$1" PUT /snapshot/load "{\"snapshot_path\":\"$state\",\
\"resume_vm\":true,\"mem_backend\":{\"backend_type\":\"File\",\
\"backend_path\":\"$memory\"},\"vsock_override\":{\"uds_path\":$uds}}"
}

fc_remedy()
{
	case $2 in
	*'ernel Loader'* | *'ernel loader'* | *KernelLoad*)
		echo 'Firecracker does not boot that kernel; isospin build fc-gpu-kernel makes one that it does' ;;
	*) return 1 ;;
	esac
}
