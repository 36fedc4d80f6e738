"""Training on a GPU: processes make padded batches, one process trains.

feed = Feed(make, workers, first)   make(part, progress) -> Batch, in the processes; started before the
                                    device is touched
feed.begin(net, opt, device)
feed.step(step, progress, rate, adam)       the next batch; nothing waits for the device
feed.stats()                        (tokens, {kind: share right, "loss": mean}) since the last call
"""

import multiprocessing
import queue
import threading

from model import bfloat16_products  # first: it sets OpenBLAS up
import numpy as np
import torch

from pack import Batch

KINDS = "things free span prose text cloze wh entry needle hop keys none lm".split()


def ship(batch):
    """What the network reads of a batch, in two arrays."""
    rows = [batch.rows.numpy(), batch.target.numpy(), batch.group]
    kinds = np.array([KINDS.index(k) for k in batch.kind])
    tokens = (batch.tok, batch.pos, batch.run, batch.asks, batch.seen)
    return (
        np.stack([t.numpy() for t in tokens]).astype(np.int32),
        np.stack([*rows, kinds]).astype(np.int32),
        batch.groups,
        batch.levels,
    )


class Shipped(Batch):
    """A batch on the device."""

    def __init__(self, tokens, rows, groups, levels, device):
        tokens, rows = (x.to(device, non_blocking=True) for x in (tokens, rows))
        self.tok, self.pos, self.run, asks, seen = tokens.unbind(0)
        self.asks, self.seen = asks.bool(), seen.bool()
        self.rows, self.target, self.group, self.kind = rows.unbind(0)
        self.groups, self.levels, self.mask_list = groups, levels, None


class Feed:
    def __init__(self, make, workers, first):
        self.progress = multiprocessing.Value("d", 0.0)
        self.queues = [multiprocessing.Queue(3) for _ in range(workers)]
        for i, q in enumerate(self.queues):
            args = (make, q, first + i, workers)
            multiprocessing.Process(target=self.produce, args=args, daemon=True).start()

    def produce(self, make, q, part, stride):
        torch.set_num_threads(1)
        while True:
            q.put(ship(make(part, self.progress.value)))
            part += stride

    def begin(self, net, opt, device):
        self.net, self.opt, self.device = net, opt, device
        self.tokens, self.sums = 0, torch.zeros(len(KINDS) + 1, 2, device=device)
        self.ready = queue.Queue(6)
        threading.Thread(target=self.fetch, daemon=True).start()

    def fetch(self):
        pin = (lambda t: t.pin_memory()) if self.device != "cpu" else lambda t: t
        while True:
            for q in self.queues:
                tokens, rows, *rest = q.get()
                self.ready.put((*(pin(torch.from_numpy(x)) for x in (tokens, rows)), *rest))

    def step(self, step, progress, rate, adam):
        self.progress.value = progress
        b = Shipped(*self.ready.get(), self.device)
        n = len(b.rows)
        weight = torch.full((n,), 1.0 / n, device=self.device)
        with bfloat16_products(self.device != "cpu"):
            loss, hit = self.net.loss(b, weight, b.levels)
        loss.backward(torch.ones_like(loss))
        grads = {k: w.grad for k, w in self.net.w.items()}
        for w in self.net.w.values():
            w.grad = None
        self.opt.step(grads, rate, adam)
        self.tally(b, loss.detach(), hit)

    def tally(self, b, loss, hit):
        """Right is a question all of whose tokens are."""
        n = len(hit)
        group, kind = b.group.long(), b.kind.long()
        right, kinds = torch.ones(n, device=hit.device), torch.zeros_like(kind)
        right.scatter_reduce_(0, group, hit, "amin")
        kinds.scatter_(0, group, kind)
        asked = torch.zeros(n, device=hit.device).scatter_(0, group, 1.0)
        self.sums[:, 0].index_add_(0, kinds, right * asked)
        self.sums[:, 1].index_add_(0, kinds, asked)
        self.sums[-1] += torch.stack([loss.sum(), torch.full_like(loss[0], n)])
        self.tokens += len(b.tok)

    def stats(self):
        sums, tokens = self.sums.tolist(), self.tokens
        self.sums.zero_()
        self.tokens = 0
        names = KINDS + ["loss"]
        return tokens, {k: round(a / b, 3) for k, (a, b) in zip(names, sums) if b}
