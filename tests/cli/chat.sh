# What stands around a prompt or a question: the chat template, --system, --raw.
. "$ROOT/tests/cli/lib"
ln -s "$ROOT/models/quire-reader.gguf" m.gguf
export QUIRE_MODEL=$PWD/m.gguf
# The bundled reader's form is begin token, system text, a blank line, text.
"$QUIRE" complete --system 'Be brief.' -p 'The ferry is' -n 6 --print-ids >a
printf 'Be brief.\n\nThe ferry is' >text
ids=$("$QUIRE" tokenize --whole <text | tr ' ' ',')
"$QUIRE" complete --ids "$ids" -n 6 --print-ids >b
cmp a b && echo same
x complete --chat --ids 1,2
echo 'The ferry leaves at seven. Dogs travel free.' >ferry.txt
"$QUIRE" index --store s ferry.txt >/dev/null 2>&1
prompt() { "$QUIRE" ask --store s --quiet --json "$@" 'When does the ferry leave?' | sed 's/.*"tokens":{"prompt":\([0-9]*\).*/\1/'; }
plain=$(prompt) raw=$(prompt --raw) system=$(prompt --system 'Answer in one word.')
[ "$raw" -lt "$plain" ] && echo raw is shorter
[ "$system" -gt "$plain" ] && echo system is longer
