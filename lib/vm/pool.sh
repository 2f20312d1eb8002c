# shellcheck shell=sh
# pool.sh - workers that are ready before anybody wants one
#
# A pooled worker is one like all others: booted or restored, with its own name,
# secret and link. It is marked by the file `pool` in its home, which holds a hash
# of what it was made of, and has no owner. Whoever takes it removes the mark, under
# vm_lock, and is its owner from then on.
#
# One fill runs at a time and one waits, for it may have been told of a worker that
# was taken after the first had counted. Needs vm boot snapshot.

use conf proc vm snapshot

# pool_wanted: prints how many there are to be.
pool_wanted()
{
	local n

	conf_get n WORKER_POOL
	printf '%s\n' "$n"
}

# pool_names: those that are there to be taken.
pool_names()
{
	local name state

	for name in $(vm_names); do
		vm_state state "$name"
		[ "$state" != pooled ] || printf '%s\n' "$name"
	done
}

# pool_fit RELEASE: prints the hash of what the worker vm_* describe is made of, and
# of what the bridge is told of it.
pool_fit()
{
	local caps snapshot

	conf_get caps CAPABILITIES "$vm_conf"
	snapshot_name "$1" || return
	printf '%s\n' "$snapshot_name" "$gpu" "$caps" | snapshot_hash
}

# pool_is NAME DESCRIBE: selects it; whether it is what DESCRIBE would make of its
# name now.
pool_is()
{
	local is was

	vm_select "$1"
	"$2"
	is=$(pool_fit "$release") || leave $?
	{ read -r was <"$vm_home/pool"; } 2>/dev/null || was=
	[ "$is" = "$was" ]
}

# pool_take DESCRIBE OWNER: selects a worker that is ready, and is what DESCRIBE would
# have made of its name now; it is ours, as after vm_claim. 1 if there is none.
pool_take()
{
	local name

	vm_lock
	vm_sweep
	for name in $(pool_names); do
		if pool_is "$name" "$1"; then
			vm_own "$2"
			rm -f -- "$vm_home/pool"
			proc_unlock
			return 0
		fi
		log_debug "the pooled worker '$name' is of another kind"
	done
	proc_unlock
	return 1
}

# pool_give FIT: the selected worker, which is ready, is anybody's.
pool_give()
{
	vm_lock
	printf '%s\n' "$1" >"$vm_home/pool" ||
		die 74 "$vm_home/pool: cannot be written; is the disk full?"
	vm_keep
	proc_unlock
}

# pool_enter: until this command ends it alone fills the pool. 1 if another waits to
# do so. Who waits holds fd 7, who fills fd 6.
pool_enter()
{
	proc_mkdir "$proc_dir/pool"
	exec 7>>"$proc_dir/pool/waits" 6>>"$proc_dir/pool/fills"
	flock -n 7 || return 1
	flock 6
	exec 7>&-
	on_exit rm -f -- "$proc_dir/pool/pid"
	proc_record pool "$$"
}

# pool_sweep DESCRIBE: ends those that are not what DESCRIBE makes of their names now.
pool_sweep()
{
	local name

	vm_lock
	vm_sweep
	for name in $(pool_names); do
		pool_is "$name" "$1" || vm_remove "$name" || :
	done
	proc_unlock
}

# pool_missing: true if there are not enough.
pool_missing()
{
	local n

	n=$(pool_names | wc -l)
	[ "$n" -lt "$(pool_wanted)" ]
}

# pool_refill COMMAND [ARG...]: starts that, which fills the pool, and goes on.
pool_refill()
{
	proc_mkdir "$proc_dir/pool"
	setsid "$@" </dev/null >>"$proc_dir/pool/log" 2>&1 3>&- 4>&- 5>&- 6>&- \
		7>&- 8>&- 9>&- &
}
