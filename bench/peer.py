#!/usr/bin/env python3
"""Quire beside llama.cpp: prefill, decode, first token, page load, in paired runs, as a table for BENCHMARKS.md.

    bench/peer.py --work /tmp/peer                          # every row; about three hours of a quiet machine
    bench/peer.py --work /tmp/peer --rows 'decode*:135m*'   # some; --list names them, --again measures anew

Run by a Python that has llama-cpp-python. Models are made in --work: random weights, Q8_0 by mkmodel, Q4_K_M by
llama.cpp's quantiser from mkmodel's F16. A row alternates one run of each program, each in a process of its own, until
it has --pairs of them or its --limit of seconds is over; the median of each and of the pairs' ratios count. Rows that
are done are kept in WORK/results.json: a run that was cut short goes on.

llama.cpp prefills with flash attention and decodes without, its faster setting for each. Its prefill in batches of 512
stops at half the row's limit; the rest follows from a line through the batches' times (exact in what attention
costs) and is marked "extrapolated". Decoding and saved states over N tokens use N cells that hold copies of the keys
of 512 tokens: the arithmetic is that of N different ones. Quire reads a stored document; its first token counts from exec to
the first byte on stdout, llama.cpp's from loading the model in a running interpreter. "Cold" means that store, model and program
were dropped from the page cache (posix_fadvise); the peer stays warm there.
"""
import argparse, ctypes, fnmatch, json, os, random, statistics, subprocess, sys, time

QUESTION = "what is the name of the first one that was seen in the story and when did it come"
ASKED, WRITTEN, BATCH, SHARE = 32, 64, 512, {"f16": 1, "q8": .53, "q4": .281}  # of f16's bytes (BENCHMARKS.md)
MODELS = {f"{shape}-{kind}": (shape, kind) for shape in ("135m", "1b") for kind in ("q8_0", "q4_k")}
Q8 = [m for m in MODELS if m.endswith("q8_0")]


def rows(args):
    """name -> (what, model, number, unit)"""
    n = args.tokens
    kinds = [("prefill", BATCH, MODELS, "tokens/s"), ("prefill", n // 4, Q8, "tokens/s"), ("prefill", n, Q8, "tokens/s"),
             ("decode", 0, MODELS, "tokens/s"), ("stored", n, Q8, "tokens/s"), ("warm", n, Q8, "ms"), ("cold", n, Q8, "ms")]
    table = {f"{what}-{k}:{m}": (what, m, k, unit) for what, k, models, unit in kinds for m in models}
    return table | {f"load-{codec}:135m-q8_0": ("load", "135m-q8_0", codec, "GB/s of f16") for codec in SHARE}


# --- llama.cpp, in a process of its own ---

class Peer:
    def __init__(self, job):
        import llama_cpp as ll
        self.ll, start = ll, time.monotonic()
        self.model = ll.llama_model_load_from_file(job["model"].encode(), ll.llama_model_default_params())
        p = ll.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch = job["context"] + 2 * BATCH, BATCH, BATCH
        p.n_threads = p.n_threads_batch = job["threads"]
        p.n_seq_max, p.kv_unified, p.flash_attn_type = 64, True, int(job["flash"])
        self.context = ll.llama_init_from_model(self.model, p)
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.memory, self.load_s = ll.llama_get_memory(self.context), time.monotonic() - start

    def eval(self, n):
        """Seconds for n tokens behind those that are there, their last logits at hand."""
        ids = (self.ll.llama_token * n)(*(random.randrange(self.vocab) for _ in range(n)))
        start = time.monotonic()
        if self.ll.llama_decode(self.context, self.ll.llama_batch_get_one(ids, n)):
            sys.exit("llama_decode failed")
        self.ll.llama_get_logits(self.context)[0]
        return time.monotonic() - start

    def fill(self, n):
        self.eval(BATCH)
        data = (ctypes.c_uint8 * self.ll.llama_state_seq_get_size(self.context, 0))()
        self.ll.llama_state_seq_get_data(self.context, data, len(data), 0)
        for i in range(1, n // BATCH):
            if not self.ll.llama_state_seq_set_data(self.context, data, len(data), i):
                sys.exit("cannot copy cells")
            self.ll.llama_memory_seq_cp(self.memory, i, 0, -1, -1)

    def prefill(self, job):
        self.eval(BATCH // 4)
        self.ll.llama_memory_clear(self.memory, True)
        took, n = [], job["n"] // BATCH
        while len(took) < n and (len(took) < 2 or sum(took) < job["limit"]):
            took.append(self.eval(BATCH))
        rest = range(len(took), n)
        line = statistics.linear_regression(range(len(took)), took) if rest else (0, 0)
        seconds = sum(took) + sum(line[0] * i + line[1] for i in rest)
        return {"value": job["n"] / seconds, "extrapolated": len(took) * BATCH if rest else 0}

    def decode(self, job):
        self.fill(job["n"]) if job["n"] else self.eval(1)
        self.eval(1)
        return {"value": WRITTEN / sum(self.eval(1) for _ in range(WRITTEN))}

    def save(self, job):
        self.fill(job["n"])
        if not self.ll.llama_state_save_file(self.context, job["state"].encode(), (self.ll.llama_token * 1)(0), 0):
            sys.exit("cannot save the state")
        return {"value": 0}

    def restore(self, job):
        start, n = time.monotonic(), ctypes.c_size_t(0)
        if not self.ll.llama_state_load_file(self.context, job["state"].encode(), (self.ll.llama_token * 1)(), 1, ctypes.byref(n)):
            sys.exit("cannot load the state")
        loaded = time.monotonic() - start
        asked = self.eval(ASKED)
        return {"value": (self.load_s + loaded + asked) * 1e3, "but_prefill_ms": (self.load_s + asked) * 1e3}


def run_peer():
    job = json.load(sys.stdin)
    peer = Peer(job)
    print(json.dumps(getattr(peer, job["do"])(job)))


# --- one run of each ---

class Late(Exception):
    pass


def run(args, command, **more):
    try:
        return subprocess.run(command, check=True, capture_output=True, timeout=4 * args.limit, **more).stdout
    except subprocess.TimeoutExpired:
        raise Late(f"{os.path.basename(command[0])} was stopped after {4 * args.limit} s")
    except subprocess.CalledProcessError as e:
        sys.exit(f"{' '.join(command)}: {e.stderr[-2000:].decode(errors='replace')}")


def peer(args, do, model, n, flash, **more):
    job = {"do": do, "model": model, "n": n, "context": n, "flash": flash, "threads": args.threads, "limit": args.limit / 2, **more}
    return json.loads(run(args, [sys.executable, __file__, "--peer"], input=json.dumps(job).encode()).splitlines()[-1])


def bench(args, model, test, *rest, threads=0):
    out = run(args, [args.quire, "bench", "--model", model, "--test", test, "--repeat", "1", "--json",
                     "--threads", str(threads or args.threads), *map(str, rest)])
    return json.loads(out.splitlines()[-1])["value"]


def ask(args, store, *rest):
    return [args.quire, "ask", QUESTION, "--store", store, "--pages", "4096", "--quiet", "--threads", str(args.threads), *rest]


def forget(*paths):
    """Drop files and all files of folders from the page cache."""
    for path in paths:
        for name in [path] if os.path.isfile(path) else [os.path.join(d, f) for d, _, fs in os.walk(path) for f in fs]:
            fd = os.open(name, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def first_byte_ms(args, command):
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        p.stdout.read(1)
        took = time.monotonic() - start
        p.stdout.read()
    return took * 1e3


def stored(args, store):
    made = json.loads(run(args, ask(args, store, "--max-tokens", str(WRITTEN), "--draft", "none", "--json")))
    return {"value": (made["tokens"]["generated"] - 1) * 1e3 / made["timing_ms"]["decode"], "loaded": made["tokens"]["loaded"],
            "slices": made["pages"]["slices_read"]}


def pair(args, what, name, n, results):
    """(quire's, the peer's or None) of one run each."""
    model = make_model(args, name)
    if what == "prefill":
        return {"value": bench(args, model, "prefill", "--tokens", n)}, peer(args, "prefill", model, n, True)
    if what == "decode":
        return {"value": bench(args, model, "decode", "--context", n)}, peer(args, "decode", model, n, False)
    if what == "load":
        value = bench(args, model, "page_load", "--context", 2048, "--codec", n, threads=1)
        return {"value": value / SHARE[n]}, None
    store = make_store(args, name, model, n)
    if what == "stored":
        return stored(args, store), peer(args, "decode", model, n, False)
    if what == "cold":
        forget(store, model, args.quire)
    else:
        first_byte_ms(args, ask(args, store, "--max-tokens", "1"))
    return {"value": first_byte_ms(args, ask(args, store, "--max-tokens", "1"))}, restored(args, name, model, n, results)


def restored(args, name, model, n, results):
    """llama.cpp's full prefill, from that row, and what comes with it; and from a saved state."""
    state = os.path.join(args.work, f"{name}-{n}.state")
    if not os.path.exists(state):
        peer(args, "save", model, n, False, state=state)
    made, full = peer(args, "restore", model, n, False, state=state), results.get(f"prefill-{n}:{name}")
    if not full or "peer" not in full:
        return {"value": made["value"], "saved": True}
    return {"value": n * 1e3 / full["peer"] + made["but_prefill_ms"], "state_ms": made["value"],
            "extrapolated": full.get("extrapolated", 0)}


# --- models and stores ---

def make_model(args, name):
    shape, kind = MODELS[name]
    path, tmp = os.path.join(args.work, name + ".gguf"), os.path.join(args.work, "making.gguf")
    if os.path.exists(path):
        return path
    reader = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "quire-reader.gguf")
    make = [args.mkmodel, "--random", "--shape", shape, "--vocab-from", reader, "--type"]
    run(args, make + ["Q8_0" if kind == "q8_0" else "F16", "-o", tmp])
    if kind != "q8_0":
        half, tmp = tmp, tmp + ".q4"
        run(args, [sys.executable, "-c", "import sys, llama_cpp as ll; p = ll.llama_model_quantize_default_params(); "
                   "p.ftype = ll.LLAMA_FTYPE_MOSTLY_Q4_K_M; "
                   "sys.exit(ll.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), p))", half, tmp])
        os.remove(half)
    os.rename(tmp, path)
    return path


def make_store(args, name, model, n):
    """A store of one document of the examples' words, about n tokens, as often as it takes."""
    store, text = os.path.join(args.work, f"{name}-{n}.store"), os.path.join(args.work, f"{n}.txt")
    if os.path.exists(store + ".done"):
        return store
    words = [w for d, _, files in sorted(os.walk(args.corpus)) for f in sorted(files)
             for w in open(os.path.join(d, f), errors="replace").read().split()]
    random.Random(1).shuffle(words)
    words = (words * (n // len(words) + 1))[:n]
    count = len(run(args, [args.quire, "tokenize", "--model", model, "--whole"], input=" ".join(words).encode()).split())
    words = words[: n * len(words) // count]
    with open(text, "w") as f:
        f.write("\n\n".join(" ".join(words[i:i + 60]) + "." for i in range(0, len(words), 60)))
    run(args, [args.quire, "index", text, "--store", store, "--model", model, "--kv", "eager", "--quiet", "--threads", str(args.threads)])
    open(store + ".done", "w").close()
    return store


# --- rows and their table ---

def measure(args, name, row, results):
    ours, theirs, start = [], [], time.monotonic()
    note = {"load": os.getloadavg()[0], "pairs": 0, "commit": args.commit, "date": time.strftime("%Y-%m-%d")}
    while note["pairs"] < args.pairs and (not ours or time.monotonic() - start < args.limit):
        a, b = pair(args, *row[:3], results)
        ours.append(a.pop("value"))
        theirs.append(b.pop("value") if b else 0)
        note |= a | (b or {}) | {"pairs": len(ours)}
    better = (lambda a, b: b / a) if row[3] == "ms" else (lambda a, b: a / b)
    note |= {"quire": statistics.median(ours)}
    if theirs[0]:
        note |= {"peer": statistics.median(theirs), "ratio": statistics.median(map(better, ours, theirs))}
    return note


def table(args, results):
    print("| row | Quire | llama.cpp | ratio | pairs | load | notes |\n|---|---|---|---|---|---|---|")
    for name, (what, model, n, unit) in rows(args).items():
        r = results.get(name)
        if not r:
            continue
        notes = [r["missing"]] if "missing" in r else []
        empty = results.get(f"decode-0:{model}", {}).get("quire")
        if what == "stored" and empty and "quire" in r:
            notes.append(f"{r['quire'] / empty:.2f} of Quire's own empty rate, {r['loaded']} tokens loaded")
        if r.get("extrapolated"):
            notes.append(f"llama.cpp extrapolated from {r['extrapolated']} tokens")
        if r.get("saved"):
            notes.append("llama.cpp from a saved state")
        if r.get("state_ms"):
            notes.append(f"llama.cpp from a saved state {r['state_ms']:.0f} ms")
        cells = [f"{r[k]:.4g}" if k in r else "" for k in ("quire", "peer", "ratio")]
        print(f"| {name} | {cells[0]} {unit} | {cells[1]} | {cells[2]} | {r.get('pairs', 0)} | {r['load']:.1f} | {'; '.join(notes)} |")


def main():
    if "--peer" in sys.argv:
        return run_peer()
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", required=True)
    p.add_argument("--quire", default=os.path.join(here, "quire"))
    p.add_argument("--mkmodel", default=os.path.join(here, "build/release/mkmodel"))
    p.add_argument("--corpus", default=os.path.join(here, "examples/corpus"))
    p.add_argument("--rows", default="*", help="names or patterns, separated by commas")
    p.add_argument("--tokens", type=int, default=16384, help="the longest document, a multiple of 2048")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--limit", type=float, default=600, help="seconds of a row after which no pair is begun")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--again", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--print", action="store_true", help="only print the table of what is measured")
    args = p.parse_args()
    args.quire, args.mkmodel, args.work = map(os.path.abspath, (args.quire, args.mkmodel, args.work))
    args.commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    os.makedirs(args.work, exist_ok=True)
    path = os.path.join(args.work, "results.json")
    results = json.load(open(path)) if os.path.exists(path) else {}
    for name, row in rows(args).items():
        if not any(fnmatch.fnmatch(name, pattern) for pattern in args.rows.split(",")):
            continue
        if args.list:
            print(name)
        elif not args.print and (args.again or "quire" not in results.get(name, {})):
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            try:
                results[name] = measure(args, name, row, results)
            except Late as e:
                results[name] = {"missing": str(e), "load": os.getloadavg()[0]}
            with open(path + ".new", "w") as f:
                json.dump(results, f, indent=1)
            os.rename(path + ".new", path)
    if not args.list:
        table(args, results)


if __name__ == "__main__":
    main()
