#!/usr/bin/env bats
# isospin lint on this checkout, and on copies of its shell files with one wall
# crossed.

load ../lib/common.sh

@test "lint finds nothing" {
	run -0 "$TOP/scripts/lint.sh"
	equal '' "$output"
}

@test "lint finds each include that crosses a wall, and each circle" {
	cd "$BATS_TEST_TMPDIR"
	mkdir build share
	cp -R "$TOP/scripts" "$TOP/lib" "$TOP/src" "$TOP/kmod" .
	cp -R "$TOP/share/abi" share/
	cp -R "$TOP/build/gen" build/
	cross()
	{
		printf '#include "%s"\n' "$2" >>"src/$1"
	}
	cross broker/child/pool.c broker/monitor/worker.h
	cross broker/monitor/cgroup.c broker/child/pool.h
	cross broker/metrics.c broker/child/conn.h
	cross broker/child/hello.c drv/soft/soft.h
	cross drv/real/real_call.c drv/soft/soft.h
	cross drv/soft/soft_drv.c loop/loop.h
	cross drv/find.c broker/proto.h
	cross bridge/main.c broker/proto.h
	cross base/sock.c drv/drv.h
	cross broker/child/budget.h broker/child/session.h
	cross bridge/registry.h bridge/bridge.h
	cross agent/agent.h agent/boot.h
	printf '#include "agent/agent.h"\n' >src/agent/boot.h
	run -1 scripts/lint.sh layers circles
	wall()
	{
		grep -qE "$1:[0-9]+: $2 is behind a wall" <<<"$output"
	}
	wall broker/child/pool.c broker/monitor/worker.h
	wall broker/monitor/cgroup.c broker/child/pool.h
	wall broker/metrics.c broker/child/conn.h
	wall broker/child/hello.c drv/soft/soft.h
	wall drv/real/real_call.c drv/soft/soft.h
	has "$output" 'drv may not include loop/loop.h'
	has "$output" 'drv may not include broker/proto.h'
	has "$output" 'bridge may not include broker/proto.h'
	has "$output" 'base may not include drv/drv.h'
	has "$output" 'broker/child/budget includes broker/child/session'
	has "$output" 'bridge/registry includes bridge/bridge'
	has "$output" 'agent/boot includes agent/agent'
	has "$output" 'includes form a circle'
}

@test "lint finds a call against the order of a folder's files, and a file without a place" {
	cd "$BATS_TEST_TMPDIR"
	cp -R "$TOP/scripts" "$TOP/lib" "$TOP/src" "$TOP/kmod" .
	run -0 scripts/lint.sh order
	printf '%s\n' 'int up(void)' '{' '	vsock_kick_tx(0);' '}' \
		>>src/vsock-device/stream.c
	printf '%s\n' 'int up(void)' '{' '	shim_dev_exit(0);' '}' \
		>>kmod/file.c
	printf '%s\n' 'int up(void)' '{' '	watch_scan(0);' '}' \
		>>src/bridge/conn.c
	printf '%s\n' 'int up(void)' '{' '	agent_fini(0);' '}' \
		>>src/agent/session.c
	cp kmod/map.c kmod/window.c
	run -1 scripts/lint.sh order
	has "$output" 'stream.c may not call vsock_kick_tx() of vsock.c'
	has "$output" 'file.c may not call shim_dev_exit() of dev.c'
	has "$output" 'conn.c may not call watch_scan() of watch.c'
	has "$output" 'session.c may not call agent_fini() of serve.c'
	has "$output" 'kmod/window.c:1: the list in shim.h lacks it'
}

# scratch: a copy of the shell files, in $top.
scratch()
{
	top=$BATS_TEST_TMPDIR/top
	mkdir "$top"
	cp -a "$TOP/lib" "$TOP/scripts" "$top"
}

# crossed FILE TEXT: lint finds that, and nothing else, in the copy's file.
crossed()
{
	run -1 --separate-stderr "$top/scripts/lint.sh" walls
	equal "$1: $2" "$(sed 's/:[0-9]*:/:/' <<<"$output")"
	has "$stderr" 'lint: error: a wall between shell files is crossed'
}

@test "lint fails when a library uses one of a folder above its own" {
	scratch
	echo 'use cards' >>"$top/lib/host/disk.sh"
	crossed lib/host/disk.sh 'arrow: may not use lib/vmm/cards.sh, which is above it'
}

@test "lint fails when libraries use each other in a circle" {
	scratch
	sed -i '1a use vfio' "$top/lib/host/disk.sh"
	sed -i '1a use disk' "$top/lib/host/vfio.sh"
	run -1 --separate-stderr "$top/scripts/lint.sh" walls
	equal 'lib/host/disk.sh:1: circle: uses lib/host/vfio.sh, which uses it in turn
lib/host/vfio.sh:1: circle: uses lib/host/disk.sh, which uses it in turn' "$output"
}

@test "lint fails when a library calls a function of one that it does not name" {
	scratch
	echo 'disk_look() { pci_exists "$1"; }' >>"$top/lib/host/disk.sh"
	crossed lib/host/disk.sh 'use: pci_exists is of pci, which it does not name'
}

@test "lint fails when a command calls a function of a library that it does not name" {
	scratch
	echo 'look() { judge_load "$1"; }' >>"$top/scripts/conf.sh"
	crossed scripts/conf.sh 'use: judge_load is of judge, which it does not name'
}

@test "lint fails when a shared variable lacks the name of the file that sets it" {
	scratch
	echo 'disk_look() { sysfs_get x looked; }' >>"$top/lib/host/disk.sh"
	sed -i '1a use sysfs' "$top/lib/host/disk.sh"
	echo 'sysfs_look() { : "$looked"; }' >>"$top/lib/host/sysfs.sh"
	crossed lib/host/sysfs.sh 'prefix: $looked is set in lib/host/disk.sh'
}

@test "lint fails when a library reads a variable that only a command sets" {
	scratch
	echo 'looked=1' >>"$top/scripts/conf.sh"
	echo 'sysfs_look() { echo $((looked + 1)); }' >>"$top/lib/host/sysfs.sh"
	crossed lib/host/sysfs.sh 'script: $looked is set in scripts/conf.sh only'
}

@test "lint fails when a library reads a variable that nothing sets" {
	scratch
	cat >>"$top/lib/host/sysfs.sh" <<-'EOT'
	sysfs_look()
	{
		local looked=1
	}
	sysfs_looked()
	{
		cat <<-EOF
		it's ${looked%1}
		EOF
	}
	EOT
	crossed lib/host/sysfs.sh 'unset: $looked is set nowhere'
}

@test "lint fails when a library ends the command" {
	scratch
	echo 'disk_look() { [ -e "$1" ] || die 66 "$1: no such file"; }' \
		>>"$top/lib/host/disk.sh"
	crossed lib/host/disk.sh 'ends: a library ends the command'
}

@test "lint takes comments, quoted words and a caller's locals for what they are" {
	scratch
	cat >>"$top/lib/host/disk.sh" <<-'EOT'
	# pci_exists and $looked are die 1
	disk_look()
	{
		local looked="it's die 1 and pci_exists" \
			seen=1
		awk 'BEGIN { die = "$looked"; print pci_exists }'
		disk_looked "$(echo "$looked" | sed "s/die/;/")" "exit"
	}
	disk_looked()
	{
		echo "die; pci_exists ${looked:-none} \$nothing" $seen
	}
	EOT
	run -0 --separate-stderr "$top/scripts/lint.sh" walls
	equal '' "$output"
}

@test "lint makes the checks that are named, and no others" {
	run -0 --separate-stderr "$TOP/scripts/lint.sh" -v walls places
	equal 2 "$(grep -c ': clean$' <<<"$stderr")"
	run -64 "$TOP/scripts/lint.sh" nonsense
}
