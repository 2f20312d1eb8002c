# pairs.jq - turn pairs of measurements into a result of a benchmark
#
# A line of the input is "OURS THEIRS"; the output has the form of bench_say() in
# bench.h.
#
#	jq -Rnc -f pairs.jq --arg bench NAME --arg ours NAME --arg theirs NAME \
#		--argjson at_most LIMIT
def quantile($q): sort | .[($q * (length - 1) + 0.5) | floor];
def milli: . * 1000 | round / 1000;

[inputs | split(" ") | map(tonumber)]
| map(.[0] / .[1]) as $ratio
| ($ratio | quantile(0.5)) as $mid
| {bench: $bench, n: length,
   ($ours): (map(.[0]) | quantile(0.5) | milli),
   ($theirs): (map(.[1]) | quantile(0.5) | milli),
   ratio: ($mid | milli), ratio_q1: ($ratio | quantile(0.25) | milli),
   ratio_q3: ($ratio | quantile(0.75) | milli),
   at_most: $at_most, kept: ($mid <= $at_most)}
