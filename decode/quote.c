#include "decode/quote.h"

#include <utf8proc.h>

#include "base/memory.h"

/* A token of a page: where its text begins. Its end is where the next one begins. */
typedef struct place {
    int32_t id, page;
    int64_t at;
} place;

typedef struct page {
    const char *text;
    int64_t n_text;
    int32_t end; /* places of the page end here */
} page;

typedef enum state { START, SPAN, SEPARATED, ENDED } state;

struct qu_quote {
    const qu_tokenizer *t;
    int32_t n_vocab;
    place *places;
    page *pages;
    int32_t n_places, n_pages;
    int32_t *starts; /* [n_starts] places that may begin a span, by id, then by place */
    int32_t n_starts;
    int32_t *ends; /* [n_ends] tokens that end an answer, ascending */
    int32_t n_ends;
    int32_t breaks[2]; /* newline, blank line: the separator, and ends where none may follow */
    int32_t *found;    /* [n_found] places of the span's last token */
    int32_t n_found, length; /* length: tokens of the span */
    int32_t *ids;            /* what allowed returns */
    int64_t pages_cap, places_cap, starts_cap, found_cap, ids_cap;
    bool sorted;
    state at;
    qu_quote_span spans[QU_QUOTE_SPANS];
    int32_t n_spans;
};

/* --- borders --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Does c continue a word that stands before it or is continued behind it? Scripts written without
 * blanks have a border at every character. */
static bool in_word(utf8proc_int32_t c)
{
    if ((c >= 0x0E00 && c < 0x1000) || (c >= 0x2E80 && c < 0xAC00) || (c >= 0xF900 && c < 0xFB00) ||
        c >= 0x20000)
        return false;
    utf8proc_category_t k = utf8proc_category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NO);
}

static bool is_border(const page *p, int64_t at)
{
    if (at <= 0 || at >= p->n_text) return true;
    const utf8proc_uint8_t *text = (const utf8proc_uint8_t *)p->text;
    int64_t from = at - 1;
    utf8proc_int32_t before, after;
    if ((text[at] & 0xC0) == 0x80) return false;
    while (from > 0 && (text[from] & 0xC0) == 0x80) from--;
    utf8proc_iterate(text + from, at - from, &before);
    utf8proc_iterate(text + at, p->n_text - at, &after);
    if (after >= 0 && utf8proc_category(after) >= UTF8PROC_CATEGORY_MN &&
        utf8proc_category(after) <= UTF8PROC_CATEGORY_ME)
        return false; /* a mark belongs to what it stands on */
    return before < 0 || after < 0 || !in_word(before) || !in_word(after);
}

static int64_t end_of(const qu_quote *q, int32_t i)
{
    const page *p = &q->pages[q->places[i].page];
    return i + 1 < p->end ? q->places[i + 1].at : p->n_text;
}

static bool ends_well(const qu_quote *q, int32_t i)
{
    return is_border(&q->pages[q->places[i].page], end_of(q, i));
}

/* A span begins at the first character of a word, a number, a symbol or an opening bracket or
 * quotation mark, with or without the blank before it. */
static bool starts_well(const qu_quote *q, int32_t i)
{
    const page *p = &q->pages[q->places[i].page];
    int64_t at = q->places[i].at, end = end_of(q, i);
    utf8proc_int32_t c;
    while (at < end && is_space(p->text[at])) at++;
    if (at == end || !is_border(p, at)) return false;
    utf8proc_iterate((const utf8proc_uint8_t *)p->text + at, p->n_text - at, &c);
    utf8proc_category_t k = c < 0 ? UTF8PROC_CATEGORY_CN : utf8proc_category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) ||
           (k >= UTF8PROC_CATEGORY_SM && k <= UTF8PROC_CATEGORY_SO) || k == UTF8PROC_CATEGORY_PS ||
           k == UTF8PROC_CATEGORY_PI || c == '"' || c == '\'';
}

/* --- making --- */

static int32_t single_token(const qu_tokenizer *t, const char *text, qu_err *err, qu_status *st)
{
    QU_OWN(qu_tokens_free) qu_tokens ids = {0};
    int32_t id = -1;
    if (*st == QU_OK) *st = qu_tokenize(t, &ids, text, strlen(text), QU_TOK_CONTINUE, err);
    if (*st == QU_OK && ids.n == 1) id = ids.ids[0];
    return id;
}

qu_status qu_quote_create(qu_quote **out, const qu_tokenizer *t, qu_err *err)
{
    qu_quote *q;
    *out = NULL;
    QU_TRY(qu_memory_take(&q, 1, sizeof *q, err));
    q->t = t;
    q->n_vocab = qu_tokenizer_n_vocab(t);
    for (int32_t id = 0; id < q->n_vocab; id++) q->n_ends += qu_tokenizer_is_end(t, id);
    qu_status st = qu_memory_take(&q->ends, q->n_ends, sizeof *q->ends, err);
    if (st == QU_OK) st = qu_memory_grow(&q->ids, &q->ids_cap, q->n_ends + 3, sizeof *q->ids, err);
    for (int32_t id = 0, n = 0; st == QU_OK && id < q->n_vocab; id++)
        if (qu_tokenizer_is_end(t, id)) q->ends[n++] = id;
    q->breaks[0] = single_token(t, QU_QUOTE_SEPARATOR, err, &st);
    q->breaks[1] = single_token(t, "\n\n", err, &st);
    if (st == QU_OK)
        *out = q;
    else
        qu_quote_free(q);
    return st;
}

void qu_quote_free(qu_quote *q)
{
    if (!q) return;
    free(q->places);
    free(q->pages);
    free(q->starts);
    free(q->ends);
    free(q->found);
    free(q->ids);
    free(q);
}

qu_status qu_quote_add(qu_quote *q, const int32_t *ids, int32_t n, const char *text, size_t n_text,
                       qu_err *err)
{
    int64_t all = (int64_t)q->n_places + n;
    QU_TRY(qu_memory_grow(&q->pages, &q->pages_cap, q->n_pages + 1ll, sizeof *q->pages, err));
    QU_TRY(qu_memory_grow(&q->places, &q->places_cap, all, sizeof *q->places, err));
    QU_TRY(qu_memory_grow(&q->starts, &q->starts_cap, all, sizeof *q->starts, err));
    QU_TRY(qu_memory_grow(&q->found, &q->found_cap, all, sizeof *q->found, err));
    QU_TRY(qu_memory_grow(&q->ids, &q->ids_cap, all + q->n_ends + 3, sizeof *q->ids, err));
    int64_t at = 0;
    bool same = true;
    for (int32_t i = 0; i < n; i++) {
        const char *part;
        size_t len;
        if (ids[i] < 0 || ids[i] >= q->n_vocab)
            return qu_fail(err, QU_ERR_ARG, "token id %d is outside the vocabulary of %d", ids[i],
                           q->n_vocab);
        qu_token_text(q->t, ids[i], 0, &part, &len);
        q->places[q->n_places + i] = (place){ids[i], q->n_pages, at};
        same = same && at + (int64_t)len <= (int64_t)n_text && memcmp(text + at, part, len) == 0;
        at += (int64_t)len;
    }
    int32_t first = q->n_places;
    if (same && at == (int64_t)n_text) q->n_places += n;
    q->pages[q->n_pages++] = (page){text, (int64_t)n_text, q->n_places};
    for (int32_t i = first; i < q->n_places; i++)
        if (starts_well(q, i)) q->starts[q->n_starts++] = i;
    return QU_OK;
}

static int by_id(const void *a, const void *b, void *places)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    const place *p = places;
    if (p[i].id != p[j].id) return p[i].id < p[j].id ? -1 : 1;
    return (i > j) - (i < j);
}

static int by_value(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    return (i > j) - (i < j);
}

/* --- decoding --- */

static int32_t unique(int32_t *ids, int32_t n)
{
    int32_t k = 0;
    qsort(ids, (size_t)n, sizeof *ids, by_value);
    for (int32_t i = 0; i < n; i++)
        if (k == 0 || ids[k - 1] != ids[i]) ids[k++] = ids[i];
    return k;
}

static bool goes_on(const qu_quote *q, int32_t i)
{
    return i + 1 < q->pages[q->places[i].page].end;
}

int32_t qu_quote_allowed(qu_quote *q, const int32_t **ids)
{
    int32_t n = 0;
    bool may_end = q->at != SPAN;
    if (!q->sorted && q->n_starts > 0)
        qsort_r(q->starts, (size_t)q->n_starts, sizeof *q->starts, by_id, q->places);
    q->sorted = true;
    for (int32_t i = 0; q->at != SPAN && i < q->n_starts; i++) {
        int32_t id = q->places[q->starts[i]].id;
        if (n == 0 || q->ids[n - 1] != id) q->ids[n++] = id;
    }
    for (int32_t i = 0; q->at == SPAN && i < q->n_found; i++) {
        if (goes_on(q, q->found[i])) q->ids[n++] = q->places[q->found[i] + 1].id;
        may_end = may_end || ends_well(q, q->found[i]);
    }
    for (int32_t i = 0; may_end && i < q->n_ends; i++) q->ids[n++] = q->ends[i];
    for (int i = 0; may_end && q->at != START && i < 2; i++)
        if (q->breaks[i] >= 0) q->ids[n++] = q->breaks[i];
    *ids = q->ids;
    if (n == 0) q->ids[n++] = 0; /* no way on and no end token: whatever comes ends the answer */
    return unique(q->ids, n);
}

int32_t qu_quote_follow(const qu_quote *q, int32_t *ids, int32_t n)
{
    int32_t k = 0;
    if (q->at != SPAN) return 0;
    for (int32_t i = q->found[0]; k < n && goes_on(q, i); i++) ids[k++] = q->places[i + 1].id;
    return k;
}

/* The text of places [first, last] without white space at its ends. */
static qu_quote_span span_of(const qu_quote *q, int32_t first, int32_t last)
{
    const char *text = q->pages[q->places[first].page].text;
    qu_quote_span s = {q->places[first].page, q->places[first].at, end_of(q, last)};
    while (s.start < s.end && is_space(text[s.start])) s.start++;
    while (s.end > s.start && is_space(text[s.end - 1])) s.end--;
    return s;
}

static bool begin(qu_quote *q, int32_t id)
{
    q->n_found = 0;
    q->length = 1;
    for (int32_t i = 0; i < q->n_starts; i++)
        if (q->places[q->starts[i]].id == id) q->found[q->n_found++] = q->starts[i];
    q->at = q->n_found ? SPAN : ENDED;
    return q->n_found == 0;
}

/* Close the span at a place where it may end; the first text counts. */
static void close_span(qu_quote *q)
{
    for (int32_t i = 0; i < q->n_found; i++) {
        if (!ends_well(q, q->found[i])) continue;
        q->spans[q->n_spans++] = span_of(q, q->found[i] - q->length + 1, q->found[i]);
        return;
    }
}

bool qu_quote_take(qu_quote *q, int32_t id)
{
    if (q->at == START || q->at == SEPARATED) return begin(q, id);
    int32_t n = 0;
    for (int32_t i = 0; q->at == SPAN && i < q->n_found; i++)
        if (goes_on(q, q->found[i]) && q->places[q->found[i] + 1].id == id)
            q->found[n++] = q->found[i] + 1;
    if (n > 0) {
        q->n_found = n;
        q->length++;
        return false;
    }
    if (q->at == SPAN) close_span(q);
    q->at = id >= 0 && id == q->breaks[0] && q->n_spans < QU_QUOTE_SPANS ? SEPARATED : ENDED;
    return q->at == ENDED;
}

int32_t qu_quote_spans(const qu_quote *q, qu_quote_span *spans)
{
    int32_t n = q->n_spans;
    memcpy(spans, q->spans, (size_t)n * sizeof *spans);
    if (q->at != SPAN) return n;
    int32_t last = q->found[0], first = last - q->length + 1;
    while (last >= first && !ends_well(q, last)) last--;
    if (last >= first) spans[n++] = span_of(q, first, last);
    return n;
}
