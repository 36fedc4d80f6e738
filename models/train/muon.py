"""The optimizer: Muon for the matrices, Adam for embedding and norms."""

import math

import torch


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
    def __init__(self, net):
        self.net, self.steps = net, 0
        self.state = {
            k: [torch.zeros_like(v) for _ in range(1 if self.is_matrix(k) else 2)]
            for k, v in net.w.items()
        }

    @staticmethod
    def is_matrix(k):
        return k.split(".")[-1] in ("qkv", "o", "gu", "d")

    def rows(self, k):
        """Matrices that are stored as one but are several."""
        s = self.net.shape
        parts = {"qkv": [s["heads"] * 64, s["kv"] * 64, s["kv"] * 64], "gu": [s["hidden"]] * 2}
        return parts.get(k.split(".")[1]) or [self.net.w[k].shape[0]]

    @torch.no_grad()
    def step(self, grads, rate, adam_rate, decay=0.01):
        """grads: name -> gradient, of all weights or of those that this process looks after."""
        groups = {}
        self.steps += 1
        for k, g in grads.items():
            w = self.net.w[k]
            if not self.is_matrix(k):
                self.adam(k, w, g, adam_rate * (2.0 if k == "emb" else 0.2 if k == "nf" else 1.0))
                continue
            m = self.state[k][0].mul_(0.95).add_(g, alpha=0.05)
            at = 0
            for n in self.rows(k):
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
        g = g * (1.0 / (g.norm() + 1e-6)).clamp(max=1.0)
        a.mul_(0.9).add_(g, alpha=0.1)
        b.mul_(0.98).addcmul_(g, g, value=0.02)
        w.addcdiv_(
            a / (1 - 0.9**self.steps), (b / (1 - 0.98**self.steps)).sqrt_().add_(1e-9), value=-rate
        )
