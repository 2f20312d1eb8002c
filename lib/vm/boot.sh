# shellcheck shell=sh
# boot.sh - the boot of a VM, from its record to the line that says it is ready
#
# DIR is the VM's directory, see vm.sh. A function that fails sets why.

use conf record proc assets image labimage vm vmm launch

# boot_describe DIR NAME ROLE RELEASE CPUS MEM KEPT [KEY VALUE...]: after vmm_choose,
# writes the record of the VM NAME, these keys included.
boot_describe()
{
	local dir="$1" name="$2" role="$3" release="$4" home agent broker seconds nonfree
	local kernel cid_from=WORKER_CID

	shift 4
	vm_dir home "$name" && vmm_kernel kernel "$release" "$role" || return
	conf_get agent AGENT_PORT "$name"
	conf_get broker BROKER_PORT "$name"
	conf_get seconds BOOT_TIMEOUT "$name"
	conf_get nonfree NONFREE "$name"
	[ "$role" != gpu ] || cid_from=GPU_VM_CID
	conf_get cid_from "$cid_from" "$name"
	record_add "$dir/vm.conf" NAME "$name" ROLE "$role" DIR "$home" \
		KERNEL "$release" KERNEL_FILE "$kernel" AGENT_PORT "$agent" \
		BROKER_PORT "$broker" BOOT_TIMEOUT "$seconds" NONFREE "$nonfree" \
		CID_FROM "$cid_from" CPUS "$1" MEM "$2" KEPT "$3" || return
	shift 3
	[ $# -eq 0 ] || record_add "$dir/vm.conf" "$@" || return
	{ printf '%s' "$vmm_record" >>"$dir/vm.conf"; } 2>/dev/null ||
		fail 74 "$dir/vm.conf: cannot be written; is the disk full?"
}

# boot_take_cid DIR: adds CID to the record: the first from CID_FROM on that no VM of
# this machine has; of those that vhost-vsock serves nor the machine itself, which may
# be a VM too.
boot_take_cid()
{
	local name home vsock cid from own='' rc=0

	record_read "$1/vm.conf" name=NAME home=DIR vsock=VSOCK from=CID_FROM
	cid=$from
	if [ "$DRY_RUN" -eq 1 ]; then
		record_add "$1/vm.conf" CID "$cid"
		return
	fi
	proc_mkdir "$proc_run/cids" && proc_lock "$proc_run/cids/.lock" 10 || return
	[ "$vsock" != vhost ] || own=$("$paths_bin/vmctl" cid) || own=
	while [ "$cid" = "$own" ] || boot_cid_used "$cid"; do
		cid=$((cid + 1))
	done
	{ record_add "$1/vm.conf" CID "$cid" &&
		printf '%s\n' "$home" >"$proc_run/cids/$cid"; } || rc=$?
	proc_unlock
	[ "$cid" = "$from" ] || log_debug "CID $from is taken; VM '$name' gets $cid"
	return "$rc"
}

# boot_cid_used CID: whether a VM that runs, or that a command prepares, has the CID.
boot_cid_used()
{
	local proc_dir=''

	{ IFS= read -r proc_dir <"$proc_run/cids/$1"; } 2>/dev/null || return 1
	proc_alive vmm || proc_alive owner
}

# boot_secret FILE: writes 32 random bytes for this boot to FILE.
boot_secret()
{
	{ head -c 32 /dev/urandom >"$1" && [ "$(stat -c %s -- "$1")" -eq 32 ]; } ||
		fail 74 "$1: cannot be written; is the disk full?"
}

# boot_limit DIR: limits the size of the VM's logs, once it is ready: until then only our
# own software has run in the guest, and from now on its output must not fill the disk.
boot_limit()
{
	local name log_max pid

	record_read "$1/vm.conf" name=NAME log_max=LOG_MAX
	proc_pid pid "vms/$name/vmm" || return 0
	prlimit --pid "$pid" --fsize="${log_max:-16777216}" ||
		fail 70 "prlimit cannot limit the logs of VM '$name'"
}

# boot_vm DIR LINE: starts the VM and waits until the console says LINE. Adds BOOT_NS
# and READY_NS to the record.
boot_vm()
{
	local dir="$1" name home restore seconds from at rc=0

	record_read "$dir/vm.conf" name=NAME home=DIR restore=RESTORE \
		seconds=BOOT_TIMEOUT
	if [ "$DRY_RUN" -eq 0 ]; then
		true 2>/dev/null >"$home/console.log" || fail 74 \
			"$home/console.log: cannot be written; is the disk full?" ||
			return
		vm_now from || return
	fi
	launch_said=
	boot_start "$dir" "$2" "$restore" "$seconds" || {
		rc=$?
		[ "$rc" -ne 69 ] || boot_advise "$dir"
		return "$rc"
	}
	[ "$DRY_RUN" -eq 0 ] || return 0
	at=$launch_at
	rm -f -- "$home/initrd" "$home/kernel"
	boot_limit "$dir" && vmm_ready "$dir" || return
	record_add "$dir/vm.conf" BOOT_NS $((at - from)) READY_NS "$at"
}

# boot_start DIR LINE RESTORE SECONDS: boot_vm up to that line.
boot_start()
{
	local home rc=0 said=console.log

	record_get home "$1/vm.conf" DIR
	if [ "$3" = yes ]; then
		boot_adopt "$1" "$4" && vmm_restore "$1" || rc=$?
	else
		vmm_start "$1" || rc=$?
	fi
	[ "$DRY_RUN" -eq 0 ] || return "$rc"
	if [ "$rc" -eq 0 ]; then
		launch_await "$1" vmm console.log "$2" "$4" || rc=$?
		[ "$rc" -ne 0 ] || return 0
	elif [ "$rc" -ne 1 ]; then
		return "$rc"
	fi
	[ -s "$home/$said" ] || said=vmm/log
	[ ! -s "$home/adopt.log" ] ||
		log_error "$(tail -n 1 -- "$home/adopt.log")"
	launch_failed "$rc" "$1" "its console said '$2'" "$said"
}

# boot_advise DIR: adds the remedy to why.
boot_advise()
{
	local name

	record_get name "$1/vm.conf" NAME
	why="$why; $(vmm_remedy "$1" "$launch_said" "see isospin logs $name")"
}

# boot_adopt DIR SECONDS: has the clone take on this VM's name and secret. It runs in the
# background: the guest says on its console whether it succeeded.
boot_adopt()
{
	local name home port snapshot_dir address

	record_read "$1/vm.conf" name=NAME home=DIR port=AGENT_PORT \
		snapshot_dir=SNAPSHOT_DIR
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$paths_bin/vmctl" adopt --name "$name" \
			--new-secret-file "$home/agent.secret"
		return
	fi
	vm_address address "$name"
	/usr/bin/setpriv --pdeathsig TERM "$paths_bin/vmctl" adopt "$address" \
		--port "$port" --secret-file "$snapshot_dir/agent.secret" \
		--name "$name" --new-secret-file "$home/agent.secret" \
		--timeout-ms "$(($2 * 1000))" >"$home/adopt.log" 2>&1 &
}

# boot_stay DIR WHAT: shows the console of the VM, which is up, until the VM or this
# command ends.
boot_stay()
{
	local name home pid

	record_read "$1/vm.conf" name=NAME home=DIR
	vm_notify "$2 '$name' is up"
	log_info "$2 '$name' is up; Ctrl-C stops it"
	/usr/bin/tail -n +1 -f --pid="$$" -- "$home/console.log" | vm_printable &
	on_exit kill "$!"
	# The VMM of a pooled worker is no child of ours: wait for a tail that ends
	# with it.
	! proc_pid pid "vms/$name/vmm" || {
		/usr/bin/tail -n 0 -f --pid="$pid" -- /dev/null &
		on_exit kill "$!"
		wait "$!" || :
	}
	launch_failed 1 "$1" 'it was told to' console.log || {
		boot_advise "$1"
		return 69
	}
}

# boot_stream_to DIR PORT: prints the address at which the bridge reaches the VM's PORT.
# boot_stream_from DIR PORT: prints the address at which the bridge hears a connection of
# the VM to the host's PORT.
boot_stream_to()
{
	local vsock cid home uds

	record_read "$1/vm.conf" vsock=VSOCK cid=CID home=DIR uds=UDS
	if [ "$vsock" = vhost ]; then
		printf 'vsock:%s:%s\n' "$cid" "$2"
	else
		printf 'hybrid:%s:%s\n' "${uds:-$home/vsock.sock}" "$2"
	fi
}

boot_stream_from()
{
	local vsock cid home uds

	record_read "$1/vm.conf" vsock=VSOCK cid=CID home=DIR uds=UDS
	if [ "$vsock" = vhost ]; then
		printf 'vsock:%s\n' "$cid"
	else
		printf 'unix:%s\n' "${uds:-$home/vsock.sock}_$2"
	fi
}

# boot_files DIR [LINE...]: makes the files that the VM boots from, in its directory: the
# initrd, of the images and an archive for this boot alone, and a copy of the kernel. The
# guest's agent is told these lines too.
boot_files()
{
	local dir="$1" home role kernel private='boot.conf agent.secret'

	shift
	record_read "$dir/vm.conf" home=DIR role=ROLE kernel=KERNEL_FILE
	{
		boot_conf "$dir"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >"$home/boot.conf" ||
		fail 74 "$home/boot.conf: cannot be made; is the disk full?" || return
	boot_secret "$home/agent.secret" || return
	[ "$role" != gpu ] || private="$private broker.secret isospin.conf"
	# shellcheck disable=SC2086 # a list of names
	image_boot "$home/boot.cpio" "$home" $private ||
		fail 74 "$home/boot.cpio: cannot be made; is the disk full?" || return
	boot_pieces "$dir" boot_concat "$home" || return
	rm -f -- "$home/boot.cpio"
	cp -- "$kernel" "$home/kernel" ||
		fail 74 "$home/kernel: cannot be made; is the disk full?"
}

# boot_concat HOME FILE...
boot_concat()
{
	local home="$1"

	shift
	image_concat "$home/initrd" "$@" "$home/boot.cpio" ||
		fail 74 "$home/initrd: cannot be made; is the disk full?"
}

# boot_pieces DIR COMMAND [ARG...]: makes the images of an initrd, up to the
# boot's own part, and calls COMMAND with their files added.
boot_pieces()
{
	local role release nonfree version

	record_read "$1/vm.conf" role=ROLE release=KERNEL nonfree=NONFREE \
		version=DRIVER_VERSION
	shift
	case $role in
	gpu) image_gpu "$release" ;;
	lab) labimage "$release" ;;
	*) image_worker "$release" ;;
	esac || return
	set -- "$@" "$image_file"
	if [ "$role" = worker ] && [ "$nonfree" = yes ] && [ -n "$version" ] &&
		[ -d "$(assets_nvidia_dir "$version")" ]; then
		image_nvidia "$version" || return
		set -- "$@" "$image_file"
	fi
	"$@"
}

# boot_conf DIR: prints the configuration of the guest's agent, KEY=value lines.
boot_conf()
{
	local role name cid agent broker

	record_read "$1/vm.conf" role=ROLE name=NAME cid=CID agent=AGENT_PORT \
		broker=BROKER_PORT
	printf '%s\n' "ROLE=$role" "NAME=$name" "CID=$cid" \
		"AGENT_PORT=$agent" "BROKER_PORT=$broker"
}
