#!/usr/bin/env bats
# The outputs of make, and their places.

load ../lib/common.sh

setup()
{
	cd "$TOP" || return
}

@test "what runs in guests needs no library of theirs" {
	for file in build/static/bin/*; do
		headers=$(readelf -lW "$file")
		has "$headers" LOAD
		run -1 grep -E 'INTERP|DYNAMIC' <<<"$headers"
		has "$headers" RELRO
		run -0 grep -E 'GNU_STACK .* RW ' <<<"$headers"
	done
}

@test "what runs on the host is a PIE, bound at start, with no executable stack" {
	for file in build/bin/*; do
		headers=$(readelf -hldW "$file")
		has "$headers" 'DYN (Position-Independent Executable file)'
		has "$headers" BIND_NOW
		has "$headers" RELRO
		run -0 grep -E 'GNU_STACK .* RW ' <<<"$headers"
	done
}

@test "the ports of the configuration are those of the wire and of the agent" {
	conf=$(scripts/conf.sh -c /dev/null)
	port=$(sed -n 's/^#define ISO_BROKER_PORT[^0-9]*//p' src/abi/iso_wire.h)
	has "$conf" "BROKER_PORT=$port"
	port=$(sed -n 's/^#define AGENT_PORT\t*\([0-9]*\).*/\1/p' src/abi/iso_agent.h)
	has "$conf" "AGENT_PORT=$port"
}

@test "an installed tree works by itself, keeps its configuration, and goes whole" {
	dest=$BATS_TEST_TMPDIR/dest
	run -0 sh scripts/gen/install.sh install "$dest" /opt
	isospin=$dest/opt/bin/isospin
	[ -f "$dest/opt/libexec/isospin/guest/isospin-agent" ]
	[ ! -e "$dest/opt/libexec/isospin/scripts/check.sh" ]
	run -0 "$isospin" -V
	equal "isospin $(cat share/version)" "$output"
	conf=$dest/opt/etc/isospin.conf
	cmp etc/isospin.conf "$conf"
	echo BROKER_PORT=7000 >"$conf"
	run -0 sh scripts/gen/install.sh install "$dest" /opt
	equal BROKER_PORT=7000 "$(cat "$conf")"
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	run -1 --separate-stderr "$isospin" status
	has "$output" absent
	run -0 "$isospin" conf
	has "$output" BROKER_PORT=7000
	run -0 "$isospin" build --print gpu-broker-static
	equal "$dest/opt/libexec/isospin/guest/gpu-broker" "$output"
	for page in share/man/*.scd; do
		name=${page##*/}
		name=${name%.scd}
		[ -s "$dest/opt/share/man/man${name##*.}/$name" ]
	done
	run -0 grep -F SOFT_GPU_NAME "$dest/opt/share/man/man5/isospin.conf.5"
	run -0 sh scripts/gen/install.sh uninstall "$dest" /opt
	equal '' "$(find "$dest" ! -type d)"
	[ ! -e "$dest/opt/libexec/isospin" ]
	run -0 sh scripts/gen/install.sh install "$dest" /usr
	cmp etc/isospin.conf "$dest/etc/isospin.conf"
}
