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

/* --- the encoder's output is an array of page memories --- */

typedef struct memory_out {
    qu_session *s;
    const qu_page *records;
    qu_page_memory **pages;
} memory_out;

static qu_status get(void *ctx, const qu_encode_part *part, const void **data, size_t *bytes,
                     qu_err *err)
{
    const memory_out *o = ctx;
    const qu_page_memory *p = o->pages[part->page];
    *data = NULL;
    *bytes = p ? qu_page_memory_bytes(p) : 0;
    if (p && part->kind == QU_KV_SLICE)
        *data = qu_page_memory_slice(p, part->layer, part->kv_head);
    if (p && part->kind == QU_KV_SUMMARY) *data = qu_page_memory_summary(p, bytes);
    return *data ? QU_OK : qu_fail(err, QU_ERR_NOTFOUND, "page %d is not there", part->page);
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

static qu_status page_done(void *ctx, int32_t page, int32_t n_tokens, qu_err *err)
{
    (void)ctx;
    (void)page;
    (void)n_tokens;
    (void)err;
    return QU_OK;
}

static qu_status encode(qu_encoder *e, qu_session *s, const qu_page *records, int32_t n,
                        const int32_t *ids, qu_page_memory **pages, qu_err *err)
{
    memory_out m = {s, records, pages};
    qu_encode_doc d = {records, n, ids, {0, get, put, page_done, NULL, &m}};
    return qu_encode_documents(e, &d, 1, err);
}

qu_status qu_fresh_window(qu_page_memory **out, qu_encoder *e, qu_session *s, const qu_page *pages,
                          int32_t n, const int32_t *ids, qu_err *err)
{
    memset(out, 0, (size_t)n * sizeof *out);
    qu_status st = encode(e, s, pages, n, ids, out, err);
    for (int32_t i = 0; st != QU_OK && i < n; i++) {
        qu_page_memory_free(out[i]);
        out[i] = NULL;
    }
    return st;
}

static qu_status read_document(qu_session *s, uint64_t doc_id, qu_fresh_doc *d, qu_buf *ids,
                               qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    QU_TRY(qu_catalogue_pages(t, doc_id, &d->records, &d->n_pages, err));
    return qu_catalogue_ids(t, doc_id, 0, d->n_pages, ids, err);
}

qu_status qu_fresh_document(qu_fresh *f, qu_encoder *e, qu_session *s, uint64_t doc_id,
                            const qu_fresh_doc **doc, qu_err *err)
{
    QU_OWN(free_doc) qu_fresh_doc d = {.doc_id = doc_id};
    QU_OWN(qu_buf_free) qu_buf ids = {0};
    for (int32_t i = 0; i < f->n; i++)
        if (f->docs[i].doc_id == doc_id) {
            *doc = &f->docs[i];
            return QU_OK;
        }
    double start = qu_os_now_ms();
    QU_TRY(read_document(s, doc_id, &d, &ids, err));
    QU_TRY(qu_memory_take(&d.pages, d.n_pages, sizeof *d.pages, err));
    QU_TRY(qu_memory_grow(&f->docs, &f->cap, f->n + 1, sizeof *f->docs, err));
    const int32_t *tokens = (const int32_t *)(const void *)ids.data;
    QU_TRY(encode(e, s, d.records, d.n_pages, tokens, d.pages, err));
    f->flops += qu_model_prefill_flops(s->model, (int64_t)(ids.len / sizeof *tokens));
    f->ms += qu_os_now_ms() - start;
    f->docs[f->n] = d;
    *doc = &f->docs[f->n++];
    memset(&d, 0, sizeof d);
    return QU_OK;
}

/* --- saving --- */

static qu_status write_doc(qu_kv_writer *w, qu_session *s, const qu_fresh_doc *d, qu_err *err)
{
    for (int32_t p = 0; p < d->n_pages; p++) {
        qu_hash binding = qu_kv_binding(s->store, &d->records[p]);
        for (int32_t l = 0; l < s->model->n_layers; l++)
            for (int32_t g = 0; g < s->model->n_kv_heads; g++) {
                qu_slice_key k = {d->doc_id, (uint32_t)p, (uint16_t)l, (uint16_t)g, QU_KV_SLICE};
                QU_TRY(qu_kv_writer_put(w, &k, binding, qu_page_memory_slice(d->pages[p], l, g),
                                        qu_page_memory_bytes(d->pages[p]), err));
            }
        qu_slice_key k = {d->doc_id, (uint32_t)p, 0, 0, QU_KV_SUMMARY};
        size_t bytes;
        const void *summary = qu_page_memory_summary(d->pages[p], &bytes);
        QU_TRY(qu_kv_writer_put(w, &k, binding, summary, bytes, err));
        QU_TRY(qu_kv_writer_page_done(w, d->doc_id, (uint32_t)p, err));
    }
    return QU_OK;
}

/* A document may have been replaced or encoded by somebody else while the question was answered; or
 * the quota holds what is worth more. beside: bytes written and not yet published. */
static qu_status still_wanted(qu_session *s, qu_quota *q, const qu_fresh_doc *d, int64_t beside,
                              bool *wanted, qu_err *err)
{
    qu_txn *t;
    QU_OWN(qu_doc_free) qu_doc doc = {0};
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_get_doc(t, d->doc_id, &doc, err);
    qu_txn_abort(t);
    *wanted = st == QU_OK && doc.kv_pages < doc.n_pages && doc.n_pages == d->n_pages;
    if (*wanted) {
        int64_t bytes = qu_make_kv_bytes(s, doc.n_tokens, doc.n_pages);
        double worth = qu_quota_worth(q, doc.kv_id, doc.n_tokens, bytes);
        st = qu_quota_room(q, beside + bytes, worth, wanted, err);
    }
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

/* Publish docs [from, to), those of them that are in w. w is freed. */
static qu_status publish(qu_fresh *f, int32_t from, int32_t to, qu_kv_writer *w, qu_session *s,
                         qu_err *err)
{
    QU_OWN(qu_kv_writer_freep) qu_kv_writer *owned = w;
    qu_txn *t;
    qu_status st = QU_OK;
    QU_TRY(qu_kv_writer_seal(w, err));
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_WRITE, err));
    for (int32_t i = from; st == QU_OK && i < to; i++)
        if (f->docs[i].doc_id)
            st = qu_catalogue_set_kv(t, f->docs[i].doc_id, f->docs[i].doc_id, qu_kv_writer_file(w),
                                     f->docs[i].n_pages, err);
    return qu_txn_end(t, st, err);
}

static qu_status save(qu_fresh *f, qu_session *s, qu_err *err)
{
    QU_OWN(qu_kv_writer_freep) qu_kv_writer *w = NULL;
    QU_OWN(qu_quota_freep) qu_quota *q = NULL;
    QU_OWN(qu_encoder_freep) qu_encoder *e = NULL;
    int32_t from = 0;
    QU_TRY(qu_make_kv_quota(&q, s, err));
    QU_TRY(qu_encoder_create(&e, s, err)); /* keeps the prefix, now that the store can be written */
    for (int32_t i = 0; i < f->n; i++) {
        bool wanted = false;
        int64_t beside = w ? qu_kv_writer_bytes(w) : 0;
        if (w && beside >= qu_make_kv_pack(q)) {
            qu_quota_grew(q, beside);
            QU_TRY(publish(f, from, i, QU_TAKE(w), s, err));
            from = i;
            beside = 0;
        }
        QU_TRY(still_wanted(s, q, &f->docs[i], beside, &wanted, err));
        if (!wanted) {
            free_doc(&f->docs[i]);
            continue;
        }
        if (!w) QU_TRY(qu_kv_writer_create(&w, s->store, 0, err));
        QU_TRY(write_doc(w, s, &f->docs[i], err));
    }
    return w ? publish(f, from, f->n, QU_TAKE(w), s, err) : QU_OK;
}

qu_status qu_fresh_save(qu_fresh *f, qu_session *s, qu_err *err)
{
    qu_err why = {0};
    if (f->n == 0) return QU_OK;
    qu_status st = qu_session_reopen(s, true, &why);
    if (st != QU_OK) /* somebody is indexing, or the media is read-only */
        return qu_session_reopen(s, false, err);
    st = save(f, s, &why);
    if (st == QU_OK) st = qu_encode_speed_put(s, f->flops, f->ms / 1e3, &why);
    if (st == QU_ERR_FULL ||
        st == QU_ERR_IO) { /* the answer was given: this only costs time again */
        qu_out_warn("KV made for this question was not kept: %s", why.msg);
        return qu_session_reopen(s, false, err);
    }
    if (st != QU_OK) { /* the first error is the one to tell */
        if (err) *err = why;
        qu_session_reopen(s, false, NULL);
        return st;
    }
    return qu_session_reopen(s, false, err);
}
