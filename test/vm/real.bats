#!/usr/bin/env bats
# The broker's driver `real` on device nodes that behave as NVIDIA's do: it runs inside
# a worker, on the shim's nodes. A call goes from wire-client to gpu-broker --driver
# real, then through shim and bridge to gpu-broker --driver soft.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
	stack_boot w1
	put worker w1 wire-client
	guest_bin=$TOP/build/static/bin put worker w1 gpu-broker
	printf '%032d' 7 | in_worker w1 sh -c 'cat >/tmp/secret'
	in_worker w1 sh -c '/tmp/gpu-broker --driver real -v \
		--secret-file /tmp/secret --listen unix:/tmp/s \
		>/tmp/log 2>&1 & until grep -q ready /tmp/log; do
		kill -0 $! || { cat /tmp/log; exit 1; }; done' </dev/null
}

teardown_file()
{
	stack_end
}

# play SCENARIO [OPTION...]: runs wire-client as a worker of the inner broker.
play()
{
	in_worker w1 timeout 60 /tmp/wire-client --secret-file /tmp/secret \
		"${@:2}" unix:/tmp/s "$1" </dev/null
}

inner()
{
	in_worker w1 "$@" </dev/null
}

@test "the driver's version and GPUs are what the nodes below say" {
	run -0 inner cat /tmp/log
	has "$output" 'driver=real version=550.163.01 gpus=1 setup_ms='
	run -0 play hello
	has "$output" 'gpus 1 '
}

@test "a call passes, with its nested pointers" {
	run -0 play control
	has "$output" 'gpu id 0x'
	has "$output" 'driver 550.163.01'
}

@test "what no table allows gets the driver's errors, as ever" {
	local scenario

	for scenario in unknown-ioctl unknown-control unknown-class \
		wrong-size bad-fd huge-length huge-nested foreign-client \
		foreign-dup more-efault cancel; do
		echo "# $scenario"
		play "$scenario"
	done
}

@test "a worker has no more open files than its quota" {
	play max-files
}

@test "a version other than the loaded one is refused" {
	run -69 inner /tmp/gpu-broker --driver real --driver-version 535.261.03 \
		--secret-file /tmp/secret --listen unix:/tmp/t
	has "$output" 'the driver that is loaded is 550.163.01, not 535.261.03'
}

@test "the child of the real driver has no capability and a filter" {
	run -0 inner sh -c 'mkfifo /tmp/in
		/tmp/wire-client --secret-file /tmp/secret unix:/tmp/s hold \
			</tmp/in >/tmp/held & exec 4>/tmp/in
		until grep -q holding /tmp/held; do
			kill -0 $! || exit 1
		done
		for d in /proc/[0-9]*; do
			! grep -qa -- --child "$d/cmdline" || cat "$d/status"
		done'
	has "$output" $'CapEff:\t0000000000000000'
	has "$output" $'Seccomp:\t2'
	run -1 inner grep -E 'killed|signal' /tmp/log
}
