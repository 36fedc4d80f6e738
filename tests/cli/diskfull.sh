# A disk that fills up while index runs, at every stage: exit 4 and a word about it, what was committed answers, and
# the next run with room completes. A read-only mount: answers, and says that it cannot write.
. "$ROOT/tests/cli/lib"
mounts='unshare -m'
$mounts true 2>/dev/null || mounts='unshare -rm'
mkdir t
$mounts mount -t tmpfs -o size=1m none t 2>/dev/null || skip "no right to mount a small file system"
"$B/mkmodel" --copy -o m.gguf
mkdir docs
for a in ba ce di; do
    { yes 'the old house is near the river and the road goes over the hill' | head -n 40; echo "the ${a}dar ${a}fen ${a}gol ${a}hux"; } >docs/$a.txt
    echo "what follows ${a}dar?" >>questions
done
cat >inside <<'END'
. "$ROOT/tests/cli/lib"
limited
answers() { "$QUIRE" ask - --store "$1" <questions 2>/dev/null | grep hux; }
"$QUIRE" index -q docs --store clean --model m.gguf --kv eager >/dev/null
answers clean | grep -v '^ ' >want
cat want
stages=
for k in 4 8 24 40 56 72 96 120 200 1000 2000; do
    mount -t tmpfs -o size=${k}k none t
    "$QUIRE" index docs --store t/s --model m.gguf --kv eager --max-bytes 1T >out 2>err
    code=$?
    [ $code = 4 ] || { echo "${k}k: exit $code"; cat out err; }
    grep -iq 'no space left' err || { echo "${k}k:"; cat err; }
    stages="$stages $(sed -n 's/.*: cannot \([a-z]*\) .*/\1/p' err)"
    if [ -f t/s/config ]; then
        "$QUIRE" check --store t/s >out 2>&1 || { echo "${k}k: check"; cat out; }
        "$QUIRE" ask - --store t/s <questions >got 2>err # 0, or 1 before anything was committed
        code=$?
        [ $code -le 1 ] || { echo "${k}k: ask: exit $code"; cat err; }
        [ $code = 1 ] || [ "$(grep hux got | grep -v '^ ')" = "$(cat want)" ] || { echo "${k}k: lost"; cat got; }
    fi
    mount -o remount,size=20m t
    "$QUIRE" index docs --store t/s --model m.gguf --kv eager --max-bytes 1T >out 2>&1 || { echo "${k}k: next run"; cat out; }
    "$QUIRE" check --store t/s >out 2>&1 || { echo "${k}k: next check"; cat out; }
    answers t/s | grep -v '^ ' | cmp - want || echo "${k}k: other answers"
    umount t
done
for stage in open write commit; do case $stages in *$stage*) ;; *) echo "no disk was full at $stage: $stages" ;; esac; done

mkdir ro
rm clean/lexical.idx
mount --bind clean ro && mount -o remount,bind,ro ro
answers ro | grep -v '^ '
x index docs --store ro --model m.gguf
x gc --store ro
umount ro
END
# shellcheck disable=SC2086
$mounts sh inside
