# shellcheck shell=sh
# opt.sh - parse the flags that commands have in common
#
# A command names in opt_flags the optional ones that it takes (dry-run, json,
# instance; and command, if a COMMAND may follow --, whose status it passes on), and
# calls opt_parse. The command line is parsed on the command's behalf, so an error in it
# ends the command here.
#
# Sets DRY_RUN, opt_json (0 or 1), opt_conf (file or empty),
# opt_instance (name or empty), opt_verbose (0 or 1).

opt_flags=
opt_json=0
opt_conf=
opt_instance=
opt_verbose=0

# opt_parse OWN THEN ARG...: takes the options from ARG, wherever they stand before a --,
# and calls THEN with the operands, in their order; the first opt_before of them stood
# before the -- too. An option that is not a common one goes to OWN, with the words that
# follow. OWN handles it, and sets opt_n if it takes more than one word:
#
#	option()
#	{
#		case $1 in
#		--flag) flag=1 ;;
#		--name) opt_need "$@"; name=$2 opt_n=2 ;;
#		*) opt_unknown "$1" ;;
#		esac
#	}
#
# For a command that has no options of its own, OWN is opt_unknown.
opt_parse()
{
	local opt_own="$1" opt_then="$2" opt_left opt_end=0

	shift 2
	case " $opt_flags " in
	*' command '*) opt_pass_on "$@" ;;
	esac
	opt_left=$# opt_before=0
	# Operands go behind the words that are not yet parsed.
	while [ "$opt_left" -gt 0 ]; do
		opt_n=1
		case $opt_end$1 in
		0--) opt_end=1 ;;
		0-*)
			opt_take "$@"
			[ "$opt_n" -gt 0 ] || {
				opt_n=1
				"$opt_own" "$@"
			}
			[ "$opt_n" -le "$opt_left" ] || opt_need "$1" ;;
		*)
			[ "$opt_end" -eq 1 ] || opt_before=$((opt_before + 1))
			set -- "$@" "$1" ;;
		esac
		shift "$opt_n"
		opt_left=$((opt_left - opt_n))
	done
	"$opt_then" "$@"
}

# opt_pass_on ARG...: makes an error in the command line, too, count as a failure of the
# command's own, if a COMMAND was given.
opt_pass_on()
{
	local word

	for word; do
		[ "$word" != -- ] || base_own_failures
	done
}

# opt_take ARG...: handles the first ARG if it is a common flag. Sets opt_n to the number
# of words used, 0 if it is not.
opt_take()
{
	opt_n=1
	case $1 in
	-h | --help)
		opt_usage
		leave 0 ;;
	-V | --version)
		opt_version
		leave 0 ;;
	-v | --verbose)
		opt_verbose=1
		base_set_level debug ;;
	-c | --config)
		opt_need "$@"
		opt_conf=$2
		opt_n=2 ;;
	-n | --dry-run)
		opt_allowed dry-run "$1"
		DRY_RUN=1 ;;
	--json)
		opt_allowed json "$1"
		opt_json=1 ;;
	--instance)
		opt_allowed instance "$1"
		opt_need "$@"
		case $2 in
		'' | *[!a-z0-9-]* | ?????????????????*)
			die 64 "--instance: '$2': 1 to 16 of a-z, 0-9 and -" ;;
		esac
		opt_instance=$2
		opt_n=2 ;;
	*)
		opt_n=0 ;;
	esac
}

# opt_allowed NAME FLAG: refuses FLAG unless opt_flags has NAME.
opt_allowed()
{
	case " $opt_flags " in
	*" $1 "*) ;;
	*) opt_unknown "$2" ;;
	esac
}

# opt_need FLAG [VALUE...]: refuses FLAG if no value follows.
opt_need()
{
	[ $# -ge 2 ] || die 64 "$1 wants a value; see -h"
}

# opt_unknown FLAG: refuses it.
opt_unknown()
{
	die 64 "unknown option '$1'; see -h"
}

# opt_none [ARG...]: refuses the operands that are left.
opt_none()
{
	[ $# -eq 0 ] || die 64 "unexpected operand '$1'; see -h"
}

# opt_command ARG...: refuses the operands, which are a command, unless all of them came
# after a --.
opt_command()
{
	[ "$opt_before" -eq 0 ] || die 64 "'$1': a command comes after --; see -h"
}

# opt_pass TAKES WORD...: calls the words, with the common flags that this command
# was given in place of the word @: -c and -v, and of those that the command called
# TAKES, listed as in opt_flags, --instance and -n:
#
#	opt_pass instance child "$gpu_vm" @ --detach
opt_pass()
{
	local opt_takes=" $1 " opt_left opt_at=''

	shift
	opt_left=$#
	while [ "$opt_left" -gt 0 ]; do
		if [ "$opt_at$1" = @ ]; then
			opt_at=passed
			[ -z "$opt_conf" ] || set -- "$@" -c "$opt_conf"
			[ "$opt_verbose" -eq 0 ] || set -- "$@" -v
			case $opt_takes:$opt_instance in
			*' instance '*:?*)
				set -- "$@" --instance "$opt_instance" ;;
			esac
			case $opt_takes:$DRY_RUN in
			*' dry-run '*:1) set -- "$@" -n ;;
			esac
		else
			set -- "$@" "$1"
		fi
		shift
		opt_left=$((opt_left - 1))
	done
	"$@"
}

# opt_usage: prints the header comment of the running script.
opt_usage()
{
	local line

	while IFS= read -r line; do
		case $line in
		'#!'*) ;;
		'#') echo ;;
		'# '*) printf '%s\n' "${line#??}" ;;
		*) break ;;
		esac
	done <"$0"
}

# opt_version: prints the version.
opt_version()
{
	local version

	read -r version <"$paths_share/version"
	printf 'isospin %s\n' "$version"
}
