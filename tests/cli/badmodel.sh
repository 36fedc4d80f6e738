# Model files that are damaged, foreign or no models: exit 5 with the file's name, and the store is none the worse.
. "$ROOT/tests/cli/lib"
REAL=$QUIRE # the sanitizer maps terabytes of its own
limited
plain() { sed "s,$PWD,DIR,g"; }
mkdir docs && echo 'the badar bafen bagol bahux' >docs/ba.txt
"$B/mkmodel" --copy -o copy.gguf
"$B/mkmodel" --random -o good.gguf
"$QUIRE" index -q docs --store s --model copy.gguf --kv eager >/dev/null
size=$(wc -c <good.gguf)

# Cut short anywhere: in the header, in a key, in the tensors' data, one byte before the end.
for n in 0 3 4 8 24 100 1000 5000 $((size / 2)) $((size - 1)); do
    head -c "$n" good.gguf >t.gguf
    for verb in 'complete --prompt x' 'index docs --store other' 'ask x --store s'; do
        # shellcheck disable=SC2086
        "$QUIRE" $verb --model t.gguf >out 2>err
        code=$?
        [ $code = 5 ] && [ ! -s out ] && grep -q "^quire: .*'$PWD/t.gguf'" err ||
            { echo "cut at $n: $verb: exit $code"; cat out err; }
    done
done
ls other 2>/dev/null
for n in 3 1000 $((size / 2)); do head -c "$n" good.gguf >t.gguf && x complete --prompt x --model t.gguf | plain; done

# Lengths and counts beyond reason: tensors, keys, a key's name, an array, a dimension.
high='377 377 377 377 377 377 377 177'
for at in 8 16 24 $(($(at good.gguf tokenizer.ggml.tokens) + 21 + 8)) $(($(at good.gguf token_embd.weight) + 17 + 4)); do
    cp good.gguf t.gguf
    # shellcheck disable=SC2086
    poke t.gguf "$at" $high
    (grep -q __asan_init "$REAL" || ulimit -v 4000000; x complete --prompt x --model t.gguf) | plain
done

# Bytes flipped one at a time: an answer or a refusal by name, and nothing else. Weights hold no checksum, and a
# flip inside a name may pass: what a store was made with is held against the fingerprint, below.
flips=0 refused=0
for at in $(seq 4 5 250) $(seq 300 29 2000) $(seq 3000 8000 "$size"); do
    cp good.gguf t.gguf
    poke t.gguf "$at" 377
    "$QUIRE" complete --prompt x -n 1 --model t.gguf >out 2>err
    code=$?
    flips=$((flips + 1))
    [ $code = 5 ] && refused=$((refused + 1))
    { [ $code = 0 ] || { [ $code = 5 ] && grep -q "t.gguf" err; }; } && ! grep -q 'stopped while reading' err ||
        { echo "flip at $at: exit $code"; cat err; }
done
[ $flips -gt 120 ] && [ $refused -gt 50 ] || echo "$flips flips, $refused refused"

# Runnable but for its tokenizer; no model at all; nothing there.
for key in tokenizer.ggml.model tokenizer.ggml.tokens; do
    cp good.gguf t.gguf
    poke t.gguf $(($(at t.gguf $key) + ${#key} - 1)) 172
    x complete --ids 1,2 --model t.gguf | plain
done
x index docs --store other --model t.gguf | plain
mkfifo pipe
x complete --prompt x --model docs | plain
x complete --prompt x --model pipe | plain
x complete --prompt x --model /dev/zero | plain
x complete --prompt x --model docs/ba.txt | plain
x complete --prompt x --model absent.gguf | plain
ls other 2>/dev/null

# A sound model of another kind; the store's own with one bit changed, in what the fingerprint samples and in what
# only the hash of the whole file sees.
x ask x --store s --model good.gguf --json | plain
x index docs --store s --model good.gguf | plain
"$QUIRE" index -q docs --store small --model good.gguf --kv none >/dev/null
poke good.gguf $((size - 100)) 001
x ask x --store small | plain
cp copy.gguf t.gguf
poke t.gguf $(($(wc -c <t.gguf) - 1000)) 001
x check --store s --model t.gguf | grep -v ' 0 problems' | sed 's/clean.*/clean/; s/damaged:.*/damaged/'
echo 'the cedar cefen cegol cehux' >docs/ce.txt
x index docs --store s --model t.gguf | plain
x index docs --store s | sed 's/tokens.*/tokens/'
rm copy.gguf
x ask 'what follows badar?' --store s | plain
"$B/mkmodel" --copy -o copy.gguf
"$QUIRE" ask 'what follows badar?' --store s 2>/dev/null | head -n 1
"$QUIRE" ask 'what follows cedar?' --store s 2>/dev/null | head -n 1

# An adapter and RoPE's options are part of what the pages are bound to.
"$B/mkmodel" --random -o good.gguf
"$B/mkmodel" --random --lora 4 -o lora.gguf
"$QUIRE" index -q docs --store adapted --model good.gguf --lora lora.gguf --kv none >/dev/null
x ask x --store adapted | plain
x ask x --store adapted --lora lora.gguf --rope-base 500 | plain
x ask x --store adapted --lora good.gguf | plain
"$QUIRE" ask -q 'what is badar?' --store adapted --lora lora.gguf --max-tokens 1 >/dev/null
[ $? = 5 ] && echo 'the same adapter was refused'
x complete --prompt x --model lora.gguf | plain
rm good.gguf
"$B/mkmodel" --random --split 3 -o good.gguf
"$QUIRE" complete --ids 1,2 -n 3 --print-ids --model good-00001-of-00003.gguf >parts
"$B/mkmodel" --random -o good.gguf
"$QUIRE" complete --ids 1,2 -n 3 --print-ids --model good.gguf | cmp - parts
x complete --prompt x --model good-00002-of-00003.gguf | plain
rm good-00003-of-00003.gguf
x complete --prompt x --model good-00001-of-00003.gguf | plain
