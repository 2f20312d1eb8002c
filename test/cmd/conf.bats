#!/usr/bin/env bats
# The configuration: the shell's reader and the C reader on the same files.

load ../lib/common.sh

setup()
{
	good=$TOP/test/fixtures/conf/good
	bad=$TOP/test/fixtures/conf/bad
	cd "$BATS_TEST_TMPDIR"
}

read_sh()
{
	# shellcheck disable=SC2086 # busybox ash is two words
	$shell "$TOP/scripts/conf.sh" "$@"
}

read_c()
{
	"$TOP/build/bin/conf-dump" "$@"
}

expected()
{
	sed -n 's/^# expect: //p' "$1"
}

# check_good: every good file gives the values that its own comments expect.
check_good()
(
	trap - DEBUG # bats' own, a fifth of a millisecond for each command
	for file in "$good"/*.conf; do
		echo "# $file"
		run -0 --separate-stderr "$reader" -c "$file" w2
		while IFS= read -r line; do
			has $'\n'"$output"$'\n' $'\n'"$line"$'\n'
		done < <(expected "$file")
	done
)

check_bad()
(
	trap - DEBUG # as above
	for file in "$bad"/*.conf; do
		echo "# $file"
		run -78 --separate-stderr "$reader" -c "$file"
		equal '' "$output"
		# shellcheck disable=SC2154 # set by run
		has "$stderr" ": error: $file:$(expected "$file")"
		equal 1 "${#stderr_lines[@]}"
	done
)

good_sh() { reader=read_sh check_good; }
bad_sh() { reader=read_sh check_bad; }

@test "the shell takes every good file as it is meant" {
	with_shells good_sh
}

@test "the shell refuses every bad file with its place" {
	with_shells bad_sh
}

@test "the C reader takes every good file as it is meant" {
	reader=read_c check_good
}

@test "the C reader refuses every bad file with its place" {
	reader=read_c check_bad
}

@test "both readers print the same, for every good file and VM" {
	shell=dash
	for file in "$good"/*.conf "$TOP/etc/isospin.conf"; do
		for vm in '' w2 other; do
			# shellcheck disable=SC2086 # no word if empty
			equal "$(read_sh -c "$file" $vm)" "$(read_c -c "$file" $vm)"
		done
	done
}

@test "both readers say the same about every bad file" {
	shell=dash
	for file in "$bad"/*.conf; do
		sh_says=$(read_sh -c "$file" 2>&1) || :
		c_says=$(read_c -c "$file" 2>&1) || :
		equal "${sh_says#*: }" "${c_says#*: }"
	done
}

@test "busybox awk reads as mawk does" {
	fake awk <<-'EOT'
	exec busybox awk "$@"
	EOT
	shell=dash
	good_sh
	bad_sh
}

@test "flag comes before environment before file before default" {
	printf 'BROKER_PORT=2\nBROKER_PORT@w1=3\nAGENT_PORT@w1=4\n' >file
	order()
	{
		run -0 --separate-stderr sh_lib '
			conf_load file
			conf_get v BROKER_PORT; echo $v
			conf_get v BROKER_PORT w1; echo $v
			conf_get v AGENT_PORT w1; echo $v
			conf_get v WORKER_CID w1; echo $v'
		equal '2 3 4 5' "${lines[*]}"
		ISOSPIN_BROKER_PORT=9 run -0 --separate-stderr sh_lib '
			conf_load file
			conf_get v BROKER_PORT; echo $v
			conf_get v BROKER_PORT w1; echo $v'
		equal '9 9' "${lines[*]}"
		ISOSPIN_BROKER_PORT=9 run -0 --separate-stderr sh_lib '
			conf_set_flag BROKER_PORT 8
			conf_load file
			conf_get v BROKER_PORT w1; echo $v'
		equal 8 "$output"
	}
	with_shells order
	ISOSPIN_BROKER_PORT=9 run -0 --separate-stderr read_c -c file w1
	has "$output" BROKER_PORT=9
	has "$output" AGENT_PORT=4
}

@test "an unknown ISOSPIN_ variable is an error, the first by name" {
	shell=dash
	for reader in read_sh read_c; do
		ISOSPIN_ZZ=1 ISOSPIN_AA=1 run -78 --separate-stderr "$reader"
		has "$stderr" 'environment: unknown variable ISOSPIN_AA'
	done
}

@test "a bad value in the environment is an error that names it" {
	shell=dash
	for reader in read_sh read_c; do
		ISOSPIN_ACCEL=xen run -78 --separate-stderr "$reader"
		has "$stderr" "environment: ISOSPIN_ACCEL: ACCEL: bad value 'xen'"
	done
}

@test "a bad flag is an error that names the key" {
	# shellcheck disable=SC2016 # the inner shell's
	bad_flag()
	{
		run -78 --separate-stderr sh_lib 'conf_set_flag ACCEL xen
			conf_load || die $? "$why"'
		has "$stderr" "command line: ACCEL: bad value 'xen'"
	}
	with_shells bad_flag
}

@test "a file named by -c must be there" {
	shell=dash
	for reader in read_sh read_c; do
		run -78 --separate-stderr "$reader" -c nowhere
		has "$stderr" 'nowhere: no such file'
	done
}

@test "a directory is no configuration" {
	shell=dash
	run -78 --separate-stderr read_sh -c .
	has "$stderr" '.: cannot be read'
}

@test "a value is never run by the shell" {
	# shellcheck disable=SC2016 # that is the point
	printf 'SOFT_GPU_NAME=$(touch ran)`touch ran`;touch ran\n' >file
	not_run()
	{
		run -0 --separate-stderr sh_lib '
			conf_load file
			conf_get v SOFT_GPU_NAME
			printf "%s\n" "$v"'
		# shellcheck disable=SC2016
		equal '$(touch ran)`touch ran`;touch ran' "$output"
		[ ! -e ran ]
	}
	with_shells not_run
}

@test "a backslash stays one" {
	printf '%s\n' 'SOFT_GPU_NAME=a\tb\\c\' >file
	backslash()
	{
		run -0 --separate-stderr sh_lib 'conf_load file
			conf_get v SOFT_GPU_NAME; printf "%s\n" "$v"'
		equal 'a\tb\\c\' "$output"
	}
	with_shells backslash
}

@test "sizes are given as bytes where wanted" {
	bytes()
	{
		run -0 --separate-stderr sh_lib 'conf_set_flag WORKER_MEM 3G
			conf_load; conf_get_bytes v WORKER_MEM; echo $v
			conf_get_bytes v GPU_VM_SOFT_MEM; echo $v'
		equal '3221225472 268435456' "${lines[*]}"
	}
	with_shells bytes
}

@test "etc/isospin.conf is what its generator makes" {
	run -0 diff "$TOP/etc/isospin.conf" <("$TOP/scripts/gen/conf.sh" file)
}

@test "etc/isospin.conf changes no default" {
	shell=dash
	equal "$(read_sh -c /dev/null)" "$(read_sh)"
}

@test "isospin.conf(5) names every key and is a page" {
	run -0 "$TOP/scripts/gen/conf.sh" man
	page=$output
	while IFS='=' read -r key _; do
		has "$page" "*${key//_/\\_}* ("
	done < <("$TOP/scripts/conf.sh")
	run -0 scdoc <<<"$page"
}
