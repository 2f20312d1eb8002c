#!/bin/sh
# install.sh - put isospin where a distribution wants it, or take it away again
#
# usage: install.sh install|uninstall DESTDIR PREFIX [SYSCONFDIR]
#
# Installs, below DESTDIR:
#
#   PREFIX/bin/isospin        a link to the command in libexec
#   PREFIX/libexec/isospin    commands, shell libraries, programs
#   PREFIX/share/isospin      tables, files of the lab, and the source of the kernel
#                             modules, which are compiled on the user's machine:
#                             only there is it known for which kernel
#   SYSCONFDIR/isospin.conf   the configuration, unless it is there; SYSCONFDIR is
#                             /etc if PREFIX is /usr, else PREFIX/etc
#
# and man pages, documents, completions and systemd's units in their usual places.
# Files that isospin downloads and makes when it runs go to /var/lib/isospin.
# make calls this.
set -eu
LC_ALL=C
export LC_ALL

# Commands for a checkout only.
workshop='check lint'
programs='gpu-broker vsock-bridge vsock-device vmctl isospin-vfio'
guest_programs='gpu-broker isospin-agent isospin-smi'

main()
{
	case $#:${1:-} in
	[34]:install | [34]:uninstall) ;;
	*)
		sed -n '/^# usage: /s/^# //p' "$0" >&2
		exit 64 ;;
	esac
	umask 022
	prefix=$3
	sysconf=${4:-$prefix/etc}
	[ "$prefix:${4:-}" != /usr: ] || sysconf=/etc
	root=$2$prefix
	conf=$2$sysconf/isospin.conf
	"$1_all"
}

# pages: prints the sources of the man pages, one a line.
pages()
{
	find share/man -name '*.scd' | sort
}

# page_target PAGE: prints where PAGE goes: isospin.1.scd to man1/isospin.1.
page_target()
{
	local name

	name=$(basename "$1" .scd)
	printf '%s/share/man/man%s/%s\n' "$root" "${name##*.}" "$name"
}

# units: prints systemd's files, relative to share/systemd, one a line.
units()
{
	(cd share/systemd && find . -type f | sort)
}

# put MODE DIR FILE...: installs files.
put()
{
	local mode="$1" dir="$2"

	shift 2
	install -d "$dir"
	install -m "$mode" "$@" "$dir/"
}

install_code()
{
	local to="$root/libexec/isospin" file

	put 755 "$to/bin" bin/isospin
	for file in $programs; do
		put 755 "$to/bin" "build/bin/$file"
	done
	for file in $guest_programs; do
		put 755 "$to/guest" "build/static/bin/$file"
	done
	for file in scripts/*.sh; do
		case " $workshop " in
		*" $(basename "$file" .sh) "*) ;;
		*) put 755 "$to/scripts" "$file" ;;
		esac
	done
	for file in lib/*/*; do
		put 644 "$to/${file%/*}" "$file"
	done
	paths >"$to/lib/base/paths.sh"
	install -d "$root/bin"
	ln -sfn ../libexec/isospin/bin/isospin "$root/bin/isospin"
}

# paths: prints the lib/base/paths.sh of the installed tree; the comments of the checkout's
# explain its variables. A tree that is run from below DESTDIR has its configuration and
# its state there too.
paths()
{
	cat <<-EOT
	# shellcheck shell=sh
	# paths.sh - where the parts of this installed isospin are
	#
	# Made by scripts/gen/install.sh.

	paths_top=
	case \$TOP in
	*"$prefix/libexec/isospin") paths_top=\${TOP%"$prefix/libexec/isospin"} ;;
	esac
	paths_command=\$paths_top$prefix/bin/isospin
	paths_source=
	paths_share=\$paths_top$prefix/share/isospin
	paths_bin=\$TOP/bin
	paths_guest=\$TOP/guest
	paths_shim=\$paths_share/kmod
	paths_conf=\$paths_top$sysconf/isospin.conf
	paths_state=\$paths_top/var/lib/isospin
	# Other users than root have a state of their own.
	if [ "\$(id -u)" -ne 0 ]; then
		paths_state=\${XDG_STATE_HOME:-\${HOME:-}/.local/state}/isospin
	fi
	paths_home=\$paths_state
	paths_assets=\$paths_state/assets
	EOT
}

install_data()
{
	local to="$root/share/isospin" file

	put 644 "$to" share/conf.tbl share/version
	put 644 "$to/abi" share/abi/*
	put 644 "$to/kernel" share/kernel/*
	put 644 "$to/udev" share/udev/*
	put 644 "$to/kmod" kmod/* src/abi/iso_wire.h
	for file in share/lab/*; do
		[ ! -f "$file" ] || put 644 "$to/lab" "$file"
	done
	put 644 "$to/lab/modules" share/lab/modules/*
	put 644 "$root/share/doc/isospin" README.md LICENSE share/doc/*
	install -D -m 644 share/completions/isospin.bash \
		"$root/share/bash-completion/completions/isospin"
	# The configuration is the admin's once it is there.
	[ -e "$conf" ] || install -D -m 644 etc/isospin.conf "$conf"
}

install_pages()
{
	local page target

	pages | while IFS= read -r page; do
		target=$(page_target "$page")
		install -d "$(dirname "$target")"
		case $page in
		*/isospin.conf.5.scd) scripts/gen/conf.sh man ;;
		*) cat "$page" ;;
		esac | scdoc >"$target"
		chmod 644 "$target"
	done
}

install_units()
{
	local file to="$root/lib/systemd/system"

	units | while IFS= read -r file; do
		install -d "$(dirname "$to/$file")"
		sed "s|@BIN@|$prefix/bin|" "share/systemd/$file" >"$to/$file"
		chmod 644 "$to/$file"
	done
}

install_all()
{
	command -v scdoc >/dev/null || {
		echo 'install: scdoc is missing: apt-get install scdoc' >&2
		exit 69
	}
	install_code
	install_data
	install_pages
	install_units
}

uninstall_all()
{
	local page file

	rm -rf "$root/libexec/isospin" "$root/share/isospin" \
		"$root/share/doc/isospin"
	rm -f "$root/bin/isospin" "$conf" \
		"$root/share/bash-completion/completions/isospin"
	units | while IFS= read -r file; do
		rm -f "$root/lib/systemd/system/$file"
	done
	rmdir "$root/lib/systemd/system/isospin-.service.d" 2>/dev/null || :
	pages | while IFS= read -r page; do
		rm -f "$(page_target "$page")"
	done
}

main "$@"
