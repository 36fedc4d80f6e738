#include "ingest/document.h"

#include <stdio.h>
#include <strings.h>

#include "ingest/builder.h"
#include "ingest/charset.h"

enum {
    MAX_TITLE_BYTES = 200,
    MAX_TITLE_LINE = 100, /* a first line up to this long may be the title */
    MIN_RUNS = 1 << 16,   /* runs that are always kept; beyond it one for each 8 raw bytes */
    SNIFF_HTML = 4096,
};

bool qu_is_listed(const char *list, const char *word, int64_t n)
{
    for (size_t k; *list; list += k + (list[k] == ' ')) {
        k = strcspn(list, " ");
        if (k == (size_t)n && strncmp(list, word, k) == 0) return true;
    }
    return false;
}

bool qu_name_ends(const char *name, const char *const *endings)
{
    static const char *const packed[] = {".gz", ".bz2", ".xz", ".zst", NULL};
    size_t n = name ? strlen(name) : 0;
    for (int i = 0; packed[i]; i++) {
        size_t m = strlen(packed[i]);
        if (n > m && strcasecmp(name + n - m, packed[i]) == 0) n -= m;
    }
    for (; *endings; endings++) {
        size_t m = strlen(*endings);
        if (n > m && strncasecmp(name + n - m, *endings, m) == 0) return true;
    }
    return false;
}

/* Does the content begin like an HTML page, declarations and comments aside? */
static bool sniff_html(const char *s, int64_t n)
{
    int64_t i = 0;
    if (n > SNIFF_HTML) n = SNIFF_HTML;
    if (n >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0) i = 3;
    for (;;) {
        while (i < n && (qu_is_space(s[i]) || s[i] == '\r')) i++;
        bool comment = n - i > 4 && memcmp(s + i, "<!--", 4) == 0;
        if (!comment && !(n - i > 5 && memcmp(s + i, "<?xml", 5) == 0)) break;
        const char *end = comment ? "-->" : "?>";
        const char *p = memmem(s + i, (size_t)(n - i), end, strlen(end));
        if (!p) return false;
        i = p - s + (int64_t)strlen(end);
    }
    return (n - i > 14 && strncasecmp(s + i, "<!doctype html", 14) == 0) ||
           (n - i > 6 && strncasecmp(s + i, "<html", 5) == 0 && strchr("> \t\r\n", s[i + 5]));
}

bool qu_document_is_html(const void *bytes, int64_t n, const char *name)
{
    static const char *const html[] = {".html", ".htm", ".xhtml", ".shtml", NULL};
    return !qu_name_ends(name, qu_markdown_names) &&
           (qu_name_ends(name, html) || sniff_html(bytes, n));
}

/* One line: blanks folded, trimmed, cut between characters. */
static qu_status set_title(qu_document *doc, const char *p, int64_t n, qu_err *err)
{
    char *t = malloc(MAX_TITLE_BYTES + 1);
    int64_t len = 0;
    if (!t) return qu_fail_nomem(err, MAX_TITLE_BYTES + 1);
    for (int64_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (len + (c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1) > MAX_TITLE_BYTES) break;
        if (!qu_is_space(p[i]))
            t[len++] = p[i];
        else if (len > 0 && t[len - 1] != ' ')
            t[len++] = ' ';
    }
    if (len > 0 && t[len - 1] == ' ') len--;
    t[len] = 0;
    doc->title = t;
    return QU_OK;
}

/* The declared title, else the first heading, else a short first line. */
static qu_status find_title(qu_document *doc, const qu_builder *b, qu_err *err)
{
    const char *t = b->text.data;
    int64_t n = (int64_t)b->text.len, i = 0;
    if (!qu_is_blank(&b->title))
        return set_title(doc, b->title.data, (int64_t)b->title.len, err);
    for (int64_t k = 0; k < b->n_headings; k++) {
        qu_heading h = b->headings[k];
        if (h.text_end > h.text_start)
            return set_title(doc, t + h.text_start, h.text_end - h.text_start, err);
    }
    while (i < n && qu_is_space(t[i])) i++;
    const char *nl = memchr(t + i, '\n', (size_t)(n - i));
    int64_t len = nl ? nl - (t + i) : n - i;
    return set_title(doc, t + i, len <= MAX_TITLE_LINE ? len : 0, err);
}

/* Decode and parse. */
static qu_status build(qu_builder *b, qu_document *doc, const uint8_t *bytes, int64_t n,
                       const char *name, bool html, qu_err *err)
{
    const char *shown = name ? name : "input";
    b->runs.max = MIN_RUNS + n / 8;
    QU_TRY(qu_buf_reserve(&b->text, (size_t)n, err));
    bool markup = html || (n > 5 && memcmp(bytes, "<?xml", 5) == 0);
    QU_TRY(qu_charset_decode(&b->text, &b->runs, doc->charset, bytes, n, markup, shown, err));
    html |=
        !qu_name_ends(name, qu_markdown_names) && sniff_html(b->text.data, (int64_t)b->text.len);
    bool done = true;
    snprintf(doc->format, sizeof doc->format, "html");
    if (html)
        QU_TRY(qu_builder_rewrite(b, qu_html_parse, &done, err));
    else
        QU_TRY(qu_text_parse(b, name, doc->format, err));
    if (!done || qu_is_blank(&b->text))
        return qu_fail(err, QU_ERR_FORMAT, "file '%s' is empty: nothing to index", shown);
    return qu_builder_end(b, err);
}

/* Hand the builder's arrays over to the document. */
static void take(qu_document *doc, qu_builder *b)
{
    char *fit = realloc(b->text.data, b->text.len + 1);
    doc->text = fit ? fit : b->text.data;
    doc->text_bytes = (int64_t)b->text.len;
    doc->cuts = QU_TAKE(b->cuts);
    doc->n_cuts = b->n_cuts;
    doc->headings = QU_TAKE(b->headings);
    doc->n_headings = b->n_headings;
    doc->has_source = !b->runs.full; /* else there are none */
    doc->runs = QU_TAKE(b->runs.v);
    doc->n_runs = b->runs.n;
    b->text = (qu_buf){0};
}

static qu_status parse(qu_document *doc, const void *bytes, int64_t n, const char *name, bool html,
                       qu_err *err)
{
    QU_OWN(qu_builder_free) qu_builder b = {0};
    qu_document made = {0};
    memset(doc, 0, sizeof *doc);
    QU_TRY(build(&b, &made, n ? bytes : "", n, name, html, err));
    QU_TRY(find_title(&made, &b, err));
    take(&made, &b);
    *doc = made;
    return QU_OK;
}

qu_status qu_document_parse(qu_document *doc, const void *bytes, int64_t n, const char *name,
                            qu_err *err)
{
    QU_TRY(parse(doc, bytes, n, name, qu_document_is_html(bytes, n, name), err));
    doc->content_hash = qu_hash_bytes(n ? bytes : "", (size_t)n, 0);
    return QU_OK;
}

qu_status qu_document_derive(qu_document *doc, const qu_buf *text, bool html, const char *format,
                             const char *title, qu_err *err)
{
    QU_TRY(parse(doc, text->data, (int64_t)text->len, NULL, html, err));
    free(doc->runs);
    doc->runs = NULL;
    doc->n_runs = 0;
    doc->has_source = false;
    snprintf(doc->format, sizeof doc->format, "%s", format);
    if (!title || !*title) return QU_OK;
    QU_OWN(qu_buf_free) qu_buf clean = {0};
    qu_runs runs = {.full = true};
    char charset[32];
    qu_err why = {0};
    qu_status st = qu_charset_decode(&clean, &runs, charset, (const uint8_t *)title,
                                     (int64_t)strlen(title), false, "title", &why);
    if (st == QU_ERR_UNSUPPORTED || (st == QU_OK && qu_is_blank(&clean)))
        return QU_OK; /* that of the text stays */
    free(QU_TAKE(doc->title));
    if (st == QU_OK) st = set_title(doc, clean.data, (int64_t)clean.len, &why);
    if (st != QU_OK && err) *err = why;
    if (st != QU_OK) qu_document_free(doc);
    return st;
}

bool qu_document_map_fits(const qu_source_run *runs, int64_t n_runs, const qu_heading *headings,
                          int64_t n_headings, int64_t text_bytes, int64_t raw_bytes)
{
    int64_t text_end = 0, source_end = 0, before = 0;
    for (int64_t i = 0; i < n_headings; i++) {
        const qu_heading *h = &headings[i];
        if (h->at < before || h->text_start < h->at || h->text_end < h->text_start ||
            h->text_end > text_bytes || h->level < 0 || h->level > 6)
            return false;
        before = h->at;
    }
    for (int64_t i = 0; i < n_runs; i++) {
        qu_source_run r = runs[i];
        if (r.n < 0 || r.text_at < text_end || r.source_at < source_end ||
            r.text_at > text_bytes - r.n || r.source_at > raw_bytes - r.n)
            return false;
        text_end = r.text_at + r.n;
        source_end = r.source_at + r.n;
    }
    return true;
}

void qu_document_free(qu_document *doc)
{
    free(doc->text);
    free(doc->title);
    free(doc->cuts);
    free(doc->headings);
    free(doc->runs);
    memset(doc, 0, sizeof *doc);
}

/* Raw position of a text position: as the begin of a range the latest one, as its end the earliest.
 */
static int64_t source_of(const qu_source_run *runs, int64_t n_runs, int64_t at, bool begin)
{
    int64_t low = 0,
            high =
                n_runs; /* begin: first run that starts behind at; else: that ends at or behind */
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        const qu_source_run *r = &runs[mid];
        if (begin ? r->text_at > at : r->text_at + r->n >= at)
            high = mid;
        else
            low = mid + 1;
    }
    if (begin) {
        if (low == 0) return runs[0].source_at;
        const qu_source_run *r = &runs[low - 1];
        return r->source_at + (at - r->text_at < r->n ? at - r->text_at : r->n);
    }
    if (low == n_runs) return runs[n_runs - 1].source_at + runs[n_runs - 1].n;
    return runs[low].source_at + (at > runs[low].text_at ? at - runs[low].text_at : 0);
}

void qu_document_source_range(const qu_source_run *runs, int64_t n_runs, int64_t text_start,
                              int64_t text_end, int64_t *byte_start, int64_t *byte_end)
{
    *byte_start = *byte_end = 0;
    if (n_runs <= 0 || text_end <= text_start) return;
    *byte_start = source_of(runs, n_runs, text_start, true);
    *byte_end = source_of(runs, n_runs, text_end, false);
}
