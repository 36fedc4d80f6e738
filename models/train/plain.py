"""The network's operations in plain PyTorch, for a GPU or where kernels.cpp cannot be built.

Same meaning as the classes of model.py; norm, rope, attention, swiglu and cross_entropy take and
return the same tensors, on any device. Attention runs example by example with a mask, so it needs
no padding; on a GPU take a few dozen examples a step (train.py --tokens 50000).
"""

import torch
import torch.nn.functional as F

torch.backends.cuda.matmul.allow_tf32 = True  # f32 products with short factors: many times faster


def norm(x, y, w):
    total = x if y is None else x + y
    return total, total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-5) * w


def turn(x, cos, sin):
    a, b = x[..., :32], x[..., 32:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def rope(qkv, table, pos, heads, kv):
    n = qkv.shape[0]
    cos, sin = table[pos.long()][:, None].split(32, -1)
    q, k, v = qkv.view(n, heads + 2 * kv, 64).split([heads, kv, kv], 1)
    q, k = turn(q, cos, sin), turn(k, cos, sin)
    group = heads // kv
    q = q.reshape(n, kv, group * 64).transpose(0, 1)
    return q, k.transpose(0, 1), v.transpose(0, 1)


def attention(q, k, v, batch, answers=False):
    """q [K,N,G*64], k and v [K,N,64] -> [N,K*G*64]."""
    kv, group, out = q.shape[0], q.shape[2] // 64, []
    for (a, b), mask in zip(batch.cuts, batch.masks()):
        qe = (
            q[:, a:b]
            .reshape(kv, b - a, group, 64)
            .transpose(1, 2)
            .reshape(1, kv * group, b - a, 64)
        )
        ke, ve = (x[:, a:b].repeat_interleave(group, 0)[None] for x in (k, v))
        if hasattr(F, "scaled_dot_product_attention"):
            o = F.scaled_dot_product_attention(qe, ke, ve, attn_mask=mask)
        else:
            score = qe @ ke.transpose(2, 3) / 8
            o = score.masked_fill(~mask, -1e9).softmax(-1) @ ve
        out.append(o[0].transpose(0, 1).reshape(b - a, kv * group * 64))
    return torch.cat(out)


def swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def cross_entropy(h, emb, target, weight):
    """Loss of each row, not weighted; its gradient is weighted."""
    logits = (h @ emb.t()).float()
    loss = F.cross_entropy(logits, target.long(), reduction="none")
    hit = (logits.argmax(-1) == target).float()
    return loss.detach() + (loss * weight) - (loss * weight).detach(), hit
