# shellcheck shell=sh
# conf.sh - read the configuration
#
# A value is that of the flag, else of the environment's ISOSPIN_KEY, else of the file,
# else the default. conf.awk reads and checks everything in one pass; its output is kept
# in conf_data and looked up without a fork.

conf_data=
conf_flags=

# conf_set_flag KEY VALUE: notes the value that the command line gives KEY; call it before
# conf_load. 64, and why, if VALUE is more than a line.
conf_set_flag()
{
	case $2 in
	*"$base_nl"*) fail 64 "$1: newline in '$2'" || return ;;
	esac
	conf_flags=$conf_flags$1=$2$base_nl
}

# conf_load [FILE]: reads the configuration. 78, and why, if something is wrong in it.
# FILE was named by the user and must be there; without it etc/isospin.conf is read
# if it is there.
conf_load()
{
	local shown="${1:-}" file

	file=$shown
	if [ -z "$file" ]; then
		file=$paths_conf
		shown=${file#"$paths_home/"}
		[ -e "$file" ] || file=
	elif [ ! -e "$file" ]; then
		fail 78 "$file: no such file" || return
	fi
	if [ -n "$file" ] && { [ ! -r "$file" ] || [ -d "$file" ]; }; then
		fail 78 "$shown: cannot be read" || return
	fi
	conf_data=$(CONF_TBL=$paths_share/conf.tbl \
		CONF_BRANCHES=$paths_share/abi/branches CONF_FILE=$file \
		CONF_SHOWN=$shown CONF_FLAGS=$conf_flags LC_ALL=C \
		awk -f "$TOP/lib/base/conf.awk") ||
		fail 78 "$conf_data" || return
	conf_data=$base_nl$conf_data$base_nl
	if [ "${opt_verbose:-0}" -eq 0 ]; then
		conf_get conf_level LOG_LEVEL
		base_set_level "$conf_level"
	fi
}

# conf_get VAR KEY [NAME]: sets VAR to KEY's value, for the VM NAME if given. KEY is one
# of share/conf.tbl.
conf_get()
{
	local conf_rest

	case $conf_data in
	*"$base_nl$2@${3:-@}="*) conf_rest=${conf_data#*"$base_nl$2@$3="} ;;
	*"$base_nl$2="*) conf_rest=${conf_data#*"$base_nl$2="} ;;
	*) base_bug "conf_get: no key $2" ;;
	esac
	base_set "$1" "${conf_rest%%"$base_nl"*}"
}

# conf_get_bytes VAR KEY [NAME]: the same for a size; VAR is set to a number of bytes.
conf_get_bytes()
{
	local conf_size

	conf_get conf_size "$2" "${3:-}"
	case $conf_size in
	*K) conf_size=$((${conf_size%K} << 10)) ;;
	*M) conf_size=$((${conf_size%M} << 20)) ;;
	*G) conf_size=$((${conf_size%G} << 30)) ;;
	esac
	base_set "$1" "$conf_size"
}

# conf_get_path VAR KEY [NAME]: the same for a path; a relative one is below the checkout.
conf_get_path()
{
	local conf_path

	conf_get conf_path "$2" "${3:-}"
	case $conf_path in
	/*) ;;
	*) conf_path=$paths_home/$conf_path ;;
	esac
	base_set "$1" "$conf_path"
}

# conf_print [NAME]: prints KEY=value for every key, in the table's order, as it holds for
# the VM NAME.
conf_print()
{
	local line key value rest="${conf_data#"$base_nl"}"

	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		key=${line%%=*}
		case $key in *@*) break ;; esac
		conf_get value "$key" "${1:-}"
		printf '%s=%s\n' "$key" "$value" || return
	done
}
