#!/usr/bin/env python3
"""Exact match and F1 (SQuAD normalisation) of `quire ask - --json` over a questions file.

    bench/qa.py --quire ./quire --store build/demo/store --questions examples/questions.jsonl [ask options...]
    bench/qa.py --squad ../shared/data/xquad/xquad.en.json --make DIR

Lines are {"id","question","answers":[...]}; no answers means that the documents do not say. Prints one JSON line:
questions with an answer: EM, F1 and their 95% interval, the share above --at confidence and its EM, how many the rule
answered and their EM; the others: how many were left unanswered.

--make writes a file of SQuAD's form as DIR/docs, a file for each paragraph, and questions: DIR/even.jsonl and odd.jsonl,
by the article's number from 0, and DIR/all.jsonl.
"""
import argparse, collections, json, math, os, re, string, subprocess


def normalise(s):
    s = "".join(c for c in s.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(a, b):
    a, b = normalise(a).split(), normalise(b).split()
    same = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 2 * same / (len(a) + len(b)) if same else 0.0


def make(squad, folder):
    lines = [[], []]
    for a, article in enumerate(json.load(open(squad))["data"]):
        os.makedirs(f"{folder}/docs/{a}", exist_ok=True)
        for i, paragraph in enumerate(article["paragraphs"]):
            path = f"docs/{a}/{i}.txt"
            with open(f"{folder}/{path}", "w") as f:
                f.write(paragraph["context"] + "\n")
            for q in paragraph["qas"]:
                answers = [x["text"] for x in q["answers"]]
                q = {"id": q["id"], "question": q["question"], "answers": answers, "path": path}
                lines[a % 2].append(json.dumps(q) + "\n")
    for name, some in (("even", lines[0]), ("odd", lines[1]), ("all", lines[0] + lines[1])):
        with open(f"{folder}/{name}.jsonl", "w") as f:
            f.writelines(some)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quire", default="./quire")
    p.add_argument("--store")
    p.add_argument("--questions")
    p.add_argument("--squad")
    p.add_argument("--make")
    p.add_argument("--at", type=float, default=0.5)
    p.add_argument("--show", action="store_true")
    args, rest = p.parse_known_args()
    if args.make:
        return make(args.squad, args.make)
    gold = {q["id"]: q for q in map(json.loads, open(args.questions))}
    out = subprocess.run([args.quire, "ask", "-", "--json", "--quiet", "--store", args.store, *rest],
                         stdin=open(args.questions), capture_output=True, text=True).stdout
    em, scores, sure, silent, cited, rule = [], [], [], [], [], []
    tokens = ms = 0
    for line in out.splitlines():
        a = json.loads(line)
        tokens += a["tokens"]["generated"]
        ms += a["timing_ms"]["decode"]
        q = gold[a["id"]]
        answer = a["answer"] if a["found"] else ""
        if not q["answers"]:
            silent.append(not a["found"] or a["confidence"] < args.at)
            continue
        hit = any(normalise(answer) == normalise(g) for g in q["answers"])
        em.append(hit)
        scores.append(max(f1(answer, g) for g in q["answers"]))
        if a["found"] and a["fidelity"] == "extract":
            rule.append(hit)
        if a["confidence"] >= args.at and a["found"]:
            sure.append(hit)
        if q.get("path") and a["citations"]:
            cited.append(a["citations"][0]["path"].endswith(q["path"]))
        if args.show:
            print("ok" if hit else "--", round(a["confidence"], 2), q["question"], "|", answer, "|", q["answers"][0])
    n = len(em)
    m = sum(em) / n
    print(json.dumps({"n": n, "em": round(m, 3), "em_95": round(1.96 * math.sqrt(m * (1 - m) / n), 3),
                      "f1": round(sum(scores) / n, 3), "cited_file_right": round(sum(cited) / max(1, len(cited)), 3),
                      "above": args.at, "share_above": round(len(sure) / n, 3),
                      "em_above": round(sum(sure) / max(1, len(sure)), 3),
                      "by_rule": len(rule), "em_by_rule": round(sum(rule) / max(1, len(rule)), 3),
                      "tokens_per_s": round(tokens * 1e3 / ms, 1) if ms else None,
                      "unanswerable": len(silent), "left_unanswered": round(sum(silent) / max(1, len(silent)), 3)}))


main()
