"""Trains the reader on generated examples.

    python3 train.py --run /opt/reader/a --start ../quire-reader.gguf --steps 2000
    python3 train.py --run /opt/reader/a --resume            goes on from the last checkpoint
    python3 train.py --run /opt/reader/g --device cuda --workers 14 --tokens 48000 --minutes 9

On the CPU --workers processes share the weights; each takes the next part of a step when it is done
with the last, so one that has to share its core with other work holds up nobody. On a GPU the
workers only make the batches. Part i depends on the seed and i alone, so a resumed run sees what an
unbroken one would, up to rounding.

The learning rate is held, then falls to 0 over the last FALL of the run. How far the run is, is
told by --steps, or by the clock: --until HH:MM, or --minutes of --total minutes in all, for
machines that are lent for minutes at a time. The loop sleeps while the file given by --pause
exists. Checkpoints are written every --save minutes and at the end."""

import argparse
import json
import multiprocessing
import os
import random
import time

import model as M  # first: it sets OpenBLAS up
import numpy as np
import torch

import bpe
import gguf_io
import heads
import pages
from device import Feed
from muon import Optimizer
from pack import Batch, Options, pack

FALL = 0.6  # last share of the run, in which the learning rate falls to 0


def one_options(r):
    docs = r.random() < 0.75
    missing = r.random() < 0.25
    return Options(
        mode="docs" if docs else "joint",
        page=r.choice((64, 96, 128, 128, 128)),
        drop=r.choice((0.2, 0.4)) if missing else 0.0,
        gap=r.random() < 0.5,
        hide=docs and r.random() < 0.6,
    )


def make_batch(tok, seed, part, progress, tokens, pad=False):
    r = random.Random(seed * 1_000_003 + part)
    items, size = [], 0
    while size < tokens:
        p = pack(tok, pages.draw(r, progress), r, one_options(r))
        if p:
            items.append(p)
            size += len(p.tok)
    batch = Batch(items, pad)
    batch.levels = 7 if progress > 0.6 and r.random() < 0.2 else 0  # rounding of KV
    return batch


def per_question(batch, hit):
    """kind and correctness of every question (all its tokens right, which is what greedy decoding
    needs)."""
    ok = np.ones(batch.group.max() + 1)
    np.minimum.at(ok, batch.group, hit)
    return [q.kind for q in batch.questions], ok


def one_pass(net, batch, parts):
    """Adds the gradient of one part out of `parts`. Returns what the log wants of it."""
    n = len(batch.rows)
    weight = torch.full((n,), 1.0 / (n * parts), device=batch.tok.device)
    loss, hit = net.loss(batch, weight, batch.levels)
    loss.backward(torch.ones_like(loss))
    kinds, ok = per_question(batch, hit.cpu().numpy())
    return len(batch.tok), float(loss.detach().mean()), kinds, ok


class Team:
    """Processes that share weights, gradients and optimizer state; `self` is the first of them."""

    def __init__(self, a, tok, net, opt, step):
        self.a, self.tok, self.net, self.opt = a, tok, net, opt
        for t in [*net.w.values()] + [t for s in opt.state.values() for t in s]:
            t.detach().share_memory_()
        self.grads = [
            {k: torch.zeros_like(w).share_memory_() for k, w in net.w.items()}
            for _ in range(a.workers)
        ]
        self.keys = [[] for _ in range(a.workers)]  # who updates what
        for i, k in enumerate(sorted(net.w, key=lambda k: -net.w[k].numel())):
            self.keys[i % a.workers].append(k)
        self.taken = multiprocessing.Value("q", 0)
        self.order = multiprocessing.Array("d", 3)  # progress, rate, rate of Adam
        self.barrier = multiprocessing.Barrier(a.workers)
        self.reports = multiprocessing.Queue()
        self.seen, self.sums = 0, {}
        for i in range(1, a.workers):
            multiprocessing.Process(target=self.follow, args=(i, step), daemon=True).start()

    def follow(self, i, step):
        torch.set_num_threads(1)
        while True:
            self.barrier.wait()
            self.work(i, step)
            step += 1

    def work(self, i, step):
        progress, rate, adam = self.order
        while True:
            with self.taken.get_lock():
                part, self.taken.value = self.taken.value, self.taken.value + 1
            if part >= self.a.parts:
                break
            batch = make_batch(
                self.tok, self.a.seed, step * self.a.parts + part, progress, self.a.tokens
            )
            self.reports.put(one_pass(self.net, batch, self.a.parts))
        for k, w in self.net.w.items():
            if w.grad is None:
                self.grads[i][k].zero_()
            else:
                self.grads[i][k].copy_(w.grad)
                w.grad = None
        self.barrier.wait()
        mine = {k: sum(g[k] for g in self.grads) for k in self.keys[i]}
        self.opt.step(mine, rate, adam)
        self.barrier.wait()

    def step(self, step, progress, rate, adam):
        self.order[:] = progress, rate, adam
        self.taken.value = 0
        self.barrier.wait()
        self.work(0, step)
        for _ in range(self.a.parts):
            tokens, loss, kinds, ok = self.reports.get()
            self.seen += tokens
            for k, x in zip(["loss", *kinds], [loss, *ok]):
                self.sums.setdefault(k, []).append(x)

    def stats(self):
        """(tokens, {kind: share right, "loss": mean}) since the last call."""
        out = self.seen, {k: round(float(np.mean(v)), 3) for k, v in sorted(self.sums.items())}
        self.seen, self.sums = 0, {}
        return out


DEV = {
    "seen1": ("things", 60, dict(new=True)),
    "seen8": ("things", 520, dict(new=True)),
    "unseen1": ("things", 60, dict(types=pages.UNSEEN)),
    "unseen8": ("things", 520, dict(types=pages.UNSEEN)),
    "span": ("span", 700, dict(held=True, documents=2)),
    "prose1": ("prose", 60, dict(held=True)),
    "prose4": ("prose", 400, dict(held=True)),
    "cloze8": ("text", 520, dict(held=True, cloze=1.0)),
}


def dev_sets(tok, device):
    out = {}
    for name, (kind, words, how) in DEV.items():
        r = random.Random(name)
        ex = [pages.make(r, kind, words, 10, 0.15, **how) for _ in range(30 if words < 100 else 12)]
        items = [p for p in (pack(tok, e, r, Options(page=128)) for e in ex) if p]
        out[name] = [Batch(items[i : i + 4]).to(device) for i in range(0, len(items), 4)]
    return out


def evaluate(net, sets):
    res, gpu = {}, net.table.is_cuda
    with torch.no_grad(), M.bfloat16_products(gpu):
        for name, batches in sets.items():
            right, none = [], []
            for b in batches:
                hit = net.loss(b, torch.ones_like(b.target).float())[1]
                kinds, ok = per_question(b, hit.cpu().numpy())
                for k, x in zip(kinds, ok):
                    (none if k == "none" else right).append(x)
            res[name] = round(float(np.mean(right)), 3)
            res[name + ".none"] = round(float(np.mean(none)), 2) if none else None
    return res


def save(path, net, opt, step, progress, args):
    torch.save(
        dict(
            shape=net.shape,
            w={k: w.detach().cpu() for k, w in net.w.items()},
            state={k: [t.cpu() for t in s] for k, s in opt.state.items()},
            opt_steps=opt.steps,
            step=step,
            progress=progress,
            args=vars(args),
        ),
        path + ".tmp",
    )
    os.replace(path + ".tmp", path)


def seconds_until(clock):
    h, m = map(int, clock.split(":"))
    t = time.localtime()
    return (h * 60 + m - t.tm_hour * 60 - t.tm_min) * 60 - t.tm_sec


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--run", required=True)
    ap.add_argument(
        "--start", default="", help="GGUF to take weights from; without it hand-set weights"
    )
    ap.add_argument("--tokenizer", default=os.path.join(M.HERE, "..", "quire-reader.gguf"))
    ap.add_argument("--resume", action="store_true")
    ap.add_argument("--steps", type=int, default=2000)
    ap.add_argument("--until", default="")
    ap.add_argument("--minutes", type=float, default=0)
    ap.add_argument("--total", type=float, default=0, help="minutes of all runs; --minutes if 0")
    ap.add_argument("--done", type=float, default=0, help="share of all runs that --start has done")
    ap.add_argument("--rate", type=float, default=0.008)
    ap.add_argument("--adam", type=float, default=0.0015)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--tokens", type=int, default=1600, help="tokens of one part, about")
    ap.add_argument("--parts", type=int, default=4, help="parts of a step")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--device", default="cpu", help="cuda: with plain.py")
    ap.add_argument("--shape", default="{}", help='JSON, e.g. {"layers": 10, "hidden": 1024}')
    ap.add_argument("--save", type=float, default=4.0)
    ap.add_argument(
        "--test", type=float, default=15.0, help="minutes between dev lines, 0: none but the last"
    )
    ap.add_argument("--show", type=float, default=30.0, help="seconds between log lines")
    ap.add_argument("--pause", default="/tmp/pause-training")
    return ap.parse_args()


def first_state(a, tok, check):
    """What a checkpoint holds, of a new or a resumed run."""
    if a.resume and os.path.exists(check):
        return torch.load(check, map_location="cpu")
    if a.start:
        w, shape = gguf_io.read(a.start)[:2]
    else:
        batches, common = heads.examples(tok)
        w, shape = heads.initial(dict(M.SHAPE, **json.loads(a.shape)), a.seed, batches, common)
    return dict(w=w, shape=shape, step=0, progress=a.done)


def main():
    a = arguments()
    torch.set_num_threads(1)
    _, _, vocab, merges = gguf_io.read(a.tokenizer)
    tok, check = bpe.Tokenizer(vocab, merges), a.run + ".pt"
    log = open(a.run + ".log", "a")

    def say(*x):
        line = time.strftime("%H:%M:%S ") + " ".join(map(str, x))
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    c = first_state(a, tok, check)
    step, done = c["step"], c["progress"]
    say("start at step", step, vars(a))
    team = None
    if a.device != "cpu" or M.ext is None:
        torch.backends.cuda.matmul.allow_tf32 = True
        make = lambda part, now: make_batch(tok, a.seed, part, now, a.tokens, pad=True)
        team = Feed(make, a.workers, step)
    net = M.Model(c["shape"], {k: v.detach() for k, v in c["w"].items()}, a.device)
    opt = Optimizer(net)
    if "state" in c:
        opt.steps = c["opt_steps"]
        opt.state = {k: [t.to(a.device) for t in s] for k, s in c["state"].items()}
    if team:
        team.begin(net, opt, a.device)
    else:
        team = Team(a, tok, net, opt, step)
    sets = dev_sets(tok, a.device)
    if a.test:
        say("DEV", evaluate(net, sets))
    start, seconds, part = time.time(), 0, 1 - done
    if a.until:
        seconds = seconds_until(a.until)
    elif a.minutes:
        seconds, part = a.minutes * 60, min(1 - done, a.minutes / (a.total or a.minutes))
    shown = saved = tested = time.time()
    progress = done
    while True:
        while os.path.exists(a.pause):
            time.sleep(0.5)
            start += 0.5
        gone = time.time() - start
        progress = done + part * gone / seconds if seconds else step / a.steps
        if progress >= 1 or seconds and gone > seconds:
            break
        scale = min(1.0, (step + 1) / 30, (1 - progress) / FALL)
        team.step(step, progress, a.rate * scale, a.adam * scale)
        step += 1
        now = time.time()
        if now - shown > a.show:
            seen, means = team.stats()
            now = time.time()
            say("step", step, "%.3f" % progress, "%.0f tok/s" % (seen / (now - shown)), means)
            shown = now
        if now - saved > 60 * a.save:
            saved = now
            save(check, net, opt, step, progress, a)
        if a.test and now - tested > 60 * a.test:
            say("DEV", evaluate(net, sets))
            tested = shown = time.time()
    save(check, net, opt, step, min(progress, 1.0), a)
    say("DEV", evaluate(net, sets))
    say("end at step", step)


if __name__ == "__main__":
    main()
