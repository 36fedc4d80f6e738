"""Writes checkpoints of train.py as GGUF, or the mean of several, or changes how a GGUF is stored.

    python3 export.py OUT.gguf /opt/reader/a.pt [--tokenizer ../quire-reader.gguf] [--kind q8_0]
    python3 export.py OUT.gguf a.pt b.pt ../quire-reader.gguf --share .5 .3 .2

The mean of states late in a run often answers better than the last one. --refusal below 1 trades
refusals for answers.
"""

import argparse
import os

import torch

import bpe
import gguf_io
from pack import REFUSAL

HERE = os.path.dirname(os.path.abspath(__file__))


def load(path):
    """(weights, shape) of a checkpoint or a GGUF."""
    if path.endswith(".gguf"):
        return gguf_io.read(path)[:2]
    c = torch.load(path, map_location="cpu")
    return {k: v.detach().float() for k, v in c["w"].items()}, c["shape"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("sources", nargs="+")
    ap.add_argument("--share", type=float, nargs="+", default=[])
    ap.add_argument("--kind", default="f16", choices=("f16", "q8_0"))
    ap.add_argument("--pages", type=int, default=0, help="that quire ask reads by default")
    ap.add_argument("--sure", type=float, default=0.0, help="least confidence of an answer shown")
    ap.add_argument(
        "--refusal", type=float, default=1.0, help="factor of the token that a refusal begins with"
    )
    ap.add_argument("--tokenizer", default=os.path.join(HERE, "..", "quire-reader.gguf"))
    a = ap.parse_args()
    share = a.share or [1 / len(a.sources)] * len(a.sources)
    if len(share) != len(a.sources):
        ap.error("--share needs a number for every source")
    states = [load(p) for p in a.sources]
    w = {k: sum(f * s[0][k] for f, s in zip(share, states)) for k in states[0][0]}
    _, _, vocab, merges = gguf_io.read(a.tokenizer)
    if a.refusal != 1.0:  # what it says in answers hangs on the length of its row
        w["emb"][bpe.Tokenizer(vocab, merges).encode(" " + REFUSAL)[0]] *= a.refusal
    gguf_io.write(a.out, w, states[0][1], vocab, merges, a.kind, pages=a.pages, sure=a.sure)
    print(f"{a.out}: {os.path.getsize(a.out) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
