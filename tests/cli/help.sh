# Help is a result: standard output, exit 0, whatever else stands on the line.
. "$ROOT/tests/cli/lib"
x completion -h
x help completion
x completion --help csh --nonsense
"$QUIRE" --version | grep -cE '^quire [0-9]+\.[0-9]+\.[0-9]+$'
"$QUIRE" help >a && "$QUIRE" --help >b && "$QUIRE" -h >c && cmp a b && cmp a c
"$QUIRE" help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' >verbs
# Every verb explains itself, within 80 columns and without an option that is explained twice.
while read -r verb; do
    "$QUIRE" "$verb" --help >full && "$QUIRE" "$verb" -h >brief || echo "$verb: no help"
    grep -q "^usage: quire $verb " full || echo "$verb: no usage line"
    awk -v v="$verb" 'length > 80 { print v ": wide: " $0 }' full
    grep -oE '^  (-., |    )--[a-z-]+' full | sort | uniq -d
    grep -qF "quire $verb " full || echo "$verb: name missing"
done <verbs
# The manual and the completions know every verb too.
"$QUIRE" help --man >man
for shell in bash zsh fish; do "$QUIRE" completion $shell >completion.$shell; done
while read -r verb; do
    grep -qF "\"quire $verb [options]" man || echo "$verb: not in the manual"
    "$QUIRE" completion words | grep -q "^$verb	" || echo "$verb: not completed"
    "$QUIRE" completion words "$verb" | grep -q '^--json	' || echo "$verb: options are not completed"
done <verbs
if command -v bash >/dev/null; then
    bash -c '. ./completion.bash; COMP_WORDS=("$QUIRE" comp) COMP_CWORD=1; _quire; echo "${COMPREPLY[@]}" | tr " " "\n" | grep -x completion
        COMP_WORDS=("$QUIRE" help --ma) COMP_CWORD=2; _quire; echo "${COMPREPLY[@]}"
        COMP_WORDS=("$QUIRE" ask --draft n) COMP_CWORD=3; _quire; echo "${COMPREPLY[@]}"
        COMP_WORDS=("$QUIRE" ask --draft = n) COMP_CWORD=4; _quire; echo "${COMPREPLY[@]}"
        COMP_WORDS=("$QUIRE" eval r) COMP_CWORD=2; _quire; echo "${COMPREPLY[@]}"
        COMP_WORDS=("$QUIRE" help mod) COMP_CWORD=2; _quire; echo "${COMPREPLY[@]}"
        COMP_WORDS=("$QUIRE" help REA) COMP_CWORD=2; _quire; echo "${#COMPREPLY[@]}"'
fi
if command -v zsh >/dev/null; then zsh -n completion.zsh; fi
if command -v fish >/dev/null; then fish -n completion.fish; fi
if command -v man >/dev/null && command -v groff >/dev/null; then
    man --warnings -E UTF-8 -l -Tutf8 ./man 2>&1 >/dev/null | head -3
fi
