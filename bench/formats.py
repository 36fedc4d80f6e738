#!/usr/bin/env python3
"""Megabytes a second of processor time by which files of each format become text, beside other programs.

    bench/formats.py [--data ../shared/data] [--text build/release/text]

Processor time of one core, children included, so that a loaded machine says nearly the same. MB are of the file.
Each format in Quire twice: in one process, and through a confined child as indexing does. PDFs, web pages and the
two small office files are the test data's; DOCX, ODT and EPUB are made by pandoc, where it is there, of government reports.
"""
import argparse, glob, os, resource, shutil, subprocess, tempfile


def seconds(args, stdin=None):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(args, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def speed(files, turns, *command):
    total = sum(seconds([f if a == "FILE" else a for a in command]) for f in files)
    return turns * sum(os.path.getsize(f) for f in files) / 1e6 / total


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", default="../shared/data")
    a.add_argument("--text", default="build/release/text")
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as work:
        sets = {"pdf": (sorted(glob.glob(a.data + "/sec-10-q/*.pdf")), 1),
                "html": (sorted(glob.glob(a.data + "/readability-pages/*/source.html")), 20),
                "docx, small": ([a.data + "/office-and-pdf/dummy.docx"], 100),
                "xlsx, small": ([a.data + "/office-and-pdf/dummy.xlsx"], 100)}
        if shutil.which("pandoc"):
            with open(work + "/a.txt", "w") as f:
                with open(a.data + "/leval/gov_report_summ.jsonl", encoding="utf-8") as g:
                    f.write(g.read(1000000).replace("\\n", "\n\n"))
            for kind in ("docx", "odt", "epub"):
                subprocess.run(["pandoc", "-f", "markdown_strict", work + "/a.txt", "-o", f"{work}/a.{kind}"], check=True)
                sets[kind] = ([f"{work}/a.{kind}"], 10)
        others = {"pdf": [["pdftotext", "-bbox-layout", "FILE", "-"], ["pdftotext", "FILE", "-"]],
                  "html": [["html2text", "FILE"]] if shutil.which("html2text") else []}
        for kind, (files, n) in sets.items():
            if not files:
                continue
            line = [f"quire {speed(files, n, a.text, 'FILE', str(n)):.1f}",
                    f"through a child {speed(files, n, a.text, 'FILE', str(n), 'child'):.1f}"]
            rest = others.get(kind, [])
            if shutil.which("pandoc") and kind in ("html", "docx", "odt", "epub"):
                rest = rest + [["pandoc", "-t", "plain", "FILE"]]
            line += [f"{' '.join(c[:-1] if c[-1] == 'FILE' else c[:-2])} {speed(files, 1, *c):.1f}" for c in rest]
            size = sum(os.path.getsize(f) for f in files)
            print(f"{kind} ({len(files)} files, {size / 1e6:.2f} MB): " + ", ".join(line), flush=True)


main()
