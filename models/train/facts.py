"""Generated facts: sentences about made-up things, with questions.

Three sources: relations.txt (written by hand), verbs of WordNet with made-up subjects, objects and
circumstances, and nouns of WordNet as attributes. The last two know no fixed phrasing and teach
what is common to all questions."""

import dataclasses
import os
import re

import names
from values import (
    COUNTS,
    VALUES,
    WORDS,
    WORDNET,
    adjective,
    coin,
    date,
    integer,
    money,
    noun,
    org,
    person,
    phrase,
    place,
)
from values import things, year, plural, ident, duration, COMMON_NOUNS

VALUES.update(names.MORE)
HERE = os.path.dirname(os.path.abspath(__file__))
NOT_TRAINED = set(
    "speed crew sailor captain cargo wreck diameter orbit probe crust jockey stable prize race "
    "oven guest steer cinema box film ship star cook bake ride sink launch ridden serve shoot "
    "photograph dream".split()
)


@dataclasses.dataclass
class Fact:
    text: str  # names the thing
    short: str  # the same with a pronoun or "the company", or None
    asks: list  # (question, answer)
    thing: str
    relation: str  # two facts about one thing never share it
    absent: str = ""  # a question on the same happening that the text does not answer
    record: str = ""  # the fact as a line of a table about the thing


def load_relations():
    """(types with phrasings kept for tests, types kept for tests, types for training alone)"""
    seen, unseen, more = {}, {}, {}
    where = seen
    with open(os.path.join(HERE, "relations.txt")) as f:
        for line in f:
            line = line.strip()
            if line in ("unseen", "more"):
                where = unseen if line == "unseen" else more
            elif line.startswith("type "):
                name, value, stands = (x.strip() for x in line[5:].split("|"))
                current = (value, [s.strip() for s in stands.split(" / ")], [])
                where[name] = current
            elif line and line[0] != "#":
                value, rest = line.split("|", 1)
                says, asks = re.split(r"\|(?=[^\[\]]*(?:\[|$))", rest, 1)
                says, asks = says.strip().split(" / "), asks.strip().split(" / ")
                if where is more:  # nothing is kept back: the last is there twice
                    says, asks = says + says[-1:], asks + asks[-1:]
                current[2].append((value.strip(), says, asks))
    return seen, unseen, more


SEEN, UNSEEN, MORE = load_relations()
TRAINED = {**SEEN, **MORE}


def spin(r, s):
    return re.sub(r"\[([^\[\]]*)\]", lambda m: r.choice(m.group(1).split("|")), s)


def capital(s):
    return s[:1].upper() + s[1:]


def choose(r, options, new):
    """One phrasing; new: the one kept for tests, when there is one."""
    if len(options) < 3:
        return r.choice(options)
    return options[-1] if new else r.choice(options[:-1])


# ---- other words


def synonyms():
    """word -> words that mean the same, among the common ones that are mostly of one kind and mean
    few things"""
    out = {}
    mostly = lambda w, pos: COUNTS[(w, pos)] > 2 and all(
        COUNTS.get((w, p), 0) * 2 < COUNTS[(w, pos)] for p in "nvar" if p != pos
    )
    for e in WORDS:
        words = [
            w
            for w in e["words"]
            if re.fullmatch("[a-z]{3,14}", w)
            and (w, e["pos"][0]) in COUNTS
            and mostly(w, e["pos"][0])
            and w not in NOT_TRAINED
        ]
        for w in words:
            near = {x for x in words if x != w}
            if e["pos"] == "verb":
                for tense in (0, 1):
                    was = past_forms(w)[tense]
                    out.setdefault(was, set()).update(past_forms(x)[tense] for x in near)
            out.setdefault(w, set()).update(near)
    return {w: sorted(x) for w, x in out.items() if 0 < len(x) < 5 and len(w) > 4}


def other_words(r, template):
    """The template with one of its words, not a name or a value, replaced by one that means the
    same."""
    if template not in VARIED:
        outside = re.sub(r"\{\w\}|\[[^\]]*\]|^R:", lambda m: " " * len(m.group()), template)
        found = re.finditer(r"(?<![\w'-])[a-z]{4,}(?![\w'-])", outside)
        VARIED[template] = [
            (m.start(), m.end(), SAME[m.group()]) for m in found if m.group() in SAME
        ]
    places = VARIED[template]
    if not places:
        return template
    a, b, words = r.choice(places)
    return template[:a] + r.choice(words) + template[b:]


def article(s):
    return ("an " if s[0] in "aeiou" else "a ") + s


def relation_fact(r, thing, kind, relation, stand, new=False, types=SEEN):
    value, says, asks = types[kind][2][relation]
    v = VALUES[value](r)
    vary = 0.0 if new or types is UNSEEN else 0.08  # tests keep their words
    say = choose(r, says, new and r.random() < 0.5)
    say = spin(r, other_words(r, say) if vary and r.random() < vary else say)
    text = capital(say.replace("{e}", thing).replace("{v}", v))
    short = (
        capital(say.replace("{e}", stand, 1).replace("{v}", v)) if say.startswith("{e}") else None
    )
    out = []
    for ask in (
        [choose(r, asks, True)]
        if new
        else r.sample(asks[:-1] if len(asks) > 2 else asks, min(2, len(asks)))
    ):
        if vary and r.random() < vary:
            ask = other_words(r, ask)
        back = ask.startswith("R:")
        q = spin(r, ask[2:] if back else ask).replace("{e}", thing).replace("{v}", v)
        out.append((capital(q), thing if back else v))
    return Fact(text, short, out, thing, f"{kind}{relation}")


def thing_facts(r, count, new=False, types=SEEN, kind=None):
    """Several facts about one made-up thing. Returns (name, kind, facts)."""
    kind = kind or r.choice(sorted(types))
    thing = VALUES[types[kind][0]](r)
    stand = r.choice(types[kind][1])
    n = len(types[kind][2])
    return (
        thing,
        kind,
        [
            relation_fact(r, thing, kind, i, stand, new, types)
            for i in r.sample(range(n), min(count, n))
        ],
    )


def join_facts(r, facts):
    """Some neighbours in one sentence."""
    out = []
    for f in facts:
        a = out[-1] if out else None
        if a and f.short and a.thing == f.thing and a.text.endswith(".") and r.random() < 0.5:
            link = r.choice((", and ", "; ", " and ", ", while "))
            tail = f.short[:1].lower() + f.short[1:]
            out[-1] = dataclasses.replace(
                a,
                text=a.text[:-1] + link + tail,
                short=a.short and a.short[:-1] + link + tail,
                asks=a.asks + f.asks,
                record="",
            )
        else:
            out.append(f)
    return out


# ---- verbs


def verb_forms():
    irregular = {}
    with open(WORDNET + "/verb.exc") as f:
        for line in f:
            form, base = line.split()[:2]
            if re.fullmatch("[a-z]+", form) and not form.endswith(("s", "ing")):
                irregular.setdefault(base, []).append(form)
    return irregular


IRREGULAR = verb_forms()


def past_forms(base):
    """(past, participle)"""
    known = IRREGULAR.get(base)
    if known and not any(f.endswith("ed") for f in known):
        part = [f for f in known if re.search("n$|ne$|ung$|unk$|um$|un$", f)]
        past = [f for f in known if f not in part]
        return (past or part)[0], (part or past)[0]
    if base.endswith("e"):
        return base + "d", base + "d"
    if re.search("[^aeiou]y$", base):
        return base[:-1] + "ied", base[:-1] + "ied"
    if re.fullmatch("[^aeiou]*[aeiou][bdgklmnprt]", base):
        return base + base[-1] + "ed", base + base[-1] + "ed"
    return base + "ed", base + "ed"


def transitive():
    out = {}
    for e in WORDS:
        if e["pos"] == "verb" and {"08", "11"} & set(e["frames"]):
            words = [
                w for w in e["words"] if re.fullmatch("[a-z]{3,12}", w) and w not in NOT_TRAINED
            ]
            for w in words:
                if COUNTS.get((w, "v"), 0) > 1:
                    out.setdefault(w, set()).update(
                        x for x in words if x != w and COUNTS.get((x, "v"), 0) > 0
                    )
    return {w: sorted(s) for w, s in sorted(out.items()) if w not in ("have", "get", "let")}


VERBS = transitive()
VERB_LIST = sorted(VERBS)


def circumstance(r, used):
    """(name, preposition, value, question words)"""
    kinds = {
        "place": lambda: (
            r.choice(("in", "in", "near", "at", "outside")),
            place(r),
            ["Where", "Where", "In which place", "In what town"],
        ),
        "year": lambda: ("in", year(r), ["When", "In what year", "In which year", "What year"]),
        "date": lambda: ("on", date(r), ["When", "On what date", "On which day"]),
        "tool": lambda: (
            "with",
            r.choice(("a ", "the ", "")) + phrase(r),
            ["With what", "How", "Using what"],
        ),
        "partner": lambda: ("together with", person(r), ["With whom", "Together with whom"]),
        "customer": lambda: ("for", r.choice((person, org))(r), ["For whom", "For whom"]),
        "reason": lambda: ("because of", things(r), ["Why", "Because of what", "For what reason"]),
        "price": lambda: ("for", money(r), ["For how much", "For what price", "At what price"]),
        "span": lambda: ("for", duration(r), ["How long", "For how long"]),
        "source": lambda: ("from", r.choice((place, org))(r), ["From where", "From what source"]),
    }
    free = [k for k in kinds if k not in used]
    name = r.choice(free)
    return (name, *kinds[name]())


def verb_fact(r, subject=None, verb=None):
    verb = verb or r.choice(VERB_LIST)
    past, part = past_forms(verb)
    human = r.random() < 0.7
    s = subject or (person(r) if human else r.choice((org, lambda r: "the " + phrase(r)))(r))
    many = r.random() < 0.2
    count, unit = integer(r), things(r)
    o = (
        count + " " + unit
        if many
        else r.choice(
            (
                "the " + phrase(r),
                "the " + phrase(r),
                article(phrase(r)),
                VALUES["title"](r),
                person(r),
                things(r),
            )
        )
    )
    cs = []
    for _ in range(r.choice((0, 1, 1, 1, 2, 2))):
        cs.append(circumstance(r, [c[0] for c in cs]))
    tails = [" " + c[1] + " " + c[2] for c in cs]
    passive, lead = r.random() < 0.3, cs and r.random() < 0.25
    core = (
        f"{o} {'were' if many or o == unit else 'was'} {part} by {s}"
        if passive
        else f"{s} {past} {o}"
    )
    text = (
        capital(tails[0].strip())
        + ("," if r.random() < 0.7 else "")
        + " "
        + core
        + "".join(tails[1:])
        if lead
        else core + "".join(tails)
    )
    short = (
        None
        if passive or lead or not human
        else f"{r.choice(('He', 'She'))} {past} {o}" + "".join(tails) + "."
    )
    asked = r.choice(VERBS[verb]) if VERBS[verb] and r.random() < 0.12 else verb
    apast, apart = past_forms(asked)
    be = "were" if many or o == unit else "was"
    context = r.choice(tails) if tails and r.random() < 0.3 else ""
    asks = [
        (
            r.choice(
                (
                    f"Who {apast} {o}{context}?",
                    f"By whom {be} {o} {apart}{context}?",
                    f"Who was it that {apast} {o}?",
                    f"{'Which person' if human else 'What'} {apast} {o}?",
                )
            ),
            s,
        )
    ]
    if many:
        asks.append(
            (
                r.choice(
                    (
                        f"How many {unit} did {s} {asked}{context}?",
                        f"How many {unit} were {apart} by {s}?",
                    )
                ),
                count,
            )
        )
    else:
        asks.append(
            (
                r.choice(
                    (
                        f"What did {s} {asked}{context}?",
                        f"What was {apart} by {s}{context}?",
                        f"What {be} it that {s} {apast}?",
                    )
                ),
                o,
            )
        )
    for c in cs:
        w = r.choice(c[3])
        asks.append(
            (
                r.choice(
                    (
                        f"{w} did {s} {asked} {o}?",
                        f"{w} {be} {o} {apart}?",
                        f"{w} {be} {o} {apart} by {s}?",
                    )
                ),
                c[2],
            )
        )
    r.shuffle(asks)
    w = r.choice(circumstance(r, [c[0] for c in cs] + ["span", "price"])[3])
    absent = r.choice((f"{w} did {s} {asked} {o}?", f"{w} {be} {o} {apart} by {s}?"))
    return Fact(capital(text) + ".", short, [(capital(q), a) for q, a in asks[:2]], s, verb, absent)


SAME, VARIED = synonyms(), {}


# ---- attributes


def attribute_nouns():
    groups = {
        4: "thing",
        6: "thing",
        7: "amount",
        9: "thing",
        10: "text",
        11: "date",
        14: "org",
        15: "place",
        18: "person",
        21: "money",
        23: "amount",
        24: "thing",
        25: "color",
        26: "thing",
        27: "material",
        28: "date",
        13: "thing",
    }
    file_of = {}
    for e in WORDS:
        if e["pos"] == "noun" and not e["instance"]:
            for w in e["words"]:
                file_of.setdefault(w, e["file"])
    return sorted(
        (w, groups[file_of[w]])
        for w in COMMON_NOUNS
        if file_of.get(w) in groups and w not in NOT_TRAINED and COUNTS.get((w, "n"), 0) > 2
    )


ATTRIBUTES = attribute_nouns()
UNITS = (
    "metres kg litres points degrees volts watts pages seats rooms hours days miles tons degrees "
    "grams percent"
).split()


def attribute_value(r, group):
    if group == "amount":
        return r.choice((integer(r), integer(r) + " " + r.choice(UNITS), phrase(r)))
    make = dict(
        text=r.choice((VALUES["title"], ident, phrase)),
        date=r.choice((date, year, duration)),
        org=org,
        place=place,
        person=person,
        money=money,
        color=VALUES["color"],
        material=VALUES["material"],
        thing=r.choice((phrase, things, ident, integer, VALUES["title"])),
    )
    return make[group](r)


def attribute_fact(r, thing, stand):
    a, group = r.choice(ATTRIBUTES)
    if r.random() < 0.35:
        a = r.choice((adjective, noun))(r) + " " + a
    v = attribute_value(r, group)
    an = "an" if a[0] in "aeiou" else "a"
    said = r.choice(
        (
            "The {a} of {e} is {v}.",
            "The {a} of {e} is {v}.",
            "{e} has {an} {a} of {v}.",
            "{v} is the {a} of {e}.",
            "{e} has {v} as its {a}.",
            "For {e} the {a} is {v}.",
            "{e}: {a} {v}.",
            "With {v} as its {a}, {e} is well placed.",
            "{e} got {v} for its {a}.",
            "{e} uses {v} as {a}.",
            "When it comes to {a}, {e} has {v}.",
            "{e} chose {v} as the {a}.",
        )
    )
    words = {"person": "Who", "place": "Where", "date": "When"}.get(group, "What")
    ask = r.choice(
        (
            "What is the {a} of {e}?",
            "What {a} does {e} have?",
            "What is {e}'s {a}?",
            "Which {a} belongs to {e}?",
            "{w} is the {a} of {e}?",
            "{w} is the {a} of {e}?",
            "What does {e} have as its {a}?",
            "Name the {a} of {e}.",
            "What is the {a} in the case of {e}?",
        )
    )
    fill = (
        lambda s, e: s.replace("{e}", e)
        .replace("{an}", an)
        .replace("{a}", a)
        .replace("{v}", v)
        .replace("{w}", words)
    )
    short = capital(fill(said, stand)) if said.startswith("{e}") else None
    return Fact(
        capital(fill(said, thing)),
        short,
        [(capital(fill(ask, thing)), v)],
        thing,
        a,
        record=r.choice(("{a}: {v}", "{a}: {v}.", "{a} = {v}", "- {a}: {v}"))
        .replace("{a}", capital(a))
        .replace("{v}", v),
    )


def free_facts(r, count):
    """Facts of verbs or attributes about one thing. Returns (name, kind, facts)."""
    if r.random() < 0.55:
        s = person(r)
        facts = [verb_fact(r, s if r.random() < 0.6 else None) for _ in range(count)]
        return s, "person", facts
    kind = r.choice(sorted(SEEN))
    thing = (
        VALUES[SEEN[kind][0]](r) if r.random() < 0.7 else r.choice((coin(r), "the " + phrase(r)))
    )
    stand = r.choice(SEEN[kind][1]) if kind != "person" else "It"
    return thing, kind, [attribute_fact(r, thing, stand) for _ in range(count)]


if __name__ == "__main__":
    import random

    rng = random.Random(3)
    for maker in (
        thing_facts,
        free_facts,
        free_facts,
        free_facts,
        lambda r, n: thing_facts(r, n, True),
        lambda r, n: thing_facts(r, n, False, UNSEEN),
    ):
        for f in maker(rng, 4)[2]:
            print(f.text, "|", f.short, "|", f.asks)
    print(
        len(VERB_LIST),
        len(ATTRIBUTES),
        sum(len(t[2]) for t in SEEN.values()),
        sum(len(t[2]) for t in UNSEEN.values()),
    )
