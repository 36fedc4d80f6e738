# Which files are indexed, and by what: .quireignore, --exclude, --include, --filter.
files() { "$QUIRE" search --json --files --top 50 walrus | jq_paths; }
jq_paths() { tr ',' '\n' | sed -n 's/.*"path":"\([^"]*\)".*/\1/p' | sed "s|$PWD/||" | sort | tr '\n' ' '; echo; }
export QUIRE_STORE=$PWD/store QUIRE_MODEL=$ROOT/models/quire-reader.gguf
mkdir -p docs/sub docs/build
for f in a.txt b.md c.log sub/d.txt sub/keep.log build/e.txt; do echo "The walrus of $f sleeps on the ice." >docs/$f; done
index() { "$QUIRE" index --quiet --kv none "$@"; }
index docs; files
printf '# lists\n*.log\n!keep.log\nbuild/\n' >docs/.quireignore
index; files
index --exclude '/sub/*.txt'; files
index; files # remembered
"$QUIRE" status | grep clude
index --dry-run --include '*.md' --include '*.log'; files
index --include '*.md' --include '*.log'; files
index --exclude ''; files # forgotten
# A filter has the path as $1 and the file as input; a failing one costs its file alone.
printf 'sirhc' >'docs/x y.rev'
printf 'x' >docs/bad.REV
printf 'sdrawkcab\n' >docs/t.odd
"$QUIRE" index --kv none --filter 'rev=test -s "$1" && test -f "docs/x y.rev" && [ "$(basename "$1")" != bad.REV ] && { rev; echo " and the walrus"; }' \
    --filter 'odd=exit 0' 2>err; echo "exit $?"
files
sed "s|$PWD/||" err
"$QUIRE" search --json walrus | grep -c 'chris and the walrus'
index --filter nothing 2>err; echo "exit $?"; sed "s|$PWD||" err
index --filter '=x' 2>err; echo "exit $?"
# What a filter leaves running is stopped; what its limits are.
rm docs/.quireignore
index docs/a.txt --store new --filter 'txt=cat; (sleep .4; echo late >late) >/dev/null 2>&1 </dev/null & ulimit -t; ulimit -c'; echo "exit $?"
sleep .8; ls late 2>/dev/null
"$QUIRE" search --store new --json walrus | grep -c '120\\n0'

