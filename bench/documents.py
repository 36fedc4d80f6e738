#!/usr/bin/env python3
"""PDF reports end to end: are they all read, do citations name the right page, is the right report found?

    bench/documents.py ../shared/data/sec-10-q [--quire ./quire] [--phrases 50] [--seed 1]

The folder holds PDFs and qna_data.csv, whose "Source Docs" is a glob of the reports that answer a question
(questions about reports that are not there are passed over).
Phrases are runs of six words on one line of one page, drawn from what pdftotext says of that page alone
and of no other page of the file; each is asked with --extract, and the citation that holds it must name
that page. No model is used. Needs pdftotext and pdfinfo (poppler-utils).
"""
import argparse, csv, fnmatch, json, os, random, re, shutil, subprocess, sys, tempfile


def run(args, text=None):
    return subprocess.run(args, input=text, capture_output=True, text=True, check=False).stdout


def words(text):
    return re.findall(r"\w+", text)


def pages_of(path):
    n = int(re.search(r"Pages:\s+(\d+)", run(["pdfinfo", path])).group(1))
    return [run(["pdftotext", "-f", str(p), "-l", str(p), path, "-"]) for p in range(1, n + 1)]


def draw_phrases(path, n, rng):
    pages = [(i + 1, text) for i, text in enumerate(pages_of(path))]
    flat = [" ".join(words(t)) for _, t in pages]
    found, tries = [], 0
    while len(found) < n and tries < 2000:
        tries += 1
        page, text = rng.choice(pages)
        lines = [l for l in text.split("\n") if len(words(l)) >= 6]
        if not lines:
            continue
        line = re.split(r"\W*[.:;?!]\W*", rng.choice(lines))  # a citation is a sentence
        line = words(max(line, key=len))
        if len(line) < 6:
            continue
        at = rng.randrange(len(line) - 5)
        phrase = " ".join(line[at:at + 6])
        if len(phrase) > 25 and sum(phrase in f for f in flat) == 1:
            found.append((phrase, page))
    return found


def main():
    a = argparse.ArgumentParser()
    a.add_argument("folder")
    a.add_argument("--quire", default="./quire")
    a.add_argument("--phrases", type=int, default=50)
    a.add_argument("--seed", type=int, default=1)
    a = a.parse_args()
    rng = random.Random(a.seed)
    quire = os.path.abspath(a.quire)
    with tempfile.TemporaryDirectory() as work:
        names = sorted(n for n in os.listdir(a.folder) if n.endswith(".pdf"))
        os.mkdir(work + "/docs")
        for n in names:
            shutil.copy(os.path.join(a.folder, n), work + "/docs")
        os.environ["QUIRE_STORE"] = work + "/store"
        report = json.loads(run([quire, "index", work + "/docs", "--kv", "none", "--json"]).splitlines()[-1])
        print(f"{len(names)} files: {report['added']} added, {report['failed']} failed, {report['skipped']} skipped")

        right = wrong = silent = 0
        for i, n in enumerate(names):
            for phrase, page in draw_phrases(os.path.join(a.folder, n), a.phrases // len(names) + 2, rng):
                if right + wrong == a.phrases * (i + 1) // len(names):
                    break
                out = run([quire, "ask", "--extract", "--json", "--in", n, phrase])
                cited = [c for c in json.loads(out)["citations"] if phrase in " ".join(words(c["text"]))]
                silent += not cited
                right += bool(cited) and cited[0]["page_number"] == page
                wrong += bool(cited) and cited[0]["page_number"] != page
                if not cited or cited[0]["page_number"] != page:
                    print(f"  {n} page {page}: '{phrase}':",
                          f"page {cited[0]['page_number']}" if cited else "not cited", file=sys.stderr)
        print(f"page numbers: {right} of {right + wrong} cited phrases right; {silent} more were not cited")

        with open(os.path.join(a.folder, "qna_data.csv"), encoding="utf-8-sig") as f:
            rows = [r for r in csv.DictReader(f) if any(fnmatch.fnmatch(n, r["Source Docs"] + "*") for n in names)]
        questions = "".join(json.dumps({"id": str(i), "question": r["Question"]}) + "\n" for i, r in enumerate(rows))
        hit = {1: 0, 5: 0}
        for line in run([quire, "search", "-", "--files", "--top", "5", "--json"], questions).splitlines():
            o = json.loads(line)
            glob = rows[int(o["id"])]["Source Docs"]
            ranks = [h["rank"] for h in o["hits"] if fnmatch.fnmatch(os.path.basename(h["path"]), glob + "*")]
            for k in hit:
                hit[k] += any(r <= k for r in ranks)
            if not ranks:
                print(f"  missed {glob}: {rows[int(o['id'])]['Question']}", file=sys.stderr)
        for k, n in hit.items():
            print(f"right report among the first {k}: {n} of {len(rows)}")


main()
