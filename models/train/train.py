"""Trains the reader on generated examples.

    python3 train.py --run /opt/reader/a --start ../quire-reader.gguf --steps 2000
    python3 train.py --run /opt/reader/a --resume            goes on from the last checkpoint

Batch i depends only on the seed and i, so a resumed run sees what an unbroken one would. The
learning rate is held, then falls to 0 over the last FALL of the run; --until HH:MM lets the clock
decide instead of --steps (the log says how many steps that were). The loop sleeps while the file
given by --pause exists. Checkpoints are written every --save minutes."""

import argparse
import json
import math
import multiprocessing
import os
import random
import time

import model as M  # first: it sets OpenBLAS up
import numpy as np
import torch

import bpe
import gguf_io
import pages
from pack import Batch, Options, pack

FALL = 0.6  # last share of the run, in which the learning rate falls to 0


def one_options(r, progress):
    docs = r.random() < 0.75
    missing = r.random() < 0.25
    return Options(
        mode="docs" if docs else "joint",
        page=r.choice((64, 96, 128, 128, 128)),
        lm=0.06,
        drop=r.choice((0.2, 0.4)) if missing else 0.0,
        gap=r.random() < 0.5,
        hide=docs and r.random() < 0.6,
    )


def make_batch(tok, seed, step, progress, tokens):
    r = random.Random(seed * 1_000_003 + step)
    items, size = [], 0
    while size < tokens:
        p = pack(tok, pages.draw(r, progress), r, one_options(r, progress))
        if p:
            items.append(p)
            size += len(p.tok)
    return Batch(items)


def producer(queue, tok, a, first, stride, share):
    os.nice(1)
    torch.set_num_threads(1)
    step = first
    while True:
        queue.put(make_batch(tok, a.seed, step, share.value, a.tokens))
        step += stride


def orthogonal(g):
    """Newton-Schulz iterations: the nearest matrix with equal singular values, for a stack of wide
    matrices."""
    x = g / (g.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        a = torch.bmm(x, x.transpose(1, 2))
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x


class Optimizer:
    """Muon for the matrices, Adam for embedding and norms."""

    def __init__(self, net):
        self.net, self.steps = net, 0
        self.state = {
            k: [torch.zeros_like(v) for _ in range(1 if self.is_matrix(k) else 2)]
            for k, v in net.w.items()
        }

    @staticmethod
    def is_matrix(k):
        return k.split(".")[-1] in ("qkv", "o", "gu", "d")

    def parts(self, k):
        s = self.net.shape
        rows = {"qkv": [s["heads"] * 64, s["kv"] * 64, s["kv"] * 64], "gu": [s["hidden"]] * 2}.get(
            k.split(".")[1]
        )
        return rows or [self.net.w[k].shape[0]]

    @torch.no_grad()
    def step(self, rate, adam_rate, decay=0.01):
        self.steps += 1
        groups = {}
        for k, w in self.net.w.items():
            g = w.grad
            w.grad = None
            if not self.is_matrix(k):
                self.adam(k, w, g, adam_rate * (2.0 if k == "emb" else 0.2 if k == "nf" else 1.0))
                continue
            m = self.state[k][0].mul_(0.95).add_(g, alpha=0.05)
            at = 0
            for n in self.parts(k):
                u = g[at : at + n] * 0.05 + m[at : at + n] * 0.95
                tall = u.shape[0] > u.shape[1]
                groups.setdefault(tuple(sorted(u.shape)), []).append(
                    (w[at : at + n], tall, u.t() if tall else u)
                )
                at += n
        for items in groups.values():
            for (w, tall, _), u in zip(items, orthogonal(torch.stack([x[2] for x in items]))):
                u = u.t() if tall else u
                w.mul_(1 - rate * decay).add_(
                    u, alpha=-rate * math.sqrt(max(1.0, u.shape[0] / u.shape[1]))
                )

    def adam(self, k, w, g, rate):
        a, b = self.state[k]
        g = g * min(1.0, 1.0 / (g.norm().item() + 1e-6))
        a.mul_(0.9).add_(g, alpha=0.1)
        b.mul_(0.98).addcmul_(g, g, value=0.02)
        w.addcdiv_(
            a / (1 - 0.9**self.steps), (b / (1 - 0.98**self.steps)).sqrt_().add_(1e-9), value=-rate
        )


def per_question(batch, hit):
    """kind and correctness of every question (all its tokens right, which is what greedy decoding
    needs)."""
    sel = batch.group >= 0
    ok = np.ones(batch.group.max() + 1)
    np.minimum.at(ok, batch.group[sel], hit[sel])
    return [q.kind for q in batch.questions], ok


def weights_of(batch, lm_weight):
    lm = batch.group < 0
    w = np.where(lm, lm_weight / max(1, lm.sum()), 1.0 / max(1, (~lm).sum()))
    return torch.from_numpy(w.astype(np.float32)), lm


DEV = {
    "seen1": ("things", 60, dict(new=True)),
    "seen8": ("things", 520, dict(new=True)),
    "unseen1": ("things", 60, dict(types=pages.UNSEEN)),
    "unseen8": ("things", 520, dict(types=pages.UNSEEN)),
    "span": ("span", 700, dict(held=True, documents=2)),
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
    res = {}
    with torch.no_grad():
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
            w=net.w,
            state=opt.state,
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


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--run", required=True)
    ap.add_argument(
        "--start", default="", help="GGUF to take weights from; without it hand-set weights"
    )
    ap.add_argument("--tokenizer", default=os.path.join(M.HERE, "..", "quire-reader.gguf"))
    ap.add_argument("--resume", action="store_true")
    ap.add_argument("--steps", type=int, default=2000)
    ap.add_argument("--until", default="")
    ap.add_argument("--rate", type=float, default=0.008)
    ap.add_argument("--adam", type=float, default=0.0015)
    ap.add_argument("--lm", type=float, default=0.25)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--tokens", type=int, default=3600, help="tokens a step, about")
    ap.add_argument("--workers", type=int, default=1, help="processes that make batches")
    ap.add_argument("--device", default="cpu", help="cuda: with plain.py")
    ap.add_argument("--shape", default="{}", help='JSON, e.g. {"layers": 10, "hidden": 1024}')
    ap.add_argument("--save", type=float, default=4.0)
    ap.add_argument(
        "--noise",
        type=float,
        default=0.6,
        help="share of the run after which KV rounding is trained",
    )
    ap.add_argument("--pause", default="/tmp/pause-training")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    _, _, vocab, merges = gguf_io.read(a.tokenizer)
    tok, check, step, done = bpe.Tokenizer(vocab, merges), a.run + ".pt", 0, 0.0
    log = open(a.run + ".log", "a")

    def say(*x):
        line = time.strftime("%H:%M:%S ") + " ".join(map(str, x))
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    if a.resume and os.path.exists(check):
        c = torch.load(check, map_location=a.device)
        w = {k: v.detach().clone() for k, v in c["w"].items()}
        net = M.Model(c["shape"], w, device=a.device)
        opt, step, done = Optimizer(net), c["step"], c["progress"]
        opt.state, opt.steps = c["state"], c["opt_steps"]
    else:
        shape = dict(M.SHAPE, **json.loads(a.shape))
        w, shape = gguf_io.read(a.start)[:2] if a.start else (None, shape)
        net = M.Model(shape, w, a.seed, device=a.device)
        opt = Optimizer(net)
    say("start at step", step, vars(a))
    share = multiprocessing.Value("d", done)
    queues = [multiprocessing.Queue(6) for _ in range(a.workers)]
    for i, q in enumerate(queues):
        args = (q, tok, a, step + i, a.workers, share)
        multiprocessing.Process(target=producer, args=args, daemon=True).start()
    sets, origin = dev_sets(tok, a.device), step
    say("DEV", evaluate(net, sets))
    begin, total = time.time(), seconds_until(a.until) if a.until else 0
    shown = saved = tested = time.time()
    seen, waited, stats, noise = 0, 0.0, {}, random.Random(a.seed + step)
    while True:
        while os.path.exists(a.pause):
            time.sleep(1)
        progress = done + (1 - done) * (time.time() - begin) / total if a.until else step / a.steps
        if progress >= 1:
            break
        share.value = progress
        t = time.time()
        batch = queues[(step - origin) % a.workers].get().to(a.device)
        waited += time.time() - t
        weight, lm = weights_of(batch, a.lm)
        levels = 7 if progress > a.noise and noise.random() < 0.2 else 0
        loss, hit = net.loss(batch, weight.to(a.device), levels)
        loss.backward(torch.ones_like(loss))
        scale = min(1.0, (step + 1) / 60, (1 - progress) / FALL)
        opt.step(a.rate * scale, a.adam * scale)
        step += 1
        seen += len(batch.tok)
        loss, hit = loss.detach().cpu().numpy(), hit.cpu().numpy()
        stats.setdefault("lm", []).append(loss[lm].mean())
        stats.setdefault("loss", []).append(loss[~lm].mean())
        for k, x in zip(*per_question(batch, hit)):
            stats.setdefault(k, []).append(x)
        now = time.time()
        if now - shown > 30:
            say(
                "step",
                step,
                "%.3f" % progress,
                "%.0f tok/s" % (seen / (now - shown)),
                "wait %.0fs" % waited,
                {k: round(float(np.mean(v)), 3) for k, v in sorted(stats.items())},
            )
            shown, seen, waited, stats = now, 0, 0.0, {}
        if now - saved > 60 * a.save:
            saved = now
            save(check, net, opt, step, progress, a)
        if now - tested > 900:
            say("DEV", evaluate(net, sets))
            tested = shown = time.time()
    save(check, net, opt, step, progress, a)
    say("DEV", evaluate(net, sets))
    say("end at step", step)


if __name__ == "__main__":
    main()
