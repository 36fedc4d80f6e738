#!/bin/sh
# From a clone to cited answers: install what is missing, build, index the example documents, ask them.
# What it makes lies under build/demo; a second run finds everything in place.
set -eu
cd "$(dirname "$0")/.."

dir=build/demo
bold= plain=
[ ! -t 1 ] || { bold=$(printf '\033[1m') plain=$(printf '\033[0m'); }
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

# run LOG COMMAND...: quiet, unless it fails.
run() {
    log=$1
    shift
    "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; echo "demo: '$*' failed" >&2; exit 1; }
}

mkdir -p "$dir"
step "Build"
scripts/deps.sh
run "$dir/build.log" make -j"$(nproc 2>/dev/null || echo 1)" quire
./quire --version

step "Read the documents: quire index examples/corpus"
./quire index --store "$dir/store" --kv eager examples/corpus

# One question a line goes in, and each answer comes out as soon as it is there: the model is loaded once.
step "Ask: quire ask -"
head -n 6 examples/questions.jsonl | ./quire ask --store "$dir/store" -

step "Your turn"
cat <<TEXT
./quire ask --store $dir/store "..."           one question
./quire search --store $dir/store "..."        the pages it would read
./quire ask --model YOUR.gguf --store .quire     a larger model, in a store of its own
The bundled model has 6.8 million parameters: it shows how Quire works, not what a real model answers.
TEXT
