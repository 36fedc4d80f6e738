# Text to ids and back: recorded ids, lines of any bytes and size, and what is refused.
. "$ROOT/tests/cli/lib"
T=tokenizers S=stories260K/stories260K-q8_0.gguf
need $T/ggml-vocab-llama-spm.gguf $T/ggml-vocab-llama-spm.gguf.inp $T/ggml-vocab-llama-spm.gguf.out $T/ggml-vocab-gpt-2.gguf $T/ggml-vocab-gpt-2.gguf.inp $T/ggml-vocab-gpt-2.gguf.out $S
ln -s "$DATA/$T" t && ln -s "$DATA/$S" s.gguf

# 46 recorded strings each, from files that hold a vocabulary only, and back again byte for byte.
for v in llama-spm gpt-2; do
    m=t/ggml-vocab-$v.gguf
    awk -v RS='\n__ggml_vocab_test__\n' '{ f = sprintf("in.%02d", ++n); printf "%s", $0 >f; close(f) }' $m.inp
    n=0
    while IFS= read -r ids; do
        n=$((n + 1)) f=in.$(printf %02d $n)
        [ -f $f ] || continue
        "$QUIRE" tokenize --model $m --whole --no-bos <$f >got
        printf '%s\n' "$ids" | tr -s ' ' | sed 's/^ //; s/ $//' | cmp -s - got || echo "$v $n: $(cat got), expected $ids"
        "$QUIRE" tokenize --model $m --whole --detokenize <got | cmp - $f || echo "$v $n: not the same again"
    done <$m.out
    echo "$v: $n strings"
    rm in.*
done

# Lines.
SPM=t/ggml-vocab-llama-spm.gguf
printf 'Hello\n\n  two blanks\r\nlast, no line end' >lines
cat lines | x tokenize --model $SPM
cat lines | x tokenize --model $SPM --no-bos
cat lines | x tokenize --model $SPM --json
"$QUIRE" tokenize --model $SPM <lines | "$QUIRE" tokenize --model $SPM --detokenize | od -c | sed 's/^[0-7]* *//'
printf '<s>a</s>\n' | x tokenize --model $SPM
printf '<s>a</s>\n' | x tokenize --model $SPM --no-bos --special
echo 1, 15043 2 | x tokenize --model $SPM --detokenize
echo 1, 15043 2 | x tokenize --model $SPM --detokenize --special
echo '243 162' | x tokenize --model $SPM --detokenize --json
x tokenize --model $SPM </dev/null
x tokenize --model $SPM --whole </dev/null
# It streams: an answer comes before the next line.
mkfifo in out && { "$QUIRE" tokenize --model s.gguf <in >out & } && exec 4>in 5<out
echo One >&4 && read -r first <&5 && echo Two >&4 && read -r second <&5 && exec 4>&- && cat <&5 && exec 5<&- && echo "$first / $second"
# Every byte; a line of a megabyte; a million bytes without a break.
i=0
while [ $i -lt 256 ]; do printf "\\$(printf %03o $i)" && i=$((i + 1)); done >bytes
for m in $SPM t/ggml-vocab-gpt-2.gguf; do
    "$QUIRE" tokenize --whole --model $m <bytes | "$QUIRE" tokenize --whole --detokenize --model $m | cmp - bytes && echo "256 bytes"
    { yes 'the quick brown fox' | head -c 1000000 | tr '\n' ' ' && echo && head -c 1000000 /dev/zero | tr '\0' x && echo; } >long
    "$QUIRE" tokenize --model $m <long | "$QUIRE" tokenize --detokenize --model $m | cmp - long && echo "two long lines"
done
# Refused.
echo '1 2 x 3' | x tokenize --model $SPM --detokenize
echo '32000' | x tokenize --model $SPM --detokenize
echo '99999999999999999999999' | x tokenize --model $SPM --detokenize --json
x tokenize --model none.gguf
x tokenize --model lines
x tokenize --model . </dev/null
"$QUIRE" tokenize --model s.gguf <. 2>&1
echo "a folder: $?"
QUIRE_MODEL=none.gguf "$QUIRE" tokenize </dev/null 2>&1
echo "a model in the environment: $?"
(yes | "$QUIRE" tokenize --model s.gguf; echo $? >code) | head -1
echo "reader gone: $(cat code)"
