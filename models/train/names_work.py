"""More kinds of names and values: of programs, machines, offices, shops and homes."""

from values import *
from values import MONTHS, amount, words

WORK = dict(
    recent=lambda r: r.choice(
        (
            "%d %s %d" % (r.randint(1, 28), r.choice(MONTHS), r.randint(1998, 2029)),
            "%s %d, %d" % (r.choice(MONTHS), r.randint(1, 28), r.randint(1998, 2029)),
            "%d-%02d-%02d" % (r.randint(1998, 2029), r.randint(1, 12), r.randint(1, 28)),
            "%s %d" % (r.choice(MONTHS), r.randint(1, 28)),
        )
    ),
    weekday=words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    url=lambda r: r.choice(("https://", "http://", ""))
    + r.choice(("docs.", "www.", "status.", "api.", ""))
    + coin(r).lower()
    + r.choice((".org", ".net", ".io", ".example"))
    + r.choice(("", "/" + noun(r), "/" + noun(r) + "/" + noun(r))),
    filename=lambda r: r.choice((noun(r), noun(r) + "_" + noun(r), noun(r) + "-" + noun(r)))
    + r.choice(
        (
            ".txt",
            ".csv",
            ".json",
            ".yaml",
            ".conf",
            ".ini",
            ".toml",
            ".pdf",
            ".py",
            ".sh",
            ".xml",
            ".lock",
        )
    ),
    envvar=lambda r: r.choice(
        (
            (noun(r) + "_" + noun(r)).upper(),
            (coin(r) + "_" + noun(r)).upper(),
            noun(r).upper() + "_DIR",
            "X" + noun(r).upper(),
        )
    ),
    exitcode=lambda r: str(r.choice((r.randint(1, 9), r.randint(10, 140), -1))),
    httpcode=lambda r: r.choice(("%d", "status %d", "HTTP %d"))
    % r.choice((400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 502, 503, 504)),
    loglevel=words("debug info notice warning error critical fatal DEBUG INFO WARN ERROR"),
    protocol=words(
        "HTTP HTTPS TCP UDP SSH FTP MQTT SMTP IMAP gRPC WebSocket NFS SNMP AMQP Modbus Zigbee Bluetooth"
    ),
    licname=words(
        "MIT GPL-2.0 GPL-3.0 LGPL-2.1 AGPL-3.0 Apache-2.0 BSD-2-Clause BSD-3-Clause MPL-2.0 ISC Zlib CC-BY-4.0"
    ),
    shellcmd=lambda r: r.choice(
        (
            noun(r) + "ctl " + noun(r),
            "make " + noun(r),
            noun(r) + " --" + noun(r),
            "./" + noun(r) + ".sh",
            noun(r) + " " + noun(r) + " -" + r.choice("abcfnrvx"),
        )
    ),
    rate_b=lambda r: r.choice(
        (str(r.randint(2, 900)), "%d,%03d" % (r.randint(1, 40), r.randint(0, 999)))
    )
    + r.choice((" per second", " per minute", " per hour", " per day", " a second", " an hour")),
    temp=lambda r: r.choice(("%d °C", "%d degrees", "%d °F", "minus %d degrees"))
    % r.randint(2, 95),
    volt=lambda r: r.choice(
        (
            "%d V" % r.choice((5, 9, 12, 20, 24, 48, 110, 230, 400)),
            "%d.%d volts" % (r.randint(1, 24), r.randint(1, 9)),
            "%d volts" % r.randint(3, 400),
        )
    ),
    watt=lambda r: "%d %s" % (r.randint(2, 2400), r.choice(("W", "watts"))),
    amps=lambda r: r.choice(
        (
            "%d A" % r.randint(1, 32),
            "%d.%d amperes" % (r.randint(0, 9), r.randint(1, 9)),
            "%d mA" % (r.randint(1, 90) * 10),
        )
    ),
    area_b=amount(("square metres", "square feet", "m²", "hectares", "acres")),
    litres=amount(("litres", "ml", "gallons")),
    hash=lambda r: "%x" % r.getrandbits(r.choice((28, 32, 40, 64))),
    classname=lambda r: noun(r).capitalize()
    + r.choice(
        (
            noun(r).capitalize(),
            "Error",
            "Exception",
            "Factory",
            "Manager",
            "Reader",
            "Writer",
            "Handler",
        )
    ),
    subcmd=lambda r: r.choice(
        (noun(r) + "d ", noun(r) + "ctl ", coin(r).lower() + " ", noun(r) + " ")
    )
    + r.choice(
        "reload purge rotate verify export import freeze inspect sync drain prune attach promote".split()
    ),
    conffile=lambda r: r.choice((noun(r), coin(r).lower()))
    + r.choice((".conf", ".toml", ".ini", ".yaml", "rc", ".cfg")),
    endpoint=lambda r: r.choice(("", "", "GET ", "POST ", "the endpoint "))
    + "/"
    + r.choice(("v1/", "v2/", "api/", ""))
    + plural(noun(r))
    + r.choice(("", "/" + noun(r), "/{id}", "/search", "/export")),
    package=lambda r: r.choice(
        (
            "lib" + noun(r),
            noun(r) + "-" + noun(r),
            "python3-" + noun(r),
            "the package " + noun(r),
            coin(r).lower() + "-utils",
            noun(r) + "js",
        )
    ),
    errcode=lambda r: r.choice(("error ", "error code ", ""))
    + r.choice(
        (
            "E%04d" % r.randint(1, 9999),
            "ERR_" + noun(r).upper(),
            "%s-%d" % (r.choice(("ORX", "SYS", "NET", "IO", "DB")), r.randint(100, 9999)),
            "0x%X" % r.randint(256, 65535),
        )
    ),
    queue=lambda r: r.choice(
        (
            "the queue " + noun(r),
            "the " + noun(r) + " queue",
            noun(r) + "_queue",
            noun(r) + ".jobs",
            "the " + coin(r) + " queue",
        )
    ),
    cache=lambda r: r.choice(
        ("the " + noun(r) + " cache", "the " + coin(r) + " cache", noun(r) + "_cache")
    ),
    team2=lambda r: "the "
    + r.choice((noun(r), coin(r), "platform", "network", "data", "storage", "security", "support"))
    + r.choice((" team", " group", " desk", " department")),
    cluster=lambda r: r.choice(
        (
            "the " + noun(r) + " cluster",
            "the " + coin(r) + " cluster",
            "cluster " + r.choice("ABCDEFGH"),
            noun(r) + "-cluster",
        )
    ),
    node=lambda r: r.choice(
        (
            "node " + str(r.randint(1, 99)),
            noun(r) + "-node-" + str(r.randint(1, 40)),
            "the node " + noun(r),
            "node-%02d" % r.randint(1, 60),
        )
    ),
    container=lambda r: r.choice(
        (
            noun(r) + "_" + noun(r) + "_1",
            "the container " + noun(r),
            "the " + noun(r) + " container",
            "the " + coin(r) + " container",
        )
    ),
    image=lambda r: r.choice((noun(r), coin(r).lower() + "/" + noun(r)))
    + ":"
    + r.choice(("latest", "%d.%d" % (r.randint(0, 20), r.randint(0, 20)), noun(r))),
    vm=lambda r: r.choice(
        (
            "the virtual machine " + noun(r),
            "vm-" + noun(r),
            "vm%03d" % r.randint(1, 400),
            "the " + coin(r) + " machine",
        )
    ),
    osname=lambda r: r.choice(
        (
            coin(r) + " Linux",
            coin(r) + "OS",
            coin(r) + "BSD",
            coin(r) + " Linux %d" % r.randint(3, 40),
        )
    ),
    disk=lambda r: r.choice(
        (
            "/dev/sd" + r.choice("abcdefgh"),
            "disk " + str(r.randint(1, 48)),
            "the " + coin(r) + " disk",
            "the disk " + noun(r),
            "/dev/nvme%dn1" % r.randint(0, 9),
        )
    ),
    backup=lambda r: r.choice(
        (
            "backup " + ident(r),
            "the " + noun(r) + " backup",
            "the backup of " + noun(r) + "-db",
            "the " + coin(r) + " backup",
        )
    ),
    volume=lambda r: r.choice(
        ("volume " + noun(r), "vol-" + ident(r), "the " + noun(r) + " volume", "tank/" + noun(r))
    ),
    snapshot=lambda r: r.choice(
        (
            "snapshot " + ident(r),
            "snap-" + noun(r),
            "the snapshot " + noun(r),
            noun(r) + "@" + noun(r),
        )
    ),
    certificate=lambda r: r.choice(
        (
            "the certificate for " + coin(r).lower() + ".net",
            "certificate " + ident(r),
            "the " + noun(r) + " certificate",
            "the " + coin(r) + " certificate",
        )
    ),
    token=lambda r: r.choice(
        (
            "token " + ident(r),
            "the " + noun(r) + " token",
            "the key " + ident(r),
            "the " + coin(r) + " key",
        )
    ),
    domain=lambda r: r.choice((coin(r).lower(), noun(r) + "-" + noun(r), coin(r).lower() + noun(r)))
    + r.choice((".org", ".net", ".com", ".io", ".example", ".info")),
    login=lambda r: r.choice(("the account ", "the login ", "user "))
    + r.choice(
        (
            coin(r).lower() + str(r.randint(1, 99)),
            r.choice("abcdefghjkm") + "." + last(r).lower(),
            noun(r) + "-admin",
        )
    ),
    fwrule=lambda r: r.choice(
        (
            "rule " + str(r.randint(1, 999)),
            "the rule " + noun(r),
            "the " + noun(r) + " rule",
            "rule " + ident(r),
        )
    ),
    subnet=lambda r: "10.%d.%d.0/%d"
    % (r.randint(0, 255), r.randint(0, 255), r.choice((22, 23, 24, 25, 26))),
    permission=lambda r: r.choice(
        ("read", "write", "admin", "owner", "viewer", "auditor", "editor", "billing")
    )
    + r.choice((" access", " rights", " role")),
    mailbox=lambda r: r.choice(("the mailbox ", "the inbox "))
    + r.choice((noun(r), noun(r) + "@" + coin(r).lower() + ".org", coin(r).lower())),
    mlist=lambda r: r.choice(
        (
            "the " + noun(r) + " list",
            "the list " + noun(r) + "-" + r.choice(("users", "announce", "dev", "talk")),
            noun(r) + "-" + r.choice(("discuss", "news", "devel")),
            "the " + coin(r) + " list",
        )
    ),
    release=lambda r: r.choice(("release ", "the release ", "version "))
    + r.choice(
        (
            "%d.%d" % (r.randint(0, 20), r.randint(0, 30)),
            "%d.%02d" % (r.randint(18, 29), r.randint(1, 12)),
            coin(r),
        )
    ),
    codename=lambda r: r.choice(
        (adjective(r).capitalize() + " " + noun(r).capitalize(), noun(r).capitalize(), coin(r))
    ),
    branch=lambda r: r.choice(
        (
            "the branch " + noun(r),
            "the " + noun(r) + " branch",
            "feature/" + noun(r),
            "fix-" + noun(r) + "-" + noun(r),
            "release-%d.x" % r.randint(1, 9),
        )
    ),
    commit=lambda r: r.choice(("commit ", "the commit ", "change "))
    + "%x" % r.getrandbits(r.choice((28, 32, 40))),
    suite=lambda r: r.choice(
        (
            "the " + noun(r) + " tests",
            "the " + noun(r) + " suite",
            "the " + coin(r) + " suite",
            "test_" + noun(r),
        )
    ),
    bench=lambda r: r.choice(
        (
            "the " + noun(r) + " benchmark",
            "the " + coin(r) + " benchmark",
            coin(r) + "Bench",
            coin(r) + "mark",
        )
    ),
    dataset=lambda r: r.choice(
        (
            "the " + noun(r) + " dataset",
            "the " + coin(r) + " dataset",
            coin(r) + "-" + str(r.randint(5, 900)) + "k",
            "the " + coin(r) + " corpus",
        )
    ),
    sensor=lambda r: r.choice(
        (
            "sensor " + str(r.randint(1, 400)),
            "the " + noun(r) + " sensor",
            "the " + coin(r) + " sensor",
            "sensor " + ident(r),
        )
    ),
    unit=words(
        "lux ppm decibels percent hPa volts kelvin litres watts newtons microns mmHg kilowatt-hours"
    ),
    meter=lambda r: r.choice(
        (
            "meter " + ident(r),
            "the " + r.choice(("gas", "water", "power", "heat", noun(r))) + " meter",
            "meter no. " + str(r.randint(100, 99999)),
        )
    ),
    printer=lambda r: r.choice(
        (
            "the " + coin(r) + " printer",
            "printer " + str(r.randint(1, 60)),
            "the " + coin(r) + " LaserJet " + str(r.randint(2, 900)),
            "lp-" + noun(r),
            "the printer " + noun(r),
        )
    ),
    scanner=lambda r: r.choice(
        (
            "the " + coin(r) + " scanner",
            "scanner " + str(r.randint(1, 40)),
            "the " + coin(r) + "Scan " + str(r.randint(2, 900)),
        )
    ),
    paperformat=words("A3 A4 A5 A6 B4 B5 letter legal tabloid"),
    kwh=lambda r: r.choice(
        (
            "%d kWh" % r.randint(2, 9000),
            "%d.%d kWh" % (r.randint(1, 900), r.randint(1, 9)),
            "%d cubic metres" % r.randint(2, 900),
        )
    ),
    score2=lambda r: r.choice(
        (str(r.randint(2, 100)), "%d.%d" % (r.randint(0, 99), r.randint(1, 9)))
    )
    + r.choice((" points", " marks")),
    phoneplan=lambda r: r.choice(
        (
            "the " + coin(r) + " plan",
            "the " + adjective(r) + " plan",
            coin(r) + " " + r.choice(("Flex", "Basic", "Talk", "Plus", "Family", "Smart")),
            "the tariff " + coin(r),
        )
    ),
    router=lambda r: r.choice(
        (
            "the " + coin(r) + " router",
            "the " + coin(r) + " " + str(r.randint(100, 9900)) + " router",
            "router " + str(r.randint(1, 40)),
            "gw-" + noun(r),
        )
    ),
    cable=lambda r: r.choice(
        (
            "the " + coin(r) + " cable",
            "cable " + ident(r),
            "the " + r.choice(COLORS.split()) + " cable",
            "the cable " + ident(r),
        )
    ),
    connector=words(
        "USB-C USB-A Micro-USB RJ45 HDMI DisplayPort SATA XLR RCA BNC LC SC Schuko DB9 Lightning"
    ),
    battery=lambda r: r.choice(
        (
            "the " + coin(r) + " battery",
            "battery " + ident(r),
            "the " + coin(r) + " cell",
            "battery pack " + ident(r),
        )
    ),
    charger=lambda r: r.choice(
        ("the " + coin(r) + " charger", "charger " + ident(r), "the " + noun(r) + " charger")
    ),
    lamp=lambda r: r.choice(
        (
            "the " + coin(r) + " lamp",
            "the " + adjective(r) + " lamp",
            "the " + coin(r) + " lantern",
            "lamp " + ident(r),
            "the " + coin(r) + " desk lamp",
        )
    ),
    heater=lambda r: r.choice(
        (
            "the " + coin(r) + " heater",
            "the " + coin(r) + " radiator",
            "the " + coin(r) + " " + str(r.randint(10, 900)) + " heater",
            "the " + coin(r) + " boiler",
        )
    ),
    washer=lambda r: r.choice(
        (
            "the " + coin(r) + " washing machine",
            "the " + coin(r) + " " + str(r.randint(10, 900)) + " washer",
            "the " + coin(r) + " washer",
        )
    ),
    rpm=lambda r: r.choice(
        ("%d,%d00 turns" % (r.randint(1, 3), r.randint(0, 9)), "%d00 turns" % r.randint(4, 39))
    ),
    bit=lambda r: r.choice(
        (
            "the " + coin(r) + " bit",
            "bit " + ident(r),
            "the " + noun(r) + " bit",
            "drill bit " + str(r.randint(2, 400)),
        )
    ),
    paint=lambda r: r.choice(
        (
            "the " + coin(r) + " paint",
            coin(r) + " " + adjective(r).capitalize(),
            "the " + coin(r) + " varnish",
            coin(r) + " enamel",
        )
    ),
    tile=lambda r: r.choice(
        (
            "the " + coin(r) + " tile",
            "tile " + ident(r),
            "the " + adjective(r) + " tile",
            "the " + coin(r) + " floor tile",
        )
    ),
    carpet=lambda r: r.choice(
        ("the " + coin(r) + " carpet", "the " + coin(r) + " rug", "the " + adjective(r) + " carpet")
    ),
    gardenbed=lambda r: r.choice(
        (
            "bed " + str(r.randint(1, 60)),
            "the "
            + r.choice(("north", "south", "east", "west", "upper", "lower", "round", noun(r)))
            + " bed",
            "the " + last(r) + " bed",
        )
    ),
    seed=lambda r: r.choice(
        (
            coin(r)
            + " "
            + r.choice(
                (
                    "beans",
                    "carrots",
                    "lettuce",
                    "peas",
                    "spinach",
                    "poppies",
                    "marigolds",
                    "radishes",
                    "squash",
                )
            ),
            "the " + coin(r) + " tomato",
            "the variety " + coin(r),
        )
    ),
    fertiliser=lambda r: r.choice(
        (
            coin(r) + r.choice(("gro", "fert", "bloom", "sol")),
            "the " + coin(r) + " fertiliser",
            "the " + noun(r) + " fertiliser",
        )
    ),
    dose=amount(
        (
            "ml per litre",
            "grams per litre",
            "grams per square metre",
            "kg per hectare",
            "drops per can",
        )
    ),
    apartment=lambda r: r.choice(
        (
            "apartment " + str(r.randint(1, 90)),
            "the flat in " + coin(r) + " Street",
            "flat " + str(r.randint(1, 60)) + r.choice("ABCD"),
            "the " + last(r) + " apartment",
        )
    ),
    street=lambda r: r.choice(("%d " % r.randint(1, 190), ""))
    + r.choice((coin, last))(r)
    + r.choice((" Street", " Road", " Lane", " Avenue", " Square")),
    loan=lambda r: r.choice(
        (
            "loan " + ident(r),
            "the " + coin(r) + " loan",
            "the " + last(r) + " loan",
            "the " + last(r) + " mortgage",
            "mortgage no. " + str(r.randint(100, 99999)),
        )
    ),
    policy=lambda r: r.choice(
        (
            "policy " + ident(r),
            "the " + coin(r) + " policy",
            "the " + noun(r) + " insurance",
            "policy no. " + str(r.randint(100, 99999)),
        )
    ),
    invoice=lambda r: r.choice(
        (
            "invoice " + ident(r),
            "invoice no. " + str(r.randint(100, 99999)),
            "bill " + ident(r),
            "the invoice " + ident(r),
        )
    ),
    budget=lambda r: "the "
    + r.choice((noun(r), coin(r), str(r.randint(1990, 2030)), adjective(r) + " " + noun(r)))
    + " budget",
    grant=lambda r: r.choice(
        (
            "grant " + ident(r),
            "the " + coin(r) + " grant",
            "the " + last(r) + " grant",
            "the " + noun(r) + " grant",
        )
    ),
    fund=lambda r: "the "
    + r.choice((coin(r), last(r), adjective(r).capitalize() + " " + noun(r).capitalize()))
    + r.choice((" Fund", " Growth Fund", " Income Fund", " Trust")),
    share=lambda r: r.choice(
        (
            "the " + coin(r) + " share",
            "the " + coin(r) + " bond",
            "the " + last(r) + " share",
            coin(r) + " stock",
        )
    ),
    auction=lambda r: r.choice(
        (
            "the " + coin(r) + " auction",
            "auction " + ident(r),
            "auction no. " + str(r.randint(2, 900)),
            "the " + last(r) + " sale",
        )
    ),
    vacancy=lambda r: r.choice(("vacancy ", "position ", "the vacancy ", "job no. ")) + ident(r),
    shift=lambda r: r.choice(
        (
            "the " + r.choice(("early", "late", "night", "weekend", "morning", noun(r))) + " shift",
            "shift " + str(r.randint(1, 40)),
            "shift " + r.choice("ABCDEFG"),
        )
    ),
    meeting=lambda r: r.choice(
        (
            "the " + noun(r) + " meeting",
            "the " + coin(r) + " meeting",
            "meeting " + ident(r),
            "the " + adjective(r) + " meeting",
        )
    ),
    complaint=lambda r: r.choice(("complaint ", "the complaint ", "complaint no. "))
    + r.choice((ident(r), str(r.randint(2, 9999)))),
    permit=lambda r: r.choice(
        (
            "licence " + ident(r),
            "the " + noun(r) + " licence",
            "permit " + ident(r),
            "licence no. " + str(r.randint(10, 99999)),
        )
    ),
    standard=lambda r: r.choice(
        ("ISO ", "EN ", "DIN ", "IEC ", "standard ", coin(r)[:4].upper() + " ")
    )
    + str(r.randint(10, 59999))
    + r.choice(("", "", "-" + str(r.randint(1, 9)))),
    audit=lambda r: r.choice(
        (
            "audit " + ident(r),
            "the " + coin(r) + " audit",
            "the " + noun(r) + " audit",
            "the " + adjective(r) + " inspection",
        )
    ),
    accident=lambda r: r.choice(
        (
            "the accident at " + place(r).split(",")[0],
            "accident " + ident(r),
            "the " + coin(r) + " accident",
        )
    ),
    fire=lambda r: r.choice(
        ("the fire at " + coin(r), "the " + coin(r) + " fire", "the " + last(r) + " fire")
    ),
    flood=lambda r: r.choice(
        (
            "the " + coin(r) + " flood",
            "the flood of " + str(r.randint(1600, 2026)),
            "the flood at " + coin(r),
        )
    ),
    warehouse=lambda r: r.choice(
        (
            "the " + coin(r) + " warehouse",
            "warehouse " + str(r.randint(1, 40)),
            "hall " + r.choice("ABCDEFG") + str(r.randint(1, 9)),
            "the " + adjective(r) + " depot",
        )
    ),
    shop=lambda r: r.choice(
        (
            last(r) + "'s " + noun(r) + " shop",
            "the shop " + coin(r),
            "the " + coin(r) + " Store",
            last(r) + " & Sons",
        )
    ),
    market=lambda r: "the "
    + r.choice((coin(r), noun(r), place(r).split(",")[0]))
    + r.choice((" market", " fair", " flea market", " bazaar")),
    radio=lambda r: r.choice(
        (
            "Radio " + coin(r),
            coin(r) + " FM",
            "Radio " + noun(r).capitalize(),
            "the station " + coin(r),
        )
    ),
    frequency=lambda r: r.choice(
        (
            "%d.%d MHz" % (r.randint(87, 107), r.randint(0, 9)),
            "%d kHz" % r.randint(150, 1600),
            "%d.%d megahertz" % (r.randint(87, 107), r.randint(0, 9)),
        )
    ),
    podcast=lambda r: r.choice(
        (
            "the podcast " + title(r),
            "the " + coin(r) + " podcast",
            coin(r) + " Talks",
            last(r) + " Weekly",
        )
    ),
    website=lambda r: r.choice(
        (
            "the website " + coin(r).lower() + ".org",
            "the " + coin(r) + " website",
            "the " + noun(r) + " blog",
            "the blog " + title(r),
            coin(r) + "Wiki",
        )
    ),
    libcard=lambda r: r.choice(("card ", "library card ", "card no. "))
    + r.choice((ident(r), str(r.randint(100, 99999)))),
    exam=lambda r: r.choice(
        (
            "the " + noun(r) + " exam",
            "the exam in " + noun(r),
            "the " + coin(r) + " examination",
            "the exam " + ident(r),
        )
    ),
    scholarship=lambda r: "the "
    + r.choice((coin, last))(r)
    + r.choice((" Scholarship", " Fellowship", " Bursary")),
    kinder=lambda r: r.choice(
        (
            "the " + adjective(r) + " " + noun(r) + " kindergarten",
            "the " + coin(r) + " nursery",
            "Kindergarten " + coin(r),
            "the " + last(r) + " kindergarten",
        )
    ),
    gymclass=lambda r: r.choice(
        (
            "the " + coin(r) + " ",
            "the " + adjective(r) + " ",
            "the " + r.choice(("Monday", "Friday", "Sunday")) + " ",
        )
    )
    + r.choice(
        (
            "yoga class",
            "judo class",
            "swimming course",
            "fencing class",
            "dance class",
            "gymnastics group",
            "fitness class",
        )
    ),
    tour=lambda r: "the "
    + r.choice((coin(r), adjective(r), place(r).split(",")[0]))
    + r.choice((" tour", " excursion", " walking tour", " trip")),
    flight=lambda r: r.choice(("flight ", ""))
    + "".join(r.choice("ABCDEFGHKLMNPRSTW") for _ in range(2))
    + r.choice((" ", ""))
    + str(r.randint(10, 9999)),
    gate=lambda r: r.choice(("gate ", "gate ", "stand "))
    + r.choice(("", r.choice("ABCDEF")))
    + str(r.randint(1, 60)),
    train=lambda r: r.choice(("train ", "express ", "the night train ", "IC ", "EC "))
    + str(r.randint(2, 9999)),
    platform=lambda r: "platform " + str(r.randint(1, 28)) + r.choice(("", "", "a", "b")),
    visa=lambda r: r.choice(("visa ", "the visa ", "visa no. ")) + ident(r),
    passport=lambda r: r.choice(("passport ", "passport no. ", "the passport "))
    + r.choice((ident(r), r.choice("CDEFGHK") + str(r.randint(100000, 9999999)))),
    treatment=lambda r: r.choice(
        (
            "the " + coin(r) + " method",
            "the " + coin(r) + " treatment",
            coin(r) + " therapy",
            "the " + last(r) + " operation",
            "the " + last(r) + " diet",
        )
    ),
    pet=lambda r: r.choice(
        (
            "the dog " + coin(r),
            "the cat " + coin(r),
            "the parrot " + coin(r),
            "the rabbit " + coin(r),
            coin(r) + " the cat",
            "the tortoise " + coin(r),
        )
    ),
    charity=lambda r: r.choice(
        (
            coin(r) + " Aid",
            "the " + last(r) + " Relief Fund",
            "Friends of " + coin(r),
            "Hands for " + coin(r),
            "the charity " + coin(r),
        )
    ),
    bloodtype=words("A+ A- B+ B- AB+ AB- 0+ 0- O+ O-"),
    sqltype=words(
        "INTEGER BIGINT TEXT BLOB BOOLEAN DATE TIMESTAMP NUMERIC(10,2) VARCHAR(40) VARCHAR(255) CHAR(2) REAL JSON UUID"
    ),
    tag=lambda r: r.choice(
        (
            "v%d.%d" % (r.randint(0, 9), r.randint(0, 30)),
            noun(r) + "-" + str(r.randint(1, 99)),
            "rc%d" % r.randint(1, 9),
            "%d.%02d" % (r.randint(18, 29), r.randint(1, 12)),
        )
    ),
)
