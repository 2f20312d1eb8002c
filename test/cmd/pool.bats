#!/usr/bin/env bats
# Which workers of the pool are handed out and which are removed. Their VMMs are
# processes that sleep.

load ../lib/common.sh

setup()
{
	unset SUDO_UID SUDO_GID
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	export ISOSPIN_ASSETS_DIR=$BATS_TEST_TMPDIR/assets ISOSPIN_WORKER_POOL=2
	mkdir -p "$ISOSPIN_RUN_DIR" "$ISOSPIN_ASSETS_DIR"
	chmod 700 "$ISOSPIN_RUN_DIR"
	shell=sh
}

teardown()
{
	"$TOP/scripts/kill-vms.sh" --instance t
}

# pool TEXT: runs TEXT under $shell. There, `vm NAME ROLE` makes a VM that runs, `pooled
# NAME` makes a pooled worker, and `describe` describes a worker of the kind $KIND.
pool()
{
	# shellcheck disable=SC2086,SC2016 # busybox ash is two words; the text
	# is for that shell
	TOP=$TOP $shell -c 'set -eu
		. "$TOP/lib/base/base.sh"
		use opt conf record proc vm pool
		base_init t
		opt_conf= opt_instance=t opt_json=0 KIND=${KIND:-one}
		vm_init
		vm()
		{
			proc_mkdir "$proc_dir/vms"
			proc_spawn "vms/$1/vmm" sleep 1000
			record_add "$proc_dir/vms/$1/vm.conf" ROLE "$2" GPU gpu0 \
				DRIVER_VERSION 550.1 READY_NS 1
		}
		pooled()
		{
			vm "$1" worker
			echo "${2:-one}" >"$proc_dir/vms/$1/pool"
		}
		pool_fit() { base_set "$1" "$KIND"; }
		describe() { :; }
		state() { vm_state state "$1"; echo "$1 $state"; }
		'"$1"
}

@test "a worker of the pool stays until its VMM ends" {
	stay()
	{
		pool 'vm w1 worker; record_add "$proc_dir/vms/w1/vm.conf" NAME w1 \
			DIR "$proc_dir/vms/w1"; : >"$proc_dir/vms/w1/console.log"'
		run -69 --separate-stderr pool 'use boot
			boot_advise() { :; }
			proc_pid pid vms/w1/vmm
			(sleep 2; kill "$pid") &
			base_uptime before
			boot_stay "$proc_dir/vms/w1" "worker VM" || rc=$?
			base_uptime after
			[ $((after - before)) -ge 1 ] || leave 1
			die "$rc" "$why"'
		has "$stderr" "VM 'w1' ended before it was told to"
		"$TOP/scripts/kill-vms.sh" --instance t
	}
	with_shells stay
}

@test "the first that fits is handed out, once, and is then whose command took it" {
	take()
	{
		pool 'vm gpu0 gpu; pooled w1 other; pooled w2; pooled w3'
		run -0 --separate-stderr pool '
			pool_take name describe ""
			echo "$name"
			state w1; state w2; state w3
			pool_take name describe ""
			echo "$name"
			pool_take name describe "" || echo none'
		equal "w2
w1 pooled
w2 running
w3 pooled
w3
none" "$output"
		# The command that took it has ended, and the VM with it.
		run -0 pool 'state w2; state w1'
		equal "w2 absent
w1 pooled" "$output"
		"$TOP/scripts/kill-vms.sh" --instance t
	}
	with_shells take
}

@test "one that has died, or has another driver than its GPU VM now, is swept" {
	pool 'vm gpu0 gpu; pooled w1; pooled w2; pooled w3
		sed -i s/550.1/550.2/ "$proc_dir/vms/w2/vm.conf"
		proc_stop vms/w3/vmm'
	run -0 --separate-stderr pool 'state w1; state w2; state w3
		pool_take name describe ""; echo "$name"
		state w2; state w3'
	equal "w1 pooled
w2 stale
w3 ended
w1
w2 absent
w3 absent" "$output"
}

@test "without its GPU VM no pooled worker is of use" {
	pool 'vm gpu0 gpu; pooled w1; proc_stop vms/gpu0/vmm'
	run -0 pool 'state w1; pool_take name describe "" || echo none; state w1'
	has "$output" "w1 stale"
	has "$output" "none
w1 absent"
}

@test "a fill ends those of another kind, and counts only what is there" {
	pool 'vm gpu0 gpu; pooled w1; pooled w2 other'
	run -0 --separate-stderr pool 'pool_missing && echo missing
		pool_sweep describe
		state w1; state w2
		pool_missing && echo missing
		pooled w4
		pool_missing || echo enough'
	equal "w1 pooled
w2 absent
missing
enough" "$output"
}

@test "one fill runs and one waits; a third has nothing to do" {
	mkfifo "$BATS_TEST_TMPDIR/go"
	pool 'pool_enter; echo first; read -r x <"'"$BATS_TEST_TMPDIR"'/go"
		' >"$BATS_TEST_TMPDIR/1" 3>&- &
	poll 10 grep -q first "$BATS_TEST_TMPDIR/1"
	pool 'pool_enter; echo second' >"$BATS_TEST_TMPDIR/2" 3>&- &
	local second=$!
	poll 10 waits
	run -1 pool 'pool_enter || leave 1'
	equal '' "$(cat "$BATS_TEST_TMPDIR/2")"
	echo >"$BATS_TEST_TMPDIR/go"
	wait "$second"
	equal second "$(cat "$BATS_TEST_TMPDIR/2")"
}

# waits: one fill is waiting for another. Taking the lock to see whether it is free
# would keep it from the fill that is about to take it.
waits()
{
	local inode

	inode=$(stat -c %i "$ISOSPIN_RUN_DIR/t/pool/waits") &&
		grep -q ":$inode 0 EOF" /proc/locks
}

@test "status shows who waits, and counts it as a VM that runs" {
	pool 'vm gpu0 gpu; pooled w1'
	run -0 "$TOP/scripts/status.sh" --instance t
	has "$output" 'w1           worker  pooled'
	run -125 --separate-stderr "$TOP/scripts/worker-vm.sh" --instance t \
		--exec w1 -- true
	has "$stderr" "VM 'w1' is pooled"
}

@test "the pool cannot be filled by name, or shown beforehand" {
	for bad in '--name w1' --detach --stay -n 'extra' '-- true'; do
		# shellcheck disable=SC2086 # words
		run "$TOP/scripts/worker-vm.sh" --instance t --fill-pool $bad
		[[ $status = 64 || $status = 125 ]]
	done
}

# poll SECONDS COMMAND...
poll()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

@test "a worker for the pool is known by what it was made of, not by what is there now" {
	fills()
	{
		run -0 --separate-stderr pool 'use worker
			worker_describe() { record_add "$1/vm.conf" NAME "$2"; }
			boot_take_cid() { :; }
			vmm_place() { :; }
			boot_files() { :; }
			worker_register() { :; }
			boot_vm()
			{
				KIND=two
				proc_spawn vms/w1/vmm sleep 1000
				record_add "$1/vm.conf" ROLE worker READY_NS 1
			}
			pool_sweep() { :; }
			pool_missing() { [ ! -e "$proc_dir/vms/w1/pool" ]; }
			worker_fill_pool || die $? "$why"
			cat "$proc_dir/vms/w1/pool"'
		equal one "$output"
		"$TOP/scripts/kill-vms.sh" --instance t
	}
	with_shells fills
}
