# The raw model: the same ids for the same prompt, however it is given and however many threads
# compute it.
. "$ROOT/tests/cli/lib"
ln -s "$ROOT/models/quire-reader.gguf" m.gguf
M=m.gguf
c() { "$QUIRE" complete --model "$M" "$@" || echo "[exit $?]"; }
prompt='The ferry is run by Alma Berg. The ferry is run by'
c --prompt "$prompt" -n 8 --print-ids --ignore-eos >a
wc -w <a | tr -d ' '
ids=$(echo "$prompt" | "$QUIRE" tokenize --model "$M" | tr ' ' ',')
c --ids "$ids" -n 8 --print-ids --ignore-eos --logits l1 >b
cmp a b
c --prompt "$prompt" -n 8 --print-ids --ignore-eos --threads 1 --logits l2 >b
cmp a b
c --prompt "$prompt" -n 8 --print-ids --ignore-eos --threads 3 --logits l3 >b
cmp a b
cmp l1 l2
cmp l1 l3
[ "$(wc -l <l1)" -gt 1000 ] && echo logits
grep -cvE '^-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?$' l1
c --prompt x -n 0 --print-ids
x complete --model "$M"
x complete --model "$M" --prompt x --ids 1,2
x complete --model "$M" --ids 1,x | sed 's/0 to [0-9]*/0 to N/'
x complete --model "$M" --ids 1,9999999 | sed 's/0 to [0-9]*/0 to N/'
x complete --model "$M" --prompt x -n -1
x complete --model "$M" --prompt x -n 1 --logits no/such/dir
x complete --prompt x --model absent.gguf
# Where it ends: this model has an end token that follows what it has seen before it.
"$B/mkmodel" --copy -o copy.gguf
x complete --model copy.gguf --ids 1,20,0,21,20 -n 5 --json --draft none
x complete --model copy.gguf --ids 1,20,0,21,20 -n 5 --json --draft none --ignore-eos
