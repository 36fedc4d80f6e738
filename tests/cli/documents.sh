# Archives, mail and office files: members are documents of their own and live with their file.
. "$ROOT/tests/cli/lib"
export QUIRE_MODEL="$ROOT/models/quire-reader.gguf"
plain() { sed -E 's,'"$PWD"',DIR,g; s/"score":[0-9.e+-]+/"score":N/'; }
cited() { x ask --extract --json "$1" | grep -oE '"(path|member|page_number|byte_start)":[^,]*' | head -n 4 | plain; }
mkdir -p docs in
printf '# The ferry\n\nThe ferry to Norrholm leaves at seven.\n' >in/ferry.md
printf '<title>Light</title><p>The lighthouse was built in 1871.' >in/light.html
cp "$ROOT/tests/corpus/ingest/box.docx" in
tar -C in -czf docs/all.tgz ferry.md light.html box.docx
cat >docs/note.eml <<'EOF'
Subject: Harbour fees
From: Alma Berg <alma@example.org>
To: all
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x

The harbour fee is nine crowns a night.
--x
Content-Disposition: attachment; filename="rules.html"

<p>Dogs must be kept on a leash on every pier.
--x--
EOF
gzip -c in/ferry.md >docs/single.md.gz
x index --kv none docs | plain
x index --kv none docs | plain
cited "When does the ferry to Norrholm leave?"
cited "Where must dogs be kept on a leash?"
x search --files --json "when was the lighthouse built" | grep -oE '"path":"[^"]*light.html"' | plain
x search --files --json --in light.html "when was the lighthouse built" | grep -oE '"path":"[^"]*"' | plain
x search --files --json --in all.tgz "harbour fee lighthouse" | grep -oE '"path":"[^"]*"' | sort | plain
x status 'docs/all.tgz!light.html' | grep -E '^(path|file|format)' | plain
# A new archive: what is gone from it is gone, what stayed keeps its place.
printf '<title>Pier</title><p>The pier is closed in winter.' >in/pier.html
tar -C in -czf docs/all.tgz ferry.md pier.html
x index --kv none docs | plain
x search --files --json "when was the lighthouse built" | grep -c 'light.html'
cited "When is the pier closed?"
# A damaged file is told, the others answer.
head -c 60 docs/all.tgz >docs/cut.tgz
x index --kv none docs | plain
# With its file a member goes and is renamed, and keeps its KV; so does one that moves inside of it or is copied out.
x index --kv eager --quiet docs >/dev/null
mv docs/all.tgz docs/older.tgz
x index --kv eager docs | plain
mv in/pier.html in/piers.html
tar -C in -czf docs/older.tgz ferry.md piers.html
cp in/ferry.md docs
x index --kv eager docs | plain | sed 's/ at .*//'
x summarize docs/older.tgz --out out --extractive --json | plain | grep -oE '"(documents|done)":[0-9]*'
rm docs/ferry.md
rm docs/note.eml
x index --kv none docs | plain
x rm docs/older.tgz | plain
