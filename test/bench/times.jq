# times.jq - what run.sh shows of times that have no limit, in ms, a line each
#
#	jq -Rnc -f times.jq --arg bench NAME
def quantile($q): sort | .[($q * (length - 1) + 0.5) | floor];

[inputs | tonumber]
| {bench: $bench, n: length, ms: quantile(0.5), ms_q1: quantile(0.25),
   ms_q3: quantile(0.75)}
