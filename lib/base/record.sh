# shellcheck shell=sh
# record.sh - files of KEY=value lines, which describe a VM or a device
#
# A value is one line of text. A key stands in a record once; if it was added twice
# the first counts. Reading forks nothing. A record that is kept in a variable instead of a
# file is read by base_fields.

# record_get VAR FILE KEY: sets VAR to the value of KEY; empty, and 1, if FILE or KEY is
# not there.
record_get()
{
	local record_line

	base_set "$1" ''
	while IFS= read -r record_line; do
		case $record_line in
		"$3="*)
			base_set "$1" "${record_line#*=}"
			return 0 ;;
		esac
	done 2>/dev/null <"$2"
	return 1
}

# record_read FILE [VAR=]KEY...: sets the variables VAR, or KEY, which the caller has
# local, all in one pass; empty for a key that is not there. 1 if FILE is not there.
record_read()
{
	local record_line record_text='' record_file="$1"

	shift
	[ -f "$record_file" ] || {
		base_fields '' "$@"
		return 1
	}
	while IFS= read -r record_line; do
		record_text=$record_text$record_line$base_nl
	done <"$record_file"
	base_fields "$record_text" "$@"
}

# record_add FILE KEY VALUE...: adds lines to a record, which is made if it is not
# there. 74, and why, if the disk is full.
record_add()
{
	local record_file="$1" record_text=''

	shift
	while [ $# -gt 0 ]; do
		record_text=$record_text$1=$2$base_nl
		shift 2
	done
	{ printf '%s' "$record_text" >>"$record_file"; } 2>/dev/null ||
		fail 74 "$record_file: cannot be written; is the disk full?"
}

# record_derive FILE NEW KEY VALUE...: makes the record NEW of FILE's keys, with these
# values in the place of FILE's. 74, and why, if it cannot be written.
record_derive()
{
	local record_from="$1" record_new="$2"

	shift 2
	record_add "$record_new" "$@" || return
	{ cat -- "$record_from" >>"$record_new"; } 2>/dev/null ||
		fail 74 "$record_new: cannot be written; is the disk full?"
}
