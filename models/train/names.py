"""More kinds of names and values, for the types of relations.txt after "more": the world's things
(names_work.py: those of work and home; names_daily.py: of notices and handbooks)."""

from names_daily import DAILY
from names_work import WORK
from values import *
from values import amount, words

MORE = dict(
    **WORK,
    **DAILY,
    few=lambda r: (
        r.choice("two three four five six seven eight nine ten eleven twelve twenty".split())
        if r.random() < 0.4
        else str(r.randint(2, 90))
    ),
    kingdom=lambda r: "the "
    + r.choice(
        (
            "Kingdom of " + coin(r),
            coin(r) + r.choice((" Empire", " Sultanate", " Kingdom", " Duchy")),
        )
    ),
    treaty=lambda r: "the "
    + r.choice(("Treaty", "Peace", "Truce", "Pact"))
    + " of "
    + place(r).split(",")[0],
    expedition=lambda r: "the "
    + r.choice((coin, last, region))(r)
    + " "
    + r.choice(("expedition", "Expedition")),
    telescope=lambda r: "the "
    + r.choice((coin, last))(r)
    + r.choice((" Telescope", " Refractor", " Reflector", " Array")),
    comet=lambda r: "Comet " + r.choice((last(r), coin(r), last(r) + "-" + last(r))),
    volcano=lambda r: r.choice(
        (coin(r) + " Volcano", "Mount " + coin(r), "the volcano " + coin(r))
    ),
    desert=lambda r: "the " + coin(r) + r.choice((" Desert", " Sands", " Waste")),
    forest=lambda r: "the " + r.choice((coin, last))(r) + r.choice((" Forest", " Woods", " Wood")),
    park=lambda r: r.choice((coin, last))(r) + " National Park",
    glacier=lambda r: "the " + r.choice((coin, last))(r) + r.choice((" Glacier", " Icefield")),
    direction=words("north south east west north-east north-west south-east south-west"),
    cause=lambda r: r.choice(
        (
            "a flood",
            "a fire",
            "an earthquake",
            "a quarrel over " + things(r),
            "the plague",
            "a famine",
            "lightning",
            "a bad harvest",
            "frost",
            "a broken " + noun(r),
            "the death of " + person(r),
            "a shortage of " + things(r),
        )
    ),
    religion=words(
        "Islam Buddhism Christianity Hinduism Judaism Taoism Zoroastrianism Shinto Jainism"
    ),
    area=lambda r: integer(r)
    + r.choice((" hectares", " acres", " square kilometres", " square miles")),
    rock=words(
        "basalt granite limestone sandstone slate marble chalk gneiss shale obsidian quartzite schist"
    ),
    tree=words(
        "oak beech pine spruce larch birch cedar ash maple eucalyptus teak hornbeam alder chestnut"
    ),
    beast=words(
        "bears wolves lynx deer bison otters eagles foxes boars elephants tigers badgers cranes leopards tapirs"
    ),
    cave=lambda r: "the " + r.choice((coin, last))(r) + r.choice((" Cave", " Caverns", " Grotto")),
    reef=lambda r: "the "
    + r.choice((coin, last))(r)
    + r.choice((" Reef", " Atoll", " Coral Bank")),
    tunnel=lambda r: "the " + r.choice((coin, last, place))(r).split(",")[0] + " Tunnel",
    dam=lambda r: "the "
    + r.choice((coin, last, place))(r).split(",")[0]
    + r.choice((" Dam", " Barrage", " Weir")),
    lighthouse=lambda r: r.choice(
        ("the " + coin(r) + " Lighthouse", coin(r) + " Light", "the lighthouse of " + coin(r))
    ),
    windmill=lambda r: "the "
    + r.choice((coin, last, adjective))(r)
    + r.choice((" Mill", " Windmill")),
    railway=lambda r: "the "
    + r.choice((coin, last, place))(r).split(",")[0]
    + r.choice((" Railway", " Line", " Railroad")),
    airport=lambda r: r.choice((place(r).split(",")[0], last(r)))
    + r.choice((" Airport", " Airfield", " International Airport")),
    harbour=lambda r: r.choice(
        ("the harbour of " + coin(r), coin(r) + " Harbour", "the " + coin(r) + " Docks")
    ),
    department=lambda r: "the Department of "
    + r.choice(
        (
            noun(r).capitalize() + " Studies",
            r.choice(
                "Botany Geology History Physics Music Law Logic Surgery Rhetoric Botany Statistics Archaeology".split()
            ),
        )
    ),
    power=amount(("megawatts", "kilowatts", "MW")),
    gauge=amount(("mm", "inches", "centimetres")),
    tide=amount(("metres", "feet", "fathoms")),
    corals=lambda r: r.choice((coin(r), adjective(r)))
    + r.choice((" corals", " sponges", " anemones", " shrimps", " eels", " sea urchins")),
    grain=words("wheat rye barley oats maize millet buckwheat mustard spelt malt lentils"),
    subject=lambda r: (
        r.choice(
            "heat light language memory law soil dialect marriage trade migration glass sleep music erosion magnetism rivers poetry nutrition".split()
        )
        if r.random() < 0.4
        else things(r)
    ),
    signal=lambda r: "%s flash%s every %d seconds"
    % (
        *r.choice(
            (
                ("one", ""),
                ("two", "es"),
                ("three", "es"),
                ("four", "es"),
                ("a red", ""),
                ("a green", ""),
            )
        ),
        r.randint(3, 40),
    ),
    theory=lambda r: "the "
    + r.choice((last(r) + " ", coin(r) + " ", ""))
    + r.choice((noun(r), adjective(r)))
    + r.choice((" theory", " hypothesis", " theorem", " principle")),
    experiment=lambda r: "the "
    + r.choice((last(r), coin(r), last(r) + "-" + last(r)))
    + r.choice((" experiment", " trial", " test")),
    reaction=lambda r: "the "
    + r.choice((last(r), coin(r), last(r) + "-" + last(r)))
    + r.choice((" reaction", " process", " synthesis", " reduction")),
    mineral=lambda r: (coin(r) + r.choice(("ite", "ine", "lite", "spar"))).lower(),
    element=lambda r: (coin(r) + r.choice(("ium", "on", "ine"))).lower(),
    alloy=lambda r: r.choice(
        (
            coin(r) + " bronze",
            coin(r) + " metal",
            coin(r) + " steel",
            coin(r) + "al",
            coin(r) + " brass",
        )
    ),
    dinosaur=lambda r: coin(r) + r.choice(("saurus", "raptor", "ceratops", "titan", "docus")),
    bird=lambda r: "the "
    + r.choice((coin(r), adjective(r)))
    + r.choice(
        (
            " warbler",
            " heron",
            " finch",
            " plover",
            " kite",
            " thrush",
            " gull",
            " parrot",
            " quail",
        )
    ),
    insect=lambda r: "the "
    + r.choice((coin(r), adjective(r)))
    + r.choice(
        (" beetle", " wasp", " moth", " cricket", " mantis", " dragonfly", " locust", " weevil")
    ),
    fish=lambda r: "the "
    + r.choice((coin(r), adjective(r)))
    + r.choice((" perch", " carp", " bream", " eel", " goby", " pike", " herring", " ray")),
    metal=words(
        "copper tin zinc lead nickel iron silver gold cobalt tungsten manganese chromium titanium magnesium aluminium bismuth"
    ),
    acid=lambda r: coin(r).lower()
    + r.choice(("ic acid", "yl chloride", "yl alcohol", "ene", "ous oxide", "one")),
    crystal=words("cubic hexagonal triclinic monoclinic tetragonal orthorhombic rhombohedral"),
    food=words(
        "seeds berries worms snails fish insects nectar algae carrion frogs mice nuts leaves fruit spiders roots plankton larvae"
    ),
    habitat=words(
        "swamps meadows reedbeds hedges cliffs heaths savannas mangroves dunes orchards moors lagoons woodlands hillsides caves"
    ),
    eggs=lambda r: (
        r.choice(("two", "three", "four", "five", "six", "seven", "a dozen"))
        if r.random() < 0.5
        else str(r.randint(2, 900))
    ),
    metalcolor=words(
        "yellowish bluish silvery greenish reddish brownish pale dark-grey white black"
    ),
    melting=lambda r: "%d degrees%s" % (r.randint(30, 3400), r.choice(("", " Celsius"))),
    symbol=lambda r: r.choice("ABCDEFGHIKLMNOPRSTUXYZ") + r.choice("abdefghiklmnoprstuy"),
    period=lambda r: r.choice(("Early ", "Late ", "Middle "))
    + r.choice("Triassic Jurassic Cretaceous Permian Devonian".split()),
    enemy=words(
        "hawks foxes weasels ants crows spiders cats rats bats owls herons otters snakes wasps parasites magpies"
    ),
    shortlen=amount(("mm", "cm", "inches", "centimetres", "millimetres")),
    dogbreed=lambda r: "the "
    + coin(r)
    + r.choice((" terrier", " hound", " spaniel", " sheepdog", " mastiff", " pointer", " spitz")),
    bacterium=lambda r: coin(r)
    + r.choice(("ella ", "bacter ", "coccus ", "bacillus "))
    + coin(r).lower()
    + r.choice(("i", "is", "ae")),
    virus=lambda r: r.choice(
        ("the " + coin(r) + " virus", coin(r) + " virus", coin(r) + "virus " + r.choice("ABCD"))
    ),
    vaccine=lambda r: r.choice(
        (
            "the " + coin(r) + " vaccine",
            coin(r) + "vax",
            coin(r) + "vac",
            "the " + last(r) + " vaccine",
        )
    ),
    operation=lambda r: "the "
    + r.choice((last(r), coin(r)))
    + r.choice((" operation", " procedure", " graft", " bypass", " incision")),
    hospital=lambda r: r.choice((last(r), coin(r), "Saint " + r.choice(FIRST)))
    + r.choice((" Hospital", " Clinic", " Infirmary", " Sanatorium")),
    athlete=person,
    tournament=lambda r: "the "
    + r.choice((coin, last, place))(r).split(",")[0]
    + r.choice((" Masters", " Trophy", " Classic", " Tournament", " Invitational", " Open")),
    match=lambda r: "the "
    + (year(r) + " " if r.random() < 0.4 else "")
    + coin(r)
    + r.choice((" final", " semi-final", " derby", " play-off")),
    opening=lambda r: "the "
    + r.choice((coin, last))(r)
    + r.choice((" Gambit", " Defence", " Attack", " Variation", " Opening", " System")),
    sport=words(
        "tennis rowing swimming fencing wrestling cycling judo archery badminton skiing handball hockey cricket golf curling gymnastics weightlifting"
    ),
    organ=words(
        "heart liver kidney stomach spleen eye ear knee hip spine bladder gall lung skin jaw throat shoulder pancreas"
    ),
    scoreline=lambda r: (
        "%d %s %d" % (r.randint(0, 9), r.choice(("to", ":")), r.randint(0, 9))
        if r.random() < 0.6
        else "%d-%d" % (r.randint(0, 99), r.randint(0, 99))
    ),
    medal=lambda r: r.choice("gold silver bronze".split()),
    injury=lambda r: r.choice(
        (
            "a torn ligament",
            "a broken wrist",
            "a broken ankle",
            "a back injury",
            "a knee injury",
            "a sprained foot",
            "a shoulder injury",
            "pneumonia",
            "a cracked rib",
            "a torn muscle",
        )
    ),
    chessmove=lambda r: r.choice(("", "N", "B", "Q", "R"))
    + r.choice("abcdefgh")
    + str(r.randint(3, 6)),
    chesspiece=words("pawn knight bishop rook queen"),
    shape=words("rods spheres spirals threads commas chains rings cubes needles crescents"),
    carrier=words(
        "ticks fleas mosquitoes lice rats bats pigeons monkeys dogs cattle pigs flies mites camels sheep"
    ),
    symptom=lambda r: r.choice(
        "fever rash cough headache dizziness vomiting paralysis blindness cramps jaundice insomnia weakness swelling numbness".split()
    ),
    doses=lambda r: (
        r.choice("two three four five six".split()) if r.random() < 0.6 else str(r.randint(2, 9))
    ),
    temper=words(
        "gentle brave stubborn playful watchful timid loyal fierce patient lively calm obedient affectionate independent cheerful reserved"
    ),
    coat=words(
        "short-haired long-haired wire-haired curly silky woolly smooth shaggy rough wavy hairless"
    ),
    opera=lambda r: "the opera " + r.choice((title(r), coin(r), coin(r) + " and " + coin(r))),
    symphony=lambda r: "the "
    + r.choice((coin, last, adjective))(r).capitalize()
    + " "
    + r.choice(("Symphony", "Concerto", "Sonata", "Suite", "Requiem")),
    orchestra=lambda r: "the "
    + r.choice((coin, last, place))(r).split(",")[0]
    + r.choice((" Orchestra", " Philharmonic", " Ensemble", " Symphony Orchestra")),
    poet=person,
    character=lambda r: r.choice(
        ("Count ", "Lady ", "Uncle ", "Aunt ", "Old ", "Father ", "Miss ", "Inspector ", "Baron ")
    )
    + coin(r)
    + r.choice(("", " " + last(r))),
    myth=lambda r: "the "
    + r.choice(("myth", "legend", "tale", "saga"))
    + " of "
    + r.choice((coin(r), coin(r) + " and " + coin(r), "the " + adjective(r) + " " + noun(r))),
    deity=lambda r: r.choice(("the god ", "the goddess ", "")) + coin(r),
    saint=lambda r: "Saint " + r.choice((r.choice(FIRST), coin(r), coin(r) + " of " + coin(r))),
    festival=lambda r: "the "
    + r.choice((coin(r), noun(r).capitalize(), adjective(r).capitalize()))
    + r.choice((" Festival", " Feast", " Carnival", " Day", " Week")),
    dance=lambda r: "the "
    + r.choice(
        (
            coin(r).lower(),
            coin(r) + " waltz",
            coin(r) + " reel",
            coin(r) + " polka",
            coin(r) + " jig",
        )
    ),
    instrument=words(
        "violin flute oboe trumpet cello harp drum clarinet organ piano lute horn bassoon guitar viola trombone bagpipe accordion tambourine zither"
    ),
    keysig=lambda r: r.choice("ABCDEFG")
    + r.choice((" major", " minor", " flat major", " sharp minor", " flat minor")),
    trade=words(
        "shoemakers miners fishermen weavers smiths beekeepers shepherds potters masons hunters tailors travellers students doctors midwives gardeners brewers butchers merchants glaziers saddlers barbers fullers printers"
    ),
    gift=words(
        "honey wine corn milk incense flowers salt oil gold feathers bread lambs shells butter candles apples"
    ),
    relative=words(
        "uncle aunt brother sister cousin grandfather grandmother nephew niece stepmother godfather daughter son guardian"
    ),
    deathcause=lambda r: r.choice(
        (
            "pneumonia",
            "a fall from a ladder",
            "tuberculosis",
            "a heart attack",
            "cholera",
            "old age",
            "typhus",
            "blood poisoning",
            "a snake bite",
            "drowning",
            "a stroke",
            "a lightning strike",
            "malaria",
            "smallpox",
            "hunger",
            "a bite from a rabid dog",
        )
    ),
    beat=lambda r: r.choice(
        (
            "two-four",
            "three-four",
            "four-four",
            "six-eight",
            "five-four",
            "seven-eight",
            "nine-eight",
        )
    )
    + " time",
    garment=words(
        "cloak gown bonnet tunic shawl waistcoat ruff doublet corset bodice turban apron mantle kilt sash veil"
    ),
    fashion=lambda r: "the "
    + r.choice((coin(r), last(r), adjective(r)))
    + r.choice(
        (" hat", " gown", " collar", " bonnet", " boot", " coat", " wig", " sleeve", " jacket")
    ),
    dialect=lambda r: (
        r.choice((coin(r), place(r).split(",")[0]))
        + r.choice((" dialect", " German", " patois", " creole"))
        if r.random() < 0.3
        else "the " + coin(r) + " dialect"
    ),
    script=lambda r: "the " + coin(r) + r.choice((" alphabet", " script", " runes", " syllabary")),
    currency=lambda r: (
        "the " + coin(r).lower()
        if r.random() < 0.5
        else "the "
        + coin(r)
        + r.choice((" thaler", " crown", " florin", " dinar", " shilling", " peso"))
    ),
    tax=lambda r: "the "
    + r.choice((noun(r), noun(r), coin(r)))
    + r.choice((" tax", " duty", " levy", " toll")),
    election=lambda r: "the "
    + r.choice(
        (
            year(r) + " election in " + region(r),
            coin(r) + " election of " + year(r),
            year(r) + " " + coin(r) + " election",
        )
    ),
    party=lambda r: "the "
    + r.choice((coin(r), adjective(r).capitalize(), noun(r).capitalize()))
    + r.choice((" Party", " Union", " League", " Movement", " Alliance")),
    trial=lambda r: "the "
    + r.choice((coin(r), last(r), place(r).split(",")[0]))
    + r.choice((" trial", " case")),
    prison=lambda r: r.choice((coin(r), last(r))) + r.choice((" Prison", " Gaol", " Penitentiary")),
    army=lambda r: "the "
    + r.choice((coin(r) + " army", "Army of " + coin(r), coin(r) + " Legion")),
    regiment=lambda r: "the "
    + r.choice(("%dth" % r.randint(4, 20), coin(r), coin(r)))
    + r.choice((" Regiment", " Rifles", " Fusiliers", " Lancers", " Grenadiers")),
    fortress=lambda r: r.choice(
        (
            "Fort " + coin(r),
            "the fortress of " + coin(r),
            coin(r) + " Castle",
            "the citadel of " + coin(r),
        )
    ),
    crime=words(
        "murder theft treason fraud arson forgery smuggling perjury espionage blackmail bribery burglary libel heresy poaching"
    ),
    sentence=lambda r: r.choice(
        (
            "death",
            "exile",
            "a fine of " + money(r),
            "hard labour",
            "banishment",
            "%d years in prison" % r.randint(2, 30),
            "%d months in prison" % r.randint(2, 20),
            "life imprisonment",
        )
    ),
    weapon=words(
        "muskets rifles pikes bows lances swords cannons axes crossbows sabres slings halberds grenades spears mortars"
    ),
    motto=lambda r: '"'
    + r.choice(
        (
            noun(r).capitalize() + " and " + noun(r),
            "No " + noun(r) + " without " + noun(r),
            adjective(r).capitalize() + " in " + noun(r),
            "Always " + adjective(r),
            "First in " + noun(r),
        )
    )
    + '"',
    emblem=lambda r: r.choice("red black white golden silver blue green".split())
    + " "
    + r.choice(
        "lion eagle bear wolf tower oak anchor raven stag rose falcon bull sword key lily dragon".split()
    ),
    rate=lambda r: r.choice(
        (
            "%d%%" % r.randint(1, 60),
            "%d percent" % r.randint(1, 60),
            "%d.%d%%" % (r.randint(0, 30), r.randint(1, 9)),
            "a tenth",
            "a fifth",
            "a third",
            "a quarter",
        )
    ),
    satellite=lambda r: r.choice(
        (coin(r) + "sat", coin(r) + " %d" % r.randint(1, 12), coin(r) + "-" + r.choice("ABCDE"))
    ),
    rocket=lambda r: r.choice(("the ", "a "))
    + coin(r)
    + r.choice((" rocket", " 2 rocket", " 5 rocket", " Heavy rocket")),
    robot=lambda r: r.choice(
        (
            "the robot " + coin(r),
            coin(r) + "-%d" % r.randint(1, 99),
            "the " + coin(r) + " robot",
            "the " + adjective(r) + " robot",
        )
    ),
    invention=lambda r: "the "
    + r.choice(
        (
            "mechanical",
            "self-winding",
            "folding",
            "electric",
            "pneumatic",
            "double",
            "automatic",
            "portable",
            adjective(r),
            coin(r),
        )
    )
    + " "
    + r.choice(
        "loom press clock pump plough lamp lock pen typewriter harp ladder umbrella scale calculator valve bellows saw plough wheelbarrow".split()
    ),
    patent=lambda r: r.choice(("patent no. ", "patent ", "the patent "))
    + r.choice((str(r.randint(100, 999999)), ident(r))),
    rebellion=lambda r: "the "
    + r.choice((coin(r), last(r), place(r).split(",")[0], noun(r).capitalize()))
    + r.choice((" Rebellion", " Uprising", " Revolt", " Mutiny", " Rising")),
    statue=lambda r: "the "
    + r.choice(("statue", "bust", "monument"))
    + " of "
    + r.choice((person(r), coin(r), "the " + adjective(r) + " " + noun(r))),
    monastery=lambda r: r.choice((coin(r), "Saint " + r.choice(FIRST), last(r)))
    + r.choice((" Abbey", " Priory", " Monastery", " Convent")),
    storm=lambda r: r.choice(("Hurricane ", "Storm ", "Cyclone ", "Typhoon "))
    + r.choice((r.choice(FIRST), coin(r))),
    order_name=lambda r: "the "
    + r.choice((coin(r) + "ines", coin(r) + "ians", "Order of " + coin(r))),
    fuel=words(
        "steam coal petrol electricity hydrogen peat wind sunlight water diesel alcohol gas springs weights pedals batteries"
    ),
    task=lambda r: r.choice(
        "sorting weighing painting cleaning welding packing polishing counting lifting milking picking folding".split()
    )
    + " "
    + things(r),
    windforce=amount(("km/h", "miles an hour", "kilometres an hour")),
)
