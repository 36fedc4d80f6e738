#include "pipelines/make_kv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/fresh.h"
#include "pipelines/output.h"

enum {
    PACK_BYTES = 64 << 20,
    PACKS = 16, /* at least, in a full quota: they are evicted whole */
    MOST_JOBS = 64,
};

/* A document whose slices are in the open pack, or will be, under kv_id. */
typedef struct member {
    uint64_t doc_id, kv_id;
    int32_t n_pages;
} member;

struct make_run;

/* A document that waits to be made together with others; it owns its page table and ids. */
typedef struct job {
    struct make_run *r;
    uint64_t kv_id;
    qu_page *pages;
    qu_buf ids;
    const qu_fresh_doc *made; /* its KV, in memory; NULL: not there */
    int32_t n_pages, done; /* pages that are there already */
    double flops;
} job;

typedef struct make_run {
    qu_session *s;
    const qu_make_kv_options *options;
    qu_make_kv_report *report;
    qu_encoder *encoder;
    qu_kv_writer *w;
    qu_quota *quota;
    int64_t pack_bytes;
    member *members;
    int32_t n_members;
    int64_t cap;
    job jobs[MOST_JOBS];
    int32_t n_jobs;
    int64_t job_tokens, job_bytes;
    int64_t total_tokens, done_tokens;
    double start_ms;
    qu_err *err;
} make_run;

qu_status qu_make_kv_missing(qu_session *s, qu_make_kv_work *work, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    memset(work, 0, sizeof *work);
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(t, after, &d, err));
        if ((after = d.doc_id) == 0) return QU_OK;
        if (d.kv_pages >= d.n_pages) continue;
        work->docs++;
        work->tokens += d.n_tokens;
        work->flops += qu_model_prefill_flops(s->model, d.n_tokens);
    }
}

/* --- the quota --- */

static double cost(void *ctx, int64_t n_tokens) { return qu_model_prefill_flops(ctx, n_tokens); }

qu_status qu_make_kv_trim(qu_session *s, int64_t *evicted, qu_err *err)
{
    QU_OWN(qu_quota_freep) qu_quota *q = NULL;
    bool fits;
    QU_TRY(qu_quota_open(&q, s->store, cost, s->model, err));
    qu_status st = qu_quota_room(q, 0, INFINITY, &fits, err);
    *evicted += qu_quota_evicted(q);
    return st;
}

/* Bytes that a document's KV takes on the disk, rather too many. */
static int64_t kv_bytes(const qu_session *s, int64_t n_tokens, int32_t n_pages)
{
    enum { WASTE = 4096 + 80 }; /* at most, a value */
    const qu_model *m = s->model;
    int32_t each = (int32_t)((n_tokens + n_pages - 1) / n_pages);
    int64_t slices = (int64_t)m->n_layers * m->n_kv_heads;
    return n_pages * (slices * (qu_codec_bytes(s->codec, each, m->head_size) + WASTE) +
                      qu_page_summary_bytes(m, QU_PAGE_TOKENS) + WASTE);
}

/* What the open pack holds, with what is yet to be made for it. */
static int64_t open_bytes(const make_run *r)
{
    return (r->w ? qu_kv_writer_bytes(r->w) : 0) + r->job_bytes;
}

static qu_status run_jobs(make_run *r);

static qu_status publish(make_run *r)
{
    QU_TRY(run_jobs(r));
    QU_OWN(qu_kv_writer_freep) qu_kv_writer *w = QU_TAKE(r->w);
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    int32_t n = r->n_members;
    if (!w) return QU_OK;
    if (n == 0) return qu_kv_writer_discard(QU_TAKE(w), r->err); /* no document is in it any more */
    r->n_members = 0;
    qu_quota_grew(r->quota, qu_kv_writer_bytes(w));
    QU_TRY(qu_kv_writer_seal(w, r->err));
    QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_WRITE, r->err));
    for (int32_t i = 0; i < n; i++)
        QU_TRY(qu_catalogue_set_kv(t, r->members[i].doc_id, r->members[i].kv_id,
                                   qu_kv_writer_file(w), r->members[i].n_pages, r->err));
    return qu_txn_commit(QU_TAKE(t), r->err);
}

static qu_status add_member(make_run *r, const qu_doc *d, uint64_t kv_id)
{
    QU_TRY(qu_memory_grow(&r->members, &r->cap, r->n_members + 1, sizeof *r->members, r->err));
    r->members[r->n_members++] = (member){d->doc_id, kv_id, d->n_pages};
    return QU_OK;
}

/* --- the encoder's output is the open pack --- */

static qu_slice_key key_of(const job *j, const qu_encode_part *part)
{
    return (qu_slice_key){j->kv_id, (uint32_t)part->page, (uint16_t)part->layer,
                          (uint16_t)part->kv_head, part->kind};
}

static qu_status get_part(void *ctx, const qu_encode_part *part, const void **data, size_t *bytes,
                          qu_err *err)
{
    const job *j = ctx;
    qu_slice_key k = key_of(j, part);
    return qu_kv_writer_get(j->r->w, &k, qu_kv_binding(j->r->s->store, &j->pages[part->page]), data,
                            bytes, err);
}

static qu_status put_part(void *ctx, const qu_encode_part *part, const void *data, size_t bytes,
                          qu_err *err)
{
    const job *j = ctx;
    qu_slice_key k = key_of(j, part);
    return qu_kv_writer_put(j->r->w, &k, qu_kv_binding(j->r->s->store, &j->pages[part->page]), data,
                            bytes, err);
}

static qu_status page_done(void *ctx, int32_t page, int32_t n_tokens, qu_err *err)
{
    const job *j = ctx;
    make_run *r = j->r;
    QU_TRY(qu_kv_writer_page_done(r->w, j->kv_id, (uint32_t)page, err));
    r->report->pages++;
    r->report->tokens += n_tokens;
    r->done_tokens += n_tokens;
    qu_out_progress("making KV", r->done_tokens, r->total_tokens, "tokens");
    return QU_OK;
}

static bool should_stop(make_run *r)
{
    if (r->options->stop && r->options->stop()) r->report->stopped = true;
    return r->report->stopped;
}

static bool stop_job(void *ctx) { return should_stop(((const job *)ctx)->r); }

/* --- the documents that wait --- */

static void free_job(job *j)
{
    free(j->pages);
    qu_buf_free(&j->ids);
}

static void forget_jobs(make_run *r)
{
    while (r->n_jobs > 0) free_job(&r->jobs[--r->n_jobs]);
    r->job_tokens = r->job_bytes = 0;
}

static qu_status run_jobs(make_run *r)
{
    qu_encode_doc docs[MOST_JOBS];
    for (int32_t i = 0; i < r->n_jobs; i++) {
        job *j = &r->jobs[i];
        docs[i] = (qu_encode_doc){j->pages, j->n_pages, (const int32_t *)(const void *)j->ids.data,
                                  {j->done, get_part, put_part, page_done, stop_job, j}};
    }
    QU_TRY(qu_encode_documents(r->encoder, docs, r->n_jobs, r->err));
    for (int32_t i = 0; i < r->n_jobs; i++) r->report->flops += r->jobs[i].flops;
    r->report->docs += r->n_jobs;
    forget_jobs(r);
    return QU_OK;
}

/* --- one document --- */

/* Same text, so the same tokens, pages and KV: equal hashes are not enough, the text is
 * compared. */
static qu_status same_text(qu_txn *t, const qu_doc *a, const qu_doc *b, bool *same, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf x = {0}, y = {0};
    *same = false;
    if (a->text_bytes != b->text_bytes || !qu_hash_equal(a->text_hash, b->text_hash) ||
        strcmp(a->title, b->title) != 0 || a->n_pages != b->n_pages)
        return QU_OK;
    QU_TRY(qu_catalogue_text(t, a->doc_id, 0, a->text_bytes, &x, err));
    QU_TRY(qu_catalogue_text(t, b->doc_id, 0, b->text_bytes, &y, err));
    *same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    return QU_OK;
}

/* The KV id of a document with the same text that is in the open pack (*file 0) or published. */
static qu_status find_twin(make_run *r, qu_txn *t, const qu_doc *d, uint64_t *kv_id, uint64_t *file)
{
    *kv_id = *file = 0;
    for (uint64_t id = 0;;) {
        bool same = false, in_pack = false;
        QU_TRY(qu_catalogue_find_content(t, d->content_hash, id, &id, r->err));
        if (id == 0) return QU_OK;
        if (id == d->doc_id) continue;
        QU_OWN(qu_doc_free) qu_doc twin = {0};
        QU_TRY(qu_catalogue_get_doc(t, id, &twin, r->err));
        uint64_t slices = twin.kv_id;
        for (int32_t i = 0; i < r->n_members; i++)
            if (r->members[i].doc_id == id) {
                in_pack = true;
                slices = r->members[i].kv_id;
            }
        if (in_pack || twin.kv_pages == twin.n_pages) QU_TRY(same_text(t, d, &twin, &same, r->err));
        if (!same) continue;
        *kv_id = slices;
        *file = in_pack ? 0 : twin.kv_file;
        return QU_OK;
    }
}

static qu_status share(make_run *r, const qu_doc *d, uint64_t kv_id, uint64_t file)
{
    r->report->shared++;
    r->done_tokens += d->n_tokens;
    if (!file) return add_member(r, d, kv_id);
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_WRITE, r->err));
    return qu_txn_end(t, qu_catalogue_set_kv(t, d->doc_id, kv_id, file, d->n_pages, r->err),
                      r->err);
}

/* One value of a page that was made, now or for an older version, into the open pack. */
static qu_status copy_part(const job *j, const qu_doc *d, int32_t page, int32_t l, int32_t g,
                           uint8_t kind, qu_err *err)
{
    const make_run *r = j->r;
    qu_slice_key k = {d->kv_id, (uint32_t)page, (uint16_t)l, (uint16_t)g, kind};
    qu_hash binding = qu_kv_binding(r->s->store, &j->pages[page]);
    const void *data;
    size_t bytes;
    if (j->made)
        QU_TRY(qu_fresh_part(j->made->pages, &(qu_encode_part){kind, page, l, g}, &data, &bytes,
                             err));
    else
        QU_TRY(qu_store_slice(r->s->store, d->kv_file, &k, binding, &data, &bytes, err));
    k.kv_id = j->kv_id;
    return qu_kv_writer_put(r->w, &k, binding, data, bytes, err);
}

static qu_status copy_page(const job *j, const qu_doc *d, int32_t page, qu_err *err)
{
    const qu_model *m = j->r->s->model;
    for (int32_t l = 0; l < m->n_layers; l++)
        for (int32_t g = 0; g < m->n_kv_heads; g++)
            QU_TRY(copy_part(j, d, page, l, g, QU_KV_SLICE, err));
    QU_TRY(copy_part(j, d, page, 0, 0, QU_KV_SUMMARY, err));
    if (page + 1 < d->n_pages) { /* the list of a chunk that begins behind this page */
        qu_status st = copy_part(j, d, page + 1, 0, 0, QU_KV_LOOKBACK, err);
        if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    }
    return qu_kv_writer_page_done(j->r->w, j->kv_id, (uint32_t)page, err);
}

/* What was made for a question, or an edit left of the pages' KV (sync.c), into the open pack, from
 * done on; what is damaged or gone is made again. */
static qu_status copy_kept(job *j, const qu_doc *d)
{
    make_run *r = j->r;
    qu_status st = QU_OK;
    qu_err why = {0};
    int32_t n = j->made ? j->n_pages : d->kv_file ? d->kv_pages : 0;
    while (j->done < n && (st = copy_page(j, d, j->done, &why)) == QU_OK) j->done++;
    qu_store_release_readers(r->s->store);
    if (st == QU_OK || st == QU_ERR_NOTFOUND || st == QU_ERR_CORRUPT || st == QU_ERR_MISMATCH)
        return QU_OK;
    return qu_fail(r->err, st, "%s", why.msg);
}

/* Have it made, now or with the next ones; takes over what *doc owns. */
static qu_status encode(make_run *r, const qu_doc *d, job *doc)
{
    qu_err why = {0};
    if (qu_encode_check(r->s, doc->pages, &why) != QU_OK) { /* this document only */
        r->report->failed++;
        qu_out_note("no KV for '%s': %s", d->path, why.msg);
        return QU_OK;
    }
    int64_t bytes = kv_bytes(r->s, d->n_tokens, doc->n_pages), done_tokens = 0;
    if (r->n_members > 0 && open_bytes(r) + bytes > r->pack_bytes) QU_TRY(publish(r));
    if (!r->w) QU_TRY(qu_kv_writer_create(&r->w, r->s->store, 0, r->err));
    QU_TRY(qu_kv_writer_n_pages_done(r->w, d->doc_id, &doc->done, r->err));
    QU_TRY(copy_kept(doc, d));
    for (int32_t p = 0; p < doc->done; p++) done_tokens += doc->pages[p].n_tokens;
    r->done_tokens += done_tokens;
    doc->flops = qu_model_prefill_flops(r->s->model, d->n_tokens) -
                 qu_model_prefill_flops(r->s->model, done_tokens);
    QU_TRY(add_member(r, d, d->doc_id));
    r->jobs[r->n_jobs++] = *doc;
    *doc = (job){0};
    r->job_bytes += bytes;
    r->job_tokens += d->n_tokens - done_tokens;
    if (open_bytes(r) >= r->pack_bytes) return publish(r);
    return r->job_tokens >= QU_ENCODE_TOKENS || r->n_jobs == MOST_JOBS ? run_jobs(r) : QU_OK;
}

/* Room for a document's KV beside the open pack, by evicting what is worth less. */
static qu_status make_room(make_run *r, const qu_doc *d, bool *fits)
{
    int64_t bytes = kv_bytes(r->s, d->n_tokens, d->n_pages);
    double worth = qu_quota_worth(r->quota, d->kv_id, d->n_tokens, bytes);
    QU_TRY(qu_quota_room(r->quota, open_bytes(r) + bytes, worth, fits, r->err));
    r->report->over_quota += !*fits;
    return QU_OK;
}

static qu_status one_document(make_run *r, uint64_t doc_id, const qu_fresh_doc *made)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_OWN(qu_doc_free) qu_doc d = {0};
    QU_OWN(free_job) job doc = {.r = r, .kv_id = doc_id, .made = made};
    uint64_t kv_id = 0, file = 0;
    bool fits = true;
    QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_READ, r->err));
    QU_TRY(qu_catalogue_get_doc(t, doc_id, &d, r->err));
    QU_TRY(find_twin(r, t, &d, &kv_id, &file));
    if (!kv_id) {
        qu_txn_abort(t); /* eviction writes */
        t = NULL;
        QU_TRY(make_room(r, &d, &fits));
        if (!fits) return QU_OK;
        QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_READ, r->err));
    }
    QU_TRY(qu_catalogue_pages(t, doc_id, &doc.pages, &doc.n_pages, r->err));
    QU_TRY(qu_catalogue_ids(t, doc_id, 0, doc.n_pages, &doc.ids, r->err));
    qu_txn_abort(t); /* none is held over a prefill */
    t = NULL;
    return kv_id ? share(r, &d, kv_id, file) : encode(r, &d, &doc);
}

/* --- all documents --- */

/* Take up the file that an earlier run left unfinished; more than one is surplus. */
static qu_status resume(make_run *r)
{
    for (uint64_t file = 0;;) {
        qu_txn *t;
        QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_READ, r->err));
        qu_status st = qu_catalogue_next_open_kv(t, file, &file, r->err);
        qu_txn_abort(t);
        if (st != QU_OK || file == 0) return st;
        qu_kv_writer *w;
        qu_err why = {0};
        st = qu_kv_writer_create(&w, r->s->store, file, &why);
        if (st == QU_ERR_CORRUPT || st == QU_ERR_NOTFOUND) {
            qu_out_note("an unfinished KV file cannot be resumed and is left to quire gc: %s",
                        why.msg);
            continue;
        }
        if (st != QU_OK) return qu_fail(r->err, st, "%s", why.msg);
        if (r->w) QU_TRY(qu_kv_writer_discard(w, r->err));
        else r->w = w;
    }
}

/* What is in the unfinished file, then what is used most, then in the order of indexing. */
typedef struct missing_doc {
    uint64_t doc_id;
    double use;
    const qu_fresh_doc *made;
} missing_doc;

static int by_use(const void *a, const void *b)
{
    const missing_doc *x = a, *y = b;
    if (x->use < y->use || x->use > y->use) return x->use > y->use ? -1 : 1;
    return x->doc_id < y->doc_id ? -1 : x->doc_id > y->doc_id;
}

static qu_status add_missing(make_run *r, const qu_doc *d, const qu_fresh_doc *made, qu_buf *docs)
{
    missing_doc m = {d->doc_id, qu_quota_use(r->quota, d->kv_id), made};
    int32_t begun = 0;
    if (d->kv_pages >= d->n_pages) return QU_OK;
    if (r->w) QU_TRY(qu_kv_writer_n_pages_done(r->w, d->doc_id, &begun, r->err));
    if (begun > 0) m.use = INFINITY;
    r->total_tokens += d->n_tokens;
    return qu_buf_add(docs, &m, sizeof m, r->err);
}

/* Of those whose KV is there: one may have been replaced, or made by somebody else, meanwhile. */
static qu_status list_made(make_run *r, qu_txn *t, const qu_fresh *f, qu_buf *docs)
{
    for (int32_t i = 0; i < f->n; i++) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        qu_status st = qu_catalogue_get_doc(t, f->docs[i].doc_id, &d, r->err);
        if (st == QU_OK && d.n_pages == f->docs[i].n_pages)
            st = add_missing(r, &d, &f->docs[i], docs);
        if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    }
    return QU_OK;
}

/* Documents that lack KV, in the order in which to make it. */
static qu_status list_missing(make_run *r, qu_buf *docs)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_READ, r->err));
    if (r->options->made) QU_TRY(list_made(r, t, r->options->made, docs));
    for (uint64_t after = 0; !r->options->made;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(t, after, &d, r->err));
        if ((after = d.doc_id) == 0) break;
        QU_TRY(add_missing(r, &d, NULL, docs));
    }
    if (docs->len) qsort(docs->data, docs->len / sizeof(missing_doc), sizeof(missing_doc), by_use);
    return QU_OK;
}

qu_status qu_make_kv(qu_session *s, const qu_make_kv_options *options, qu_make_kv_report *report,
                     qu_err *err)
{
    make_run r = {.s = s, .options = options, .report = report, .err = err};
    qu_buf docs = {0};
    qu_status st = QU_OK;
    r.start_ms = qu_os_now_ms();
    /* also where nothing is left to do: then it only takes up space */
    if (!options->made) QU_TRY_OUT(resume(&r));
    QU_TRY_OUT(qu_quota_open(&r.quota, s->store, cost, s->model, err));
    r.pack_bytes = qu_quota_limit(r.quota) / PACKS;
    if (r.pack_bytes > PACK_BYTES) r.pack_bytes = PACK_BYTES;
    QU_TRY_OUT(list_missing(&r, &docs));
    if (docs.len > 0) QU_TRY_OUT(qu_encoder_create(&r.encoder, s, err));
    const missing_doc *d = (const void *)docs.data, *end = d + docs.len / sizeof *d;
    for (; st == QU_OK && d < end && !should_stop(&r); d++)
        st = one_document(&r, d->doc_id, d->made);
    if (st == QU_OK && !report->stopped) st = run_jobs(&r);
    if (st == QU_ERR_CANCELLED && report->stopped) st = QU_OK;
    if (st != QU_OK) goto out;
    report->seconds = (qu_os_now_ms() - r.start_ms) / 1e3;
    if (report->stopped) { /* finished pages stay for the next run */
        if (r.w) QU_TRY_OUT(qu_kv_writer_flush(r.w, err));
    } else {
        QU_TRY_OUT(publish(&r));
    }
    if (!report->stopped) QU_TRY_OUT(qu_encode_speed_put(s, report->flops, report->seconds, err));
out:
    qu_out_progress_end();
    if (r.quota) report->evicted += qu_quota_evicted(r.quota);
    qu_kv_writer_free(r.w);
    qu_quota_free(r.quota);
    qu_encoder_free(r.encoder);
    forget_jobs(&r);
    free(r.members);
    qu_buf_free(&docs);
    return st;
}
