#!/usr/bin/env python3
"""Record logits of tiny random models as transformers computes them: tests/golden/transformers.json.

    scripts/golden_transformers.py build/release/mkmodel tests/golden/transformers.json

Each case is a mkmodel command line. The file that it writes is read with the gguf package (its own
dequantisation), turned into a transformers model in float64, and run over fixed ids. Kept are the
command line, the ids and 64 logits, never the weights: mkmodel makes those again from the seed.
Versions used are in tests/golden/README.md.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

YARN = "--context 1024 --set rope.scaling.type=yarn --set rope.scaling.factor=4.0"
CASES = [  # mkmodel options; whether positions have gaps; options of an adapter
    ("--seed 1", False),
    ("--seed 2 --untied --heads 6 --kv-heads 2 --width 96 --head-size 16 --layers 4", False),
    ("--seed 3 --untied --rope-linear 4", False),
    ("--seed 4 --rope-freqs --rope-base 500000", False),
    ("--seed 6 --heads 4 --kv-heads 1 --head-size 64", True),
    ("--seed 7 --type F16", False),
    ("--seed 7 --type BF16", True),
    ("--seed 7 --type Q8_0", False),
    ("--seed 7 --type Q4_0", False),
    ("--seed 8 --type Q8_0 --heads 3 --kv-heads 3 --width 96 --ffn 72 --rope-linear 2 --rope-freqs", False),
    ("--seed 9 --arch qwen2 --rope-base 1000000", False),
    ("--seed 10 --arch qwen2 --untied --type Q8_0", True),
    ("--seed 11 --biases --untied", False),
    (f"--seed 12 --head-size 32 {YARN}", True),
    (f"--seed 13 --arch qwen2 --head-size 64 {YARN} --set rope.scaling.original_context_length=256", True),
    (f"--seed 14 --arch qwen3 --head-size 128 --rope-base 1000000 {YARN} --set rope.scaling.yarn_attn_factor=1.25 "
     "--set rope.scaling.yarn_beta_fast=16.0 --set rope.scaling.yarn_beta_slow=2.0", True),
    ("--seed 15 --arch qwen3 --rope-linear 3", True),
    ("--seed 16", False, "--seed 17 --lora 8 --set adapter.lora.alpha=4.0"),
    ("--seed 16 --arch qwen3 --head-size 32", True, "--seed 17 --lora 3"),
] + [(f"--seed {20 + i} --arch {arch} --head-size {size}", i % 2 == 1)
     for i, (arch, size) in enumerate((a, d) for a in ("llama", "qwen2", "qwen3") for d in (32, 64, 80, 96, 128))]
N_IDS = 40
MIDDLE, N_MIDDLE, N_LAST = 20, 16, 48


def ids_for(case, vocab):
    """Fixed ids, spread by a small linear generator."""
    state, ids = 1000 + case, []
    for _ in range(N_IDS):
        state = (state * 1103515245 + 12345) % 2**31
        ids.append((state >> 8) % vocab)
    return ids


def positions_for(gaps):
    """0, 1, 2, ... or ascending positions with three gaps."""
    if not gaps:
        return list(range(N_IDS))
    return [t + (7 if t >= 8 else 0) + (100 if t >= 17 else 0) + (1 if t >= 30 else 0) for t in range(N_IDS)]


def read_gguf(path):
    reader = GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if field.types}
    weights = {}
    for t in reader.tensors:
        w = dequantize(t.data, t.tensor_type).astype(np.float64)
        weights[t.name] = torch.from_numpy(w.reshape(tuple(int(d) for d in reversed(t.shape))))
    return keys, weights


def halves(w, heads):
    """llama files interleave the two halves of each q and k head; transformers keeps them apart."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, -1).transpose(1, 2).reshape(w.shape)


def rope_options(get):
    """The keys of GGUF in the words of a transformers configuration."""
    kind, window = get("rope.scaling.type"), get("context_length")
    if kind == "linear":
        return {"rope_scaling": {"rope_type": "linear", "factor": get("rope.scaling.factor")}}
    if kind != "yarn":
        return {}
    window = get("rope.scaling.original_context_length", window)
    # With original_max_position_embeddings version 4.51 would take another factor than the given one.
    scaling = {"rope_type": "yarn", "factor": get("rope.scaling.factor"), "beta_fast": get("rope.scaling.yarn_beta_fast"),
               "beta_slow": get("rope.scaling.yarn_beta_slow"), "attention_factor": get("rope.scaling.yarn_attn_factor")}
    return {"rope_scaling": {k: v for k, v in scaling.items() if v is not None}, "max_position_embeddings": window}


def build(keys, weights):
    arch = keys["general.architecture"]
    get = lambda name, default=None: keys.get(arch + "." + name, default)
    heads, kv_heads = get("attention.head_count"), get("attention.head_count_kv")
    options = dict(
        hidden_size=get("embedding_length"), num_hidden_layers=get("block_count"), head_dim=get("attention.key_length"),
        num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=get("feed_forward_length"),
        vocab_size=weights["token_embd.weight"].shape[0], max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"), rope_theta=get("rope.freq_base"),
        tie_word_embeddings="output.weight" not in weights, attn_implementation="eager")
    options.update(rope_options(get))
    if arch == "llama":
        options["attention_bias"] = options["mlp_bias"] = "blk.0.ffn_up.bias" in weights
    name = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[arch]
    config = getattr(transformers, name + "Config")(**options)
    model = getattr(transformers, name + "ForCausalLM")(config).double().eval()
    names = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj"}
    state = {"model.embed_tokens.weight": weights["token_embd.weight"],
             "model.norm.weight": weights["output_norm.weight"],
             "lm_head.weight": weights.get("output.weight", weights["token_embd.weight"])}
    for name, w in weights.items():
        if not name.startswith("blk."):
            continue
        _, layer, part, kind = name.split(".")
        if arch == "llama" and part in ("attn_q", "attn_k"):
            w = halves(w, heads if part == "attn_q" else kv_heads)
        state[f"model.layers.{layer}.{names[part]}.{kind}"] = w
    model.load_state_dict(state, strict=True)
    if "rope_freqs.weight" in weights:
        model.model.rotary_emb.inv_freq /= weights["rope_freqs.weight"].reshape(-1)
    return model


def merge(weights, keys, pairs):
    """W += alpha / r * B A for each pair of an adapter."""
    for name in {n[:-len(".lora_a")] for n in pairs if n.endswith(".lora_a")}:
        a, b = pairs[name + ".lora_a"], pairs[name + ".lora_b"]
        alpha = keys.get("adapter.lora.alpha", 0)
        weights[name] += (alpha / a.shape[0] if alpha else 1) * b @ a


def rounded(row):
    """Nine digits are more than the tolerance asks for."""
    return [float(f"{x:.9g}") for x in row.tolist()]


def main():
    mkmodel, out = sys.argv[1:3]
    records = []
    for i, (options, gaps, *adapter) in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.gguf")
            make = [mkmodel, "--random", "--shape", "tiny", *options.split(), "-o", path]
            subprocess.run(make, check=True)
            digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
            keys, weights = read_gguf(path)
            if adapter:  # the model's options, and then its own
                subprocess.run([*make, *adapter[0].split()], check=True)
                merge(weights, *read_gguf(path))
        model = build(keys, weights)
        ids, positions = ids_for(i, weights["token_embd.weight"].shape[0]), positions_for(gaps)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions])).logits[0]
        records.append({
            "options": options, "adapter": adapter[0] if adapter else "", "sha256": digest, "ids": ids,
            "positions": positions,
            "middle": {"row": MIDDLE, "logits": rounded(logits[MIDDLE][:N_MIDDLE])},
            "last": {"row": N_IDS - 1, "logits": rounded(logits[-1][-N_LAST:]), "argmax": int(logits[-1].argmax())},
        })
        print(options, "spread", float(logits[-1].max() - logits[-1].min()), file=sys.stderr)
    with open(out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in records) + "\n]\n")


if __name__ == "__main__":
    main()
