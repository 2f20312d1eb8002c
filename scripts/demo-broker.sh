#!/bin/sh
# demo-broker - the stack of the demo in tmux windows, to look around in
#
# usage: isospin demo-broker [-hVv] [-c FILE] [--instance NAME]
#
# After isospin setup and make: a tmux session isospin-demo with the windows
# gpu-vm (the GPU VM's console), bridge, worker (a shell in a worker VM, after
# nvidia-smi) and log. Ending the session (tmux kill-session -t isospin-demo)
# stops the VMs and the bridge. Without a terminal the session is left in the
# background.
#
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt poll proc vm

session=isospin-demo

# window NAME COMMAND [ARG...]: a window that stays when the command has ended.
window()
{
	local name="$1" cmd

	shift
	cmd=$(base_quote "$@")
	if tmux has-session -t "=$session" 2>/dev/null; then
		tmux new-window -d -t "=$session:" -n "$name" "$cmd"
	else
		tmux new-session -d -s "$session" -n "$name" "$cmd"
	fi || die 69 "tmux cannot open the window '$name'"
	tmux set-option -w -t "=$session:$name" remain-on-exit on >/dev/null
}

# command_window WINDOW NAME [ARG...]: runs our command NAME in a window of its own, with
# the flags that we were given.
command_window()
{
	local name="$1" cmd="$2"

	shift 2
	opt_pass instance window "$name" "$TOP/scripts/$cmd.sh" @ "$@"
}

is_running()
{
	local state

	vm_state state gpu0
	[ "$state" = running ]
}

# settled: whether the GPU VM runs, or its window's command has ended.
settled()
{
	is_running && return
	[ "$(tmux display-message -p -t "=$session:gpu-vm" '#{pane_dead}' \
		2>/dev/null)" != 0 ]
}

abandon()
{
	[ "$done" -eq 1 ] || tmux kill-session -t "=$session" 2>/dev/null || :
}

work()
{
	opt_none "$@"
	vm_init || die $? "$why"
	command -v tmux >/dev/null ||
		die 69 'tmux is not installed; run: isospin setup demo'
	! tmux has-session -t "=$session" 2>/dev/null ||
		die 75 "the session is there: tmux attach -t $session"
	is_running && die 75 "VM 'gpu0' runs already; stop it: isospin kill-vms"
	on_exit abandon
	step_begin 'booting the GPU VM in its window'
	command_window gpu-vm gpu-vm --driver soft
	poll_until 200 settled || :
	is_running || die 69 "the GPU VM did not start: $(tmux capture-pane -p \
		-t "=$session:gpu-vm" | grep -F error: | head -n 1)"
	step_end
	command_window bridge vsock-bridge
	poll_until 20 proc_alive bridge || die 69 'the bridge did not start'
	command_window worker worker-vm --tty -- sh -c \
		'nvidia-smi || isospin-smi; exec sh -l'
	command_window log logs -f
	tmux select-window -t "=$session:worker"
	done=1
	if [ -t 0 ] && [ -t 1 ] && [ -z "${TMUX:-}" ]; then
		tmux attach-session -t "=$session"
	else
		log_info "to look at it: tmux attach -t $session"
		log_info "to stop it: tmux kill-session -t $session"
	fi
}

main()
{
	done=0
	base_init "$0"
	opt_flags='instance'
	opt_parse opt_unknown work "$@"
}

main "$@"
