#!/usr/bin/env python3
"""Record logits of tiny random models as llama.cpp computes them: tests/golden/llama_cpp.json.

    scripts/golden_llama_cpp.py build/release/mkmodel tests/golden/llama_cpp.json

For architectures that the transformers of golden_transformers.py does not know. The same record format:
a mkmodel command line, ids, and 64 logits. F32 weights and an F32 cache. Versions used are in
tests/golden/README.md.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

CASES = [
    "--seed 21 --arch qwen3 --head-size 32 --rope-base 1000000",
    "--seed 22 --arch qwen3 --untied --heads 6 --kv-heads 3 --width 96 --layers 3",
    "--seed 23 --untied --rope-freqs --head-size 32 --layers 5",
]
N_IDS = 40
MIDDLE, N_MIDDLE, N_LAST = 20, 16, 48


def ids_for(case, vocab):
    """Fixed ids, spread by a small linear generator."""
    state, ids = 2000 + case, []
    for _ in range(N_IDS):
        state = (state * 1103515245 + 12345) % 2**31
        ids.append((state >> 8) % vocab)
    return ids


def main():
    mkmodel, out = sys.argv[1:3]
    records = []
    for i, options in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.gguf")
            subprocess.run([mkmodel, "--random", "--shape", "tiny", *options.split(), "-o", path], check=True)
            digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
            model = llama_cpp.Llama(path, n_ctx=64, logits_all=True, verbose=False, type_k=0, type_v=0,
                                    flash_attn=False, n_threads=1)
            ids = ids_for(i, model.n_vocab())
            model.eval(ids)
            logits = np.array(model.scores[:N_IDS], dtype=np.float64)
        records.append({
            "options": options, "sha256": digest, "ids": ids, "positions": list(range(N_IDS)),
            "middle": {"row": MIDDLE, "logits": logits[MIDDLE][:N_MIDDLE].tolist()},
            "last": {"row": N_IDS - 1, "logits": logits[-1][-N_LAST:].tolist(), "argmax": int(logits[-1].argmax())},
        })
        print(options, "spread", logits[-1].max() - logits[-1].min(), file=sys.stderr)
    with open(out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in records) + "\n]\n")


if __name__ == "__main__":
    main()
