"""Writes a checkpoint of train.py as GGUF.

    python3 export.py /opt/reader/a.pt ../quire-reader.gguf OUT.gguf [SHARE]

The second file gives the tokenizer (the bundled model itself, or any earlier one with the same
vocabulary). With SHARE below 1 the weights are averaged with those of that file: after a short run
that started from it, the average answers better than either.
"""

import sys

import torch

import gguf_io


def main():
    check, earlier, out = sys.argv[1:4]
    share = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    old, _, vocab, merges = gguf_io.read(earlier)
    c = torch.load(check, map_location="cpu")
    w = {k: v.detach().half().float() if v.dim() == 2 else v.detach() for k, v in c["w"].items()}
    if share < 1:
        w = {k: old[k] * (1 - share) + v * share for k, v in w.items()}
    gguf_io.write(out, w, c["shape"], vocab, merges)
    print(f"step {c['step']} -> {out}")


if __name__ == "__main__":
    main()
