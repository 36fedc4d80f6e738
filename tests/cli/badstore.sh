# Stores that are another's, newer, of another machine, or damaged.
. "$ROOT/tests/cli/lib"
limited
plain() { sed -E "s,$PWD,DIR,g"; }
mkdir docs
echo 'the badar bafen bagol bahux' >docs/ba.txt
"$B/mkmodel" --copy -o m.gguf
"$QUIRE" index -q docs --store s --model m.gguf --kv none >/dev/null

# The config: a newer format, the other byte order, one bit, cut, gone; what says which catalogue counts.
cp -r s whole
restore() { rm -rf s && cp -r whole s; }
every() {
    for verb in 'ask x' 'search x' index status check gc 'rm docs'; do
        # shellcheck disable=SC2086
        "$QUIRE" $verb --store s >out 2>err
        echo "$? $(cat out err)"
    done | sort | uniq -c | sed 's/^ *//' | plain
    restore
}
poke s/config 12 003 && every
poke s/config 8 001 002 003 004 && every
poke s/config 200 377 && every
head -c 100 whole/config >s/config && every
echo catalogue.7 >s/CURRENT && every
: >s/CURRENT && every
rm s/catalogue.1 && every
rm s/config && x ask x --store s | plain
x index docs --store s --model m.gguf | plain
restore
x ask x --store docs | plain
x index docs --store docs --model m.gguf | plain
x index docs --store docs/ba.txt --model m.gguf | plain
x ask x --store docs/ba.txt | plain
x ask x --store ''
