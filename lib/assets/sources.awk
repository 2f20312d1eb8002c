# sources.awk - read apt's source lists
#
# Prints "URI SUITE COMPONENT..." for each enabled source of binary packages. Files whose
# name ends with .sources are in deb822 style; the others have one source a line.

function stanza(    u, s, i, j, nu, ns)
{
	if (field["enabled"] !~ /^(no|false|off|0)$/ &&
	    (" " field["types"] " ") ~ / deb /) {
		nu = split(field["uris"], u, /[ \t]+/)
		ns = split(field["suites"], s, /[ \t]+/)
		for (i = 1; i <= nu; i++)
			for (j = 1; j <= ns; j++)
				print u[i], s[j], field["components"]
	}
	field["enabled"] = field["types"] = field["uris"] = ""
	field["suites"] = field["components"] = ""
}

FNR == 1 {
	stanza()
	deb822 = FILENAME ~ /\.sources$/
}

/^[ \t]*#/ { next }

deb822 && /^[ \t]*$/ {
	stanza()
	next
}

deb822 && /^[ \t]/ {
	sub(/^[ \t]+/, "")
	field[name] = field[name] (field[name] == "" ? "" : " ") $0
	next
}

deb822 {
	name = tolower(substr($0, 1, index($0, ":") - 1))
	sub(/^[^:]*:[ \t]*/, "")
	sub(/[ \t]+$/, "")
	field[name] = $0
	next
}

$1 == "deb" {
	sub(/#.*/, "")
	sub(/\[[^]]*\]/, "")
	line = $2
	for (i = 3; i <= NF; i++)
		line = line " " $i
	print line
}

END { stanza() }
