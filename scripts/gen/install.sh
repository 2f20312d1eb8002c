#!/bin/sh
# Usage: install.sh install|uninstall DESTDIR PREFIX
#
# Puts the toolkit below DESTDIR/PREFIX/lib/isospin as it lies in the checkout
# (its commands build what they miss from there), bin/isospin on PATH, the man
# pages, systemd's units and bash's completions; or takes all of these away again.
# make calls it.
set -eu
export LC_ALL=C

main()
{
	[ $# -eq 3 ] || { sed -n 's/^# \{0,1\}//p' "$0" | sed -n 1p >&2; exit 64; }
	case $1 in
	install) install_tree "$2$3" "$3" ;;
	uninstall) uninstall_tree "$2$3" ;;
	*) exit 64 ;;
	esac
}

# pages: the man pages' sources, one a line.
pages()
{
	find share/man -name '*.scd' | sort
}

# page_target ROOT PAGE: where PAGE goes, isospin.1.scd to man1/isospin.1.
page_target()
{
	local name

	name=$(basename "$2" .scd)
	printf '%s/share/man/man%s/%s\n' "$1" "${name##*.}" "$name"
}

# units: systemd's files, below share/systemd, one a line.
units()
{
	(cd share/systemd && find . -type f | sort)
}

install_units()
{
	local file

	units | while IFS= read -r file; do
		install -d "$(dirname "$1/lib/systemd/system/$file")"
		sed -e "s|@BIN@|$2/bin|" -e "s|@LIB@|$2/lib/isospin|" \
			"share/systemd/$file" >"$1/lib/systemd/system/$file"
		chmod 644 "$1/lib/systemd/system/$file"
	done
}

install_tree()
{
	local root="$1" to="$1/lib/isospin" page target

	command -v scdoc >/dev/null || {
		printf 'install: scdoc is missing: apt-get install scdoc\n' >&2
		exit 69
	}
	install -d "$to" "$root/bin"
	tar -c --owner=0 --group=0 bin lib scripts share src kmod test \
		Makefile LICENSE README.md build/bin build/static/bin |
		tar -x -C "$to" --no-same-owner
	# The configuration is the admin's once it is there.
	[ -e "$to/etc/isospin.conf" ] ||
		install -D -m 644 etc/isospin.conf "$to/etc/isospin.conf"
	ln -sfn "$2/lib/isospin/bin/isospin" "$root/bin/isospin"
	pages | while IFS= read -r page; do
		target=$(page_target "$root" "$page")
		install -d "$(dirname "$target")"
		case $page in
		*/isospin.conf.5.scd) scripts/gen/conf.sh man ;;
		*) cat "$page" ;;
		esac | scdoc >"$target"
		chmod 644 "$target"
	done
	install_units "$root" "$2"
	install -D -m 644 share/completions/isospin.bash \
		"$root/share/bash-completion/completions/isospin"
}

uninstall_tree()
{
	local page file

	rm -rf "$1/lib/isospin"
	rm -f "$1/bin/isospin" "$1/share/bash-completion/completions/isospin"
	units | while IFS= read -r file; do
		rm -f "$1/lib/systemd/system/$file"
	done
	rmdir "$1/lib/systemd/system/isospin-.service.d" 2>/dev/null || :
	pages | while IFS= read -r page; do
		rm -f "$(page_target "$1" "$page")"
	done
}

main "$@"
