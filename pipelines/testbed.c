#include "pipelines/testbed.h"

#include <stdlib.h>
#include <string.h>

#include "decode/paging.h"
#include "ingest/sentence.h"

void qu_bed_free_document(qu_bed_doc *d)
{
    for (int32_t p = 0; d->pages && p < d->n_pages; p++) qu_page_memory_free(d->pages[p]);
    free(d->pages);
    free(d->records);
    free(d->ids);
    free(d->first);
    memset(d, 0, sizeof *d);
}

static qu_status cut_pages(const char *text, size_t n, const qu_tokens *t, int64_t **ends,
                           int32_t *n_pages, qu_err *err)
{
    QU_OWN(qu_sentences_free) qu_sentences s = {0};
    QU_OWN(qu_freep) qu_cut *cuts = NULL;
    QU_TRY(qu_sentences_find(&s, text, 0, (int64_t)n, err));
    QU_TRY(qu_memory_take(&cuts, s.n + 1, sizeof *cuts, err));
    for (int64_t i = 0; i < s.n; i++) cuts[i] = (qu_cut){s.starts[i], QU_CUT_SENTENCE};
    return qu_paging_cut(ends, n_pages, t->n, t->at, cuts, s.n, text, err);
}

qu_status qu_bed_document(qu_asker *a, qu_bed_doc *out, const char *title, const char *text,
                          size_t n, qu_err *err)
{
    QU_OWN(qu_tokens_free) qu_tokens header = {0}, body = {0};
    QU_OWN(qu_freep) int64_t *ends = NULL;
    int32_t n_pages = 0;
    QU_OWN(qu_bed_free_document) qu_bed_doc made = {0};
    qu_bed_doc *d = &made;
    memset(out, 0, sizeof *out);
    QU_TRY(qu_template_header(a->s->template, a->s->tok, title, &header, err));
    QU_TRY(qu_template_text(a->s->template, a->s->tok, text, n, &body, err));
    QU_TRY(cut_pages(text, n, &body, &ends, &n_pages, err));
    if (n_pages == 0) return qu_fail(err, QU_ERR_ARG, "'%.60s' is a document without text", title);
    d->n_tokens = header.n + body.n;
    QU_TRY(qu_memory_take(&d->records, n_pages + 1, sizeof *d->records, err));
    QU_TRY(qu_memory_take(&d->pages, n_pages + 1, sizeof *d->pages, err));
    QU_TRY(qu_memory_take(&d->first, n_pages + 1, sizeof *d->first, err));
    QU_TRY(qu_memory_take(&d->ids, d->n_tokens, sizeof *d->ids, err));
    d->n_pages = n_pages + 1;
    memcpy(d->ids, header.ids, (size_t)header.n * sizeof *d->ids);
    memcpy(d->ids + header.n, body.ids, (size_t)body.n * sizeof *d->ids);
    d->records[0].n_tokens = (int32_t)header.n;
    for (int32_t p = 1; p <= n_pages; p++) {
        d->first[p] = header.n + (p > 1 ? ends[p - 2] : 0);
        d->records[p].n_tokens = (int32_t)(header.n + ends[p - 1] - d->first[p]);
    }
    QU_TRY(qu_fresh_window(d->pages, a->encoder, a->s, d->records, d->n_pages, d->ids, err));
    *out = made;
    made = (qu_bed_doc){0};
    return QU_OK;
}

/* Each page with the KV it has. */
static qu_status plan_pages(ask_run *r, qu_bed_doc *const *docs, int32_t n_docs, qu_err *err)
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_docs; i++) n += docs[i]->n_pages;
    QU_TRY(qu_answer_plan(r, n_docs, n, err));
    for (int32_t i = 0; i < n_docs; i++)
        for (int32_t k = 0; k < docs[i]->n_pages; k++) {
            const qu_bed_doc *d = docs[i];
            answer_page *page = &r->pages[r->plan.n_pages];
            qu_answer_plan_page(r, i, k, &d->records[k]);
            page->memory = d->pages[k];
            QU_TRY(qu_buf_add(&page->ids, d->ids + d->first[k],
                              (size_t)d->records[k].n_tokens * sizeof *d->ids, err));
        }
    return QU_OK;
}

qu_status qu_bed_ask(qu_asker *a, qu_bed_doc *const *docs, int32_t n_docs, const char *question,
                     qu_answer *ans, qu_err *err)
{
    const qu_session *s = a->s;
    QU_OWN(qu_answer_end) ask_run r = {.a = a, .question = question, .ans = ans};
    memset(ans, 0, sizeof *ans);
    QU_TRY(qu_template_question(s->template, s->tok, question, &r.tail, err));
    QU_TRY(plan_pages(&r, docs, n_docs, err));
    if (r.plan.end_pos + r.tail.n > s->model->context)
        return qu_fail(err, QU_ERR_LIMIT, "a prompt of %lld tokens does not fit the window of %d",
                       (long long)(r.plan.end_pos + r.tail.n), s->model->context);
    QU_TRY(qu_answer_model(&r, err));
    if (!ans->found) ans->text.len = 0;
    QU_TRY(qu_buf_add(&ans->text, "", 0, err));
    ans->text.data[ans->text.len] = 0;
    return QU_OK;
}
