"""Questions on real sentences: a span is left out (cloze) or asked for, and WordNet entries turned
into facts."""

import re

from facts import Fact, article, capital
from values import COUNTS, WORDS

FUNCTION = set(
    "a an the of in on at by for with to from and or but nor so as is are was were be been "
    "being am do does did has have had having will would shall should can could may might must "
    "not no this that these those it its they them their he him his she her we us our you your "
    "i my me which who whom whose what when where why how if then than there here also only "
    "very more most such some any all each every both either neither one other another same "
    "into onto over under up down out off about between among through during before after above "
    "below again further once because until while although though since unless whether per via "
    "within without against upon toward across along around near like just even still yet too "
    "however therefore thus hence much many few several own itself themselves".split()
)
PREPOSITIONS = set(
    "in on at by for with to from of into over under between among through during before after "
    "above below via within without against upon near across along around".split()
)
NOUNS = {w for e in WORDS if e["pos"] == "noun" for w in e["words"]}
VERBS = {w for e in WORDS if e["pos"] == "verb" for w in e["words"]}
ADJS = {w for e in WORDS if e["pos"] == "adj" for w in e["words"]}
FILE = {}
for _e in WORDS:
    if _e["pos"] == "noun":
        for _w in _e["words"]:
            FILE.setdefault(_w.lower(), _e["file"])
SYNONYMS = {}
for _e in WORDS:
    _s = [
        w for w in _e["words"] if re.fullmatch("[a-z]+", w) and COUNTS.get((w, _e["pos"][0]), 0) > 1
    ]
    for _w in _s:
        SYNONYMS.setdefault(_w, []).extend(x for x in _s if x != _w)
ASKED = {
    5: ["animal"],
    6: ["thing", "object", "device"],
    9: ["idea", "concept", "method"],
    10: ["message", "term", "name"],
    13: ["food"],
    14: ["group", "organization"],
    15: ["place", "country", "area"],
    18: ["person"],
    20: ["plant"],
    21: ["amount"],
    22: ["process"],
    23: ["amount", "number"],
    27: ["material"],
    28: ["time", "period"],
    4: ["action"],
    7: ["property"],
    26: ["state"],
}
CLASS = {}


def base(w, known, endings):
    if w in known:
        return w
    for a, b in endings:
        if w.endswith(a) and len(w) > len(a) + 2 and w[: len(w) - len(a)] + b in known:
            return w[: len(w) - len(a)] + b
    return None


def verb_base(w):
    return base(
        w,
        VERBS,
        (
            ("ies", "y"),
            ("es", ""),
            ("s", ""),
            ("ied", "y"),
            ("ed", "e"),
            ("ed", ""),
            ("ing", "e"),
            ("ing", ""),
        ),
    )


def noun_base(w):
    return base(w, NOUNS, (("ies", "y"), ("es", ""), ("s", "")))


def word_class(w):
    """f function, 0 number, n noun, v verb, a adjective, r adverb; guessed by how often WordNet's
    texts use each."""
    w = w.lower()
    if w in CLASS:
        return CLASS[w]
    if w in FUNCTION:
        c = "f"
    elif re.search(r"\d", w):
        c = "0"
    elif w.endswith("ly"):
        c = "r"
    else:
        nb, vb = noun_base(w), verb_base(w)
        score = {
            "n": (COUNTS.get((nb, "n"), 0) + 0.5) if nb else 0,
            "v": (
                (
                    COUNTS.get((vb, "v"), 0) * (1 if vb == w or w.endswith(("ed", "ing")) else 0.4)
                    + 0.4
                )
                if vb
                else 0
            ),
            "a": COUNTS.get((w, "a"), 0) + 0.3 if w in ADJS else 0,
        }
        c = max(score, key=lambda k: (score[k], k == "n"))
    if len(CLASS) < 200000:
        CLASS[w] = c
    return c


def tokens(s):
    """[(word, begin, end, opens, closes)] without surrounding punctuation; closes: punctuation
    follows."""
    out = []
    for m in re.finditer(r"\S+", s):
        w = m.group()
        a = len(w) - len(w.lstrip("([{\"'`<*"))
        b = len(w.rstrip(")]}\"'`.,;:!?>*"))
        if w[b : b + 1] == ")" and "(" in w[a:b]:
            b += 1
        if b > a:
            out.append((w[a:b], m.start() + a, m.start() + b, a > 0, b < len(w)))
    return out


def spans(t):
    """Answer candidates as (first token, end token, kind): names, numbers and noun phrases of at
    most five words."""
    kinds = []
    for i, (w, *_rest) in enumerate(t):
        c = word_class(w)
        if c not in "f0" and w[0].isupper() and (i or c == "n"):
            c = "N"
        kinds.append(c)
    out, i = [], 0
    while i < len(t):
        if kinds[i] not in "n0aN":
            i += 1
            continue
        j = i
        while j + 1 < len(t) and not t[j][4] and not t[j + 1][3] and kinds[j + 1] in "n0aN":
            j += 1
        e = j + 1
        while e > i and kinds[e - 1] == "a":
            e -= 1
        if i < e <= i + 5:
            k = set(kinds[i:e])
            out.append((i, e, "name" if k == {"N"} else "number" if k == {"0"} else "phrase"))
            if kinds[i] == "0" and e > i + 1:
                out.append((i, i + 1, "number"))
        i = j + 1
    return out


def paraphrase(r, words, drop=0.06, synonym=0.08, lemma=0.12):
    out = []
    for w in words:
        low = w.lower()
        if r.random() < (drop * 2.5 if low in FUNCTION else drop):
            continue
        if w == low and w not in FUNCTION:
            if r.random() < synonym and SYNONYMS.get(w):
                w = r.choice(SYNONYMS[w])
            elif r.random() < lemma:
                w = (verb_base(w) if word_class(w) == "v" else noun_base(w)) or w
        out.append(w)
    return out


def question_word(r, t, i, j, kind):
    first, before = t[i][0], t[i - 1][0].lower() if i and not t[i - 1][4] else ""
    if kind == "number":
        if re.fullmatch(r"1\d\d\d|20\d\d", first):
            return r.choice(("When", "In what year", "What year"))
        after = t[j][0] if j < len(t) and not t[j - 1][4] else ""
        return (
            "How many"
            if after and word_class(after) in "na"
            else r.choice(("What number", "What value", "How much", "What"))
        )
    group = FILE.get(" ".join(x[0] for x in t[i:j]).lower()) or FILE.get(
        noun_base(t[j - 1][0].lower()) or ""
    )
    k = r.random()
    if group == 18 and k < 0.8:
        return r.choice(("Who", "Who", "Whom"))
    if group == 28 and k < 0.6:
        return "When"
    if (group == 15 or kind == "name" and before in ("in", "at", "near")) and k < 0.7:
        return r.choice(("Where", "Where", "In which place"))
    if group in ASKED and k < 0.4:
        return r.choice(("What ", "Which ")) + r.choice(ASKED[group])
    if kind == "name" and k < 0.4:
        return "Who"
    return (
        "How"
        if before in ("by", "with", "using") and k < 0.3
        else r.choice(("What", "What", "Which"))
    )


def ask(r, s, cloze):
    """A question on one span of the sentence: (question, answer) or None."""
    t = tokens(s)
    found = spans(t)
    if not found or len(t) < 6:
        return None
    i, j, kind = r.choices(found, [3 if x[2] != "phrase" else 1.3 for x in found])[0]
    answer = s[t[i][1] : t[j - 1][2]]
    left, right = [x[0] for x in t[max(0, i - r.randint(3, 10)) : i]], [
        x[0] for x in t[j : j + r.randint(3, 10)]
    ]
    if len(answer) > 60 or sum(w.lower() not in FUNCTION for w in left + right) < 3:
        return None
    if cloze:
        soft = r.random() < 0.5
        a, b = (paraphrase(r, x, 0.04, 0.05, 0.05) if soft else x for x in (left, right))
        return " ".join(a + ["___"] + b), answer
    w = question_word(r, t, i, j, kind)
    left, right = paraphrase(r, left), paraphrase(r, right)
    core = [w]
    if left and left[-1].lower() in PREPOSITIONS:
        k = r.random()
        if w.split()[0] in ("When", "Where", "How") or k < 0.3:
            left = left[:-1]
        elif k < 0.7:
            core = [left.pop().capitalize(), w.lower()]
    while left and left[-1].lower() in ("a", "an", "the"):
        left = left[:-1]
    if w == "How many" and right:
        core.append(right.pop(0))
    aux = [x for x in (r.choice(("did", "was", "is", "does", "are", "", "", "")),) if x]
    k = r.random()
    body = (
        core + aux + left + right
        if k < 0.45
        else (
            core + right + left
            if k < 0.65
            else (
                left + core + right
                if k < 0.75
                else core + aux + (left if len(left) >= len(right) else right)
            )
        )
    )
    if len(body) < 4:
        return None
    return capital(" ".join(body)) + ("?" if r.random() < 0.95 else ""), answer


# ---- WordNet

ENTRIES = [e for e in WORDS if e["pos"] == "noun" and 20 < len(e["gloss"]) < 220]
NAMED = [e for e in ENTRIES if e["instance"] and re.fullmatch(r"[A-Z][\w.' -]*", e["words"][0])]
COMMON = [e for e in ENTRIES if not e["instance"]]


def is_held(e):
    return int(e["offset"]) % 20 == 7


def crop(r, gloss):
    words = gloss.split()[: r.randint(5, 13)]
    while words and words[-1].lower().strip(",;") in FUNCTION:
        words.pop()
    return " ".join(paraphrase(r, words, 0.04, 0.05, 0.04)).rstrip(",;:.")


def entry_fact(r, e, altered=True):
    """An entry as a Fact; altered: sometimes with another year or name than in the world."""
    name = max(e["words"], key=len) if r.random() < 0.6 else e["words"][0]
    if e["instance"] and altered and r.random() < 0.35:
        name = max(r.choice(NAMED)["words"], key=len)
    core = re.sub(r"\s*\([^()]*\)", "", e["gloss"]).strip(" ;:")
    core = core.split("; ")[0] if r.random() < 0.6 else core
    if len(core) < 10:
        return None
    life = re.search(r"\((?:[^()]*?)(\d{3,4})-(\d{3,4})\)", e["gloss"])
    asks = []
    if e["instance"] and life:
        a, b = life.groups()
        if altered and r.random() < 0.4:
            n = r.randint(-60, 60)
            a, b = str(int(a) + n), str(int(b) + n)
        text = r.choice(
            (
                f"{name} ({a}-{b}) was {core}.",
                f"{name} was {core}. Born in {a}, died in {b}.",
                f"{name}, who lived from {a} to {b}, was {core}.",
                f"Born in {a}, {name} was {core} and died in {b}.",
            )
        )
        asks += [
            (
                r.choice(
                    ("When was {} born?", "In what year was {} born?", "What year was {} born?")
                ).format(name),
                a,
            ),
            (r.choice(("When did {} die?", "In what year did {} die?")).format(name), b),
            (
                r.choice(("Who was {}?", "Who was known as {}?", "Name the {}.")).format(
                    crop(r, core)
                ),
                name,
            ),
        ]
        noted = re.search(
            r"(?:noted|known|famous|remembered) for (?:his |her |the )?([^,;()]+)", core
        )
        if noted and len(noted.group(1).split()) < 7:
            asks.append(
                (
                    r.choice((f"What was {name} known for?", f"For what is {name} remembered?")),
                    noted.group(1).strip(),
                )
            )
    elif e["instance"]:
        text = r.choice((f"{name} is {core}.", f"{name}: {core}.", f"{name} was {core}."))
        asks.append(
            (
                r.choice(
                    ("What is {}?", "Which is {}?", "What is the name of {}?", "What is called {}?")
                ).format(crop(r, core)),
                name,
            )
        )
        where = re.search(
            r"\b(?:in|on|near|off) ((?:the |[a-z]+ern )?[A-Z][\w ]+?)"
            r"(?=$|[,;]| that| which| and| on| with| at)",
            core,
        )
        if where and len(where.group(1).split()) < 6:
            asks.append(
                (
                    r.choice(
                        (
                            f"Where is {name}?",
                            f"Where is {name} located?",
                            f"In which place is {name}?",
                        )
                    ),
                    where.group(1),
                )
            )
    else:
        text = r.choice(
            (
                f"{name}: {core}.",
                f"{capital(article(name))} is {core}.",
                f"{capital(name)} means {core}.",
                f"{capital(core)} is called {article(name)}.",
            )
        )
        asks.append(
            (
                r.choice(
                    (
                        "What is {} called?",
                        "What is the term for {}?",
                        "What is the word for {}?",
                        "What is {}?",
                        "Which term means {}?",
                    )
                ).format(crop(r, core)),
                name,
            )
        )
        if len(core.split()) < 8:
            asks.append(
                (
                    r.choice(
                        (
                            f"What is {article(name)}?",
                            f"What does {name} mean?",
                            f"What is meant by {name}?",
                        )
                    ),
                    core,
                )
            )
        use = re.search(r"\bused (?:to|for|in|as) ([^,;()]+)", core)
        if use and len(use.group(1).split()) < 7:
            asks.append(
                (
                    r.choice(
                        (
                            f"What is {article(name)} used for?",
                            f"What is the use of {article(name)}?",
                        )
                    ),
                    use.group(1).strip(),
                )
            )
    if len(e["words"]) > 1 and r.random() < 0.3:
        other = r.choice([w for w in e["words"] if w != name] or [name])
        text += r.choice((f" It is also called {other}.", f" Another name is {other}."))
        asks.append(
            (r.choice((f"What is another name for {name}?", f"What is {name} also called?")), other)
        )
    r.shuffle(asks)
    return Fact(text, None, asks[:3], name, "entry")
