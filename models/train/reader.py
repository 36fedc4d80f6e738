"""Greedy answers to all questions of an example at once, with PyTorch, from packed prompts.

    w, shape, vocab, merges = gguf_io.read(path)
    r = Reader(model.Model(shape, w), bpe.Tokenizer(vocab, merges))
    for question, answer, confidence in r.answers(example, Options(...)): ...

confidence is the product of the probabilities of the answer's tokens, without the closing <|eos|>;
r.ids then holds the token ids of the answers.
"""

import dataclasses
import random

import model as M  # first: it sets OpenBLAS up
import torch

from pack import EOS, Batch, pack

ext, NONE = M.ext, M.NONE


class Reader:
    def __init__(self, net, tok, limit=24):
        self.net, self.tok, self.limit = net, tok, limit
        self.w = {k: v.detach() for k, v in net.w.items()}

    def layer(self, n, x, attend):
        """One layer on rows x; attend(n, q, k, v) returns the attention output."""
        w = self.w
        h = ext.norm_forward(x, NONE, w[f"{n}.n1"])[1]
        x = x + attend(n, h @ w[f"{n}.qkv"].t()) @ w[f"{n}.o"].t()
        h = ext.norm_forward(x, NONE, w[f"{n}.n2"])[1]
        return x + ext.swiglu_forward(h @ w[f"{n}.gu"].t()) @ w[f"{n}.d"].t()

    def logits(self, x):
        return ext.norm_forward(x, NONE, self.w["nf"])[1] @ self.w["emb"].t()

    def prefill(self, b):
        """All tokens of a batch; keeps each layer's keys and values."""
        s, kept = self.net.shape, []

        def attend(n, qkv):
            q, k, v = ext.rope_forward(qkv, self.net.table, b.pos, s["heads"], s["kv"])
            kept.append((k, v))
            return ext.attention_forward(q, k, v, b.blocks, b.ranges, b.start)[0]

        x = self.w["emb"][b.tok]
        for n in range(s["layers"]):
            x = self.layer(n, x, attend)
        return x, kept

    def answers(self, example, options, seed=0):
        with torch.no_grad():
            return self._answers(example, dataclasses.replace(options, answers=False), seed)

    def _answers(self, example, options, seed):
        p = pack(self.tok, example, random.Random(seed), options)
        if p is None:
            return []
        b = Batch([p])
        x, kept = self.prefill(b)
        logits = self.logits(x.index_select(0, b.rows))
        s, nq = self.net.shape, len(p.questions)
        _, _, r0, r1 = p.blocks[-1]
        shared = torch.cat([torch.arange(a, c) for a, c in p.ranges[r0:r1]])
        ends = [int(r) + 1 for r in b.rows]
        begins = [p.start[e - 1] for e in ends]
        longest = max(e - a for a, e in zip(begins, ends)) + self.limit
        own, seen = [], torch.zeros(nq, longest, dtype=torch.bool)
        for k, v in kept:
            ks, vs = torch.zeros(nq, s["kv"], longest, 64), torch.zeros(nq, s["kv"], longest, 64)
            for i, (a, e) in enumerate(zip(begins, ends)):
                ks[i, :, : e - a], vs[i, :, : e - a] = k[:, a:e], v[:, a:e]
                seen[i, : e - a] = True
            own.append((ks, vs))
        kept = [(k[:, shared], v[:, shared]) for k, v in kept]
        pos = torch.tensor([p.pos[e - 1] + 1 for e in ends], dtype=torch.int32)
        fill = torch.tensor([e - a for a, e in zip(begins, ends)])
        out, sure, done = [[] for _ in range(nq)], [1.0] * nq, [False] * nq
        for _ in range(self.limit):
            prob, token = logits.softmax(-1).max(-1)
            for i in range(nq):
                if not done[i]:
                    done[i] = int(token[i]) == EOS
                    if not done[i]:
                        out[i].append(int(token[i]))
                        sure[i] *= float(prob[i])
            if all(done):
                break
            logits = self.logits(self.decode(token, pos, kept, own, seen, fill))
            pos, fill = pos + 1, fill + 1
        self.ids = out
        return [(q, self.tok.decode(o).strip(), c) for q, o, c in zip(p.questions, out, sure)]

    def decode(self, token, pos, kept, own, seen, fill):
        """One more token of every question."""
        s, nq = self.net.shape, len(token)
        rows = torch.arange(nq)
        seen[rows, fill] = True
        g = s["heads"] // s["kv"]

        def attend(n, qkv):
            q, k, v = ext.rope_forward(qkv, self.net.table, pos, s["heads"], s["kv"])
            ks, vs = own[n]
            ks[rows, :, fill], vs[rows, :, fill] = k.transpose(0, 1), v.transpose(0, 1)
            q = q.view(s["kv"], nq * g, 64)
            far = torch.bmm(q, kept[n][0].transpose(1, 2)) / 8
            q = q.view(s["kv"], nq, g, 64).transpose(0, 1)
            near = torch.matmul(q, ks.transpose(2, 3)) / 8
            near = near.masked_fill(~seen[:, None, None, :], -1e9)
            far = far.view(s["kv"], nq, g, -1).transpose(0, 1)
            a = torch.cat([far, near], -1).softmax(-1)
            p = kept[n][0].shape[1]
            o = torch.matmul(a[..., p:], vs)
            o = o + torch.bmm(
                a[..., :p].transpose(0, 1).reshape(s["kv"], nq * g, p), kept[n][1]
            ).view(s["kv"], nq, g, 64).transpose(0, 1)
            return o.reshape(nq, s["heads"] * 64)

        x = self.w["emb"][token]
        for n in range(s["layers"]):
            x = self.layer(n, x, attend)
        return x
