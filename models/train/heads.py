"""How a network starts: random weights with hand-set heads, and two changes to a trained one.

    initial(shape, seed, batches, common)   new weights of that shape
    add_matching(w, shape, batches, common) 64 columns and two heads a layer more, see below
    prune(w, shape, hidden, batches)        keeps the neurons that do most
    python3 heads.py IN.pt OUT.pt [--hidden 384] [--matching]       the same for a checkpoint

batches: a few examples (pack.Batch) to measure with; common: ids of common tokens.

Layer 0 has heads that look one and two places back and layer 1 has induction heads, so copying is
there from the start. The matching heads find the places of the pages whose last words are those of
the question: every token but the common ones has a random code of 28 numbers; two heads of layer 0
sum the codes of about the last 12 and the last 40 tokens; in each later layer two heads compare the
sum where they stand with the sums at all places before. What they read there and what it does is
learned: at first they add next to nothing, so that a trained network is not disturbed.
"""

import argparse
import math

import model as M  # first: it sets OpenBLAS up
import torch
import torch.nn.functional as F

import plain

CODE, COLUMNS = (
    28,
    64,
)  # of the columns: the code and sum of the last words, a constant, the far sum
SLOW = list(range(18, 32)) + list(range(50, 64))  # dimensions that hardly turn with distance


def frequencies(s):
    return s["theta"] ** (-torch.arange(32).float() / 32)


def look_back(rows, column, freq, which, gain, back):
    """Sets the query rows of one head: it matches a constant key `back` places before."""
    for j in which:
        angle = -float(freq[j]) * back
        rows[j, column], rows[j + 32, column] = gain * math.cos(angle), gain * math.sin(angle)


def initial(s, seed, batches, common):
    base = dict(s, width=s["width"] - COLUMNS, heads=s["heads"] - 2, kv=s["kv"] - 1)
    g = torch.Generator().manual_seed(seed)
    width, heads, kv, hidden, layers = (base[k] for k in "width heads kv hidden layers".split())
    rand = lambda *a, sd: torch.randn(*a, generator=g) * sd
    w = {"emb": rand(s["vocab"], width, sd=0.5), "nf": torch.full((width,), 0.05)}
    for n in range(layers):
        w[f"{n}.n1"], w[f"{n}.n2"] = torch.ones(width), torch.ones(width)
        w[f"{n}.qkv"] = rand((heads + 2 * kv) * 64, width, sd=width**-0.5)
        w[f"{n}.o"] = rand(width, heads * 64, sd=0.1 * (heads * 64 * 2 * layers) ** -0.5)
        w[f"{n}.gu"] = rand(2 * hidden, width, sd=width**-0.5)
        w[f"{n}.d"] = rand(width, hidden, sd=0.1 * (hidden * 2 * layers) ** -0.5)
    copying_heads(w, base)
    return add_matching(w, base, batches, common)


def copying_heads(w, s):
    """Embedding columns: 0 is a constant, 1..127 carry the token; 128..255 receive the two tokens
    before."""
    heads, kv, emb = s["heads"], s["kv"], w["emb"]
    key, val = heads * 64, (heads + kv) * 64
    freq = frequencies(s)
    emb[:, 0] = 2.0
    emb[:, 128:] *= 0.2
    m = w["0.qkv"]
    m[:128] = 0
    for h in (0, 1):
        look_back(m[h * 64 : h * 64 + 64], 0, freq, range(12), 1.6, h + 1)
    m[key : key + 64] = 0
    m[key : key + 12, 0] = 1.6
    m[val : val + 64] = 0
    for d in range(64):
        m[val + d, 1 + d] = 1.0
    out = w["0.o"]
    out[:, :128] = 0
    for d in range(64):
        out[128 + d, d] = out[192 + d, 64 + d] = 0.55
    m, out = w["1.qkv"], w["1.o"]
    for h, group, base in ((0, 0, 1), (2, 1, 29)):
        for at in (h * 64, key + group * 64, val + group * 64):
            m[at : at + 64] = 0
        for n, d in enumerate(SLOW):
            m[h * 64 + d, base + n] = m[key + group * 64 + d, 127 + base + n] = 1.6
        out[:, h * 64 : h * 64 + 64] = 0
        for d in range(63):
            m[val + group * 64 + d, 1 + d + group * 63] = 1.0
            out[1 + d + group * 63, h * 64 + d] = 0.8


def codes(vocab, common, size, g):
    """A random code for every token: the length grows with its id (frequent ones come first); the
    commonest and those of `common` have none."""
    rare = ((torch.arange(vocab).float() - 259) / (vocab - 259)).clamp(min=0).sqrt()
    rare[rare < 0.2] = 0
    rare[3:259] = 0.5  # single bytes
    rare[common] = 0
    code = torch.randn(vocab, CODE, generator=g)
    return code / code.norm(dim=1, keepdim=True) * CODE**0.5 * rare[:, None] * size


def add_matching(w, s, batches, common, target=3.0):
    """Returns (weights, shape) with COLUMNS more columns and two more heads that share a key."""
    g = torch.Generator().manual_seed(11)
    width, heads, kv = s["width"], s["heads"], s["kv"]
    if heads != 2 * kv:
        raise ValueError("needs two heads for every key")
    near, one, far = width, width + CODE, width + 32
    emb, freq = w["emb"], frequencies(s)
    size = float(emb.pow(2).mean().sqrt())
    new = torch.zeros(s["vocab"], COLUMNS)
    new[:, :CODE] = codes(s["vocab"], common, 0.6 * size, g)
    new[:, CODE] = 1.5 * size
    w = dict(w, emb=torch.cat([emb, new], 1))
    # norms divide by the mean over more columns now
    share = w["emb"].pow(2).sum(1) / emb.pow(2).sum(1) * width / (width + COLUMNS)
    ratio = float(share.sqrt().mean())
    wide = lambda t: torch.cat([t, torch.zeros(t.shape[0], COLUMNS)], 1)
    eye = torch.eye(CODE)
    for n in range(s["layers"]):
        for x in ("n1", "n2"):
            w[f"{n}.{x}"] = torch.cat([w[f"{n}.{x}"] * ratio, torch.ones(COLUMNS)])
        q, k, v = w[f"{n}.qkv"].split([heads * 64, kv * 64, kv * 64])
        nq, nk, nv = (torch.zeros(r, width + COLUMNS) for r in (128, 64, 64))
        o = torch.zeros(width + COLUMNS, (heads + 2) * 64)
        o[:width, : heads * 64] = w[f"{n}.o"]
        if n == 0:
            look_back(nq[:64], one, freq, range(3, 9), 1.6, 5)
            look_back(nq[64:], one, freq, range(6, 14), 1.2, 14)
            nk[2:18, one] = 1.5
            nv[:CODE, near : near + CODE] = eye
            o[near : near + CODE, heads * 64 : heads * 64 + CODE] = 10 * eye
            o[far : far + CODE, heads * 64 + 64 : heads * 64 + 64 + CODE] = 7 * eye
        else:
            turn = torch.linalg.qr(torch.randn(CODE, CODE, generator=g))[0]
            nq[SLOW, near : near + CODE] = nq[[64 + d for d in SLOW], near : near + CODE] = turn
            nk[SLOW, near : near + CODE], nk[SLOW, far : far + CODE] = turn, 0.8 * turn
            nv[:, :width] = torch.linalg.qr(torch.randn(width, 64, generator=g))[0].t()
            o[:width, heads * 64 :] = torch.randn(width, 128, generator=g) * 0.002
        w[f"{n}.qkv"], w[f"{n}.o"] = torch.cat([wide(q), nq, wide(k), nk, wide(v), nv]), o
        w[f"{n}.gu"] = wide(w[f"{n}.gu"])
        w[f"{n}.d"] = torch.cat([w[f"{n}.d"], torch.zeros(COLUMNS, s["hidden"])])
    w["nf"] = torch.cat([w["nf"] * ratio, torch.full((COLUMNS,), 1e-3)])
    s = dict(s, width=width + COLUMNS, heads=heads + 2, kv=kv + 1)
    for n in range(1, s["layers"]):  # the scores of the places vary by about `target`
        gain = math.sqrt(target / spread_of_scores(w, s, n, batches))
        at = s["heads"] * 64
        w[f"{n}.qkv"][at - 128 : at] *= gain
        w[f"{n}.qkv"][at + kv * 64 : at + kv * 64 + 64] *= gain
    return w, s


def run(w, s, batch, see):
    """A forward pass that hands out see(layer, q, k, activations of the MLP)."""
    net = M.Model(s, {k: v.detach().clone() for k, v in w.items()})
    ops, w = net.ops, net.w
    with torch.no_grad():
        x, y = F.embedding(batch.tok, w["emb"]), None
        for n in range(s["layers"]):
            x, h = ops.norm(x, y, w[f"{n}.n1"])
            q, k, v = ops.rope(h @ w[f"{n}.qkv"].t(), net.table, batch.pos, s["heads"], s["kv"])
            y = ops.attention(q, k, v, batch) @ w[f"{n}.o"].t()
            x, h = ops.norm(x, y, w[f"{n}.n2"])
            a = ops.swiglu(h @ w[f"{n}.gu"].t())
            if ops is plain:  # its layout
                q = q.view(len(q), s["kv"], -1).transpose(0, 1)
                k = k[:, :: s["heads"] // s["kv"]].transpose(0, 1)
            see(n, q, k, a)
            y = a @ w[f"{n}.d"].t()


def spread_of_scores(w, s, layer, batches):
    out = []

    def see(n, q, k, _):
        if n == layer:
            places = batch.seen.nonzero()[:, 0]
            rows = q[-1][batch.rows.unique()][:, :64]
            out.append((rows @ k[-1][places].t() / 8).std(1).mean())

    for batch in batches:
        run(w, s, batch, see)
    return float(torch.stack(out).mean())


def prune(w, s, hidden, batches):
    done = [0] * s["layers"]

    def see(n, q, k, a):
        done[n] = done[n] + a.pow(2).sum(0)

    for batch in batches:
        run(w, s, batch, see)
    w = dict(w)
    for n in range(s["layers"]):
        weight = done[n].sqrt() * w[f"{n}.d"].norm(dim=0)
        keep = weight.topk(hidden).indices.sort().values
        w[f"{n}.gu"] = torch.cat([part[keep] for part in w[f"{n}.gu"].chunk(2)])
        w[f"{n}.d"] = w[f"{n}.d"][:, keep].clone()
    return w, dict(s, hidden=hidden)


def examples(tok, count=6):
    """Batches to measure with, and the tokens that get no code."""
    import random

    import pages
    from pack import Batch, Options, pack

    r = random.Random(3)
    made = [pages.make(r, "things", 200, 10, 0.1, types=pages.TRAINED) for _ in range(count)]
    words = "\nQuestion: \nAnswer: What Who Where When How Which the The of is was in to a by"
    common = {t for c in [words, *".,:?!\n \"'()-"] for t in tok.encode(c)}
    return [Batch([pack(tok, e, r, Options())]) for e in made], [0, 1, 2, *sorted(common)]


def main():
    import bpe
    import gguf_io
    from muon import Optimizer

    ap = argparse.ArgumentParser()
    ap.add_argument("source")
    ap.add_argument("out")
    ap.add_argument("--hidden", type=int, default=0)
    ap.add_argument("--matching", action="store_true")
    ap.add_argument("--tokenizer", default=M.HERE + "/../quire-reader.gguf")
    a = ap.parse_args()
    tok = bpe.Tokenizer(*gguf_io.read(a.tokenizer)[2:])
    batches, common = examples(tok)
    c = torch.load(a.source, map_location="cpu")
    w, s = {k: v.detach() for k, v in c["w"].items()}, c["shape"]
    if a.hidden:
        w, s = prune(w, s, a.hidden, batches)
    if a.matching:
        w, s = add_matching(w, s, batches, common)
    opt = Optimizer(M.Model(s, {k: v.clone() for k, v in w.items()}))
    torch.save(dict(shape=s, w=w, state=opt.state, opt_steps=0, step=0, progress=0.0), a.out)
    print(s, sum(v.numel() for v in w.values()), "parameters")


if __name__ == "__main__":
    main()
