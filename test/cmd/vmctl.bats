# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# vmctl against the sessions of the agent, which test_agent serves on this host.
load ../lib/common.sh

setup()
{
	vmctl=$TOP/build/bin/vmctl
	dir=$BATS_TEST_TMPDIR
	head -c 32 /dev/urandom >"$dir/secret"
}

teardown()
{
	[ -z "${agent_pid:-}" ] || kill "$agent_pid"
}

# agent [template]: serves the socket $dir/uds; the array exec_in is a command that
# executes something there.
agent()
{
	: >"$dir/log"
	"$TOP/build/test/unit/test_agent" serve "$dir/uds" "$dir/secret" \
		"$@" >"$dir/log" 2>&1 3>&- &
	agent_pid=$!
	"$vmctl" wait --file "$dir/log" --line ready --timeout-ms 10000
	exec_in=("$vmctl" exec --uds "$dir/uds" --port 1
		--secret-file "$dir/secret")
}

# ends PID STATUS: the child process PID ends with that status.
ends()
{
	local rc=0

	wait "$1" || rc=$?
	equal "$2" "$rc"
}

start_time()
{
	sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20
}

@test "exec passes a mebibyte through stdin and stdout unchanged" {
	agent
	head -c 1048576 /dev/urandom >"$dir/in"
	"${exec_in[@]}" -- cat <"$dir/in" >"$dir/out"
	cmp "$dir/in" "$dir/out"
	"${exec_in[@]}" -- sh -c 'cat >&2' <"$dir/in" 2>"$dir/out"
	cmp "$dir/in" "$dir/out"
}

@test "exec keeps stdout and stderr apart and gives the status" {
	agent
	run -42 --separate-stderr "${exec_in[@]}" -- \
		sh -c 'echo out; echo err >&2; exit 42'
	equal out "$output"
	# shellcheck disable=SC2154 # bats sets it
	equal err "$stderr"
}

@test "exec tells not found, not runnable and killed as a shell does" {
	agent
	run -127 "${exec_in[@]}" -- no-such-program
	run -126 "${exec_in[@]}" -- /
	# shellcheck disable=SC2016 # for the shell in there
	run -143 "${exec_in[@]}" -- sh -c 'kill $$'
}

@test "exec sets environment and directory" {
	agent
	# shellcheck disable=SC2016 # for the shell in there
	run -0 "${exec_in[@]}" --env 'A=b c' --cwd / -- sh -c 'echo "$A"; pwd'
	equal $'b c\n/' "$output"
	run -127 "${exec_in[@]}" --cwd /no/such/directory -- true
}

@test "exec forwards a signal" {
	agent
	: >"$dir/out"
	"${exec_in[@]}" -- sh -c 'trap "exit 5" INT; echo up
		while :; do sleep 0.05; done' >"$dir/out" 3>&- &
	"$vmctl" wait --file "$dir/out" --line up --timeout-ms 10000
	kill -INT $!
	ends $! 5
}

@test "exec ends a command whose output nobody reads" {
	agent
	run -0 bash -c '"$@" | head -n 1' - "${exec_in[@]}" -- yes
	equal y "$output"
}

@test "exec gives a terminal its size and leaves ours as it was" {
	agent
	cat >"$dir/go" <<-EOT
	stty rows 33 cols 77
	before=\$(stty -g)
	$(printf '%q ' "${exec_in[@]}") --tty -- sh -c 'stty size; exit 9'
	echo "status \$?"
	[ "\$before" = "\$(stty -g)" ] && echo same
	$(printf '%q ' "${exec_in[@]}") --tty -- sh -c 'kill -9 \$\$'
	[ "\$before" = "\$(stty -g)" ] && echo same
	EOT
	run -0 script -qec "sh $dir/go" /dev/null </dev/null
	has "$output" $'33 77\r\nstatus 9\r\nsame'
	equal 2 "$(grep -c same <<<"$output")"
}

@test "exec says 125 for a wrong secret, nobody there, or no command" {
	agent
	head -c 32 /dev/zero >"$dir/wrong"
	run -125 --separate-stderr "$vmctl" exec --uds "$dir/uds" --port 1 \
		--secret-file "$dir/wrong" -- true
	has "$stderr" 'refused'
	run -125 "$vmctl" exec --uds "$dir/none" --port 1 \
		--secret-file "$dir/secret" -- true
	run -125 "${exec_in[@]}"
	run -125 "${exec_in[@]}" --env nonsense -- true
}

@test "exec works with its standard input closed" {
	agent
	"${exec_in[@]}" -- echo fine <&- >"$dir/out"
	equal fine "$(cat "$dir/out")"
}

@test "exec says so when the guest goes away" {
	agent
	: >"$dir/out"
	"${exec_in[@]}" -- sh -c 'echo up; exec sleep 1000' >"$dir/out" \
		2>"$dir/err" 3>&- &
	"$vmctl" wait --file "$dir/out" --line up --timeout-ms 10000
	kill -9 "$agent_pid"
	agent_pid=
	ends $! 125
	has "$(cat "$dir/err")" 'lost'
}

@test "wait sees a line that comes later, whole, and prints the time" {
	: >"$dir/log"
	"$vmctl" wait --file "$dir/log" --line 'it is ready' \
		--timeout-ms 10000 >"$dir/out" 3>&- &
	printf 'it is ready not\nit is re' >>"$dir/log"
	printf 'ady at=5\r\n' >>"$dir/log"
	ends $! 0
	[[ $(cat "$dir/out") =~ ^[0-9]+$ ]]
}

@test "wait prints the line of a failure" {
	printf 'failed: x y\n' >"$dir/log"
	run -1 "$vmctl" wait --file "$dir/log" --line up --fail failed: \
		--timeout-ms 10000
	equal 'failed: x y' "$output"
}

@test "wait reads the last words of a process before it says that it ended" {
	: >"$dir/log"
	mkfifo "$dir/go"
	sh -c 'read -r x; echo up' <"$dir/go" >"$dir/log" 3>&- &
	exec 8>"$dir/go"
	start=$(start_time $!)
	echo x >&8
	ends $! 0
	exec 8>&-
	run -0 "$vmctl" wait --pid $! --start-time "$start" \
		--file "$dir/log" --line up --timeout-ms 10000
	run -1 "$vmctl" wait --pid $! --start-time "$start" \
		--file "$dir/log" --line never --timeout-ms 10000
	has "$output" 'has ended'
}

@test "wait gives up at its deadline with 75" {
	: >"$dir/log"
	run -75 "$vmctl" wait --file "$dir/log" --line up --timeout-ms 50
	run -66 "$vmctl" wait --file "$dir/none" --line up --timeout-ms 50
}

@test "stop leaves a process alone that began at another time" {
	sleep 1000 3>&- &
	start=$(start_time $!)
	run -0 "$vmctl" stop --pid $! --start-time $((start + 1))
	kill -0 $!
	run -1 "$vmctl" signal --pid $! --start-time $((start + 1)) --signal 15
	kill -0 $!
	run -0 "$vmctl" stop --pid $! --start-time "$start"
	ends $! 143
}

@test "stop kills what ignores SIGTERM" {
	: >"$dir/out"
	sh -c 'trap "" TERM; echo up; while :; do sleep 0.05; done' \
		>"$dir/out" 3>&- &
	"$vmctl" wait --file "$dir/out" --line up --timeout-ms 10000
	run -0 "$vmctl" stop --pid $! --start-time "$(start_time $!)" \
		--grace-ms 100
	ends $! 137
}

@test "tie stops the one process when the other has ended, not before" {
	sleep 60 3>&- &
	local one=$!

	sleep 60 3>&- &
	local other=$!

	local since to_since

	since=$(start_time "$one")
	to_since=$(start_time "$other")
	"$vmctl" tie --pid "$one" --start-time "$since" \
		--to-pid "$other" --to-start-time "$to_since" 3>&- &
	local tie=$!

	kill -0 "$one"
	kill -KILL "$other"
	wait "$tie"
	ends "$one" 143
}

@test "vmctl refuses what it does not know" {
	run -64 "$vmctl"
	run -64 "$vmctl" dance
	run -64 "$vmctl" wait --line x
	run -64 "$vmctl" stop --pid 0 --start-time 1
	run -0 "$vmctl" --help
	has "$output" 'exec'
}

# answers TEXT: answers one connection to $dir/api with TEXT; afterwards the request is
# in $dir/asked.
answers()
{
	printf "$1" >"$dir/answer"
	rm -f "$dir/api"
	socat "UNIX-LISTEN:$dir/api" \
		SYSTEM:"head -c ${2:-1} >$dir/asked; cat $dir/answer; cat >$dir/rest" \
		3>&- &
	server=$!
	for _ in {1..100}; do
		[ ! -S "$dir/api" ] || return 0
		read -rt 0.1 <> <(:) || :
	done
	return 1
}

stop_answering()
{
	kill "$server" 2>/dev/null || :
	wait "$server" || :
}

@test "api gives back what a monitor answers, and whether it did it" {
	answers 'HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 7\r\n\r\n{"a":1}'
	run -0 --separate-stderr "$vmctl" api --socket "$dir/api" GET /version
	stop_answering
	equal '{"a":1}' "$output"

	answers 'HTTP/1.1 204 No Content\r\n\r\n' 100
	run -0 --separate-stderr "$vmctl" api --socket "$dir/api" PUT /a/b.c \
		'{"state":"Paused"}'
	stop_answering
	equal '' "$output"
	has "$(cat "$dir/asked")" $'PUT /a/b.c HTTP/1.1\r\n'

	answers 'HTTP/1.1 400 \r\nContent-Length: 3\r\n\r\nbad'
	run -1 --separate-stderr "$vmctl" api --socket "$dir/api" PUT /x
	stop_answering
	equal bad "$output"
}

@test "api fails on what is no answer, on none, and where nobody is" {
	for text in 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n' \
		'HTTP/1.1 2x0 OK\r\n\r\n' \
		'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n' \
		'HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n' \
		'\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n'; do
		echo "# $text"
		answers "$text"
		run -65 --separate-stderr "$vmctl" api --socket "$dir/api" GET /
		stop_answering
		has "$stderr" 'the answer is not HTTP'
	done
	answers 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n.'
	run -75 "$vmctl" api --socket "$dir/api" --timeout-ms 200 GET /
	stop_answering
	run -69 "$vmctl" api --socket "$dir/api" GET /
	run -69 "$vmctl" api --socket "$dir/none" GET /
}

# waits_in_api PID: starts an `api`, process $api, that waits until process PID serves
# $dir/api.
waits_in_api()
{
	"$vmctl" api --socket "$dir/api" --pid "$1" \
		--start-time "$(start_time "$1")" GET / >"$dir/out" 2>&1 3>&- &
	api=$!
	until readlink "/proc/$api"/fd/* | grep -q pidfd; do kill -0 "$api"; done
}

@test "api waits for the socket as long as the process runs that is to serve it" {
	sleep 100 3>&- &
	pid=$!
	waits_in_api "$pid"
	printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi' >"$dir/answer"
	socat "UNIX-LISTEN:$dir/api" SYSTEM:"head -c 1 >$dir/asked; cat $dir/answer" \
		3>&- &
	server=$!
	ends "$api" 0
	equal hi "$(cat "$dir/out")"
	stop_answering
	rm -f "$dir/api"
	waits_in_api "$pid"
	kill "$pid"
	ends "$api" 69
	has "$(cat "$dir/out")" "$dir/api: No such file or directory"
	run -69 "$vmctl" api --socket "$dir/api" --pid "$pid" --start-time 1 GET /
	has "$output" "process $pid: No such process"
}

@test "api takes no path, method or socket that is none" {
	run -64 "$vmctl" api GET /
	run -64 "$vmctl" api --socket "$dir/api" get /
	run -64 "$vmctl" api --socket "$dir/api" GET '/ HTTP/1.1'
	run -64 "$vmctl" api --socket "$dir/api" GET
	run -64 "$vmctl" api --socket "$dir/api" GET / x y
	run -64 "$vmctl" api --socket "$(printf '%0200d' 1)" GET /
	run -64 "$vmctl" api --socket "$dir/api" --pid $$ GET /
	run -64 "$vmctl" api --socket "$dir/api" --start-time 1 GET /
}

# adopt [ARG...]: adopts the worker w1, with the new secret in $dir/new.
adopt()
{
	head -c 32 /dev/urandom >"$dir/new"
	"$vmctl" adopt --uds "$dir/uds" --port 1 --secret-file "$dir/secret" \
		--name w1 --new-secret-file "$dir/new" "$@"
}

@test "adopt gives a template a secret, which is the only one from then on" {
	agent template
	run -126 --separate-stderr "${exec_in[@]}" -- true
	has "$stderr" 'Operation not permitted'
	run -0 adopt
	equal '' "$output"
	run -125 --separate-stderr "${exec_in[@]}" -- true
	has "$stderr" 'wrong secret'
	run -0 "$vmctl" exec --uds "$dir/uds" --port 1 \
		--secret-file "$dir/new" -- echo well
	equal well "$output"
}

@test "adopt says that a guest is no template, and changes nothing in it" {
	agent
	run -69 --separate-stderr adopt
	has "$stderr" 'it is no template, or is a worker already'
	run -0 "${exec_in[@]}" -- echo well
}

@test "adopt waits for a guest, but not for longer than it is told" {
	run -69 --separate-stderr adopt --timeout-ms 200
	has "$stderr" 'no agent answers'
	adopt --timeout-ms 60000 3>&- &
	local pid=$!
	agent template
	ends "$pid" 0
	run -69 --separate-stderr adopt --timeout-ms 1000
	has "$stderr" 'wrong secret'
}

@test "adopt wants a name that is one, and all of its options" {
	run -64 adopt --name 'a b'
	run -64 adopt --timeout-ms 0
	run -64 adopt extra
	run -64 "$vmctl" adopt --uds "$dir/uds" --port 1 \
		--secret-file "$dir/secret" --name w1
}

# qemu: starts a QEMU without a machine, whose control socket is $dir/qmp.
qemu()
{
	qemu-system-x86_64 -M none -nodefaults -no-user-config -display none \
		-qmp "unix:$dir/qmp,server=on,wait=off" </dev/null >"$dir/log" 2>&1 3>&- &
	server=$!
	for _ in {1..100}; do
		[ ! -S "$dir/qmp" ] || return 0
		read -rt 0.1 <> <(:) || :
	done
	cat "$dir/log"
	return 1
}

@test "qmp asks QEMU, hands a file over, and stops at what QEMU refuses" {
	qemu
	: >"$dir/file"
	run -0 --separate-stderr "$vmctl" qmp --socket "$dir/qmp" \
		--pass "$dir/file" \
		'{"execute":"getfd","arguments":{"fdname":"file"}}' \
		'{"execute":"closefd","arguments":{"fdname":"file"}}'
	equal '{} {}' "$(jq -c .return <<<"$output" | paste -sd ' ')"
	run -1 --separate-stderr "$vmctl" qmp --socket "$dir/qmp" \
		'{"execute":"closefd","arguments":{"fdname":"file"}}' \
		'{"execute":"quit"}'
	equal 1 "${#lines[@]}"
	has "$output" 'not found'
	run -0 "$vmctl" qmp --socket "$dir/qmp" --pid "$server" \
		--start-time "$(start_time "$server")" '{"execute":"quit"}'
	ends "$server" 0
	run -69 "$vmctl" qmp --socket "$dir/qmp" '{"execute":"quit"}'
}

@test "qmp fails on what is no QEMU, and on no answer" {
	answers '{"other":1}\r\n' 0
	run -65 --separate-stderr "$vmctl" qmp --socket "$dir/api" '{}'
	stop_answering
	has "$stderr" "the answer is not QEMU's"
	answers '{"QMP":{}}\r\n{"return":{}}\r\n' 0
	run -75 "$vmctl" qmp --socket "$dir/api" --timeout-ms 200 '{}'
	stop_answering
	run -64 "$vmctl" qmp --socket "$dir/api"
	run -66 "$vmctl" qmp --socket "$dir/api" --pass "$dir/none" '{}'
}

# jail STATUS [OPTION...] -- COMMAND...: runs vmctl jail as root of a user namespace;
# its status is STATUS.
jail()
{
	local status="$1"

	shift
	run "-$status" unshare -r "$vmctl" jail --tmpfs "$dir/jail" "$@"
}

@test "jail binds files and directories where only the command sees them" {
	unshare -rm true || skip 'this user may not mount'
	mkdir "$dir/jail" "$dir/from"
	echo text >"$dir/from/file"
	jail 0 --bind "$dir/from" "$dir/jail/a/b/dir" \
		--bind "$dir/secret" "$dir/jail/secret" -- sh -c 'cd "$0" && find . |
		sort && cat a/b/dir/file && cmp secret ../secret &&
		stat -f -c %T . && grep NoNewPrivs /proc/self/status' "$dir/jail"
	equal ". ./a ./a/b ./a/b/dir ./a/b/dir/file ./secret text tmpfs NoNewPrivs: 1" \
		"$(tr '\n\t' '  ' <<<"$output" | sed 's/ *$//; s/  */ /g')"
	equal '' "$(ls "$dir/jail")"
	# This holds even if mounts are shared with other namespaces, as systemd
	# sets them up.
	# shellcheck disable=SC2016 # the inner shell's words
	run -1 unshare -rm sh -c 'mount --make-rshared / &&
		"$0" jail --tmpfs "$1" -- grep -qF "$1" /proc/self/mountinfo &&
		grep -F "$1" /proc/self/mountinfo' "$vmctl" "$dir/jail"
	equal '' "$output"
}

@test "jail refuses what it cannot bind, and what is no command" {
	unshare -rm true || skip 'this user may not mount'
	mkdir "$dir/jail"
	jail 74 --bind "$dir/none" "$dir/jail/none" -- true
	equal "vmctl: error: $dir/none: No such file or directory" "$output"
	jail 64 --bind nothing
	jail 64
	jail 127 -- "$dir/none"
	jail 126 -- "$dir/jail"
	rmdir "$dir/jail"
	jail 74 -- true
	equal "vmctl: error: $dir/jail: No such file or directory" "$output"
}
