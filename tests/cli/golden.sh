# A store of each released format opens, answers, is checked, changed and cleaned up.
. "$ROOT/tests/cli/lib"
plain() { sed -E "s,$PWD,DIR,g; s/[0-9]+ bytes checked/N bytes checked/; s/^bytes_.*/bytes N/; /numerics class/d"; }
"$B/mkmodel" --random --shape tiny --layers 1 --context 512 --seed 1 -o m.gguf
for store in "$ROOT"/tests/golden/store-*.tar.gz; do
    gzip -dc "$store" | tar xf -
    name=$(basename "$store" .tar.gz)
    x search seven --store "$name"
    x check --store "$name" --model m.gguf
    x inspect 1.1 --store "$name" | grep -v '^ids\|^context'
    x ask 'When does the ferry leave?' --extract --store "$name"
    x index --store "$name" --model m.gguf | plain
    x rm /tmp/quire-golden/docs/light.txt --store "$name"
    x gc --store "$name" | plain
    x check --store "$name" --model m.gguf | plain
done
