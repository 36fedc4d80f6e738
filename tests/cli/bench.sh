# bench says what it should about lengths, windows and units; how fast is not a test's business.
. "$ROOT/tests/cli/lib"
"$B/mkmodel" --copy -o m.gguf
plain() { sed -E 's/"value":[0-9.]*[1-9][0-9.]*,/"value":V,/; s/ +[0-9.]*[1-9][0-9.]*(e\+[0-9]+)? (tokens.s|ms|GB.s|x decode)$/ V \2/; s/numerics [^,]*/numerics N/; s/[0-9]+ threads/N threads/; s/copy-[a-z0-9-]+/MODEL/'; }
x bench --model m.gguf --repeat 1 | plain
x bench --model m.gguf --repeat 3 --json -t 1 -q --tokens 1,129 --context 0,1,200 --codec q8 | plain
x bench --model m.gguf --test page_load --context 256 -t 1 | plain
x bench --model m.gguf --tokens 0 -q
x bench --model m.gguf --context 1x -q
x bench --model m.gguf --tokens 1000000 -q | plain | sed -E 's/has [0-9]+$/has N/'
x bench --model none.gguf
x bench --test speed
# Default lengths beyond a small window are left out.
"$B/mkmodel" --random --context 300 -o small.gguf
"$QUIRE" bench --model small.gguf --repeat 1 --json -q | grep -o '"test.*' | sed 's/"model":"[^"]*",//' | plain
