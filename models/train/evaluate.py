"""Measures a reader on fresh generated pages, held-out documentation and XQuAD.

    python3 evaluate.py ../quire-reader.gguf [--only facts,needle,span,absent,cloze,xquad] [--n 500]
    [--seed 9000]

Prints one line a cell: value, 95% interval (Wilson), number of questions. Exact match after lower
case, without punctuation and articles. --checkpoint FILE measures a checkpoint of train.py with the
tokenizer of the GGUF."""

import argparse
import collections
import json
import math
import os
import random
import re
import string
import time

import model as M  # first: it sets OpenBLAS up
import torch

import bpe
import export
import gguf_io
import pages
import sentences
from pack import REFUSAL, Doc, Example, Options, Question, cut_pages
from reader import Reader

DATA = os.environ.get("QUIRE_DATA", os.path.join(M.HERE, "..", "..", "..", "shared", "data"))


def normal(s):
    s = "".join(c for c in s.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(a, b):
    a, b = normal(a).split(), normal(b).split()
    common = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else float(a == b)


def interval(k, n):
    z, p = 1.96, k / max(1, n)
    mid, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (mid - half) / (1 + z * z / n), (mid + half) / (1 + z * z / n)


def show(name, results, note=""):
    n, k = len(results), sum(results)
    lo, hi = interval(k, max(1, n))
    print(f"{name:46s} {k / max(1, n):.3f}  [{lo:.3f}, {hi:.3f}]  n {n}  {note}", flush=True)


def right(answer, golds):
    return float(any(normal(answer) == normal(g) for g in golds))


class Bm25:
    def __init__(self, texts):
        self.words = [collections.Counter(re.findall(r"\w+", t.lower())) for t in texts]
        self.length = [sum(w.values()) for w in self.words]
        self.mean = sum(self.length) / len(texts)
        self.where = collections.defaultdict(list)
        for i, w in enumerate(self.words):
            for x in w:
                self.where[x].append(i)

    def best(self, query, count, but):
        score = collections.Counter()
        for w in set(re.findall(r"\w+", query.lower())):
            found = self.where.get(w, [])
            idf = math.log(1 + (len(self.words) - len(found) + 0.5) / (len(found) + 0.5))
            for i in found:
                f = self.words[i][w]
                score[i] += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * self.length[i] / self.mean))
        return [i for i, _ in score.most_common(count + 1 + len(but)) if i not in but][:count]


class Test:
    def __init__(self, reader, n, seed):
        self.reader, self.n, self.seed, self.sure = reader, n, seed, {}

    def pages_of(self, ex):
        return sum(len(cut_pages(self.reader.tok, d, 128)) for d in ex.docs)

    def examples(self, name, build, accept=lambda ex: True):
        """Examples until they hold n questions; each from its own seed."""
        count, i = 0, 0
        while count < self.n:
            ex = build(random.Random(f"{self.seed} {name} {i}"))
            i += 1
            if ex.questions and accept(ex):
                count += len(ex.questions)
                yield ex

    def run(self, name, examples, options=Options(), keep=False):
        """[(question, answer, confidence)] of all examples; shows the share of right answers on
        stated ones."""
        out, size, t = [], [], time.time()
        for ex in examples:
            got = self.reader.answers(ex, options)
            out += got
            size.append(self.pages_of(ex))
        stated = [x for x in out if x[0].answer != REFUSAL]
        marks = [right(a, [q.answer]) for q, a, _ in stated]
        if keep:
            self.sure[name] = [(c, m) for (_, _, c), m in zip(stated, marks) if True]
        show(name, marks, f"pages {sum(size) / max(1, len(size)):.1f}  {time.time() - t:.0f} s")
        return out

    def facts(self):
        for label, how in (
            ("seen kinds, new phrasings and names", dict(new=True)),
            ("kinds never seen", dict(types=pages.UNSEEN)),
        ):
            for n in (1, 8, 32):
                if n == 32 and "types" in how:
                    continue
                lo, hi = (1, 1) if n == 1 else (n, n + 1 + n // 8)
                ex = self.examples(
                    f"{label}{n}",
                    lambda r: pages.make(r, "things", 40 if n == 1 else n * 45, 10, 0.0, **how),
                    lambda e: lo <= self.pages_of(e) <= hi,
                )
                self.run(f"{label}, {n} pages", ex, keep=n == 8)

    def needle(self):
        for size in (256, 512, 1024, 2048, 4000):
            total = []
            for d in range(11):
                n, self.n = self.n, max(10, self.n // 11)
                ex = self.examples(
                    f"needle{size}-{d}",
                    lambda r: pages.make(
                        r,
                        "needle",
                        int(size / 1.45),
                        1,
                        0.0,
                        held=True,
                        new=True,
                        depth=d / 10,
                        needles=1,
                    ),
                )
                for e in ex:
                    total += [
                        (d, right(a, [q.answer]))
                        for q, a, _ in self.reader.answers(e, Options(longest=4600, total=4800))
                    ]
                self.n = n
            by = [
                sum(m for k, m in total if k == d) / max(1, sum(k == d for k, m in total))
                for d in range(11)
            ]
            show(
                f"needle, about {size} tokens, 11 depths",
                [m for _, m in total],
                "by depth " + " ".join("%.2f" % x for x in by),
            )

    def span(self):
        def far(ex):
            ex.questions = [
                q for q in ex.questions if self.distance(ex, q) >= 3 and len(q.evidence) == 1
            ]
            return bool(ex.questions)

        made = list(
            self.examples(
                "span",
                lambda r: pages.make(r, "span", 900, 6, 0.0, held=True, documents=2, new=True),
                far,
            )
        )
        for mode in ("docs", "joint", "isolated"):
            self.run(f"facts 3+ pages after the name, {mode}", made, Options(mode=mode))

    def distance(self, ex, q):
        d, part = q.evidence[0]
        cuts = cut_pages(self.reader.tok, ex.docs[d], 128)
        return (
            next(i + 1 for i, (_, first, last) in enumerate(cuts) if first <= part <= last)
            if ex.docs[d].title
            else 0
        )

    def absent(self):
        for kind in ("things", "free", "text", "span"):
            how = dict(held=True) if kind in ("text", "span") else {}
            how.update(dict(new=True) if kind in ("things", "span") else {})
            out = []
            for ex in self.examples(
                "absent" + kind,
                lambda r: pages.make(r, kind, r.choice((60, 250, 450)), 8, 0.6, **how),
            ):
                out += self.reader.answers(ex, Options())
            said = [(q.answer == REFUSAL, a == REFUSAL) for q, a, _ in out]
            show(f"not stated, recognised ({kind})", [float(x) for w, x in said if w])
            show(f"not stated, false alarms ({kind})", [float(x) for w, x in said if not w])

    def cloze(self):
        texts = [
            (t, p) for t, parts in pages.TEXTS[True] for p in parts if 30 <= len(p.split()) <= 130
        ]
        index = Bm25([p for _, p in texts])

        def build(r):
            i = r.randrange(len(texts))
            ss = pages.SENTENCE.split(texts[i][1])
            q = sentences.ask(r, r.choice(ss), True)
            if not q:
                return Example([], [])
            chosen = [i] + index.best(q[0], 7, {i})
            r.shuffle(chosen)
            docs = [
                Doc(texts[j][0], pages.spread(pages.SENTENCE.split(texts[j][1]), r, 0.0))
                for j in chosen
            ]
            return Example(docs, [Question(q[0], q[1], "cloze")])

        self.run("cloze, held-out text, gold + 7 lexical", self.examples("cloze", build), keep=True)

    def xquad(self):
        path = os.path.join(DATA, "xquad", "xquad.en.json")
        if not os.path.exists(path):
            print("skip xquad: no file", path)
            return
        with open(path) as f:
            paras = [
                (a.get("title", "").replace("_", " "), p)
                for a in json.load(f)["data"]
                for p in a["paragraphs"]
            ]
        index, r = Bm25([p["context"] for _, p in paras]), random.Random(self.seed)
        todo = [(i, q) for i, (_, p) in enumerate(paras) for q in p["qas"]]
        r.shuffle(todo)
        for count, name in ((0, "XQuAD-en, gold paragraph"), (3, "XQuAD-en, gold + 3 lexical")):
            em, fs = [], []
            for i, q in todo[: max(self.n, 100)]:
                chosen = [i] + index.best(q["question"], count, {i}) if count else [i]
                r.shuffle(chosen)
                ex = Example(
                    [
                        Doc(
                            paras[j][0],
                            pages.spread(pages.SENTENCE.split(paras[j][1]["context"]), r, 0.0),
                        )
                        for j in chosen
                    ],
                    [Question(q["question"], q["answers"][0]["text"], "xquad")],
                )
                golds = [a["text"] for a in q["answers"]]
                for _, a, _ in self.reader.answers(ex, Options()):
                    em.append(right(a, golds))
                    fs.append(max(f1(a, g) for g in golds))
            show(name + ", exact", em, f"F1 {sum(fs) / max(1, len(fs)):.3f}")

    def calibration(self):
        """The lowest confidence from which on 95% are right, over generated facts and cloze."""
        every = sorted((x for v in self.sure.values() for x in v), reverse=True)
        best, k = None, 0
        for i, (c, m) in enumerate(every):
            k += m
            if i >= 30 and k / (i + 1) >= 0.95:
                best = (c, (i + 1) / len(every), k / (i + 1))
        print(
            "calibration:",
            (
                "no threshold"
                if best is None
                else "confidence >= %.3f: %.1f%% of answers, %.3f right"
                % (best[0], 100 * best[1], best[2])
            ),
            f"(n {len(every)})",
            flush=True,
        )


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("--checkpoint", default="")
    ap.add_argument("--only", default="facts,cloze,span,absent,needle,xquad")
    ap.add_argument("--n", type=int, default=500)
    ap.add_argument("--seed", type=int, default=9000)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    w, shape, vocab, merges = gguf_io.read(a.model)
    if a.checkpoint:
        w, shape = export.load(a.checkpoint)
    test = Test(Reader(M.Model(shape, w), bpe.Tokenizer(vocab, merges)), a.n, a.seed)
    for name in a.only.split(","):
        getattr(test, name)()
    if test.sure:
        test.calibration()


if __name__ == "__main__":
    main()
