/* From an answer to the places in files that support it. */
#include <stdlib.h>
#include <string.h>

#include "ingest/sentence.h"
#include "pipelines/answer_int.h"
#include "pipelines/sync.h"
#include "retrieve/extract.h"
#include "retrieve/support.h"

/* Citations of one answer that has no sentences, or no proof. */
enum { ALTERNATIVES = 3 };

/* The plan's pages as texts, headers empty, with their scores as priors; malloc'ed. */
static qu_status list_pages(const ask_run *r, qu_support_text **texts, qu_err *err)
{
    float best = r->plan.n_docs > 0 ? r->plan.docs[0].score : 1;
    qu_support_text *t = *texts = calloc((size_t)r->plan.n_pages + 1, sizeof *t);
    if (!t) return qu_fail_nomem(err, r->plan.n_pages * (long long)sizeof *t);
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        const qu_buf *b = &r->pages[i].text;
        const qu_plan_page *p = &r->plan.pages[i];
        t[i] = (qu_support_text){b->data ? b->data : "", p->page > 0 ? (int64_t)b->len : 0,
                                 best > 0 ? p->score / best : 0};
    }
    return QU_OK;
}

/* The last heading that begins at or before the place, and the page that it is on: 0 = none. */
static char *heading_of(const char *text, const qu_heading *h, int64_t n, int64_t at, int32_t *page)
{
    const qu_heading *found = NULL;
    *page = 0;
    for (int64_t i = 0; i < n && h[i].at <= at; i++)
        if (h[i].level == 0) ++*page;
        else found = &h[i];
    return found ? strndup(text + found->text_start, (size_t)(found->text_end - found->text_start))
                 : NULL;
}

qu_status qu_answer_locate(qu_txn *t, const qu_doc *d, qu_citation *c, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf map = {0}, text = {0};
    const qu_source_run *runs;
    const qu_heading *headings;
    int64_t n_runs, n_headings;
    size_t file = qu_sync_file_len(d);
    c->path = strndup(d->path, file);
    if (file < d->path_len) c->member = strdup(d->path + file + 1);
    if (!c->path || (file < d->path_len && !c->member))
        return qu_fail_nomem(err, (long long)d->path_len);
    qu_status st = qu_catalogue_source_map(t, d->doc_id, &map, err);
    if (st == QU_ERR_NOTFOUND || (st == QU_OK && map.len == 0)) return QU_OK;
    if (st != QU_OK) return st;
    QU_TRY(qu_sync_unpack_map(map.data, map.len, d->text_bytes, &runs, &n_runs, &headings,
                              &n_headings, err));
    if ((d->flags & QU_DOC_HAS_SOURCE) && n_runs > 0) {
        qu_document_source_range(runs, n_runs, c->text_start, c->text_end, &c->byte_start,
                                 &c->byte_end);
        c->has_bytes = true;
    }
    if (n_headings > 0) {
        QU_TRY(qu_catalogue_text(t, d->doc_id, 0, d->text_bytes, &text, err));
        c->heading = heading_of(text.data, headings, n_headings, c->text_start, &c->page_number);
    }
    return st;
}

/* Add the citation of bytes [start, end) of the text of plan page i. */
static qu_status add_citation(ask_run *r, qu_txn *t, int32_t i, int64_t start, int64_t end,
                              float score, bool supported, qu_err *err)
{
    const qu_plan_page *p = &r->plan.pages[i];
    const qu_doc *d = &r->plan.docs[p->doc].doc;
    qu_citation *c = &r->ans->citations[r->ans->n_citations++];
    c->text = strndup(r->pages[i].text.data + start, (size_t)(end - start));
    if (!c->text) return qu_fail_nomem(err, end - start);
    c->doc_id = d->doc_id;
    c->page = p->page;
    c->text_start = p->record.text_start + start;
    c->text_end = p->record.text_start + end;
    c->score = score;
    c->supported = supported;
    c->stale = strcmp(qu_sync_compare(d), "current") != 0;
    if (c->stale)
        QU_TRY(qu_answer_warn(r->ans, err, "'%.400s' has changed since it was indexed", d->path));
    return qu_answer_locate(t, d, c, err);
}

/* What was quoted, exactly, in the answer's order. */
static qu_status cite_quotes(ask_run *r, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, r->a->s->store, QU_TXN_READ, err));
    for (int32_t i = 0; i < r->n_quotes; i++) {
        const qu_quote_span *q = &r->quotes[i];
        QU_TRY(
            add_citation(r, t, q->page, q->start, q->end, r->plan.pages[q->page].score, true, err));
    }
    r->ans->supported = true;
    return QU_OK;
}

/* The answer's sentences, trimmed; one of all of it where it has none. */
static qu_status split_answer(qu_answer *ans, qu_err *err)
{
    QU_OWN(qu_sentences_free) qu_sentences s = {0};
    int64_t n = (int64_t)ans->text.len;
    QU_TRY(qu_sentences_find(&s, ans->text.data, 0, n, err));
    QU_TRY(qu_memory_take(&ans->sentences, s.n + 1, sizeof *ans->sentences, err));
    for (int64_t i = 0; i < s.n; i++) {
        int64_t end = i + 1 < s.n ? s.starts[i + 1] : n;
        while (end > s.starts[i] && strchr(" \n\t", ans->text.data[end - 1])) end--;
        ans->sentences[ans->n_sentences++] = (qu_answer_sentence){s.starts[i], end, -1};
    }
    if (ans->n_sentences == 0) ans->sentences[ans->n_sentences++] = (qu_answer_sentence){0, n, -1};
    return QU_OK;
}

static int32_t cited_already(const qu_answer *ans, uint64_t doc_id, int64_t text_start)
{
    for (int32_t i = 0; i < ans->n_citations; i++)
        if (ans->citations[i].doc_id == doc_id && ans->citations[i].text_start == text_start)
            return i;
    return -1;
}

/* The best places for sentence k. More than one only where it is the whole answer: they are
 * alternatives then, unless the first is a proof. */
static qu_status cite_sentence(ask_run *r, qu_txn *t, const qu_support_text *texts,
                               int32_t k, qu_err *err)
{
    qu_answer *ans = r->ans;
    qu_answer_sentence *s = &ans->sentences[k];
    qu_support_span spans[ALTERNATIVES];
    int32_t n = 0, most = ans->n_sentences == 1 ? ALTERNATIVES : 1;
    QU_TRY(qu_support_find(spans, most, &n, r->question, ans->text.data + s->start,
                           (size_t)(s->end - s->start), texts, r->plan.n_pages, err));
    for (int32_t i = 0; i < n; i++) {
        int32_t page = spans[i].text;
        const qu_plan_page *p = &r->plan.pages[page];
        int32_t at = cited_already(ans, r->plan.docs[p->doc].doc.doc_id,
                                   p->record.text_start + spans[i].start);
        if (i > 0 && spans[0].supported && !spans[i].supported) break;
        if (at < 0 && ans->n_citations == QU_MAX_CITATIONS) break;
        if (at < 0) {
            QU_TRY(add_citation(r, t, page, spans[i].start, spans[i].end, spans[i].score,
                                spans[i].supported, err));
            at = ans->n_citations - 1;
        }
        if (i == 0 && spans[i].supported) s->citation = at;
    }
    return QU_OK;
}

qu_status qu_answer_cite(ask_run *r, qu_err *err)
{
    qu_answer *ans = r->ans;
    QU_OWN(qu_freep) qu_support_text *texts = NULL;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    if (r->n_quotes > 0) return cite_quotes(r, err);
    QU_TRY(list_pages(r, &texts, err));
    QU_TRY(split_answer(ans, err));
    QU_TRY(qu_txn_begin(&t, r->a->s->store, QU_TXN_READ, err));
    ans->supported = true;
    for (int32_t k = 0; k < ans->n_sentences; k++) {
        QU_TRY(cite_sentence(r, t, texts, k, err));
        ans->supported = ans->supported && ans->sentences[k].citation >= 0;
    }
    return QU_OK;
}

/* The first of n > 0 found is the answer. */
static qu_status answer_by_rule(ask_run *r, const qu_extract_answer *a, const char *text,
                                qu_err *err)
{
    qu_answer *ans = r->ans;
    ans->text.len = 0;
    size_t n = (size_t)(a->span_end - a->span_start);
    QU_TRY(qu_buf_add(&ans->text, text + a->span_start, n, err));
    ans->found = ans->supported = ans->by_rule = true;
    ans->withheld = false;
    ans->confidence = (double)a->score;
    if (r->a->o.on_text) r->a->o.on_text(r->a->o.ctx, ans->text.data, ans->text.len);
    return QU_OK;
}

qu_status qu_answer_extract(ask_run *r, double least, qu_err *err)
{
    qu_extract_answer found[ALTERNATIVES];
    QU_OWN(qu_freep) qu_support_text *texts = NULL;
    int32_t n = 0;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(list_pages(r, &texts, err));
    QU_TRY(qu_extract(r->question, texts, r->plan.n_pages, found, ALTERNATIVES, &n, err));
    if (n == 0) return QU_OK;
    bool part = found->span_start > found->sent_start || found->span_end < found->sent_end;
    if (least <= QU_RULE_ALWAYS || (part && (double)found->score >= least))
        QU_TRY(answer_by_rule(r, found, texts[found->text].text, err));
    QU_TRY(qu_txn_begin(&t, r->a->s->store, QU_TXN_READ, err));
    for (int32_t i = 0; i < n; i++)
        QU_TRY(add_citation(r, t, found[i].text, found[i].sent_start, found[i].sent_end,
                            found[i].score, r->ans->by_rule && i == 0, err));
    return QU_OK;
}
