#!/bin/sh
# Includes point down the ranks only: base 0, kernels and store 1, ingest, index and decode 2, retrieve 3, pipelines 4.
cd "$(dirname "$0")/.." || exit 1
awk '
BEGIN { r["base"]=0; r["kernels"]=r["store"]=1; r["ingest"]=r["index"]=r["decode"]=2; r["retrieve"]=3; r["pipelines"]=4 }
/^#include "/ {
    split(FILENAME, from, "/"); to = $2; gsub(/"/, "", to)
    if (split(to, t, "/") < 2) { print FILENAME ": include needs its folder: " to; bad = 1; next }
    if (!(t[1] in r)) { print FILENAME ": unknown folder: " to; bad = 1; next }
    if (from[1] != t[1] && r[t[1]] >= r[from[1]]) { print FILENAME ": " from[1] " may not include " to; bad = 1 }
}
FNR == 1 { n = split(FILENAME, f, "/"); if (seen[f[n]]++) { print "file name used twice: " f[n]; bad = 1 } }
END { exit bad }' base/*.[ch] kernels/*.[ch] store/*.[ch] ingest/*.[ch] index/*.[ch] decode/*.[ch] \
    kernels/cuda/*.h kernels/cuda/*.cu* retrieve/*.[ch] pipelines/*.[ch] 2>/tmp/layers.$$ ; st=$?
rm -f /tmp/layers.$$
[ $st = 0 ] && echo "layers: ok"
exit $st
