# shellcheck shell=bash
# Completion of isospin for bash: commands, their options, and names of VMs.

_isospin_vms()
{
	"$1" status --json 2>/dev/null | sed -n \
		"s/^{\"name\":\"\([a-z0-9-]*\)\",\"role\":\"$2\".*/\1/p"
}

_isospin()
{
	local cmd=${COMP_WORDS[0]} word=$2 before=$3 list='' sub='' i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-*) ;;
		*)
			sub=${COMP_WORDS[i]}
			break ;;
		esac
	done
	case $sub:$before in
	*:-c | *:--disk)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	:*) list="$("$cmd" -h | sed -n 's/^  \([a-z][-a-z]*\) .*/\1/p') -h -V" ;;
	worker-vm:--exec) list=$(_isospin_vms "$cmd" worker) ;;
	lab:--exec) list=$(_isospin_vms "$cmd" lab) ;;
	gpu-vm:--exec | *:--gpu) list=$(_isospin_vms "$cmd" gpu) ;;
	*:--driver) list='auto real soft' ;;
	*)
		case $sub:$word in
		*:-*) list=$("$cmd" "$sub" -h | grep -E '^ +-' |
			grep -oE -- '--?[A-Za-z][-A-Za-z]*') ;;
		kill-vms:*) list=$(_isospin_vms "$cmd" '[a-z]*') ;;
		logs:*) list="$(_isospin_vms "$cmd" '[a-z]*') bridge" ;;
		build:*) list=$("$cmd" build --list 2>/dev/null | awk '{ print $1 }') ;;
		esac ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
}

complete -o bashdefault -o default -F _isospin isospin
