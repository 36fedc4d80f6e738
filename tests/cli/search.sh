# Search: ranks, files, globs, batches, and a store or word index that is not as it should be.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
# Scores and the working directory are not part of the test.
plain() { sed -E 's/^([0-9]+\.) [0-9.]+ /\1 SCORE /; s/"score":[0-9.]+/"score":S/g; s/"path_b64":"[^"]*"/"path_b64":B/g; s,'"$PWD"',DIR,g'; }
mkdir -p docs/old
printf 'Pharos\n\nThe lighthouse of Alexandria stood on the island of Pharos. \033[31mRed.\033[0m\n' >docs/pharos.txt
printf '# Harbour\n\nShips come in at night.\nThe lighthouse shows the way.\n\n- lamps\n- horns\n- bells\n' >docs/harbour.md
printf 'Notes of an old keeper: the lighthouse lamp burns oil.\n' >"docs/old/$(printf 'b\303\251b\351').txt"
printf 'only a title\n' >docs/old/title.txt
"$QUIRE" index -q --kv none docs >/dev/null
x search lighthouse | plain
x search --top 1 --json 'the island of Pharos' | plain
x search --json lighthouse --in '*b?.txt' | plain
x search lighthouse --in 'docs/*.md' | plain
x search lighthouse --in nothing
x search lihgthouse --top 1 | plain
x search 'Lihgthouse lamps xyzzyx' --top 1 --json | plain
printf 'nowordlikethis\nxyzzyx\n' | x search -
x search nowordlikethis
x search nowordlikethis --json
x search ''
printf '{"id":7,"question":"bells"}\n\n  lamps \r\n{"question":1}\n{not json\nnowordlikethis\n{"id":{"a":[1]},"question":"oil"}' >queries
x search - --top 1 <queries | plain
x search - --top 1 --json <queries | plain
printf 'lamps\n\377\376 lamps \000 x\n' | "$QUIRE" search --json - | plain
yes lighthouse | head -c 1100000 | tr '\n' ' ' | x search - --json
# One page of each file.
i=0
while [ $i -lt 200 ]; do echo "Line $i: the lighthouse keeper counts ships." && i=$((i + 1)); done >docs/long.txt
"$QUIRE" index -q --kv none docs >/dev/null
"$QUIRE" search --json --top 50 lighthouse | grep -o '"path":"[^"]*long.txt"' | wc -l | awk '{ print ($1 > 3 ? "many pages" : $1) }'
"$QUIRE" search --json --top 50 --files lighthouse | grep -o '"path":"[^"]*long.txt"' | wc -l
"$QUIRE" search --json --top 50 --files lighthouse | grep -o '"rank":[0-9]*' | paste -sd' '
# The word index is derived: without it, or with a broken one, the hits are the same.
"$QUIRE" search --json lighthouse >want
rm .quire/lexical.idx
"$QUIRE" search --json lighthouse 2>err | cmp - want && cat err
echo broken >.quire/lexical.idx
"$QUIRE" search --json lighthouse 2>err | cmp - want && cat err
# Damage that shows only when a list of postings is read: an index of some size, harmed in its first half.
awk 'BEGIN { for (i = 0; i < 30000; i++) print "w" i * 7919 % 1000003 }' >docs/words.txt
"$QUIRE" index -q --kv none docs >/dev/null
words=$(awk 'BEGIN { for (i = 0; i < 40; i++) printf "w%d ", i * 701 * 7919 % 1000003 }')
"$QUIRE" search --json "$words" >want
size=$(wc -c <.quire/lexical.idx) at=4
while [ $at -lt $((size / 2)) ]; do
    printf '\377\377\377\377' | dd of=.quire/lexical.idx bs=1 seek=$at conv=notrunc 2>/dev/null
    at=$((at + 65536))
done
"$QUIRE" search --json "$words" 2>err | cmp - want && cat err
# A store that is only read: the index is made elsewhere.
if [ "$(id -u)" != 0 ]; then rm .quire/lexical.idx && chmod -R a-w .quire; fi
"$QUIRE" search --json "$words" 2>/dev/null | cmp - want && echo "read only"
chmod -R u+w .quire
x search --store nowhere lighthouse
x search --store docs lighthouse
x search
x search --top 0 lighthouse
(yes lighthouse | "$QUIRE" search -; echo $? >code) | head -1
echo "reader gone: $(cat code)"
