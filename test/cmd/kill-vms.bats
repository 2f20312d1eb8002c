#!/usr/bin/env bats
# kill-vms and status, on records of VMs whose processes only wait.

load ../lib/common.sh

setup()
{
	cd "$BATS_TEST_TMPDIR" || return
	unset SUDO_UID SUDO_GID
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run
	ends=$BATS_TEST_TMPDIR/ends
	home=$ISOSPIN_RUN_DIR/t/vms
	shell=dash
	: >"$ends"
}

teardown()
{
	cmd kill-vms
}

cmd()
{
	# shellcheck disable=SC2086 # busybox ash is two words
	$shell "$TOP/scripts/$1.sh" --instance t "${@:2}"
}

# waits WHAT [TRAP]: prints the script of a process that notes WHAT when it ends.
waits()
{
	printf 'trap "%s" TERM; echo up; while :; do read -r x <&3; done' \
		"${2:-echo $1 >>$ends; exit}"
}

# vms ROLE NAME...: makes records of running VMs; the role `bridge` makes the bridge's.
vms()
{
	local role=$1 name

	shift
	[ -p never ] || mkfifo never
	for name; do
		# shellcheck disable=SC2016 # for that shell
		role=$role name=$name text=$(waits "$name" "${trap:-}") \
			sh_lib 'conf_load; proc_init t
		key=$name/vmm
		[ "$role" = bridge ] && key=bridge || {
			key=vms/$key
			proc_mkdir "$proc_dir/vms"
			proc_mkdir "$proc_dir/vms/$name"
			printf "%s\n" "NAME=$name" "ROLE=$role" CID=77 READY_NS=1 \
				>"$proc_dir/vms/$name/vm.conf"
		}
		proc_spawn "$key" sh -c "exec 3<>never; $text"
		poll_until 20 grep -q up "$proc_dir/$key/log"' 3>&-
	done
}

# boot_before NAME: changes NAME's record, as if another boot had made it.
boot_before()
{
	local file=$home/$1/vmm/pid

	sed '2s/.*/00000000-0000-4000-8000-000000000000/' "$file" >new
	cp new "$file"
}

@test "kill-vms stops workers first, then labs, the bridge, and GPU VMs last" {
	ordered()
	{
		: >"$ends"
		vms gpu g1
		vms bridge bridge
		vms lab l1
		vms worker w1
		run -0 --separate-stderr cmd kill-vms
		equal 'kill-vms: info: stopped: w1 l1 bridge g1' "$stderr"
		equal 'w1 l1 bridge g1' "$(paste -sd ' ' "$ends")"
		equal '' "$(ls "$home")"
	}
	with_shells ordered
}

@test "kill-vms NAME stops these, a GPU VM after its workers, and no other" {
	vms gpu g1 g2
	vms bridge bridge
	vms worker w1 w2
	run -0 --separate-stderr cmd kill-vms g1 w2
	equal 'w2 g1' "$(paste -sd ' ' "$ends")"
	run -0 --separate-stderr cmd status --json
	equal 'bridge g2 w1' "$(jq -r 'select(.state == "running").name' \
		<<<"$output" | paste -sd ' ')"
	run -64 --separate-stderr cmd kill-vms w1 nobody
	equal 'w2 g1' "$(paste -sd ' ' "$ends")"
}

@test "kill-vms -n says what it would do and does nothing" {
	vms worker w1
	run -0 --separate-stderr cmd kill-vms -n
	has "$output" '+ kill -s TERM '
	run ! grep -- '-f --$' <<<"$output"
	equal '' "$(cat "$ends")"
	run -0 cmd status
}

@test "after a reboot no pid of the boot before is signalled, and all is removed" {
	rebooted()
	{
		vms worker w1
		read -r pid _ <"$home/w1/vmm/pid"
		boot_before w1
		run -1 --separate-stderr cmd status --json
		equal ended "$(jq -r 'select(.name == "w1").state' <<<"$output")"
		run -0 --separate-stderr cmd kill-vms
		equal '' "$(ls "$home")"
		kill -0 "$pid"
		equal '' "$(cat "$ends")"
		kill -KILL "$pid"
	}
	with_shells rebooted
}

@test "a VM that does not end is killed, and the others wait no longer for it" {
	trap=: vms worker w1
	vms worker w2
	run -0 --separate-stderr cmd kill-vms
	has "$stderr" 'vms/w1/vmm does not end; killing it'
	equal w2 "$(cat "$ends")"
	equal '' "$(ls "$home")"
}

@test "of two kill-vms at once both succeed, and each VM ends once" {
	vms worker w1 w2 w3
	cmd kill-vms 2>/dev/null 3>&- &
	run -0 --separate-stderr cmd kill-vms
	wait "$!"
	equal 'w1 w2 w3' "$(sort "$ends" | paste -sd ' ')"
	equal '' "$(ls "$home")"
}

@test "kill-vms believes no record that another user could have made" {
	vms worker w1
	for dir in "$ISOSPIN_RUN_DIR" "$ISOSPIN_RUN_DIR/t"; do
		chmod 755 "$dir"
		run -77 --separate-stderr cmd kill-vms
		has "$stderr" "$dir: must be a directory of this user with mode 0700"
		chmod 700 "$dir"
	done
	equal '' "$(cat "$ends")"
	run -0 cmd kill-vms
	equal w1 "$(cat "$ends")"
}
