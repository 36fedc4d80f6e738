# examples/cron: the crontab's command says nothing and writes summaries; systemd finds no fault in the units, where it is there.
. "$ROOT/tests/cli/lib"
export HOME="$PWD" QUIRE_MODEL="$PWD/m.gguf" PATH="$PWD/bin:$PATH"
mkdir bin documents && cp "$QUIRE" bin/quire
"$B/mkmodel" --copy -o m.gguf
echo 'The house is near the river and the road goes over the hill to the town.' >documents/a.txt
sed -n 's/^30 2 \* \* \*  //p' "$ROOT/examples/cron/crontab" >line
sh line </dev/null
ls summaries | sed -E 's/-[0-9a-f]{16}/-HASH/'
sh line </dev/null
if command -v systemd-analyze >log; then
    for unit in service timer; do
        sed "s,/usr/local/bin/quire,$PWD/bin/quire," "$ROOT/examples/cron/quire-summarize.$unit" >quire-summarize.$unit
    done
    XDG_RUNTIME_DIR=$PWD systemd-analyze --user verify ./quire-summarize.service ./quire-summarize.timer >log 2>&1 || cat log
    grep quire log
fi
sed -n 's/^ExecStart=[^ ]* summarize //p' "$ROOT/examples/cron/quire-summarize.service" | sed "s,%h,$HOME,g" >arguments
# shellcheck disable=SC2046
quire summarize $(cat arguments) | sed -E 's/.*("done.*"failed":[0-9]+),"stopped.*/\1/'
