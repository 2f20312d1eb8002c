# times.jq - turn times that have no limit into a result of a benchmark
#
# A line of the input is a time in milliseconds.
#
#	jq -Rnc -f times.jq --arg bench NAME
def quantile($q): sort | .[($q * (length - 1) + 0.5) | floor];

[inputs | tonumber]
| {bench: $bench, n: length, ms: quantile(0.5), ms_q1: quantile(0.25),
   ms_q3: quantile(0.75)}
