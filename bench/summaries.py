#!/usr/bin/env python3
"""Documents an hour: quire summarize over stored pages against llama.cpp prompted with the same text, in one run.

    bench/summaries.py --quire ./quire --model random-1b.gguf --texts reports.jsonl --work /tmp/sum --tokens 4096

Texts are the `input` of JSONL files' rows, cut to about --tokens tokens. The store is made once and kept in
--work. llama.cpp (package llama-cpp-python in this interpreter) reads each text and its prompt and generates as many
tokens as quire did on average; its loading of the model is not counted, quire's is. Wall time, both
with --threads.
"""
import argparse
import json
import os
import shutil
import subprocess
import time

WORDS = 74  # quire's limit; it allows 127 tokens for them


def tokens(args, text):
    out = subprocess.run([args.quire, "tokenize", "--model", args.model, "--whole", "--no-bos"], input=text.encode(),
                         capture_output=True, check=True).stdout
    return [int(x) for x in out.split()]


def make_texts(args):
    folder = os.path.join(args.work, "texts")
    os.makedirs(folder, exist_ok=True)
    for text in (json.loads(line)["input"] for name in args.texts for line in open(name)):
        n = len(tokens(args, text))
        if n >= args.tokens and len(os.listdir(folder)) < args.n:
            with open(os.path.join(folder, f"{len(os.listdir(folder)):02}.txt"), "w") as f:
                f.write(text[: len(text) * args.tokens // n])
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def quire_seconds(args, store, batch):
    out = os.path.join(args.work, "out")
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    subprocess.run([args.quire, "summarize", "--store", store, "--model", args.model, "--no-sync", "--quiet", "--length", str(WORDS),
                    "--format", "json", "--out", out, "--batch", str(batch), "--threads", str(args.threads)], check=True)
    took = time.monotonic() - start
    made = 0
    for name in os.listdir(out):
        if name.endswith(".json"):
            with open(os.path.join(out, name)) as f:
                made += json.load(f)["tokens"]["generated"]
    return took, made


def peer_seconds(args, files, n):
    import llama_cpp
    llm = llama_cpp.Llama(args.model, n_ctx=2 * args.tokens, n_batch=512, n_threads=args.threads,
                          n_threads_batch=args.threads, flash_attn=args.flash, verbose=False)
    question = tokens(args, f"\nQuestion: summarize the document in at most {WORDS} words\nAnswer:")
    start = time.monotonic()
    for path in files:
        with open(path) as f:
            ids = [llm.token_bos()] + tokens(args, f.read()) + question
        llm.reset()
        llm.eval(ids)
        for _ in range(n):
            llm.eval([llm.sample(temp=0.0)])
    return time.monotonic() - start


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quire", default="./quire")
    p.add_argument("--model", required=True)
    p.add_argument("--texts", nargs="+", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--tokens", type=int, default=4096)
    p.add_argument("--n", type=int, default=8)
    p.add_argument("--peer-n", type=int, default=2, help="documents that llama.cpp is timed on")
    p.add_argument("--flash", action="store_true", help="llama.cpp with flash attention")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    files = make_texts(args)
    print("tokens:", [len(tokens(args, open(f).read())) for f in files], flush=True)
    store = os.path.join(args.work, "store")
    if not os.path.exists(store):
        subprocess.run([args.quire, "index", "--kv", "eager", "--store", store, "--model", args.model, "--threads", str(args.threads),
                        os.path.dirname(files[0])], check=True)
    ratios = []
    for _ in range(args.runs):
        took, made = quire_seconds(args, store, args.n)
        theirs = peer_seconds(args, files[: args.peer_n], round(made / len(files))) / args.peer_n
        ratios.append(theirs / (took / len(files)))
        print(f"quire {took / len(files):.2f} s a document ({made / len(files):.0f} tokens written), "
              f"llama.cpp {theirs:.2f} s, ratio {ratios[-1]:.1f}", flush=True)
    if ratios:
        print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.1f}")


if __name__ == "__main__":
    main()
