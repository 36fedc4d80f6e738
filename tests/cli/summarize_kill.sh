# summarize killed at seeded points: every file that is there is whole, what two runs make is what one clean run makes, and
# no summary is made twice but the one under way. QUIRE_LONG: 300 documents, 50 points; else 30 and 6. See kill.sh.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o m.gguf
docs=30 n=6
[ -z "${QUIRE_LONG:-}" ] || { docs=300 n=50; }
grep -q __asan_init "$QUIRE" && n=$(((n + 2) / 3))
mkdir docs
i=0
while [ $i -lt $docs ]; do
    printf 'The house %d is near the river %d. The road goes over the hill to the town and the river %d.\n\nThe quiet sea turns under the moon %d and the ship goes near the cold sand.\n' $i $((i % 7)) $((i % 5)) $i >docs/d$i.txt
    i=$((i + 1))
done
run() { "$QUIRE" summarize --out "$1" --store s --model m.gguf --extractive --length 20 --json; }
begin() {
    began=$(date +%s%N)
    "$QUIRE" summarize --out "$1" --store s --model m.gguf --extractive --length 20 >/dev/null 2>&1 &
    pid=$!
}
# Where the files are on a disk the time is spent waiting: the wall clock tells the point.
spent() { kill -0 $pid && now=$(($(date +%s%N) - began)); }
count() { grep -o "\"$1\":[0-9]*" | head -n 1 | cut -d: -f2; }
"$QUIRE" index -q docs --store s --model m.gguf --kv none >/dev/null
began=$(date +%s%N)
run clean | count 'done'
took=$(($(date +%s%N) - began))
i=0 killed=0 bad=0 seed=11
while [ $i -lt $n ]; do
    i=$((i + 1))
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    at=$((took * (i * 1000 + seed % 1000) / ((n + 1) * 1000)))
    for try in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf out
        begin out
        while spent 2>/dev/null && [ "$now" -lt $at ]; do :; done
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        [ $? = 137 ] && killed=$((killed + 1)) && break
        at=$((at * 15 / 16))
    done
    there=0 noted=0
    for f in out/*.md; do
        [ -f "$f" ] || continue
        there=$((there + 1))
        cmp -s "$f" "clean/${f#out/}" || { echo "point $i: $f is not whole"; bad=$((bad + 1)); }
    done
    [ ! -f out/manifest.tsv ] || noted=$(sed 1d out/manifest.tsv | grep -c '	$')
    [ $there = "$noted" ] || [ $there = $((noted + 1)) ] || { echo "point $i: $there files, $noted lines"; bad=$((bad + 1)); }
    run out >log 2>&1 || { cat log; bad=$((bad + 1)); }
    made=$(count 'done' <log)
    [ $((made + noted)) = $docs ] || { echo "point $i: $noted and then $made"; bad=$((bad + 1)); }
    diff -r -x .lock out clean >log 2>&1 || { cat log; bad=$((bad + 1)); }
    [ "$(ls -A out | wc -l)" = $((docs + 2)) ] || { ls -A out; bad=$((bad + 1)); }
done
# A run may outrun its point when other work on the machine ends; half must not.
[ $((killed * 2)) -ge $n ] || echo "only $killed of $n runs were killed"
for k in 1 2 3; do echo "The ferry $k goes to the town." >>docs/d$k.txt; done
rm docs/d4.txt docs/d5.txt
run out | grep -o '"done":.*"failed":[0-9]*,"stopped'
began=$(date +%s%N)
run out | grep -o '"done":.*"failed":[0-9]*,"stopped'
[ $((($(date +%s%N) - began) / 1000000)) -lt 2000 ] || echo "nothing to do took two seconds"
echo "bad $bad"
