#!/usr/bin/env python3
"""Make a public question set ready for `quire eval recall`: every passage a file, every question a line.

    bench/search_recall.py xquad ../shared/data/xquad/xquad.en.json /tmp/en
    bench/search_recall.py nq ../shared/data/nq-passages/nq-open-oracle-dev.jsonl.gz /tmp/nq
    bench/search_recall.py cranfield ../shared/data/cranfield /tmp/cranfield
    quire index --kv none --store /tmp/en/store /tmp/en/docs
    quire eval recall --store /tmp/en/store /tmp/en/questions.jsonl
"""
import gzip, json, os, re, sys


def xquad(path):
    passages, questions = [], []
    for article in json.load(open(path))["data"]:
        for p in article["paragraphs"]:
            questions += [(q["question"], [len(passages)]) for q in p["qas"]]
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
                questions.append((r["question"], [at[key]]))
    return passages, questions


def records(path):
    """A record's fields of a SMART file by their letter."""
    for record in open(path).read().split("\n.I "):
        fields = re.split(r"\n\.(?=[TABWX](?:\n|$))", record)[1:]
        yield {"T": "", "W": "", **{f[0]: f[1:].strip() for f in fields}}


def cranfield(path):
    passages = [r["T"] + "\n\n" + r["W"] for r in records(path + "/cran.all.1400")]
    questions = [(" ".join(r["W"].split()), []) for r in records(path + "/cran-dev.qry")]
    for line in open(path + "/cranqrel-dev"):
        query, _, doc, grade = map(int, line.split()[:4])
        if grade < 5 and doc - 1 not in questions[query - 1][1]:
            questions[query - 1][1].append(doc - 1)
    return passages, [q for q in questions if q[1]]


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("xquad", "nq", "cranfield"):
        sys.exit(__doc__)
    passages, questions = globals()[sys.argv[1]](sys.argv[2])
    os.makedirs(sys.argv[3] + "/docs")
    for i, text in enumerate(passages):
        open(f"{sys.argv[3]}/docs/{i:05d}.txt", "w").write(text)
    with open(sys.argv[3] + "/questions.jsonl", "w") as f:
        for i, (q, gold) in enumerate(questions):
            f.write(json.dumps({"id": i, "question": q, "gold": [f"{g:05d}.txt" for g in gold]}) + "\n")


main()
