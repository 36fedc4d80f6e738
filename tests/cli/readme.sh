# README.md's console blocks do what they show: every line after `$ ` is run, in order, and its
# output must be the lines below it. `...` stands for any text in a line, alone on its line for any
# lines.
ln -s "$ROOT/examples" "$ROOT/models" .
cp "$QUIRE" quire # a copy: the program looks for its model beside itself
awk '/^```console$/ { on = 1; next } /^```/ { on = 0 } on' "$ROOT/README.md" >blocks
grep -q '^\$ ' blocks || echo "README.md has no console block"
awk 'sub(/^\$ /, "") { n++; print >("cmd." n); next } { print >("want." n) } END { print n + 0 }' blocks >count
i=0
while [ $((i += 1)) -le "$(cat count)" ]; do
    sh "cmd.$i" >"got.$i" 2>&1 </dev/null
    : >>"want.$i"
    awk '
        # Does the text hold the pattern, "..." standing for anything?
        function fits(text, pattern,    part, n, k, at) {
            n = split(pattern, part, /\.\.\./)
            if (n == 1) return text == pattern
            if (substr(text, 1, length(part[1])) != part[1]) return 0
            text = substr(text, length(part[1]) + 1)
            for (k = 2; k < n; k++) {
                if (!(at = index(text, part[k])) && part[k] != "") return 0
                text = substr(text, at + length(part[k]))
            }
            return length(text) >= length(part[n]) && substr(text, length(text) - length(part[n]) + 1) == part[n]
        }
        wanted { want[++w] = $0; next }
        { got[++g] = $0 }
        END {
            k = 1
            for (j = 1; j <= w; j++) {
                if (want[j] == "...") { free = 1; continue }
                while (free && k <= g && !fits(got[k], want[j])) k++
                if (k > g || !fits(got[k], want[j])) {
                    print "README.md shows: " want[j]
                    print "the program says: " (k > g ? "(nothing more)" : got[k])
                    exit 1
                }
                k++; free = 0
            }
            if (k <= g && !free) { print "the program also says: " got[k]; exit 1 }
        }' wanted=1 "want.$i" wanted=0 "got.$i" || sed 's/^/after: /' "cmd.$i"
done
