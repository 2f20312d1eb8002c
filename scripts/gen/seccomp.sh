#!/bin/sh
# seccomp.sh PROGRAM FILE... - the system calls that PROGRAM may make
#
# Gathers comments of this form, a line each, from the C files and prints
# a header with their numbers:
#
#	#syscalls: read write               every program that links the file
#	#syscalls vsock-bridge: accept4     that program; several may be named
#
# A name that ends in `?` may be unknown to the C library's headers; any other
# unknown name fails the compilation.

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
		bad("no colon in #syscalls")
		next
	}
	n_for = split(substr(line, 1, colon - 1), for_whom, " ")
	n_name = split(substr(line, colon + 1), name, " ")
	if (!n_name)
		bad("no name in #syscalls")
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
