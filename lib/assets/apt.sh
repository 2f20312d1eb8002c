# shellcheck shell=sh
# apt.sh - run apt, and say in one clear line why it failed
#
# Besides the machine's apt there is one of our own (apt_own_*). It reads Debian's
# signed archive and leaves the machine's lists and packages alone.

# The machine's source lists.
apt_etc=${APT_ETC:-/etc/apt}
apt_lock_wait=120
# The file with the output of the latest apt command. It is removed at the end.
apt_log=

# apt_init [SECONDS]: call this before anything that runs apt. SECONDS is how long to
# wait while another program holds apt's lock (120).
apt_init()
{
	apt_lock_wait=${1:-$apt_lock_wait}
	[ -z "$apt_log" ] || return 0
	apt_log=$(mktemp) || fail 74 'no temporary file can be made' || return
	on_exit rm -f -- "$apt_log"
}

# apt_run TEXT COMMAND [ARG...]: runs an apt command as a step called TEXT, with its
# output in apt_log. While another program holds apt's lock, tries again for
# apt_lock_wait seconds. On failure returns an exit status and sets why.
apt_run()
{
	local text="$1" rc since now waits='' status

	shift
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$@"
		return 0
	fi
	log_debug "+ $(base_quote "$@")"
	step_begin "$text"
	base_uptime since
	while :; do
		rc=0
		LC_ALL=C "$@" </dev/null >"$apt_log" 2>&1 || rc=$?
		[ "$rc" -ne 0 ] || break
		apt_explain "$rc" || status=$?
		[ "$status" -eq 75 ] || break
		base_uptime now
		[ $((now - since)) -lt "$apt_lock_wait" ] || break
		[ "$why" = "$waits" ] || log_info "$why; waiting"
		waits=$why
		sleep 2
	done
	[ "$rc" -eq 0 ] || {
		step_stop
		return "$status"
	}
	step_end
}

# apt_explain STATUS: finds in apt_log why a command ended with STATUS. Sets why, and
# returns an exit status for it.
apt_explain()
{
	local line status=69

	if apt_said 'Could not get lock|Unable to acquire the dpkg|Unable to lock'; then
		status=75
		why="another program holds apt's lock"
	elif apt_said 'No space left on device|have enough free space'; then
		status=74
		why="the disk is full"
	elif apt_said 'NO_PUBKEY|BADSIG|EXPKEYSIG|invalid signature|not signed|verification failed|Missing key|sqv returned'; then
		status=65
		why="a signature is wrong or its key is not in Debian's keyring"
	elif apt_said 'Hash Sum mismatch|File has unexpected size'; then
		status=65
		why="a download does not match the signed index"
	elif apt_said 'resolving|Could not resolve|[Cc]ould not connect|Unable to connect|Network is unreachable|Connection (failed|timed out|refused)|No route to host'; then
		why="no network: the package mirror cannot be reached"
	elif apt_said 'does not have a Release file|404 +Not Found'; then
		why="the mirror does not have the requested file"
	elif apt_said 'Unable to locate package|no installation candidate|has no available version'; then
		why="the machine's apt sources lack a package"
	else
		why="apt failed (status $1)"
	fi
	line=$(grep -E '^(E|W|Err):' "$apt_log" | head -n 1) || line=
	[ -z "$line" ] || why="$why ($line)"
	return "$status"
}

# apt_said PATTERN: whether a line of the latest command matches.
apt_said()
{
	grep -qE "$1" "$apt_log"
}

# apt_missing PACKAGE...: prints which of the packages are not installed.
apt_missing()
{
	local have pkg

	# dpkg-query fails if a package is unknown, but lists the others.
	# shellcheck disable=SC2016 # dpkg's fields
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" \
		2>/dev/null) || :
	for pkg; do
		case "$base_nl$have$base_nl" in
		*"$base_nl$pkg installed$base_nl"*) ;;
		*) printf '%s\n' "$pkg" ;;
		esac
	done
}

# apt_sources: prints the machine's sources, "URI SUITE COMPONENT..." a line.
apt_sources()
{
	local file

	set --
	for file in "$apt_etc/sources.list" "$apt_etc"/sources.list.d/*.list \
		"$apt_etc"/sources.list.d/*.sources; do
		[ ! -f "$file" ] || set -- "$@" "$file"
	done
	[ $# -eq 0 ] || awk -f "$TOP/lib/assets/sources.awk" "$@"
}

# apt_mirrors CODENAME: sets apt_main and apt_security to the machine's mirrors
# of Debian and of its security updates. 1 if the machine has no mirror of Debian.
apt_mirrors()
{
	local uri suite components list

	apt_main=
	apt_security=
	list=$(apt_sources)
	while read -r uri suite components; do
		case " $uri $components " in
		*[dD]ebian*' main '*) ;;
		*) continue ;;
		esac
		uri=${uri%/}
		case $suite in
		"$1-security" | "$1/updates" | *stable-security)
			apt_security=${apt_security:-$uri} ;;
		"$1" | stable | oldstable)
			apt_main=${apt_main:-$uri} ;;
		esac
	done <<-EOT
	$list
	EOT
	[ -n "$apt_main" ] || return 1
	apt_security=${apt_security:-$apt_main-security}
}

# apt_own_init DIR: sets up our own apt, with its lists, cache and sources in DIR. Of
# the machine's settings it has only the proxies. apt_own runs it as the calling user.
# 74, and why, if the disk is full.
apt_own_init()
{
	apt_init || return
	apt_dir=$1
	run as_user mkdir -p "$apt_dir/lists/partial" \
		"$apt_dir/cache/archives/partial" "$apt_dir/sources.d" &&
		run as_user cp /dev/null "$apt_dir/status" ||
		fail 74 "$apt_dir: cannot be made; is the disk full?" || return
	apt_write "$apt_dir/apt.conf" "Dir::Etc::sourcelist \"/dev/null\";
Dir::Etc::sourceparts \"$apt_dir/sources.d\";
Dir::Etc::preferences \"/dev/null\";
Dir::Etc::preferencesparts \"/dev/null\";
Dir::State::lists \"$apt_dir/lists\";
Dir::State::status \"$apt_dir/status\";
Dir::Cache \"$apt_dir/cache\";
APT::Architecture \"amd64\";
APT::Architectures { \"amd64\"; };
APT::Sandbox::User \"\";
APT::Get::List-Cleanup \"false\";
APT::Update::Error-Mode \"any\";
Acquire::Languages \"none\";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;"
}

# apt_write FILE TEXT: writes TEXT to a file as the calling user; honours --dry-run.
# 74, and why, if that fails.
apt_write()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		printf "+ cat > %s <<'EOF'\n%s\nEOF\n" "$(base_quote "$1")" "$2"
		return 0
	fi
	# shellcheck disable=SC2016 # the inner shell's words
	as_user sh -c 'printf "%s\n" "$2" >"$1"' sh "$1" "$2" 2>/dev/null ||
		fail 74 "$1: cannot be written; is the disk full?"
}

# apt_own TOOL [ARG...]: runs a tool (apt-get, apt-cache) with our own apt's settings.
apt_own()
{
	local tool="$1"

	shift
	as_user "$tool" -c "$apt_dir/apt.conf" -q "$@"
}

# apt_own_source NAME URI SUITE COMPONENT...: adds a source to our own apt. Its index
# must be signed by Debian.
apt_own_source()
{
	local name="$1" uri="$2" suite="$3"

	shift 3
	apt_write "$apt_dir/sources.d/$name.sources" "Types: deb
URIs: $uri
Suites: $suite
Components: $*
Architectures: amd64
Signed-By: $apt_keyring"
}

# apt_field PACKAGE=VERSION FIELD: prints a field that the index has of a package.
apt_field()
{
	apt_own apt-cache show --no-all-versions "$1" |
		awk -v "field=$2: " 'index($0, field) == 1 {
			print substr($0, length(field) + 1); exit }'
}

# apt_sizes PACKAGE=VERSION...: prints the bytes to download and on disk.
apt_sizes()
{
	apt_own apt-cache show --no-all-versions "$@" | awk '
		/^Size: / { size += $2 }
		/^Installed-Size: / { disk += $2 }
		END { printf "%.0f %.0f\n", size, disk * 1024 }'
}

# apt_closure PACKAGE...: prints PACKAGE=VERSION for these packages and for all that
# they depend on, a line each, as if none of them were installed.
apt_closure()
{
	apt_own apt-get -s install --no-install-recommends "$@" |
		awk '$1 == "Inst" { print $2 "=" substr($3, 2) }'
}

# apt_versions PACKAGE: prints the versions that the index offers, newest first.
apt_versions()
{
	apt_own apt-cache madison "$1" | awk '{ print $3 }'
}
