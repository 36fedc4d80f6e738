# verify: a model whose stored pages answer as a fresh prompt does, one whose pages do not, and what ask makes of it.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o copy.gguf
"$B/mkmodel" --random --shape tiny --layers 4 --context 4096 --seed 3 -o random.gguf
numbers() { sed -E 's/(passed [a-z]+), positions .*/\1/; s/^(numerics +).*/\1CLASS/'; }
seen() { sed -E 's/.*"fidelity":"([a-z]*)","fidelity_verified":([a-z]*),.*/\1 verified \2/'; }
mkdir docs
line='the old house is near the river and the road goes over the hill to the town'
for k in badar cefen gudar hafen; do
    { yes "$line" | head -n 12; echo "$line $k digol fohux jekev."; yes "$line" | head -n 9; } >docs/$k.txt
done
for model in copy random; do
    "$QUIRE" index -q --store $model --model $model.gguf --kv eager docs >/dev/null
    "$QUIRE" ask --json -q --store $model 'what follows badar?' | seen
    x verify --store $model --n 8 | numbers
    "$QUIRE" ask --json --store $model --max-tokens 4 'what follows badar?' 2>&1 | seen
    "$QUIRE" ask --json --store $model --max-tokens 4 --fidelity kv 'what follows badar?' 2>&1 | seen
    "$QUIRE" ask --json -q --store $model --max-tokens 4 --fidelity exact 'what follows badar?' | seen
    "$QUIRE" ask --json -q --store $model --extract 'what follows badar?' | seen
done
# Questions of one's own, all of it as JSON; the last verdict counts.
printf 'what follows badar?\n\n{"question":"what follows gudar?"}\n' >questions
"$QUIRE" verify --json --store random --questions questions --min-agreement 0 | grep -o '"passed":true,"questions":2,\|"seed":1,"pages":16,"max_tokens":16'
"$QUIRE" ask --json --store random --max-tokens 4 'what follows badar?' | seen
x verify --store copy --questions nowhere
x verify --store copy --min-agreement 1.5
x verify --store nowhere
mkdir empty
"$QUIRE" index -q --store none --model copy.gguf empty >/dev/null
x verify --store none
