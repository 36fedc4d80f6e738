# Text to ids and back: a line a line, bytes kept, special tokens only where asked for.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
t() { "$QUIRE" tokenize "$@" || echo "[exit $?]"; }
printf 'The ferry leaves at seven.\n\n  two  blanks\ttab\nnaïve 中文 \360\237\230\200\nlast line\n' >text
t <text >ids
cat ids
echo "$(wc -l <ids) lines"
t --detokenize <ids | cmp - text && echo "lines come back"
t --whole <text >whole
echo "$(wc -l <whole) line"
t --detokenize --whole <whole | cmp - text && echo "whole text comes back"
echo '<|page|>' | t
echo '<|page|>' | t --special
echo '<|page|>' | t --special --no-bos
: | t | wc -c
for bad in 99999999 -1 x 1.5; do echo "$bad" | t --detokenize 2>&1; done
x tokenize --model absent.gguf
x tokenize --model "$ROOT/README.md" | sed "s,$ROOT,ROOT,"
x tokenize extra
