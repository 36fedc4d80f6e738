# A document that fits the window, alone in its store: stored pages answer as a fresh prompt does, to the last bit of
# the confidence, whatever the codec and the number of threads. A document of up to an eighth of --pages comes whole.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o copy.gguf
first='ba ce di fo gu ha je ki lo mu'
line='the old house is near the river and the road goes over the hill to the town'
n=0 differ=0
for a in $first; do
    n=$((n + 1))
    mkdir -p "copy.$n" "reader.$n"
    {
        yes "$line" | head -n $((n * n)) # 1 to 13 pages
        echo "the ${a}dar ${a}fen ${a}gol ${a}hux"
        yes "$line" | head -n $((20 - n))
    } >"copy.$n/doc.txt"
    echo "what follows ${a}dar?" >"copy.$n/question"
    {
        echo "# The house of ${a}dar"
        for i in $(seq $((n * 4))); do echo "Room $i of the house was painted by ${a}fen in the year $((1800 + i * n)), and it has $((i + n)) windows."; done
        echo "The garden was laid out by ${a}gol ${a}hux. The wall is $((n + 2)) metres high."
    } >"reader.$n/doc.md"
    echo "Who laid out the garden of ${a}dar?" >"reader.$n/question"
done
! grep -q __asan_init "$QUIRE" || n=3
for model in "copy $PWD/copy.gguf" "reader $ROOT/models/quire-reader.gguf"; do
    name=${model%% *} file=${model#* }
    for codec in f32 f16 q8; do
        i=0
        while [ $((i += 1)) -le $n ]; do
            doc=$name.$i
            "$QUIRE" index -q "$doc"/doc.* --store s --model "$file" --codec $codec --kv eager >/dev/null || echo "$doc: index"
            for threads in 1 2; do
                for fidelity in kv exact; do
                    "$QUIRE" ask - --json -q --store s --fidelity $fidelity --threads $threads --max-tokens 24 --pages 4096 \
                        <"$doc/question" >got || [ $? = 1 ] || echo "$doc: ask"
                    echo "$fidelity $(sed 's/.*"answer":\(.*\),"found":[a-z]*,"confidence":\([^,]*\),.*/\1 \2/' got)"
                done
            done | sed 's/^[a-z]* //' | sort -u >answers
            [ "$(wc -l <answers)" = 1 ] || { differ=$((differ + 1)); echo "$doc, $codec:"; cat answers; }
            cat answers >>"$name.answers"
            rm -r s
        done
    done
done
[ "$(grep -c 'fen .*gol .*hux" ' copy.answers)" = $((3 * n)) ] || cat copy.answers
[ "$(wc -l <reader.answers)" = $((3 * n)) ] || cat reader.answers
echo "$differ differ"
