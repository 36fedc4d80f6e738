"""The network's operations in plain PyTorch, for a GPU or where kernels.cpp cannot be built.

Same meaning as the classes of model.py; only between rope and attention the tensors are laid out
in another way: one key for every head. On a GPU products and attention are done in bfloat16 (the
caller enters torch.autocast), sums and norms in float32, and what is neither is compiled; attention
goes over the groups of the batch, so batches should be padded (pack.py).
"""

import torch
import torch.nn.functional as F


def compiled(f):
    """f, compiled when it is first called on a GPU."""
    made = []

    def call(x, *rest):
        if not x.is_cuda:
            return f(x, *rest)
        if not made:
            made.append(torch.compile(f, dynamic=True))
        return made[0](x, *rest)

    return call


def half(x):
    """As products on a GPU want it."""
    return x.bfloat16() if x.is_cuda else x


@compiled
def norm_sum(x, y, w):
    total = x + y
    return total, half(total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-5) * w)


@compiled
def norm_one(x, w):
    return half(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w)


def norm(x, y, w):
    return (x, norm_one(x, w)) if y is None else norm_sum(x, y, w)


def turn(x, cos, sin):
    a, b = x[..., :32], x[..., 32:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


@compiled
def rope(qkv, table, pos, heads, kv):
    n = qkv.shape[0]
    cos, sin = table[pos.long()][:, None].split(32, -1)
    q, k, v = qkv.view(n, heads + 2 * kv, 64).split([heads, kv, kv], 1)
    q, k = (turn(x.float(), cos, sin).to(qkv.dtype) for x in (q, k))
    k, v = (x[:, :, None].expand(n, kv, heads // kv, 64).reshape(n, heads, 64) for x in (k, v))
    return q, k, v


def attention(q, k, v, batch, answers=False):
    """q, k, v [N,H,64] -> [N,H*64]."""
    heads, out = q.shape[1], []
    sizes = [count * size for _, count, size in batch.groups]
    parts = zip(batch.groups, batch.masks(), *(x.split(sizes) for x in (q, k, v)))
    for (_, count, size), mask, *qkv in parts:
        qe, ke, ve = (x.view(count, size, heads, 64).transpose(1, 2) for x in qkv)
        if qe.is_cuda:
            o = F.scaled_dot_product_attention(qe, ke, ve, attn_mask=mask)
        else:
            score = qe @ ke.transpose(2, 3) / 8
            o = score.masked_fill(~mask, -1e9).softmax(-1) @ ve
        out.append(o.transpose(1, 2).reshape(count * size, heads * 64))
    return torch.cat(out)


@compiled
def swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def cross_entropy(h, emb, target, weight):
    """Loss of each row, not weighted; its gradient is weighted."""
    logits = (h @ emb.t()).float()
    loss = F.cross_entropy(logits, target.long(), reduction="none")
    hit = (logits.argmax(-1) == target).float()
    return loss.detach() + (loss * weight) - (loss * weight).detach(), hit
