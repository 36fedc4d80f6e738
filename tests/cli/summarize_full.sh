# A disk that fills up under the summaries, at every stage: exit 4 and a word about it, earlier outputs are as they were, and
# the next run with room completes.
. "$ROOT/tests/cli/lib"
mounts='unshare -m'
$mounts true 2>/dev/null || mounts='unshare -rm'
mkdir t
$mounts mount -t tmpfs -o size=1m none t 2>/dev/null || skip "no right to mount a small file system"
"$B/mkmodel" --copy -o m.gguf
mkdir docs
for i in 0 1 2 3 4 5 6 7 8 9; do
    printf 'The house %d is near the river. The road goes over the hill to the town and the river %d.\n' $i $i >docs/d$i.txt
done
cat >inside <<'END'
. "$ROOT/tests/cli/lib"
limited
export QUIRE_MODEL="$PWD/m.gguf" QUIRE_STORE="$PWD/s"
run() { "$QUIRE" summarize --out "$1" --extractive --length "$2" --no-sync --json; }
"$QUIRE" index -q docs --kv none >/dev/null
run clean 20 >/dev/null
run longer 30 >/dev/null
for k in 4 8 12 20 32 44; do
    mount -t tmpfs -o size=${k}k none t
    run t/out 20 >out 2>err
    code=$?
    [ $code = 4 ] && grep -iq 'no space left' err || { echo "${k}k: exit $code"; cat out err; }
    for f in t/out/*.md; do [ ! -f "$f" ] || cmp "$f" "clean/${f#t/out/}"; done
    mount -o remount,size=1m t
    run t/out 20 >out 2>&1 || { echo "${k}k: next run"; cat out; }
    diff -r -x .lock t/out clean
    # full again while they are made anew: each is the old or the new one
    dd if=/dev/zero of=t/fill bs=4k 2>/dev/null
    run t/out 30 >out 2>err
    code=$?
    [ $code = 4 ] && grep -iq 'no space left' err || { echo "${k}k: again: exit $code"; cat out err; }
    for f in t/out/*.md; do cmp -s "$f" "clean/${f#t/out/}" || cmp "$f" "longer/${f#t/out/}"; done
    rm t/fill
    run t/out 30 >out 2>&1 || { echo "${k}k: last run"; cat out; }
    diff -r -x .lock t/out longer
    umount t
done
END
# shellcheck disable=SC2086
$mounts sh inside
