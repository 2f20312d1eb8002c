#!/bin/sh
# lint - check the sources without running them
#
# usage: isospin lint [-hVv] [CHECK...]
#
# Without CHECK, all of: shell walls layers order circles numbers headers commands
# places. Shell: ShellCheck. Walls: which library uses which, and whose variables it
# reads; that no library ends a command. Layers: which headers each module includes,
# without circles in the broker, the bridge and the agent; where a header lists the
# files of its folder in order, that they call one way. One home for each fact: no
# number of NVIDIA's interface outside share/abi. C headers compile alone. Every command
# has a man page, and a text for -h. No path of one machine, no host of a package
# archive.
#
#   -v          name each check as it runs
#   -h, -V      this text; the version
#
# Exit status: 0 clean, 1 something was found, 69 a tool is missing.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt

found=0
checks='shell walls layers order circles numbers headers commands places'

# report TITLE TEXT: prints TEXT, the findings, and TITLE as an error; nothing if TEXT is
# empty.
report()
{
	if [ -z "$2" ]; then
		log_debug "$1: clean"
		return 0
	fi
	found=1
	printf '%s\n' "$2"
	log_error "$1"
}

# sources DIR|FILE [NAME...]: prints the files below it whose name matches one of the
# patterns, except built and fetched ones.
sources()
{
	local top="$1" name

	shift
	[ $# -gt 0 ] || set -- '*'
	for name; do
		find "$top" \( -name .git -o -name build -o -name .vm-assets \) \
			-prune -o -type f -name "$name" -print
	done | sed 's|^\./||' | sort
}

# ShellCheck, on each file by itself.
lint_shell()
{
	local out

	out=$({ sources bin; sources lib '*.sh'; sources scripts '*.sh'
		sources test '*.sh'; } |
		xargs -P 2 -n 4 shellcheck -f gcc 2>&1) || :
	report 'ShellCheck has objections' "$out"
}

# The walls between shell files; lint-shell.awk lists the rules.
lint_walls()
{
	local out

	out=$({ sources lib '*.sh'; sources scripts '*.sh'; } |
		grep -v '^scripts/gen/' | xargs awk -f scripts/lint-shell.awk | sort)
	report 'a wall between shell files is crossed' "$out"
}

# A module includes itself and modules below it, nothing beside or above:
#
#   broker bridge vsock-device agent vfio vmctl smi tools
#     -> drv sandbox loop rm -> base -> abi
#
# Only registry.c includes a driver, besides the driver itself. Within the broker, monitor
# and child include the files of the folder above, and main.c alone includes both.
lint_layers()
{
	local out

	# shellcheck disable=SC2016 # the fields of awk
	out=$({ sources src '*.[ch]'; sources kmod '*.[ch]'; } | xargs awk '
	# whether the file is outside of the folder that it includes from, and
	# not the one file that may be
	function crosses(file, name,	dir)
	{
		if (!match(name, /^(broker\/(monitor|child)|drv\/(real|soft))\//))
			return 0
		dir = "src/" substr(name, 1, RLENGTH)
		return index(file, dir) != 1 && file != "src/broker/main.c" &&
			file != "src/drv/registry.c"
	}
	BEGIN {
		below["abi"] = " "
		below["base"] = " abi "
		below["loop"] = below["sandbox"] = " abi base "
		below["drv"] = below["rm"] = " abi base "
		above = " abi base loop sandbox drv rm "
	}
	FNR == 1 {
		split(FILENAME, part, "/")
		module = part[1] == "kmod" ? "kmod" : part[2]
		may = module in below ? below[module] : above
	}
	/^#[ \t]*include[ \t]*"/ {
		split($0, quoted, "\"")
		name = quoted[2]
		slash = index(name, "/")
		from = substr(name, 1, slash - 1)
		# without a directory: its own, or a generated one
		if (!slash && name !~ /\.\./)
			next
		if (module == "kmod" || name ~ /\.\./ || (from != module &&
		    !index(may, " " from " ")))
			print FILENAME ":" FNR ": " module \
				" may not include " name
		else if (crosses(FILENAME, name))
			print FILENAME ":" FNR ": " name " is behind a wall"
	}')
	report 'a module reaches past its layer' "$out"
	# shellcheck disable=SC2016 # the text "$TOP"
	out=$(sources lib '*.sh' | xargs grep -n '\$TOP/scripts/[a-z-]*\.sh') || :
	report 'a library runs a command' "$out"
}

# order_of HEADER: HEADER lists the files of its folder, `NAME.c  its job`. Prints each
# call from a file to one below it in that list.
order_of()
{
	# shellcheck disable=SC2016 # the fields of awk
	sources "${1%/*}" '*.c' | xargs awk '
	FILENAME ~ /\.h$/ {
		if (/^ \*   [a-z_]+\.c /)
			place[$2] = ++n
		next
	}
	FNR == 1 {
		file = FILENAME
		sub(/.*\//, "", file)
		if (!(file in place))
			print FILENAME ":1: the list in '"${1##*/}"' lacks it"
	}
	/^ ?[\/ ]\*/ { next }
	/^[a-z].*[ *][a-z0-9_]+\(/ && !/^(static|typedef|extern) / {
		name = $0
		sub(/\(.*/, "", name)
		sub(/.*[ *]/, "", name)
		home[name] = file
		next
	}
	{
		rest = $0
		while (match(rest, /[a-z_][a-z0-9_]*\(/)) {
			name = substr(rest, RSTART, RLENGTH - 1)
			rest = substr(rest, RSTART + RLENGTH)
			use[++uses] = file SUBSEP name SUBSEP FILENAME ":" FNR
		}
	}
	END {
		for (i = 1; i <= uses; i++) {
			split(use[i], u, SUBSEP)
			if (u[2] in home && place[home[u[2]]] > place[u[1]])
				print u[3] ": " u[1] " may not call " u[2] \
					"() of " home[u[2]]
		}
	}' "$1"
}

# Files that have an order call one way.
lint_order()
{
	local header out

	out=$(sources . '*.h' |
		xargs grep -l 'A file calls only files above it in this list' |
		while read -r header; do
			order_of "$header"
		done)
	report 'a file calls one below it in its list' "$out"
}

# In the broker, its drivers, the bridge and the agent, a pair of name.c and name.h
# that includes another pair is not included by that one, nor by any that it includes.
lint_circles()
{
	local out

	# shellcheck disable=SC2016 # the fields of awk
	out=$({ sources src/broker '*.[ch]'; sources src/drv '*.[ch]'
		sources src/bridge '*.[ch]'; sources src/agent '*.[ch]'; } |
		xargs awk '
	# takes out the pairs that no arrow leads from, then those that none leads
	# to, until only circles, and the pairs between them, are left
	function prune(	arrow, end, in_of, out_of, again)
	{
		do {
			again = 0
			split("", in_of)
			split("", out_of)
			for (arrow in arrows) {
				split(arrow, end, " ")
				out_of[end[1]] = in_of[end[2]] = 1
			}
			for (arrow in arrows) {
				split(arrow, end, " ")
				if (!(end[2] in out_of) ||
				    !(end[1] in in_of)) {
					delete arrows[arrow]
					again = 1
				}
			}
		} while (again)
	}
	FNR == 1 {
		unit = FILENAME
		sub(/^src\//, "", unit)
		sub(/\.[ch]$/, "", unit)
	}
	/^#[ \t]*include[ \t]*"(broker|drv|bridge|agent)\// {
		split($0, quoted, "\"")
		other = quoted[2]
		sub(/\.h$/, "", other)
		if (other != unit)
			arrows[unit " " other] = 1
	}
	END {
		prune()
		for (arrow in arrows) {
			sub(/ /, " includes ", arrow)
			print arrow
		}
	}' | sort)
	report 'includes form a circle' "$out"
}

# Numbers of calls and classes, from the tables, against every hexadecimal
# number in the code. Those below 0x1000 mean too many other things.
lint_numbers()
{
	local out

	# shellcheck disable=SC2016 # the fields of awk
	out=$({ sources src '*.[ch]'; sources kmod '*.[ch]'; sources lib
		sources scripts '*.sh'; } |
		grep -v '^scripts/gen/' |
		xargs awk '
	function bare(hex)
	{
		hex = tolower(hex)
		sub(/^0x0*/, "", hex)
		return hex
	}
	BEGIN {
		rows = "LC_ALL=C awk -f scripts/gen/abi-rows.awk share/abi/[0-9]*.tbl"
		while ((rows | getline line) > 0) {
			split(line, word, " ")
			if (word[2] ~ /^(class|control|uvm|escape)$/ &&
			    length(bare(word[3])) > 3)
				known[bare(word[3])] = word[4]
		}
	}
	{
		rest = $0
		while (match(rest, /0[xX][0-9a-fA-F]+/)) {
			v = bare(substr(rest, RSTART, RLENGTH))
			rest = substr(rest, RSTART + RLENGTH)
			if (v in known)
				print FILENAME ":" FNR ": 0x" v " is " known[v]
		}
	}')
	report 'a number whose home is share/abi' "$out"
}

lint_headers()
{
	local out

	[ -f build/gen/abi_gen.h ] || die 69 "build/gen is not there: run make"
	out=$(sources src '*.h' | xargs -P 2 -I{} "${CC:-cc}" -std=c11 \
		-D_GNU_SOURCE -Wall -Wextra -Werror -Isrc -Ibuild/gen \
		-fsyntax-only -x c {} 2>&1) || :
	report 'a header does not compile alone' "$out"
}

# Each command has a text for -h and a page; isospin(1) is the dispatcher's own page.
lint_commands()
{
	local file name page out=''

	for file in scripts/*.sh; do
		name=${file##*/}
		name=${name%.sh}
		[ -n "$(timeout 10 sh "$file" -h </dev/null 2>/dev/null)" ] ||
			out="$out$file: says nothing with -h$base_nl"
		for page in "share/man/isospin-$name".[1-9].scd; do
			[ -f "$page" ] ||
				out="$out$file: $page is not there$base_nl"
		done
	done
	for name in gpu-broker vsock-bridge vsock-device vmctl isospin-vfio; do
		file=build/bin/$name
		[ ! -x "$file" ] ||
			timeout 10 "$file" --help </dev/null >/dev/null 2>&1 ||
			out="$out$file: fails with --help$base_nl"
	done
	report 'a command is not explained' "${out%"$base_nl"}"
}

# Bracketed so that this file does not find itself.
lint_places()
{
	local out

	out=$(sources . | grep -v '^share/abi/' | xargs grep -nIE \
		'(^|[^A-Za-z0-9_.])/(wor[k]|hom[e])/[a-z]|[a-z]\.debia[n]\.(org|net)|[a-z]\.ubunt[u]\.com') || :
	report 'a place of one machine or archive' "$out"
}

work()
{
	local tool check

	# shellcheck disable=SC2086 # names, a word each
	[ $# -gt 0 ] || set -- $checks
	for check; do
		case " $checks " in
		*" $check "*) ;;
		*) die 64 "'$check': one of $checks" ;;
		esac
	done
	[ -z "$opt_conf" ] || opt_unknown -c
	for tool in shellcheck "${CC:-cc}"; do
		command -v "$tool" >/dev/null ||
			die 69 "$tool is not installed; isospin setup check brings it"
	done
	cd "$TOP"
	for check; do
		"lint_$check"
	done
	[ "$found" -eq 0 ] || leave 1
}

main()
{
	base_init "$0"
	opt_parse opt_unknown work "$@"
}

main "$@"
