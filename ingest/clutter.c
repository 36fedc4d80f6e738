#include "ingest/clutter.h"

#include <ctype.h>
#include <strings.h>

#include "ingest/builder.h"

enum {
    MAX_ELEMENTS = 1 << 20, /* a page with more is not cut */
    LONG_BYTES = 80,        /* an element's own text from here on is running text ... */
    MIN_PROSE = 200,        /* ... and a page with less than this of it has no body */
};

struct qu_clutter_node {
    int32_t parent, last; /* elements inside are i + 1 to last */
    int32_t text, link;   /* bytes of all and in links; from decide on with those inside */
    int32_t prose;        /* running text outside of links; with that inside */
    int32_t direct;       /* running text of the elements directly inside */
    qu_clutter_hints is;  /* headline: or holds it; aside: or is named like clutter */
    bool cut;
};

/* Words of class, id and role that name clutter, each the begin of a word; '=': a whole one. */
/* clang-format off */
static const char *const words[] = {
    "ad=",        "ads=",          "adsense",  "advert",      "banner",     "breadcrumb",
    "byline",     "comment",       "consent",  "contentinfo", "cookie",     "complementary",
    "copyright",  "credits",       "dialog",   "disqus",      "dropdown",   "footer",
    "livefyre",   "login",         "masthead", "menu",        "modal",      "nav=",
    "navbar",     "navigation",    "newsletter", "outbrain",  "pager",      "pagination",
    "popular",    "popup",         "promo",    "rail=",       "recirc",     "recommend",
    "related",    "search",        "share",    "sharing",     "sidebar",    "signup",
    "skip",       "social",        "sponsor",  "subscri",     "taboola",    "tags",
    "teaser",     "toolbar",       "tools",    "trending",    "zergnet",
};
/* clang-format on */

static bool is_named(const char *s)
{
    for (; *s; s++) {
        if (!isalnum((uint8_t)*s)) continue;
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            size_t n = strcspn(words[k], "=");
            if (strncasecmp(s, words[k], n) == 0 && !(words[k][n] && isalnum((uint8_t)s[n])))
                return true;
        }
        while (isalnum((uint8_t)s[1])) s++;
    }
    return false;
}

static qu_status append(qu_clutter *c, qu_clutter_node new, qu_err *err)
{
    QU_TRY(qu_memory_grow(&c->v, &c->cap, c->n + 1, sizeof *c->v, err));
    new.parent = (int32_t)c->open;
    c->v[c->n] = new;
    c->open = c->n++;
    return QU_OK;
}

qu_status qu_clutter_open(qu_clutter *c, const qu_clutter_hints *h, qu_err *err)
{
    qu_clutter_node new = {.is = *h};
    if (c->n == 0) QU_TRY(append(c, (qu_clutter_node){.is.body = true}, err));
    if (c->stray || c->next == c->n || c->n == MAX_ELEMENTS) {
        c->stray++;
        return QU_OK;
    }
    if (c->next) {
        c->open = c->next++;
        c->cut = c->v[c->open].cut;
        return QU_OK;
    }
    c->n_articles += h->article;
    new.is.aside |= is_named(h->names);
    new.is.names = NULL;
    return append(c, new, err);
}

void qu_clutter_close(qu_clutter *c)
{
    if (c->stray > 0) {
        c->stray--;
    } else if (c->open > 0) {
        if (!c->next) c->v[c->open].last = (int32_t)c->n - 1;
        c->open = c->v[c->open].parent;
        c->cut = c->v[c->open].cut;
    }
}

void qu_clutter_text(qu_clutter *c, const char *p, int64_t n, bool in_link)
{
    int32_t seen = 0;
    if (!c->n || c->stray) return;
    for (int64_t i = 0; i < n; i++) seen += !qu_is_space(p[i]);
    c->v[c->open].text += seen;
    if (in_link) c->v[c->open].link += seen;
}

/* Close what is open, find the running text, and add up what is inside of what. */
static void sum_up(qu_clutter *c)
{
    c->stray = 0;
    while (c->open > 0) qu_clutter_close(c);
    c->v[0].last = (int32_t)c->n - 1;
    for (int64_t i = 0; i < c->n; i++) {
        qu_clutter_node *e = &c->v[i];
        if (e->text < LONG_BYTES || e->link >= e->text / 3) continue;
        e->prose = e->text - e->link;
        c->v[e->parent].direct += e->prose;
    }
    for (int64_t i = c->n - 1; i > 0; i--) {
        qu_clutter_node *e = &c->v[i], *up = &c->v[e->parent];
        up->text += e->text;
        up->link += e->link;
        up->prose += e->prose;
        up->is.headline |= e->is.headline;
    }
}

/* Is a at least share percent of b? */
static bool is_share(int64_t a, int64_t b, int share)
{
    return a * 100 >= b * share;
}

/* From the page inwards: always the element that holds most of the running text, until there is
 * none, or until paragraphs stand directly in it. Then outwards again in an article, up to the
 * headline, as long as hardly anything is added: what stands between the two belongs to it. */
static int64_t find_body(const qu_clutter *c)
{
    const qu_clutter_node *v = c->v;
    int64_t body = 0;
    for (int64_t i = 1; i <= v[body].last && !is_share(v[body].direct, v[body].prose, 15);) {
        bool most = v[i].is.body && is_share(v[i].prose, v[body].prose, c->article ? 60 : 85);
        if (most) body = i;
        i = most ? i + 1 : v[i].last + 1;
    }
    const int64_t prose = v[body].prose;
    for (int64_t up = v[body].parent; c->article && up > 0; up = v[up].parent) {
        if (v[body].is.headline || is_share(v[up].prose - prose, prose, 20) ||
            is_share(v[up].link, v[up].text, 20))
            break;
        body = up;
    }
    return body;
}

/* A second body beside the first: a good deal of running text, few links, no name of clutter. */
static bool is_text(const qu_clutter_node *e, const qu_clutter_node *b)
{
    return is_share(e->prose, b->prose, 20) && !is_share(e->link, e->text, 20) && !e->is.aside;
}

/* Is the element clutter? body: the page's, 0 if it has none. */
static bool is_clutter(const qu_clutter *c, int64_t i, int64_t body, bool inside)
{
    const qu_clutter_node *e = &c->v[i], *b = &c->v[body], *page = c->v;
    if (e->is.chrome) return true;
    if (c->article && !inside) return !e->is.headline || i > body;
    if (e->text == 0 || is_share(e->prose, b->prose, 25)) return false;
    bool links = is_share(e->link, e->text, 67) && e->prose == 0;
    bool some_links = is_share(e->link, e->text, e->prose ? 15 : 25);
    if (c->article)
        return ((e->is.hidden || e->is.aside) && (some_links || !e->prose)) ||
               (links && e->is.body);
    if (inside || e->prose > 0) return false;
    return (e->is.aside && some_links) ||
           (links && is_share(b->prose, page->text - page->link, 80));
}

/* Cut element i; <main> in a menu that was not closed is none. Returns how much text that is. */
static int32_t cut(qu_clutter *c, int64_t i)
{
    int32_t gone = c->v[i].text;
    for (int64_t k = i; k <= c->v[i].last; k++) {
        if (c->v[k].is.main && c->v[i].is.chrome) {
            gone -= c->v[k].text;
            k = c->v[k].last;
        } else {
            c->v[k].cut = true;
        }
    }
    return gone;
}

void qu_clutter_decide(qu_clutter *c)
{
    if (!c->n) return;
    sum_up(c);
    c->next = 1;
    bool has_body = c->v[0].prose >= MIN_PROSE && c->n < MAX_ELEMENTS;
    c->article = has_body && (c->article || c->n_articles == 1);
    int64_t body = has_body ? find_body(c) : 0;
    int32_t left = c->v[0].text;
    int64_t kept = 0; /* the last element in a second body */
    for (int64_t i = 1; i < c->n; i++) {
        const qu_clutter_node *e = &c->v[i];
        bool around = i <= body && e->last >= body;
        if (!around && i > kept && is_text(e, &c->v[body])) kept = e->last;
        bool inside = i <= kept || (i > body && i <= c->v[body].last);
        if (around || !is_clutter(c, i, body, inside)) continue;
        left -= cut(c, i);
        i = c->v[i].last;
    }
    for (int64_t i = 0; i < c->n && left <= 0; i++) c->v[i].cut = false;
}

void qu_clutter_free(qu_clutter *c)
{
    free(c->v);
    memset(c, 0, sizeof *c);
}
