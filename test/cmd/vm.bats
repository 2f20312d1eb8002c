#!/usr/bin/env bats
# gpu-vm, worker-vm, vsock-bridge, kill-vms, status and logs, with a fake QEMU that
# only prints a text of the test's choice.

load ../lib/common.sh

setup()
{
	unset SUDO_UID SUDO_GID
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	export ISOSPIN_ASSETS_DIR=$BATS_TEST_TMPDIR/assets
	export ISOSPIN_ACCEL=tcg ISOSPIN_VSOCK=vhost-user
	export SYSFS_ROOT=$BATS_TEST_TMPDIR/sys
	mkdir -p "$SYSFS_ROOT/bus/pci/devices"
	mkdir -p "$ISOSPIN_ASSETS_DIR/kernels/6.12.0-test" "$ISOSPIN_RUN_DIR"
	chmod 700 "$ISOSPIN_RUN_DIR"
	: >"$ISOSPIN_ASSETS_DIR/kernels/6.12.0-test/vmlinuz"
	home=$ISOSPIN_RUN_DIR/t/vms
	shell=sh
}

teardown()
{
	PATH=${PATH#"$BATS_TEST_TMPDIR/fake:"}
	cmd kill-vms
	cmd kill-vms --instance t2
}

# cmd NAME [ARG...]: runs one of isospin's commands under $shell.
cmd()
{
	local name=$1

	shift
	# shellcheck disable=SC2086 # busybox ash is two words
	case " $* " in
	*" --instance "*) $shell "$TOP/scripts/$name.sh" "$@" ;;
	*) $shell "$TOP/scripts/$name.sh" --instance t "$@" ;;
	esac
}

# fake_qemu TEXT: fakes a QEMU that prints TEXT on the console, then runs `end`.
fake_qemu()
{
	printf '%s' "${1:+$1$'\n'}" >"$BATS_TEST_TMPDIR/says"
	fake qemu-system-x86_64 <<-EOT
	if [ "\$1" = --version ]; then
		echo 'QEMU emulator version 7.2.22'
		exit
	fi
	console=\$(printf '%s\n' "\$@" | sed -n 's/^file,id=console,path=//p')
	cat "$BATS_TEST_TMPDIR/says" >>"\$console"
	${2:-exec sleep 1000}
	EOT
}

# start_gpu_vm: starts gpu-vm in the background; $pid is the command itself.
start_gpu_vm()
{
	# shellcheck disable=SC2086 # busybox ash is two words
	$shell "$TOP/scripts/gpu-vm.sh" --instance t --detach \
		>/dev/null 2>&1 3>&- &
	pid=$!
}

nvidia_card()
{
	local dir=$SYSFS_ROOT/bus/pci/devices/0000:01:00.0

	mkdir -p "$dir" "$SYSFS_ROOT/bus/pci/drivers/vfio-pci"
	echo 0x10de >"$dir/vendor"
	echo 0x2330 >"$dir/device"
	: >"$dir/resource"
	echo 0x030200 >"$dir/class"
	[ $# -eq 0 ] || ln -s "../../drivers/$1" "$dir/driver"
}

nothing_left()
{
	equal '' "$(ls -A "$home")"
	equal '' "$(ls -A "$ISOSPIN_RUN_DIR/cids" | grep -v lock)"
	equal '' "$(ls -A "$ISOSPIN_RUN_DIR/t/bridge.d" 2>/dev/null)"
	equal '' "$(pgrep -f "$ISOSPIN_RUN_DIR/t/" || :)"
}

@test "gpu-vm --dry-run prints a q35 machine and leaves nothing behind" {
	dry()
	{
		run -0 --separate-stderr cmd gpu-vm -n
		has "$output" '-M q35,memory-backend=mem -accel tcg,thread=single'
		has "$output" '-sandbox on,'
		has "$output" '-device vhost-user-vsock-pci,chardev=vsock'
		has "$output" ' -m 256M '
		equal '' "$(ls -A "$ISOSPIN_RUN_DIR")"
	}
	with_shells dry
}

@test "worker-vm --dry-run prints a microvm with the TSC's rate under TCG" {
	run -0 --separate-stderr cmd worker-vm -n -- true
	has "$output" '-M microvm,memory-backend=mem'
	has "$output" 'cx16=off'
	[[ $output =~ tsc_early_khz=[0-9]{6,} ]]
	ISOSPIN_WORKER_MEM=1G ISOSPIN_WORKER_CPUS=3 \
		run -0 --separate-stderr cmd worker-vm -n --name big --detach
	has "$output" '-smp 3 -m 1024M'
	has "$output" '-name big '
}

@test "two processors of an old QEMU without KVM take turns" {
	local version thread

	while read -r version thread; do
		fake qemu-system-x86_64 <<<"echo 'QEMU emulator version $version'"
		ISOSPIN_GPU_VM_CPUS=2 run -0 --separate-stderr cmd gpu-vm -n
		has "$output" "-accel tcg,thread=$thread "
	done <<-EOT
	10.0.2 multi
	8.1.0 multi
	8.0.5 single
	7.2.22 single
	EOT
	ISOSPIN_GPU_VM_CPUS=1 run -0 --separate-stderr cmd gpu-vm -n
	has "$output" '-accel tcg,thread=multi '
}

@test "a host with an NVIDIA GPU never gets a soft one unasked" {
	nvidia_card
	run -69 --separate-stderr cmd gpu-vm -n
	has "$stderr" '(0000:01:00.0), which is not bound to vfio-pci'
	has "$stderr" '--driver soft'
	equal '' "$output"
	run -0 cmd gpu-vm -n --driver soft
}

@test "the real driver is refused while the GPU is not bound, or not fit" {
	run -69 --separate-stderr cmd gpu-vm -n --driver real
	has "$stderr" 'there is no device 0000:01:00.0'
	nvidia_card
	run -69 --separate-stderr cmd gpu-vm -n --driver real
	has "$stderr" '0000:01:00.0 is not bound to vfio-pci, but to no driver'
	has "$stderr" 'isospin vfio-bind 0000:01:00.0'
	nvidia_card vfio-pci
	run -69 --separate-stderr cmd gpu-vm -n
	has "$stderr" 'IOMMU'
	has "$stderr" '0000:01:00.0 cannot be handed to a VM'
}

@test "a jailed Firecracker has a user of its own, and no file of the assets" {
	[ "$(id -u)" -eq 0 ] && unshare -m true || skip 'only root can'
	fake firecracker <<<'echo Firecracker v1.16.0'
	fake jailer <<<'exit 1'
	export ISOSPIN_ACCEL=kvm
	run -0 --separate-stderr cmd worker-vm -n -- true
	has "$output" '--uid 1879048197 --gid 1879048197'
	[[ $output != *"$ISOSPIN_ASSETS_DIR"* ]]
	ISOSPIN_WORKER_CID=4294967290 \
		run -0 --separate-stderr cmd worker-vm -n -- true
	has "$output" '--uid 1895825402 '
}

@test "a monitor that cannot run here is not silently replaced by QEMU" {
	ISOSPIN_GPU_VMM=cloud-hypervisor \
		run -69 --separate-stderr cmd gpu-vm -n
	has "$stderr" 'GPU_VMM=cloud-hypervisor needs KVM: set by ACCEL'
	equal '' "$output"
	ISOSPIN_WORKER_VMM=firecracker \
		run -69 --separate-stderr cmd worker-vm -n --name w1 --detach
	has "$stderr" 'WORKER_VMM=firecracker needs KVM: set by ACCEL'
	equal '' "$output"
}

@test "a monitor that is too old for what is asked is named, with its version" {
	old()
	{
		fake cloud-hypervisor <<<'echo cloud-hypervisor v40.0'
		run -69 vmm 'launch_version cloud-hypervisor &&
			launch_needs cloud-hypervisor 41 0 --landlock'
		has "$output" "cloud-hypervisor: version 41.0 is the first with \
--landlock; this is 'cloud-hypervisor v40.0'"
		fake firecracker <<<'echo Firecracker v1.12.1; echo; echo more'
		run -69 vmm 'launch_version firecracker &&
			launch_needs firecracker 1 13 --enable-pci'
		has "$output" "this is 'Firecracker v1.12.1'"
		fake firecracker <<<'echo Firecracker v1.17.0-dev'
		run -0 vmm 'launch_version firecracker &&
			launch_needs firecracker 1 13 --enable-pci'
		fake firecracker <<<'echo nonsense'
		run -69 vmm 'launch_version firecracker'
		has "$output" "firecracker --version said 'nonsense'"
	}
	with_shells old
}

# vmm TEXT: runs TEXT with the functions of vmm.sh; its failure is told.
vmm()
{
	sh_lib "use vmm launch
		{ $1
		} || die \$? \"\$why\""
}

@test "what a monitor says is told what to do about" {
	local said want vmm

	while IFS='|' read -r vmm said want; do
		printf '%s\n' NAME=w1 "VMM=$vmm" DEVICES=0000:01:00.0 \
			>"$BATS_TEST_TMPDIR/vm.conf"
		run -0 vmm "vmm_remedy '$BATS_TEST_TMPDIR' '$said' \
			'see isospin logs w1'"
		has "$output" "$want"
	done <<-'EOT'
	cloud-hypervisor|failed to open /dev/vfio/5 group: Device or resource busy|isospin vfio-status names it
	cloud-hypervisor|failed to open /dev/vfio/5 group: Permission denied (os error 13)|isospin vfio-status names it
	cloud-hypervisor|failed to open /dev/vfio/5 group: No such file or directory|isospin vfio-bind 0000:01:00.0
	cloud-hypervisor|Failed to DMA map: Invalid argument (os error 22)|too few address bits
	cloud-hypervisor|Failed to DMA map: EINVAL|too few address bits
	qemu|vfio_container_dma_map(0x1, 0x0, 0xa0000, 0x7f) = -12 (Cannot allocate memory)|ulimit -l
	cloud-hypervisor|Failed to DMA map VFIO device 4: failed to add guest memory map into iommu table: Out of memory (os error 12)|ulimit -l
	cloud-hypervisor|Trying to use a size that is not multiple of 2MiB|must be a multiple of 2 MiB
	firecracker|Error binding to the host-side Unix socket: Address in use (os error 98)|isospin kill-vms w1
	qemu|vhost-vsock: unable to set guest cid: Address already in use|WORKER_CID
	firecracker|Cannot create backend: UnixBind(Os { code: 98, kind: AddrInUse })|isospin kill-vms w1
	firecracker|Kernel Loader: failed to load ELF kernel image: Invalid Elf magic number|isospin build fc-gpu-kernel
	cloud-hypervisor|Error applying landlock|lsm= on the kernel
	qemu|/dev/kvm: Permission denied|group of /dev/kvm
	qemu|Cannot allocate memory|not enough free memory
	qemu|something new|see isospin logs w1
	EOT
}

@test "a worker without a GPU VM or a bridge says what to start" {
	run -69 --separate-stderr cmd worker-vm --detach
	has "$stderr" 'isospin gpu-vm --detach --name gpu0'
	run -125 --separate-stderr cmd worker-vm -- true
	fake_qemu 'Broker running'
	cmd gpu-vm --detach
	run -125 --separate-stderr cmd worker-vm -- true
	has "$stderr" 'isospin vsock-bridge --detach'
}

@test "bad names, flags and operands are usage errors" {
	for name in '' 'a b' ../x A -x "$(printf '%033d' 0)"; do
		run -64 cmd gpu-vm --name "$name" --detach
	done
	run -64 cmd gpu-vm extra
	run -64 cmd worker-vm true
	run -64 cmd worker-vm --detach -x
	run -125 cmd worker-vm --nonsense -- true
	run -64 cmd kill-vms nobody
	run -64 cmd status extra
	run -64 cmd demo --workers 17
	run -78 cmd demo --nvidia 470
	has "$output" 'command line: NVIDIA_BRANCH'
}

@test "a worker's shell wants a terminal" {
	run -64 --separate-stderr cmd worker-vm </dev/null
	has "$stderr" 'no terminal'
}

@test "gpu-vm returns when the broker serves, and status, logs and kill-vms know it" {
	round()
	{
		fake_qemu $'hello \e[31mred\nBroker running'
		run -0 --separate-stderr cmd gpu-vm --detach --json
		equal running "$(jq -r .state <<<"$output")"
		equal 3 "$(jq .cid <<<"$output")"
		run -0 cmd status
		has "$output" 'gpu0         gpu     running'
		has "$(cat "$ISOSPIN_RUN_DIR/t/bridge.d/gpu0.gpu")" \
			"connect=hybrid:$home/gpu0/vsock.sock:9999"
		equal 32 "$(stat -c %s "$home/gpu0/broker.secret")"
		equal 600 "$(stat -c %a "$home/gpu0/agent.secret")"
		run -0 cmd logs gpu0
		has "$output" 'hello [31mred'
		run ! grep -q $'\e' <<<"$output"
		run -0 --separate-stderr cmd kill-vms
		equal 'kill-vms: info: stopped: gpu0' "$stderr"
		nothing_left
		run -0 --separate-stderr cmd kill-vms
		equal 'kill-vms: info: nothing runs here' "$stderr"
		run -0 cmd logs gpu0
		has "$output" 'Broker running'
		run -1 --separate-stderr cmd status
		has "$stderr" 'no VM'
	}
	with_shells round
}

@test "logs -f goes on as they grow, and ends at a signal with all it started" {
	follows()
	{
		fake_qemu 'Broker running' 'until [ -e "$BATS_TEST_TMPDIR/more" ]
			do sleep 0.1; done; echo and more >>"$console"; exec sleep 1000'
		run -0 cmd gpu-vm --detach
		# shellcheck disable=SC2086 # busybox ash is two words
		$shell "$TOP/scripts/logs.sh" --instance t -f gpu0 \
			>"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
		pid=$!
		poll 20 grep -q 'Broker running' "$BATS_TEST_TMPDIR/said"
		touch "$BATS_TEST_TMPDIR/more"
		poll 20 grep -q 'and more' "$BATS_TEST_TMPDIR/said"
		kill -TERM "$pid"
		local rc=0
		wait "$pid" || rc=$?
		equal 143 "$rc"
		poll 5 no_follower
		rm "$BATS_TEST_TMPDIR/more"
		cmd kill-vms
	}
	with_shells follows
}

no_follower()
{
	! pgrep -f "tail.* $home/gpu0/console.log" >/dev/null
}

@test "the monitor reads only from its VM's own directory" {
	fake_qemu 'Broker running' \
		'printf "%s\n" "$@" >"$BATS_TEST_TMPDIR/args"; exec sleep 1000'
	run -0 cmd gpu-vm --detach
	equal "$home/gpu0/kernel" \
		"$(sed -n '/^-kernel/{n;p}' "$BATS_TEST_TMPDIR/args")"
	equal "$home/gpu0/initrd" \
		"$(sed -n '/^-initrd/{n;p}' "$BATS_TEST_TMPDIR/args")"
	[ ! -e "$home/gpu0/kernel" ]
}

@test "a guest that floods its console fills no disk, and goes on" {
	fake_qemu 'Broker running' 'until [ "$(ulimit -f)" != unlimited ]; do :; done
		head -c 40000000 /dev/zero >>"$console"; echo over; exec sleep 1000'
	run -0 cmd gpu-vm --detach
	poll 20 grep -qs over "$home/gpu0/vmm/log"
	[ "$(stat -c %s "$home/gpu0/console.log")" -le 16777216 ]
	run -0 cmd status
}

json_strings()
{
	# shellcheck disable=SC2016 # for that shell
	run -0 sh_lib 'use fc
		for text in abc "" "a\"b\\c" "\\\\" "\"" "/v/x y"; do
			fc_json json "$text"
			printf "%s\n%s\n" "$text" "$json"
		done'
	equal 12 "$(wc -l <<<"$output")"
	while IFS= read -r text && IFS= read -r json; do
		equal "$text" "$(jq -r . <<<"$json")"
	done <<<"$output"
}

@test "Firecracker is told any path as JSON" {
	with_shells json_strings
}

# fc_key_with JAIL: prints the key of a snapshot of Firecracker's.
fc_key_with()
{
	# shellcheck disable=SC2016 # for that shell
	ISOSPIN_FIRECRACKER_JAIL=$1 sh_lib 'use fc
		conf_load
		vmm_record=
		fc_init w1 || die $? "$why"
		printf "%s" "$vmm_record" >vm.conf
		fc_key "$PWD"'
}

one_key()
{
	run -0 fc_key_with auto
	auto=$output
	has "$auto" 'Firecracker v1.17.0'
	run -0 fc_key_with no
	equal "$auto" "$output"
}

@test "Firecracker: a snapshot fits with and without the jailer" {
	cd "$BATS_TEST_TMPDIR"
	fake firecracker <<<'echo Firecracker v1.17.0'
	fake jailer <<<'exit 0'
	with_shells one_key
}

@test "an accelerator counts as usable only if its guest says so in time" {
	fake qemu-system-x86_64 <<<'exit 33'
	run -0 --separate-stderr sh_lib 'use accel; accel_probe_word'
	equal ran "$output"
	for end in 'exit 1' 'exec sleep 100'; do
		fake qemu-system-x86_64 <<<"$end"
		run -0 --separate-stderr sh_lib 'use accel; accel_probe_s=1
			accel_probe_word'
		equal failed "$output"
	done
}

@test "a name in use is refused, and the VM that has it is left alone" {
	fake_qemu 'Broker running'
	cmd gpu-vm --detach
	run -75 --separate-stderr cmd gpu-vm --detach
	has "$stderr" 'isospin kill-vms gpu0'
	run -0 cmd status
}

@test "of two admins who start the same VM at once one gets it" {
	local one two rcs

	once()
	{
		: >"$BATS_TEST_TMPDIR/started"
		fake_qemu 'Broker running' \
			'echo one >>"$BATS_TEST_TMPDIR/started"; exec sleep 1000'
		start_gpu_vm
		one=$pid
		start_gpu_vm
		two=$pid
		rcs=
		for pid in "$one" "$two"; do
			rc=0
			wait "$pid" || rc=$?
			rcs="$rcs $rc"
		done
		case $rcs in
		' 0 75' | ' 75 0') ;;
		*) equal '0 and 75' "$rcs" ;;
		esac
		equal one "$(cat "$BATS_TEST_TMPDIR/started")"
		run -0 cmd status
		cmd kill-vms
		nothing_left
	}
	with_shells once
}

# boot_before PID-FILE: changes the record, as if another boot had made it.
boot_before()
{
	sed -i '2s/.*/00000000-0000-4000-8000-000000000000/' "$1"
}

@test "after a reboot the stack starts over what the boot before has left" {
	local pids file

	fake_qemu 'Broker running'
	cmd gpu-vm --detach
	cmd vsock-bridge --detach
	cmd gpu-vm --name gpu1 --detach
	pids=$(cat "$ISOSPIN_RUN_DIR"/t/{bridge,vms/*/vmm}/pid | awk 'NF == 2 { print $1 }')
	# A reboot ends all of them and tells no other process.
	# shellcheck disable=SC2086 # a list of numbers
	kill -KILL $pids
	for file in "$ISOSPIN_RUN_DIR"/t/{bridge,vms/*/vmm}/pid; do
		boot_before "$file"
	done
	run -1 --separate-stderr cmd status --json
	equal 'ended ended ended' "$(jq -r .state <<<"$output" | paste -sd ' ')"
	run -0 --separate-stderr cmd gpu-vm --detach --json
	has "$stderr" "removing what is left of VM 'gpu1'"
	equal 3 "$(jq .cid <<<"$output")"
	run -0 cmd vsock-bridge --detach
	equal 'bridge gpu0' "$(cmd status --json |
		jq -r 'select(.state == "running").name' | paste -sd ' ')"
}

@test "two instances have CIDs of their own" {
	fake_qemu 'Broker running'
	cmd gpu-vm --detach
	run -0 --separate-stderr cmd gpu-vm --detach --json --instance t2
	equal 4 "$(jq .cid <<<"$output")"
	cmd kill-vms
	run -0 cmd status --instance t2
}

@test "a guest of vhost-vsock does not get the CID of the machine itself" {
	fake_qemu 'Broker running'
	own=$("$TOP/build/bin/vmctl" cid) || own=2
	# Outside a VM, the machine's own CID is one that no guest may have anyway.
	[ "$own" -ge 3 ] || own=3
	export ISOSPIN_GPU_VM_CID=$own
	for vsock in vhost vhost-user; do
		ISOSPIN_VSOCK=$vsock cmd gpu-vm --detach --json >"$BATS_TEST_TMPDIR/$vsock"
		cmd kill-vms
	done
	equal "$own" "$(jq .cid "$BATS_TEST_TMPDIR/vhost-user")"
	[ "$("$TOP/build/bin/vmctl" cid || :)" != "$(jq .cid "$BATS_TEST_TMPDIR/vhost")" ]
}

@test "a guest that fails to boot is explained and leaves nothing" {
	fake_qemu 'isospin: state=failed reason=no modules at=5'
	run -69 --separate-stderr cmd gpu-vm --detach
	has "$stderr" '| isospin: state=failed reason=no modules'
	has "$stderr" 'isospin logs gpu0'
	nothing_left
}

@test "a monitor that ends at once is explained by what it said" {
	fake_qemu '' 'echo "cannot set up guest memory" >&2; exit 1'
	run -69 --separate-stderr cmd gpu-vm --detach
	has "$stderr" 'cannot set up guest memory'
	nothing_left
}

@test "SIGTERM while it boots stops and removes what was started" {
	term()
	{
		fake_qemu 'not yet'
		start_gpu_vm
		poll 10 grep -qs 'not yet' "$home/gpu0/console.log"
		kill -TERM "$pid"
		local rc=0
		wait "$pid" || rc=$?
		equal 143 "$rc"
		nothing_left
	}
	with_shells term
}

@test "what a killed command has left is removed by the next one" {
	fake_qemu 'not yet'
	start_gpu_vm
	poll 10 grep -qs 'not yet' "$home/gpu0/console.log"
	kill -KILL "$pid"
	wait "$pid" || :
	run -1 cmd status
	has "$output" 'gpu0         gpu     stale'
	fake_qemu 'Broker running'
	run -0 --separate-stderr cmd gpu-vm --detach
	has "$stderr" "removing what is left of VM 'gpu0'"
	cmd kill-vms
	nothing_left
}

@test "a VM is gone with the process that --owner names" {
	fake_qemu 'Broker running'
	sleep 1000 3>&- &
	local pid=$!
	run -0 cmd gpu-vm --detach --owner "$pid"
	run -0 cmd status
	kill "$pid"
	wait "$pid" || :
	run -1 cmd status
	has "$output" stale
	run -69 cmd worker-vm --detach
}

@test "nothing is started for an --owner that is gone" {
	fake_qemu '' 'touch "$BATS_TEST_TMPDIR/ran"'
	sleep 0 3>&- &
	local pid=$!
	wait "$pid"
	run -64 --separate-stderr cmd gpu-vm --detach --owner "$pid"
	has "$stderr" "there is no process $pid"
	run -64 cmd vsock-bridge --detach --owner "$pid"
	[ ! -e "$BATS_TEST_TMPDIR/ran" ]
	run -1 cmd status
	run ! grep -q gpu0 <<<"$output"
}

@test "kill-vms leaves a process alone that only has the pid" {
	mkdir -p -m 700 "$ISOSPIN_RUN_DIR/t" "$home" "$home/w1" "$home/w1/vmm"
	chmod 700 "$ISOSPIN_RUN_DIR/t"
	sleep 1000 3>&- &
	local pid=$!
	echo "$pid 1" >"$home/w1/vmm/pid"
	run -0 cmd kill-vms
	kill -0 "$pid"
	[ ! -e "$home/w1" ]
	kill "$pid"
}

@test "the bridge starts, is there, is not started twice, and stops" {
	bridge()
	{
		run -0 cmd vsock-bridge --detach
		run -1 cmd status --json
		equal running "$(jq -r .state <<<"$output")"
		run -75 cmd vsock-bridge --detach
		run -0 cmd vsock-bridge --stop
		run -1 cmd status --json
		equal absent "$(jq -r .state <<<"$output")"
	}
	with_shells bridge
}

@test "a bridge that ends before it serves has not started" {
	fails()
	{
		fake bridge <<<'echo "cannot serve" >&2; sleep 0.3; exit 1'
		# shellcheck disable=SC2016 # for that shell
		run -69 --separate-stderr sh_lib 'use vm bridge
			opt_instance=t opt_conf=
			vm_init || die $? "$why"
			proc_tool() { base_set "$1" "$FAKE"; }
			bridge_start "" || die $? "$why"'
		has "$stderr" 'cannot serve'
		has "$stderr" 'the bridge did not start'
		run -1 cmd status --json
		[ "$(jq -r .state <<<"$output")" != running ]
	}
	export FAKE=$BATS_TEST_TMPDIR/fake/bridge
	with_shells fails
}

@test "a full disk while a VM is described is told" {
	full()
	{
		# shellcheck disable=SC2016 # for that shell
		run -74 --separate-stderr sh_lib 'use boot
			vm_dir() { base_set "$1" /nowhere; }
			vmm_kernel() { base_set "$1" /nowhere; }
			record_add() { :; }
			conf_load ""
			dir=$(mktemp -d)
			on_exit rm -rf "$dir"
			ln -s /dev/full "$dir/vm.conf"
			vmm_record=VMM=qemu
			boot_describe "$dir" w1 worker 6.12 1 1 no || die $? "$why"'
		has "$stderr" 'vm.conf: cannot be written; is the disk full?'
		# shellcheck disable=SC2016 # for that shell
		run -1 --separate-stderr sh_lib 'conf_load ""
			conf_print w1 >/dev/full 2>/dev/null || leave $?'
	}
	with_shells full
}

@test "a jailed Firecracker that ends at once is explained by what it said" {
	local home=$BATS_TEST_TMPDIR/w1

	ended()
	{
		# shellcheck disable=SC2016 # for that shell
		run -1 --separate-stderr sh_lib 'use fc
			dir=$HOME_OF home=$HOME_OF at=/v name=w1 jail=yes uid=1
			snapshot_dir="" pci=no
			launch_spawn() { fail 1 "it ended at once"; }
			fc_spawn "$dir" || leave $?'
	}
	fake firecracker <<<'exit 1'
	mkdir "$home"
	echo KEPT=yes >"$home/vm.conf"
	export HOME_OF=$home
	with_shells ended
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
