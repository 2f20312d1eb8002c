#!/usr/bin/env bats
# isospin lint on this checkout.

load ../lib/common.sh

@test "lint finds nothing" {
	run -0 "$TOP/scripts/lint.sh"
	equal '' "$output"
}

# A copy of the sources, linted without the tools that take their time.
@test "lint finds each include that crosses a wall, and each circle" {
	cd "$BATS_TEST_TMPDIR"
	mkdir tools build share
	for tool in shellcheck cc; do
		printf '#!/bin/sh\n' >"tools/$tool"
	done
	chmod +x tools/*
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
	PATH=$PWD/tools:$PATH CC=cc run -1 scripts/lint.sh
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
	has "$output" 'includes form a circle'
}
