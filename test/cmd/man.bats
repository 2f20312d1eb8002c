#!/usr/bin/env bats
# The man pages are true: each is compared with the code that it describes.

load ../lib/common.sh

setup()
{
	cd "$TOP" || return
	unset SUDO_UID SUDO_GID
}

# words: prints the options in the text on stdin, a line each, sorted.
words()
{
	grep -oE -- '(^|[^-A-Za-z0-9])--?[A-Za-z][-A-Za-z]*' |
		grep -oE -- '--?[A-Za-z][-A-Za-z]*' | sort -u
}

# page_options PAGE: prints the options that its section OPTIONS explains.
page_options()
{
	sed -n '/^# OPTIONS/,/^# [^O]/s/^\(\*-.*\)$/\1/p' "$1" | words
}

# help_options: prints the options that the output of -h, on stdin, explains.
help_options()
{
	grep -E '^ +-' | sed -E 's/^( *(-[-a-zA-Z]+(, )?)+).*/\1/' | words
}

# same WHAT EXPECTED GOT: compares the two, and shows which lines differ.
same()
{
	[ "$2" = "$3" ] || {
		printf '%s:\n' "$1"
		diff <(printf '%s\n' "$2") <(printf '%s\n' "$3")
		return 1
	}
}

# arms FILE [FLAG...]: prints the options that a script's parser takes, without those
# that it only refuses. An arm of opt.sh that begins with opt_allowed WORD counts
# only if WORD is one of the FLAGs.
arms()
{
	local file="$1"

	shift
	awk -v flags=" $* " '
	/^\t+-[-a-zA-Z |]*\)/ && !/^\t+-\*|^\t+--\)/ {
		arm = $0
		sub(/\).*/, "", arm)
		rest = $0
		sub(/^[^)]*\)/, "", rest)
		if (rest !~ /[^ ]/)
			getline rest
		n = split(rest, word, " ")
		if (word[1] == "opt_unknown" || (word[1] == "opt_allowed" &&
		    !index(flags, " " word[2] " ")))
			next
		print arm
	}' "$file" | words
}

# takes COMMAND: prints every option of a command, with the common ones' long names.
takes()
{
	local file=scripts/$1.sh flags

	flags=$(sed -n "s/^\topt_flags=\(.*\)/\1/p" "$file" | tr -d "'")
	# shellcheck disable=SC2086 # words
	{ arms lib/base/opt.sh $flags; arms "$file"; } | sort -u |
		if grep -q 'conf_load\|vm_init' "$file"; then cat
		else grep -vx -e -c -e --config; fi
}

# short: replaces the long names of the common options by the short ones, which the
# pages of commands and -h use; isospin(1) has the long names.
short()
{
	sed -e 's/^--help$/-h/' -e 's/^--version$/-V/' -e 's/^--verbose$/-v/' \
		-e 's/^--config$/-c/' | sort -u
}

# usage_options: prints the options of the `usage:` lines, where -hnV stands for three.
usage_options()
{
	awk '/^usage:/ { on = 1 } /^$/ { on = 0 } on' | words |
		awk '/^-[^-]/ { for (i = 2; i <= length($0); i++)
			print "-" substr($0, i, 1); next } { print }' | sort -u
}

# c_options FILE...: prints the options that a C program's tables name.
c_options()
{
	{
		grep -hoE '\{ "[-a-z]+", (no|required)_argument' "$@" |
			sed 's/{ "\([^"]*\)".*/ --\1/'
		grep -hoE 'getopt_long\([^;]*' "$@" | grep -oE '"[A-Za-z:]+"' |
			tr -d '":' | fold -w 1 | sed 's/^/ -/'
	} | words
}

@test "every page is of the name and section of its file and builds silently" {
	for page in share/man/*.scd; do
		name=${page##*/}
		name=${name%.scd}
		run -0 --separate-stderr scdoc <"$page"
		equal '' "$stderr"
		equal "${name%.*}(${name##*.})" "$(sed -n '1s/ .*//p;1p' "$page" |
			head -n 1)"
	done
}

@test "every command and every program has a page" {
	for file in scripts/*.sh; do
		name=${file##*/}
		ls "share/man/isospin-${name%.sh}.1.scd"
	done
	for file in build/bin/* build/static/bin/*; do
		case $file in
		*/conf-dump) ;; # for tests
		*) ls "share/man/${file##*/}".[18].scd ;;
		esac
	done
}

@test "every page that a page points to is there" {
	grep -ohE '\*(isospin|gpu-|vsock-|nvidia-|vmctl)[-.a-z]*\*\([0-9]\)' \
		share/man/*.scd | sort -u >"$BATS_TEST_TMPDIR/list"
	[ -s "$BATS_TEST_TMPDIR/list" ]
	while IFS='*' read -r _ name section; do
		section=${section#(}
		ls "share/man/$name.${section%)}.scd"
	done <"$BATS_TEST_TMPDIR/list"
}

@test "page, -h, usage and parser of every command name the same options" {
	for file in scripts/*.sh; do
		name=${file##*/}
		name=${name%.sh}
		help=$("$file" -h)
		taken=$(takes "$name")
		has "$taken" -h
		common=$(printf '%s\n' "$taken" | short)
		same "isospin-$name(1)" "$common" \
			"$(page_options "share/man/isospin-$name.1.scd")"
		same "$name -h" "$common" "$(printf '%s\n' "$help" | help_options)"
		same "$name: usage" \
			"$(printf '%s\n' "$common" | grep -vx -e --dry-run \
				-e --follow)" \
			"$(printf '%s\n' "$help" | usage_options)"
	done
}

@test "isospin(1) names every common option by all of its names" {
	same 'isospin(1)' "$(arms lib/base/opt.sh dry-run json instance)" \
		"$(page_options share/man/isospin.1.scd)"
}

@test "page, --help and parser of every program name the same options" {
	while read -r page src bin; do
		taken=$(c_options "$src"/main.c)
		has "$taken" --help
		same "$page" "$taken" "$(page_options "share/man/$page.scd")"
		same "$bin --help" "$taken" "$("$bin" --help | help_options)"
	done <<-EOT
	gpu-broker.8 src/broker/monitor build/bin/gpu-broker
	vsock-bridge.8 src/bridge build/bin/vsock-bridge
	vsock-device.1 src/vsock-device build/bin/vsock-device
	isospin-vfio.8 src/vfio build/bin/isospin-vfio
	isospin-smi.1 src/smi build/static/bin/isospin-smi
	EOT
}

# vmctl's options belong to its commands, so there is no list to compare, only names.
@test "page, --help and parser of vmctl name the same options" {
	taken=$(c_options src/vmctl/*.[ch] | grep '^--')
	has "$taken" --secret-file
	same 'vmctl(1)' "$taken" "$(words <share/man/vmctl.1.scd | grep '^--.')"
	same 'vmctl -h' "$taken" "$(build/bin/vmctl -h | words |
		grep '^--.' | grep -vx -e --help)"
}

@test "nvidia-shim(4) names every parameter of the module" {
	taken=$(sed -n 's/^module_param\(_[a-z]*\)\{0,1\}(\([a-z_]*\),.*/\2/p' \
		kmod/*.c | sort)
	has "$taken" port
	same 'nvidia-shim(4)' "$taken" "$(sed -n \
		'/^# PARAMETERS/,/^# FILES/s/^\*\(.*\)\*$/\1/p' \
		share/man/nvidia-shim.4.scd | sort)"
}

@test "isospin-wire(7) has every frame's number and size as iso_wire.h" {
	header=src/abi/iso_wire.h
	awk '
	/^\tISO_[A-Z_]+ = [0-9]+,/ && !/ISO_(BYE|DEV)_/ {
		name = substr($1, 5)
		type[name] = $3 + 0
	}
	/^ISO_ASSERT\(sizeof\(struct iso_/ {
		name = $0
		sub(/.*struct iso_/, "", name)
		sub(/\).*/, "", name)
		body = $NF
		gsub(/[^0-9]/, "", body)
		size[toupper(name)] = body
	}
	END {
		size["PONG"] = size["PING"]
		size["EVENT"] = size["POLL"]
		for (name in type)
			print type[name], name, size[name] + 0
	}' "$header" | sort -n >"$BATS_TEST_TMPDIR/header"
	# Rows are `|  TYPE`, `:  FRAME`, `:  FROM`, `:  SIZE`.
	awk '
	/^# FRAMES/ { on = 1 }
	/^# DEVICE/ { on = 0 }
	on && /^[|]  [0-9]/ {
		n = split(substr($0, 4), types, ", ")
		getline; split(substr($0, 4), names, ", ")
		getline; getline
		for (i = 1; i <= n; i++)
			print types[i], names[i], $NF
	}' share/man/isospin-wire.7.scd >"$BATS_TEST_TMPDIR/page"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/header")" -eq 19 ]
	diff "$BATS_TEST_TMPDIR/header" "$BATS_TEST_TMPDIR/page"
	has "$(cat "$header")" '#define ISO_MAX_FRAME		(1024u * 1024u + 64u * 1024u)'
	has "$(cat share/man/isospin-wire.7.scd)" 'together, 16 to 1,114,112'
}

@test "every command and flag in the README and the guides is there" {
	for file in README.md share/doc/architecture.md \
		share/doc/operations.md share/doc/images.md \
		share/doc/firecracker.md; do
		grep -oE '(bin/|`)isospin( [a-z-]+)( --[a-z-]+)*' "$file" || :
	done | sed 's/^[^ ]* //' | sort -u >"$BATS_TEST_TMPDIR/list"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/list")" -ge 6 ]
	while read -r name flags; do
		taken=$(takes "$name")
		for flag in $flags; do
			[ "$flag" = -- ] || has "$taken" "$flag"
		done
	done <"$BATS_TEST_TMPDIR/list"
}
