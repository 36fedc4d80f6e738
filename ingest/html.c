/* HTML to text, in one pass over the tags and without a tree.
 *
 * libxml2's HTML parser was measured first: its time is quadratic in the attributes of one tag and
 * in the open elements (0.5 MB of either costs 7 s), which no SAX callback can stop, and it does
 * not tell where text came from. Text needs no tree: this reader is linear and knows every
 * position. Named characters still come from libxml2's table.
 *
 *   <h1>A</h1><p>b  c &amp; d<ul><li>e   ->   "A\n\nb c & d\n\n- e"
 *
 * White space is folded outside <pre>; what stands between two pieces of text is kept as one
 * pending separator, the strongest asked for, and written before the next character.
 */
#include <libxml/HTMLparser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "ingest/builder.h"

enum {
    MAX_OPEN = 128,          /* open elements that are remembered; deeper ones keep no state */
    MAX_HEADING_BYTES = 500, /* a longer one was not closed */
    MAX_TITLE_BYTES = 4096,
};

typedef enum separator { SEP_NONE, SEP_SPACE, SEP_TAB, SEP_LINE, SEP_BLOCK } separator;

enum {
    BLOCK = 1,   /* a paragraph of its own */
    LINE = 2,    /* a line of its own */
    DROP = 4,    /* left out with all it holds */
    RAW = 8,     /* holds no tags; left out */
    NEST = 16,   /* remembered until it closes */
    ENDS = 32,   /* ends an unclosed heading */
    CHROME = 64, /* left out unless everything is to be kept */
};

typedef enum { PLAIN, BR, CELL, HEADING, ITEM, LIST, MAIN, PRE, ROW, TABLE, TITLE } tag_kind;

typedef struct tag {
    char name[12];
    uint8_t flags;
    uint8_t kind;
} tag;

/* Sorted by name. What is not listed is inline. */
static const tag tags[] = {
    {"address", BLOCK, PLAIN},
    {"article", BLOCK | NEST | ENDS, MAIN},
    {"aside", CHROME | NEST | BLOCK, PLAIN},
    {"audio", DROP | NEST, PLAIN},
    {"blockquote", BLOCK | NEST | ENDS, PLAIN},
    {"body", BLOCK | NEST | ENDS, PLAIN},
    {"br", 0, BR},
    {"button", CHROME | NEST, PLAIN},
    {"canvas", DROP | NEST, PLAIN},
    {"caption", LINE, PLAIN},
    {"center", BLOCK, PLAIN},
    {"datalist", DROP | NEST, PLAIN},
    {"dd", LINE, PLAIN},
    {"details", BLOCK | NEST, PLAIN},
    {"div", BLOCK | NEST, PLAIN},
    {"dl", BLOCK | NEST | ENDS, PLAIN},
    {"dt", LINE, PLAIN},
    {"fieldset", BLOCK | NEST, PLAIN},
    {"figcaption", BLOCK, PLAIN},
    {"figure", BLOCK | NEST, PLAIN},
    {"footer", CHROME | NEST | BLOCK, PLAIN},
    {"form", BLOCK | NEST, PLAIN},
    {"h1", BLOCK | ENDS, HEADING},
    {"h2", BLOCK | ENDS, HEADING},
    {"h3", BLOCK | ENDS, HEADING},
    {"h4", BLOCK | ENDS, HEADING},
    {"h5", BLOCK | ENDS, HEADING},
    {"h6", BLOCK | ENDS, HEADING},
    {"header", BLOCK | NEST | ENDS, PLAIN},
    {"hr", BLOCK | ENDS, PLAIN},
    {"iframe", RAW, PLAIN},
    {"legend", LINE, PLAIN},
    {"li", LINE, ITEM},
    {"main", BLOCK | NEST | ENDS, MAIN},
    {"nav", CHROME | NEST | BLOCK, PLAIN},
    {"noembed", RAW, PLAIN},
    {"noframes", RAW, PLAIN},
    {"noscript", DROP | NEST, PLAIN},
    {"ol", BLOCK | NEST | ENDS, LIST},
    {"option", LINE, PLAIN},
    {"p", BLOCK | ENDS, PLAIN},
    {"pre", BLOCK | NEST | ENDS, PRE},
    {"script", RAW, PLAIN},
    {"section", BLOCK | NEST | ENDS, PLAIN},
    {"select", CHROME | NEST, PLAIN},
    {"style", RAW, PLAIN},
    {"summary", BLOCK, PLAIN},
    {"svg", DROP | NEST, PLAIN},
    {"table", BLOCK | NEST | ENDS, TABLE},
    {"td", 0, CELL},
    {"template", DROP | NEST, PLAIN},
    {"textarea", RAW, PLAIN},
    {"th", 0, CELL},
    {"title", 0, TITLE},
    {"tr", LINE, ROW},
    {"ul", BLOCK | NEST | ENDS, LIST},
    {"video", DROP | NEST, PLAIN},
};

typedef struct html {
    qu_builder *b;
    const char *s; /* the file as clean UTF-8 */
    int64_t n;
    bool keep; /* keep navigation and the like */
    struct {
        const tag *tag;
        bool dropped;
    } open[MAX_OPEN];
    int n_open;
    int64_t unseen; /* open elements beyond MAX_OPEN */
    int dropped, pre, lists;
    separator sep;
    int64_t space_at; /* where the pending space stands in s, -1 if it is none there */
    bool item;        /* "- " is due */
    bool fresh;       /* no text yet in this cell or list item */
    bool row_broken;  /* a cell of this row had several lines: tabs would mislead */
    bool fresh_row;
    int32_t level;          /* of the open heading, 0 outside */
    int64_t heading_at;     /* index in b->headings, -1 before its first character */
    bool at_line;           /* in <pre>: the next character begins a line */
    const tag *unclosed[4]; /* raw elements known to have no end tag any more */
    int n_unclosed;
} html;

static int by_name(const void *key, const void *item)
{
    return strcmp(key, ((const tag *)item)->name);
}

static void want(html *h, separator sep)
{
    if (h->level && sep > SEP_SPACE && h->heading_at >= 0) sep = SEP_SPACE;
    if (sep > SEP_TAB && h->fresh) return;
    if (sep == SEP_SPACE) h->space_at = -1;
    if (sep > h->sep) h->sep = sep;
}

/* Write what is due before the next character, and mark the block that begins with it. */
static qu_status flush(html *h, qu_err *err)
{
    qu_buf *t = &h->b->text;
    separator sep = h->sep;
    bool first = t->len == 0, row_goes_on = !h->fresh_row;
    h->sep = SEP_NONE;
    h->fresh = h->fresh_row = false;
    if (sep == SEP_NONE && !first && !h->item && !h->at_line) return QU_OK;
    if (!first && sep == SEP_SPACE && h->space_at >= 0)
        QU_TRY(qu_runs_add(&h->b->runs, (int64_t)t->len, h->space_at, 1, err));
    static const char *const text[] = {"", " ", "\t", "\n", "\n\n"};
    const char *put = first ? "" : text[sep];
    for (size_t i = t->len; *put == '\n' && i > 0 && t->data[i - 1] == '\n'; i--) put++;
    QU_TRY(qu_buf_puts(t, put, err));
    int64_t at = (int64_t)t->len;
    bool block = first || sep >= SEP_LINE;
    h->row_broken |= block && row_goes_on;
    bool heading = h->level && h->heading_at < 0;
    if (block || h->at_line) {
        qu_cut_rank rank = heading                                    ? QU_CUT_HEADING
                           : h->item || h->at_line || sep == SEP_LINE ? QU_CUT_LINE
                                                                      : QU_CUT_PARAGRAPH;
        QU_TRY(qu_builder_mark(h->b, at, rank, h->pre > 0 || heading, err));
    }
    if (h->item) QU_TRY(qu_buf_puts(t, "- ", err));
    h->item = h->at_line = false;
    if (heading) {
        h->heading_at = h->b->n_headings;
        qu_heading new = {at, h->level, (int64_t)t->len, (int64_t)t->len};
        QU_TRY(qu_builder_heading(h->b, new, err));
    }
    return QU_OK;
}

static void end_heading(html *h)
{
    if (h->level && h->heading_at >= 0 && h->heading_at < h->b->n_headings)
        h->b->headings[h->heading_at].text_end = (int64_t)h->b->text.len;
    h->level = 0;
}

/* n characters that stand at s[at]. */
static qu_status put(html *h, int64_t at, int64_t n, qu_err *err)
{
    QU_TRY(flush(h, err));
    QU_TRY(qu_runs_add(&h->b->runs, (int64_t)h->b->text.len, at, n, err));
    QU_TRY(qu_buf_add(&h->b->text, h->s + at, (size_t)n, err));
    if (h->level && h->heading_at < h->b->n_headings &&
        (int64_t)h->b->text.len - h->b->headings[h->heading_at].text_start > MAX_HEADING_BYTES)
        end_heading(h);
    return QU_OK;
}

/* n characters that s[at, at + used) stands for. */
static qu_status put_decoded(html *h, const char *p, int64_t n, int64_t at, int64_t used,
                             qu_err *err)
{
    qu_buf *t = &h->b->text;
    QU_TRY(flush(h, err));
    QU_TRY(qu_runs_add(&h->b->runs, (int64_t)t->len, at, 0, err));
    QU_TRY(qu_buf_add(t, p, (size_t)n, err));
    return qu_runs_add(&h->b->runs, (int64_t)t->len, at + used, 0, err);
}

/* What browsers make of the C1 numbers: windows-1252. */
static uint32_t c1_character(uint32_t cp)
{
    static const uint16_t map[32] = {
        0x20AC, 0xFFFD, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0xFFFD, 0x017D, 0xFFFD, 0xFFFD, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0xFFFD, 0x017E, 0x0178};
    return cp >= 0x80 && cp < 0xA0 ? map[cp - 0x80] : cp;
}

/* The character reference at s ('&'), at most n bytes: its length, 0 if it is none. */
static int64_t reference(const char *s, int64_t n, uint32_t *cp)
{
    int64_t i = 1;
    if (n > 2 && s[1] == '#') {
        bool hex = (s[2] | 32) == 'x';
        int64_t from = i = hex ? 3 : 2;
        uint32_t v = 0;
        for (; i < n; i++) {
            int d = s[i] >= '0' && s[i] <= '9'                        ? s[i] - '0'
                    : hex && (s[i] | 32) >= 'a' && (s[i] | 32) <= 'f' ? (s[i] | 32) - 'a' + 10
                                                                      : -1;
            if (d < 0) break;
            v = v > 0x10FFFF ? v : v * (hex ? 16 : 10) + (uint32_t)d;
        }
        if (i == from) return 0;
        *cp = c1_character(utf8proc_codepoint_valid((utf8proc_int32_t)v) ? v : 0xFFFD);
        return i < n && s[i] == ';' ? i + 1 : i;
    }
    char name[16];
    while (i < n && i < 16 &&
           ((s[i] >= '0' && s[i] <= '9') || ((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z'))) {
        name[i - 1] = s[i];
        i++;
    }
    if (i < 3 || i == 16) return 0;
    name[i - 1] = 0;
    const htmlEntityDesc *e = htmlEntityLookup((const xmlChar *)name);
    bool closed = i < n && s[i] == ';';
    if (!e || (!closed && e->value > 0xFF)) return 0; /* "?a=1&lang=2" is no reference */
    *cp = e->value;
    return closed ? i + 1 : i;
}

/* Bytes of white space at s: a blank, or a no-break space. */
static int64_t space_length(const char *s, int64_t n)
{
    if (qu_is_space(*s)) return 1;
    return n >= 2 && memcmp(s, "\xC2\xA0", 2) == 0 ? 2 : 0;
}

static qu_status pre_blank(html *h, int64_t at, qu_err *err)
{
    if (h->s[at] == '\n' && (h->b->text.len == 0 || h->sep >= SEP_LINE)) return QU_OK;
    bool line = h->at_line; /* blank lines begin nothing */
    h->at_line = false;
    QU_TRY(put(h, at, 1, err));
    h->at_line = h->s[at] == '\n' || line;
    return QU_OK;
}

/* One character reference at s[at]; *used is 0 when it is only an ampersand. */
static qu_status put_reference(html *h, int64_t at, int64_t to, int64_t *used, qu_err *err)
{
    uint32_t cp = 0;
    utf8proc_uint8_t utf8[4];
    *used = reference(h->s + at, to - at, &cp);
    if (*used == 0 || cp == 0xAD) return QU_OK; /* a soft hyphen is nothing */
    if (cp < 0x20 || cp == 0x7F || cp == 0xA0 || cp == ' ') {
        if (h->pre) return put_decoded(h, " ", 1, at, *used, err);
        want(h, SEP_SPACE);
        return QU_OK;
    }
    int64_t len = utf8proc_encode_char((utf8proc_int32_t)cp, utf8);
    return put_decoded(h, (const char *)utf8, len, at, *used, err);
}

/* The text s[from, to), which holds no tags. */
static qu_status put_text(html *h, int64_t from, int64_t to, qu_err *err)
{
    const char *s = h->s;
    int64_t blank, used;
    for (int64_t i = from; i < to;) {
        if ((blank = space_length(s + i, to - i)) > 0) {
            if (h->pre && blank == 1) {
                QU_TRY(pre_blank(h, i, err));
            } else if (h->sep < SEP_SPACE) {
                h->sep = SEP_SPACE;
                h->space_at = s[i] == ' ' ? i : -1;
            }
            i += blank;
            continue;
        }
        if (s[i] == '&') {
            QU_TRY(put_reference(h, i, to, &used, err));
            i += used;
            if (used) continue;
        }
        int64_t j = i + 1;
        while (j < to && s[j] != '&' && !space_length(s + j, to - j)) j++;
        QU_TRY(put(h, i, j - i, err));
        i = j;
    }
    return QU_OK;
}

/* Offset of "</name" from at on, h->n if there is none. */
static int64_t find_end_tag(html *h, const tag *t, int64_t at)
{
    size_t len = strlen(t->name);
    for (int i = 0; i < h->n_unclosed; i++)
        if (h->unclosed[i] == t) return h->n;
    while (at < h->n) {
        const char *p = memchr(h->s + at, '<', (size_t)(h->n - at));
        if (!p) break;
        at = p - h->s;
        if (h->n - at > (int64_t)len + 2 && p[1] == '/' && strncasecmp(p + 2, t->name, len) == 0 &&
            (qu_is_space(p[len + 2]) || strchr("/>", p[len + 2])))
            return at;
        at++;
    }
    if (h->n_unclosed < 4) h->unclosed[h->n_unclosed++] = t;
    return h->n;
}

/* The first <title> outside of pictures; left empty if it never closes. */
static qu_status read_title(html *h, const tag *t, int64_t *at, qu_err *err)
{
    qu_buf *title = &h->b->title;
    int64_t end = find_end_tag(h, t, *at), used;
    if (end == h->n) return QU_OK;
    size_t blanks = 0;
    while (blanks < title->len && qu_is_space(title->data[blanks])) blanks++;
    if (blanks == title->len) title->len = 0; /* the one before said nothing */
    bool take = !h->dropped && title->len == 0;
    for (int64_t i = *at; take && i < end && title->len < MAX_TITLE_BYTES; i += used) {
        uint32_t cp;
        utf8proc_uint8_t utf8[4];
        if (h->s[i] == '&' && (used = reference(h->s + i, end - i, &cp)) > 0) {
            if (cp < 0x20 || cp == 0x7F || cp == 0xA0) cp = ' ';
            int64_t len = utf8proc_encode_char((utf8proc_int32_t)cp, utf8);
            QU_TRY(qu_buf_add(title, utf8, (size_t)len, err));
        } else {
            used = 1;
            while (i + used < end && h->s[i + used] != '&') used++;
            QU_TRY(qu_buf_add(title, h->s + i, (size_t)used, err));
        }
    }
    *at = end;
    return QU_OK;
}

static void pop(html *h)
{
    const tag *t = h->open[--h->n_open].tag;
    h->dropped -= h->open[h->n_open].dropped;
    h->pre -= t->kind == PRE;
    h->lists -= t->kind == LIST;
    if (t->kind == PRE) h->at_line = false;
}

/* Navigation and controls are left out. A header is not: it holds the headline as often as the menu
 * (leaving page headers out changed recall by -.0003 and precision by +.007 on 39 pages). */
static bool drops(const html *h, const tag *t)
{
    if (t->flags & DROP) return true;
    return (t->flags & CHROME) && !h->keep;
}

static void push(html *h, const tag *t)
{
    if (t->kind == MAIN) /* what should hold the text is never inside what is left out */
        while (h->dropped && h->n_open > 0) pop(h);
    if (h->n_open == MAX_OPEN) {
        h->unseen++;
        return;
    }
    bool dropped = drops(h, t);
    h->open[h->n_open].tag = t;
    h->open[h->n_open++].dropped = dropped;
    h->dropped += dropped;
    h->pre += t->kind == PRE;
    h->lists += t->kind == LIST;
}

/* Close the innermost open element of that name and all in it; nothing if none is open. */
static void close_element(html *h, const tag *t)
{
    if (h->unseen > 0) {
        h->unseen--;
        return;
    }
    int i = h->n_open - 1;
    while (i >= 0 && h->open[i].tag != t) i--;
    if (i < 0) return;
    while (h->n_open > i) pop(h);
}

/* The separators that a tag asks for, whether it opens or closes. */
static void separate(html *h, const tag *t, bool opens)
{
    if (h->dropped) return;
    if (h->level && (t->flags & ENDS)) end_heading(h);
    if (t->kind != PLAIN && t->kind != CELL) h->fresh = false;
    if (t->flags & BLOCK) want(h, t->kind == LIST && h->lists > 0 ? SEP_LINE : SEP_BLOCK);
    if (t->kind == TABLE)
        h->row_broken = true; /* until a row of its own, and for the row around it */
    if (t->kind == ROW) {     /* the end of a simple row's last cell may have asked for more */
        if (h->sep == SEP_BLOCK && !h->row_broken && !h->fresh_row) h->sep = SEP_LINE;
        h->fresh_row = true;
        h->row_broken = false;
    }
    if (t->flags & LINE) want(h, SEP_LINE);
    if (t->kind == BR) want(h, SEP_LINE);
    if (t->kind == CELL && opens) {
        if (!h->row_broken && !h->fresh_row)
            h->sep = SEP_TAB;
        else
            want(h, h->fresh_row ? SEP_NONE : SEP_LINE);
        h->fresh = true;
    }
    if (t->kind == LIST) h->item = false; /* of an item that stayed empty */
    if (t->kind == ITEM) h->item = h->fresh = opens;
}

static qu_status open_tag(html *h, const tag *t, int32_t level, bool empty, int64_t *at,
                          qu_err *err)
{
    if (t->flags & RAW) {
        if (!empty) *at = find_end_tag(h, t, *at);
        return QU_OK;
    }
    if (t->kind == TITLE) return empty ? QU_OK : read_title(h, t, at, err);
    separate(h, t, true);
    if ((t->flags & NEST) && !empty) push(h, t);
    if (h->dropped) return QU_OK;
    if (t->kind == HEADING && !empty) {
        h->level = level;
        h->heading_at = -1;
    }
    return QU_OK;
}

static void close_tag(html *h, const tag *t)
{
    if (t->flags & NEST) close_element(h, t);
    separate(h, t, false);
}

/* Skip attributes from at on: the offset behind '>'. *empty: the tag ends in "/>". Quotes count
 * only after '='; a tag that never ends takes the rest of the file. */
static int64_t skip_attributes(const html *h, int64_t at, bool *empty)
{
    const char *s = h->s;
    bool value = false; /* just behind '=' */
    *empty = false;
    while (at < h->n) {
        char c = s[at++];
        if (c == '>') return at;
        if (value && (c == '"' || c == '\'')) {
            const char *q = memchr(s + at, c, (size_t)(h->n - at));
            if (!q) return h->n;
            at = q - s + 1;
        } else if (value && !qu_is_space(c)) {
            while (at < h->n && !qu_is_space(s[at]) && s[at] != '>') at++;
            c = 0; /* a '/' in it ends no element */
        }
        value = c == '=' || (value && qu_is_space(c));
        *empty = c == '/' || (*empty && qu_is_space(c));
    }
    return h->n;
}

/* The markup at s[at] ('<'); *at moves behind it. Left where it is: not markup. */
static qu_status read_markup(html *h, int64_t *at, qu_err *err)
{
    const char *s = h->s, *p;
    int64_t i = *at + 1, n = h->n;
    bool closes = i < n && s[i] == '/', empty;
    if (n - i >= 3 && memcmp(s + i, "!--", 3) == 0) {
        p = memmem(s + i + 1, (size_t)(n - i - 1), "-->", 3);
        *at = p ? p - s + 3 : n;
        return QU_OK;
    }
    i += closes;
    if (i >= n) return QU_OK;
    char name[12] = "";
    size_t len = 0;
    if ((s[i] | 32) < 'a' || (s[i] | 32) > 'z') {
        if (!closes && s[i] != '!' && s[i] != '?') return QU_OK;
        p = memchr(s + i, '>', (size_t)(n - i));
        *at = p ? p - s + 1 : n;
        return QU_OK;
    }
    for (; i < n && !qu_is_space(s[i]) && s[i] != '/' && s[i] != '>'; i++, len++)
        if (len < sizeof name - 1)
            name[len] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
    *at = skip_attributes(h, i, &empty);
    const tag *t = bsearch(name, tags, sizeof tags / sizeof *tags, sizeof *tags, by_name);
    if (!t || len >= sizeof name) return QU_OK;
    if (closes)
        close_tag(h, t);
    else
        return open_tag(h, t, name[1] - '0', empty, at, err);
    return QU_OK;
}

qu_status qu_html_parse(qu_builder *b, const char *s, int64_t n, bool keep, qu_err *err)
{
    html h = {.b = b, .s = s, .n = n, .keep = keep, .heading_at = -1, .fresh_row = true};
    QU_TRY(qu_runs_add(&b->runs, 0, 0, 0,
                       err)); /* text up to the first known position is covered too */
    for (int64_t i = 0; i < n;) {
        const char *lt = memchr(s + i, '<', (size_t)(n - i));
        int64_t next = lt ? lt - s : n;
        if (next > i && !h.dropped) QU_TRY(put_text(&h, i, next, err));
        i = next;
        if (i == n) break;
        QU_TRY(read_markup(&h, &i, err));
        if (i == next) { /* a '<' that begins nothing is text */
            if (!h.dropped) QU_TRY(put(&h, i, 1, err));
            i++;
        }
    }
    end_heading(&h);
    return qu_runs_add(&b->runs, (int64_t)b->text.len, n, 0, err);
}
