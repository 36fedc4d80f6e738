# eval: the kinds that run a model, with the written-down one, whose answers are known.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy --context 4096 -o copy.gguf
export QUIRE_MODEL="$PWD/copy.gguf"
settings() { sed -E 's/(, model .*), codec .*/\1/'; }
x eval needle --lengths 300,600 --depths 4 --keys 3 --prune 0,50 --policy quest --out grid | settings
cat grid.tsv
head -c 8 grid.png | od -An -c
x eval needle --lengths 512 --depths 3 --prune 0,80 --policy streaming --no-far-field | settings
"$QUIRE" eval needle --lengths 300 --depths 2 --prune 0 --fidelity exact --json | grep -o '"needle":\[.*\]'
# Five documents, the answer in the first, third or last; another's answer must not be taken.
ask='the old house is near the river'
for k in badar cefen gugol hahux jejin lokev; do
    printf '{"id":"%s","question":"what follows %s?","answers":["di%s fogol"],"ctxs":[{"title":"%s","text":"%s %s di%s fogol\\n","isgold":true}]}\n' \
        $k $k ${k#??} $k "$ask" $k ${k#??}
done >qa.jsonl
x eval qa qa.jsonl --documents 5 --gold-at 1,3,5 | settings
x eval qa qa.jsonl --documents 5 --gold-at 3 --fidelity exact --n 2 | settings
x eval qa qa.jsonl --documents 5 --gold-at 3 --fidelity repair --n 2 | settings
x eval qa qa.jsonl --documents 5 --gold-at 3 --fidelity isolated --n 2 | settings
x eval qa qa.jsonl --documents 9
printf '{"id":"badar","answer":"the didar, fogol!"}\n{"id":"cefen","prediction":"fogol"}\n{"id":"x","answer":"y"}\n' >predictions
x eval qa qa.jsonl --score-only predictions
mkdir docs
for k in badar cefen gugol hahux jejin lokev; do
    { yes "$ask" | head -n 30; printf '%s %s di%s fogol\n' "$ask" $k ${k#??}; } >docs/$k.txt
done
"$QUIRE" index -q --store s --kv eager docs >/dev/null
printf '{"question":"what follows nothing?","answers":[]}\n' | cat qa.jsonl - >all.jsonl
x eval fidelity all.jsonl --store s --pages 4 | sed -E 's/^([a-z]+ .*) +[0-9.]+ +[0-9.]+$/\1/; s/  +/ /g' | settings
"$QUIRE" eval fidelity - --store s --n 2 --json <qa.jsonl | grep -o '"unanswered":0\|"em_of_exact_95":\[1.0,1.0\]'
for i in 1 2 3 4 5 6; do cat docs/badar.txt; done >long.txt
"$QUIRE" eval perplexity long.txt --policy dense --json >got
sed -E 's/.*"dense":(\{[^}]*\}),"policy":\{.*/\1/' got >dense
sed -E 's/.*"policy":(\{[^}]*\}),"short":.*/\1/' got | cmp - dense && grep -o '"documents":1' got
x eval perplexity docs/badar.txt nowhere
echo word >short.txt
x eval perplexity short.txt
x eval needle --lengths 12
x eval needle --policy best
x eval needle --keys 0
x eval needle file
x eval qa qa.jsonl --lengths 512
x eval qa qa.jsonl --gold-at 11
echo '{"question":1}' | x eval qa -
echo word | x eval qa -
echo '{"question":"x"}' | x eval fidelity - --store s
x eval fidelity nowhere --store s
x eval fidelity
