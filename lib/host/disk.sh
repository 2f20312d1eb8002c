# shellcheck shell=sh
# disk.sh - make file systems in files, without root and without mounting

# With these, which mke2fs and debugfs take instead of the clock and random numbers,
# the same files give the same bytes.
disk_time=1
disk_uuid=15051510-0000-4000-8000-000000000000

# disk_make DIR FILE [AS [SPARE]]: makes a file system (ext4) with the content of DIR and
# room for SPARE (0) MiB more. It has no journal, since it is read only or thrown away.
# All of it is root's: mke2fs takes the owner and times of a file from this machine, and
# debugfs then changes them. AS is a command that runs others, as as_user does. 74 if
# it cannot be made.
disk_make()
{
	local as="${3:-disk_as}" mib files inodes

	mib=$(du -sm --apparent-size -- "$1") && files=$(find "$1" | wc -l) ||
		return 74
	mib=${mib%%[!0-9]*}
	inodes=$((files + 64 + ${4:-0} * 64))
	mib=$((mib + mib / 8 + files * 5 / 1024 + 16 + ${4:-0}))
	"$as" env "E2FSPROGS_FAKE_TIME=$disk_time" /sbin/mke2fs -q -F -t ext4 \
		-b 4096 -m 0 -N "$inodes" -U "$disk_uuid" \
		-E "hash_seed=$disk_uuid" \
		-O '^has_journal,^metadata_csum,^resize_inode' \
		-d "$1" "$2" "${mib}M" >/dev/null || return 74
	# The root's inode is 2; those of files follow the first 10, in order.
	awk -v "n=$((files + 11))" -v "time=@$disk_time" '
	function set(inode)
	{
		printf "sif <%d> uid 0\nsif <%d> gid 0\n", inode, inode
		printf "sif <%d> atime %s\nsif <%d> ctime %s\n", inode, time,
			inode, time
		printf "sif <%d> mtime %s\n", inode, time
	}
	BEGIN {
		set(2)
		for (i = 11; i <= n; i++)
			set(i)
	}' | "$as" env "E2FSPROGS_FAKE_TIME=$disk_time" /sbin/debugfs -w -f - \
		"$2" >/dev/null 2>&1 || return 74
}

# disk_empty FILE MIB: makes an empty file system with a journal, for writing. The file
# is sparse: it takes only as much of the disk as is written. 74 if it cannot be made.
disk_empty()
{
	/sbin/mke2fs -q -F -t ext4 "$1" "${2}M" >/dev/null || return 74
}

# disk_as COMMAND [ARG...]: runs COMMAND as the current user; the default for AS.
disk_as()
{
	"$@"
}
