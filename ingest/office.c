#include "ingest/office.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "ingest/archive.h"
#include "ingest/builder.h"
#include "ingest/markup.h"
#include "ingest/sheet.h"

enum { MAX_PARTS = 20000, MAX_NAME = 512 };

/* --- the parts of a file --- */

typedef struct part {
    char *name;
    qu_buf data;
} part;

typedef struct parts {
    part *v;
    int64_t n, cap;
    const char *format, *shown;
} parts;

static bool starts_with(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* What tells a format, and what text may lie in. Names ending in '/' are folders. */
static const struct {
    const char *format, *sign, *parts[8];
} formats[] = {
    {"docx",
     "word/document.xml",
     {"docProps/core.xml", "word/styles.xml", "word/document.xml", "word/footnotes.xml",
      "word/endnotes.xml", "word/comments.xml"}},
    {"pptx",
     "ppt/presentation.xml",
     {"docProps/core.xml", "ppt/presentation.xml", "ppt/_rels/presentation.xml.rels", "ppt/slides/",
      "ppt/notesSlides/"}},
    {"xlsx",
     "xl/workbook.xml",
     {"docProps/core.xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml",
      "xl/styles.xml", "xl/worksheets/"}},
    {"epub", "application/epub+zip", {NULL}},
    {"odt", "application/vnd.oasis.opendocument.text", {"meta.xml", "content.xml"}},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet", {"meta.xml", "content.xml"}},
    {"odp", "application/vnd.oasis.opendocument.presentation", {"meta.xml", "content.xml"}},
};

enum { N_FORMATS = sizeof formats / sizeof *formats };

static bool is_sign(void *ctx, const char *name)
{
    parts *p = ctx;
    for (int i = 0; i < N_FORMATS; i++)
        if (!p->format && strcmp(name, formats[i].sign) == 0) p->format = formats[i].format;
    return strcmp(name, "mimetype") == 0;
}

static qu_status read_sign(void *ctx, const char *name, const void *bytes, int64_t n,
                           const char *why, qu_err *err)
{
    parts *p = ctx;
    (void)name, (void)why, (void)err;
    for (int i = 0; i < N_FORMATS && bytes; i++)
        if (n >= (int64_t)strlen(formats[i].sign) &&
            memcmp(bytes, formats[i].sign, strlen(formats[i].sign)) == 0)
            p->format = formats[i].format;
    return QU_OK;
}

const char *qu_office_format(const void *bytes, int64_t n)
{
    parts p = {0};
    qu_archive_read(bytes, n, "", is_sign, read_sign, &p, NULL);
    return p.format;
}

static bool want_part(void *ctx, const char *name)
{
    static const char *const book[] = {".xhtml", ".html", ".htm", ".opf", ".xml", NULL};
    const parts *p = ctx;
    int f = 0;
    if (strcmp(p->format, "epub") == 0) return qu_name_ends(name, book); /* they may lie anywhere */
    while (strcmp(formats[f].format, p->format) != 0) f++;
    for (int i = 0; i < 8 && formats[f].parts[i]; i++) {
        const char *want = formats[f].parts[i];
        bool folder = want[strlen(want) - 1] == '/';
        if (folder ? starts_with(name, want) : strcmp(want, name) == 0) return true;
    }
    return false;
}

static qu_status keep_part(void *ctx, const char *name, const void *bytes, int64_t n,
                           const char *why, qu_err *err)
{
    parts *p = ctx;
    if (!bytes)
        return qu_fail(err, QU_ERR_FORMAT, "'%.100s' is damaged in '%.60s': %.60s", p->shown, name,
                       why);
    if (p->n == MAX_PARTS)
        return qu_fail(err, QU_ERR_LIMIT, "'%.100s' has more than %d parts", p->shown, MAX_PARTS);
    QU_TRY(qu_memory_grow(&p->v, &p->cap, p->n + 1, sizeof *p->v, err));
    part new = {.name = strdup(name)};
    if (!new.name) return qu_fail_nomem(err, 64);
    p->v[p->n++] = new;
    return qu_buf_add(&p->v[p->n - 1].data, bytes, (size_t)n, err);
}

static void free_parts(parts *p)
{
    for (int64_t i = 0; i < p->n; i++) {
        free(p->v[i].name);
        qu_buf_free(&p->v[i].data);
    }
    free(p->v);
}

/* What the part holds, empty if there is none. */
static const qu_buf *find_part(const parts *p, const char *name)
{
    static const qu_buf none;
    for (int64_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, name) == 0) return &p->v[i].data;
    return &none;
}

/* --- lists that say which parts there are and in which order --- */

/* Pairs of strings: an id, and what it stands for. */
typedef struct pairs {
    char (*v)[2][MAX_NAME];
    int64_t n, cap;
} pairs;

static void free_pairs(pairs *p)
{
    free(p->v);
}

static qu_status add_pair(pairs *p, const char *id, const char *means, qu_err *err)
{
    if (p->n == MAX_PARTS) return qu_fail(err, QU_ERR_LIMIT, "more than %d parts", MAX_PARTS);
    QU_TRY(qu_memory_grow(&p->v, &p->cap, p->n + 1, sizeof *p->v, err));
    snprintf(p->v[p->n][0], MAX_NAME, "%s", id);
    snprintf(p->v[p->n++][1], MAX_NAME, "%s", means);
    return QU_OK;
}

/* Which element and attributes make a pair; the text of the first title, too. */
typedef struct listing {
    const char *element, *id, *means;
    pairs *to;
    qu_buf *title;
    int in_title; /* 1: in the first one, 2: behind it */
} listing;

static qu_status on_listed(void *ctx, const qu_xml_event *e)
{
    listing *l = ctx;
    char id[MAX_NAME], means[MAX_NAME];
    if (l->title && l->in_title < 2) l->in_title += abs(qu_xml_step(e, "title"));
    if (e->kind == QU_XML_TEXT && l->in_title == 1)
        return qu_xml_escape(l->title, e->text, e->n, e->err);
    if (!l->element || !qu_xml_is(e, QU_XML_START, l->element)) return QU_OK;
    bool there = qu_xml_get(e, l->id, id, sizeof id);
    there |= qu_xml_get(e, l->means, means, sizeof means);
    return there ? add_pair(l->to, id, means, e->err) : QU_OK;
}

static qu_status list_part(const parts *p, const char *name, listing l, qu_err *err)
{
    const qu_buf *found = find_part(p, name);
    return qu_xml_parse(found->data, (int64_t)found->len, on_listed, &l, err);
}

static const char *look_up(const pairs *p, const char *id)
{
    for (int64_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i][0], id) == 0) return p->v[i][1];
    return NULL;
}

/* "folder/" + a target, which may be absolute or hold %XX and "../"; into name. */
static void resolve(char name[2 * MAX_NAME], const char *folder, const char *target)
{
    size_t n = 0;
    if (*target == '/') target++, folder = "";
    n = (size_t)snprintf(name, MAX_NAME, "%s", folder);
    for (; *target && *target != '#' && n + 1 < 2 * MAX_NAME; target++) {
        if (starts_with(target, "../")) {
            name[n] = 0;
            if (n > 0) name[n - 1] = 0;
            char *slash = strrchr(name, '/');
            n = slash ? (size_t)(slash + 1 - name) : 0;
            target += 2;
        } else if (*target == '%' && isxdigit((unsigned char)target[1]) &&
                   isxdigit((unsigned char)target[2])) {
            char hex[3] = {target[1], target[2], 0};
            name[n++] = (char)strtol(hex, NULL, 16);
            target += 2;
        } else {
            name[n++] = *target;
        }
    }
    name[n] = 0;
}

/* --- the formats --- */

static qu_status put_part(const parts *p, const char *name, const qu_markup *m, qu_err *err)
{
    const qu_buf *found = find_part(p, name);
    return qu_markup_write(m, found->data, (int64_t)found->len, err);
}

static qu_status put_word(const parts *p, qu_buf *html, qu_err *err)
{
    static const char *const in_order[] = {"word/document.xml", "word/footnotes.xml",
                                           "word/endnotes.xml", "word/comments.xml"};
    QU_OWN(qu_freep) qu_markup_style *styles = NULL;
    qu_markup m = {.kind = QU_MARKUP_OOXML, .out = html};
    const qu_buf *found = find_part(p, "word/styles.xml");
    QU_TRY(qu_markup_styles(&styles, &m.n_styles, found->data, (int64_t)found->len, err));
    m.styles = styles;
    for (int i = 0; i < 4; i++) QU_TRY(put_part(p, in_order[i], &m, err));
    return QU_OK;
}

/* A slide's notes have its number in their name in what all common programs write. */
static qu_status put_slide(const parts *p, qu_buf *html, const char *name, int number, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf title = {0}, body = {0};
    qu_markup m = {.kind = QU_MARKUP_OOXML, .out = &body, .title = &title};
    char notes[2 * MAX_NAME];
    const char *digits = strpbrk(name, "0123456789");
    QU_TRY(put_part(p, name, &m, err));
    snprintf(notes, sizeof notes, "ppt/notesSlides/notesSlide%s", digits ? digits : "");
    QU_TRY(put_part(p, notes, &m, err));
    return qu_buf_printf(html, err, "<h2>Slide %d%s%s</h2>\n%s", number, title.len ? ": " : "",
                         title.len ? title.data : "", body.len ? body.data : "");
}

/* Slides and sheets: ids in the order of the main part, targets from its relations. */
static qu_status put_listed(const parts *p, qu_buf *html, bool slides, qu_err *err)
{
    QU_OWN(free_pairs) pairs order = {0}, targets = {0};
    QU_OWN(qu_sheet_closep) qu_sheet_book *book = NULL;
    char name[2 * MAX_NAME];
    listing ids = {slides ? "sldId" : "sheet", "name", ":id", &order, NULL, 0},
            relations = {"Relationship", "Id", "Target", &targets, NULL, 0};
    const char *folder = slides ? "ppt/" : "xl/";
    QU_TRY(list_part(p, slides ? "ppt/presentation.xml" : "xl/workbook.xml", ids, err));
    QU_TRY(list_part(p, slides ? "ppt/_rels/presentation.xml.rels" : "xl/_rels/workbook.xml.rels",
                     relations, err));
    if (!slides)
        QU_TRY(qu_sheet_open(&book, find_part(p, "xl/sharedStrings.xml"),
                             find_part(p, "xl/styles.xml"), err));
    for (int64_t i = 0; i < order.n; i++) {
        const char *target = look_up(&targets, order.v[i][1]);
        if (!target) continue;
        resolve(name, folder, target);
        if (slides) {
            QU_TRY(put_slide(p, html, name, (int)i + 1, err));
        } else if (find_part(p, name)->len > 0) {
            QU_TRY(qu_buf_puts(html, "<h2>", err));
            QU_TRY(qu_xml_escape(html, order.v[i][0], (int64_t)strlen(order.v[i][0]), err));
            QU_TRY(qu_buf_puts(html, "</h2>\n", err));
            QU_TRY(qu_sheet_write(book, html, find_part(p, name), err));
        }
    }
    return QU_OK;
}

/* What stands between <body ...> and its end; all of it where there is no such. */
static qu_status put_chapter(qu_buf *html, const qu_buf *d, qu_err *err)
{
    const char *from = d->len ? strcasestr(d->data, "<body") : NULL, *to;
    from = from ? strchr(from, '>') : NULL;
    from = from ? from + 1 : d->data;
    to = from ? strcasestr(from, "</body") : NULL;
    if (!from) return QU_OK;
    return qu_buf_add(html, from, (size_t)((to ? to : d->data + d->len) - from), err);
}

static qu_status put_book(const parts *p, qu_buf *html, const char *opf, qu_err *err)
{
    QU_OWN(free_pairs) pairs items = {0}, spine = {0};
    char folder[MAX_NAME], name[2 * MAX_NAME];
    listing manifest = {"item", "id", "href", &items, NULL, 0};
    listing order = {"itemref", "idref", "idref", &spine, NULL, 0};
    snprintf(folder, sizeof folder, "%s", opf);
    char *slash = strrchr(folder, '/');
    folder[slash ? slash + 1 - folder : 0] = 0;
    QU_TRY(list_part(p, opf, manifest, err));
    QU_TRY(list_part(p, opf, order, err));
    for (int64_t i = 0; i < spine.n; i++) {
        const char *href = look_up(&items, spine.v[i][0]);
        if (!href) continue;
        resolve(name, folder, href);
        QU_TRY(put_chapter(html, find_part(p, name), err));
    }
    return QU_OK;
}

static qu_status put_all(const parts *p, qu_buf *html, qu_err *err)
{
    QU_OWN(free_pairs) pairs roots = {0};
    const char *about = *p->format == 'o' ? "meta.xml" : "docProps/core.xml";
    qu_markup m = {.kind = *p->format == 'o' && p->format[2] == 's' ? QU_MARKUP_ODS : QU_MARKUP_ODF,
                   .out = html};
    if (strcmp(p->format, "epub") == 0) {
        listing root = {"rootfile", "full-path", "full-path", &roots, NULL, 0};
        QU_TRY(list_part(p, "META-INF/container.xml", root, err));
        about = roots.n ? roots.v[0][0] : "";
    }
    listing title = {NULL, NULL, NULL, NULL, html, 0};
    QU_TRY(qu_buf_puts(html, "\xEF\xBB\xBF<html><head><title>", err));
    QU_TRY(list_part(p, about, title, err));
    QU_TRY(qu_buf_puts(html, "</title></head><body>\n", err));
    if (strcmp(p->format, "docx") == 0) return put_word(p, html, err);
    if (strcmp(p->format, "epub") == 0) return put_book(p, html, about, err);
    if (*p->format == 'o') return put_part(p, "content.xml", &m, err);
    return put_listed(p, html, *p->format == 'p', err);
}

qu_status qu_office_html(qu_buf *html, const void *bytes, int64_t n, const char *format,
                         const char *shown, qu_err *err)
{
    QU_OWN(free_parts) parts p = {.format = format, .shown = shown};
    QU_TRY(qu_archive_read(bytes, n, shown, want_part, keep_part, &p, err));
    return put_all(&p, html, err);
}

qu_status qu_xml_html(qu_buf *html, const void *bytes, int64_t n, qu_err *err)
{
    qu_markup m = {.kind = QU_MARKUP_XML, .out = html};
    QU_TRY(qu_buf_puts(html, "\xEF\xBB\xBF<html><body>\n", err));
    return qu_markup_write(&m, bytes, n, err);
}
