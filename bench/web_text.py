#!/usr/bin/env python3
"""The text that Quire takes out of web pages, against what people would keep of them.

    bench/web_text.py [DATA]     DATA: folder of pages, each with source.html and expected.html
                                 (default $QUIRE_DATA/readability-pages); TEXT=build/release/text

Runs of four words (\\w+, lower case) are counted as bags; expected.html's text is all it holds. F1, precision
and recall are means over pages. Beside Quire what is installed of html2text, lxml (all text of the tree)
and readability-lxml."""
import collections
import html.parser
import importlib.util
import os
import re
import subprocess
import sys

BLOCKS = set("""p div li ul ol h1 h2 h3 h4 h5 h6 br tr td th table section article pre blockquote figure hr body
    figcaption header footer main aside dl dt dd html center address form option""".split())


class Plain(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.out, self.skipped = [], 0

    def handle_starttag(self, tag, attrs):
        self.skipped += tag in ("script", "style")
        self.out.append("\n" if tag in BLOCKS else "")

    def handle_endtag(self, tag):
        self.skipped -= tag in ("script", "style") and self.skipped > 0
        self.out.append("\n" if tag in BLOCKS else "")

    def handle_data(self, data):
        self.out.append("" if self.skipped else data)


def plain(text):
    p = Plain()
    p.feed(text)
    p.close()
    return "".join(p.out)


def grams(text):
    w = re.findall(r"\w+", text.lower())
    n = min(4, max(1, len(w)))
    return collections.Counter(tuple(w[i:i + n]) for i in range(len(w) - n + 1))


def scores(want, got):
    hits, a, b = sum((want & got).values()), sum(want.values()), sum(got.values())
    r, p = hits / a if a else 1.0, hits / b if b else float(not a)
    return (2 * p * r / (p + r) if hits else float(not a and not b)), p, r


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def quire(path):
    tool = os.environ.get("TEXT", "build/release/text")
    return subprocess.run([tool, path], capture_output=True, check=True).stdout.decode()


def html2text(path):
    import html2text as library
    h = library.HTML2Text(bodywidth=0)
    h.ignore_links = h.ignore_images = True
    return h.handle(read(path))


def lxml(path):
    import lxml.html
    parser = lxml.html.HTMLParser(encoding="utf-8")
    return " ".join(lxml.html.document_fromstring(read(path).encode(), parser=parser).itertext())


def readability(path):
    import readability as library
    return plain(library.Document(read(path)).summary())


def main():
    data = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("QUIRE_DATA", "../shared/data") + "/readability-pages"
    pages = [f"{data}/{d}" for d in sorted(os.listdir(data)) if os.path.exists(f"{data}/{d}/source.html")]
    for way in quire, html2text, lxml, readability:
        if way is not quire and not importlib.util.find_spec(way.__name__):
            print(f"{way.__name__}: not installed")
            continue
        rows = [scores(grams(plain(read(p + "/expected.html"))), grams(way(p + "/source.html"))) for p in pages]
        mean = [sum(r[i] for r in rows) / len(rows) for i in range(3)]
        print("%s: %d pages, F1 %.4f, precision %.4f, recall %.4f" % (way.__name__, len(rows), *mean))


if __name__ == "__main__":
    main()
