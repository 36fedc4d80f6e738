/* HTML to text with libxml2's HTML parser, as a stream of events and without a tree.
 *
 *   <h1>A</h1><p>b  c &amp; d<ul><li>e   ->   "A\n\nb c & d\n\n- e"
 *
 * White space is folded outside <pre>; what stands between two pieces of text is kept as one
 * pending separator, the strongest asked for, and written before the next character. A page is read
 * twice: first for what is clutter in it (ingest/clutter.h), then for its text.
 *
 * The parser reads a private copy as UTF-8 from memory: no network, no external entities, no DTD,
 * no declared encoding. Where text came from is seen by comparing it with the bytes before the
 * parser's position. libxml2 2.9.14 is not linear in three things, and each is bounded here:
 *   attributes in one tag   a tag with more than MAX_ATTRIBUTES is made a "<?" instruction, which
 *                           is skipped up to its first '>' (see disarm)
 *   open elements           deeper ones than MAX_OPEN are taken off the parser's stack again: they
 *                           keep no state and are not closed
 *   different names         kept in a table that stops growing: more than MAX_NAMES of elements,
 *                           attributes and references in one file are QU_ERR_LIMIT
 * Errors go to a handler of the one context, never to the library's global ones.
 */
#include <ctype.h>
#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>
#include <utf8proc.h>

#include "ingest/builder.h"
#include "ingest/clutter.h"

enum {
    MAX_OPEN = 100,
    MAX_ATTRIBUTES = 128,
    MAX_NAME_BYTES = 100, /* libxml2 begins another name behind it */
    MAX_NAMES = 1 << 16,
    MAX_HEADING_BYTES = 500, /* a longer one was not closed */
    MAX_TITLE_BYTES = 4096,
    MAX_NOTE_BYTES = 100, /* of an author or a date */
    MAX_TABS = 50,
    MAX_HEAD_BYTES = 200, /* of a table's head row that is repeated ... */
    HEAD_EVERY = 800,     /* ... before the first row that begins so far behind it */
};

typedef enum separator { SEP_NONE, SEP_SPACE, SEP_TAB, SEP_LINE, SEP_BLOCK } separator;

enum {
    BLOCK = 1,  /* a paragraph of its own */
    LINE = 2,   /* a line of its own */
    DROP = 4,   /* left out with all it holds */
    RAW = 32,   /* the parser reads no tags in it */
    CHROME = 8, /* navigation and controls; a header is not: it holds the headline as often */
    ENDS = 16,  /* ends an unclosed heading */
    LEAF = 64,  /* holds one paragraph, heading or line, never the page's text */
};

typedef enum { PLAIN, BR, CELL, HEADING, ITEM, LIST, MAIN, PRE, ROW, TABLE, TITLE } tag_kind;

typedef struct tag {
    char name[12];
    uint8_t flags;
    uint8_t kind;
} tag;

/* Sorted by name. What is not listed is inline. */
/* clang-format off */
static const tag tags[] = {
    {"address", BLOCK, PLAIN}, {"article", BLOCK | ENDS, MAIN}, {"aside", BLOCK, PLAIN},
    {"audio", DROP, PLAIN}, {"blockquote", BLOCK | ENDS | LEAF, PLAIN},
    {"body", BLOCK | ENDS, PLAIN}, {"br", 0, BR}, {"button", CHROME, PLAIN},
    {"canvas", DROP, PLAIN}, {"caption", LINE, PLAIN}, {"center", BLOCK, PLAIN},
    {"datalist", DROP, PLAIN}, {"dd", LINE, PLAIN}, {"details", BLOCK, PLAIN},
    {"div", BLOCK, PLAIN}, {"dl", BLOCK | ENDS | LEAF, PLAIN}, {"dt", LINE, PLAIN},
    {"fieldset", BLOCK, PLAIN}, {"figcaption", BLOCK, PLAIN}, {"figure", BLOCK, PLAIN},
    {"footer", CHROME | BLOCK, PLAIN}, {"form", BLOCK, PLAIN}, {"h1", BLOCK | ENDS | LEAF, HEADING},
    {"h2", BLOCK | ENDS | LEAF, HEADING}, {"h3", BLOCK | ENDS | LEAF, HEADING},
    {"h4", BLOCK | ENDS | LEAF, HEADING}, {"h5", BLOCK | ENDS | LEAF, HEADING},
    {"h6", BLOCK | ENDS | LEAF, HEADING}, {"header", BLOCK | ENDS, PLAIN},
    {"hr", BLOCK | ENDS | LEAF, PLAIN}, {"iframe", DROP, PLAIN}, {"legend", LINE, PLAIN},
    {"li", LINE, ITEM}, {"main", BLOCK | ENDS, MAIN}, {"nav", CHROME | BLOCK, PLAIN},
    {"noembed", DROP, PLAIN}, {"noframes", DROP, PLAIN}, {"noscript", DROP, PLAIN},
    {"ol", BLOCK | ENDS | LEAF, LIST}, {"option", LINE, PLAIN}, {"p", BLOCK | ENDS | LEAF, PLAIN},
    {"pre", BLOCK | ENDS | LEAF, PRE}, {"script", DROP | RAW, PLAIN},
    {"section", BLOCK | ENDS, PLAIN}, {"select", CHROME, PLAIN}, {"style", DROP | RAW, PLAIN},
    {"summary", BLOCK, PLAIN}, {"svg", DROP, PLAIN}, {"table", BLOCK | ENDS, TABLE},
    {"td", 0, CELL}, {"template", DROP, PLAIN}, {"textarea", DROP, PLAIN}, {"th", 0, CELL},
    {"title", 0, TITLE}, {"tr", LINE, ROW}, {"ul", BLOCK | ENDS | LEAF, LIST},
    {"video", DROP, PLAIN},
};
/* clang-format on */

/* Stands before the copy, so that no element is implied. */
static const char prefix[] = "<html><body>";
enum { PREFIX_BYTES = sizeof prefix - 1 };

typedef struct html {
    qu_builder *b;
    htmlParserCtxtPtr parser;
    qu_err *err;
    qu_status st;     /* of the handlers; the parser is stopped at the first error */
    const char *s;    /* the file as clean UTF-8 */
    const char *copy; /* what the parser sees of it */
    int64_t n;
    int64_t read; /* text before this offset has been delivered */
    qu_clutter clutter;
    qu_buf author, date;
    bool survey; /* the first reading, which only looks for clutter */
    int dropped, links, pre, lists;
    bool titled; /* inside a <title> */
    bool taken;  /* which is the one to take */
    separator sep;
    int64_t space_at; /* where the pending space stands in s, -1 if it is none there */
    bool item;        /* "- " is due */
    bool fresh;       /* no text yet in this cell or list item */
    bool row_broken;  /* a cell of this row had several lines: tabs would mislead */
    bool fresh_row;
    bool in_row, heads, data;  /* a row is open; it has text in <th>, in <td> */
    bool in_head;              /* the open cell is a <th> */
    int cells, written;        /* of the row: begun, and begun when text came last */
    int64_t row_at;            /* where its text begins */
    int64_t head_at, head_end; /* the head row of the table, in the text; end 0: none yet */
    int64_t head_last;         /* behind its last copy */
    int32_t level;             /* of the open heading, 0 outside */
    int64_t heading_at;        /* index in b->headings, -1 before its first character */
    bool at_line;              /* in <pre>: the next character begins a line */
} html;

static int by_name(const void *key, const void *item)
{
    return strcmp(key, ((const tag *)item)->name);
}

static const tag *find_tag(const void *name)
{
    return bsearch(name, tags, sizeof tags / sizeof *tags, sizeof *tags, by_name);
}

static void want(html *h, separator sep)
{
    if (h->level && sep > SEP_SPACE && h->heading_at >= 0) sep = SEP_SPACE;
    if (sep > SEP_TAB && h->fresh) return;
    if (sep == SEP_SPACE) h->space_at = -1;
    if (sep > h->sep) h->sep = sep;
}

/* The row that begins here is far from its table's head: put the head before it once more, so that
 * they share a page. */
static qu_status repeat_head(html *h, qu_err *err)
{
    qu_buf *t = &h->b->text;
    size_t n = (size_t)(h->head_end - h->head_at);
    QU_TRY(qu_builder_mark(h->b, (int64_t)t->len, QU_CUT_PARAGRAPH, false, err));
    QU_TRY(qu_buf_reserve(t, n + 1, err));
    QU_TRY(qu_buf_add(t, t->data + h->head_at, n, err));
    h->head_last = (int64_t)t->len;
    return qu_buf_puts(t, "\n", err);
}

/* Write what is due before the next character, and mark the block that begins with it. */
static qu_status flush(html *h, qu_err *err)
{
    qu_buf *t = &h->b->text;
    separator sep = h->sep;
    bool first = t->len == 0, row_goes_on = !h->fresh_row, row = h->fresh_row && h->in_row;
    h->sep = SEP_NONE;
    h->fresh = h->fresh_row = false;
    if (row) h->row_at = (int64_t)t->len;
    int tabs = sep == SEP_TAB                       ? h->cells - h->written - 1
               : row && (h->in_head || h->head_end) ? h->cells - 1
                                                    : 0;
    h->written = h->cells;
    if (h->in_row) *(h->in_head ? &h->heads : &h->data) = true;
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
    if (row && h->head_end && sep == SEP_LINE && at - h->head_last > HEAD_EVERY)
        QU_TRY(repeat_head(h, err));
    if (row) h->row_at = (int64_t)t->len;
    bool behind_head = row && h->head_end && h->row_at - h->head_last == 1;
    bool heading = h->level && h->heading_at < 0;
    if (!behind_head && (block || h->at_line)) {
        qu_cut_rank rank = heading                                    ? QU_CUT_HEADING
                           : h->item || h->at_line || sep == SEP_LINE ? QU_CUT_LINE
                                                                      : QU_CUT_PARAGRAPH;
        QU_TRY(qu_builder_mark(h->b, at, rank, h->pre > 0 || heading, err));
    }
    for (tabs = tabs < MAX_TABS ? tabs : MAX_TABS; tabs > 0; tabs--) /* of empty cells */
        QU_TRY(qu_buf_puts(t, "\t", err));
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

/* The text s[from, to), which holds neither tags nor references. */
static qu_status put_text(html *h, int64_t from, int64_t to, qu_err *err)
{
    const char *s = h->s;
    int64_t blank;
    for (int64_t i = from; i < to;) {
        int64_t j = i;
        while (j < to && !space_length(s + j, to - j)) j++;
        if (j > i) QU_TRY(put(h, i, j - i, err));
        if ((i = j) == to) break;
        blank = space_length(s + i, to - i);
        if (h->pre && blank == 1) {
            QU_TRY(pre_blank(h, i, err));
        } else if (h->sep < SEP_SPACE) {
            h->sep = SEP_SPACE;
            h->space_at = s[i] == ' ' ? i : -1;
        }
        i += blank;
    }
    return QU_OK;
}

/* What browsers make of the numbers of C1 controls: windows-1252. */
static int32_t c1_character(uint8_t c)
{
    static const uint16_t map[32] = {
        0x20AC, 0xFFFD, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0xFFFD, 0x017D, 0xFFFD, 0xFFFD, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0xFFFD, 0x017E, 0x0178};
    return map[c & 31];
}

/* The character p[0, n) that the reference s[at, at + used) stands for. */
static qu_status put_reference(html *h, const char *p, int64_t n, int64_t at, int64_t used,
                               qu_err *err)
{
    qu_buf *t = &h->b->text;
    utf8proc_uint8_t utf8[4];
    if (n == 2 && *p == '\xC2' && (uint8_t)p[1] < 0xA0) {
        n = utf8proc_encode_char(c1_character((uint8_t)p[1]), utf8);
        p = (const char *)utf8;
    }
    if (n == 2 && memcmp(p, "\xC2\xAD", 2) == 0) return QU_OK; /* a soft hyphen is nothing */
    if ((n == 1 && ((uint8_t)*p <= ' ' || *p == 0x7F)) || space_length(p, n)) {
        if (!h->pre && !h->titled) want(h, SEP_SPACE);
        if (!h->pre && !h->titled) return QU_OK;
        p = " ";
        n = 1;
    }
    if (h->titled) return qu_buf_add(&h->b->title, p, (size_t)n, err);
    QU_TRY(flush(h, err));
    QU_TRY(qu_runs_add(&h->b->runs, (int64_t)t->len, at, 0, err));
    QU_TRY(qu_buf_add(t, p, (size_t)n, err));
    return qu_runs_add(&h->b->runs, (int64_t)t->len, at + used, 0, err);
}

static qu_status put_raw(html *h, int64_t at, int64_t n, qu_err *err)
{
    h->read = at + n;
    if (h->titled) return qu_buf_add(&h->b->title, h->s + at, (size_t)n, err);
    return put_text(h, at, at + n, err);
}

/* Where the parser stands in s. */
static int64_t position(const html *h)
{
    const xmlParserInput *in = h->parser->input;
    int64_t at = in->cur - in->base + (int64_t)in->consumed - PREFIX_BYTES;
    return at < h->read ? h->read : at > h->n ? h->n : at;
}

/* An ampersand from the parser that stands alone; then comes the name at s[at + 1, end). Browsers
 * know the names of Latin-1 without ';' too ("?a=1&lang=2" is no reference). */
static qu_status put_ampersand(html *h, int64_t at, int64_t end, qu_err *err)
{
    char name[8] = "";
    utf8proc_uint8_t utf8[4];
    if (end - at - 1 < (int64_t)sizeof name) memcpy(name, h->s + at + 1, (size_t)(end - at - 1));
    const htmlEntityDesc *e = *name ? htmlEntityLookup((const xmlChar *)name) : NULL;
    if (!e || e->value > 0xFF) return put_raw(h, at, 1, err);
    h->read = end;
    int64_t n = utf8proc_encode_char((utf8proc_int32_t)e->value, utf8);
    return put_reference(h, (const char *)utf8, n, at, end - at, err);
}

/* Text from the parser: n bytes that end where it stands, or (a full buffer, a '<' that begins no
 * tag) behind the next character, or else a reference that ends there. */
static qu_status put_event(html *h, const char *p, int64_t n, qu_err *err)
{
    const char *s = h->copy;
    int64_t from = h->read, at = position(h), next = at < h->n ? at + 1 : at;
    while (next < h->n && ((uint8_t)s[next] & 0xC0) == 0x80) next++;
    bool behind =
        n > 4 || (*p == '<' && (at == from || !(s[at - 1] == ';' || isalnum((uint8_t)s[at - 1]))));
    if (at - n >= from && memcmp(s + at - n, p, (size_t)n) == 0) return put_raw(h, at - n, n, err);
    if (behind && next - n >= from && memcmp(s + next - n, p, (size_t)n) == 0)
        return put_raw(h, next - n, n, err);
    if (at == from) return QU_OK; /* the name of put_ampersand */
    const char *amp = memrchr(s + from, '&', (size_t)(at - from));
    if (amp) from = amp - s;
    if (amp && n == 1 && *p == '&' && s[at - 1] != ';' && s[from + 1] != '#')
        return put_ampersand(h, from, at, err);
    h->read = at;
    return put_reference(h, p, n, from, at - from, err);
}

static void stop(html *h, qu_status st)
{
    if (st == QU_OK || h->st != QU_OK) return;
    h->st = st;
    xmlStopParser(h->parser);
}

static bool skipping(const html *h)
{
    return h->dropped || h->clutter.cut;
}

static void on_text(void *ctx, const xmlChar *p, int n)
{
    html *h = ctx;
    if (h->st != QU_OK || skipping(h) || n <= 0) return;
    if (h->survey && !h->titled) qu_clutter_text(&h->clutter, (const char *)p, n, h->links > 0);
    if (h->survey) return;
    if (h->titled && (!h->taken || h->b->title.len > MAX_TITLE_BYTES)) return;
    stop(h, put_event(h, (const char *)p, n, h->err));
}

/* The separators that a tag asks for, whether it opens or closes. */
static void separate(html *h, const tag *t, bool opens)
{
    if (skipping(h) || h->survey) return;
    if (h->level && (t->flags & ENDS)) end_heading(h);
    if (t->kind != PLAIN && t->kind != CELL) h->fresh = false;
    if (t->flags & BLOCK) want(h, t->kind == LIST && h->lists > 0 ? SEP_LINE : SEP_BLOCK);
    if (t->kind == TABLE)
        h->row_broken = true; /* until a row of its own, and for the row around it */
    if (t->kind == TABLE) h->head_end = 0;
    if (t->kind == ROW && h->in_row && h->heads && !h->data && !h->row_broken && !h->fresh_row &&
        !h->head_end && (int64_t)h->b->text.len - h->row_at <= MAX_HEAD_BYTES) {
        h->head_at = h->row_at;
        h->head_end = h->head_last = (int64_t)h->b->text.len;
    }
    if (t->kind == ROW) h->in_row = opens;
    if (t->kind == ROW && opens) {
        h->heads = h->data = false;
        h->cells = h->written = 0;
    }
    if (t->kind == ROW) { /* the end of a simple row's last cell may have asked for more */
        if (h->sep == SEP_BLOCK && !h->row_broken && !h->fresh_row) h->sep = SEP_LINE;
        h->fresh_row = true;
        h->row_broken = false;
    }
    if (t->flags & LINE) want(h, SEP_LINE);
    if (t->kind == BR) want(h, SEP_LINE);
    if (t->kind == CELL && opens) {
        h->in_head = t->name[1] == 'h';
        h->cells++;
        if (!h->row_broken && !h->fresh_row)
            h->sep = SEP_TAB;
        else
            want(h, h->fresh_row ? SEP_NONE : SEP_LINE);
        h->fresh = true;
    }
    if (t->kind == LIST) h->item = false; /* of an item that stayed empty */
    if (t->kind == ITEM) h->item = h->fresh = opens;
}

/* Only the first title that says something is taken. */
static bool takes_title(html *h)
{
    qu_buf *title = &h->b->title;
    if (qu_is_blank(title)) title->len = 0;
    return title->len == 0;
}

static void check_names(html *h)
{
    if (h->st == QU_OK && xmlDictSize(h->parser->dict) > MAX_NAMES)
        stop(h, qu_fail(h->err, QU_ERR_LIMIT,
                        "page has more than %d different names of tags and references: "
                        "not a page of text",
                        MAX_NAMES));
}

/* Is the tag a part of the page that may be clutter? */
static bool is_part(const tag *t)
{
    return t && (t->flags & (BLOCK | LINE | CHROME) || t->kind == CELL);
}

/* The value of an attribute, "" if there is none. */
static const char *value_of(const xmlChar **attributes, const char *name)
{
    for (const xmlChar **a = attributes; a && *a; a += 2)
        if (strcmp((const char *)*a, name) == 0) return a[1] ? (const char *)a[1] : "";
    return "";
}

static qu_status open_part(html *h, const tag *t, const xmlChar **attributes)
{
    char names[512];
    snprintf(names, sizeof names, "%.200s %.100s %.100s", value_of(attributes, "class"),
             value_of(attributes, "id"), value_of(attributes, "role"));
    const char *type = value_of(attributes, "itemtype"),
               *style = strstr(value_of(attributes, "style"), "display:");
    qu_clutter_hints hints = {
        .names = names,
        .body = t->flags & BLOCK && !(t->flags & LEAF),
        .main = t->kind == MAIN,
        .article = strcmp(t->name, "article") == 0 || strstr(type, "Article") ||
                   strstr(type, "BlogPosting") ||
                   strcmp(value_of(attributes, "itemprop"), "articleBody") == 0,
        .headline = t->kind == HEADING && t->name[1] == '1',
        .hidden = style && strstr(style, "none"),
        .aside = strcmp(t->name, "aside") == 0,
        .chrome = t->flags & CHROME,
    };
    return qu_clutter_open(&h->clutter, &hints, h->err);
}

/* Keep the first content that says something and is no address. */
static qu_status note(qu_buf *to, const char *const *keys, const char *key, const char *content,
                      qu_err *err)
{
    size_t n = strlen(content);
    while (*keys && strcasecmp(*keys, key) != 0) keys++;
    if (!*keys || to->len || !n || n > MAX_NOTE_BYTES || strstr(content, "://")) return QU_OK;
    return qu_buf_add(to, content, n, err);
}

/* What the page says of itself. */
static qu_status read_meta(html *h, const xmlChar **attributes)
{
    static const char *const author[] = {"author",          "article:author", "dc.creator",
                                         "dcterms.creator", "parsely-author", NULL};
    static const char *const date[] = {
        "article:published_time", "date",          "dc.date", "dcterms.created",
        "parsely-pub-date",       "datepublished", "pubdate", NULL};
    const char *key = value_of(attributes, "property");
    const char *content = value_of(attributes, "content");
    if (!*key) key = value_of(attributes, "name");
    if (!*key) key = value_of(attributes, "itemprop");
    h->clutter.article |= strncasecmp(key, "article:", 8) == 0 ||
                          (strcasecmp(key, "og:type") == 0 && strcasecmp(content, "article") == 0);
    QU_TRY(note(&h->author, author, key, content, h->err));
    return note(&h->date, date, key, content, h->err);
}

/* "The title (Author, 2018-04-05)". */
static qu_status add_byline(html *h, qu_err *err)
{
    qu_buf *title = &h->b->title;
    if (qu_is_blank(title) || (!h->author.len && !h->date.len)) return QU_OK;
    bool iso = h->date.len > 10 && h->date.data[4] == '-' && h->date.data[7] == '-';
    return qu_buf_printf(title, err, " (%s%s%.*s)", h->author.len ? h->author.data : "",
                         h->author.len && h->date.len ? ", " : "", iso ? 10 : (int)h->date.len,
                         h->date.len ? h->date.data : "");
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar **attributes)
{
    html *h = ctx;
    htmlParserCtxtPtr c = h->parser;
    const tag *t = find_tag(name);
    check_names(h);
    if (h->st != QU_OK) return;
    h->titled &= !t;
    if (t) separate(h, t, true);
    if (t && t->kind == HEADING && !skipping(h)) {
        h->level = name[1] - '0';
        h->heading_at = -1;
    }
    if (c->nameNr > MAX_OPEN && *c->input->cur == '>' && !(t && t->flags & RAW)) {
        c->name = c->nameTab[--c->nameNr - 1];
        return;
    }
    h->links += strcmp((const char *)name, "a") == 0;
    if (h->survey && strcmp((const char *)name, "meta") == 0) stop(h, read_meta(h, attributes));
    if (!t) return;
    if (t->kind == MAIN) h->dropped = 0; /* what should hold the text is never left out */
    if (t->kind == TITLE) {
        h->titled = true;
        h->taken = takes_title(h);
    }
    if (is_part(t)) stop(h, open_part(h, t, attributes));
    h->dropped += (t->flags & DROP) != 0;
    h->pre += t->kind == PRE;
    h->lists += t->kind == LIST;
}

static void on_end(void *ctx, const xmlChar *name)
{
    html *h = ctx;
    const tag *t = find_tag(name);
    h->links -= h->links > 0 && strcmp((const char *)name, "a") == 0;
    if (!t || h->st != QU_OK) return;
    if (t->kind == TITLE) h->titled = false;
    if (t->kind == PRE) h->at_line = false;
    h->dropped -= h->dropped > 0 && t->flags & DROP;
    h->pre -= t->kind == PRE;
    h->lists -= t->kind == LIST;
    if (is_part(t)) qu_clutter_close(&h->clutter);
    separate(h, t, false);
}

/* An end tag of nothing that is open separates as well. */
static void on_error(void *ctx, xmlErrorPtr e)
{
    html *h = ctx;
    check_names(h);
    if (h->st != QU_OK || e->code != XML_ERR_TAG_NAME_MISMATCH || !e->str1 || e->str2) return;
    const tag *t = find_tag(e->str1);
    if (t) separate(h, t, false);
}

static void on_instruction(void *ctx, const xmlChar *name, const xmlChar *rest)
{
    (void)name, (void)rest;
    check_names(ctx);
}

static bool is_letter(char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* An ampersand that begins no reference would be an error, and those are slow: a '+' until it is
 * put out. "<!x", "</ " and "<? " begin text for libxml2: made "<?x" they are skipped up to '>'. */
static void fix_markup(char *s)
{
    for (char *p = s; (p = strpbrk(p, "<&")); p++) {
        if (*p == '&') {
            bool hex = p[1] == '#' && (p[2] | 32) == 'x';
            if (hex           ? !isxdigit((uint8_t)p[3])
                : p[1] == '#' ? !isdigit((uint8_t)p[2])
                              : !is_letter(p[1]))
                *p = '+';
            continue;
        }
        if (!p[1] || !p[2] || !strchr("!?/", p[1]) || strchr("-'\">", p[2])) continue;
        if (is_letter(p[2]) && (p[1] != '!' || strncasecmp(p + 2, "doctype", 7) == 0)) continue;
        p[1] = '?';
        if (!is_letter(p[2]) && !(p[2] & 0x80)) p[2] = 'x';
    }
}

/* Turn each "<a" whose tag would have too many attributes, or too long a name, into "<?". Whether
 * it is a tag at all (or stands in a comment, a script, a value) only the parser knows: therefore
 * the copy is read backwards with libxml2's automaton of a tag, and n[state] says for each state
 * that it could be in here how many attributes would follow. */
static void disarm(char *s, int64_t size)
{
    enum { TAG, NAME, NAMED, EQUALS, BARE, QUOTED, QUOTED2, BETWEEN, JUNK, STATES };
    const int64_t too_many = MAX_ATTRIBUTES + 1;
    int64_t n[STATES] = {0}, run = 0; /* run: bytes of a name from here on */
    for (int64_t i = size - 1; i >= 0; i--) {
        char c = s[i];
        bool blank = qu_is_space(c), starts = is_letter(c) || (c && strchr("_:.", c));
        bool end = c == '>' || (c == '/' && s[i + 1] == '>');
        if (c == '<' && is_letter(s[i + 1]) && (n[TAG] >= too_many || run > MAX_NAME_BYTES))
            s[i + 1] = '?';
        run = starts || c == '-' || (c >= '0' && c <= '9') ? run + 1 : 0;
        int64_t more = n[NAME] + (run > MAX_NAME_BYTES ? too_many : 1);
        int64_t between = end ? 0 : blank ? n[BETWEEN] : starts ? more : n[JUNK];
        int64_t named = c == '=' ? n[EQUALS] : blank ? n[NAMED] : between;
        if (!run) n[TAG] = between;
        if (!run) n[NAME] = named;
        n[NAMED] = named;
        if (!blank) n[EQUALS] = c == '"' ? n[QUOTED] : c == '\'' ? n[QUOTED2] : n[BARE];
        if (blank) n[JUNK] = n[BARE] = n[BETWEEN];
        if (c == '"') n[QUOTED] = n[BETWEEN];
        if (c == '\'') n[QUOTED2] = n[BETWEEN];
        if (end) n[JUNK] = 0;
        if (c == '>') n[BARE] = n[EQUALS] = 0;
        n[BETWEEN] = between;
    }
}

static void free_parser(htmlParserCtxtPtr *parser)
{
    if (*parser) htmlFreeParserCtxt(*parser);
}

/* One reading of the copy. */
static qu_status read_copy(html *h, qu_err *err)
{
    static pthread_once_t started = PTHREAD_ONCE_INIT; /* libxml2's own start is not safe */
    pthread_once(&started, xmlInitParser);
    QU_OWN(free_parser) htmlParserCtxtPtr parser = h->parser = htmlNewParserCtxt();
    xmlParserInputPtr input = NULL;
    if (parser) input = xmlNewStringInputStream(parser, (const xmlChar *)h->copy - PREFIX_BYTES);
    if (!input || inputPush(parser, input) < 0) return qu_fail_nomem(err, (long long)h->n);
    *h->parser->sax = (xmlSAXHandler){.initialized = XML_SAX2_MAGIC,
                                      .startElement = on_start,
                                      .endElement = on_end,
                                      .characters = on_text,
                                      .processingInstruction = on_instruction,
                                      .serror = on_error};
    h->parser->userData = h;
    htmlCtxtUseOptions(h->parser, HTML_PARSE_RECOVER | HTML_PARSE_NONET | HTML_PARSE_NODEFDTD |
                                      HTML_PARSE_NOIMPLIED | HTML_PARSE_IGNORE_ENC);
    htmlParseDocument(parser);
    QU_TRY(h->st);
    return parser->disableSAX ? qu_fail_nomem(err, (long long)h->n) : QU_OK;
}

static void free_html(html *h)
{
    qu_clutter_free(&h->clutter);
    qu_buf_free(&h->author);
    qu_buf_free(&h->date);
}

qu_status qu_html_parse(qu_builder *b, const char *s, int64_t n, qu_err *err)
{
    QU_OWN(free_html) html h = {.b = b, .s = s, .n = n, .survey = true, .err = err};
    QU_OWN(qu_buf_free) qu_buf copy = {0};
    if (n > INT32_MAX / 2)
        return qu_fail(err, QU_ERR_LIMIT, "page is too large: %lld bytes, the limit is %d",
                       (long long)n, INT32_MAX / 2);
    QU_TRY(qu_buf_reserve(&copy, (size_t)n + PREFIX_BYTES + 1, err));
    QU_TRY(qu_buf_puts(&copy, prefix, err));
    QU_TRY(qu_buf_add(&copy, s, (size_t)n, err));
    fix_markup(copy.data);
    disarm(copy.data, (int64_t)copy.len);
    h.copy = copy.data + PREFIX_BYTES;
    QU_TRY(read_copy(&h, err));
    qu_clutter_decide(&h.clutter);
    h = (html){.b = b,
               .s = s,
               .n = n,
               .copy = h.copy,
               .err = err,
               .heading_at = -1,
               .fresh_row = true,
               .clutter = h.clutter,
               .author = h.author,
               .date = h.date};
    QU_TRY(qu_runs_add(&b->runs, 0, 0, 0, err)); /* covers what comes before the first run */
    QU_TRY(read_copy(&h, err));
    QU_TRY(add_byline(&h, err));
    end_heading(&h);
    return qu_runs_add(&b->runs, (int64_t)b->text.len, n, 0, err);
}
