"""Names and values for generated pages: people, places, numbers, paths and so on. Each takes a
random.Random."""

import re

from text import WORDNET, wordnet

WORDS = wordnet()
COUNTS = {}
with open(WORDNET + "/cntlist.rev") as _f:
    for _line in _f:
        _key, _, _n = _line.split()[:3]
        _w, _p = _key.split("%")
        _k = (_w, {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}[_p[0]])
        COUNTS[_k] = COUNTS.get(_k, 0) + int(_n)


def _single(pos, tag):
    every = sorted(
        {
            w
            for e in WORDS
            if e["pos"] == pos and not e["instance"]
            for w in e["words"]
            if re.fullmatch("[a-z]{3,11}", w)
        }
    )
    return every, [w for w in every if COUNTS.get((w, tag), 0) > 0]


NOUNS, COMMON_NOUNS = _single("noun", "n")
ADJECTIVES, COMMON_ADJECTIVES = _single("adj", "a")
_ALIVE = [e for e in WORDS if e["instance"] and re.search(r"\(\d{4}-", e["gloss"])]
_FULL = [w.split() for e in _ALIVE for w in e["words"] if " " in w]
FIRST = sorted(
    {w[0] for w in _FULL if re.fullmatch("[A-Z][a-z]+", w[0])}
    - {"President", "Sir", "King", "Saint", "Lord", "The", "Queen", "Pope", "Old"}
)
LAST = sorted({w[-1] for w in _FULL if re.fullmatch("[A-Z][a-z]+", w[-1])})
CITIES = sorted(
    {
        e["words"][0]
        for e in WORDS
        if e["instance"]
        and re.fullmatch(r"[A-Z][A-Za-z.' ]+", e["words"][0])
        and re.search(r"\b(city|town|port|capital)\b", e["gloss"])
    }
)
REGIONS = sorted(
    {
        e["words"][0]
        for e in WORDS
        if e["instance"]
        and re.fullmatch(r"[A-Z][A-Za-z' ]+", e["words"][0])
        and re.search(r"\b(republic|kingdom|province|state|island|region)\b", e["gloss"])
    }
)
MONTHS = (
    "January February March April May June July August September October November December".split()
)
DAYS = "Mondays Tuesdays Wednesdays Thursdays Fridays Saturdays Sundays weekdays".split()
SPELT = (
    "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty "
    "sixty"
).split()
ONSET = "b c d f g h j k l m n p r s t v w z br cr dr fl gr kr pl st tr th sh ch".split()
VOWEL = "a e i o u a e o ai ea ie ou".split()
CODA = ["", "", "", "n", "r", "l", "s", "m", "nd", "rt", "ck", "th", "x"]
TAIL = [
    "",
    "",
    "ham",
    "ton",
    "ford",
    "ley",
    "ria",
    "berg",
    "wick",
    "dale",
    "nia",
    "ster",
    "ov",
    "sen",
    "ez",
    "ini",
]


def syllable(r):
    return r.choice(ONSET) + r.choice(VOWEL) + r.choice(CODA)


def coin(r):
    return (
        "".join(syllable(r) for _ in range(r.choice((1, 1, 1, 2, 2)))) + r.choice(TAIL)
    ).capitalize()


def noun(r):
    return r.choice(COMMON_NOUNS if r.random() < 0.6 else NOUNS)


def adjective(r):
    return r.choice(COMMON_ADJECTIVES if r.random() < 0.6 else ADJECTIVES)


def plural(w):
    if re.search("(s|x|z|ch|sh)$", w):
        return w + "es"
    return w[:-1] + "ies" if re.search("[^aeiou]y$", w) else w + "s"


def last(r):
    return r.choice(LAST) if r.random() < 0.6 else coin(r)


def person(r):
    k, name = r.random(), r.choice(FIRST) + " " + last(r)
    if k < 0.1:
        return r.choice(FIRST) + " " + r.choice("ABCDEFGHJKLMPRSTW") + ". " + last(r)
    return (
        r.choice(("Dr. ", "Professor ", "Sir ", "Captain ", "Ms. ", "Mr. ")) + name
        if k < 0.18
        else name
    )


def place(r):
    k, name = r.random(), r.choice(CITIES) if r.random() < 0.5 else coin(r)
    if k < 0.1:
        return name + ", " + r.choice(REGIONS)
    return (
        r.choice(("New ", "San ", "Port ", "Lake ", "North ", "Mount ", "Saint ")) + coin(r)
        if k < 0.2
        else name
    )


def region(r):
    return r.choice(REGIONS) if r.random() < 0.5 else coin(r)


def integer(r):
    k = r.random()
    if k < 0.4:
        return str(r.randint(2, 99))
    if k < 0.65:
        return str(r.randint(100, 9999))
    return "%d,%03d" % (r.randint(1, 999), r.randint(0, 999)) if k < 0.85 else r.choice(SPELT)


def year(r):
    return str(r.randint(1700, 2026) if r.random() < 0.85 else r.randint(900, 1700))


def date(r):
    k, m, d = r.random(), r.choice(MONTHS), r.randint(1, 28)
    if k < 0.35:
        return "%s %d, %s" % (m, d, year(r))
    if k < 0.65:
        return "%d %s %s" % (d, m, year(r))
    return "%s-%02d-%02d" % (year(r), r.randint(1, 12), d) if k < 0.75 else "%d %s" % (d, m)


def big(r):
    k = r.random()
    if k < 0.6:
        return "%d,%03d" % (r.randint(1, 999), r.randint(0, 999))
    return (
        "%d.%d million" % (r.randint(1, 40), r.randint(1, 9))
        if k < 0.75
        else str(r.randint(200, 9999))
    )


def money(r):
    n = r.choice((r.randint(2, 990), r.randint(2, 99) * 100))
    return (
        r.choice(
            ("$%d", "$%d.99", "%d euros", "$%d million", "%d dollars", "£%d", "€%d", "%d crowns")
        )
        % n
    )


def amount(units):
    def value(r):
        n = r.choice(
            (
                str(r.randint(2, 999)),
                "%d.%d" % (r.randint(0, 99), r.randint(1, 9)),
                str(r.randint(2, 40)),
            )
        )
        return n + " " + r.choice(units)

    return value


def phrase(r):
    return r.choice((adjective(r) + " " + noun(r), noun(r) + " " + noun(r), noun(r)))


def things(r):
    return plural(noun(r)) if r.random() < 0.5 else adjective(r) + " " + plural(noun(r))


def path(r):
    parts = [r.choice(("etc", "var", "opt", "usr", "srv", "home", "mnt"))] + [
        noun(r) for _ in range(r.choice((1, 2, 2)))
    ]
    return "/" + "/".join(parts) + r.choice(("", ".conf", ".log", ".yaml", ".db", ".json", ".toml"))


def org(r):
    base = coin(r) if r.random() < 0.6 else r.choice(LAST)
    kind = (
        "Corporation Systems Industries Labs Group Institute Motors Foundation Press Bank "
        "Airlines Energy Records Society Company Software Partners Works Trust Studios Foods"
    ).split()
    return base + " & " + last(r) if r.random() < 0.12 else base + " " + r.choice(kind)


def title(r):
    t = r.choice(
        (
            ["the", noun(r)],
            ["the", adjective(r), noun(r)],
            [noun(r), "of", coin(r)],
            [adjective(r), noun(r)],
            ["a", noun(r), "for", r.choice(FIRST)],
            ["the", noun(r), "and", "the", noun(r)],
        )
    )
    return " ".join(
        w if w in ("of", "for", "and") or w == "the" and i else w[:1].upper() + w[1:]
        for i, w in enumerate(t)
    )


def service(r):
    return r.choice(
        (
            lambda: noun(r) + "d",
            lambda: coin(r) + r.choice(("DB", "Hub", "Base", "Flow", "Sync", "")),
            lambda: noun(r)
            + "-"
            + r.choice(("server", "proxy", "agent", "worker", "api", "cache", "queue")),
            lambda: "the "
            + noun(r)
            + " "
            + r.choice(("service", "server", "daemon", "module", "node")),
        )
    )()


def product(r):
    return r.choice(
        (
            lambda: "the " + coin(r) + " " + str(r.randint(2, 990)),
            lambda: coin(r) + " " + r.choice(("Pro", "Mini", "X", "Max", "One", "Air")),
            lambda: "the "
            + coin(r)
            + " "
            + r.choice(
                "camera laptop phone drill lamp bicycle printer watch kettle "
                "speaker tent scooter router heater".split()
            ),
        )
    )()


def named(kinds, article="the "):
    kinds = kinds.split()
    return (
        lambda r: article + r.choice((coin, last, place))(r).split(",")[0] + " " + r.choice(kinds)
    )


def event(r):
    return (
        "the "
        + (year(r) + " " if r.random() < 0.4 else "")
        + named(
            "Cup Festival Games Conference Marathon Open Exhibition Summit Championship Regatta "
            "Fair",
            "",
        )(r)
    )


def species(r):
    kinds = "frog beetle owl orchid lizard trout bat fern moth crab monkey finch snail wolf".split()
    return "the " + r.choice((coin(r), adjective(r))) + " " + r.choice(kinds)


def setting(r):
    a, b = noun(r), noun(r)
    return r.choice(
        (a + "_" + b + "()", a + "()", "--" + a, (a + "_" + b).upper(), a + "." + b, a + "_" + b)
    )


def ident(r):
    return r.choice(
        (
            lambda: "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(3, 6))),
            lambda: "".join(r.choice("ABCDEFGHKLMNPRSTW") for _ in range(r.randint(1, 3)))
            + r.choice(("-", ""))
            + str(r.randint(10, 99999)),
            lambda: "%x" % r.getrandbits(24),
        )
    )()


def words(text):
    items = text.split()
    return lambda r: r.choice(items)


COLORS = (
    "red blue green black white silver yellow orange purple brown grey crimson turquoise ivory "
    "gold pink violet"
)
LANGUAGES = (
    "Latin German French Spanish Italian Polish Greek Arabic Hindi Japanese Korean Russian "
    "Turkish Dutch Swedish Finnish Welsh Irish Persian Portuguese Hungarian Swahili"
)
JOBS = (
    "engineer painter composer physicist chemist biologist architect novelist poet lawyer "
    "surgeon economist historian teacher journalist pilot astronomer sculptor photographer "
    "diplomat judge banker designer programmer librarian farmer actor singer geologist nurse "
    "baker carpenter"
)
MATERIALS = (
    "oak steel glass copper marble cotton wool leather granite bamboo brass clay plastic "
    "aluminium paper silk iron"
)
duration = amount(("seconds", "minutes", "hours", "days", "weeks", "months", "years"))
size = amount(("cm", "mm", "inches", "metres", "feet"))
distance = amount(("km", "miles", "kilometres"))
VALUES = dict(
    person=person,
    place=place,
    region=region,
    number=integer,
    year=year,
    date=date,
    big=big,
    money=money,
    things=things,
    thing=phrase,
    path=path,
    org=org,
    title=title,
    service=service,
    product=product,
    event=event,
    species=species,
    setting=setting,
    ident=ident,
    code=ident,
    job=words(JOBS),
    language=words(LANGUAGES),
    color=words(COLORS),
    material=words(MATERIALS),
    day=words(" ".join(DAYS)),
    duration=duration,
    size=size,
    distance=distance,
    weight=amount(("kg", "grams", "pounds", "ounces", "tons")),
    height=amount(("metres", "feet")),
    memory=amount(("MB", "GB", "KB")),
    degrees=amount(("degrees", "degrees Celsius")),
    speed=amount(("knots", "miles per hour")),
    minutes=amount(("minutes",)),
    school=lambda r: r.choice(
        (
            coin(r) + " University",
            "the University of " + coin(r),
            coin(r) + " College",
            coin(r) + " Academy",
        )
    ),
    phone=lambda r: r.choice(
        (
            "%d-%04d" % (r.randint(100, 999), r.randint(0, 9999)),
            "+%d %d %d" % (r.randint(1, 99), r.randint(100, 999), r.randint(1000, 99999)),
        )
    ),
    mail=lambda r: noun(r) + "@" + coin(r).lower() + r.choice((".org", ".com", ".net", ".example")),
    role=lambda r: r.choice(("chief ", "deputy ", "head ", "second ", ""))
    + r.choice((noun(r) + " ", ""))
    + r.choice(
        "secretary officer manager clerk keeper inspector editor buyer guard cook driver".split()
    ),
    port=lambda r: str(
        r.choice(
            (
                r.randint(1024, 65535),
                r.randint(20, 1023),
                r.randint(1, 9) * 1000 + r.choice((80, 443, 0, 1, 90)),
            )
        )
    ),
    user=lambda r: noun(r) + r.choice(("", "d", "_svc", "-admin", str(r.randint(1, 99)))),
    option=lambda r: "--" + noun(r) + r.choice(("", "-" + noun(r))),
    version=lambda r: "%d.%d" % (r.randint(0, 30), r.randint(0, 30))
    + (".%d" % r.randint(0, 30) if r.random() < 0.5 else ""),
    clock=lambda r: "%02d:%02d" % (r.randint(0, 23), r.choice((0, 15, 30, 45, r.randint(0, 59)))),
    host=lambda r: r.choice(
        (
            noun(r) + str(r.randint(1, 40)),
            "10.%d.%d.%d" % (r.randint(0, 99), r.randint(0, 255), r.randint(1, 254)),
            noun(r) + "." + coin(r).lower() + ".net",
        )
    ),
    hours=lambda r: (
        "%d to %d" % (r.randint(5, 11), r.randint(12, 23))
        if r.random() < 0.5
        else "%d:%02d to %d:%02d"
        % (r.randint(5, 11), r.choice((0, 15, 30)), r.randint(12, 22), r.choice((0, 30)))
    ),
    percent=lambda r: r.choice(("%d%%", "%d percent")) % r.randint(1, 99),
    score=lambda r: "%d-%d" % (r.randint(0, 60), r.randint(0, 60)),
    floor=words("first second third fourth fifth sixth seventh eighth ninth tenth top ground"),
    battle=lambda r: "the "
    + r.choice("Battle Siege Council Fire Eruption Revolt".split())
    + " of "
    + place(r).split(",")[0],
    building=named(
        "Bridge Tower Museum Cathedral Palace Library Stadium Theatre Station Dam Castle Hotel"
    ),
    river=named("River Canal Creek Brook"),
    disease=lambda r: coin(r) + r.choice((" syndrome", " fever", " disease", "itis", "osis")),
    substance=lambda r: (coin(r) + r.choice(("ium", "ine", "ite", "ate", "ol"))).lower(),
    law=named("Act Directive Policy Agreement Charter Protocol"),
    room=lambda r: r.choice(
        ("room %d" % r.randint(1, 499), "the " + coin(r) + " Room", "the " + adjective(r) + " hall")
    ),
    roomname=lambda r: r.choice(
        ("room %d" % r.randint(1, 499), "the " + coin(r) + " Room", "hall %s" % r.choice("ABCDEFG"))
    ),
    course=lambda r: r.choice(("Introduction to ", "Advanced ", "the course on ", "Applied "))
    + noun(r).capitalize(),
    project=lambda r: r.choice(
        ("Project " + coin(r), "Project " + noun(r).capitalize(), "the " + coin(r) + " project")
    ),
    ship=lambda r: r.choice(("the ", ""))
    + r.choice(("SS", "HMS", "MV", "USS"))
    + " "
    + r.choice((coin(r), last(r), noun(r).capitalize())),
    dish=lambda r: r.choice((coin(r), adjective(r)))
    + " "
    + r.choice("soup pie stew cake pudding casserole bread".split()),
    asteroid=lambda r: "%d %s" % (r.randint(100, 99999), coin(r)),
    horse=lambda r: coin(r) + " " + noun(r).capitalize(),
    month=words(" ".join(MONTHS)),
    team=lambda r: place(r).split(",")[0]
    + " "
    + r.choice((plural(noun(r)).capitalize(), "United", "City", "Rovers", "Rangers")),
    band=lambda r: "the " + r.choice((coin(r) + " ", "")) + plural(noun(r)).capitalize(),
    mountain=lambda r: r.choice(
        ("Mount " + coin(r), coin(r) + " Peak", "the " + coin(r) + "horn", coin(r) + " Hill")
    ),
    lake=lambda r: r.choice(("Lake " + coin(r), coin(r) + " Lake", "the " + coin(r) + " Pond")),
    island=lambda r: r.choice((coin(r) + " Island", "the isle of " + coin(r), coin(r) + " Key")),
    tongue=lambda r: coin(r) + r.choice(("ish", "ese", "ian", "i")),
    hotel=lambda r: "the " + r.choice((coin, last))(r) + r.choice((" Hotel", " Inn", " Lodge")),
    eatery=lambda r: r.choice(
        (
            "the " + adjective(r) + " " + noun(r),
            last(r) + "'s",
            "Café " + coin(r),
            "Chez " + last(r),
        )
    ),
    paper=lambda r: "the "
    + place(r).split(",")[0]
    + " "
    + r.choice("Times Herald Post Gazette Courier Mirror Observer".split()),
    dbtable=lambda r: r.choice(("", "the table ")) + noun(r) + "_" + plural(noun(r)),
    format=lambda r: "the "
    + r.choice((coin(r), "".join(r.choice("ABCDEFGHKLMNPRSTW") for _ in range(3))))
    + " format",
    machine=lambda r: "the "
    + r.choice((coin(r) + " ", ""))
    + noun(r)
    + r.choice((" press", " pump", " mill", " engine", " lathe", " drill")),
    plant=lambda r: "the "
    + r.choice((coin(r), adjective(r)))
    + r.choice((" fern", " lily", " rose", " oak", " clover", " thistle", " vine")),
    line=lambda r: r.choice(("line ", "bus ", "tram ", "route ")) + str(r.randint(1, 199)),
    drug=lambda r: coin(r) + r.choice(("ol", "ine", "ex", "pril", "mab", "an")),
    farm=lambda r: r.choice((coin, last))(r) + r.choice((" Farm", " Ranch", " Orchard", " Dairy")),
    contract=lambda r: r.choice(
        ("contract " + ident(r), "the " + org(r) + " contract", "agreement " + ident(r))
    ),
    order=lambda r: r.choice(("order ", "shipment ", "parcel ", "order no. "))
    + r.choice((str(r.randint(100, 99999)), ident(r))),
    bug=lambda r: r.choice(("ticket ", "bug ", "issue ", "issue #")) + str(r.randint(2, 9999)),
    network=lambda r: "the " + r.choice((coin(r), noun(r), "guest", "office")) + " network",
    museum=lambda r: "the " + r.choice((coin, last))(r) + r.choice((" Museum", " Gallery")),
    account=lambda r: r.choice(("account ", "the account ")) + ident(r),
    ruler=lambda r: r.choice(("King ", "Queen ", "Emperor ", "Prince ", "Sultan "))
    + coin(r)
    + r.choice(("", "", " II", " IV", " the " + adjective(r).capitalize())),
    committee=lambda r: "the "
    + r.choice((noun(r), adjective(r) + " " + noun(r), coin(r)))
    + r.choice((" committee", " board", " council", " panel")),
    vehicle=lambda r: "the "
    + r.choice((coin(r), adjective(r)))
    + r.choice((" van", " truck", " car", " bus", " tractor")),
)
