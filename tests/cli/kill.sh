# index killed at seeded points: check accepts what is left, the next run completes it, and every answer is the
# clean store's. QUIRE_LONG runs 40 points, else 10.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o m.gguf
first='ba ce di fo gu ha je ki lo mu'
mkdir docs
for a in $first; do
    {
        yes "the old house is near the river and the road goes over the hill to the town" | head -n 40
        echo "the ${a}dar ${a}fen ${a}gol ${a}hux"
        yes "the quiet sea turns under the moon and the ship goes near the cold sand" | head -n 40
    } >"docs/$a.txt"
    echo "what follows ${a}dar?" >>questions
done
answers() { "$QUIRE" ask - --store "$1" <questions 2>/dev/null; }
start=$(date +%s%N)
"$QUIRE" index docs --store clean --model m.gguf --kv eager --threads 1 >/dev/null 2>&1
took=$((($(date +%s%N) - start) / 1000)) # microseconds
answers clean >want
grep -c 'fen .*gol .*hux' want
n=10
[ -z "${QUIRE_LONG:-}" ] || n=40
i=0 killed=0 bad=0 seed=7
while [ $i -lt $n ]; do
    i=$((i + 1))
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    at=$((took * (i * 1000 + seed % 1000) / ((n + 1) * 1000)))
    timeout -s KILL "$(printf '%d.%06d' $((at / 1000000)) $((at % 1000000)))" \
        "$QUIRE" index docs --store s --model m.gguf --kv eager --threads 1 >/dev/null 2>&1
    [ $? != 137 ] || killed=$((killed + 1))
    if [ -f s/CURRENT ]; then
        "$QUIRE" check --store s >log 2>&1 || { cat log; bad=$((bad + 1)); }
    fi
    "$QUIRE" index docs --store s --model m.gguf --kv eager --threads 1 >log 2>&1 || { cat log; bad=$((bad + 1)); }
    "$QUIRE" check --store s >log 2>&1 || { cat log; bad=$((bad + 1)); }
    answers s >got
    cmp -s want got || { echo "point $i: other answers"; bad=$((bad + 1)); }
    rm -rf s
done
[ $killed -gt $((n / 2)) ] || echo "only $killed of $n runs were killed"
echo "bad $bad"
