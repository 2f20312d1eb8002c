#!/usr/bin/env bats
# The program gpu-broker on a Unix socket, with wire-client as the shim of good
# and hostile workers. Each scenario of wire-client checks what it gets.

load ../lib/common.sh

broker=$TOP/build/bin/gpu-broker
broker_test=$TOP/build/test/bin/gpu-broker-test
client=$TOP/build/test/bin/wire-client

setup()
{
	cd "$BATS_TEST_TMPDIR"
	printf '%032d' 7 >secret
}

teardown()
{
	[ -z "${held:-}" ] || kill "$held" 2>/dev/null || :
	[ -z "${pid:-}" ] || {
		kill "$pid" 2>/dev/null || :
		wait "$pid" || :
	}
}

# wait_until COMMAND [ARG...]: waits ten seconds at most until COMMAND succeeds.
wait_until()
{
	TOP=$TOP sh -c '. "$0/lib/base/base.sh"; use poll; poll_until 10 "$@"' \
		"$TOP" "$@"
}

# wait_line TEXT [FILE]: waits until the log, or FILE, has TEXT.
wait_line()
{
	wait_until grep -qF -- "$1" "${2:-log}" || {
		cat "${2:-log}"
		return 1
	}
}

# start_broker [DRIVER [OPTION...]]: starts the broker and waits until it serves; its
# stdout and stderr are in ./log.
start_broker()
{
	local bin="$broker"

	[ "${1:-soft}" = soft ] || bin=$broker_test
	"$bin" --driver "${1:-soft}" --driver-version 550.163.01 "${@:2}" \
		--listen "unix:$PWD/s" --secret-file secret >log 2>&1 3>&- &
	pid=$!
	wait_line 'info: ready'
}

# play SCENARIO [OPTION...]: runs wire-client as worker w1, unless options name
# another worker.
play()
{
	local scenario="$1"

	shift
	timeout 60 "$client" --secret-file secret "$@" "unix:$PWD/s" "$scenario"
}

# hold NAME: starts a worker that stays connected; its process is $held.
hold()
{
	mkfifo "hold.$1"
	play hold --name "$1" <"hold.$1" >"held.$1" 3>&- &
	held=$!
	exec 7>"hold.$1"
	wait_line holding "held.$1"
}

# child_of NAME: prints the pids of that worker's children.
child_of()
{
	pgrep -P "$pid" -f -- "--child $1\$"
}

# no_child NAME: that worker has no child any more.
no_child()
{
	! child_of "$1" >/dev/null
}

# counter NAME [WORKER]: prints a counter of the monitor, or of WORKER's child, from
# the last line that SIGUSR1 made it log.
counter()
{
	local before whose="\"metrics\": \"${2:-monitor}\""

	before=$(grep -c "$whose" log || :)
	kill -USR1 "$pid"
	wait_until sh -c '[ "$(grep -c "$1" log)" -gt "$0" ]' "$before" "$whose"
	grep "$whose" log | tail -n 1 | sed 's/^[^{]*//' | jq ".$1 // 0"
}

# still_serves: the broker answers another worker, and then the first one again.
still_serves()
{
	run -0 play control --name w2
	run -0 play control
}

@test "gpu-broker says what its options are, and refuses others with 64" {
	run -0 --separate-stderr "$broker" --help
	has "$output" '--driver-version'
	equal '' "$stderr"
	run -0 "$broker" -V
	equal "gpu-broker $(cat "$TOP/share/version")" "$output"
	run -64 --separate-stderr "$broker" --nope
	run -64 --separate-stderr "$broker"
	has "$stderr" '--driver is missing'
	run -64 --separate-stderr "$broker" --driver soft --secret-file secret
	has "$stderr" '--listen is missing'
	run -64 --separate-stderr "$broker" --driver soft --listen unix:s
	has "$stderr" '--secret-file is missing'
	run -64 --separate-stderr "$broker" --driver soft --listen nowhere \
		--secret-file secret --driver-version 550.163.01
	has "$stderr" 'nowhere: not an address'
	run -64 --separate-stderr "$broker" --child w1 </dev/null 3>&-
}

@test "gpu-broker never takes another driver than the one it was told" {
	run -69 --separate-stderr "$broker" --driver real --listen unix:s \
		--secret-file secret --driver-version 1.2.3
	has "$stderr" nvidia
	run -69 --separate-stderr "$broker" --driver block --listen unix:s \
		--secret-file secret --driver-version 550.163.01
	run -69 --separate-stderr "$broker" --driver soft --listen unix:s \
		--secret-file secret --driver-version 1.2.3
	has "$stderr" 'no call table for driver 1.2.3'
	[ ! -e s ]
}

@test "gpu-broker says which near call table it takes" {
	"$broker" --driver soft --driver-version 535.309.01 \
		--listen "unix:$PWD/s" --secret-file secret >log 2>&1 3>&- &
	pid=$!
	wait_line 'info: ready'
	wait_line 'driver 535.309.01: taking the call table of 535.261.03'
	run -0 play control
	has "$output" 'driver 535.309.01'
}

@test "gpu-broker serves a version whose table has a base" {
	"$broker" --driver soft --driver-version 580.142 \
		--listen "unix:$PWD/s" --secret-file secret >log 2>&1 3>&- &
	pid=$!
	wait_line 'info: ready'
	run -0 play ping
	run ! grep 'taking the call table' log
}

@test "a secret that is missing or too short, a bad configuration: refused" {
	run -66 "$broker" --driver soft --driver-version 550.163.01 \
		--listen unix:s --secret-file none
	printf short >short
	run -65 "$broker" --driver soft --driver-version 550.163.01 \
		--listen unix:s --secret-file short
	echo NONSENSE=1 >bad.conf
	run -78 "$broker" --driver soft --driver-version 550.163.01 \
		--listen unix:s --secret-file secret -c bad.conf
	has "$output" 'bad.conf:1'
}

@test "a worker is greeted and gets calls answered, nested pointers too" {
	start_broker
	has "$(cat log)" 'Broker running'
	run -0 play hello
	has "$output" 'gpus 1'
	run -0 play control
	has "$output" 'driver 550.163.01'
	run -0 play ping
	run -0 play map
	run -0 play unmap
	run -0 play bye
}

@test "a burst of calls, more than is read at once, is answered to the last" {
	start_broker
	play burst
}

@test "the soft GPUs are those of the configuration" {
	export ISOSPIN_SOFT_GPU_COUNT=3
	start_broker
	run -0 play hello
	has "$output" 'gpus 3'
}

@test "two workers are two processes, as root also two users" {
	local one two

	start_broker
	hold w1
	mkfifo hold2
	play hold --name w2 <hold2 >held2 3>&- &
	exec 8>hold2
	wait_line holding held2
	one=$(child_of w1)
	two=$(child_of w2)
	[ "$one" != "$two" ]
	if [ "$(id -u)" = 0 ]; then
		[ "$(stat -c %u "/proc/$one")" != "$(stat -c %u "/proc/$two")" ]
		[ "$(stat -c %u "/proc/$one")" != 0 ]
		equal '' "$(ls "/proc/$one/root/" 2>/dev/null)"
	fi
	grep -q '^CapBnd:	0000000000000000$' "/proc/$one/status" ||
		[ "$(id -u)" != 0 ]
	grep -q '^NoNewPrivs:	1$' "/proc/$one/status"
	grep -q '^Seccomp:	2$' "/proc/$one/status"
	exec 8>&- 7>&-
}

@test "a child has a limit of memory, by its quotas, and leaves no core" {
	local limits

	export ISOSPIN_MAX_INFLIGHT_BYTES=16M ISOSPIN_MAX_OBJECTS=1000
	start_broker
	hold w1
	limits=$(awk '/^Max data|^Max core/ { print $2, $(NF - 1) }' \
		"/proc/$(child_of w1)/limits" | sort)
	equal "$(printf 'core 0\ndata %d' $(((128 + 3 * 16 << 20) + 256 * 2024)))" \
		"$limits"
	exec 7>&-
}

@test "each child runs in a cgroup of its own, all of one weight" {
	local cg=$PWD/cg

	start_broker soft --cgroup nowhere
	wait_line 'warning: --cgroup nowhere: No such file'
	kill "$pid"
	wait "$pid"
	mkdir -p cg/worker0
	: >cg/cgroup.subtree_control
	: >cg/worker0/cpu.weight
	: >cg/worker0/cgroup.procs
	start_broker soft --cgroup "$cg"
	hold w1
	equal +cpu "$(cat cg/cgroup.subtree_control)"
	equal 100 "$(cat cg/worker0/cpu.weight)"
	equal "$(child_of w1)" "$(cat cg/worker0/cgroup.procs)"
	run -0 play control --name w2
	wait_line 'has no cgroup: No such file'
	exec 7>&-
}

@test "connections of one worker share its child, which ends with the last" {
	start_broker
	hold w1
	run -0 play control
	equal 1 "$(child_of w1 | wc -l)"
	exec 7>&-
	wait "$held"
	wait_until sh -c '! pgrep -P "$0" >/dev/null' "$pid"
	still_serves
}

@test "who does not prove the secret first is closed and counted" {
	start_broker
	printf '%032d' 8 >wrong
	run -0 timeout 20 "$client" --secret-file wrong "unix:$PWD/s" no-ident
	wait_line 'connection refused: wrong secret'
	run -0 play hello-first
	wait_line 'its first frame is no IDENT'
	run -0 play no-ident --name 'Bad_Name'
	wait_line 'IDENT with a bad name'
	run -0 play no-ident --caps 0
	run -0 play no-ident --caps 4096
	wait_line 'IDENT with unknown capabilities'
	equal 5 "$(counter ident_refused)"
	equal 0 "$(counter children_started)"
	still_serves
}

@test "who says nothing is closed after five seconds" {
	start_broker
	run -0 play silent
	wait_line 'it sent no IDENT in time'
}

@test "a worker's connection without a HELLO is closed after five seconds" {
	start_broker
	hold w1
	run -0 play no-hello
	wait_line 'w1: connection closed: no HELLO within 5000 ms'
	equal 1 "$(counter hello_late w1)"
	kill -0 "$held"
	exec 7>&-
	wait "$held"
	still_serves
}

@test "calls, controls, classes and handles that are not allowed get RM's answer" {
	start_broker
	run -0 play unknown-ioctl
	run -0 play unknown-control
	run -0 play unknown-class
	run -0 play wrong-size
	run -0 play foreign-client
	run -0 play foreign-dup
	run -0 play bad-fd
	run -0 play huge-length
	run -0 play huge-nested
	wait_line 'refused control 0x7777'
	wait_line 'refused allocation of class 0x5555'
	wait_line 'refused ioctl 0xee'
}

@test "a worker with utility alone may not do what needs compute" {
	start_broker
	run -0 play hello --caps 1
	utility=$output
	run -0 play hello --caps 3
	[ "$utility" != "$output" ]
}

@test "a pointer that cannot be read, and a killed caller, end the call alone" {
	start_broker
	run -0 play more-efault
	run -0 play cancel
}

@test "every malformed frame ends its connection and nothing else" {
	start_broker
	hold w1
	run -0 play hostile-frames
	has "$output" 'refused 23'
	run -0 play hostile-ioctls
	has "$output" 'refused 12'
	run -0 play bad-version
	run -0 play truncated
	kill -0 "$held"
	exec 7>&-
	wait "$held"
	equal 0 "$(counter children_died)"
	still_serves
}

@test "a worker that fills the log does not silence another" {
	start_broker
	hold w1
	run -0 play hostile-frames
	run -0 play hostile-ioctls
	run -0 play unknown-control --name w2
	wait_line 'w2: refused control'
	exec 7>&-
}

@test "files, clients and connections have quotas" {
	export ISOSPIN_MAX_FILES=5 ISOSPIN_MAX_CLIENTS=3 ISOSPIN_MAX_CONNS=1 \
		ISOSPIN_MAX_WORKERS=1
	start_broker
	run -0 play max-files
	equal 'files 5' "$output"
	wait_until sh -c '! pgrep -P "$0" >/dev/null' "$pid"
	run -0 play max-clients
	equal 'clients 3' "$output"
	wait_until sh -c '! pgrep -P "$0" >/dev/null' "$pid"
	hold w1
	run -0 play no-ident
	run -0 play no-ident --name w2
	equal 2 "$(counter conn_refused)"
	exec 7>&-
}

@test "a worker gets video memory up to its quota, another one its own" {
	export ISOSPIN_MAX_VIDMEM=70M
	start_broker
	hold w2
	run -0 play max-vidmem
	equal 'blocks 4' "$output"
	run -0 play max-vidmem --name w2
	equal 'blocks 4' "$output"
	exec 7>&-
}

@test "results that a worker does not read count as its memory" {
	export ISOSPIN_MAX_INFLIGHT_BYTES=2M
	start_broker
	run -0 play unread
	still_serves
}

@test "where memory runs out the kernel takes a child, not the monitor" {
	start_broker
	hold w1
	equal 1000 "$(cat "/proc/$(child_of w1)/oom_score_adj")"
	[ "$(cat "/proc/$pid/oom_score_adj")" -lt 1000 ]
	exec 7>&-
}

@test "a connection that waits for memory goes when its worker goes" {
	export ISOSPIN_MAX_INFLIGHT_BYTES=2M
	start_broker
	run -0 play parked-gone
	still_serves
}

@test "a worker's rate is kept, and its calls are answered all the same" {
	export ISOSPIN_MAX_RATE=50
	start_broker
	run -0 play control
	run -0 play control
}

@test "of the processes that use a GPU a worker sees its own" {
	start_broker block
	run -0 play pids
}

@test "with one call blocked, 31 others return" {
	start_broker block
	run -0 play one-blocked
}

@test "more blocked calls than threads leave the link alive" {
	start_broker block
	run -0 play all-blocked
	still_serves
}

@test "a worker that goes in the middle of a call leaves nothing behind" {
	start_broker block
	run -0 play gone-blocked
	wait_until sh -c '! pgrep -P "$0" >/dev/null' "$pid"
	still_serves
	equal 0 "$(counter children_died)"
}

@test "POLL is answered when the driver has an event" {
	start_broker block
	run -0 play poll
}

@test "a child that crashes takes its own worker's connections along, no other's" {
	start_broker block
	hold w2
	run -0 play crash
	wait_line 'died of signal'
	kill -0 "$held"
	run -0 play control
	run -0 play control --name w2
	equal 1 "$(counter children_died)"
	exec 7>&-
}

@test "a worker whose children crash one after the other waits for the next" {
	start_broker block
	from=${EPOCHREALTIME/./}
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
		run -0 play crash
	done
	# The limit allows eight at once, then one in half a second.
	[ $((${EPOCHREALTIME/./} - from)) -ge 2000000 ]
	run -0 play control --name w2
}

@test "a child that is killed closes its connections at once" {
	start_broker
	play watch >watch.out 3>&- &
	held=$!
	wait_line holding watch.out
	kill -9 "$(child_of w1)"
	wait "$held"
	wait_line closed watch.out
	still_serves
}

@test "the monitor's end, meant or not, is the children's end" {
	local child

	start_broker
	play watch >watch.out 3>&- &
	held=$!
	wait_line holding watch.out
	child=$(child_of w1)
	kill "$pid"
	wait "$pid"
	pid=
	wait "$held"
	[ ! -e "/proc/$child" ]
	[ ! -e s ]

	rm -f s
	start_broker
	play watch >again.out 3>&- &
	held=$!
	wait_line holding again.out
	child=$(child_of w1)
	kill -9 "$pid"
	wait "$held"
	wait_until test ! -e "/proc/$child"
	start_broker
	still_serves
}
