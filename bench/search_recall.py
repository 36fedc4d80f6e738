#!/usr/bin/env python3
"""Recall@k over distinct files by `quire search` itself: every passage is a file, every question a query.

    bench/search_recall.py --quire ./quire --model models/quire-reader.gguf xquad ../shared/data/xquad/xquad.en.json
    bench/search_recall.py --quire ./quire --model models/quire-reader.gguf nq ../shared/data/nq-passages/nq-open-oracle-dev.jsonl.gz
"""
import argparse, gzip, json, os, subprocess, tempfile


def xquad(path):
    passages, questions = [], []
    for article in json.load(open(path))["data"]:
        for p in article["paragraphs"]:
            questions += [(q["question"], len(passages)) for q in p["qas"]]
            passages.append(p["context"])
    return passages, questions


def nq(path):
    passages, questions, at = [], [], {}
    for line in gzip.open(path, "rt"):
        r = json.loads(line)
        for c in r["ctxs"]:
            key = (c["title"], c["text"])
            if key not in at:
                at[key] = len(passages)
                passages.append(c["title"] + "\n\n" + c["text"])
            if c["isgold"]:
                questions.append((r["question"], at[key]))
    return passages, questions


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quire", default="./quire")
    p.add_argument("--model", required=True)
    p.add_argument("set", choices=["xquad", "nq"])
    p.add_argument("path")
    args = p.parse_args()
    passages, questions = (xquad if args.set == "xquad" else nq)(args.path)
    with tempfile.TemporaryDirectory() as dir:
        docs = os.path.join(dir, "docs")
        os.mkdir(docs)
        for i, text in enumerate(passages):
            open(f"{docs}/{i:05d}.txt", "w").write(text)
        store = ["--store", dir + "/store"]
        subprocess.run([args.quire, "index", docs, "--kv", "none", "--quiet", "--model", args.model, *store],
                       check=True, stdout=subprocess.DEVNULL)
        lines = "".join(json.dumps({"id": str(i), "question": q}) + "\n" for i, (q, _) in enumerate(questions))
        out = subprocess.run([args.quire, "search", "-", "--files", "--top", "10", "--json", *store],
                             input=lines, text=True, capture_output=True).stdout
        at = {1: 0, 5: 0, 10: 0}
        for (_, gold), line in zip(questions, out.splitlines()):
            files = [os.path.basename(h["path"])[:5] for h in json.loads(line)["hits"]]
            for k in at:
                at[k] += f"{gold:05d}" in files[:k]
        print(json.dumps({"set": args.path, "passages": len(passages), "questions": len(questions),
                          **{f"recall@{k}": round(v / len(questions), 4) for k, v in at.items()}}))


main()
