#!/usr/bin/env python3
"""Record what the published ROUGE programs make of 100 drawn pairs: tests/golden/rouge.jsonl.

    pip install rouge-score==0.1.2 rouge==1.0.1
    python3 scripts/golden_rouge.py >tests/golden/rouge.jsonl

A line: {"candidate","reference","rouge-score":{"one","two","l","lsum"},"rouge":{"one","two","l"}}, each
value [precision, recall, f1].
"""
import json
import random

from rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

WORDS = ("the a of to in ferry harbor Harbor leaves seven crowns report agency agency's don't U.S. 3.14 12% COVID-19 "
         "law laws Senate's naïve Straße 灯塔 İstanbul 5K e-mail [1] (see) x_y \u00a0 — tab\tbed").split(" ")


def text(r):
    out = []
    for _ in range(r.choice([1, 3, 8, 20, 35])):
        out.append(r.choice(WORDS))
        if r.random() < .15:
            out[-1] += r.choice([".", ".", ". .", "!", "\n", ".\n", "..", "\n\n"])
    return " ".join(out) + r.choice(["", ".", "\n"])


def changed(r, words):
    words = [w for w in words if r.random() > .2]
    for _ in range(r.randrange(4)):
        if words:
            i, j = r.randrange(len(words)), r.randrange(len(words))
            words[i], words[j] = words[j], words[i]
    return words + [r.choice(WORDS) for _ in range(r.randrange(5))]


def score(candidate, reference):
    kinds = {"one": "rouge1", "two": "rouge2", "l": "rougeL", "lsum": "rougeLsum"}
    a = RougeScorer(list(kinds.values())).score(reference, candidate)
    try:
        b = Rouge().get_scores(candidate, reference)[0]
    except ValueError:  # no sentence
        b = {k: {"p": 0, "r": 0, "f": 0} for k in ("rouge-1", "rouge-2", "rouge-l")}
    return {"rouge-score": {k: list(map(float, a[v])) for k, v in kinds.items()},
            "rouge": {k: [float(b[v][x]) for x in "prf"]
                      for k, v in (("one", "rouge-1"), ("two", "rouge-2"), ("l", "rouge-l"))}}


def main():
    r = random.Random(9)
    for i in range(100):
        reference = text(r)
        candidate = " ".join(changed(r, reference.split(" "))) if i % 3 else text(r)
        if i in (10, 20):
            candidate = ["", "..."][i // 10 - 1]
        print(json.dumps({"candidate": candidate, "reference": reference, **score(candidate, reference)}))


main()
