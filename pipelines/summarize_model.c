/* Summaries by the model: sections of stored pages are each summed up, then the parts together.
 *
 *   pages of the document, at most --pages of them, the best by their sentences' scores
 *     -> sections that fit the window   [prefix][header][pages ...] PROMPT   -> a part each
 *     -> while there are several parts: [prefix][header][parts ...] PROMPT   -> fewer
 *
 * Each section is a question of pipelines/answer_int.h whose plan is made here. Several documents
 * may be under way, a thread each: what they read and attend to is their own, the products of their
 * tokens are made together (decode/batch.h).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "base/os.h"
#include "pipelines/answer_int.h"
#include "pipelines/signals.h"
#include "pipelines/summarize.h"

#define NO_SUMMARY                                                                                 \
    "model '%s' wrote no summary: --extractive makes one of the document's own sentences"

enum { PART_CITATIONS = 1, MIN_ROOM = 64 };

struct qu_summarizer {
    qu_asker a;
    qu_session own; /* of a seat among several: the session without its threads */
    bool is_first;   /* owns the encoder and the batch */
    const char *prompt;
    int32_t max_pages;
    int64_t generated; /* tokens of the synopsis that is being written */
};

/* A document's chosen pages, the header first. */
typedef struct selection {
    qu_page *pages;
    int32_t *index; /* [n] ascending page numbers, 0 is index[0] */
    int32_t n, n_pages;
    int64_t n_tokens; /* without the header */
} selection;

qu_status qu_summarizer_create(qu_summarizer **out, qu_session *s, const char *prompt,
                               int32_t max_pages, int32_t max_words, bool side_by_side, qu_err *err)
{
    QU_OWN(qu_summarizer_freep) qu_summarizer *z = NULL;
    qu_ask_options o = {.max_tokens = max_words * 3 / 2 + 16, .max_wait_s = 1e12};
    *out = NULL;
    QU_TRY(qu_memory_take(&z, 1, sizeof *z, err));
    z->is_first = true;
    QU_TRY(qu_asker_open(&z->a, s, &o, err));
    if (side_by_side) QU_TRY(qu_batch_create(&z->a.batch, s->pool, err));
    z->own = *s;
    z->own.pool = NULL;
    if (side_by_side) z->a.s = &z->own;
    z->prompt = prompt;
    z->max_pages = max_pages;
    *out = QU_TAKE(z);
    return QU_OK;
}

qu_status qu_summarizer_seat(qu_summarizer **out, const qu_summarizer *first, qu_err *err)
{
    QU_OWN(qu_freep) qu_summarizer *z = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&z, 1, sizeof *z, err));
    *z = *first;
    z->is_first = false;
    z->a.s = &z->own;
    z->a.fresh = (qu_fresh){0};
    QU_TRY(qu_memory_take(&z->a.logits, z->own.model->vocab, sizeof *z->a.logits, err));
    *out = QU_TAKE(z);
    return QU_OK;
}

void qu_summarizer_free(qu_summarizer *z)
{
    if (!z) return;
    if (z->is_first)
        qu_batch_free(z->a.batch);
    else
        z->a.encoder = NULL; /* the first one's */
    qu_asker_close(&z->a);
    free(z);
}

/* --- which pages --- */

typedef struct scored {
    int32_t page;
    double score;
} scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->page - y->page;
}

static int by_number(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* The best max_pages pages: a page's score is that of its sentences, which the extractive method
 * ranks. */
static qu_status choose_pages(selection *sel, qu_txn *t, const qu_doc *d, int32_t max_pages,
                              qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_digest_free) qu_digest g = {0};
    QU_OWN(qu_freep) scored *order = NULL;
    QU_TRY(qu_memory_take(&order, sel->n_pages, sizeof *order, err));
    QU_TRY(qu_catalogue_text(t, d->doc_id, 0, d->text_bytes, &text, err));
    QU_TRY(
        qu_digest_make(&g, text.data ? text.data : "", (int64_t)text.len, QU_DIGEST_GRAPH, 1, err));
    for (int32_t i = 1; i < sel->n_pages; i++) order[i].page = i;
    for (int32_t i = 0, p = 1; i < g.n; i++) {
        while (p + 1 < sel->n_pages && sel->pages[p + 1].text_start <= g.sentences[i].start) p++;
        order[p].score += (double)g.sentences[i].score;
    }
    qsort(order + 1, (size_t)sel->n_pages - 1, sizeof *order, best_first);
    for (int32_t i = 1; i <= max_pages; i++) sel->index[i] = order[i].page;
    sel->n = max_pages + 1;
    qsort(sel->index, (size_t)sel->n, sizeof *sel->index, by_number);
    return QU_OK;
}

static qu_status select_pages(selection *sel, qu_txn *t, const qu_doc *d, int32_t max_pages,
                              qu_err *err)
{
    QU_TRY(qu_catalogue_pages(t, d->doc_id, &sel->pages, &sel->n_pages, err));
    QU_TRY(qu_memory_take(&sel->index, sel->n_pages + 1, sizeof *sel->index, err));
    if (sel->n_pages - 1 > max_pages) {
        QU_TRY(choose_pages(sel, t, d, max_pages, err));
    } else {
        for (; sel->n < sel->n_pages; sel->n++) sel->index[sel->n] = sel->n;
    }
    for (int32_t i = 1; i < sel->n; i++) sel->n_tokens += sel->pages[sel->index[i]].n_tokens;
    return QU_OK;
}

/* --- one pass of the model --- */

static qu_status make_tail(const qu_summarizer *z, qu_tokens *tail, qu_err *err)
{
    return qu_template_instruct(z->a.s->template, z->a.s->tok, "", z->prompt, tail, err);
}

/* Tokens that the window leaves for pages: *room. */
static qu_status measure_room(const qu_summarizer *z, int64_t header, int64_t *room, qu_err *err)
{
    const qu_session *s = z->a.s;
    QU_OWN(qu_tokens_free) qu_tokens tail = {0};
    qu_status st = make_tail(z, &tail, err);
    *room = s->model->context - s->prefix.n - header - tail.n - z->a.o.max_tokens;
    if (st == QU_OK && *room < MIN_ROOM)
        st = qu_fail(err, QU_ERR_LIMIT,
                     "prompt of %" PRId64
                     " tokens and a summary of up to %d do not fit the window of "
                     "%d: shorten --prompt or --length",
                     (int64_t)tail.n, z->a.o.max_tokens, s->model->context);
    return st;
}

/* The header and the selected pages [from, to) as a plan without gaps. */
static qu_status plan_section(ask_run *r, qu_txn *t, uint64_t doc_id, const selection *sel,
                              int32_t from, int32_t to, qu_err *err)
{
    QU_TRY(qu_answer_plan(r, 1, to - from + 1, err));
    QU_TRY(qu_catalogue_get_doc(t, doc_id, &r->plan.docs[0].doc, err));
    for (int32_t i = from - 1; i < to; i++) {
        int32_t page = i < from ? 0 : sel->index[i];
        const qu_page *record = &sel->pages[page];
        answer_page *x = &r->pages[r->plan.n_pages];
        qu_answer_plan_page(r, 0, page, record);
        QU_TRY(qu_catalogue_text(t, doc_id, record->text_start, record->text_end, &x->text, err));
        QU_TRY(qu_catalogue_ids(t, doc_id, page, 1, &x->ids, err));
    }
    r->plan.docs[0].whole = r->plan.n_pages == sel->n_pages;
    return QU_OK;
}

/* The model's words after what stands in r->c, or what its plan says: appended to out with a NUL.
 * QU_ERR_UNSUPPORTED: none. */
static qu_status write_part(qu_summarizer *z, ask_run *r, qu_buf *out, qu_err *err)
{
    QU_TRY(make_tail(z, &r->tail, err));
    QU_TRY(qu_answer_model(r, err));
    z->generated += r->ans->generated_tokens;
    if (!r->ans->found)
        return qu_fail(err, QU_ERR_UNSUPPORTED, NO_SUMMARY, r->a->s->model->name);
    return qu_buf_add(out, r->ans->text.data, r->ans->text.len + 1, err);
}

static qu_status take_citations(qu_synopsis *s, ask_run *r, int32_t most, qu_err *err)
{
    int32_t n = r->ans->n_citations < most ? r->ans->n_citations : most;
    qu_citation *p = realloc(s->citations, (size_t)(s->n + n + 1) * sizeof *p);
    if (!p) return qu_fail_nomem(err, 64);
    s->citations = p;
    for (int32_t i = 0; i < n; i++) {
        p[s->n++] = r->ans->citations[i];
        r->ans->citations[i] = (qu_citation){0}; /* its strings moved */
    }
    return QU_OK;
}

/* One section's part, if the model finds words, NUL-ended, appended to parts. */
static qu_status map_section(qu_summarizer *z, qu_synopsis *s, const qu_doc *d,
                             const selection *sel, int32_t from, int32_t to, int32_t most,
                             qu_buf *parts, qu_err *err)
{
    QU_OWN(qu_answer_free) qu_answer ans = {0};
    qu_err why = {0};
    qu_txn *t;
    QU_OWN(qu_answer_end)
    ask_run r = {.a = &z->a, .question = z->prompt, .ans = &ans, .started_ms = qu_os_now_ms()};
    if (qu_signals_stop()) return qu_fail(err, QU_ERR_CANCELLED, "stopped");
    QU_TRY(qu_txn_begin(&t, z->a.s->store, QU_TXN_READ, err));
    qu_status st = plan_section(&r, t, d->doc_id, sel, from, to, err);
    qu_txn_abort(t); /* none is held while generating */
    QU_TRY(st);
    s->pages_read += to - from;
    st = write_part(z, &r, parts, &why);
    if (st == QU_ERR_UNSUPPORTED) return QU_OK; /* other sections may have more to say */
    if (st != QU_OK) return qu_fail(err, st, "%s", why.msg);
    QU_TRY(qu_answer_cite(&r, err));
    return take_citations(s, &r, most, err);
}

/* Tokens as pages behind the prefix. */
static qu_status prefill(ask_run *r, const qu_tokens *ids, qu_err *err)
{
    qu_session *s = r->a->s;
    int32_t n = (int32_t)((ids->n + QU_PAGE_TOKENS - 1) / QU_PAGE_TOKENS);
    QU_OWN(qu_freep) qu_page_tokens *pages = NULL;
    QU_TRY(qu_memory_take(&pages, n, sizeof *pages, err));
    for (int32_t i = 0; i < n; i++) {
        int64_t at = (int64_t)i * QU_PAGE_TOKENS, left = ids->n - at;
        pages[i] = (qu_page_tokens){ids->ids + at,
                                    (int32_t)(left < QU_PAGE_TOKENS ? left : QU_PAGE_TOKENS),
                                    s->prefix.n + at};
    }
    r->plan.end_pos = s->prefix.n + ids->n;
    QU_TRY(qu_context_create(&r->c, s->model, s->pool, s->codec, err));
    QU_TRY(qu_encoder_attach_prefix(r->a->encoder, r->c, err));
    return qu_context_prefill(r->c, pages, n, NULL, err);
}

/* As many of the parts as fit the room (at least two; what is too much of them is cut) become one.
 * *used: bytes of parts that went in. */
static qu_status reduce_some(qu_summarizer *z, const qu_doc *d, const char *parts, size_t n,
                             int64_t room, size_t *used, qu_buf *out, qu_err *err)
{
    QU_OWN(qu_answer_free) qu_answer ans = {0};
    QU_OWN(qu_tokens_free) qu_tokens ids = {0};
    QU_OWN(qu_answer_end)
    ask_run r = {.a = &z->a, .question = z->prompt, .ans = &ans, .started_ms = qu_os_now_ms()};
    const qu_session *s = z->a.s;
    int n_parts = 0;
    *used = 0;
    if (qu_signals_stop()) return qu_fail(err, QU_ERR_CANCELLED, "stopped");
    QU_TRY(qu_template_header(s->template, s->tok, d->title, &ids, err));
    room += ids.n;
    while (*used < n) {
        size_t len = strlen(parts + *used);
        int64_t before = ids.n;
        QU_TRY(qu_template_text(s->template, s->tok, parts + *used, len, &ids, err));
        QU_TRY(qu_tokenize(s->tok, &ids, "\n\n", 2, QU_TOK_CONTINUE, err));
        if (ids.n > room && n_parts >= 2) {
            ids.n = before;
            break;
        }
        *used += len + 1;
        n_parts++;
    }
    if (ids.n > room) ids.n = room;
    QU_TRY(prefill(&r, &ids, err));
    return write_part(z, &r, out, err);
}

static size_t count_parts(const qu_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++) n += b->data[i] == 0;
    return n;
}

/* Parts until one is left. */
static qu_status reduce(qu_summarizer *z, const qu_doc *d, int64_t room, qu_buf *parts, qu_err *err)
{
    while (count_parts(parts) > 1) {
        qu_buf next = {0};
        qu_status st = QU_OK;
        for (size_t at = 0, used = 0; st == QU_OK && at < parts->len; at += used) {
            size_t len = strlen(parts->data + at) + 1;
            if (at + len == parts->len && at > 0) { /* a last one alone is as good as reduced */
                used = len;
                st = qu_buf_add(&next, parts->data + at, len, err);
            } else {
                st = reduce_some(z, d, parts->data + at, parts->len - at, room, &used, &next, err);
            }
        }
        qu_buf_free(parts);
        *parts = next;
        if (st != QU_OK) return st;
    }
    return QU_OK;
}

static qu_status map_reduce(qu_summarizer *z, qu_synopsis *s, const qu_doc *d, const selection *sel,
                            qu_buf *parts, qu_err *err)
{
    int64_t room = 0;
    QU_TRY(measure_room(z, sel->pages[0].n_tokens, &room, err));
    int64_t n_sections = (sel->n_tokens + room - 1) / room;
    int64_t most = n_sections > 1 ? sel->n_tokens / n_sections + QU_PAGE_TOKENS : room;
    if (most > room) most = room;
    for (int32_t from = 1, to; from < sel->n; from = to) {
        int64_t tokens = 0;
        for (to = from; to < sel->n; to++) {
            tokens += sel->pages[sel->index[to]].n_tokens;
            if (tokens > most && to > from) break;
        }
        QU_TRY(map_section(z, s, d, sel, from, to,
                           n_sections > 1 ? PART_CITATIONS : QU_MAX_CITATIONS, parts, err));
    }
    if (parts->len == 0)
        return qu_fail(err, QU_ERR_UNSUPPORTED, NO_SUMMARY, z->a.s->model->name);
    return reduce(z, d, room, parts, err);
}

static int32_t count_words(const char *p)
{
    int32_t n = 0;
    for (bool in = false; *p; p++) {
        bool space = strchr(" \n\t", *p) != NULL;
        n += !space && !in;
        in = !space;
    }
    return n;
}

static void end_selection(selection *sel)
{
    free(sel->pages);
    free(sel->index);
}

qu_status qu_summarizer_write(qu_summarizer *z, qu_synopsis *s, const qu_doc *d, qu_err *err)
{
    QU_OWN(end_selection) selection sel = {0};
    QU_OWN(qu_buf_free) qu_buf parts = {0};
    qu_txn *t;
    memset(s, 0, sizeof *s);
    QU_TRY(qu_txn_begin(&t, z->a.s->store, QU_TXN_READ, err));
    qu_status st = select_pages(&sel, t, d, z->max_pages, err);
    qu_txn_abort(t);
    QU_TRY(st);
    if (sel.n < 2) return qu_fail(err, QU_ERR_UNSUPPORTED, "'%s' has no text", d->path);
    s->pages = sel.n_pages - 1;
    z->generated = 0;
    QU_TRY(map_reduce(z, s, d, &sel, &parts, err));
    QU_TRY(qu_buf_puts(&s->text, parts.data, err));
    s->words = count_words(s->text.data);
    s->generated_tokens = z->generated;
    if (z->a.fresh.n > 0 && !z->a.batch) QU_TRY(qu_fresh_save(&z->a.fresh, z->a.s, err));
    qu_fresh_free(&z->a.fresh);
    return QU_OK;
}
