# Looking into a store and cleaning it up: status, inspect, rm, gc, check.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
DIR=$PWD
# Sizes, ids, hashes and times follow from the model and the clock.
plain() { sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z/TIME/g; s/[0-9a-f]{32}/HASH/g; s/[0-9]+ tokens/N tokens/g
    s/[0-9]+ bytes( checked|, good|, in | freed)/N bytes\1/g; s/[0-9]+ left/N left/; s/[0-9.]+ MB/N MB/g; s/(ids +)\[.*/\1N/; s/numerics .*/numerics N/
    s/"(ids)":\[[0-9,]*\]/"\1":N/; s/"((bytes|disk_free|tokens|catalogue_bytes|bytes_[a-z]*))":[1-9][0-9]*/"\1":N/g; s/"numerics":"[^"]*"/"numerics":N/
    s/[0-9]+ (of [0-9]+ )?slices/N slices/; s/"slices":[1-9][0-9]*/"slices":N/; s/slices [1-9][0-9]*/slices N/; s,(file +|"path":"?)'"$ROOT"'/,\1ROOT/,g; s,'"$DIR"',DIR,g
    s/^((text_|catalogue_)?bytes(_[a-z]+)?|tokens) +[1-9][0-9]*$/\1 N/; s/(bytes|disk_free) [1-9][0-9]*/\1 N/g; s,path '"$ROOT"'/,path ROOT/,
    s/(name |"name":")[a-z-]*reader/\1reader/; s/[0-9]+ records/N records/; s/"records":[0-9]+/"records":N/'; }
mkdir -p docs/sub other
printf '# The ferry\n\nThe ferry leaves at seven.\n' >docs/ferry.md
printf 'The lighthouse was built in 1871.\n' >docs/sub/light.txt
printf 'A well of forty metres.\n' >other/well.txt
cp other/well.txt docs/well.txt && ln -s ../other/well.txt docs/link.txt
x status
"$QUIRE" index -q docs other >/dev/null
x status | plain
x status --json | plain
x status docs/ferry.md "$PWD/docs/../docs/link.txt" | plain
x status docs/ferry.md --json | plain
printf ' More.\n' >>docs/ferry.md && rm -r docs/sub
x status docs/ferry.md docs/sub/light.txt | grep -E '^(path|file)' | plain
x status docs/none
x inspect 1.1 | plain
x inspect 1.0 --json | plain
x inspect 1.2
x inspect 99.1
x inspect 1
x inspect 1.-1
x inspect 18446744073709551616.0
x check | plain

# rm: a link is removed under its own name, what is gone from the disk too, in the store at once.
cp -r .quire before
x rm docs/link.txt | plain
x rm sub/nothing docs/none
x rm docs/su
ln -s docs way
x rm docs/../way/sub/light.txt nothing | plain
x search lighthouse
x search well --json | grep -o 'path":"[^"]*' | plain
ln -s other another
x status another/../other/well.txt | head -2 | plain
(cd docs && x rm . ../another --store ../.quire --json | sed 's,"document":[0-9]*,"document":N,' | plain)
x status | plain
x gc | plain
x gc --json | plain
x check --json | plain
find .quire -name '*.kv'
grep -lr -e lighthouse -e ferry .quire
rm -r .quire && mv before .quire
# A word index that is behind is not touched by rm, but by the next search.
cp .quire/lexical.idx old.idx
"$QUIRE" rm -q other >/dev/null
cp old.idx .quire/lexical.idx
"$QUIRE" rm -q docs/well.txt >/dev/null
x search --json well --in '*/well.txt'

# Damage: in KV, in the word index, in a document's record, in the file's own structure; another model.
"$QUIRE" index -q docs other >/dev/null
cp -r .quire whole
harm() { # harm FILE TEXT: flip a bit of each place where TEXT stands
    grep -abo -e "$2" "$1" | while IFS=: read -r at _; do
        c=$(printf '%d' "'$2")
        printf "\\$(printf %03o $((c + 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null
    done
}
for kv in .quire/kv/*.kv; do
    size=$(wc -c <"$kv")
    dd if=/dev/zero of="$kv" bs=1 count=64 seek=$((size / 3 / 4096 * 4096 + 2000)) conv=notrunc 2>/dev/null
done
some() { plain | sed -E 's/[0-9]+ (problems|documents without)/SOME \1/'; }
x check >log; grep -q '^damage: slice fails its checksum' log && echo "damaged slices"; tail -2 log | some
x check --repair | grep -v ^damage | some
x check | plain
"$QUIRE" index -q >/dev/null
x check | plain
echo broken >.quire/lexical.idx
x check | plain
x check --repair --json | plain
rm .quire/lexical.idx
x check | plain
harm "$(ls .quire/catalogue.* | grep -v lock)" well.txt
x check | grep -v 'fails its checksum$' | plain
x check --repair | grep -v 'fails its checksum$' | plain
"$QUIRE" index -q docs other >/dev/null 2>&1
x check | plain
rm -r .quire && cp -r whole .quire
"$B/mkmodel" --copy -o other.gguf
x check --model other.gguf | plain
for f in .quire/catalogue.[0-9]; do dd if=/dev/zero of="$f" bs=4096 count=1 conv=notrunc 2>/dev/null; done
x status | sed 's/:.*/: .../'
rm -r .quire && cp -r whole .quire
# Cut short where only the memory map can tell.
for f in .quire/catalogue.[0-9]; do head -c 12288 "$f" >cut && cat cut >"$f"; done
if grep -q __asan_init "$QUIRE"; then
    echo "check 5" && echo "search 5" # the sanitizer keeps the signals for itself
else
    "$QUIRE" check 2>err || echo "check $?"
    "$QUIRE" search lighthouse 2>err || echo "search $?"
fi
rm -r .quire && cp -r whole .quire
x rm docs --store nowhere
x gc --store docs
# Locked by another.
mkfifo hold
sh -c 'exec 9>>.quire/lock && { command -v flock >/dev/null && flock 9; } ; read -r x <hold' &
until [ -p hold ] && "$QUIRE" gc >log 2>&1; [ $? = 6 ] || ! command -v flock >/dev/null; do sleep .05; done
sed -E 's/[0-9]+/N/g' log
echo go >hold
wait
