#include "pipelines/fresh.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/make_kv.h"
#include "pipelines/output.h"

static void free_doc(qu_fresh_doc *d)
{
    for (int32_t i = 0; d->pages && i < d->n_pages; i++) qu_page_memory_free(d->pages[i]);
    free(d->pages);
    free(d->records);
    memset(d, 0, sizeof *d);
}

void qu_fresh_free(qu_fresh *f)
{
    for (int32_t i = 0; i < f->n; i++) free_doc(&f->docs[i]);
    free(f->docs);
    memset(f, 0, sizeof *f);
}

qu_status qu_fresh_part(qu_page_memory *const *pages, const qu_encode_part *part,
                        const void **data, size_t *bytes, qu_err *err)
{
    const qu_page_memory *p = pages[part->page];
    *data = NULL;
    *bytes = p ? qu_page_memory_bytes(p) : 0;
    if (p && part->kind == QU_KV_SLICE)
        *data = qu_page_memory_slice(p, part->layer, part->kv_head);
    if (p && part->kind == QU_KV_SUMMARY) *data = qu_page_memory_summary(p, bytes);
    return *data ? QU_OK : qu_fail(err, QU_ERR_NOTFOUND, "page %d is not there", part->page);
}

/* --- the encoder's output is an array of page memories --- */

typedef struct memory_out {
    qu_session *s;
    const qu_page *records;
    qu_page_memory **pages;
} memory_out;

static qu_status get(void *ctx, const qu_encode_part *part, const void **data, size_t *bytes,
                     qu_err *err)
{
    return qu_fresh_part(((const memory_out *)ctx)->pages, part, data, bytes, err);
}

/* Lists of pages looked back at are for resuming: here a document is made in one go. */
static qu_status put(void *ctx, const qu_encode_part *part, const void *data, size_t bytes,
                     qu_err *err)
{
    memory_out *o = ctx;
    qu_page_memory **p = &o->pages[part->page];
    if (part->kind == QU_KV_LOOKBACK) return QU_OK;
    if (!*p)
        QU_TRY(qu_page_memory_create(p, o->s->model, o->s->codec,
                                     o->records[part->page].n_tokens, err));
    if (part->kind == QU_KV_SUMMARY) return qu_page_memory_summarise(*p, data, bytes, err);
    memcpy(qu_page_memory_slice(*p, part->layer, part->kv_head), data, bytes);
    return QU_OK;
}

qu_status qu_fresh_window(qu_page_memory **out, qu_encoder *e, qu_session *s, const qu_page *pages,
                          int32_t n, const int32_t *ids, qu_err *err)
{
    memory_out m = {s, pages, out};
    qu_encode_doc d = {pages, n, ids, {0, get, put, NULL, NULL, &m}};
    memset(out, 0, (size_t)n * sizeof *out);
    qu_status st = qu_encode_documents(e, &d, 1, err);
    for (int32_t i = 0; st != QU_OK && i < n; i++) {
        qu_page_memory_free(out[i]);
        out[i] = NULL;
    }
    return st;
}

const qu_fresh_doc *qu_fresh_find(const qu_fresh *f, uint64_t doc_id)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->docs[i].doc_id == doc_id) return &f->docs[i];
    return NULL;
}

/* Its page table; its ids behind those that are there. */
static qu_status read_document(qu_session *s, uint64_t doc_id, qu_fresh_doc *d, qu_buf *ids,
                               qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    d->doc_id = doc_id;
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    QU_TRY(qu_catalogue_pages(t, doc_id, &d->records, &d->n_pages, err));
    QU_TRY(qu_memory_take(&d->pages, d->n_pages, sizeof *d->pages, err));
    return qu_catalogue_ids(t, doc_id, 0, d->n_pages, ids, err);
}

/* Those of n documents that are not there yet, behind those that are; *k of them. */
static qu_status add_documents(qu_fresh *f, qu_encoder *e, qu_session *s, const uint64_t *doc_ids,
                               int32_t n, int32_t *k, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf ids = {0};
    QU_OWN(qu_freep) qu_encode_doc *docs = NULL;
    QU_OWN(qu_freep) memory_out *outs = NULL;
    QU_OWN(qu_freep) size_t *from = NULL;
    qu_fresh_doc *made = f->docs + f->n;
    QU_TRY(qu_memory_take(&docs, n, sizeof *docs, err));
    QU_TRY(qu_memory_take(&outs, n, sizeof *outs, err));
    QU_TRY(qu_memory_take(&from, n, sizeof *from, err));
    for (int32_t i = 0; i < n; i++) {
        if (qu_fresh_find(f, doc_ids[i])) continue;
        from[*k] = ids.len;
        QU_TRY(read_document(s, doc_ids[i], &made[(*k)++], &ids, err));
    }
    for (int32_t i = 0; i < *k; i++) {
        const void *own = ids.data + from[i];
        size_t end = i + 1 < *k ? from[i + 1] : ids.len;
        outs[i] = (memory_out){s, made[i].records, made[i].pages};
        docs[i] = (qu_encode_doc){made[i].records, made[i].n_pages, own,
                                  {0, get, put, NULL, NULL, &outs[i]}};
        f->flops +=
            qu_model_prefill_flops(s->model, (int64_t)((end - from[i]) / sizeof(int32_t)));
    }
    return qu_encode_documents(e, docs, *k, err);
}

qu_status qu_fresh_documents(qu_fresh *f, qu_encoder *e, qu_session *s, const uint64_t *doc_ids,
                             int32_t n, qu_err *err)
{
    double start = qu_os_now_ms();
    int32_t k = 0;
    if (n == 0) return QU_OK;
    QU_TRY(qu_memory_grow(&f->docs, &f->cap, f->n + n, sizeof *f->docs, err));
    memset(f->docs + f->n, 0, (size_t)n * sizeof *f->docs);
    qu_status st = add_documents(f, e, s, doc_ids, n, &k, err);
    f->ms += qu_os_now_ms() - start;
    for (int32_t i = 0; st != QU_OK && i < k; i++) free_doc(&f->docs[f->n + i]);
    if (st == QU_OK) f->n += k;
    return st;
}

qu_status qu_fresh_save(qu_fresh *f, qu_session *s, qu_err *err)
{
    qu_err why = {0};
    if (f->n == 0) return QU_OK;
    qu_status st = qu_session_reopen(s, true, &why);
    if (st != QU_OK) /* somebody is indexing, or the media is read-only */
        return qu_session_reopen(s, false, err);
    st = qu_make_kv(s, &(qu_make_kv_options){.made = f}, &(qu_make_kv_report){0}, &why);
    if (st == QU_OK) st = qu_encode_speed_put(s, f->flops, f->ms / 1e3, &why);
    if (st == QU_ERR_FULL || st == QU_ERR_IO) { /* the answer was given: it only costs time again */
        qu_out_warn("KV made for this question was not kept: %s", why.msg);
        st = QU_OK;
    }
    qu_status reopened = qu_session_reopen(s, false, st == QU_OK ? err : NULL);
    return st == QU_OK ? reopened : qu_fail(err, st, "%s", why.msg);
}
