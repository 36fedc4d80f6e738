"""Running text as people write it, with slots: each template of prose.txt is thousands of documents.

    fill(r, template)       -> Filled(title, lines, asks [(question, answer, lines)], absent [question])

A template is a block of prose.txt: "title: ...", then lines of text, then "? question | answer" and
"! question that the text does not answer". {name:kind} makes a value (values.py, names.py), {name},
{name.last} and {name.first} repeat it; [a|b] is a choice. An answer is a slot, [N], the N-th choice
of the document, or words of the text. Every twelfth template is kept for tests.
"""

import dataclasses
import os
import re

from facts import capital
from values import VALUES

HERE = os.path.dirname(os.path.abspath(__file__))
SLOT = re.compile(r"\{(\w+)(?::(\w+))?(?:\.(last|first))?\}|\[([^\[\]]*\|[^\[\]]*)\]")


@dataclasses.dataclass
class Template:
    title: str
    lines: list
    asks: list  # (question, answer)
    absent: list


@dataclasses.dataclass
class Filled:
    title: str
    lines: list
    asks: list  # (question, answer, numbers of the lines that say it)
    absent: list


def load(path=os.path.join(HERE, "prose.txt")):
    out = []
    with open(path) as f:
        for block in f.read().split("\n\n"):
            t = Template("", [], [], [])
            for line in filter(None, block.split("\n")):
                if line.startswith("title:"):
                    t.title = line[6:].strip()
                elif line.startswith("? "):
                    q, a = line[2:].rsplit(" | ", 1)
                    t.asks.append((q.strip(), a.strip()))
                elif line.startswith("! "):
                    t.absent.append(line[2:].strip())
                elif not line.startswith("//"):
                    t.lines.append(line.strip())
            if t.lines:
                out.append(t)
    return out


TEMPLATES = load()
POOL = {h: [t for i, t in enumerate(TEMPLATES) if (i % 12 == 5) == h] for h in (False, True)}


def fill(r, t):
    slots, choices, where = {}, [], {}

    def value(kind):
        for _ in range(8):  # rivals must differ
            v = VALUES[kind](r)
            if not any(v in x or x in v for x in slots.values()):
                break
        return v

    def put(m, line):
        name, kind, part, options = m.groups()
        if options is not None:
            choices.append(r.choice(options.split("|")))
            where.setdefault(len(choices) - 1, []).append(line)
            return choices[-1]
        if kind and name not in slots:
            slots[name] = value(kind)
        if not part:
            where.setdefault(name, []).append(line)
        v = slots[name]
        return v if not part else v.split()[-1 if part == "last" else 0]

    title = capital(SLOT.sub(lambda m: put(m, -1), t.title))
    lines = [capital(SLOT.sub(lambda m: put(m, i), s)) for i, s in enumerate(t.lines)]
    say = lambda s: SLOT.sub(lambda m: put(m, None), s)
    asks = []
    for q, a in t.asks:
        pick = re.fullmatch(r"\[(\d+)\]", a)
        slot = re.fullmatch(r"\{(\w+)\}", a)
        answer = choices[int(pick.group(1))] if pick else say(a)
        said = where[int(pick.group(1))] if pick else where[slot.group(1)] if slot else None
        at = [i for i, s in enumerate(lines) if answer in s or capital(answer) in s]
        if said is not None:
            at = [i for i in at if i in said]
        if at:
            at = at[:1] if slot else at
            asks.append(
                (capital(say(q)), answer if answer in lines[at[0]] else capital(answer), at)
            )
    return Filled(title, lines, asks, [capital(say(q)) for q in t.absent])


MARKDOWN = re.compile(r"#|\||[-*] |\d+\. ")


def layout(r, lines):
    """Parts of a document: each line but the first behind the space, newline or blank line that
    parts it from the one before. Lists, tables and headings stand on lines of their own."""
    newline, paragraph = r.choice(((0, 0), (0.2, 0), (0.5, 0), (0, 0.3), (0, 0.6), (0.1, 0.3)))
    out = lines[:1]
    for before, line in zip(lines, lines[1:]):
        k, both = r.random(), MARKDOWN.match(before) and MARKDOWN.match(line)
        if both and before[0] == line[0] != "#" or both and (before + line)[0].isdigit():
            gap = "\n"
        elif MARKDOWN.match(before) or MARKDOWN.match(line):
            gap = "\n\n" if paragraph else "\n"
        else:
            gap = "\n\n" if k < paragraph else "\n" if k < paragraph + newline else " "
        out.append(gap + line)
    return out
