#!/usr/bin/env python3
"""A BERT embedding model as it is published (sentence-transformers' folder) to GGUF, for quire index --embed-model.

    bench/bert_gguf.py FOLDER all-minilm-l6-v2.gguf       # needs the packages gguf and safetensors

FOLDER holds config.json, model.safetensors, vocab.txt and, where pooling is not the mean, 1_Pooling/config.json.
Matrices become f16. llama.cpp's own converter writes the same names.
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

LAYER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
OUTER = {"word_embeddings": "token_embd", "position_embeddings": "position_embd", "token_type_embeddings": "token_types",
         "LayerNorm": "token_embd_norm"}


def tensor_name(name):
    """GGUF's name of a tensor, or None for one that embedding does not need."""
    p = name.removeprefix("bert.").split(".")
    if p[0] == "embeddings" and p[1] in OUTER:
        return f"{OUTER[p[1]]}.{p[2]}"
    if p[:2] == ["encoder", "layer"]:
        return f"blk.{p[2]}.{LAYER['.'.join(p[3:-1])]}.{p[-1]}"
    return None


def write_vocabulary(g, tokens):
    special = [t.startswith("[") and t.endswith("]") and len(t) > 2 for t in tokens]
    g.add_tokenizer_model("bert")
    g.add_tokenizer_pre("default")
    g.add_token_list([t if s else t[2:] if t.startswith("##") and len(t) > 2 else "\u2581" + t
                      for t, s in zip(tokens, special)])
    g.add_token_types([gguf.TokenType.CONTROL if s else gguf.TokenType.NORMAL for s in special])
    for name, token in (("bos", "[CLS]"), ("sep", "[SEP]"), ("unk", "[UNK]"), ("pad", "[PAD]"), ("mask", "[MASK]")):
        getattr(g, f"add_{name}_token_id")(tokens.index(token))


def main(folder, out):
    def load(name):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            return json.load(f) if name.endswith("json") else f.read().splitlines()

    c = load("config.json")
    if c.get("model_type") != "bert" or c.get("hidden_act") != "gelu":
        sys.exit(f"{folder}: not a BERT with GELU")
    pooling = gguf.PoolingType.MEAN
    if os.path.exists(os.path.join(folder, "1_Pooling/config.json")) and load("1_Pooling/config.json")["pooling_mode_cls_token"]:
        pooling = gguf.PoolingType.CLS
    g = gguf.GGUFWriter(out, "bert")
    g.add_name(os.path.splitext(os.path.basename(out))[0])
    g.add_block_count(c["num_hidden_layers"])
    g.add_context_length(c["max_position_embeddings"])
    g.add_embedding_length(c["hidden_size"])
    g.add_feed_forward_length(c["intermediate_size"])
    g.add_head_count(c["num_attention_heads"])
    g.add_layer_norm_eps(c["layer_norm_eps"])
    g.add_causal_attention(False)
    g.add_pooling_type(pooling)
    g.add_token_type_count(c["type_vocab_size"])
    write_vocabulary(g, load("vocab.txt"))
    for name, a in load_file(os.path.join(folder, "model.safetensors")).items():
        to = tensor_name(name)
        if to and a.dtype.kind == "f":
            is_matrix = a.ndim == 2 and to.startswith("blk.")
            g.add_tensor(to, a.astype(np.float16 if is_matrix else np.float32))
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
