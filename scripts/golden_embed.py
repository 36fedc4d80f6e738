#!/usr/bin/env python3
"""Record what others make of a tiny random BERT: tests/golden/bert-tiny.gguf and embed.json.

    python3 scripts/golden_embed.py transformers tests/golden     # first: writes the model, too
    python3 scripts/golden_embed.py llama_cpp tests/golden        # adds its vectors

embed.json: {"texts": [...], "transformers": {"ids", "vectors"}, "llama_cpp": {"ids", "vectors"}}; vectors
are means over all tokens, scaled to length 1. Versions used are in tests/golden/README.md.
"""
import json
import os
import string
import sys
import tempfile

import numpy as np

E, F, L, H, WINDOW = 32, 48, 2, 4, 40
WORDS = "the of ship light house harbor sea uber grosse 灯 塔 港".split()
ENDS = "ed ing house er 1".split()
VOCAB = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(string.punctuation + string.digits) + list("abcdeghilmnoprstu")
         + WORDS + ["##" + c for c in "abcdeghilmnoprstu"] + ["##" + w for w in ENDS])
TEXTS = [
    "The lighthouse of the harbor.",
    "ships, SHIPPED; shipping?",
    "Über große Häuser",
    "灯塔 in 港1",
    "",
    "zzz the qqq xx",
    "a\tb\u00a0c\u200bd\u0301e\nunbreakablewordthatgoesonandonandon",
    "the sea " * 30,
    "don't e-mail 3.14 [CLS] the",
]


def weights():
    r = np.random.default_rng(7)

    def draw(*shape, scale=0.35):
        return (r.standard_normal(shape) * scale).astype(np.float32)

    w = {"token_embd.weight": draw(len(VOCAB), E, scale=1), "position_embd.weight": draw(WINDOW, E),
         "token_types.weight": draw(2, E), "token_embd_norm.weight": 1 + draw(E, scale=.2),
         "token_embd_norm.bias": draw(E, scale=.2)}
    for i in range(L):
        b = f"blk.{i}."
        for name, n, k in (("attn_q", E, E), ("attn_k", E, E), ("attn_v", E, E), ("attn_output", E, E),
                           ("ffn_up", F, E), ("ffn_down", E, F)):
            w[b + name + ".weight"], w[b + name + ".bias"] = draw(n, k), draw(n)
        for name in ("attn_output_norm", "layer_output_norm"):
            w[b + name + ".weight"], w[b + name + ".bias"] = 1 + draw(E, scale=.2), draw(E, scale=.2)
    return w


def write_gguf(path):
    import gguf

    g = gguf.GGUFWriter(path, "bert")
    g.add_name("bert-tiny")
    g.add_block_count(L)
    g.add_context_length(WINDOW)
    g.add_embedding_length(E)
    g.add_feed_forward_length(F)
    g.add_head_count(H)
    g.add_layer_norm_eps(1e-12)
    g.add_causal_attention(False)
    g.add_pooling_type(gguf.PoolingType.MEAN)
    g.add_tokenizer_model("bert")
    g.add_tokenizer_pre("default")
    special = [t.startswith("[") and t.endswith("]") and len(t) > 2 for t in VOCAB]
    g.add_token_list([t if s else t[2:] if t.startswith("##") and len(t) > 2 else "\u2581" + t
                      for t, s in zip(VOCAB, special)])
    g.add_token_types([3 if s else 1 for s in special])
    g.add_token_type_count(2)
    for name, token in (("bos", "[CLS]"), ("sep", "[SEP]"), ("unk", "[UNK]"), ("pad", "[PAD]"), ("mask", "[MASK]")):
        getattr(g, f"add_{name}_token_id")(VOCAB.index(token))
    for name, array in weights().items():
        g.add_tensor(name, array)
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def by_transformers():
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    with tempfile.TemporaryDirectory() as folder:
        open(folder + "/vocab.txt", "w").write("\n".join(VOCAB) + "\n")
        tok = BertTokenizer(folder + "/vocab.txt", do_lower_case=True)
    m = BertModel(BertConfig(vocab_size=len(VOCAB), hidden_size=E, num_hidden_layers=L, num_attention_heads=H,
                             intermediate_size=F, max_position_embeddings=WINDOW, type_vocab_size=2,
                             layer_norm_eps=1e-12), add_pooling_layer=False).double().eval()
    names = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
             "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
             "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
             "token_embd": "word_embeddings", "position_embd": "position_embeddings",
             "token_types": "token_type_embeddings", "token_embd_norm": "LayerNorm"}
    state = {}
    for name, array in weights().items():
        p = name.split(".")
        stem = f"encoder.layer.{p[1]}.{names[p[2]]}" if p[0] == "blk" else f"embeddings.{names[p[0]]}"
        state[f"{stem}.{p[-1]}"] = torch.tensor(array, dtype=torch.float64)
    m.load_state_dict(state, strict=False)
    ids, vectors = [], []
    for text in TEXTS:
        t = tok(text, truncation=True, max_length=WINDOW)["input_ids"] if "[CLS]" not in text else \
            tok.build_inputs_with_special_tokens(tok.convert_tokens_to_ids(plain(tok, text)))
        with torch.no_grad():
            x = m(torch.tensor([t])).last_hidden_state[0].mean(0)
        ids.append(t)
        vectors.append((x / x.norm()).tolist())
    return {"ids": ids, "vectors": vectors}


def plain(tok, text):
    """Tokens of text in which nothing is special."""
    words = tok.basic_tokenizer.tokenize(text, never_split=[])
    words = [w for word in words for w in tok.basic_tokenizer._run_split_on_punc(word)]
    return [p for w in words for p in tok.wordpiece_tokenizer.tokenize(w.lower())]


def by_llama_cpp(path):
    import llama_cpp

    m = llama_cpp.Llama(path, embedding=True, n_ctx=WINDOW, n_batch=WINDOW, n_ubatch=WINDOW, verbose=False, n_threads=1)
    ids, vectors = [], []
    for text in TEXTS:
        t = m.tokenize(text.encode(), add_bos=True, special=False)
        ids.append(t)
        vectors.append(m.embed(text, normalize=True, truncate=True) if len(t) <= WINDOW else None)
    return {"ids": ids, "vectors": vectors}


def main():
    who, folder = sys.argv[1:3]
    out, model = folder + "/embed.json", folder + "/bert-tiny.gguf"
    record = json.load(open(out)) if os.path.exists(out) else {"texts": TEXTS}
    if who == "transformers" or not os.path.exists(model):
        write_gguf(model)
    record[who] = by_transformers() if who == "transformers" else by_llama_cpp(model)
    for v in filter(None, record[who]["vectors"]):
        v[:] = [round(x, 9) for x in v]
    with open(out, "w") as f:
        f.write(json.dumps(record, ensure_ascii=False) + "\n")


main()
