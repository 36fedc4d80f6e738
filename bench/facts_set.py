#!/usr/bin/env python3
"""Generated documents with questions, for bench/fidelity.py --set FOLDER: facts that the bundled reader can answer.

    READER_TEXTS=texts.jsonl bench/facts_set.py FOLDER [--n 600] [--seed 7]

Half the questions are about lists of things (a page or two each), half about facts up to seven pages behind the name
they belong to: a page alone does not tell. Names and phrasings are none that models/train/train.py shows. Needs what
the training needs (models/MODEL_CARD.md).
"""
import argparse, json, pathlib, random, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "models" / "train"))
import pages  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("--n", type=int, default=600)
    p.add_argument("--seed", type=int, default=7)
    args = p.parse_args()
    folder = pathlib.Path(args.folder)
    (folder / "docs").mkdir(parents=True)
    questions, r, turn, n_docs = [], random.Random(args.seed), 0, 0
    while len(questions) < args.n:
        turn += 1
        ex = (pages.make(r, "span", 900, 6, 0.0, held=True, documents=2, new=True) if turn % 2
              else pages.make(r, "things", 120, 6, 0.0, new=True))
        for d in ex.docs:
            n_docs += 1
            (folder / "docs" / f"{n_docs:04d}.md").write_text(f"# {d.title}\n\n{''.join(d.parts).strip()}\n")
        questions += [{"question": q.text, "answers": [q.answer]} for q in ex.questions if q.evidence]
    with open(folder / "questions.jsonl", "w") as f:
        f.writelines(json.dumps(q, ensure_ascii=False) + "\n" for q in questions[: args.n])
    print(f"{n_docs} documents, {len(questions[: args.n])} questions")


main()
