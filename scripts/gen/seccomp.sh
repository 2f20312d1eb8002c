#!/bin/sh
# seccomp.sh - list the system calls that a program may make
#
# usage: seccomp.sh PROGRAM FILE...
#
# The C files name the calls in comments of one line:
#
#	#syscalls: read write               every program that links the file
#	#syscalls vsock-bridge: accept4     that program; several may be named
#
# The output is a C header with the numbers of PROGRAM's calls. The headers of the
# C library may lack a name that ends in `?`; the compiler refuses any other name
# that they lack.

set -eu
LC_ALL=C
export LC_ALL

[ $# -ge 2 ] || {
	echo "seccomp.sh: error: usage: seccomp.sh PROGRAM FILE..." >&2
	exit 64
}

program=$1
shift
names=$(awk -v program="$program" '
function bad(why)
{
	printf "%s:%d: %s\n", FILENAME, FNR, why >"/dev/stderr"
	failed = 1
}

/^[ \t\/]*\*+[ \t]*#syscalls/ {
	line = $0
	sub(/^.*#syscalls/, "", line)
	sub(/\*\/[ \t]*$/, "", line)
	colon = index(line, ":")
	if (!colon) {
		bad("#syscalls has no colon: write \"#syscalls: NAME...\"")
		next
	}
	n_for = split(substr(line, 1, colon - 1), for_whom, " ")
	n_name = split(substr(line, colon + 1), name, " ")
	if (!n_name)
		bad("#syscalls names no call: write \"#syscalls: NAME...\"")
	ours = !n_for
	for (i = 1; i <= n_for; i++)
		ours = ours || for_whom[i] == program
	for (i = 1; i <= n_name; i++)
		if (name[i] !~ /^[a-z_][a-z0-9_]*[?]?$/)
			bad("#syscalls: \"" name[i] "\" is no system call")
		else if (ours)
			print name[i]
}

END { exit failed ? 65 : 0 }
' "$@") || exit 65

printf '%s\n' "$names" | sort -u | awk -v program="$program" '
BEGIN {
	print "/* made by scripts/gen/seccomp.sh: system calls of " program " */"
	print "#include <sys/syscall.h>\n"
	print "static const int seccomp_syscalls[] = {"
}
{
	optional = sub(/[?]$/, "")
	if (optional)
		print "#ifdef __NR_" $0
	print "\t__NR_" $0 ","
	if (optional)
		print "#endif"
}
END { print "};" }
'
