# Drafters and quotes from the shell: the same answers, and what does not go together.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o copy.gguf
line='the old house is near the river and the road goes over the hill to the town'
{
    yes "$line" | head -n 30
    echo "$line badar cefen digol fohux gujin hakev jelom kimip lonar mupov naquz perik"
    yes "$line" | head -n 30
} >hay.txt
"$QUIRE" index --model copy.gguf --kv eager -q hay.txt >/dev/null 2>&1
ask() { "$QUIRE" ask 'what follows badar?' --pages 64 -q --json "$@" >out && sed -E 's/.*"answer":("[^"]*").*/\1/' out; }
for options in "--draft none" "--draft ngram" "--draft auto" "--draft self --budget all --draft-budget 128" \
    "--quote" "--quote --draft none" "--draft self --temperature 0.0001" "--repetition-penalty 1.0001"; do
    ask $options
done
# What was drafted: all of it, and never without a drafter.
ask --draft ngram >/dev/null
sed -E 's/.*"draft":(\{[^}]*\}).*/\1/; s/"passes":[2-5],/"passes":FEW,/; s/"proposed":1[0-9],"accepted":(9|1[0-9]),/MOST,/' out
ask --draft none >/dev/null
sed -E 's/.*"draft":(\{[^}]*\}).*/\1/' out
# A quote and where it stands in the file.
ask --quote >/dev/null
from=$(sed -E 's/.*"byte_start":([0-9]+).*/\1/' out) to=$(sed -E 's/.*"byte_end":([0-9]+).*/\1/' out)
dd if=hay.txt bs=1 skip="$from" count=$((to - from)) 2>/dev/null
echo
x ask -q 'what follows badar?' --quote --max-tokens 3 | sed "s|$PWD/||"
# Transfer is lossy, and says so.
ask --draft self --temperature 1 --transfer 5 >/dev/null
grep -o '"lossy":[a-z]*' out
x ask -q x --draft self --transfer 5
x ask -q x --transfer 5 --temperature 1
x ask -q x --draft self --quote
x ask -q x --draft self --fidelity exact
x ask -q x --quote --extract
x ask -q x --draft other
# What the model's file asks for where the user says nothing: few pages, and silence below a confidence.
"$B/mkmodel" --random --set quire.ask.pages=2 --set quire.ask.min_confidence=0.9 -o shy.gguf
"$QUIRE" index --store shy --model shy.gguf --kv eager -q hay.txt >/dev/null 2>&1
shy() { "$QUIRE" ask --store shy -q --max-tokens 4 "$@"; }
hill() { shy 'is the old river near the hill?' "$@"; }
hill | head -n 1
# What its rule is sure of is said instead, and by whom; not to those who ask for silence themselves.
echo 'The mill at Sandvale was sold to Maren Holt in 1902.' >mill.txt
"$QUIRE" index --store shy --model shy.gguf --kv eager -q mill.txt >/dev/null 2>&1
sold() { shy 'Who was the mill at Sandvale sold to?' "$@" | sed "s|$PWD/||"; }
sold
sold --json | grep -oE '"(answer|found|fidelity|fidelity_verified|supported)":[^,}]*' | sort -u
sold --quote | head -n 1
sold --unsure withhold | head -n 1
sold --min-confidence 0.7 | head -n 1
sold --min-confidence 0.7 --unsure rule | head -n 1
wind() { shy 'Who was the wind mill at Sandvale sold to?' --unsure rule --min-confidence "$1" | head -n 1; }
wind 0.7
wind 0.8
hill --min-confidence 0 --json | grep -c '"answer":""'
loaded() { hill --json "$@" | sed -E 's/.*"loaded":([0-9]+).*/\1/'; }
[ "$(loaded)" -lt "$(loaded --pages 32)" ] && echo fewer pages
