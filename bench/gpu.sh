#!/bin/sh
# Everything that needs a CUDA device, in parts of less than ten minutes each; rows for BENCHMARKS.md go to
# standard output, everything to build/gpu/PART.log.
#
#   bench/gpu.sh                    all parts
#   bench/gpu.sh build parity       these parts
#   MODEL=file.gguf bench/gpu.sh bench      a model of your own instead of random weights
#
#   build     make CUDA=1, registers and spills of every file
#   parity    the parity table and contexts against the processor
#   sanitize  the same under compute-sanitizer: memcheck, then racecheck on the kernels
#   bench     quire bench on device and processor: prefill, decode, first token, page load
set -u
cd "$(dirname "$0")/.." || exit 1
B=build/release LOG=build/gpu
export B
mkdir -p $LOG
SHAPE=${SHAPE:-8b}
failed=0

part() {
    name=$1
    shift
    if timeout 590 "$@" >"$LOG/$name.log" 2>&1; then echo "$name: ok"
    else echo "$name: FAILED with code $?, see $LOG/$name.log" && tail -n 15 "$LOG/$name.log" && failed=1; fi
}

device() { nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1; }

build() {
    part build make CUDA=1 -j "$(nproc)" quire $B/mkmodel $B/tests/unit_cuda_device $B/tests/unit_cuda_context_device
    grep -h "bytes spilled" $LOG/build.log
}

parity() {
    for t in unit_cuda_device unit_cuda_context_device; do
        part $t $B/tests/$t
        grep -E ' of [0-9]|spread|SKIPPED' $LOG/$t.log
    done
    part unit_draft env QUIRE_DEVICE=cuda $B/tests/unit_draft # drafts change nothing there either
}

sanitize() {
    command -v compute-sanitizer >/dev/null || { echo "sanitize: SKIP, no compute-sanitizer"; return; }
    part memcheck compute-sanitizer --error-exitcode 9 --leak-check full $B/tests/unit_cuda_device
    part racecheck compute-sanitizer --tool racecheck --error-exitcode 9 $B/tests/unit_cuda_device
    part initcheck compute-sanitizer --tool initcheck --error-exitcode 9 $B/tests/unit_cuda_device
    part context compute-sanitizer --error-exitcode 9 $B/tests/unit_cuda_context_device
}

bench() {
    model=${MODEL:-}
    if [ -z "$model" ]; then
        model=$LOG/random-$SHAPE.gguf
        [ -f "$model" ] || part model $B/mkmodel --random --shape "$SHAPE" --type Q8_0 --vocab-from models/quire-reader.gguf -o "$model"
    fi
    for d in cuda cpu; do
        [ $d = cpu ] && [ -n "${NO_CPU:-}" ] && continue
        part bench-$d ./quire bench --json --model "$model" --device $d
        sed -n "s/^{/{\"device\":\"$d\",/p" $LOG/bench-$d.log
    done
}

echo "device: $(device), commit $(git rev-parse --short HEAD 2>/dev/null)"
[ -n "$(device)" ] || echo "SKIP: no device here; the build part alone makes sense"
[ $# -gt 0 ] || set -- build parity sanitize bench
for p in "$@"; do
    case $p in
    build | parity | sanitize | bench) $p ;;
    *) echo "unknown part '$p': build, parity, sanitize or bench" >&2; exit 2 ;;
    esac
done
exit $failed
