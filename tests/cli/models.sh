# The models of a made-up home: listed, and run by the names that the list shows.
. "$ROOT/tests/cli/lib"
unset HF_HUB_CACHE HF_HOME XDG_CACHE_HOME OLLAMA_MODELS
export HOME=$PWD
M=$ROOT/models/quire-reader.gguf
digest=$(printf '%064d' 7)
mkdir -p .ollama/models/blobs .ollama/models/manifests/registry.ollama.ai/library/reader \
    .cache/huggingface/hub/models--a--b/snapshots/1 .lmstudio/models/p/q
ln -s "$M" .ollama/models/blobs/sha256-$digest
echo '{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:'$digest'"}]}' \
    >.ollama/models/manifests/registry.ollama.ai/library/reader/latest
ln -s "$M" .cache/huggingface/hub/models--a--b/snapshots/1/reader.gguf
echo nothing >.lmstudio/models/p/q/broken.gguf
show() { sed "s|$PWD|HOME|g; s/ [0-9]*\.[0-9] MiB/ N MiB/; s/\"bytes\":[0-9]*/\"bytes\":N/; s/ [0-9.]* KiB/ N KiB/; s/_token\":[0-9][0-9]*/_token\":N/" | grep -v "$ROOT"; }
"$QUIRE" models | show | sed 's/  */ /g'
"$QUIRE" models --json | show
complete() { "$QUIRE" complete -p 'The ferry is' -n 4 --print-ids --model "$1"; }
complete "$M" >a
complete ollama:reader >b && cmp a b && echo same
complete .cache/huggingface/hub/models--a--b >b && cmp a b && echo same
echo 'The ferry is' | "$QUIRE" tokenize --model ollama:reader:latest | wc -w | tr -d ' '
# A store's model that lies elsewhere now is named once more, then remembered.
cp "$M" here.gguf
echo 'The ferry costs 45 crowns.' >ferry.txt
"$QUIRE" index -q --kv none --model here.gguf ferry.txt >/dev/null
mv here.gguf there.gguf
x ask 'What does the ferry cost?' | sed "s|$PWD|HOME|"
"$QUIRE" index -q --kv none --model there.gguf >/dev/null
"$QUIRE" ask -q 'What does the ferry cost?' | head -n 1
x complete -p x --model ollama:absent | sed "s|$PWD|HOME|"
x complete -p x --model ollama:../../x
x complete -p x --model .lmstudio/models/p | sed "s|$PWD|HOME|"
