#!/usr/bin/env bats
# When a snapshot of workers is used, made and removed, with a fake QEMU that only
# prints a text of the test's choice.

load ../lib/common.sh

setup()
{
	unset SUDO_UID SUDO_GID
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	export ISOSPIN_ASSETS_DIR=$BATS_TEST_TMPDIR/assets
	export ISOSPIN_ACCEL=tcg ISOSPIN_VSOCK=vhost-user
	kernel=$ISOSPIN_ASSETS_DIR/kernels/6.12.0-test/vmlinuz
	mkdir -p "${kernel%/*}" "$ISOSPIN_RUN_DIR"
	chmod 700 "$ISOSPIN_RUN_DIR"
	echo one >"$kernel"
	echo stamp >"$ISOSPIN_ASSETS_DIR/image.stamp"
	cpu=$BATS_TEST_TMPDIR/cpuinfo
	printf '%s\n' 'model name : A' 'flags : fpu' 'cpu MHz : 1' '' \
		'model name : B' >"$cpu"
	root=$ISOSPIN_ASSETS_DIR/snapshots
	fake qemu-system-x86_64 <<<"echo 'QEMU emulator version 7.2.22'"
	shell=sh
}

# worker TEXT: runs TEXT under $shell as worker-vm would, for the worker w1 or $W, whose
# directory is $dir; MEM and CPUS are its size. Its image is a plain file, and making a
# template only writes words to files.
worker()
{
	# shellcheck disable=SC2086,SC2016 # busybox ash is two words; the text
	# is for that shell
	TOP=$TOP CPU=$cpu $shell -c 'set -eu
		. "$TOP/lib/base/base.sh"
		use opt conf record proc accel assets image vmm vm boot snapshot
		base_init t
		opt_conf= opt_instance=t
		vm_init
		snapshot_cpuinfo=$CPU
		boot_pieces() { shift; "$@" "$assets_dir/image"; }
		boot_take_cid() { :; }
		snapshot_boot()
		{
			local to
			echo booted >&2
			record_get to "$1/vm.conf" SNAPSHOT_DIR
			echo secret >"$to/agent.secret"
		}
		vmm_snapshot()
		{
			local to
			record_get to "$1/vm.conf" SNAPSHOT_DIR
			echo state >"$to/state"
			echo memory >"$to/memory"
		}
		vmm_saves() { :; }
		accel_choose
		vm_claim dir ${W:-w1}
		vmm_choose worker ${W:-w1}
		vmm_kernel()
		{
			base_set "$1" "$assets_dir/kernels/6.12.0-test/vmlinuz"
		}
		describe()
		{
			boot_describe "$dir" ${W:-w1} worker 6.12.0-test ${CPUS:-1} \
				${MEM:-268435456} no CID 5
		}
		'"$1"
}

prepare()
{
	worker "${1:-}"'
	describe
	snapshot_prepare "$dir" || die $? "$why"
	record_get to "$dir/vm.conf" SNAPSHOT_DIR
	printf "%s\n" "${dir##*/} $to"'
}

# made, found: prepare made a snapshot, or found one; $where is its directory.
made()
{
	run -0 --separate-stderr prepare "$@"
	has "$stderr" booted
	where=${output#w1 }
	[ -d "$where" ]
}

found()
{
	run -0 --separate-stderr prepare "$@"
	equal '' "$stderr"
	equal "w1 $where" "$output"
}

@test "a snapshot is made once, whole and private, and found again" {
	round()
	{
		rm -rf "$root"
		made
		equal 700 "$(stat -c %a "$root")"
		equal 700 "$(stat -c %a "$where")"
		equal 444 "$(stat -c %a "$where/memory")"
		equal 600 "$(stat -c %a "$where/agent.secret")"
		equal state "$(cat "$where/state")"
		found
		equal "$(basename "$where")" "$(ls "$root")"
	}
	with_shells round
}

@test "of another kernel, image, monitor, processor or size it is another" {
	changed()
	{
		before=$where
		made "${1:-}"
		[ "$where" != "$before" ]
	}
	made
	echo two >"$kernel.new"
	mv "$kernel.new" "$kernel"
	changed
	changed 'boot_pieces() { shift; "$@" "$assets_dir/other"; }
		echo other >"$assets_dir/other.stamp"
		'
	MEM=536870912 changed
	CPUS=2 changed
	ISOSPIN_BROKER_PORT=9000 changed
	sed -i 's/fpu/fpu vme/' "$cpu"
	changed
	fake qemu-system-x86_64 <<<"echo 'QEMU emulator version 7.2.23'"
	changed
}

@test "what is not of this machine or monitor goes when one is made, and the oldest" {
	made
	sed -i 's/: A/: C/' "$cpu"
	made
	equal "$(basename "$where")" "$(ls "$root")"
	for mem in 1 2 3 4; do
		touch -d "-$((10 - mem)) minutes" "$root"/*
		MEM=$((mem << 29)) made
	done
	equal 4 "$(ls "$root" | wc -l)"
	[ -d "$where" ]
}

@test "how fast the processor runs at the moment makes no other snapshot" {
	made
	sed -i 's/MHz : 1/MHz : 2/' "$cpu"
	found
}

@test "one that is damaged is not used, and made again" {
	local damage

	made
	for damage in 'rm -f "$where/memory"' \
		'chmod u+w "$where/state"; echo x >>"$where/state"' \
		'chmod u+w "$where/state"; echo STATE >"$where/state"; touch -d @1 "$where/state"' \
		'rm "$where/agent.secret"' ': >"$where/about"' \
		'chmod u+w "$where/memory"; echo MEMORY >"$where/memory"'; do
		eval "$damage"
		run -0 --separate-stderr prepare
		has "$stderr" 'is damaged, and is not used'
		has "$stderr" booted
		equal memory "$(cat "$where/memory")"
		found
	done
	rm "$where/about"
	made
}

@test "one from which no worker comes up is removed" {
	gives_up()
	{
		worker 'describe; snapshot_prepare "$dir"'
		[ "$(find "$root" -name about | wc -l)" -eq 1 ]
		run -69 --separate-stderr worker 'use worker
			worker_prepare()
			{
				dir=$1
				describe && snapshot_prepare "$1"
			}
			vmm_restore() { launch_vmm "$1" true; }
			boot_adopt() { :; }
			vm_remove w1
			worker_start name w1 "" || die $? "$why"'
		has "$stderr" 'is removed: a worker did not come up from it'
		equal '' "$(find "$root" -name about)"
	}
	with_shells gives_up
}

@test "one that was not finished is never seen, and cleared away" {
	mkdir -p "$root/.new.123"
	made
	equal "$(basename "$where")" "$(ls -A "$root" | grep -v lock)"
	MEM=1 run -75 --separate-stderr prepare '
		vmm_snapshot() { fail 75 full; }
		'
	equal "$(basename "$where")" "$(ls -A "$root" | grep -v lock)"
}

@test "of two at once one makes it, and the other finds it" {
	# QEMU's command line contains the rate of the processor's counter, which
	# both would otherwise measure, so it is measured before.
	made
	rm -rf "$root"
	prepare >"$BATS_TEST_TMPDIR/1" 2>&1 3>&- &
	W=w2 prepare >"$BATS_TEST_TMPDIR/2" 2>&1
	wait "$!"
	equal 1 "$(cat "$BATS_TEST_TMPDIR"/[12] | grep -c booted)"
	equal 1 "$(ls "$root" | wc -l)"
}

@test "the template is a VM of its own, and gone when the worker goes on" {
	run -0 --separate-stderr worker 'snapshot_boot()
		{
			record_read "$1/vm.conf" name=NAME restore=RESTORE to=SNAPSHOT_DIR
			printf "%s\n" "$name $restore" >&2
			ls "$proc_dir/vms" >&2
			echo secret >"$to/agent.secret"
		}
		describe
		snapshot_prepare "$dir"
		record_read "$dir/vm.conf" name=NAME cid=CID kept=KEPT restore=RESTORE
		printf "%s\n" "$name $cid $kept $restore"
		ls "$proc_dir/vms"'
	has "$stderr" 'template1 no'
	has "$stderr" "template1
w1"
	equal 'w1 5 no yes
w1' "$output"
}

@test "QEMU with vhost-user is refused by name, before anything is made" {
	for how in '--from-snapshot' ''; do
		ISOSPIN_WORKER_SNAPSHOT=${how:-yes}
		[ -z "$how" ] || ISOSPIN_WORKER_SNAPSHOT=no
		export ISOSPIN_WORKER_SNAPSHOT
		# shellcheck disable=SC2086 # one flag or none
		run -69 --separate-stderr "$TOP/scripts/worker-vm.sh" \
			--instance t -n --detach $how
		has "$stderr" 'QEMU saves no guest whose vsock is vhost-user'
		equal '' "$output"
	done
	[ ! -e "$root" ]
}

@test "a dry run shows what goes on, and makes nothing" {
	dry()
	{
		# shellcheck disable=SC2086 # busybox ash is two words
		ISOSPIN_VSOCK=vhost run -0 --separate-stderr $shell \
			"$TOP/scripts/worker-vm.sh" --instance t -n --detach \
			--from-snapshot
		has "$output" '-incoming fd:5'
		has "$output" 'vmctl adopt'
		hasnt "$output" '-initrd'
		[ ! -e "$root" ]
	}
	hasnt() { [[ $1 != *"$2"* ]]; }
	with_shells dry
}

@test "a missing part of the image is told, and how to make it" {
	lacks()
	{
		run -66 --separate-stderr prepare \
			'boot_pieces() { fail 66 "shim: not there; run make"; }'
		has "$stderr" 'shim: not there; run make'
		equal '' "$(ls "$root" 2>/dev/null)"
	}
	with_shells lacks
}
