"""Examples for training and tests: documents, questions, what is missing.

    make(r, kind, pages)            kind: things free span text entry needle hop keys mix
    draw(r, progress)               one training example of the whole mixture

Documentation comes from the file that text.py wrote (environment variable READER_TEXTS).
"""

import itertools
import json
import os
import re

import facts as F
import prose as P
import sentences as S
from facts import SEEN, TRAINED, UNSEEN, VALUES, capital
from pack import REFUSAL, Doc, Example, Question
from values import coin, ident, integer, noun, person, phrase, place

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"(])")
FILLER = (
    "This page was changed last in {m}. / More details follow below. / Little else is known. / "
    "See the notes for more. / Not everyone agrees with this. / The rest is kept in the "
    "archive. / This has been so for years. / The older text was removed. / A second look may "
    "be worth the time. / Nobody has asked about this yet. / There is a longer report on the "
    "shelf. / The figures are checked once a year. / Some of this may change. / The next review "
    "is in {m}. / Readers have sent in remarks. / It is often mentioned in guides. / The entry "
    "was translated. / Pictures can be found elsewhere. / The list is not complete."
).split(" / ")


def load_texts():
    docs = {False: [], True: []}
    path = os.environ.get("READER_TEXTS", "/opt/reader/texts.jsonl")
    with open(path) as f:
        for line in f:
            d = json.loads(line)
            docs[d["held"]].append((d["title"], d["parts"]))
    return docs


TEXTS = load_texts()
WEIGHT = {h: [min(40, len(p)) for _, p in TEXTS[h]] for h in TEXTS}
CUMULATIVE = {h: list(itertools.accumulate(w)) for h, w in WEIGHT.items()}


def index_paragraphs():
    """word -> paragraphs (document, paragraph) that share it, for the words that few paragraphs
    have."""
    out = {}
    for h, docs in TEXTS.items():
        words = {}
        for d, (_, parts) in enumerate(docs):
            for i, p in enumerate(parts):
                for w in set(re.findall(r"[a-z_]{5,}", p.lower())):
                    words.setdefault(w, []).append((d, i))
        out[h] = {w: x for w, x in words.items() if 2 <= len(x) <= 150}
    return out


SHARED = index_paragraphs()
HOP = re.compile(r"Who (?:is|was) (the \w+ of \{e\})\?")


def count_words(parts):
    return sum(len(p.split()) for p in parts)


def spread(parts, r, newline=0.15):
    """Puts a space or a newline before every part but the first."""
    return [
        p if i == 0 else ("\n" if r.random() < newline else " ") + p for i, p in enumerate(parts)
    ]


def filler(r):
    return r.choice(FILLER).replace(
        "{m}", r.choice(("January", "May", "spring", "autumn", "2019", "June", "March"))
    )


def text_sentences(r, held, words):
    out = []
    while count_words(out) < words:
        _, parts = pick_text(r, held)
        out += SENTENCE.split(r.choice(parts))
    return out


def pick_text(r, held):
    docs = TEXTS[held]
    return r.choices(docs, cum_weights=CUMULATIVE[held])[0]


class Builder:
    """Collects documents and questions of one example."""

    def __init__(self, r):
        self.r, self.docs, self.questions = r, [], []

    def ask(self, q, answer, kind, evidence=()):
        self.questions.append(Question(q, answer, kind, tuple(evidence)))

    def words(self):
        return sum(count_words(d.parts) for d in self.docs)

    def fact_document(
        self, name, facts, kind, title=None, short=0.6, fill=0.1, new=False, lines=False
    ):
        """One document of facts; those about its thing may speak of "it" once the thing was
        named."""
        r, d, parts, asks = self.r, len(self.docs), [], []
        if title is None:
            k = r.random()
            title = (
                capital(name)
                if k < 0.55
                else (
                    ""
                    if k < 0.72
                    else (
                        r.choice(("About {}", "{} at a glance", "Notes on {}", "{}: facts")).format(
                            name
                        )
                        if k < 0.85
                        else capital(phrase(r))
                    )
                )
            )
        named, first = name.lower() in title.lower(), None
        for f in facts:
            text, need = f.text, [len(parts)]
            if f.record and lines and (named or first is not None):
                text = f.record
            elif (
                f.short and f.thing == name and (named or first is not None) and r.random() < short
            ):
                text = f.short
            if text is not f.text and not named:
                need.append(first)
            if text is f.text and f.thing == name and first is None:
                first = len(parts)
            for q, a in f.asks:
                where = text if text is f.text or a != f.thing else title + " " + f.thing
                if a not in where:
                    a = capital(a)
                if a in where:
                    asks.append((q, a, need))
            parts.append(text)
            if f.absent and r.random() < 0.2:
                self.ask(f.absent, REFUSAL, "none")
            if r.random() < fill:
                parts.append(filler(r))
        self.docs.append(Doc(title, spread(parts, r, 1.0 if lines else 0.12)))
        for q, a, need in asks:
            self.ask(q, a, kind, [(d, i) for i in need])

    def finish(self, count, none=0.12, shuffle=True):
        """Shuffles documents and questions, drops doubtful questions, keeps about `none` not stated
        ones."""
        r = self.r
        answers = {}
        for q in self.questions:
            answers.setdefault(q.text.lower(), set()).add(q.answer)
        once, seen = [], set()
        for q in r.sample(self.questions, len(self.questions)):
            if len(answers[q.text.lower()]) == 1 and q.text.lower() not in seen:
                seen.add(q.text.lower())
                once.append(q)
        stated = [q for q in once if q.answer != REFUSAL][:count]
        absent = [q for q in once if q.answer == REFUSAL]
        keep = sum(r.random() < none for _ in range(max(len(stated), 3)))
        chosen = stated + absent[:keep]
        order = list(range(len(self.docs)))
        if shuffle:
            r.shuffle(order)
        place_of = {d: i for i, d in enumerate(order)}
        for q in chosen:
            q.evidence = tuple((place_of[d], p) for d, p in q.evidence)
        r.shuffle(chosen)
        return Example([self.docs[d] for d in order], chosen)


def absent_question(r, b, facts, types, kind, name, new, label):
    """A question about the thing that none of its facts answers, or one about a thing that no page
    names."""
    if r.random() < 0.35:
        name = VALUES[types[kind][0]](r)
        used = set()
    else:
        used = {f.relation for f in facts}
    free = [i for i in range(len(types[kind][2])) if f"{kind}{i}" not in used]
    if free:
        f = F.relation_fact(r, name, kind, r.choice(free), "It", new, types)
        if not any(q.startswith("R:") for q in (f.asks[0][0],)) and f.asks[0][1] != name:
            b.ask(f.asks[0][0], REFUSAL, label)


def things(b, words, new=False, types=SEEN, label="things", same=None):
    r = b.r
    same = r.random() < 0.5 if same is None else same
    kind = r.choice(sorted(types)) if same else None
    goal = b.words() + words
    while b.words() < goal:
        if r.random() < 0.6:
            name, k, fs = F.thing_facts(r, r.randint(3, 8), new, types, kind)
            together = types is not UNSEEN and not new and r.random() < 0.3  # tests keep them apart
            b.fact_document(
                name,
                F.join_facts(r, fs) if together else fs,
                label,
                fill=r.choice((0, 0.1, 0.3)),
                short=r.choice((0, 0.5, 0.9)),
            )
            for _ in range(2):
                absent_question(r, b, fs, types, k, name, new, "none")
        else:
            fs = []
            for _ in range(r.randint(2, 6)):
                name, k, more = F.thing_facts(r, r.randint(1, 2), new, types, kind)
                fs += more
                absent_question(r, b, more, types, k, name, new, "none")
            b.fact_document(
                coin(r),
                fs,
                label,
                title=r.choice(("", capital(phrase(r)), coin(r), "Notes")),
                short=0,
            )


def free(b, words):
    r, goal = b.r, b.words() + words
    while b.words() < goal:
        name, kind, fs = F.free_facts(r, r.randint(2, 7))
        lines = bool(fs[0].record) and r.random() < 0.4
        b.fact_document(
            name, fs, "free", short=r.choice((0, 0.4, 0.8)), lines=lines, fill=0 if lines else 0.08
        )
        if fs[0].record:
            extra = F.attribute_fact(r, name, "It")
            if extra.relation not in {f.relation for f in fs}:
                b.ask(extra.asks[0][0], REFUSAL, "none")


def span(b, words, held=False, types=SEEN, new=False, label="span", documents=None):
    """Documents of one kind that name their thing in title or first sentence only; facts come
    later, with filler between."""
    r = b.r
    kind = r.choice(sorted(types))
    n = documents or max(1, min(4, words // 150))
    for _ in range(n):
        name, _, fs = F.thing_facts(r, 8, new, types, kind)
        fs = [f for f in fs if f.short][: r.randint(2, 5)]
        if not fs:
            continue
        d, parts, asks = len(b.docs), [], []
        titled = r.random() < 0.7
        if not titled or r.random() < 0.3:
            parts.append(
                capital(
                    r.choice(
                        (
                            "This page is about {}.",
                            "{} is described here.",
                            "Here we look at {}.",
                            "Let us turn to {}.",
                        )
                    ).format(name)
                )
                if r.random() < 0.6
                else fs.pop(0).text
            )
        fill = text_sentences(r, held, max(20, words // n))
        cuts = sorted(r.randint(len(fill) // 3, len(fill)) for _ in fs)
        last = 0
        for f, c in zip(fs, cuts):
            parts += fill[last:c]
            last = c
            for q, a in f.asks:
                if a != name:
                    asks.append(
                        (
                            q,
                            a if a in f.short else capital(a),
                            [len(parts)] + ([] if titled else [0]),
                        )
                    )
            parts.append(f.short)
        parts += fill[last:]
        b.docs.append(Doc(capital(name) if titled else "", spread(parts, r)))
        for q, a, need in asks:
            b.ask(q, a, label, [(d, i) for i in need])
        absent_question(r, b, fs, types, kind, name, new, "none")


def text(b, words, held=False, cloze=0.75, count=None, distractors=None):
    """Real documentation: one gold passage after another, each with questions and passages that
    share its rare words."""
    r, goal = b.r, b.words() + words
    while b.words() < goal:
        title, parts = pick_text(r, held)
        i = r.randrange(len(parts))
        gold = parts[i : i + r.choice((1, 1, 2, 3))]
        d, flat, asks = len(b.docs), [], []
        for p in gold:
            ss = SENTENCE.split(p)
            for n, s in enumerate(ss):
                flat.append(s if not flat else ("\n" if n == 0 else " ") + s)
        for _ in range(count or max(3, len(flat))):
            n = r.randrange(len(flat))
            q = S.ask(r, flat[n].strip(), r.random() < cloze)
            if q:
                asks.append((*q, n))
        b.docs.append(Doc(title if r.random() < 0.85 else "", flat))
        for q, a, n in asks:
            b.ask(q, a, "cloze" if "___" in q else "wh", [(d, n)])
        if b.words() < goal:
            similar_passages(
                b,
                gold[0],
                held,
                r.choice((0, 1, 1, 2)) if distractors is None else distractors,
                {title},
            )
        other = pick_text(r, held)
        if other[0] != title and r.random() < 0.7:
            q = S.ask(r, r.choice(SENTENCE.split(r.choice(other[1]))), r.random() < cloze)
            if q and q[1] not in " ".join(gold):
                b.ask(q[0], REFUSAL, "none")


def similar_passages(b, passage, held, count, but=()):
    r, index = b.r, SHARED[held]
    rare = sorted({w for w in re.findall(r"[a-z_]{5,}", passage.lower()) if w in index})
    for _ in range(count):
        if not rare:
            return
        d, i = r.choice(index[r.choice(rare)])
        title, parts = TEXTS[held][d]
        if title not in but and parts[i] != passage:
            b.docs.append(Doc(title, spread(SENTENCE.split(parts[i]), r, 0)))


def entry(b, words, held=False):
    r, goal = b.r, b.words() + words
    pool = S.NAMED if r.random() < 0.5 else S.ENTRIES
    while b.words() < goal:
        start, near = r.randrange(len(pool) - 40), r.random() < 0.4
        fs = []
        for n in range(r.randint(2, 6)):
            e = pool[start + n] if near else r.choice(pool)
            f = S.entry_fact(r, e) if S.is_held(e) == held else None
            if f:
                fs.append(f)
        if fs:
            single = len(fs) == 1
            b.fact_document(
                fs[0].thing if single else "",
                fs,
                "entry",
                title=None if single else r.choice(("", "Glossary", "Names", coin(r))),
                short=0,
            )
        f = S.entry_fact(r, r.choice(pool))
        if f:
            b.ask(f.asks[0][0] if f.asks else "", REFUSAL, "none")
    b.questions = [q for q in b.questions if q.text]


def needle(b, words, held=False, new=False, types=SEEN, depth=None, needles=None):
    """A long text with a few facts put into it, each anywhere (depth: 0..1, one needle exactly
    there)."""
    r = b.r
    title, parts = pick_text(r, held)
    i = r.randrange(max(1, len(parts) - words // 60))
    flat = [s for p in parts[i:] for s in SENTENCE.split(p)]
    if count_words(flat) < words:
        flat += text_sentences(r, held, words - count_words(flat))
    while count_words(flat) > words and len(flat) > 2:
        flat.pop()
    facts = []
    for _ in range(needles or r.randint(1, 6)):
        facts.append(
            F.thing_facts(r, 1, new, types)[2][0]
            if r.random() < 0.6 or new
            else F.free_facts(r, 1)[2][0]
        )
    if depth is not None:
        flat.insert(round(depth * len(flat)), facts[0].text)
    else:
        for f in facts:
            flat.insert(r.randint(0, len(flat)), f.text)
    d = len(b.docs)
    b.docs.append(Doc(title, spread(flat, r)))
    for f in facts:
        for q, a in f.asks:
            b.ask(q, a if a in f.text else capital(a), "needle", [(d, flat.index(f.text))])
        if f.absent:
            b.ask(f.absent, REFUSAL, "none")
    if depth is None:
        for _ in range(4):
            n = r.randrange(len(flat))
            q = S.ask(r, flat[n], True)
            if q and sum(q[1] in s for s in flat) < 3:
                b.ask(*q, "cloze", [(d, n)])


def prose(b, words, held=False):
    """Running text from templates, sometimes only a part of it: then what is left out is not
    stated."""
    r, goal = b.r, b.words() + words
    while b.words() < goal:
        x = P.fill(r, r.choice(P.POOL[held]))
        n = len(x.lines)
        first, last = 0, n
        if not held and r.random() < 0.4:
            first = r.randrange(n // 2)
            last = r.randint(min(n, first + 3), n)
        d = len(b.docs)
        parts = P.layout(r, x.lines[first:last])
        if first == 0 and x.title and r.random() < 0.3:
            parts[0] = "# %s\n\n%s" % (x.title, parts[0])
        b.docs.append(Doc(x.title, parts))
        text = " ".join(x.lines[first:last])
        for q, a, at in x.asks:
            if all(first <= i < last for i in at):
                b.ask(q, a, "prose", [(d, i - first) for i in at])
            elif a.lower() not in text.lower() and r.random() < 0.3:
                b.ask(q, REFUSAL, "none")
        for q in x.absent:
            b.ask(q, REFUSAL, "none")


def hop(b, words):
    """A person named in one document and described in another."""
    r, goal = b.r, b.words() + words
    options = [
        (k, i, m.group(1))
        for k, t in sorted(SEEN.items())
        for i, rel in enumerate(t[2])
        if rel[0] == "person"
        for q in rel[2]
        for m in [HOP.match(re.sub(r"\[(\w+)[^\]]*\]", r"\1", q))]
        if m
    ]
    while b.words() < goal:
        kind, rel, phrase_ = r.choice(options)
        thing = VALUES[SEEN[kind][0]](r)
        f = F.relation_fact(r, thing, kind, rel, r.choice(SEEN[kind][1]))
        who = next((a for _, a in f.asks if a != thing), None)
        if who is None:
            continue
        stand = r.choice(SEEN["person"][1])
        some = r.sample(
            [i for i in range(len(SEEN["person"][2])) if SEEN["person"][2][i][0] != "person"], 3
        )
        about = [F.relation_fact(r, who, "person", i, stand) for i in some]
        others = [
            F.relation_fact(r, thing, kind, i, r.choice(SEEN[kind][1]))
            for i in r.sample(range(len(SEEN[kind][2])), 3)
            if i != rel
        ]
        one, two = len(b.docs), len(b.docs) + 1
        b.fact_document(thing, [f] + others, "things", short=0.5)
        b.fact_document(who, about, "things", short=0.6)
        for g in about:
            for q, a in g.asks:
                if who in q and a != who and any(a in p for p in b.docs[two].parts):
                    b.ask(
                        q.replace(who, phrase_.format(e=thing)),
                        a,
                        "hop",
                        [(one, i) for i in range(len(b.docs[one].parts))]
                        + [(two, i) for i in range(len(b.docs[two].parts))],
                    )


def keys(b, words):
    r, goal = b.r, b.words() + words
    while b.words() < goal:
        form = r.choice(
            (
                "{k}: {v}",
                "{k} = {v}",
                "The {k} is {v}.",
                "{k} is {v}.",
                "{v} is the {k}.",
                "{k} has {v}.",
                "{k} | {v}",
                "{k}\t{v}",
            )
        )
        fs, used = [], set()
        for _ in range(r.randint(3, 10)):
            k = r.choice((noun, phrase, ident, lambda r: coin(r)))(r)
            v = r.choice((integer, phrase, person, place, ident, noun))(r)
            if k not in used:
                used.add(k)
                q = r.choice(
                    (
                        "What is {}?",
                        "What is the {}?",
                        "{}?",
                        "{}",
                        "What is the value of {}?",
                        "Which one goes with {}?",
                    )
                ).format(k)
                fs.append(F.Fact(capital(form.format(k=k, v=v)), None, [(capital(q), v)], k, k))
        b.fact_document(
            "",
            fs,
            "keys",
            title=r.choice(("", "Table", coin(r), capital(noun(r)))),
            short=0,
            lines=r.random() < 0.7,
        )
        b.ask(
            r.choice(("What is {}?", "What is the {}?", "{}?")).format(phrase(r)), REFUSAL, "none"
        )


MAKERS = dict(
    things=things,
    free=free,
    span=span,
    text=text,
    prose=prose,
    entry=entry,
    needle=needle,
    hop=hop,
    keys=keys,
)


def make(r, kind, words, count=12, none=0.12, **how):
    """One example; new=True takes the phrasings kept for tests, held=True the texts kept for them."""
    b = Builder(r)
    if kind == "mix":
        parts = r.sample(("things", "free", "text", "prose", "prose", "entry", "span", "needle"), 2)
        for p in parts:
            MAKERS[p](b, words // 2)
    else:
        MAKERS[kind](b, words, **how)
    return b.finish(count, none)


MIXTURE = dict(
    prose=0.22,
    things=0.30,
    free=0.13,
    span=0.08,
    text=0.11,
    entry=0.01,
    needle=0.10,
    hop=0.02,
    keys=0.03,
    mix=0.02,
)


def page_count(r, progress):
    """Pages of one example; long ones come later, when the short ones are understood."""
    k = r.random()
    if progress < 0.25:
        return r.randint(1, 2) if k < 0.8 else r.randint(3, 4)
    if progress < 0.45:
        return r.randint(1, 4) if k < 0.7 else r.randint(5, 8) if k < 0.96 else r.randint(9, 16)
    if k < 0.42:
        return r.randint(1, 3)
    return r.randint(4, 9) if k < 0.85 else r.randint(10, 16) if k < 0.95 else r.randint(17, 30)


def typeset(r, ex):
    """Sometimes curly quotes and dashes in the pages; questions in lower case or without their
    mark."""
    change = []
    if r.random() < 0.12:
        change.append(lambda s: re.sub(r'"([^"]*)"', "“\\1”", s).replace("'", "’"))
    if r.random() < 0.2:
        change.append(lambda s: re.sub(r"(?<=\d)-(?=\d)", "–", s))
    if r.random() < 0.1:
        change.append(lambda s: s.replace(" - ", " – "))
    for c in change:
        for d in ex.docs:
            d.title, d.parts = c(d.title), [c(p) for p in d.parts]
        for q in ex.questions:
            q.answer = c(q.answer)
            if r.random() < 0.5:
                q.text = c(q.text)
    for q in ex.questions:
        k = r.random()
        if k < 0.05:
            q.text = q.text.lower()
        elif k < 0.09:
            q.text = q.text.rstrip("?")
        elif k < 0.11 and q.text.endswith("?") and "___" not in q.text:
            q.text = (
                r.choice(("Tell me: ", "Please say: ", "I want to know: "))
                + q.text[:1].lower()
                + q.text[1:]
            )
    return ex


def draw(r, progress=1.0):
    kind = r.choices(list(MIXTURE), list(MIXTURE.values()))[0]
    n = page_count(r, progress)
    how = {}
    if kind in ("things", "span", "needle") and r.random() < 0.6:
        how["types"] = TRAINED
    ex = make(r, kind, n * r.randint(45, 75), count=min(24, 10 + 2 * n), none=0.12, **how)
    return typeset(r, ex)


if __name__ == "__main__":
    import random
    import time
    import sys

    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for k in MAKERS:
        ex = make(rng, k, 120)
        print("=====", k)
        for d in ex.docs:
            print("##", d.title, "\n", "".join(d.parts))
        for q in ex.questions[:9]:
            print("   ", q.text, "->", q.answer, q.kind, q.evidence)
    t = time.time()
    n = [draw(rng) for _ in range(200)]
    print(
        "ms an example", (time.time() - t) * 5, "questions", sum(len(e.questions) for e in n) / 200
    )
