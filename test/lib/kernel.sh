# shellcheck shell=sh
# kernel.sh - what Linux does when its PCI files are written, on a tree of files
#
# Stands after base.sh in a copy of lib/ that tests run commands with. KERNEL is
# a directory: `log` gets every write; in `refuse`, `sleep`, `stop` and `ctrl-c`,
# if they are there, a line "VALUE PATH" names a write that fails, does not come
# back, or at which the command's process group gets SIGKILL or SIGINT.

sys_write()
{
	local file="${1#"$SYSFS_ROOT/bus/pci/"}" value="$2"

	if [ "$DRY_RUN" -eq 1 ]; then
		printf "+ printf '%%s\\\\n' %s > %s\n" \
			"$(base_quote "$value")" "$(base_quote "$1")"
		return 0
	fi
	printf '%s %s\n' "$value" "$file" >>"$KERNEL/log"
	! kernel_says stop || kill -KILL 0
	! kernel_says ctrl-c || kill -INT 0
	! kernel_says refuse || return 1
	! kernel_says sleep || exec sleep 1000
	case $file in
	/*) printf '%s\n' "$value" >"$file" ;;
	*) (cd "$SYSFS_ROOT/bus/pci" && kernel_write) ;;
	esac
}

kernel_says()
{
	grep -qxF -- "$value $file" "$KERNEL/$1" 2>/dev/null
}

kernel_write()
{
	local dev="devices/$value" override

	case $file in
	devices/*/driver/unbind)
		case $(readlink "${file%/unbind}") in
		*/vfio-pci) echo on >"${file%/driver/unbind}/power/control" ;;
		esac
		rm "${file%/unbind}" ;;
	drivers/*/bind)
		file=${file%/bind}
		read -r override <"$dev/driver_override"
		[ "$override" = "${file#*/}" ] || [ "$override" = '(null)' ] ||
			return 1
		[ ! -e "$dev/driver" ] || return 1
		kernel_bind "${file#*/}" ;;
	drivers_probe)
		[ ! -e "$dev/driver" ] || return 0
		read -r override <"$dev/driver_override"
		[ "$override" != '(null)' ] || read -r override <"$dev/native"
		kernel_bind "$override" ;;
	devices/*/driver_override) echo "${value:-(null)}" >"$file" ;;
	devices/*/remove) mv "${file%/remove}" "$KERNEL/gone" ;;
	rescan)
		for dev in "$KERNEL"/gone/*; do
			echo '(null)' >"$dev/driver_override"
			value=${dev##*/}
			mv "$dev" "devices/$value"
			dev=devices/$value
			rm -f "$dev/driver"
			read -r override <"$dev/native"
			kernel_bind "$override"
		done ;;
	*) printf '%s\n' "$value" >"$file" ;;
	esac
}

# vfio-pci lets what it takes suspend, and no longer when it gives it back.
kernel_bind()
{
	[ -d "drivers/$1" ] || return 0
	! grep -qx "$value $1" "$KERNEL/unwilling" 2>/dev/null || return 0
	ln -s "../../drivers/$1" "$dev/driver"
	[ "$1" != vfio-pci ] || echo auto >"$dev/power/control"
}
