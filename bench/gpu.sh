#!/bin/sh
# Everything that needs a CUDA device, made for machines that are lent for minutes, have no network and no
# packages: programs and their libraries can be carried there. What is most wanted comes first; every part writes
# as it goes, and none starts that the time no longer holds.
#
#   bench/gpu.sh pack DIR           where nvcc and the libraries are: DIR/gpu.tar.gz (30 MB), programs with all they load
#   PACK=DIR bench/gpu.sh           on the machine, with that folder: all parts but build
#   bench/gpu.sh build              where there is no pack: make CUDA=1 without oneDNN and FAISS
#   bench/gpu.sh check parity ...   these parts
#
#   check      what is here and what is missing (seconds)
#   parity     the parity tables, contexts against the processor, drafts
#   kernels    rates of the kernels by themselves, then PyTorch's in the same shapes
#   sanitize   the parity tables under compute-sanitizer: memcheck, racecheck, initcheck
#   bench      quire bench with random weights of SHAPE (1b; 8b writes 8.5 GB first), or MODEL
#
# SECONDS_LEFT=570 for all of them, OUT=folder (build/gpu): gpu.log has everything, rows.txt what goes into
# BENCHMARKS.md. CPU=1 adds the processor's bench.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-build/gpu}
SHAPE=${SHAPE:-1b}
PACK=${PACK:-}
TABLES="unit_cuda_linear_device unit_cuda_pages_device unit_cuda_attend_device"
PROGRAMS="quire mkmodel cuda_kernels tests/unit_cuda_draft_device"
for t in $TABLES unit_cuda_context_device; do PROGRAMS="$PROGRAMS tests/$t"; done
began=$(date +%s)
failed=0
export B="${B:-build/release}"

left() { echo $((${SECONDS_LEFT:-570} - $(date +%s) + began)); }

# part LIMIT NAME COMMAND...: its output to the log; ends in good time.
part() {
    limit=$1 name=$2
    shift 2
    [ "$(left)" -gt 5 ] || { echo "$name: no time left" | tee -a "$OUT/rows.txt"; return 1; }
    [ "$(left)" -gt "$limit" ] || limit=$(left)
    start=$(date +%s)
    printf '\n== %s\n' "$name" >>"$OUT/gpu.log"
    timeout "$limit" "$@" >"$OUT/part" 2>&1
    code=$?
    cat "$OUT/part" >>"$OUT/gpu.log"
    took=$(($(date +%s) - start))
    if [ $code = 0 ]; then echo "$name: ok, $took s"
    else echo "$name: FAILED with code $code after $took s" && tail -n 15 "$OUT/part" && failed=1; fi | tee -a "$OUT/rows.txt"
    [ $code = 0 ] || failed=1
    return $code
}

rows() { grep -E "$1" "$OUT/part" | tee -a "$OUT/rows.txt"; }

pack() {
    B=${PACK_BUILD:-build/gpu-pack}
    export B
    # shellcheck disable=SC2046
    make CUDA=1 DNNL=0 FAISS=0 B=$B -j "$(nproc)" $(for p in $PROGRAMS; do echo $B/$p; done) >build/gpu-pack.log 2>&1 ||
        { tail -n 5 build/gpu-pack.log; exit 1; }
    dir=$(mktemp -d)
    mkdir -p "$dir/tests" "$dir/lib" "$1"
    for p in $PROGRAMS; do
        strip -o "$dir/$p" $B/$p
        ldd $B/$p
    done | awk '$3 ~ /^\// { print $3 }' | sort -u | grep -vE '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux.*)\.so' |
        while read -r l; do cp -L "$l" "$dir/lib/"; done
    tar -C "$dir" -czf "$1/gpu.tar.gz" .
    rm -rf "$dir"
    ls -l "$1/gpu.tar.gz"
}

unpack() {
    B=/tmp/quire-gpu
    export B
    mkdir -p $B && tar -C $B -xzf "$PACK/gpu.tar.gz" || exit 1
    export LD_LIBRARY_PATH="$B/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

# libcublas is loaded by name when a device is opened: PyTorch's will do.
find_cublas() {
    ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.1[23]' && return
    for l in /usr/local/cuda*/lib64/libcublas.so.1[23] \
        "$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null)"/../nvidia/*/lib/libcublas.so.1[23]; do
        [ -f "$l" ] || continue
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${l%/*}"
        return
    done
    echo "missing: libcublas" | tee -a "$OUT/rows.txt"
}

check() {
    {
        echo "device: $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | head -n 1)"
        echo "cores $(nproc), $(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo) GB of memory," \
            "$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }') GB of disk; $(uname -r)"
        for c in nvcc g++ compute-sanitizer ncu cuobjdump python3; do
            command -v $c >/dev/null 2>&1 && echo "$c: $(command -v $c)" || echo "missing: $c"
        done
        python3 -c 'import torch; print("torch", torch.__version__, torch.cuda.is_available())' 2>&1 | tail -n 1
        for p in $PROGRAMS; do
            [ -x $B/$p ] || echo "missing: $B/$p: bench/gpu.sh pack, or build"
            [ ! -x $B/$p ] || ldd $B/$p 2>&1 | awk -v p=$p '/not found/ { print "missing for " p ": " $0 }'
        done
    } | tee -a "$OUT/rows.txt"
}

build() {
    # shellcheck disable=SC2046
    part 300 build make CUDA=1 DNNL=0 FAISS=0 -j "$(nproc)" $(for p in $PROGRAMS; do echo $B/$p; done)
    rows "bytes spilled"
}

parity() {
    for t in $TABLES unit_cuda_context_device; do
        part 120 $t $B/tests/$t
        rows ' of [0-9]|spread|SKIPPED|[Ff]ail'
    done
    part 60 unit_cuda_draft_device $B/tests/unit_cuda_draft_device
}

kernels() {
    part 180 cuda_kernels $B/cuda_kernels
    rows '^\{'
    part 120 gpu_peers env -u LD_LIBRARY_PATH python3 bench/gpu_peers.py
    rows '^\{'
}

sanitize() {
    command -v compute-sanitizer >/dev/null || { echo "sanitize: SKIP, no compute-sanitizer"; return; }
    for tool in memcheck racecheck initcheck; do
        for t in $TABLES; do
            part 120 "$tool-$t" compute-sanitizer --tool $tool --error-exitcode 9 $B/tests/$t
        done
    done
    part 200 memcheck-context compute-sanitizer --error-exitcode 9 $B/tests/unit_cuda_context_device
}

bench() {
    model=${MODEL:-}
    if [ -z "$model" ]; then
        model=/tmp/random-$SHAPE.gguf
        [ -f "$model" ] || part 200 model $B/mkmodel --random --shape "$SHAPE" --type Q8_0 \
            --vocab-from models/quire-reader.gguf -o "$model" || { rm -f "$model"; return; }
    fi
    for d in cuda ${CPU:+cpu}; do
        part 300 "bench-$d" $B/quire bench --json --model "$model" --device $d
        sed -n "s/^{/{\"device\":\"$d\",/p" "$OUT/part" | tee -a "$OUT/rows.txt"
    done
}

if [ "${1:-}" = pack ]; then
    pack "${2:?usage: bench/gpu.sh pack DIR}"
    exit
fi
mkdir -p "$OUT"
: >"$OUT/rows.txt"
: >"$OUT/gpu.log"
[ -z "$PACK" ] || unpack
find_cublas
[ $# -gt 0 ] || set -- check parity kernels sanitize bench
echo "commit $(git rev-parse --short HEAD 2>/dev/null), parts: $*" | tee -a "$OUT/rows.txt"
for p in "$@"; do
    case $p in
    check | build | parity | kernels | sanitize | bench) $p ;;
    *) echo "unknown part '$p': check, build, parity, kernels, sanitize or bench" >&2; exit 2 ;;
    esac
done
rm -f "$OUT/part"
exit $failed
