# Without the right to write the store everything that only reads works, and the rest says so; what cannot be read of
# the documents is counted and kept. No mode stops root, who becomes nobody for this.
. "$ROOT/tests/cli/lib"
plain() { sed -E "s,$PWD,DIR,g; s/[0-9]+ tokens.*/N tokens/"; }
nobody='timeout -k 2 20'
[ "$(id -u)" != 0 ] || nobody="setpriv --reuid=65534 --regid=65534 --clear-groups $nobody"
mkdir docs tmp
echo 'the badar bafen bagol bahux' >docs/ba.txt
"$B/mkmodel" --copy -o m.gguf
"$QUIRE" index -q docs --store s --model m.gguf --kv eager >/dev/null
cp "$QUIRE" program && chmod 755 . program && chmod 1777 tmp
[ "$(id -u)" != 0 ] || chown -R 65534:65534 s docs m.gguf
printf '#!/bin/sh\nexec %s "%s/program" "$@"\n' "$nobody" "$PWD" >as_nobody && chmod 755 as_nobody
QUIRE=$PWD/as_nobody
"$QUIRE" status --store s >/dev/null 2>&1 || skip "cannot become another user here, or not in this folder"
export TMPDIR="$PWD/tmp"

chmod -R a-w s
x ask 'what follows badar?' --store s | plain
x search badar --store s | plain
x check --store s | sed 's/:.*//'
x index --store s | plain
x gc --store s
x rm docs --store s
x check --repair --store s
chmod u+w s && rm s/lexical.idx && chmod a-w s
x search badar --store s | plain
x ask 'what follows badar?' --store s | head -n 2
ls tmp
chmod 0 s
x search badar --store s | plain
chmod 700 s
chmod 0 m.gguf
x ask x --store s | plain
chmod -R u+w s && chmod 644 m.gguf

mkdir docs/dark
echo 'the cedar cefen cegol cehux' >docs/dark/ce.txt
echo more >docs/more.txt
x index --store s | plain
echo changed >>docs/more.txt
chmod 700 docs/dark && chmod 600 docs/more.txt
[ "$(id -u)" = 0 ] || chmod 0 docs/dark docs/more.txt
x index --store s | plain
x ask 'what follows cedar?' --store s | head -n 2
chmod 755 docs/dark && chmod 644 docs/more.txt
x index --store s | plain
