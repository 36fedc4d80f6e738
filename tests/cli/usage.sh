# What cannot be understood: one line on standard error, exit 2, the way to the help.
. "$ROOT/tests/cli/lib"
x
x hlep
x help hlep
x hlep --json
x help --mna
x help -x
x help --man=yes
x help one two
x help --threads
x help --threads 0
x help --threads 2x
x help --threads=
x help --store ''
x completion
x completion csh
x completion --json csh
x completion -- --json
"$QUIRE" hlep >out 2>err
echo "stdout $(wc -c <out) bytes, stderr $(wc -l <err) line"
"$QUIRE" help "$(printf 'e\033[31mvil\n')" 2>err
cat -v err
