#!/usr/bin/env python3
"""Greedy ids of Quire against llama.cpp's on the same files: random tiny models of every architecture, head
size, RoPE variant and some weight types. Run by hand, with llama-cpp-python installed:

    PYTHON tests/greedy_llama_cpp.py build/release

Each model continues a prompt by 64 tokens. Where the two programs differ, llama.cpp's token is taken and the
comparison goes on. A difference counts as one only if the gap of llama.cpp's two best logits there exceeds
twice the largest difference of the two programs' logits after the prompt (llama.cpp rounds activations to
8 bits before products with quantised weights, Quire with some of them and in shorter runs). Exit 1 if any counts.
"""
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

N, N_PROMPT, VOCAB = 64, 24, 320
YARN = "--context 1024 --set rope.scaling.type=yarn --set rope.scaling.factor=4.0"
CASES = [f"--arch {a} --head-size {d}" for a in ("llama", "qwen3") for d in (32, 64, 80, 96, 128)]
CASES += [f"--arch qwen2 --heads 4 --kv-heads 2 --head-size {d} --width {4 * d}"  # llama.cpp knows no others
          for d in (32, 64, 80, 96, 128)]
CASES += [f"--arch {a} --width 128 --ffn 128 --heads 2 --kv-heads 1 --head-size 64 --type {t}"
          for a in ("llama", "qwen2", "qwen3") for t in ("F16", "BF16", "Q8_0", "Q4_0")]
CASES += ["--biases --untied", "--rope-freqs --rope-base 500000 --head-size 64", "--rope-linear 4", f"--head-size 64 {YARN}",
          f"--arch qwen2 --width 128 --head-size 32 {YARN} --set rope.scaling.original_context_length=256",
          f"--arch qwen3 --head-size 128 {YARN} --rope-base 1000000 --set rope.scaling.attn_factor=1.25",
          "--head-size 64 --set rope.scale_linear=2.0", "--head-size 64 --set rope.scaling.factor=3.0",
          "--head-size 64 --set rope.scaling.type=none --set rope.scaling.factor=3.0", "--split 3 --arch qwen2",
          "--head-size 64 --lora 8", "--arch qwen3 --type Q8_0 --width 128 --ffn 128 --lora 4"]
# Types that mkmodel does not write: llama.cpp's own quantiser makes the file. Rows are multiples of 256.
TYPES = {"Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18,
         "IQ4_NL": 25, "IQ4_XS": 30}
CASES += [f"--arch {a} --width 256 --ffn 512 --heads 4 --kv-heads 2 --head-size 64 --quantize {t}"
          for a in ("llama", "qwen2", "qwen3") for t in TYPES]
FIXED = {"n_ctx": 256, "logits_all": True, "verbose": False, "type_k": 0, "type_v": 0, "flash_attn": False, "n_threads": 1}


def prompt_of(case):
    state, ids = 500 + case, []
    for _ in range(N_PROMPT):
        state = (state * 1103515245 + 12345) % 2**31
        ids.append((state >> 8) % VOCAB)
    return ids


def make(tool, options, out, seed):
    options, _, kind = options.partition(" --quantize ")
    subprocess.run([tool, "--random", "--seed", str(seed), *options.split(), "-o", out], check=True)
    if kind:
        wanted = llama_cpp.llama_model_quantize_default_params()
        wanted.ftype, wanted.nthread = TYPES[kind], 1
        os.rename(out, out + ".f32")
        if llama_cpp.llama_model_quantize((out + ".f32").encode(), out.encode(), wanted):
            sys.exit(f"llama.cpp did not quantise to {kind}")


def ask(quire, model, ids, n, more, logits=None):
    words = [quire, "complete", "--model", model, "--ids", ",".join(map(str, ids)), "-n", str(n), "--print-ids",
             "--ignore-eos", "--quiet", *more, *(["--logits", logits] if logits else [])]
    return [int(w) for w in subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()]


def compare(b, case, options, folder):
    """Ids that agree, ids that differ within the error, ids that differ; the error as a share of the spread."""
    path, adapter, more, peer = os.path.join(folder, "m.gguf"), os.path.join(folder, "a.gguf"), [], {}
    plain, _, rank = options.partition(" --lora ")
    make(f"{b}/mkmodel", plain, path, case + 1)
    if "--split" in plain:
        path = path.replace(".gguf", "-00001-of-00003.gguf")
    if rank:
        make(f"{b}/mkmodel", f"{options} --set adapter.lora.alpha=4.0", adapter, case + 2)
        more, peer = ["--lora", adapter], {"lora_path": adapter}
    ids, raw = prompt_of(case), os.path.join(folder, "logits")
    model = llama_cpp.Llama(path, **FIXED, **peer)
    model.eval(ids)
    theirs, ours = [], ask(f"{b}/quire", path, ids, N, more, raw)
    row = np.array(model.scores[len(ids) - 1], dtype=np.float64)
    error, spread = np.abs(row - np.loadtxt(raw)).max(), row.max() - row.min()
    same = near = far = 0
    while len(theirs) < N:
        row = np.array(model.scores[len(ids) + len(theirs) - 1], dtype=np.float64)
        second, best = np.sort(row)[-2:]
        token = int(row.argmax())
        if ours[len(theirs)] == token:
            same += 1
        elif best - second <= 2 * error:
            near += 1
        else:
            far += 1
        theirs.append(token)
        if ours[len(theirs) - 1] != token and len(theirs) < N:
            ours = theirs + ask(f"{b}/quire", path, ids + theirs, N - len(theirs), more)
        model.eval([token])
    return same, near, far, error / spread


def main():
    total = np.zeros(3, dtype=int)
    for case, options in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            *counts, error = compare(sys.argv[1], case, options, folder)
        total += counts
        print(f"{counts[0]:3d} same {counts[1]:3d} within the error {counts[2]:3d} differ  error {error:.1e}  {options}",
              flush=True)
    print(f"{len(CASES)} models: {total[0]} ids the same, {total[1]} within the error, {total[2]} differ")
    return int(total[2] > 0)


if __name__ == "__main__":
    sys.exit(main())
