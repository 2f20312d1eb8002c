# shellcheck shell=sh
# pool.sh - keep workers ready before a command wants one
#
# A pooled worker is one like all others: booted or restored, with its own name,
# secret and link. It is marked by the file `pool` in its directory, which holds a hash
# of its inputs, and has no owner. The command that takes it removes the mark, under
# vm_lock, and is its owner from then on.
#
# DESCRIBE is a command that writes the record of what the worker NAME would be now to
# DIR/vm.conf: DESCRIBE DIR NAME. One fill runs at a time and one waits, for it may have
# been told of a worker that was taken after the first had counted. A function that fails sets why.

use conf record proc vm snapshot

# pool_wanted: prints how many workers the pool is to have.
pool_wanted()
{
	local n

	conf_get n WORKER_POOL
	printf '%s\n' "$n"
}

# pool_names: prints the names of the pooled workers.
pool_names()
{
	local name state

	for name in $(vm_names); do
		vm_state state "$name"
		[ "$state" != pooled ] || printf '%s\n' "$name"
	done
}

# pool_fit VAR DIR: sets VAR to the hash of a worker's inputs, and of the settings that
# the bridge is told.
pool_fit()
{
	local pool_name pool_gpu pool_caps pool_snapshot

	record_read "$2/vm.conf" pool_name=NAME pool_gpu=GPU
	conf_get pool_caps CAPABILITIES "$pool_name"
	snapshot_name pool_snapshot "$2" || return
	base_set "$1" "$(printf '%s\n' "$pool_snapshot" "$pool_gpu" "$pool_caps" |
		snapshot_hash)"
}

# pool_is NAME DESCRIBE: whether the worker is of the kind that DESCRIBE would make under
# its name now; 1 if it is not.
pool_is()
{
	local draft is was rc=0

	vm_draft draft || return
	{ "$2" "$draft" "$1" && pool_fit is "$draft"; } || rc=$?
	rm -rf -- "$draft"
	[ "$rc" -eq 0 ] || return "$rc"
	{ read -r was <"$proc_dir/vms/$1/pool"; } 2>/dev/null || was=
	[ "$is" = "$was" ]
}

# pool_take VAR DESCRIBE OWNER: sets VAR to the name of a worker that is ready and of the
# kind that DESCRIBE would make under its name now; it is ours, as after vm_claim. 1 if
# there is none.
pool_take()
{
	local pool_name pool_rc

	vm_lock || return
	vm_sweep
	for pool_name in $(pool_names); do
		pool_rc=0
		pool_is "$pool_name" "$2" || pool_rc=$?
		case $pool_rc in
		0)
			vm_own "$pool_name" "$3" || return
			rm -f -- "$proc_dir/vms/$pool_name/pool"
			proc_unlock
			base_set "$1" "$pool_name"
			return 0 ;;
		1) log_debug "the pooled worker '$pool_name' is of another kind" ;;
		*)
			proc_unlock
			return "$pool_rc" ;;
		esac
	done
	proc_unlock
	return 1
}

# pool_give NAME FIT: puts a worker that is ready into the pool.
pool_give()
{
	local file="$proc_dir/vms/$1/pool"

	vm_lock || return
	printf '%s\n' "$2" >"$file" ||
		fail 74 "$file: cannot be written; is the disk full?" || return
	vm_keep "$1" || return
	proc_unlock
}

# pool_enter: makes this command the only one that fills the pool, until it ends. 1 if
# another one waits to do so. The command that waits holds fd 7, the one that fills fd 6.
pool_enter()
{
	proc_mkdir "$proc_dir/pool" || return
	exec 7>>"$proc_dir/pool/waits" 6>>"$proc_dir/pool/fills"
	flock -n 7 || return 1
	flock 6
	exec 7>&-
	on_exit rm -f -- "$proc_dir/pool/pid"
	proc_record pool "$$"
}

# pool_sweep DESCRIBE: ends pooled workers of another kind than DESCRIBE would make now.
pool_sweep()
{
	local name rc

	vm_lock || return
	vm_sweep
	for name in $(pool_names); do
		rc=0
		pool_is "$name" "$1" || rc=$?
		case $rc in
		0) ;;
		1) vm_remove "$name" || log_warn "$why" ;;
		*)
			proc_unlock
			return "$rc" ;;
		esac
	done
	proc_unlock
}

# pool_missing: whether the pool has fewer workers than it is to have.
pool_missing()
{
	local n

	n=$(pool_names | wc -l)
	[ "$n" -lt "$(pool_wanted)" ]
}

# pool_refill COMMAND [ARG...]: starts COMMAND, which fills the pool, in the background.
pool_refill()
{
	proc_mkdir "$proc_dir/pool" || return
	setsid "$@" </dev/null >>"$proc_dir/pool/log" 2>&1 3>&- 4>&- 5>&- 6>&- \
		7>&- 8>&- 9>&- &
}
