#!/usr/bin/env python3
"""First token over N tokens of one document: quire's stored pages, quire's fresh prompt, and llama.cpp's full
prefill and saved-prefix restore over the same tokens, in turn, medians.

    bench/first_token.py --quire ./quire --model random-135m.gguf --text long.txt --tokens 2048,4096 --runs 5

quire is timed from exec to the first byte on stdout. llama.cpp (package llama-cpp-python in this interpreter) is
timed inside its process from the start of model loading to the first token: its interpreter's start is not
counted against it. The page cache is warm; kv and restore run once before they are counted. Both use THREADS threads.
"""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time

QUESTION = "what is the name of the first one that was seen in the story and when did it come"


def quire(args, *rest):
    return [args.quire, *rest, "--store", args.store, "--threads", str(args.threads)]


def first_byte(command):
    start = time.monotonic()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    p.stdout.read(1)
    took = time.monotonic() - start
    p.stdout.read()
    p.wait()
    return took * 1e3


def peer(args, mode, ids, question, state):
    """One run of llama.cpp in a process of its own; milliseconds, as it measured itself."""
    job = {"model": args.model, "mode": mode, "ids": ids, "question": question, "state": state,
           "threads": args.threads, "context": len(ids) + len(question) + 64}
    out = subprocess.run([sys.executable, __file__, "--peer"], input=json.dumps(job), text=True,
                         capture_output=True)
    if out.returncode != 0:
        sys.exit(out.stderr[-2000:])
    return float(out.stdout.strip().splitlines()[-1])


def run_peer():
    import ctypes
    import llama_cpp as ll
    job = json.load(sys.stdin)
    start = time.monotonic()
    llm = ll.Llama(model_path=job["model"], n_ctx=job["context"], n_threads=job["threads"],
                   n_threads_batch=job["threads"], n_batch=512, verbose=False)
    ids = job["ids"]
    if job["mode"] == "restore":
        buf, n = (ll.llama_token * len(ids))(), ctypes.c_size_t(0)
        if not ll.llama_state_load_file(llm.ctx, job["state"].encode(), buf, len(ids), ctypes.byref(n)):
            sys.exit("cannot restore")
        llm.n_tokens = n.value
    else:
        llm.eval(ids)
    if job["mode"] == "save":  # a full prefill that leaves its state; writing it is not counted
        before = time.monotonic()
        arr = (ll.llama_token * len(ids))(*ids)
        ll.llama_state_save_file(llm.ctx, job["state"].encode(), arr, len(ids))
        start += time.monotonic() - before
    llm.eval(job["question"])
    llm.sample(temp=0.0)
    print((time.monotonic() - start) * 1e3)


def tokenize(args, data):
    out = subprocess.run([args.quire, "tokenize", "--model", args.model, "--whole", "--no-bos"], input=data,
                         capture_output=True, check=True).stdout
    return [int(x) for x in out.split()]


def measure(args, n, text, dir):
    part = text[: int(n * args.bytes_per_token)]
    doc = os.path.join(dir, "doc.txt")
    open(doc, "wb").write(part)
    ids, question = tokenize(args, part), tokenize(args, ("\n\nQuestion: " + QUESTION + "\nAnswer:").encode())
    args.store = os.path.join(dir, "store")
    made = time.monotonic()
    subprocess.run(quire(args, "index", doc, "--model", args.model, "--kv", "eager", "--quiet"), check=True,
                   stdout=subprocess.DEVNULL)
    made = time.monotonic() - made
    ask = quire(args, "ask", QUESTION, "--pages", "4096", "--max-tokens", "1", "--quiet")
    seen = json.loads(subprocess.run(ask + ["--json"], capture_output=True).stdout)
    state = os.path.join(dir, "llama.state")
    rows = {"kv": [], "exact": [], "llama full": [peer(args, "save", ids, question, state)], "llama restore": []}
    for i in range(args.runs + 1):
        got = {"kv": first_byte(ask), "llama restore": peer(args, "restore", ids, question, state)}
        for k, v in got.items():
            if i > 0:
                rows[k].append(v)
    for i in range(args.slow_runs):  # seconds to minutes each: warm by now, one is near enough
        rows["exact"].append(first_byte(ask + ["--fidelity", "exact"]))
        if i > 0:
            rows["llama full"].append(peer(args, "full", ids, question, state))
    kv_bytes = sum(os.path.getsize(os.path.join(args.store, "kv", f)) for f in os.listdir(args.store + "/kv"))
    m = {k: statistics.median(v) for k, v in rows.items()}
    print(json.dumps({"tokens": len(ids), "question": len(question), "loaded": seen["tokens"]["loaded"],
                      "first_token_ms": {k: round(v, 1) for k, v in m.items()},
                      "kv_is_faster_than": {k: round(m[k] / m["kv"], 2) for k in m if k != "kv"},
                      "index_tokens_per_s": round(len(ids) / made), "store_bytes_per_token": round(kv_bytes / len(ids)),
                      "parts_ms": {k: round(v, 1) for k, v in seen["timing_ms"].items()}}), flush=True)
    shutil.rmtree(args.store)


def main():
    if "--peer" in sys.argv:
        return run_peer()
    p = argparse.ArgumentParser()
    p.add_argument("--quire", default="./quire")
    p.add_argument("--model", required=True)
    p.add_argument("--text", required=True)
    p.add_argument("--tokens", default="2048,4096,8192,16384")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--slow-runs", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    args.quire, args.model = os.path.abspath(args.quire), os.path.abspath(args.model)
    text = open(args.text, "rb").read()
    args.bytes_per_token = 100000 / len(tokenize(args, text[:100000]))
    for n in args.tokens.split(","):
        with tempfile.TemporaryDirectory() as dir:
            measure(args, int(n), text, dir)


main()
