#!/bin/sh
# Trains a reader of 13 M parameters on a GPU, for machines that are lent for minutes and have no
# network.
#
#   ./gpu.sh data DIR          where the packages are: texts and WordNet into DIR (12 MB)
#   ./gpu.sh train DIR RUN MINUTES TOTAL [more arguments of train.py]
#                              on the GPU: goes on from RUN.pt, if there, for MINUTES of TOTAL; leaves
#                              RUN.pt (all), RUN.gguf (Q8_0, 14.3 MB) and RUN.log
#
# Where RUN.pt could not be kept, add: --start RUN.gguf --done .33 (the share of TOTAL gone by).
set -eu
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
case $1 in
data)
    mkdir -p "$2"
    "$python" "$here/text.py" "$2/texts.jsonl"
    gzip -9f "$2/texts.jsonl"
    tar czf "$2/wordnet.tar.gz" -C /usr/share/wordnet data.noun data.verb data.adj data.adv verb.exc cntlist.rev
    ;;
train)
    data=$(cd "$2" && pwd) run=$3 minutes=$4 total=$5
    shift 5
    [ -f "$data/data.noun" ] || tar xzf "$data/wordnet.tar.gz" -C "$data"
    [ -f "$data/texts.jsonl" ] || gzip -dk "$data/texts.jsonl.gz"
    export READER_TEXTS="$data/texts.jsonl" READER_WORDNET="$data" READER_PLAIN=1
    "$python" "$here/train.py" --run "$run" --resume --device "${READER_DEVICE:-cuda}" --workers 14 \
        --tokens 96000 --rate 0.012 --minutes "$minutes" --total "$total" --test 3 \
        --shape '{"width": 384, "layers": 8, "heads": 6, "kv": 3, "hidden": 704}' "$@"
    "$python" "$here/export.py" "$run.gguf" "$run.pt" --kind q8_0
    ;;
*)
    echo "usage: $0 data DIR | train DIR RUN MINUTES TOTAL" >&2
    exit 2
    ;;
esac
