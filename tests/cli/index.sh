# Indexing: the second run costs what changed, what vanished is gone, what fails is counted.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
plain() { sed -E 's/[0-9]+ tokens/N tokens/g; s/"(tokens|text_bytes)":[1-9][0-9]*/"\1":N/; s/"seconds":[0-9.e-]+/"seconds":N/; s,'"$PWD"',DIR,g'; }
mkdir -p docs/sub
printf '# The ferry\n\nThe ferry leaves at seven. It is run by Alma Berg.\n' >docs/ferry.md
printf 'The lighthouse was built in 1871 by Jonas Falk.\n' >docs/sub/light.txt
cp docs/ferry.md docs/same.md
printf '\0\1\2\377binary' >docs/image.bin
: >docs/empty.txt
x index docs | plain
x index docs | plain
x index --json | plain
mv docs/ferry.md docs/boat.md
printf 'The lighthouse was built in 1872 by Jonas Falk, not in 1871.\n' >docs/sub/light.txt
rm docs/same.md
x index --dry-run docs | plain
x index docs | plain
x index absent | plain
x index --kv sometimes docs
x index --max-time soon docs
# A root that is gone may be an unmounted disk: nothing under it is removed.
mv docs away
x index | plain
mv away docs
x index | plain
x index --store nowhere | plain
x index --model docs/boat.md docs | plain
find .quire -type f ! -perm 600 -o -type d ! -perm 700
