# A folder of summaries over several nights: what is new, changed, gone, unreadable, in the way; the model; the clock.
. "$ROOT/tests/cli/lib"
plain() { sed -E "s,$PWD,DIR,g; s/\"seconds\":[0-9.e-]+/\"seconds\":N/; s/\"content_hash\": \"[0-9a-f]*/\"content_hash\": \"HASH/; s/-[0-9a-f]{16}\.(md|json|txt)/-HASH.\1/; s/(\"score\": |process )[0-9.]+/\1N/"; }
names() { ls out | plain; }
export QUIRE_MODEL="$PWD/m.gguf" QUIRE_STORE="$PWD/s"
"$B/mkmodel" --copy -o m.gguf
mkdir docs
printf '# The ferry\n\nThe old ferry goes over the cold river. The town is near the river and the road. The ferry goes to the town near the river when the moon turns.\n' >docs/ferry.md
printf 'The quiet sea turns under the moon. The ship goes near the cold sand and the sea.\n' >docs/sea.txt
printf 'The house is old. The road goes over the hill to the house and the town near it.\n' >docs/road.txt
x summarize docs
x summarize docs --out docs/out --extractive | plain
x summarize docs --out out --extractive --length 20
names
cat out/ferry-* | plain
x summarize --out out --extractive --length 20 --json | plain
echo '-- two nights on: one edited, one gone, one new'
printf 'The ship is old. The quiet sea goes over the sand near the old ship and the town.\n' >docs/sea.txt
rm docs/road.txt
printf 'The hill is near the town. The river goes under the road near the hill and the house.\n' >docs/hill.txt
x summarize --out out --extractive --length 20 --json | plain
names
echo '-- other options count, unless only changes do'
x summarize --out out --extractive --length 20 --format json --changed --json | plain
x summarize --out out --extractive --length 20 --format json --json | plain
names
cat out/ferry-* | plain
echo '-- a summary that was lost or spoilt is made again; so is one whose write was cut off'
rm out/ferry-*
: >out/sea-0000000000000000.json.tmp.123
for f in out/sea-*.json; do echo x >>"$f"; done
printf '00' >>out/manifest.tsv
x summarize --out out --extractive --length 20 --format json --json | plain
names
sed 1d out/manifest.tsv | cut -f 5- | plain
echo '-- under one folder only; then gone'
mkdir docs/sub && printf 'The small house is quiet near the moon and the hill. The sea is cold.\n' >docs/sub/house.txt
x summarize docs/sub --out out --extractive --length 20 --format json --json | plain
rm -r docs/sub
x summarize --out out --extractive --length 20 --format json --json | plain
echo '-- files of the future: the clock was set back'
touch -d '2100-01-01' docs/* out/*
x summarize --out out --extractive --length 20 --format json --json | plain
printf 'The hill is near the sea. The river goes under the road near the hill and the sea.\n' >docs/hill.txt
x summarize --out out --extractive --length 20 --format json --json | plain
echo '-- someone else is at it'
hold() { (flock 9 && exec sleep 30) 9>>"$1" & holder=$!; while flock -n "$1" true; do :; done; }
hold out/.lock
x summarize --out out --extractive --length 20 --format json | plain
x summarize --out out --extractive --wait --max-time 1 | plain
kill $holder
hold s/lock
x summarize --out out --extractive --length 20 --format json | plain
x summarize --out out --extractive --length 20 --format json --no-sync --json | plain
(sleep 1; kill $holder) &
x summarize --out out --extractive --length 20 --format json --wait --json | plain
echo '-- time is up before anything'
x summarize --out out --extractive --max-time 0.000001 --json | plain
echo '-- another store, a foreign manifest, no model, a model that writes nothing of use'
"$QUIRE" index -q docs --store s2 >/dev/null
x summarize --out out --store s2 --extractive --no-sync | plain
mkdir strange && echo 'not ours' >strange/manifest.tsv
x summarize --out strange --extractive --no-sync | plain
mv m.gguf away.gguf
x summarize --out out --extractive --length 20 --format json | plain
x summarize --out out --extractive --length 20 --format json --no-sync --json | plain
mv away.gguf m.gguf
x summarize --out out --no-sync --prompt none.txt
echo '-- by the model: one pass; sections and their parts; nothing to say'
mkdir model
echo 'the badar bafen bagol bahux' >model/ba.txt
echo 'the old house is near the river' >model/none.txt
i=0
while [ $i -lt 60 ]; do echo "the old house is near the river and the road goes over the hill $i times"; i=$((i + 1)); done >model/long.txt
echo 'what follows badar?' >prompt.txt
x summarize model --store s3 --out out3 --prompt prompt.txt --length 8 --batch 1 --json | plain
cat out3/*.md | plain
"$B/mkmodel" --random --shape tiny --context 512 --seed 1 -o w.gguf
for threads in 1 2; do
    x summarize model/long.txt --model w.gguf --store ws$threads --out w$threads --prompt prompt.txt --length 12 --threads $threads --json | plain
done
sed 's/w2/w1/' w2/*.md | cmp - w1/*.md
x summarize model/long.txt --model w.gguf --store ws1 --no-sync --out w1 --prompt prompt.txt --length 12 --pages 2 --format json --json | plain
grep -E "read|of\"|generated|page_id" w1/*.json
echo '-- a file that cannot be read, or is damaged: the rest is done, what there was stays'
sha256sum out/sea-* >sums
printf 'The town is quiet.\n' >docs/sea.txt && chmod 000 docs/sea.txt
printf '\037\213broken' >docs/bad.gz
echo 'The house near the river is old and quiet now.' >docs/house.txt
if [ "$(id -u)" = 0 ]; then
    cp "$QUIRE" program && chmod 755 . program && chown -R 65534:65534 s out docs m.gguf
    printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups "%s/program" "$@"\n' "$PWD" >as_nobody
    chmod 755 as_nobody && QUIRE=$PWD/as_nobody
fi
x summarize --out out --extractive --length 20 --format json --json | plain
sha256sum -c --quiet sums
