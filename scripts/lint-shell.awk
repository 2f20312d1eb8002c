# lint-shell.awk - hold the calls and variables of shell files against the layers
#
# usage: awk -f lint-shell.awk lib/*/*.sh scripts/*.sh
#
# Prints "FILE:LINE: RULE: TEXT" for each finding. The rules:
#
#	arrow	a library uses only those of its own folder and of those below
#	circle	libraries do not use each other in a circle
#	use	a file names in a `use` line each library whose functions it calls or
#		whose variables it reads, but for those of base/
#	prefix	a variable that is read in another file begins with the name of the
#		file that sets it
#	script	no library reads a variable that only a command sets
#	unset	no library reads a variable that nothing sets
#	ends	no library ends the command, but for base.sh and opt.sh: die and leave
#		are base.sh's, and opt.sh parses on the command's behalf
#
# A variable that a function has local may be read in the functions of the same file
# that it calls. A function's comment says which argument is a variable that the function
# sets: the one that is called VAR.
#
# The first pass keeps the code of each file, without comments, words in single quotes
# and literal text in double quotes; the second looks at functions, variables and calls.
# Runs under mawk, gawk and busybox awk.

# Whether every command has v: the environment, DRY_RUN, and these of base.sh.
function is_common(v)
{
	return v ~ /^[A-Z_]+$/ || v == "why" || v ~ /^step_/
}

function may_end(file)
{
	return file == "lib/base/base.sh" || file == "lib/base/opt.sh"
}

# How high a file stands.
function level(file,    part)
{
	if (file !~ /^lib\//)
		return 9
	split(file, part, "/")
	return part[2] in layer ? layer[part[2]] : 0
}

function found(file, line, rule, text)
{
	if (seen[file, rule, text]++)
		return
	printf "%s:%d: %s: %s\n", file, line, rule, text
}

# --- the first pass: code without quotes and comments, a logical line at a time

# mode is a stack of the brackets and quotes around the text at hand: n none, p $( ),
# q double quotes, s single quotes, a $(( )).
function push(c) { mode[++depth] = c }

# The code of a line: each expansion is ${NAME}, a $( ) stands apart from its
# neighbours.
function strip(line,    i, c, out, name, two)
{
	out = ""
	for (i = 1; i <= length(line); i++) {
		c = substr(line, i, 1)
		two = substr(line, i, 2)
		if (mode[depth] == "s") {
			if (c == "'")
				depth--
			continue
		}
		if (c == "\\") {
			i++
			if (mode[depth] != "q")
				out = out "_"
			continue
		}
		if (c == "$") {
			if (substr(line, i, 3) == "$((") {
				push("a")
				out = out "$(("
				i += 2
			} else if (two == "$(") {
				push("p")
				parens[depth] = 0
				out = out " $( "
				i++
			} else if (match(substr(line, i), /^\$\{?#?[A-Za-z_][A-Za-z_0-9]*/)) {
				name = substr(line, i, RLENGTH)
				i += RLENGTH - 1
				gsub(/[${#]/, "", name)
				out = out "${" name "}"
			} else if (mode[depth] != "q")
				out = out "$"
			continue
		}
		if (mode[depth] == "q") {
			if (c == "\"") {
				depth--
				out = out "\""
			}
			continue
		}
		if (mode[depth] == "a") {
			if (two == "))") {
				depth--
				i++
				out = out "))"
			} else
				out = out c
			continue
		}
		if (c == "'") {
			push("s")
			out = out "\"\""
		} else if (c == "\"") {
			push("q")
			out = out "\""
		} else if (c == "#" && (i == 1 || substr(line, i - 1, 1) ~ /[ \t;(]/))
			break
		else if (mode[depth] == "p" && c == "(") {
			parens[depth]++
			out = out c
		} else if (mode[depth] == "p" && c == ")") {
			if (parens[depth]-- == 0) {
				depth--
				out = out " ) "
			} else
				out = out c
		} else
			out = out c
	}
	return out
}

# The code of a line of a here-document: as in double quotes, but a quote means nothing.
function strip_here(line)
{
	push("q")
	gsub(/"/, "", line)
	line = strip(line)
	depth--
	return line
}

# Notes from a comment "# NAME ARG VAR: ..." which argument the function sets.
function doc(line,    word, n, i)
{
	if (!match(line, /^# [a-z_0-9]+( [^:]*)?:/))
		return
	line = substr(line, 3, RLENGTH - 3)
	n = split(line, word, " ")
	for (i = 2; i <= n; i++)
		if (word[i] == "VAR" || word[i] == "[VAR]")
			sets_arg[word[1]] = i - 1
}

FNR == 1 {
	if (NR == 1) {
		layer["base"] = 1; layer["host"] = 2; layer["assets"] = 3
		layer["vmm"] = 4; layer["vm"] = 5; layer["doctor"] = 6
	}
	depth = 1
	mode[1] = "n"
	here = joined = ""
	files[++nfiles] = FILENAME
	base = FILENAME
	sub(/.*\//, "", base)
	sub(/\.sh$/, "", base)
	prefix[FILENAME] = base "_"
	if (FILENAME ~ /^lib\//)
		path[base] = FILENAME
}

depth == 1 && here == "" { doc($0) }

{
	if (here != "") {
		text = $0
		sub(/^\t+/, "", text)
		if (text == here) {
			here = ""
			next
		}
		if (!quoted)
			joined = joined " " strip_here($0)
		keep(joined)
		joined = ""
		next
	}
	text = strip($0)
	if (mode[depth] ~ /[np]/ && match($0, /<<-?'?"?[A-Z]+/)) {
		here = substr($0, RSTART, RLENGTH)
		quoted = here ~ /['"]/
		gsub(/[^A-Z]/, "", here)
	}
	if (mode[depth] == "n" || mode[depth] == "p") {
		# A line that goes on: strip took its backslash for an escape.
		if ($0 ~ /\\$/ && text ~ /_$/) {
			joined = joined substr(text, 1, length(text) - 1) " "
			next
		}
	}
	keep(joined text)
	joined = ""
}

# Adds a line to the code.
function keep(text)
{
	code[++ncode] = text
	code_file[ncode] = FILENAME
	code_line[ncode] = FNR
}

# --- the second pass

function is_name(s)
{
	return s ~ /^[A-Za-z_][A-Za-z_0-9]*$/
}

# Sets at_file and at_fn to where line n of the code is; at_fn is empty between
# functions.
function enter(n)
{
	if (code_file[n] != at_file) {
		at_file = code_file[n]
		at_fn = ""
	}
	if (match(code[n], /^[a-z_0-9]+\(\)/))
		at_fn = substr(code[n], 1, RLENGTH - 2)
	else if (code[n] ~ /^[})]/)
		at_fn = ""
}

# Notes the function that line n begins.
function define(n)
{
	enter(n)
	if (code[n] !~ /^[a-z_0-9]+\(\)/)
		return
	has_fn[at_file, at_fn] = 1
	if (at_file ~ /^lib\//)
		home[at_fn] = at_file
}

# Whether the function has v local.
function is_local(file, fn, v)
{
	return (file, fn, v) in local_of
}

# Whether a function that calls fn, in the same file, has v local.
function lent(file, fn, v,    todo, n, i, k, c, been)
{
	todo[n = 1] = fn
	been[fn] = 1
	for (i = 1; i <= n; i++)
		for (k = 1; k <= ncallers[file, todo[i]]; k++) {
			c = caller[file, todo[i], k]
			if (is_local(file, c, v))
				return 1
			if (!(c in been)) {
				been[c] = 1
				todo[++n] = c
			}
		}
	return 0
}

function note_set(v, n)
{
	if (is_name(v) && !is_local(at_file, at_fn, v))
		set_at[++nsets] = at_file SUBSEP at_fn SUBSEP v
}

function note_read(v, n)
{
	if (is_local(at_file, at_fn, v) || is_common(v))
		return
	if ((at_file, at_fn, v) in read_seen)
		return
	read_seen[at_file, at_fn, v] = 1
	read_at[++nreads] = at_file SUBSEP at_fn SUBSEP v
	read_line[nreads] = code_line[n]
}

function note_call(name, n)
{
	if ((at_file, name) in has_fn) {
		if (at_fn != "" && !((at_file, name, at_fn) in calls)) {
			calls[at_file, name, at_fn] = 1
			caller[at_file, name, ++ncallers[at_file, name]] = at_fn
		}
	} else if (name in home) {
		call_at[++ncalls] = at_file SUBSEP home[name] SUBSEP name
		call_line[ncalls] = code_line[n]
	}
}

function is_separator(w)
{
	return w ~ /^([;&|(){}!]|&&|\|\||;;|\$\()$/ ||
		w ~ /^(if|then|else|elif|while|until|do|in)$/
}

# The words of a line: separators stand alone.
function words(n, w,    text)
{
	text = code[n]
	gsub(/\$\(\(/, "\001", text)
	gsub(/;;|&&|\|\|/, " & ", text)
	gsub(/[;|()]/, " & ", text)
	gsub(/ \$ +\( /, " $( ", text)
	gsub(/ ; +; /, " ;; ", text)
	gsub(/ \| +\| /, " || ", text)
	gsub(/\001/, "$((", text)
	return split(text, w, /[ \t]+/)
}

# Notes the variables that line n declares, and in the second pass those that it sets and
# reads, and its calls.
function look(n,    w, k, i, start, v, declares, reads, rest)
{
	enter(n)
	k = words(n, w)
	start = 1
	declares = reads = ""
	for (i = 1; i <= k; i++) {
		if (w[i] == "")
			continue
		if (is_separator(w[i])) {
			start = 1
			declares = reads = ""
			continue
		}
		v = w[i]
		sub(/=.*/, "", v)
		if (declares == "local") {
			if (is_name(v))
				local_of[at_file, at_fn, v] = 1
			continue
		}
		if (reads != "") {
			if (w[i] ~ /^[<>]/ || w[i] ~ /[<>]$/)
				reads = ""
			else
				set_word(w[i], n)
			continue
		}
		if (start && w[i] ~ /^[A-Za-z_][A-Za-z_0-9]*=/) {
			# NAME=*) is a pattern of a case.
			if (w[i] !~ /[]*]$/ || w[i + 1] !~ /^[|)]$/)
				set_word(v, n)
			continue
		}
		if (start && (w[i] == "local" || w[i] == "export"))
			declares = w[i]
		else if (start && (w[i] == "read" || w[i] == "for"))
			reads = w[i]
		else if (w[i] == "base_fields")
			look_fields(w, i + 2, k, n)
		else if (w[i] in sets_arg)
			set_word(w[i + sets_arg[w[i]]], n)
		if (w[i] == "use" && start) {
			for (; i < k && w[i + 1] ~ /^[a-z_0-9]+$/; i++)
				uses[at_file, w[i + 1]] = 1
		} else if (w[i] ~ /^(die|leave|exit)$/ && start && pass == 2)
			ends[++nends] = n
		if (pass == 2 && is_name(w[i]))
			note_call(w[i], n)
		start = 0
		if (reads == "for") {
			set_word(w[++i], n)
			reads = ""
		}
	}
	if (pass != 2)
		return
	rest = code[n]
	while (match(rest, /\$\{[A-Za-z_][A-Za-z_0-9]*\}/)) {
		note_read(substr(rest, RSTART + 2, RLENGTH - 3), n)
		rest = substr(rest, RSTART + RLENGTH)
	}
	rest = code[n]
	gsub(/\$\{[A-Za-z_0-9]*\}/, "0", rest)
	while (match(rest, /\$\(\(/)) {
		rest = substr(rest, RSTART + 3)
		v = rest
		sub(/\)\).*/, "", v)
		gsub(/0x[0-9a-f]+/, "0", v)
		while (match(v, /[A-Za-z_][A-Za-z_0-9]*/)) {
			note_read(substr(v, RSTART, RLENGTH), n)
			v = substr(v, RSTART + RLENGTH)
		}
	}
}

function set_word(v, n)
{
	if (pass == 2)
		note_set(v, n)
}

# base_fields RECORD [VAR=]KEY...
function look_fields(w, i, k, n,    v)
{
	for (; i <= k && !is_separator(w[i]); i++) {
		v = w[i]
		sub(/=.*/, "", v)
		set_word(v, n)
	}
}

# The library whose name and an underscore v begins with; of several, the longest.
function owner(v,    f, best)
{
	best = ""
	for (f in path)
		if (index(v, f "_") == 1 && length(f) > length(best))
			best = f
	return best == "" ? "" : path[best]
}

# Finds the owner of each variable that is read where it is not set.
function judge_reads(    i, part, file, fn, v, own)
{
	for (i = 1; i <= nsets; i++) {
		split(set_at[i], part, SUBSEP)
		if (!lent(part[1], part[2], part[3])) {
			sets[part[1], part[3]] = 1
			if (part[1] ~ /^lib\//)
				lib_sets[part[3]] = part[1]
			else
				script_sets[part[3]] = part[1]
		}
	}
	for (i = 1; i <= nreads; i++) {
		split(read_at[i], part, SUBSEP)
		file = part[1]
		fn = part[2]
		v = part[3]
		if (((file, v) in sets) || lent(file, fn, v))
			continue
		own = owner(v)
		if (own != "" && (own, v) in sets)
			arrow(file, own, read_line[i], "$" v)
		else if (v in lib_sets)
			found(file, read_line[i], "prefix", "$" v \
				" is set in " lib_sets[v])
		else if (file !~ /^lib\//)
			continue
		else if (v in script_sets)
			found(file, read_line[i], "script", "$" v \
				" is set in " script_sets[v] " only")
		else
			found(file, read_line[i], "unset", "$" v " is set nowhere")
	}
}

# A finding, unless file names the library other in a `use` line.
function arrow(file, other, line, what,    name)
{
	name = other
	sub(/.*\//, "", name)
	sub(/\.sh$/, "", name)
	if (other ~ /^lib\/base\// || file == other)
		return
	if (!((file, name) in uses))
		found(file, line, "use", what " is of " name ", which it does not name")
}

# Whether a library uses the other, or uses one that does.
function reaches(from, to, arrows,    todo, been, n, i, key, part)
{
	todo[n = 1] = from
	for (i = 1; i <= n; i++)
		for (key in arrows) {
			split(key, part, SUBSEP)
			if (part[1] != todo[i])
				continue
			if (part[2] == to)
				return 1
			if (!(part[2] in been)) {
				been[part[2]] = 1
				todo[++n] = part[2]
			}
		}
	return 0
}

# Finds the `use` lines that form a circle.
function judge_circles(    arrows, key, part)
{
	for (key in uses) {
		split(key, part, SUBSEP)
		if (part[1] ~ /^lib\// && part[2] in path)
			arrows[part[1], path[part[2]]] = 1
	}
	for (key in arrows) {
		split(key, part, SUBSEP)
		if (reaches(part[2], part[1], arrows))
			found(part[1], 1, "circle", "uses " part[2] \
				", which uses it in turn")
	}
}

# Holds the `use` lines against the order of the folders.
function judge_uses(    key, part)
{
	for (key in uses) {
		split(key, part, SUBSEP)
		if (!(part[2] in path))
			found(part[1], 1, "use", "there is no library " part[2])
		else if (level(path[part[2]]) > level(part[1]))
			found(part[1], 1, "arrow", "may not use " \
				path[part[2]] ", which is above it")
	}
}

END {
	for (i = 1; i <= ncode; i++)
		define(i)
	for (pass = 1; pass <= 2; pass++) {
		at_file = ""
		for (i = 1; i <= ncode; i++)
			look(i)
	}
	judge_uses()
	judge_circles()
	for (i = 1; i <= ncalls; i++) {
		split(call_at[i], part, SUBSEP)
		arrow(part[1], part[2], call_line[i], part[3])
	}
	for (i = 1; i <= nends; i++)
		if (code_file[ends[i]] ~ /^lib\// && !may_end(code_file[ends[i]]))
			found(code_file[ends[i]], code_line[ends[i]], "ends",
				"a library ends the command")
	judge_reads()
}
