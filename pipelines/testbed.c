#include "pipelines/testbed.h"

#include <stdlib.h>
#include <string.h>

#include "decode/paging.h"
#include "decode/repair.h"
#include "ingest/sentence.h"
#include "kernels/codec.h"
#include "pipelines/fresh.h"

qu_status qu_bed_open(qu_bed *b, const qu_args *args, qu_err *err)
{
    qu_status st = QU_OK;
    memset(b, 0, sizeof *b);
    QU_TRY_OUT(qu_session_open(&b->s, args, QU_SESSION_MODEL, QU_CODEC_F16, err));
    QU_TRY_OUT(qu_encoder_create(&b->e, &b->s, err));
    b->logits = malloc((size_t)b->s.model->vocab * sizeof *b->logits);
    if (!b->logits) st = qu_fail_nomem(err, b->s.model->vocab * 4ll);
out:
    if (st != QU_OK) qu_bed_close(b);
    return st;
}

void qu_bed_close(qu_bed *b)
{
    qu_encoder_free(b->e);
    free(b->logits);
    qu_session_close(&b->s);
    memset(b, 0, sizeof *b);
}

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
    qu_sentences s = {0};
    qu_cut *cuts = NULL;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_sentences_find(&s, text, 0, (int64_t)n, err));
    cuts = malloc(((size_t)s.n + 1) * sizeof *cuts);
    if (!cuts) {
        st = qu_fail_nomem(err, s.n * 16);
        goto out;
    }
    for (int64_t i = 0; i < s.n; i++) cuts[i] = (qu_cut){s.starts[i], QU_CUT_SENTENCE};
    st = qu_paging_cut(ends, n_pages, t->n, t->at, cuts, s.n, text, err);
out:
    free(cuts);
    qu_sentences_free(&s);
    return st;
}

qu_status qu_bed_document(qu_bed *b, qu_bed_doc *d, const char *title, const char *text, size_t n,
                          qu_err *err)
{
    qu_tokens header = {0}, body = {0};
    int64_t *ends = NULL;
    int32_t n_pages = 0;
    qu_status st = QU_OK;
    memset(d, 0, sizeof *d);
    QU_TRY_OUT(qu_template_header(b->s.template, b->s.tok, title, &header, err));
    QU_TRY_OUT(qu_tokenize(b->s.tok, &body, text, n, QU_TOK_CONTINUE, err));
    QU_TRY_OUT(cut_pages(text, n, &body, &ends, &n_pages, err));
    if (n_pages == 0) {
        st = qu_fail(err, QU_ERR_ARG, "'%.60s' is a document without text", title);
        goto out;
    }
    d->n_tokens = header.n + body.n;
    d->records = calloc((size_t)n_pages + 1, sizeof *d->records);
    d->pages = calloc((size_t)n_pages + 1, sizeof *d->pages);
    d->first = calloc((size_t)n_pages + 1, sizeof *d->first);
    d->ids = malloc((size_t)d->n_tokens * sizeof *d->ids);
    if (!d->records || !d->pages || !d->first || !d->ids) {
        st = qu_fail_nomem(err, d->n_tokens * 4);
        goto out;
    }
    d->n_pages = n_pages + 1;
    memcpy(d->ids, header.ids, (size_t)header.n * sizeof *d->ids);
    memcpy(d->ids + header.n, body.ids, (size_t)body.n * sizeof *d->ids);
    d->records[0].n_tokens = (int32_t)header.n;
    for (int32_t p = 1; p <= n_pages; p++) {
        d->first[p] = header.n + (p > 1 ? ends[p - 2] : 0);
        d->records[p].n_tokens = (int32_t)(header.n + ends[p - 1] - d->first[p]);
    }
    st = qu_fresh_window(d->pages, b->e, &b->s, d->records, d->n_pages, d->ids, err);
out:
    qu_tokens_free(&header);
    qu_tokens_free(&body);
    free(ends);
    if (st != QU_OK) qu_bed_free_document(d);
    return st;
}

/* --- contexts --- */

/* The pages that are placed, one list over all documents. */
typedef struct placed {
    qu_page_memory *memory;
    const int32_t *ids;
    int32_t n;
    bool header;
} placed;

static int32_t list_pages(placed *list, qu_bed_doc *const *docs, int32_t n_docs)
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_docs; i++)
        for (int32_t p = 0; p < docs[i]->n_pages; p++, n++)
            if (list)
                list[n] = (placed){docs[i]->pages[p], docs[i]->ids + docs[i]->first[p],
                                   docs[i]->records[p].n_tokens, p == 0};
    return n;
}

static qu_status place_exact(qu_bed *b, qu_context *c, const placed *list, int32_t n, qu_err *err)
{
    qu_page_tokens *pages = calloc((size_t)n + 1, sizeof *pages);
    if (!pages) return qu_fail_nomem(err, n * (long long)sizeof *pages);
    int64_t pos = b->s.prefix.n;
    int32_t at = 0;
    if (pos > 0) pages[at++] = (qu_page_tokens){b->s.prefix.ids, (int32_t)pos, 0};
    for (int32_t i = 0; i < n; pos += list[i++].n)
        pages[at++] = (qu_page_tokens){list[i].ids, list[i].n, pos};
    qu_status st = qu_context_prefill(c, pages, at, NULL, err);
    free(pages);
    return st;
}

static qu_status place_stored(qu_bed *b, qu_context *c, const placed *list, int32_t n, qu_err *err)
{
    int64_t pos = b->s.prefix.n;
    QU_TRY(qu_encoder_attach_prefix(b->e, c, err));
    for (int32_t i = 0; i < n; pos += list[i++].n) {
        qu_page_source source = qu_page_memory_source(list[i].memory);
        if (list[i].header || i == n - 1) source.summary = NULL;
        QU_TRY(qu_context_attach(c, list[i].n, pos, &source, err));
    }
    return QU_OK;
}

static qu_status repair(qu_bed *b, qu_context *c, qu_bed_doc *const *docs, const placed *list,
                        int32_t n, const qu_bed_how *how, int64_t pos, const qu_tokens *question,
                        qu_err *err)
{
    int32_t prefix = b->s.prefix.n > 0 ? 1 : 0;
    const int32_t **ids = calloc((size_t)n + 1, sizeof *ids);
    if (!ids) return qu_fail_nomem(err, n * (long long)sizeof *ids);
    for (int32_t i = 0; i < n; i++) ids[prefix + i] = list[i].ids;
    qu_status st = qu_repair(c, ids, prefix + docs[0]->n_pages, how->repair_share, question->ids,
                             (int32_t)question->n, pos, NULL, err);
    free(ids);
    return st;
}

static qu_status encode_alone(qu_bed *b, qu_bed_doc *const *docs, int32_t n_docs, qu_err *err)
{
    for (int32_t i = 0; i < n_docs; i++) {
        for (int32_t p = 0; p < docs[i]->n_pages && !docs[i]->alone; p++) {
            qu_page_memory *alone;
            QU_TRY(qu_fresh_window(&alone, b->e, &b->s, &docs[i]->records[p], 1,
                                   docs[i]->ids + docs[i]->first[p], err));
            qu_page_memory_free(docs[i]->pages[p]);
            docs[i]->pages[p] = alone;
        }
        docs[i]->alone = true;
    }
    return QU_OK;
}

qu_status qu_bed_place(qu_bed *b, qu_bed_doc *const *docs, int32_t n_docs, const qu_bed_how *how,
                       const qu_tokens *question, qu_context **c, int64_t *pos, qu_err *err)
{
    qu_status st = QU_OK;
    *c = NULL;
    if (how->fidelity == QU_FIDELITY_ISOLATED) QU_TRY(encode_alone(b, docs, n_docs, err));
    int32_t n = list_pages(NULL, docs, n_docs);
    placed *list = calloc((size_t)n + 1, sizeof *list);
    if (!list) return qu_fail_nomem(err, n * (long long)sizeof *list);
    list_pages(list, docs, n_docs);
    *pos = b->s.prefix.n;
    for (int32_t i = 0; i < n; i++) *pos += list[i].n;
    if (*pos + (question ? question->n : 0) > b->s.model->context) {
        st = qu_fail(err, QU_ERR_LIMIT, "a prompt of %lld tokens does not fit the window of %d",
                     (long long)*pos, b->s.model->context);
        goto out;
    }
    QU_TRY_OUT(qu_context_create(c, b->s.model, b->s.pool, b->s.codec, err));
    if (how->fidelity == QU_FIDELITY_EXACT)
        QU_TRY_OUT(place_exact(b, *c, list, n, err));
    else
        QU_TRY_OUT(place_stored(b, *c, list, n, err));
    if (how->fidelity == QU_FIDELITY_REPAIR)
        QU_TRY_OUT(repair(b, *c, docs, list, n, how, *pos, question, err));
out:
    free(list);
    if (st != QU_OK) {
        qu_context_free(*c);
        *c = NULL;
    }
    return st;
}

int64_t qu_bed_candidate_tokens(qu_bed_doc *const *docs, int32_t n_docs)
{
    int64_t n = 0;
    for (int32_t i = 0; i < n_docs; i++)
        for (int32_t p = 1; p < docs[i]->n_pages - (i == n_docs - 1); p++)
            n += docs[i]->records[p].n_tokens;
    return n;
}

/* --- answers --- */

static qu_status write_answer(qu_bed *b, qu_context *c, int64_t pos, int32_t max_tokens,
                              qu_buf *answer, qu_err *err)
{
    qu_detok d;
    int64_t end = -1;
    qu_detok_init(&d, b->s.tok, 0);
    for (int32_t i = 0; i < max_tokens && pos < b->s.model->context; i++, pos++) {
        int32_t id = qu_sample_greedy(b->logits, b->s.model->vocab);
        if (qu_tokenizer_is_end(b->s.tok, id)) break;
        QU_TRY(qu_detok_add(&d, id, answer, err));
        end = qu_template_answer_end(b->s.template, answer->data, answer->len);
        if (end >= 0) break;
        if (i + 1 < max_tokens) QU_TRY(qu_context_step(c, &id, 1, pos, 1, b->logits, err));
    }
    if (end < 0) return qu_detok_end(&d, answer, err);
    answer->len = (size_t)end;
    return QU_OK;
}

qu_status qu_bed_answer(qu_bed *b, qu_context *c, int64_t pos, const qu_tokens *question,
                        int32_t max_tokens, qu_buf *answer, qu_err *err)
{
    size_t lead = 0;
    answer->len = 0;
    QU_TRY(qu_context_step(c, question->ids, (int32_t)question->n, pos, 1, b->logits, err));
    QU_TRY(write_answer(b, c, pos + question->n, max_tokens, answer, err));
    QU_TRY(qu_buf_add(answer, "", 0, err));
    while (answer->len > 0 && strchr(" \n\t", answer->data[answer->len - 1])) answer->len--;
    while (lead < answer->len && strchr(" \n\t", answer->data[lead])) lead++;
    memmove(answer->data, answer->data + lead, answer->len - lead);
    answer->len -= lead;
    if (qu_template_is_refusal(answer->data, answer->len)) answer->len = 0;
    answer->data[answer->len] = 0;
    return QU_OK;
}
