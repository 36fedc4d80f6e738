# The bundled model's ids are not pinned here: the model may be replaced.
# Text to ids and back: a line a line, bytes kept, special tokens only where asked for.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
t() { "$QUIRE" tokenize "$@" || echo "[exit $?]"; }
printf 'The ferry leaves at seven.\n\n  two  blanks\ttab\nnaïve 中文 \360\237\230\200\nlast line\n' >text
t <text >ids
grep -vE '^[0-9]+( [0-9]+)*$' ids
echo "$(wc -l <ids) lines"
t --detokenize <ids | cmp - text && echo "lines come back"
t --whole <text >whole
echo "$(wc -l <whole) line"
t --detokenize --whole <whole | cmp - text && echo "whole text comes back"
# A special token written in a text stays text: many ids; parsed it is one, after the opening one.
[ "$(echo '<|page|>' | t | wc -w)" -gt 3 ] && echo "stays text"
echo '<|page|>' | t --special | wc -w | tr -d ' '
echo '<|page|>' | t --special --no-bos | wc -w | tr -d ' '
: | t | wc -c
for bad in 99999999 -1 x 1.5; do echo "$bad" | t --detokenize 2>&1 | sed 's/0 to [0-9]*/0 to N/'; done
x tokenize --model absent.gguf
x tokenize --model "$ROOT/README.md" | sed "s,$ROOT,ROOT,"
x tokenize extra
