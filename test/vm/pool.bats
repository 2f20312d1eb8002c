#!/usr/bin/env bats
# Pooled workers, in real guests without KVM.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	export ISOSPIN_WORKER_POOL=1
	isospin gpu-vm --driver soft --detach
	isospin vsock-bridge --detach
}

teardown_file()
{
	stack_end
}

# states: prints "NAME STATE" of the workers, on one line.
states()
{
	isospin status --json | jq -r 'select(.role == "worker") |
		"\(.name) \(.state)"' | sort | paste -sd ,
}

a_worker_starts()
{
	[[ $(states) == *starting* ]]
}

# pid_of NAME: prints the pid of the VM's VMM.
pid_of()
{
	local pid since

	read -r pid since <<<"$(state_of "vms/$1/vmm")"
	echo "$pid"
}

# pooled: fills the pool and sets `name` to the worker in it.
pooled()
{
	isospin worker-vm --fill-pool
	wait_for 180 idle
	name=$(isospin status --json | jq -r 'select(.state == "pooled").name')
}

# idle: no command fills the pool or waits to do so.
idle()
{
	! pgrep -f -- "^[^ ]*sh $TOP/scripts/worker-vm.sh --fill-pool" >/dev/null
}

@test "two fills at once make no more than there are to be" {
	isospin worker-vm --fill-pool &
	isospin worker-vm --fill-pool
	wait "$!"
	wait_for 60 idle
	has "$(states)" pooled
	equal 1 "$(states | tr , '\n' | wc -l)"
	run -0 isospin status
}

@test "nobody gets into a worker that waits" {
	pooled
	run -125 --separate-stderr isospin worker-vm --exec "$name" -- true
	has "$stderr" "VM '$name' is pooled"
}

@test "a worker without a name is one that was ready; then there is another" {
	pooled
	pid=$(pid_of "$name")
	run -0 --separate-stderr isospin worker-vm -- sh -c \
		'hostname; isospin-smi -L'
	has "$stderr" "worker VM '$name' was ready"
	equal "$name" "${lines[0]}"
	has "${lines[1]}" 'Isospin Soft GPU'
	run ! grep -F "\"pid\":$pid," <<<"$(isospin status --json)"
	wait_for 120 idle
	has "$(states)" pooled
	equal 1 "$(states | tr , '\n' | wc -l)"
}

@test "one with another configuration is not handed out, and is replaced" {
	pooled
	export ISOSPIN_WORKER_MEM=300M
	run -0 --separate-stderr isospin worker-vm -- free -m
	[[ $stderr != *'was ready'* ]]
	wait_for 180 idle
	name=$(isospin status --json | jq -r 'select(.state == "pooled").name')
	run -0 --separate-stderr isospin worker-vm --detach --json
	equal "$name" "$(jq -r .name <<<"$output")"
	equal running "$(jq -r .state <<<"$output")"
	run -0 isospin worker-vm --exec "$name" -- sh -c 'free -m | grep Mem'
	[ "$(awk '{ print $2 }' <<<"$output")" -lt 300 ]
	run -0 isospin kill-vms "$name"
	wait_for 180 idle
}

@test "one that has died is swept, and not handed out" {
	pooled
	kill_hard "vms/$name/vmm"
	run -0 --separate-stderr isospin worker-vm --name other -- true
	has "$stderr" "removing what is left of VM '$name'"
	equal '' "$(states)"
}

@test "one whose GPU VM is gone is swept" {
	pooled
	isospin kill-vms gpu0
	equal "$name stale" "$(states)"
	isospin gpu-vm --driver soft --detach
	equal '' "$(states)"
}

@test "kill-vms ends the pool, also while it is filled" {
	isospin worker-vm --fill-pool &
	wait_for 60 a_worker_starts
	run -0 isospin kill-vms
	wait "$!" || :
	wait_for 10 idle
	equal '' "$(states)"
	equal '' "$(pgrep -f "$ISOSPIN_RUN_DIR/" || :)"
	equal '' "$(find "$ISOSPIN_RUN_DIR/cids" -type f ! -name .lock)"
}

@test "a guest whose vsock is vhost-user is not started from a snapshot" {
	[ ! -e /dev/vhost-vsock ] || export ISOSPIN_VSOCK=vhost-user
	isospin gpu-vm --driver soft --detach
	isospin vsock-bridge --detach
	run -69 --separate-stderr isospin worker-vm --from-snapshot --detach
	has "$stderr" 'QEMU saves no guest whose vsock is vhost-user'
	equal '' "$(states)"
}
