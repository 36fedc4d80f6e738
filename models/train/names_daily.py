"""Values as notices, handbooks, price lists and minutes have them: small sums, numbers in words,
times with am and pm, firms of two partners, rules of the calendar, things from the shelf."""

from values import MONTHS, last, noun, person, place, product, words

ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
ONES = (ONES + " sixteen seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
FIRST = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
LOOKS = (
    "red green blue yellow white black grey brown small large long short round flat thin thick old "
    "new spare clean dry soft hard sharp light heavy wooden steel brass copper tin glass paper "
    "rubber leather cotton woollen plastic folding painted second-hand waterproof left-over"
).split()
GOODS = (
    "bag basin basket bell bench blanket board bolt book bottle bowl box bracket broom brush bucket "
    "button cable candle card chair chisel clamp clip clock coat cord cup curtain cushion cutter "
    "desk disc drawer drill file filter folder fork frame fuse glove hammer handle hinge hook hose "
    "jar key kettle knife ladder lamp lid lock mat mirror mop mug nail needle net oven pan pencil "
    "pipe plank plate plug pot pump rack rope ruler saw scale screw shelf shovel sieve sign spanner "
    "spoon spring stamp stove strap switch table tap tape ticket tile tin torch towel tray trolley "
    "tub tube valve vase wheel whistle wire wrench"
).split()
TRADES = (
    "Roofing Engineering Printing Supplies Transport Electrical Joinery Plumbing Insurance Heating "
    "Timber Metalwork Cleaning Glass Security Catering Gardens Surveyors Instruments Removals"
).split()


def spelled(n):
    return ONES[n - 1] if n < 20 else TENS[n // 10 - 2] + ("-" + ONES[n % 10 - 1] if n % 10 else "")


def spell(r, most=99):
    return spelled(r.randint(2, 19) if r.random() < 0.5 else r.randint(20, most))


def count(r):
    return r.choice(
        (spell(r, 60), str(r.randint(2, 90)), "%d,%03d" % (r.randint(1, 40), r.randint(0, 999)))
    )


def price(r):
    n = r.randint(1, 95)
    return r.choice(
        (
            "%d crowns" % n,
            "%d crowns" % n,
            spell(r) + " crowns",
            "%d.%02d crowns" % (n, r.choice((20, 40, 50, 80, 95))),
            "£%d" % n,
            "£%d.%02d" % (n, r.choice((20, 50, 75, 99))),
            "$%d" % n,
            "%d dollars" % n,
            "€%d" % n,
            "%d euros" % n,
            "%d cents" % n,
            "%d,%03d crowns" % (r.randint(1, 60), r.randint(0, 999)),
            "%d0 crowns" % n,
        )
    )


def moment(r):
    h, m = r.randint(1, 12), r.choice((5, 10, 15, 20, 30, 40, 45, 50))
    half = r.choice((" am", " pm", " a.m.", " p.m."))
    return r.choice(
        (
            "%d%s" % (h, half),
            "%d:%02d%s" % (h, m, half),
            "%d:%02d" % (r.randint(6, 22), m),
            "half past " + ONES[h - 1],
            "a quarter to " + ONES[h - 1],
            ONES[h - 1] + " o'clock",
            ONES[h - 1] + " in the evening",
            "noon",
        )
    )


def span(r):
    unit = r.choice("minutes hours days weeks months years".split())
    n = r.randint(2, 60) if unit in ("minutes", "hours", "days") else r.randint(2, 20)
    return r.choice((spelled(n), spelled(n), str(n), str(n))) + " " + unit


def rule(r):
    day, n = r.choice(DAYS), r.choice(FIRST[:4] + ["last"])
    return r.choice(
        (
            "the %s %s of every month" % (n, day),
            "the %s %s of the month" % (n, day),
            "the %s %s in %s" % (n, day, r.choice(MONTHS)),
            "every %s" % day,
            "every other %s" % day,
            "every %s and %s" % (day, r.choice(DAYS)),
            "twice a %s" % r.choice(("week", "month", "year")),
            "once a %s" % r.choice(("week", "month", "year")),
            "every %s weeks" % r.choice(ONES[1:8]),
            "%s %s" % (r.choice(("mid", "early", "late")), r.choice(MONTHS)),
            "the %d of %s" % (r.randint(1, 28), r.choice(MONTHS)),
            "the end of %s" % r.choice(MONTHS),
        )
    )


def firm(r):
    a = last(r)
    return r.choice(
        (
            a + " and " + last(r),
            a + " and " + last(r),
            a + " & " + last(r),
            a + " and " + r.choice(("Sons", "Daughter", "Partners", "Company", "Brothers")),
            a + " " + r.choice(TRADES),
            place(r) + " " + r.choice(TRADES),
            noun(r).capitalize() + " " + r.choice(TRADES),
            a + "'s",
        )
    )


def measure(units):
    units = units.split(", ")

    def draw(r):
        n = r.choice(
            (str(r.randint(2, 99)), str(r.randint(2, 99)), "%d0" % r.randint(1, 90), spell(r))
        )
        if r.random() < 0.2:
            n = "%d.%d" % (r.randint(0, 9), r.randint(1, 9))
        elif r.random() < 0.1:
            n = "%d,%03d" % (r.randint(1, 9), r.randint(0, 99) * 10)
        return n + " " + r.choice(units)

    return draw


def goods(r):
    w = r.choice(GOODS)
    w = w[:-1] + "ves" if w in ("knife", "shelf") else w + ("es" if w[-1] in "shx" else "s")
    return (r.choice(LOOKS) + " " if r.random() < 0.7 else "") + w


def item(r):
    w = (r.choice(LOOKS) + " " if r.random() < 0.7 else "") + r.choice(GOODS)
    return r.choice(("the ", "the ", "an " if w[0] in "aeiou" else "a ")) + w


DAILY = dict(
    spell=spell,
    count=count,
    ordinal=lambda r: r.choice(FIRST),
    nth=lambda r: r.choice(FIRST[1:]) + " " + r.choice(("day", "week", "month", "year", "time")),
    about=lambda r: r.choice(("about ", "about ", "nearly ", "more than ", "just over ", "some "))
    + count(r),
    price=price,
    moment=moment,
    opening_hours=lambda r: "%d %s to %d %s"
    % (r.randint(6, 11), r.choice(("am", "a.m.")), r.randint(1, 9), r.choice(("pm", "p.m."))),
    span=span,
    rule=rule,
    firm=firm,
    pair=lambda r: person(r) + " and " + person(r),
    kilos=measure("kilograms, kg, kilograms, grams, tonnes, pounds"),
    metres=measure("metres, centimetres, millimetres, m, cm, mm, feet, inches, kilometres"),
    litre=measure("litres, litres, millilitres, l, ml, pints, gallons"),
    degree=measure("degrees, degrees Celsius, °C"),
    speeds=measure("kilometres an hour, turns a minute, metres a second, miles an hour"),
    goods=goods,
    item=item,
    netname=lambda r: noun(r).lower()
    + "-"
    + r.choice((noun(r).lower(), "guest", "staff", "office", "members", "public")),
    model_name=lambda r: r.choice(
        (
            "the " + last(r) + " %d" % r.randint(2, 900),
            product(r),
            noun(r).capitalize() + " %d" % r.randint(2, 90),
        )
    ),
    inn=lambda r: "the "
    + r.choice(
        (
            "Golden Lion|White Horse|Three Keys|Old Crown|Blue Boar|Green Man|Black Swan|Two Bells|Red Fox|Five Oaks|Anchor|Plough|Star|Wheatsheaf".split(
                "|"
            )
        )
        + [r.choice(LOOKS).capitalize() + " " + r.choice(GOODS).capitalize()]
    ),
    errormark=lambda r: r.choice("EFHAC") + "%d" % r.randint(1, 99),
    extension=lambda r: "%d" % r.randint(11, 9999),
    colour=words(
        "red green blue yellow white black grey brown orange purple pink silver turquoise"
    ),
    herb=words("thyme dill chives basil mint sage parsley marjoram tarragon chervil sorrel"),
    stuff=words(
        "oak pine ash larch copper brass steel slate clay linen hemp leather cork felt lime"
    ),
    spot=lambda r: r.choice(
        (
            "the "
            + r.choice(LOOKS)
            + " "
            + r.choice(
                ("cupboard", "door", "shed", "gate", "hall", "drawer", "stairs", "wall", "cabinet")
            ),
            "the "
            + r.choice(
                (
                    "boiler room|north gate|back yard|ground floor|first floor|upper floor|post room|tool shed|ticket office|reading room|cellar|loft|kitchen|store|entrance hall|car park".split(
                        "|"
                    )
                )
            ),
            "the %s beside the %s"
            % (
                r.choice(GOODS),
                r.choice(("door", "window", "sink", "stairs", "entrance", "till", "lift")),
            ),
            "room %d" % r.randint(1, 340),
        )
    ),
)
