"""Writes a checkpoint of train.py as GGUF.

    python3 export.py /opt/reader/a.pt ../quire-reader.gguf OUT.gguf

The second file gives the tokenizer (the bundled model itself, or any earlier one with the same
vocabulary)."""

import sys

import torch

import gguf_io


def main():
    check, tokenizer, out = sys.argv[1:4]
    _, _, vocab, merges = gguf_io.read(tokenizer)
    c = torch.load(check, map_location="cpu")
    gguf_io.write(out, c["w"], c["shape"], vocab, merges)
    print(f"step {c['step']} -> {out}")


if __name__ == "__main__":
    main()
