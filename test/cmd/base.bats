#!/usr/bin/env bats
# lib/base, which every command uses, and messages about files that an image lacks.

load ../lib/common.sh

setup()
{
	cd "$BATS_TEST_TMPDIR"
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
}

@test "what on_exit registers runs newest first, words kept apart" {
	order()
	{
		run -0 --separate-stderr sh_lib '
			on_exit printf "<%s>" "a b" "" "*"
			on_exit printf "[%s]" last'
		equal '[last]<a b><><*>' "$output"
	}
	with_shells order
}

@test "a failing clean-up does not stop the next one" {
	next()
	{
		run -0 --separate-stderr sh_lib 'on_exit echo done; on_exit false'
		equal 'done' "$output"
		has "$stderr" 'warning: clean-up failed: false'
	}
	with_shells next
}

@test "an unexpected failure ends with 70, never 1, and cleans up" {
	unexpected()
	{
		run -70 --separate-stderr sh_lib 'on_exit echo clean; false; echo on'
		equal clean "$output"
		has "$stderr" 't: error: unexpected failure (status 1)'
	}
	with_shells unexpected
}

@test "a status that is meant is passed on" {
	meant()
	{
		run -1 --separate-stderr sh_lib 'leave 1'
		equal '' "$stderr"
		run -65 --separate-stderr sh_lib 'die 65 bad data'
		equal 't: error: bad data' "$stderr"
	}
	with_shells meant
}

@test "INT, HUP and TERM clean up and end with 128 and the signal" {
	signals()
	{
		local pair
		for pair in INT:130 HUP:129 TERM:143; do
			run -"${pair#*:}" --separate-stderr sh_lib \
				"on_exit echo clean; kill -${pair%:*} \$\$; sleep 9"
			equal clean "$output"
		done
	}
	with_shells signals
}

@test "a signal waits until what is held is done" {
	held()
	{
		run -143 --separate-stderr sh_lib 'on_exit echo clean
			base_hold
			kill -TERM $$
			echo done
			base_go
			echo on'
		equal "done
clean" "$output"
	}
	with_shells held
}

@test "dry run prints commands that a shell reads back" {
	dry()
	{
		run -0 --separate-stderr sh_lib "DRY_RUN=1
			run touch \"it's\" 'a b' '' '\$x' '*'"
		equal "+ touch 'it'\\''s' 'a b' '' '\$x' '*'" "$output"
		# shellcheck disable=SC2086 # busybox ash is two words
		equal "<it's><a b><><\$x><*>" \
			"$($shell -c "printf '<%s>' ${output#+ touch }")"
		[ ! -e '*' ]
	}
	with_shells dry
}

@test "dry run writes nothing to the kernel" {
	dry_write()
	{
		run -0 --separate-stderr sh_lib 'DRY_RUN=1; sys_write file "a b"'
		equal "+ printf '%s\\n' 'a b' > file" "$output"
		[ ! -e file ]
	}
	with_shells dry_write
}

@test "sys_write tells when the kernel refuses" {
	refuses()
	{
		run -0 --separate-stderr sh_lib 'sys_write nodir/x 1 || echo refused'
		equal refused "$output"
		equal '' "$stderr"
	}
	with_shells refuses
}

@test "control characters do not reach the terminal by way of the log" {
	control()
	{
		run -0 --separate-stderr sh_lib "log_info 'a$(printf '\033')[2Jb'"
		equal 't: info: a?[2Jb' "$stderr"
	}
	with_shells control
}

@test "a step that takes long says that it lives, without a terminal" {
	step()
	{
		run -0 --separate-stderr sh_lib 'step_begin work
			step_since=$((step_since - 3)); step_end'
		has "$stderr" 't: info: work ...'
		has "$stderr" 't: info: work: done (3 s)'
	}
	with_shells step
}

@test "every command has -h and -V, and refuses what it does not know" {
	for file in "$TOP"/scripts/*.sh; do
		name=$(basename "$file" .sh)
		# A script that only make calls is not a command: its usage does
		# not name isospin.
		grep -q "^# usage: isospin $name" "$file" || continue
		echo "# $name"
		run -0 --separate-stderr "$TOP/bin/isospin" "$name" -h
		has "$output" "usage: isospin $name"
		equal '' "$stderr"
		run -0 --separate-stderr "$TOP/bin/isospin" "$name" -V
		equal "isospin $(cat "$TOP/share/version")" "$output"
		run -64 --separate-stderr "$TOP/bin/isospin" "$name" --no-such-flag
		equal '' "$output"
		has "$stderr" "unknown option '--no-such-flag'"
	done
}

@test "root acts for sudo's user only where the checkout is not root's own" {
	mkdir mine theirs
	[ "$(id -u)" -ne 0 ] || chown 12345 theirs
	[ "$(id -u)" -eq 0 ] || theirs=/
	fake id <<<'echo 0'
	export SUDO_UID=12345 SUDO_GID=12345
	acts()
	{
		run -0 sh_lib "TOP=${theirs:-$PWD/theirs}; base_sudo_user"
		run -1 sh_lib "TOP=$PWD/mine; base_sudo_user || leave 1"
	}
	with_fakes acts
}

@test "isospin refuses a command that is a path" {
	run -64 --separate-stderr "$TOP/bin/isospin" ../lib/base
	has "$stderr" 'is not a command'
}

@test "isospin works by way of a symbolic link and from any directory" {
	ln -s "$TOP/bin/isospin" link
	run -0 --separate-stderr ./link conf
	has "$output" ACCEL=
}

@test "poll_until ends as soon as the command succeeds, or fails in time" {
	poll()
	{
		rm -f there
		run -0 --separate-stderr sh_lib '
			(sleep 0.3; : >there) &
			poll_until 10 test -e there
			rc=0; poll_until 0 false || rc=$?; echo $rc'
		equal 1 "$output"
	}
	with_shells poll
}

@test "a process is known by pid and start time" {
	known()
	{
		run -0 --separate-stderr sh_lib 'conf_load; proc_init
			proc_spawn z sleep 60
			proc_alive z && echo alive
			read -r pid start <"$proc_dir/z/pid"
			sed "1s/.*/$pid $((start + 1))/" "$proc_dir/z/pid" >new
			cp new "$proc_dir/z/pid"
			proc_alive z || echo "not that one"
			proc_stop z
			kill "$pid" && echo "still there"'
		equal 'alive|not that one|still there' \
			"$(IFS='|'; echo "${lines[*]}")"
	}
	with_shells known
}

@test "a process of an earlier boot is nobody's, whoever has its pid now" {
	boots()
	{
		run -0 --separate-stderr sh_lib 'conf_load; proc_init
			proc_spawn z sleep 60
			read -r pid start <"$proc_dir/z/pid"
			sed "2s/.*/00000000-0000-4000-8000-000000000000/" \
				"$proc_dir/z/pid" >new
			cp new "$proc_dir/z/pid"
			proc_alive z || echo "not that one"
			proc_stop z
			kill "$pid" && echo "still there"'
		equal 'not that one|still there' "$(IFS='|'; echo "${lines[*]}")"
	}
	with_shells boots
}

@test "proc_stop ends several at once, in the time of one" {
	several()
	{
		run -0 --separate-stderr sh_lib 'conf_load; proc_init
			proc_grace_s=2
			for n in 1 2 3 4; do
				proc_spawn "z$n" sh -c "trap : TERM
					echo up; while :; do read -r x <p; done"
				poll_until 5 grep -q up "$proc_dir/z$n/log"
			done
			base_uptime since
			proc_stop z1 z2 z3 z4 z5
			base_uptime now
			[ $((now - since)) -le 5 ] && echo quick
			proc_gone z1 z2 z3 z4 && echo gone'
		equal 'quick|gone' "$(IFS='|'; echo "${lines[*]}")"
	}
	mkfifo p
	with_shells several
}

@test "proc_stop ends a process that ignores TERM" {
	ignores()
	{
		run -0 --separate-stderr sh_lib 'conf_load; proc_init
			proc_spawn z sh -c "trap : TERM; echo up; while :; do read -r x <p; done"
			poll_until 5 grep -q up "$proc_dir/z/log"
			proc_grace_s=1; proc_stop z; proc_alive z || echo gone'
		equal gone "$output"
		has "$stderr" 'does not end; killing it'
	}
	mkfifo p
	with_shells ignores
}

@test "a state directory that others may read is refused" {
	mkdir -m 755 run
	refused()
	{
		run -77 --separate-stderr sh_lib 'conf_load; proc_init || die $? "$why"'
		has "$stderr" 'must be a directory of this user with mode 0700'
	}
	with_shells refused
}

@test "a lock is held by one at a time" {
	lock()
	{
		run -0 --separate-stderr sh_lib 'conf_load; proc_init
			proc_lock "$proc_dir/lock"
			(proc_lock "$proc_dir/lock") || echo held
			proc_unlock
			(proc_lock "$proc_dir/lock") && echo free'
		equal 'held free' "${lines[*]}"
	}
	with_shells lock
}

@test "two checkouts have two state directories" {
	shell=dash
	run -0 --separate-stderr sh_lib 'conf_load; proc_where; echo $proc_dir
		TOP=/elsewhere; proc_where; echo $proc_dir
		proc_where mine; echo $proc_dir'
	[ "${lines[0]}" != "${lines[1]}" ]
	equal "$ISOSPIN_RUN_DIR/mine" "${lines[2]}"
}

@test "options are taken wherever they stand, operands keep their order" {
	# shellcheck disable=SC2016 # the inner shell's
	parse='opt_flags=dry-run
		own() { case $1 in
			--name) opt_need "$@"; name=$2 opt_n=2 ;;
			*) opt_unknown "$1" ;; esac; }
		say() { printf "%s|" "$DRY_RUN" "${name:-}" "$opt_before" "$@"; echo; }
		name=; opt_parse own say '
	anywhere()
	{
		run -0 --separate-stderr sh_lib "$parse a --name x 'b c' '' -n d"
		equal '1|x|4|a|b c||d|' "$output"
		run -0 --separate-stderr sh_lib "$parse a -- b -n -- '*' --name"
		equal '0||1|a|b|-n|--|*|--name|' "$output"
		run -0 --separate-stderr sh_lib "$parse --name -- -- a"
		equal '0|--|0|a|' "$output"
		run -0 --separate-stderr sh_lib "$parse"
		equal '0||0|' "$output"
	}
	with_shells anywhere
}

@test "an operand is no value of the last option, and no option is unknown in silence" {
	strict()
	{
		for args in 'a --name' '--name' 'a -c' 'a b --config'; do
			run -64 --separate-stderr sh_lib "$parse $args"
			has "$stderr" 'wants a value'
		done
		for args in '--json' 'a --nonsense' '-' 'a -x b'; do
			run -64 --separate-stderr sh_lib "$parse $args"
			has "$stderr" 'unknown option'
		done
		run -64 --separate-stderr sh_lib 'opt_parse opt_unknown opt_none a'
		has "$stderr" "unexpected operand 'a'"
		run -64 --separate-stderr sh_lib 'opt_parse opt_unknown opt_command a -- b'
		has "$stderr" "'a': a command comes after --"
	}
	# shellcheck disable=SC2016 # the inner shell's
	parse='own() { case $1 in
			--name) opt_need "$@"; opt_n=2 ;;
			*) opt_unknown "$1" ;; esac; }
		opt_parse own : '
	with_shells strict
}

@test "the common flags are handed on to a command that takes them, quoted as they came" {
	# shellcheck disable=SC2016 # the inner shell's
	hand_on()
	{
		say='say() { printf "%s|" "$@"; echo; }; opt_flags="dry-run instance"; work() {'
		run -0 --separate-stderr sh_lib "$say opt_pass 'instance dry-run' say a @ \"\$@\"; }
			opt_parse opt_unknown work -n -v -c 'my conf' --instance x 'b c' @"
		equal 'a|-c|my conf|-v|--instance|x|-n|b c|@|' "$output"
		run -0 --separate-stderr sh_lib "$say opt_pass '' say a @ b; }
			opt_parse opt_unknown work -n --instance x"
		equal 'a|b|' "$output"
	}
	with_shells hand_on
}

@test "a library's failure is a status and a text, and the command goes on" {
	# shellcheck disable=SC2016 # the inner shell's
	goes_on()
	{
		run -0 --separate-stderr sh_lib '
			f() { fail 69 "no such" "thing" || return; echo on; }
			f || echo "$? $why"'
		equal '69 no such thing' "$output"
		equal '' "$stderr"
	}
	with_shells goes_on
}

@test "a record is read as it was written, whatever its values contain" {
	# shellcheck disable=SC2016 # the inner shell's
	reads_back()
	{
		rm -f "$BATS_TEST_TMPDIR/r"
		run -0 --separate-stderr sh_lib '
			use record
			r() {
				local A B C c=old D
				record_read "$1" A B c=C D
				printf "%s|" "$A" "$B" "$c" "$D"
				record_get A "$1" B && printf "%s|" "$A"
				record_get A "$1" NONE || printf "none|%s|" "$A"
				record_read "$1.not" B || printf "not|%s|" "$B"
				record_add /dev/full A b || printf "%s %s" $? "$why"
			}
			f='"$BATS_TEST_TMPDIR/r"'
			record_add "$f" A "x  y=z" B "a\\b \$HOME *"
			record_add "$f" D "" A second
			r "$f"'
		equal "x  y=z|a\\b \$HOME *|||a\\b \$HOME *|none||not||74 \
/dev/full: cannot be written; is the disk full?" "$output"
	}
	with_shells reads_back
}

# lacks FILE HOW: making an image that needs FILE of the checkout fails, with a
# message that HOW makes that file.
lacks()
{
	# shellcheck disable=SC2016 # the inner shell's
	run -66 --separate-stderr sh_lib 'use image
		image_root=; image_put "$TOP/'"$1"'" x 644 || die $? "$why"'
	has "$stderr" "$TOP/$1: not there; run $2, or isospin demo first"
}

@test "what an image lacks is named with the command that makes it" {
	each()
	{
		lacks build/kmod/none/nvidia-shim.ko 'isospin build nvidia-shim'
		lacks build/static/bin/none make
		lacks .vm-assets/none 'isospin setup demo'
	}
	with_shells each
}
