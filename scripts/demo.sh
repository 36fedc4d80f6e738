#!/bin/sh
# From a clone to cited answers: install what is missing, build, index the example documents, ask
# them. What it makes lies under build/demo; a second run finds everything in place.
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
step "Build (half a minute, the first time)"
scripts/deps.sh
run "$dir/build.log" make -j"$(nproc 2>/dev/null || echo 1)" quire
./quire --version

step "Read the documents: quire index examples/corpus"
# A store belongs to one model: after an update that brought another one it is made anew.
./quire index --store "$dir/store" --kv eager examples/corpus || {
    [ $? = 5 ] || exit 1
    rm -rf "$dir/store"
    ./quire index --store "$dir/store" --kv eager examples/corpus
}

# quire ask prints the answer, then each passage that it rests on with file and bytes; every call is a
# process of its own that loads only the pages it reads. The bundled model is small: it reads the four
# best pages; where it is not sure of its answer a rule's is given and marked, or the passages
# stand alone.
sed -n 's/.*"question": *"\([^"\\]*\)".*/\1/p' examples/questions.jsonl | sed -n '1p;5,7p;13p;15p' |
    while IFS= read -r question; do
        step "quire ask \"$question\""
        ./quire ask --quiet --store "$dir/store" "$question" ||
            [ $? = 1 ] # 1: no sure answer in the documents
    done

question="Who is the workshop manager?"
step "quire ask --extract \"$question\" (no model: the best sentence and a span of it)"
./quire ask --quiet --store "$dir/store" --extract "$question" || [ $? = 1 ]

step "Your turn"
cat <<TEXT
./quire ask --store $dir/store "..."           one question
./quire search --store $dir/store "..."        the pages it would read
./quire index --model YOUR.gguf DOCUMENTS        a larger model, in a store of its own (.quire)
The bundled model has 13 million parameters: it shows how Quire works, not what a real model answers.
TEXT
