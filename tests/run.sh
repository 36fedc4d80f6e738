#!/bin/sh
# Run what `make test` built: every unit_*, prop_* and fault_* program of $B/tests, then
# tests/cli/*.sh.
#
#   B=build/release tests/run.sh [WORD...]      only tests whose name contains one of the words
#   JOBS=2 LIMIT=120                            programs at a time; seconds for one program
#
# A command-line test is tests/cli/NAME.sh, run by sh in an empty folder of its own with QUIRE (the
# program) and ROOT (the repository) set. Beside it stand NAME.out (its standard output, exact;
# absent: empty), NAME.err (extended regular expressions, each of which a line of its standard error
# must match; absent: empty) and NAME.exit (its exit code; absent: 0). Exit 77 means skipped: its
# last line says why.
#
# The last line is `N passed, N failed, N skipped`. Exit 1 if a test failed or none ran.
set -u
cd "$(dirname "$0")/.." || exit 1
ROOT=$PWD
B=${B:-build/release}
case $B in /*) ;; *) B=$ROOT/$B ;; esac
RESULTS=$B/results
LIMIT=${LIMIT:-120}
QUIRE=$B/quire
export ROOT B QUIRE LIMIT

# finish NAME PASSED FAILED SKIPPED LOG: one line for the reader, one file for the sum.
finish() {
    echo "$2 $3 $4" >"$RESULTS/$1.count"
    line=$(printf '%-28s %3d passed' "$1" "$2")
    [ "$3" = 0 ] || line="$line, $3 FAILED"
    [ "$4" = 0 ] || line="$line, $4 skipped"
    {
        echo "$line"
        if [ "$3" != 0 ]; then sed 's/^/    /' "$5"
        else grep -iE '^ *skip(ped)?\b' "$5" | sort -u | sed 's/^/    /'; fi
    } >"$RESULTS/$1.report"
    cat "$RESULTS/$1.report"
}

# A cmocka program. Each group ends in "N test(s) run": the names after it only repeat what failed.
run_program() {
    name=$(basename "$1") log=$RESULTS/$(basename "$1").log
    timeout -k 5 "$LIMIT" "$1" >"$log" 2>&1 </dev/null
    code=$?
    # shellcheck disable=SC2046
    set -- $(awk '/\[==========\].*Running/ { open = 1 } /\[==========\].*test\(s\) run/ { open = 0 }
        /\[       OK \]/ { ok++ } open && /\[  FAILED  \]/ { bad++ } open && /\[  SKIPPED \]/ { skip++ }
        END { print ok + 0, bad + 0, skip + 0 }' "$log")
    [ $code != 124 ] && [ $code != 137 ] || echo "stopped after $LIMIT seconds" >>"$log"
    if [ $code != 0 ] && [ "$2" = 0 ]; then
        echo "exit code $code" >>"$log"
        set -- "$1" 1 "$3"
    fi
    if [ "$1$2$3" = 000 ]; then
        echo "no test ran" >>"$log"
        set -- 0 1 0
    fi
    finish "$name" "$1" "$2" "$3" "$log"
}

run_cli() {
    base=${1%.sh} name=cli/$(basename "$1" .sh) log=$RESULTS/cli/$(basename "$1" .sh).log
    dir=$(mktemp -d) && : >"$log"
    (cd "$dir" && unset QUIRE_STORE QUIRE_MODEL && LC_ALL=C timeout -k 5 "$LIMIT" sh "$1") \
        >"$log.out" 2>"$log.err" </dev/null
    code=$?
    rm -rf "$dir"
    if [ $code = 77 ]; then
        { printf 'skipped: ' && tail -n 1 "$log.out"; } >"$log"
        finish "$name" 0 0 1 "$log"
        return
    fi
    want=0
    [ ! -f "$base.exit" ] || want=$(cat "$base.exit")
    [ $code = "$want" ] || echo "exit code $code, expected $want" >>"$log"
    expected=/dev/null
    [ ! -f "$base.out" ] || expected=$base.out
    diff -u "$expected" "$log.out" >"$log.diff" || cat "$log.diff" >>"$log"
    if [ -f "$base.err" ]; then
        while IFS= read -r pattern; do
            grep -qE -e "$pattern" "$log.err" || echo "no line of standard error matches: $pattern" >>"$log"
        done <"$base.err"
    elif [ -s "$log.err" ]; then
        echo "unexpected standard error" >>"$log"
    fi
    if [ -s "$log" ]; then
        sed 's/^/stderr: /' "$log.err" >>"$log"
        finish "$name" 0 1 0 "$log"
    else
        finish "$name" 1 0 0 "$log"
    fi
}

case ${1:-} in
--one)
    case $2 in *.sh) run_cli "$2" ;; *) run_program "$2" ;; esac
    exit 0
    ;;
esac

rm -rf "$RESULTS"
mkdir -p "$RESULTS/cli"
for t in "$B"/tests/unit_* "$B"/tests/prop_* "$B"/tests/fault_* "$ROOT"/tests/cli/*.sh; do
    case $t in
    *.sh) ;;
    *.d | *.o) continue ;;
    *) [ -f "tests/$(basename "$t").c" ] || continue ;; # a test that was removed from the tree
    esac
    [ -x "$t" ] || [ "${t%.sh}" != "$t" ] && [ -f "$t" ] || continue
    [ $# = 0 ] && echo "$t"
    for word in "$@"; do case $t in *"$word"*) echo "$t" && break ;; esac; done
done | xargs -r -n 1 -P "${JOBS:-2}" "$ROOT/tests/run.sh" --one

cat "$RESULTS"/*.count "$RESULTS"/cli/*.count 2>/dev/null | awk '
    { passed += $1; failed += $2; skipped += $3 }
    END {
        if (!(passed + failed)) print "no test ran"
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed == 0
    }'
