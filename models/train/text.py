"""Prepares the training text: paragraphs of permissively licensed documentation packages, and
WordNet.

    python3 text.py OUT.jsonl       one line a document: {"source", "title", "held", "parts":
    [paragraph, ...]}

Every twentieth file (by hash of its name) is held out for the tests. Needs the Debian packages
sqlite3-doc, python3-doc, postgresql-doc-15, python-django-doc, dict-jargon and wordnet-base;
missing ones are reported."""

import glob
import gzip
import hashlib
import html.parser
import json
import os
import re
import sys

SOURCES = {
    "sqlite": "/usr/share/doc/sqlite3/**/*.html",
    "python": "/usr/share/doc/python3.11/html/**/*.html",
    "postgresql": "/usr/share/doc/postgresql-doc-15/html/**/*.html",
    "django": "/usr/share/doc/python-django-doc/html/**/*.html",
}
JARGON = "/usr/share/dictd/jargon.dict.dz"
WORDNET = os.environ.get("READER_WORDNET", "/usr/share/wordnet")
SKIP = re.compile(r"genindex|/_modules/|_sources|changelog|/releases?/|release-\d|sitemap|whatsnew")
PLAIN = str.maketrans("“”’‘\u00a0", "\"\"'' ")
COMMON = re.compile(r"\b(?:the|a|an|of|to|in|is|are|and|that|for|with|this|it|be)\b")


class Paragraphs(html.parser.HTMLParser):
    """Collects the text of p, li, dd and dt-like blocks, without code blocks and page furniture."""

    DROP = {"pre", "script", "style", "nav", "header", "footer", "head", "table"}
    BREAK = {
        "p",
        "li",
        "dd",
        "dt",
        "div",
        "ul",
        "ol",
        "h1",
        "h2",
        "h3",
        "h4",
        "td",
        "tr",
        "br",
        "blockquote",
    }

    def __init__(self):
        super().__init__()
        self.out, self.cur, self.depth = [], [], 0
        self.title, self.in_title = "", False

    def handle_starttag(self, tag, attrs):
        self.in_title |= tag == "title"
        self.depth += tag in self.DROP
        if tag in self.BREAK:
            self.flush()

    def handle_endtag(self, tag):
        if tag == "title":
            self.in_title = False
        if tag in self.DROP and self.depth:
            self.depth -= 1
        if tag in self.BREAK:
            self.flush()

    def handle_data(self, data):
        if self.in_title:
            self.title += data
        elif not self.depth:
            self.cur.append(data)

    def flush(self):
        text = re.sub(r"\s+", " ", "".join(self.cur)).replace("¶", "").strip()
        self.cur = []
        if text:
            self.out.append(text)


def is_prose(t):
    if not 80 <= len(t) <= 2500 or not re.search(r"[.!?:)\"]$", t):
        return False
    letters = sum(c.isalpha() or c == " " for c in t) / len(t)
    return letters >= 0.86 and len(COMMON.findall(t)) >= 0.12 * len(t.split())


def held_out(name):
    return int(hashlib.md5(name.encode()).hexdigest(), 16) % 20 == 0


def clean_title(t):
    t = re.sub(r"\s+", " ", t)
    return re.split(r" [—|-] | — |\| ", t)[0].strip()[:80]


def html_documents():
    for source, pattern in SOURCES.items():
        files = sorted(
            f
            for f in glob.glob(pattern, recursive=True)
            if os.path.isfile(f) and not os.path.islink(f) and not SKIP.search(f)
        )
        if not files:
            print(f"no text of '{source}': install its package", file=sys.stderr)
        for f in files:
            if os.path.getsize(f) > 3_000_000:
                continue
            p = Paragraphs()
            with open(f, encoding="utf8", errors="replace") as fh:
                p.feed(fh.read())
            p.flush()
            yield source, f, clean_title(p.title), p.out


def jargon_documents():
    if not os.path.exists(JARGON):
        print("no text of 'jargon': install dict-jargon", file=sys.stderr)
        return
    with gzip.open(JARGON) as f:
        blocks = re.split(r"\n\s*\n", f.read().decode("utf8", "replace"))
    for i in range(0, len(blocks), 12):
        yield "jargon", "jargon%d" % (i // 12), "", [
            re.sub(r"\s+", " ", b).strip() for b in blocks[i : i + 12]
        ]


def wordnet():
    """Entries as dicts: pos, words, file (lexical file number), instance, gloss, examples, offset,
    parent."""
    out = []
    for pos in ("noun", "verb", "adj"):
        path = f"{WORDNET}/data.{pos}"
        if not os.path.exists(path):
            print("no WordNet: install wordnet-base", file=sys.stderr)
            return out
        with open(path, encoding="latin1") as f:
            for line in f:
                if line.startswith(" "):
                    continue
                head, gloss = line.split(" | ", 1)
                a = head.split()
                n = int(a[3], 16)
                words = [
                    re.sub(r"\((a|p|ip)\)$", "", a[4 + 2 * i]).replace("_", " ") for i in range(n)
                ]
                count = int(a[4 + 2 * n])
                links = [a[5 + 2 * n + 4 * i : 9 + 2 * n + 4 * i] for i in range(count)]
                frames = a[5 + 2 * n + 4 * count :]
                parent = next((x[1] for x in links if x[0] in ("@", "@i")), None)
                defs = re.split(r';\s*"', gloss)[0].strip().rstrip(";")
                out.append(
                    dict(
                        pos=pos,
                        words=words,
                        file=int(a[1]),
                        offset=a[0],
                        parent=parent,
                        gloss=defs,
                        instance=any(x[0] == "@i" for x in links),
                        frames=[frames[i + 1] for i, x in enumerate(frames) if x == "+"],
                        examples=re.findall(r'"([^"]+)"', gloss),
                    )
                )
    return out


def main():
    seen, sizes = set(), {}
    with open(sys.argv[1], "w") as out:
        for docs in (html_documents(), jargon_documents()):
            for source, name, title, parts in docs:
                kept = []
                for t in parts:
                    t = t.translate(PLAIN)
                    if is_prose(t) and t not in seen:
                        seen.add(t)
                        kept.append(t)
                if kept:
                    out.write(
                        json.dumps(
                            dict(source=source, title=title, held=held_out(name), parts=kept)
                        )
                        + "\n"
                    )
                    sizes[source] = sizes.get(source, 0) + sum(map(len, kept))
    print(sizes, file=sys.stderr)


if __name__ == "__main__":
    main()
