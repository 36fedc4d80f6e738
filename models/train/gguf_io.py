"""Reading and writing the reader as GGUF (architecture llama, tied embeddings; matrices f16 or
Q8_0)."""

import struct

import numpy as np
import torch

U32, F32, BOOL, STR, ARR = 4, 6, 7, 8, 9
PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
ALIGN = 32


def rope_rows(x, heads, back=False):
    """Rows of a q or k matrix: halves (ours) to neighbours (llama in GGUF), or back."""
    a, b = (32, 2) if back else (2, 32)
    return x.reshape(heads, a, b, x.shape[1]).transpose(0, 2, 1, 3).reshape(heads * 64, x.shape[1])


def tensors_out(w, s):
    """Our weights as a list of (name, array) in GGUF's names and order of rows."""
    h, k, f = s["heads"] * 64, s["kv"] * 64, s["hidden"]
    p = {n: t.detach().float().numpy() for n, t in w.items()}
    out = [("token_embd.weight", p["emb"])]
    for n in range(s["layers"]):
        q, kk, v = np.split(p[f"{n}.qkv"], [h, h + k])
        gate, up = np.split(p[f"{n}.gu"], [f])
        for name, x in (
            ("attn_norm", p[f"{n}.n1"]),
            ("ffn_norm", p[f"{n}.n2"]),
            ("attn_q", rope_rows(q, s["heads"])),
            ("attn_k", rope_rows(kk, s["kv"])),
            ("attn_v", v),
            ("attn_output", p[f"{n}.o"]),
            ("ffn_gate", gate),
            ("ffn_up", up),
            ("ffn_down", p[f"{n}.d"]),
        ):
            out.append((f"blk.{n}.{name}.weight", x))
    return out + [("output_norm.weight", p["nf"])]


def pack_string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def pack_value(kind, v):
    if kind == STR:
        return pack_string(v)
    return struct.pack("<" + PLAIN[kind], v)


def pack_entry(key, kind, v, item=None):
    head = pack_string(key) + struct.pack("<I", kind)
    if kind != ARR:
        return head + pack_value(kind, v)
    return head + struct.pack("<IQ", item, len(v)) + b"".join(pack_value(item, x) for x in v)


def to_q8_0(x):
    """Blocks of 32 values of a row: the scale as f16, then the values as signed bytes."""
    x = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    scale = (np.abs(x).max(1) / 127).astype(np.float16)
    step = scale.astype(np.float32)
    step[step == 0] = 1
    q = np.clip(np.rint(x / step[:, None]), -127, 127).astype(np.int8)
    return np.concatenate([scale[:, None].view(np.int8), q], 1).tobytes()


def from_q8_0(raw):
    b = np.frombuffer(raw, np.int8).reshape(-1, 34)
    scale = np.ascontiguousarray(b[:, :2]).view(np.float16).astype(np.float32)
    return (b[:, 2:].astype(np.float32) * scale).reshape(-1)


def write(
    path,
    weights,
    s,
    vocab,
    merges,
    kind="f16",
    name="quire-reader",
    context=4096,
    pages=0,
    sure=0.0,
):
    """kind: f16 or q8_0, how the matrices are stored. pages, sure: what quire ask takes where the
    user says nothing: candidate pages, and the confidence below which answers are withheld."""
    p = "llama."
    kv = [
        ("general.architecture", STR, "llama"),
        ("general.name", STR, name),
        (p + "context_length", U32, context),
        (p + "embedding_length", U32, s["width"]),
        (p + "block_count", U32, s["layers"]),
        (p + "feed_forward_length", U32, s["hidden"]),
        (p + "attention.head_count", U32, s["heads"]),
        (p + "attention.head_count_kv", U32, s["kv"]),
        (p + "attention.key_length", U32, 64),
        (p + "attention.value_length", U32, 64),
        (p + "attention.layer_norm_rms_epsilon", F32, 1e-5),
        (p + "rope.dimension_count", U32, 64),
        (p + "rope.freq_base", F32, s["theta"]),
        ("general.file_type", U32, 1 if kind == "f16" else 7),
        (p + "vocab_size", U32, s["vocab"]),
        ("tokenizer.ggml.model", STR, "gpt2"),
        ("tokenizer.ggml.pre", STR, "gpt-2"),
        ("tokenizer.ggml.bos_token_id", U32, 0),
        ("tokenizer.ggml.eos_token_id", U32, 1),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
    ]
    if pages:
        kv.append(("quire.ask.pages", U32, pages))
    if sure:
        kv.append(("quire.ask.min_confidence", F32, sure))
    entries = [pack_entry(*e) for e in kv]
    entries.append(pack_entry("tokenizer.ggml.tokens", ARR, vocab, STR))
    entries.append(
        pack_entry("tokenizer.ggml.token_type", ARR, [3] * 3 + [1] * (len(vocab) - 3), 5)
    )
    entries.append(pack_entry("tokenizer.ggml.merges", ARR, [" ".join(m) for m in merges], STR))
    table, data, at = [], [], 0
    for n, x in tensors_out(weights, s):
        dims = x.shape[::-1]
        if x.ndim == 1:
            code, raw = 0, np.ascontiguousarray(x, np.float32).tobytes()
        elif kind == "f16":
            code, raw = 1, np.ascontiguousarray(x, np.float16).tobytes()
        else:
            code, raw = 8, to_q8_0(x)
        table.append(
            pack_string(n)
            + struct.pack("<I", len(dims))
            + struct.pack("<%dQ" % len(dims), *dims)
            + struct.pack("<IQ", code, at)
        )
        data.append(raw + bytes(-len(raw) % ALIGN))
        at += len(data[-1])
    head = (
        b"GGUF"
        + struct.pack("<IQQ", 3, len(table), len(entries))
        + b"".join(entries)
        + b"".join(table)
    )
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN) + b"".join(data))


class Reader:
    """The few parts of a GGUF file that this folder needs: fields by key, tensors by name."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.raw = f.read()
        self.at = 4
        version, tensors, fields = self.take("<IQQ")
        if self.raw[:4] != b"GGUF" or version != 3:
            raise ValueError(f"not a GGUF file of version 3: '{path}'")
        self.fields = {}
        for _ in range(fields):
            key = self.string()
            self.fields[key] = self.value(self.take("<I")[0])
        infos = []
        for _ in range(tensors):
            name, n = self.string(), self.take("<I")[0]
            dims = self.take("<%dQ" % n)
            kind, off = self.take("<IQ")
            infos.append((name, dims[::-1], kind, off))
        base = -(-self.at // ALIGN) * ALIGN
        self.tensors = {}
        for name, dims, kind, off in infos:
            n, at = int(np.prod(dims)), base + off
            if kind == 8:
                a = from_q8_0(self.raw[at : at + n // 32 * 34])
            else:
                a = np.frombuffer(self.raw, {0: np.float32, 1: np.float16}[kind], n, at)
            self.tensors[name] = a.reshape(dims).astype(np.float32)

    def take(self, form):
        v = struct.unpack_from(form, self.raw, self.at)
        self.at += struct.calcsize(form)
        return v

    def string(self):
        n = self.take("<Q")[0]
        self.at += n
        return self.raw[self.at - n : self.at].decode()

    def value(self, kind):
        if kind == STR:
            return self.string()
        if kind != ARR:
            return self.take("<" + PLAIN[kind])[0]
        item, n = self.take("<IQ")
        return [self.value(item) for _ in range(n)]


def read(path):
    """A reader's file -> (weights, shape, vocab, merges)."""
    r = Reader(path)
    f, t = r.fields, r.tensors
    s = dict(
        vocab=len(f["tokenizer.ggml.tokens"]),
        width=f["llama.embedding_length"],
        layers=f["llama.block_count"],
        heads=f["llama.attention.head_count"],
        kv=f["llama.attention.head_count_kv"],
        hidden=f["llama.feed_forward_length"],
        theta=f["llama.rope.freq_base"],
    )
    w = {"emb": t["token_embd.weight"], "nf": t["output_norm.weight"]}
    for n in range(s["layers"]):
        g = lambda name: t[f"blk.{n}.{name}.weight"]
        w[f"{n}.n1"], w[f"{n}.n2"] = g("attn_norm"), g("ffn_norm")
        w[f"{n}.qkv"] = np.concatenate(
            [
                rope_rows(g("attn_q"), s["heads"], True),
                rope_rows(g("attn_k"), s["kv"], True),
                g("attn_v"),
            ]
        )
        w[f"{n}.o"], w[f"{n}.d"] = g("attn_output"), g("ffn_down")
        w[f"{n}.gu"] = np.concatenate([g("ffn_gate"), g("ffn_up")])
    w = {k: torch.from_numpy(np.ascontiguousarray(v)).clone() for k, v in w.items()}
    return (
        w,
        s,
        f["tokenizer.ggml.tokens"],
        [tuple(m.split(" ")) for m in f["tokenizer.ggml.merges"]],
    )
