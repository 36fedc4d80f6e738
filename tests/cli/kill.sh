# index killed at seeded points: check accepts what is left, the next run completes it, and every answer is the
# clean store's. QUIRE_LONG runs 40 points, else 6. A point is an amount of processor time where the kernel tells
# it, so that other load moves no point; a run that ends before it is killed is tried again, a little earlier.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o m.gguf
first='ba ce di fo gu ha je ki lo mu'
n=6 lines=50 # 40 MB of KV: more than one transaction
[ -z "${QUIRE_LONG:-}" ] || n=40 lines=150 # more than one file
grep -q __asan_init "$QUIRE" && n=$(((n + 2) / 3))
mkdir docs
for a in $first; do
    {
        yes "the old house is near the river and the road goes over the hill to the town" | head -n $lines
        echo "the ${a}dar ${a}fen ${a}gol ${a}hux"
        yes "the quiet sea turns under the moon and the ship goes near the cold sand" | head -n $lines
    } >"docs/$a.txt"
    echo "what follows ${a}dar?" >>questions
done
answers() { "$QUIRE" ask - --store "$1" <questions 2>/dev/null; }
index() { "$QUIRE" index docs --store "$1" --model m.gguf --kv eager --codec f32 --threads 1; }
# begin STORE, spent: start index in the background; nanoseconds it has run, false when it has ended.
begin() {
    began=$(date +%s%N)
    "$QUIRE" index docs --store "$1" --model m.gguf --kv eager --codec f32 --threads 1 >/dev/null 2>&1 &
    pid=$!
}
if [ -r /proc/self/schedstat ]; then
    spent() { read -r now _ <"/proc/$pid/schedstat"; }
else
    spent() { kill -0 $pid && now=$(($(date +%s%N) - began)); }
fi 2>/dev/null

took=0
for i in 1 2; do
    rm -rf clean
    begin clean
    while spent 2>/dev/null; do last=$now; done
    wait $pid || echo "the clean run failed"
    [ "$last" -le "$took" ] || took=$last
done
"$QUIRE" check --store clean >log 2>&1 || cat log
answers clean >want
grep -c 'fen .*gol .*hux' want

i=0 killed=0 bad=0 seed=7
while [ $i -lt $n ]; do
    i=$((i + 1))
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    at=$((took * (i * 1000 + seed % 1000) / ((n + 1) * 1000)))
    for try in 1 2 3 4 5 6 7 8 9 10; do
        begin s
        while spent 2>/dev/null && [ "$now" -lt $at ]; do :; done
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        [ $? = 137 ] && killed=$((killed + 1)) && break
        [ $try = 10 ] || rm -rf s
        at=$((at * 15 / 16))
    done
    if [ -f s/CURRENT ]; then
        "$QUIRE" check --store s >log 2>&1 || { cat log; bad=$((bad + 1)); }
    fi
    index s >log 2>&1 || { cat log; bad=$((bad + 1)); }
    "$QUIRE" check --store s >log 2>&1 || { cat log; bad=$((bad + 1)); }
    answers s >got
    cmp -s want got || { echo "point $i: other answers"; bad=$((bad + 1)); }
    rm -rf s
done
[ $killed = $n ] || echo "only $killed of $n runs were killed"
echo "bad $bad"
