# eval recall: the right files among the first, by words and with vectors; index --embed-model.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
# Times and the working directory are not part of the test.
plain() { sed -E 's/^(search_ms +).*/\1MS/; s/"search_ms":[0-9.e-]+/"search_ms":MS/; s/at [0-9]+ pages/at N pages/; s/"score":[0-9.]+/"score":S/g; s,'"$PWD"',DIR,g'; }
mkdir docs
echo 'The ferry to the harbour leaves at seven.' >docs/ferry.txt
echo 'Bread is made of flour and water.' >docs/bread.txt
echo 'The lighthouse guides ships at night.' >docs/light.txt
"$QUIRE" index -q --kv none docs >/dev/null
cat >questions <<'Q'
{"question":"when does the ferry leave?","gold":"ferry.txt"}
{"question":"flour","gold":["docs/bread.txt"]}

{"id":3,"question":"ships lighthouses","gold":3}
{"question":"bread ferry","gold":["bread.txt","ferry.txt","nowhere.txt"]}
{"question":"zeppelin","gold":"zeppelin.txt"}
Q
x eval recall questions | plain
x eval recall --json --cutoffs 1,3 --split dev --seed 2 - <questions | plain
x eval recall --json --split test --seed 2 questions | plain
x eval recall --tune questions
x eval recall --weight 0.5 questions
x search --weight 0.5 ferry
x index --embed-model "$ROOT/models/quire-reader.gguf" --kv none docs 2>&1 | plain | sed "s,$ROOT,ROOT,"
x index -q --embed-model "$ROOT/tests/golden/bert-tiny.gguf" --kv none docs | plain | sed "s,$ROOT,ROOT,"
x index -q --kv none docs | plain
x eval recall --weight 0.5 questions | plain
x eval recall --json questions | grep -o '"weight":[0-9.]*'
i=0
while [ $i -lt 12 ]; do echo '{"question":"ferry '$i'","gold":"ferry.txt"}' && i=$((i + 1)); done >more
x eval recall --tune more | plain
x eval recall --json questions | grep -o '"weight":[0-9.]*'
x search --weight 2 --files --json 'the light of ships' | plain | tr '}' '\n' | grep -o '"path":"[^"]*"' | sort
# The model that made the vectors is gone: with a weight asked for that is an error.
echo 'A new page about ships.' >docs/new.txt
cp "$ROOT/tests/golden/bert-tiny.gguf" tiny.gguf
"$QUIRE" index -q --embed-model tiny.gguf --kv none docs | plain
rm tiny.gguf
x search --weight 1 ships 2>&1 | plain
x search --top 1 harbour | sed -E 's/^1\. [0-9.]+/1. SCORE/' | plain
# What cannot be read.
echo '{"question":"x"}' >bad
x eval recall bad
echo '{"question":"x","gold":[]}' | x eval recall -
x eval recall --cutoffs 0 questions
x eval recall --cutoffs 1,x questions
x eval recall nowhere
: >empty
x eval recall empty
x eval recal questions
x eval recall
x eval recall --policy dense questions
