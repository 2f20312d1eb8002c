# shellcheck shell=sh
# compile.sh - run a compiler as a step, with its output in a log
#
# On failure these functions return a status and set why.

use assets

compile_log=$paths_state/build.log

# compile_step TEXT COMMAND [ARG...]: runs COMMAND as a step, its output in compile_log;
# if it fails, prints the last lines of that.
compile_step()
{
	local text="$1"

	shift
	log_debug "+ $(base_quote "$@")"
	step_begin "$text"
	if ! "$@" </dev/null >"$compile_log" 2>&1; then
		step_stop
		log_error "last lines of $compile_log:"
		tail -n 15 -- "$compile_log" | tr -cd '\11\12\40-\176' |
			sed 's/^/  | /' >&2
		fail 69 "$text failed" || return
	fi
	step_end
}

# compile_module NAME SOURCE DIR RELEASE: compiles, for the kernel RELEASE, the module
# NAME of the files in SOURCE, in a copy in DIR.
compile_module()
{
	rm -rf -- "$3"
	mkdir -p -- "$3" && cp -- "$2"/* "$3/" ||
		fail 74 "$3: cannot be made; is the disk full?" || return
	compile_step "compiling $1 for kernel $4" make -s \
		-C "$(assets_kernel_dir "$4")/headers" "M=$3" modules
}
