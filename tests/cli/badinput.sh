# Files and questions that are odd, hostile or in motion: a message that names them, the right exit code, no hang,
# and everything else is answered as before.
. "$ROOT/tests/cli/lib"
limited
plain() { sed -E "s,$PWD,DIR,g; s,$(printf %s "$PWD" | base64 | cut -c1-8)[A-Za-z0-9+/=]*,BASE64,g; s/[0-9]+ tokens.*/N tokens/; s/about .*: it is/about TIME: it is/"; }
"$B/mkmodel" --copy --context 2048 -o m.gguf
known() { "$QUIRE" ask 'what follows badar?' --store s 2>/dev/null | head -n 1; }

# Kinds of files and names.
mkdir -p docs/below
echo 'the badar bafen bagol bahux' >docs/ba.txt
echo 'the cedar cefen cegol cehux' >"docs/$(printf 'two\nlines\033[31m.txt')"
echo 'the didar difen digol dihux' >"docs/$(printf 'not\377utf8.txt')"
printf 'the fodar fofen fogol fohux \377\376\200 \300\257 \355\240\200\n' >docs/broken.txt
head -c 1100000 /dev/zero | tr '\0' 'q' >docs/letters.txt
yes 'the old house' | head -c 1100000 | tr '\n' ' ' >docs/words.txt
head -c 70000 /dev/urandom >docs/noise.bin
gzip -c docs/words.txt | head -c 1000 >docs/cut.gz
head -c 50000000 /dev/zero | tr '\0' '\n' | gzip >docs/bomb.txt.gz
ln -s . docs/below/here && ln -s .. docs/below/up && ln -s one docs/two && ln -s two docs/one
ln -s /dev/zero docs/zero && ln -s / docs/root && mkfifo docs/pipe
x index docs --store s --model m.gguf --kv none 2>&1 | plain
known
x ask 'what follows cedar?' --store s | plain
"$QUIRE" ask 'what follows didar?' --store s --json 2>/dev/null | grep -o '"path[^,]*,' | plain
"$QUIRE" search didar --store s --json | grep -o '"path[^,]*,' | plain
"$QUIRE" search fodar --store s --json | grep -o '"text":.*' | plain
"$QUIRE" status --store s "docs/$(printf 'not\377utf8.txt')" --json | grep -o '"path[^,]*,' | plain
x status --store s "docs/$(printf 'two\nlines\033[31m.txt')" | head -n 2 | plain

# Named by themselves.
x index docs/pipe --store s | plain
x index /dev/zero --store s | plain
x index docs/one --store s | plain
x index absent --store s | plain
x index "$(printf 'no\nsuch\377')" --store s --json | plain
x index '' --store s | plain
known

# A file that goes, a root that goes, one that is no folder any more.
mkdir disk && echo 'the jedar jefen jegol jehux' >disk/je.txt && echo 'the kidar kifen kigol kihux' >disk/ki.txt
"$QUIRE" index -q disk --store s --kv none >/dev/null
rm docs/*.bin docs/*.gz docs/z* docs/r* docs/p* docs/one docs/two docs/letters.txt docs/words.txt && rm -r docs/below
rm disk/ki.txt
x index --store s --kv none | plain
mv disk away
x index --store s --kv none | plain
x index disk --store s | plain
"$QUIRE" ask 'what follows jedar?' --store s 2>/dev/null | plain
echo text >disk
x index --store s --kv none | plain
known

# Written to while it is read: an answer of some version, and the next run has all of it.
yes 'the old house is near the river' | head -n 5000 >docs/log.txt
(while [ ! -f stop ]; do printf 'and so on\n' | dd of=docs/log.txt conv=notrunc oflag=append 2>/dev/null; done) &
writer=$!
for _ in $(seq 200); do # until the two meet
    "$QUIRE" index docs --store s --kv none >/dev/null 2>log || cat log
    grep -q changed log && break
done
: >stop
wait $writer
plain <log
known
echo 'the mudar mufen mugol muhux' >>docs/log.txt
"$QUIRE" index docs --store s --kv none -q >/dev/null
"$QUIRE" search mudar --store s --json | grep -c log.txt
rm docs/log.txt

# Gone or replaced between questions; the store knows what it read.
echo 'the cedar bafen bagol bahux, or so' >docs/ba.txt
x ask 'what follows badar?' --store s | plain
rm docs/ba.txt
known

# Questions.
long=$(yes 'the old house' | head -n 2000 | tr '\n' ' ')
"$QUIRE" ask "$long" --store s 2>&1
echo "exit $?"
x ask '' --store s
{
    echo "$long"
    head -c 3000000 /dev/zero | tr '\0' a
    printf '\n{"question":7}\n{"id":[1,{}],"question":"what follows badar?"}\n\n{"id":2,"id":3}\n{\n'
    printf 'what \377\376 follows badar?\n\000\nwhat follows badar?'
} >questions
"$QUIRE" ask - --store s --json <questions 2>/dev/null | sed -E 's/,"confidence.*//'
head -c 2000000 /dev/zero | tr '\0' y >line
x search - --store s <line
x ask 'what follows badar?' --store s --max-tokens 100000
x ask 'what follows badar?' --store s --in '['
