#!/usr/bin/env bats
# share/doc/vfio-book.md against the code: its commands, options and messages, and
# the output in its walk-through, which is made again on a dump of the lab.

load ../lib/common.sh
load ../lib/tree.sh

book=$TOP/share/doc/vfio-book.md
card=0000:01:00.0

setup()
{
	cd "$TOP" || return
	unset SUDO_UID SUDO_GID
}

# section HEADING: prints that section, up to the next heading of its level or above.
section()
{
	awk -v want="$1" '
	/^#+ / {
		level = length($1)
		if (inside && level <= inside)
			exit
		if (!inside && $2 == want)
			inside = level
	}
	inside' "$book"
}

# shown COMMAND: prints the output that the book shows below the first `# COMMAND`.
shown()
{
	want="    # $1" awk '
	inside && (/^    # / || /^[^ ]/) { exit }
	inside { text = text substr($0, 5) "\n" }
	$0 == ENVIRON["want"] { inside = 1 }
	END { sub(/\n+$/, "", text); print text }' "$book"
}

# calls PATTERN: prints the arguments of each call of that command in the book, in
# code spans and examples.
calls()
{
	grep -oE "(^    |[\`;] ?|# )$1 [a-z][^\`;|]*" "$book" |
		sed -E "s/^.*$1 //; s/ -- .*//" | sort -u
}

# options HELP ARG...: each option among the arguments is in HELP.
options()
{
	local help=$1 word

	shift
	for word; do
		case $word in
		-*) grep -qE -- "(^|[ [|,])$word([] ,|=]|$)" <<<"$help" ||
			{ echo "no option $word"; return 1; } ;;
		esac
	done
}

# lab: makes the lab's tree from its dump, with a card that no process uses.
lab()
{
	cd "$BATS_TEST_TMPDIR" || return
	tree_make lab
	rm -rf "$tree"/sys/class/vtconsole "$tree"/proc/[0-9]*
}

@test "every command of isospin in the book is there with its options" {
	[ "$(calls isospin | wc -l)" -ge 15 ]
	while read -r name rest; do
		help=$("scripts/$name.sh" -h)
		# shellcheck disable=SC2086 # words
		options "$help" $rest
	done < <(calls isospin)
	[ "$(calls isospin-vfio | wc -l)" -ge 5 ]
	help=$(build/bin/isospin-vfio --help)
	while read -r name rest; do
		grep -qE "^  ${name%,}  " <<<"$help"
		# shellcheck disable=SC2086 # words
		options "$help" $rest
	done < <(calls isospin-vfio)
}

@test "every message that the book says is ours is in the sources" {
	# Join strings that go on in the next line.
	cat lib/*/*.sh scripts/*.sh src/vfio/*.c |
		sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' \
			-e '/"$/{N;s/"\n[	 ]*"//;ba' -e '}' >"$BATS_TEST_TMPDIR/all"
	# shellcheck disable=SC2016 # backquotes of the page
	section 4.1 | sed -n 's/^| \(\*w\* \)\{0,1\}\(\*\*[a-z_]*\*\* \)\{0,1\}`\([^`]*\)` .*/\3/p' \
		>"$BATS_TEST_TMPDIR/list"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/list")" -ge 50 ]
	while IFS= read -r message; do
		while IFS= read -r piece; do
			grep -qF -- "$piece" "$BATS_TEST_TMPDIR/all" || {
				echo "'$piece' of: $message"
				return 1
			}
		done < <(grep ... <<<"${message//…/$'\n'}")
	done <"$BATS_TEST_TMPDIR/list"
}

@test "the book explains every problem that vfio-status and vfio-bind name" {
	equal "$(grep -ohE '(judge_say|judge_users "[^ ]*"|bind_consider "[^ ]*" "[^ ]*") [a-z_]+' lib/*/*.sh \
		scripts/*.sh | sed 's/.* //' | sort -u)" \
		"$(section 4.1 | grep -oE '^\| (\*w\* )?\*\*[a-z_]+' |
			grep -oE '[a-z_]+$' | sort -u)"
}

@test "vfio-status shows of the lab's card what the book shows" {
	lab
	run -1 --separate-stderr "$TOP/scripts/vfio-status.sh" $card
	# In the book, the command runs as root.
	output=${output% (root sees those of other users)}
	equal "$(shown 'isospin vfio-status 01:00.0')" "$output"
}

@test "vfio-bind would write to the lab's card what the book shows" {
	lab
	run -0 --separate-stderr "$TOP/scripts/vfio-bind.sh" -n $card
	equal "$(shown 'isospin vfio-bind -n 01:00.0' | sed 's/^+ //')" \
		"$(printf '%s\n' "$output" | sed "s|$tree||; s/^+ //")"
}

@test "every place that the book's contents point to is in it" {
	grep -oE '\]\(#[^)]*' "$book" | sed 's/.*#//' | sort -u \
		>"$BATS_TEST_TMPDIR/list"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/list")" -ge 20 ]
	grep -E '^#+ ' "$book" | sed 's/^#* //' | tr 'A-Z ' 'a-z-' |
		tr -dc 'a-z0-9\n-' >"$BATS_TEST_TMPDIR/headings"
	run -1 grep -vxFf "$BATS_TEST_TMPDIR/headings" "$BATS_TEST_TMPDIR/list"
}
