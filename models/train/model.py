"""The reader's network: a small llama in float32 on packed token lists.

A step is a Batch (pack.py): token ids, positions and the attention blocks that kernels.cpp
describes. Weights live in a dict of tensors with short names ('emb', '0.qkv', ...); gguf_io.py
converts them."""

import contextlib
import os

# without the first OpenBLAS may pick a 5x slower kernel; processes are used instead of threads
os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch.utils.cpp_extension import load

import plain

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("READER_BUILD", "/tmp/reader-build")
SHAPE = dict(vocab=8192, width=320, layers=6, heads=6, kv=3, hidden=384, theta=1e6)


def load_kernels():
    os.environ.setdefault("CC", "gcc")
    os.environ.setdefault("CXX", "g++")
    os.makedirs(BUILD, exist_ok=True)
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp"]
    return load(
        "reader_kernels",
        [os.path.join(HERE, "kernels.cpp")],
        extra_cflags=flags,
        extra_ldflags=["-fopenmp", "-lblas", "-lmvec", "-lm"],
        build_directory=BUILD,
    )


def kernels_or_none():
    """The kernels for the CPU, or None where they cannot be built or READER_PLAIN is set."""
    if os.environ.get("READER_PLAIN"):
        return None
    try:
        return load_kernels()
    except (ImportError, OSError, RuntimeError) as e:
        print("without kernels.cpp:", str(e).splitlines()[0])
        return None


ext = kernels_or_none()
NONE = torch.empty(0)


class Norm(torch.autograd.Function):
    """(x, y, w) -> (x + y, rms_norm(x + y) * w); y may be None."""

    @staticmethod
    def forward(c, x, y, w):
        total, out, inv = ext.norm_forward(x, NONE if y is None else y, w)
        c.save_for_backward(total, w, inv)
        c.add = y is not None
        return total if c.add else x.view_as(x), out

    @staticmethod
    def backward(c, dsum, dout):
        total, w, inv = c.saved_tensors
        dx, dw = ext.norm_backward(
            total, w, inv, dout.contiguous(), NONE if dsum is None else dsum.contiguous()
        )
        return dx, dx if c.add else None, dw


class Rope(torch.autograd.Function):
    @staticmethod
    def forward(c, qkv, table, pos, heads, kv):
        c.save_for_backward(table, pos)
        return tuple(ext.rope_forward(qkv, table, pos, heads, kv))

    @staticmethod
    def backward(c, q, k, v):
        table, pos = c.saved_tensors
        return (
            ext.rope_backward(q.contiguous(), k.contiguous(), v.contiguous(), table, pos),
            None,
            None,
            None,
            None,
        )


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(c, q, k, v, blocks, ranges, start):
        out, probs = ext.attention_forward(q, k, v, blocks, ranges, start)
        c.save_for_backward(q, k, v, probs, blocks, ranges)
        return out

    @staticmethod
    def backward(c, dout):
        return (*ext.attention_backward(*c.saved_tensors, dout.contiguous()), None, None, None)


class SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(c, x):
        c.save_for_backward(x)
        return ext.swiglu_forward(x)

    @staticmethod
    def backward(c, d):
        return ext.swiglu_backward(c.saved_tensors[0], d.contiguous())


class CrossEntropy(torch.autograd.Function):
    """Weighted loss of each row and whether its target was the likeliest token."""

    @staticmethod
    def forward(c, h, emb, target, weight):
        logits = h @ emb.t()
        loss, hit = ext.cross_entropy(logits, target, weight)
        c.save_for_backward(h, emb, logits)
        c.mark_non_differentiable(hit)
        return loss, hit

    @staticmethod
    def backward(c, _loss, _hit):
        h, emb, grad = c.saved_tensors
        return grad @ emb, grad.t() @ h, None, None


class Kernels:
    """The operations that Model needs, from kernels.cpp; plain.py has the same ones."""

    norm, rope, swiglu = Norm.apply, Rope.apply, SwiGlu.apply
    cross_entropy = CrossEntropy.apply

    @staticmethod
    def attention(q, k, v, batch, answers=False):
        """answers: only the blocks with rows are wanted, the rest stays undefined."""
        blocks = batch.answer_blocks if answers else batch.blocks
        return Attention.apply(q, k, v, blocks, batch.ranges, batch.start)


def rope_table(theta, length):
    f = theta ** (-torch.arange(32).float() / 32)
    a = torch.arange(length).float()[:, None] * f[None]
    return torch.cat([a.cos(), a.sin()], 1).contiguous()


def quantise(x, levels):
    """x plus the error of rounding each vector of 64 to 2*levels+1 steps (a constant for the
    gradient)."""
    with torch.no_grad():
        step = x.abs().amax(-1, keepdim=True) / levels + 1e-12
        err = torch.round(x / step) * step - x
    return x + err


def bfloat16_products(gpu):
    """The context in which a GPU multiplies; nothing on the CPU."""
    return torch.autocast("cuda", torch.bfloat16) if gpu else contextlib.nullcontext()


class Model:
    def __init__(self, shape, weights, device="cpu", length=8192):
        self.shape = dict(shape)
        self.ops = Kernels if ext is not None and device == "cpu" else plain
        self.w = {k: t.to(device).requires_grad_(True) for k, t in weights.items()}
        self.table = rope_table(self.shape["theta"], length).to(device)

    def hidden(self, batch, rows=None, levels=0):
        """Last hidden state of all tokens, or of the given rows. levels > 0: KV with that much
        rounding."""
        s, w, ops = self.shape, self.w, self.ops
        x, y = F.embedding(batch.tok, w["emb"]), None
        for n in range(s["layers"]):
            x, h = ops.norm(x, y, w[f"{n}.n1"])
            q, k, v = ops.rope(h @ w[f"{n}.qkv"].t(), self.table, batch.pos, s["heads"], s["kv"])
            if levels:
                k, v = quantise(k, levels), quantise(v, levels)
            last = rows is not None and n == s["layers"] - 1
            o = ops.attention(q, k, v, batch, last)
            if last:
                x, o = x.index_select(0, rows), o.index_select(0, rows)
            y = o @ w[f"{n}.o"].t()
            x, h = ops.norm(x, y, w[f"{n}.n2"])
            y = ops.swiglu(h @ w[f"{n}.gu"].t()) @ w[f"{n}.d"].t()
        return ops.norm(x, y, w["nf"])[1]

    def loss(self, batch, weight, levels=0):
        return self.ops.cross_entropy(
            self.hidden(batch, batch.rows, levels), self.w["emb"], batch.target, weight
        )
