# shellcheck shell=sh
# base.sh - start and end a command, with log, errors, clean-up and progress
#
# The caller sets TOP to the directory that has lib/ and scripts/, sources this
# and calls base_init. Afterwards DRY_RUN is 0 or 1 and base_cmd names the command.
#
# These functions stand below every other and are the only ones whose names
# carry no prefix: use, log_*, fail, die, leave, on_exit, run, sys_write, step_*,
# as_user; DRY_RUN and why are the only such variables.

# use NAME...: loads the libraries of those names, lib/*/NAME.sh, each once. A library
# starts with a `use` line that names the libraries whose functions it calls.
base_used=
use()
{
	local base_use

	for base_use; do
		case $base_used in
		*" $base_use "*) continue ;;
		esac
		base_used="$base_used $base_use "
		. "$TOP/lib"/*/"$base_use.sh"
	done
}

. "$TOP/lib/base/paths.sh"

base_nl='
'
base_us=$(printf '\037')

# base_init NAME: starts a command; NAME is its name or "$0". Sets the traps: EXIT runs
# the commands that on_exit registered, and turns a failure that neither die nor leave
# has announced into status 70.
base_init()
{
	base_cmd=${1##*/}
	base_cmd=${base_cmd%.sh}
	why=
	LC_ALL=C
	export LC_ALL
	umask 077
	DRY_RUN=0
	base_level=2
	base_said=0
	base_own_status=
	base_held=
	base_stack=
	step_text=
	step_pid=
	trap 'base_exit_trap $?' EXIT
	base_go
}

# base_hold: makes a signal that would end the command wait for base_go. For steps that
# would leak something if they ended halfway, such as starting a process and noting its
# pid.
base_hold()
{
	trap 'base_held=129' HUP
	trap 'base_held=130' INT
	trap 'base_held=143' TERM
}

# base_go: lets signals end the command again. One that has waited does so at once.
base_go()
{
	trap 'leave 129' HUP
	trap 'leave 130' INT
	trap 'leave 143' TERM
	[ -z "$base_held" ] || leave "$base_held"
}

# base_exit_trap STATUS: the EXIT trap; STATUS is the command's so far.
base_exit_trap()
{
	local rc="$1"

	trap '' HUP INT TERM
	trap - EXIT
	set +e
	step_stop
	if [ "$rc" -ne 0 ] && [ "$base_said" -eq 0 ]; then
		log_error "unexpected failure (status $rc)"
		rc=${base_own_status:-70}
	fi
	base_release
	exit "$rc"
}

# base_release: runs the commands that on_exit registered, newest first, and forgets them.
base_release()
{
	local entry

	while [ -n "$base_stack" ]; do
		entry=${base_stack%%"$base_nl"*}
		base_stack=${base_stack#*"$base_nl"}
		base_run_entry "$entry" || log_warn "clean-up failed: $(
			printf '%s' "$entry" | tr '\037' ' ')"
	done
}

# base_run_entry ENTRY: runs a command that on_exit registered.
base_run_entry()
{
	local IFS="$base_us"

	set -f
	# shellcheck disable=SC2086 # the words of the entry, split at IFS
	set -- $1
	set +f
	unset IFS
	"$@"
}

# on_exit COMMAND [ARG...]: runs COMMAND when our command ends, in whatever way; the last
# one registered runs first. No word may hold a newline. In a subshell it has no effect.
on_exit()
{
	local entry='' word

	for word; do
		case $word in
		*"$base_nl"* | *"$base_us"*)
			base_bug "on_exit: control character in '$word'" ;;
		esac
		entry=$entry$word$base_us
	done
	base_stack=$entry$base_nl$base_stack
}

# leave STATUS: ends the command with that status, on purpose.
leave()
{
	base_said=1
	exit "$1"
}

# die STATUS MESSAGE...: logs the message as an error and ends the command. In a subshell
# it ends only that: write x=$(f) || leave $?
die()
{
	local rc="$1"

	shift
	step_stop
	log_error "$*"
	leave "${base_own_status:-$rc}"
}

# base_own_failures: from now on the command's own failures end it with 125, whatever
# their status, since it passes on the status of another program. The rule stands only
# here.
base_own_failures()
{
	base_own_status=125
}

# base_pass_on COMMAND [ARG...]: calls COMMAND, a function that passes on the status of
# another program, or sets why if that could not be run; ends the command.
base_pass_on()
{
	local base_rc=0

	base_own_failures
	why=
	"$@" || base_rc=$?
	[ -z "$why" ] || die "$base_rc" "$why"
	leave "$base_rc"
}

# fail STATUS TEXT...: returns STATUS and sets why, a text for people that says what
# failed, on what, and what to do. This is how a library ends a function, and never the
# command: the command decides, as in `f || die $? "$why"`, and doctor lists why among
# its findings. In the middle of a function: `fail 69 "..." || return`. A function that
# documents why sets it whenever it fails; in a $( ) it is lost.
fail()
{
	local rc="$1"

	shift
	why=$*
	return "$rc"
}

# base_log LEVEL WORD TEXT: logs TEXT if LEVEL is at most base_level.
base_log()
{
	local text="$3"

	[ "$1" -le "$base_level" ] || return 0
	# Text from outside must not steer the terminal.
	case $text in
	*[!\ -~]*) text=$(printf '%s' "$text" | tr -c ' -~' '?') ;;
	esac
	printf '%s: %s: %s\n' "$base_cmd" "$2" "$text" >&2
}

log_error() { base_log 0 error "$*"; }
log_warn() { base_log 1 warning "$*"; }
log_info() { base_log 2 info "$*"; }
log_debug() { base_log 3 debug "$*"; }

# base_set_level error|warn|info|debug
base_set_level()
{
	case $1 in
	error) base_level=0 ;;
	warn) base_level=1 ;;
	info) base_level=2 ;;
	debug) base_level=3 ;;
	esac
}

# base_set VAR VALUE: assigns to a variable whose name is known only at run time, and
# which may be local to the caller. VALUE is one line; nothing in it is expanded. Forks
# nothing.
base_set()
{
	IFS= read -r "$1" <<-EOT
	$2
	EOT
}

# base_fields RECORD [VAR=]KEY...: sets the variables VAR, or KEY, which the caller has
# local, to the fields of a record, a text of KEY=value lines; empty for a field that
# is not there. Forks nothing; a read is the slow part, and only one assigns them all.
base_fields()
{
	local base_text="$1" base_key base_line base_vars='' base_values=''
	local base_flags="$-" IFS="$base_nl"

	shift
	set -f
	for base_key; do
		base_vars=$base_vars${base_key%=*}$base_nl
		for base_line in $base_text; do
			case $base_line in
			"${base_key#*=}="*)
				base_values=$base_values${base_line#*=}
				break ;;
			esac
		done
		base_values=$base_values$base_us
	done
	# shellcheck disable=SC2086 # names, a word each
	set -- $base_vars
	case $base_flags in
	*f*) ;;
	*) set +f ;;
	esac
	IFS="$base_us" read -r "$@" <<-EOT
	${base_values%"$base_us"}
	EOT
}

# base_bug TEXT...: ends the command with 70: a library was called in a way that no
# input can bring about.
base_bug()
{
	die 70 "bug: $*"
}

# base_quote WORD...: prints the words so that a shell reads them back.
base_quote()
{
	local word rest sep=''

	for word; do
		printf '%s' "$sep"
		sep=' '
		case $word in
		'' | *[!A-Za-z0-9_./:=@%+,-]*) ;;
		*)
			printf '%s' "$word"
			continue ;;
		esac
		printf "'"
		rest=$word
		while :; do
			case $rest in
			*\'*)
				printf "%s'\\''" "${rest%%\'*}"
				rest=${rest#*\'} ;;
			*) break ;;
			esac
		done
		printf "%s'" "$rest"
	done
}

# run COMMAND [ARG...]: runs COMMAND, or with --dry-run prints it.
run()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		if [ "$1" = as_user ]; then
			shift
			! base_sudo_user || set -- setpriv --reuid "$SUDO_UID" \
				--regid "$SUDO_GID" --init-groups "$@"
		fi
		printf '+ %s\n' "$(base_quote "$@")"
		return 0
	fi
	[ "$base_level" -lt 3 ] || log_debug "+ $(base_quote "$@")"
	"$@"
}

# sys_write FILE VALUE: writes one value to a kernel file; honours --dry-run.
sys_write()
{
	local file="$1" value="$2"

	if [ "$DRY_RUN" -eq 1 ]; then
		printf "+ printf '%%s\\\\n' %s > %s\n" \
			"$(base_quote "$value")" "$(base_quote "$file")"
		return 0
	fi
	log_debug "write '$value' to $file"
	{ printf '%s\n' "$value" >"$file"; } 2>/dev/null
}

# base_alone: for a subshell that may outlive the command: it lets go of all that another
# process may wait for, which is locks, a test's fds and our stderr. (If the caller
# redirected the function that it runs, the shell would keep copies.) A Ctrl-C goes to
# the subshell too, but is for the command to act on: the subshell and its programs end
# by SIGKILL only.
base_alone()
{
	trap '' HUP INT TERM
	exec </dev/null 2>/dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

# base_uptime VAR: sets VAR to the whole seconds since boot.
base_uptime()
{
	local up rest

	read -r up rest </proc/uptime
	base_set "$1" "${up%%.*}"
}

# step_begin TEXT: begins a step of the command, and logs it. After two seconds it shows
# the time that the step has taken: on a terminal in place, else every 20 s.
step_begin()
{
	step_stop
	step_text=$1
	base_uptime step_since
	log_info "$step_text ..."
	[ "$base_level" -ge 2 ] || return 0
	step_ticker &
	step_pid=$!
}

# step_ticker: shows how long the step has taken, until step_stop ends it.
step_ticker()
{
	local now every=20 shown=0

	# If the command is killed, the ticker must not keep a lock or a test's fd.
	exec 3>&- 6>&- 7>&- 8>&- 9>&-
	trap - EXIT HUP INT TERM
	[ ! -t 2 ] || every=2
	while sleep 2 >/dev/null 2>&1 && kill -0 "$$" 2>/dev/null; do
		base_uptime now
		now=$((now - step_since))
		[ $((now - shown)) -ge "$every" ] || continue
		shown=$now
		if [ -t 2 ]; then
			printf '\r%s: %s ... %d s ' "$base_cmd" "$step_text" "$now" >&2
		else
			log_info "$step_text ... $now s"
		fi
	done
}

# step_stop: ends the progress display and logs no result.
step_stop()
{
	[ -n "$step_pid" ] || return 0
	# A TERM that comes before the ticker has reset its traps is lost.
	kill -KILL "$step_pid" 2>/dev/null || :
	wait "$step_pid" 2>/dev/null || :
	step_pid=
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# step_end [RESULT]: ends the step, and logs RESULT, or that the step is done if it took
# two seconds or more.
step_end()
{
	local now

	[ -n "$step_text" ] || return 0
	step_stop
	base_uptime now
	now=$((now - step_since))
	if [ "$now" -ge 2 ] || [ -n "${1:-}" ]; then
		log_info "$step_text: ${1:-done} ($now s)"
	fi
	step_text=
}

# base_sudo_user: true if root acts for another user by way of sudo. In a tree that root
# owns, as one that is installed, root acts for itself: the user cannot write there.
base_sudo_user()
{
	[ "$(id -u)" -eq 0 ] && [ ! -O "$TOP" ] || return 1
	case ${SUDO_UID:-}:${SUDO_GID:-} in
	:* | *: | 0:* | *[!0-9:]*) return 1 ;;
	esac
}

# base_owner_fix PATH...: gives files that root made under sudo to the user who called
# sudo.
base_owner_fix()
{
	! base_sudo_user || run chown -RPh "$SUDO_UID:$SUDO_GID" -- "$@"
}

# as_user COMMAND [ARG...]: runs COMMAND as the user who called sudo, with that user's
# HOME; without sudo, as the current user.
as_user()
{
	local home

	if ! base_sudo_user; then
		"$@"
		return
	fi
	home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
	HOME=${home:-/} setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" \
		--init-groups "$@"
}
