#!/usr/bin/env python3
"""The fidelity table of any model: stored pages, repaired ones and pages encoded alone against fresh prompts.

    bench/fidelity.py --model FILE.gguf [--quire ./quire] [--set xquad.en | examples | FOLDER] [--n 500] [eval options...]

Makes a folder of documents and a file of questions, indexes it with all KV and runs `quire eval fidelity` over it.
xquad.en: its articles, five paragraphs each, from QUIRE_DATA (default ../shared/data); where that is absent, the
examples. FOLDER: docs/ and questions.jsonl ({"question","answers"}) of your own. --n questions are taken at even steps.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys


def write_set(name, to, n):
    root = pathlib.Path(__file__).resolve().parent.parent
    docs, questions = to / "docs", []
    if name.startswith("xquad"):
        data = pathlib.Path(os.environ.get("QUIRE_DATA", root / "../shared/data")) / "xquad" / f"{name}.json"
        if not data.exists():
            print(f"no {data}: using the examples", file=sys.stderr)
            return write_set("examples", to, n)
        docs.mkdir()
        for i, article in enumerate(json.load(open(data))["data"]):
            parts = [p["context"] for p in article["paragraphs"]]
            title = article.get("title", f"Article {i + 1}").replace("_", " ")
            (docs / f"{i:02d}.md").write_text(f"# {title}\n\n" + "\n\n".join(parts) + "\n")
            questions += [{"question": q["question"], "answers": sorted({a["text"] for a in q["answers"]})}
                          for p in article["paragraphs"] for q in p["qas"]]
    else:
        source = root / "examples" if name == "examples" else pathlib.Path(name)
        folder = source / ("corpus" if name == "examples" else "docs")
        shutil.copytree(folder, docs)
        questions = [q for q in map(json.loads, open(source / "questions.jsonl")) if q["answers"]]
    if 0 < n < len(questions):
        questions = [questions[i * len(questions) // n] for i in range(n)]
    with open(to / "questions.jsonl", "w") as f:
        f.writelines(json.dumps(q, ensure_ascii=False) + "\n" for q in questions)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True)
    p.add_argument("--quire", default="./quire")
    p.add_argument("--set", default="xquad.en")
    p.add_argument("--n", type=int, default=500)
    p.add_argument("--codec", default="f16")
    p.add_argument("--work", default="build/fidelity")
    args, rest = p.parse_known_args()
    work = pathlib.Path(args.work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_set(args.set, work, args.n)
    store = ["--store", str(work / "store"), "--model", args.model]
    subprocess.run([args.quire, "index", str(work / "docs"), *store, "--kv", "eager", "--codec", args.codec],
                   check=True, stdout=sys.stderr)
    sys.exit(subprocess.run([args.quire, "eval", "fidelity", str(work / "questions.jsonl"), *store, *rest]).returncode)


main()
