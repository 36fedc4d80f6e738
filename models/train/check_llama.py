"""Compares llama.cpp's greedy ids with this folder's, on prompts as the program sends them.

    python3 check_llama.py write MODEL.gguf CASES.json [count]    with PyTorch: prompts and our ids
    python3 check_llama.py compare MODEL.gguf CASES.json          with the package llama-cpp-python

Two steps, since the two packages need not live in one Python.
"""

import json
import sys


def write(path, out, count):
    import random

    import model as M
    import bpe
    import gguf_io
    import pages
    from pack import REFUSAL, Options, pack
    from reader import Reader

    w, shape, vocab, merges = gguf_io.read(path)
    tok = bpe.Tokenizer(vocab, merges)
    reader, cases = Reader(M.Model(shape, w), tok), []
    kinds = ("things", "text", "free", "span", "needle", "entry")
    for i in range(count):
        r = random.Random(f"llama {i}")
        ex = pages.make(r, kinds[i % len(kinds)], r.choice((60, 200, 400)), 1, 0.0)
        if not ex.questions:
            continue
        o = Options(mode="joint", answers=False)
        p = pack(tok, ex, random.Random(0), o)
        text = "".join(f"<|page|>{d.title}\n" + "".join(d.parts) for d in ex.docs)
        text += f"\nQuestion: {ex.questions[0].text}\nAnswer:"
        reader.answers(ex, o)
        cases.append(dict(text=text, ids=p.tok, answer=reader.ids[0]))
    with open(out, "w") as f:
        json.dump(cases, f)


def compare(path, cases):
    from llama_cpp import Llama

    llm = Llama(path, n_ctx=4096, verbose=False, logits_all=False)
    same, same_ids, total = 0, 0, 0
    with open(cases) as f:
        for c in json.load(f):
            ids = [0] + llm.tokenize(c["text"].encode(), add_bos=False, special=True)
            llm.reset()
            out = []
            for t in llm.generate(c["ids"], temp=0.0):
                if t == 1 or len(out) == 24:
                    break
                out.append(t)
            total += 1
            same_ids += ids == c["ids"]
            same += out == c["answer"]
            if out != c["answer"]:
                print("differs:", out, c["answer"])
    print(f"prompt ids equal {same_ids} of {total}, greedy answers equal {same} of {total}")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 12)
    else:
        compare(sys.argv[2], sys.argv[3])
