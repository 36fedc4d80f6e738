/* The context of a question: prefix and planned pages, from the store where their KV is there, else
 * made.
 *
 *   kv      stored slices, fetched layer by layer when they are first read. A document without KV
 *           is prefilled whole if that takes less than --max-wait (and saved afterwards), else only
 *           its planned pages are, as if it consisted of these: said in a warning.
 *   repair  the same, then the tokens that the question attends to most are computed again.
 *   exact   the whole list is prefilled as one prompt from the stored ids at the same positions.
 *   isolated  each page is prefilled by itself, behind the prefix alone.
 */
#include <stdlib.h>

#include "decode/repair.h"
#include "pipelines/answer_int.h"
#include "store/use.h"

static qu_status get_part(const stored_page *p, int32_t layer, int32_t g, uint8_t kind,
                          const void **data, size_t *bytes, qu_err *err)
{
    qu_slice_key k = {p->kv_id, p->page, (uint16_t)layer, (uint16_t)g, kind};
    return qu_store_slice(p->store, p->file, &k, p->binding, data, bytes, err);
}

/* That the catalogue names what is not there is damage, unless planning again shows that it was
 * taken away meanwhile (asker.c). */
static qu_status get_stored(void *ctx, int32_t layer, int32_t g, const void **data, size_t *bytes,
                            qu_err *err)
{
    qu_err why = {0};
    qu_status st = get_part(ctx, layer, g, QU_KV_SLICE, data, bytes, &why);
    if (st == QU_OK) return QU_OK;
    return qu_fail(err, st == QU_ERR_NOTFOUND ? QU_ERR_CORRUPT : st, "%s%s", why.msg,
                   st == QU_ERR_NOTFOUND ? ": see quire check --repair" : "");
}

static qu_status get_summary(void *ctx, const void **data, size_t *bytes, qu_err *err)
{
    return get_part(ctx, 0, 0, QU_KV_SUMMARY, data, bytes, err);
}

/* Put page i where the plan has it. A header and the last page are always read: they are no
 * candidates (DESIGN.md 7). */
static qu_status attach(ask_run *r, int32_t i, qu_page_source source, qu_err *err)
{
    const qu_plan_page *p = &r->plan.pages[i];
    if (p->page == 0 || i == r->plan.n_pages - 1) source.summary = NULL;
    r->ans->prompt_tokens += p->record.n_tokens;
    r->pages[i].source = source;
    return qu_context_attach(r->c, p->record.n_tokens, p->pos, &source, err);
}

static qu_status attach_stored(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    for (int32_t i = d->first; i < d->first + d->n; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        stored_page *stored = &r->pages[i].stored;
        *stored = (stored_page){r->a->s->store, d->doc.kv_file, d->doc.kv_id, (uint32_t)p->page,
                                qu_kv_binding(r->a->s->store, &p->record)};
        qu_hash key = qu_hash_chain(stored->binding, &d->doc.kv_id, sizeof d->doc.kv_id);
        key = qu_hash_chain(key, &stored->page, sizeof stored->page);
        QU_TRY(
            attach(r, i, (qu_page_source){get_stored, stored, get_summary, {key.hi, key.lo}}, err));
        r->ans->loaded_tokens += p->record.n_tokens;
    }
    return QU_OK;
}

static qu_status attach_memory(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    for (int32_t i = d->first; i < d->first + d->n; i++)
        QU_TRY(attach(r, i, qu_page_memory_source(r->pages[i].memory), err));
    return QU_OK;
}

/* Make the KV of pages [first, first + n) as if they were a document. */
static qu_status make_pages(ask_run *r, int32_t first, int32_t n, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf ids = {0}, records = {0};
    QU_OWN(qu_freep) qu_page_memory **made = NULL;
    QU_TRY(qu_memory_take(&made, n, sizeof *made, err));
    for (int32_t i = first; i < first + n; i++) {
        QU_TRY(qu_buf_add(&records, &r->plan.pages[i].record, sizeof(qu_page), err));
        QU_TRY(qu_buf_add(&ids, r->pages[i].ids.data, r->pages[i].ids.len, err));
    }
    QU_TRY(qu_fresh_window(made, r->a->encoder, r->a->s, (const qu_page *)(void *)records.data, n,
                           (const int32_t *)(void *)ids.data, err));
    for (int32_t i = 0; i < n; i++) {
        r->pages[first + i].memory = made[i];
        r->pages[first + i].own = true;
    }
    return QU_OK;
}

static qu_status attach_fresh(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    const qu_fresh_doc *f = qu_fresh_find(&r->a->fresh, d->doc.doc_id);
    for (int32_t i = d->first; i < d->first + d->n; i++) {
        int32_t page = r->plan.pages[i].page;
        if (page >= f->n_pages || f->records[page].n_tokens != r->plan.pages[i].record.n_tokens)
            return qu_fail(err, QU_ERR_NOTFOUND,
                           "'%s' changed while the question was answered: ask again", d->doc.path);
        r->pages[i].memory = f->pages[page];
    }
    return attach_memory(r, d, err);
}

static qu_status say_what_lacks(ask_run *r, int32_t in_part, int32_t left_out, qu_err *err)
{
    if (in_part > 0)
        QU_TRY(
            qu_answer_warn(r->ans, err,
                           "%d of %d documents have no stored KV yet: only the pages found in "
                           "them were read, without the rest as context (quire index --kv eager)",
                           in_part, r->plan.n_docs));
    if (left_out > 0)
        QU_TRY(qu_answer_warn(r->ans, err,
                              "%d of %d documents were left out: reading them would take longer "
                              "than --max-wait",
                              left_out, r->plan.n_docs));
    return QU_OK;
}

static int64_t plan_tokens(const ask_run *r, const qu_plan_doc *d)
{
    int64_t n = 0;
    for (int32_t i = d->first; i < d->first + d->n; i++) n += r->plan.pages[i].record.n_tokens;
    return n;
}

/* Where the KV of a document comes from. */
typedef enum kv_origin {
    FROM_MEMORY, /* a page that somebody else made */
    FROM_STORE,
    FRESH,       /* made whole for this question or one before */
    IN_PART,     /* only the planned pages are made */
    LEFT_OUT
} kv_origin;

/* Documents come best first, so what no longer fits the wait is the least likely. The best one is
 * always read. */
static kv_origin origin(const ask_run *r, int32_t i, double speed, double *wait)
{
    const qu_plan_doc *d = &r->plan.docs[i];
    const qu_model *m = r->a->s->model;
    double whole = qu_model_prefill_flops(m, d->doc.n_tokens) / speed;
    double window = qu_model_prefill_flops(m, plan_tokens(r, d)) / speed;
    if (r->pages[d->first].memory) return FROM_MEMORY;
    if (d->doc.kv_pages >= d->doc.n_pages && d->doc.kv_file) return FROM_STORE;
    if (qu_fresh_find(&r->a->fresh, d->doc.doc_id)) return FRESH;
    kv_origin o = *wait + whole <= r->a->o.max_wait_s                 ? FRESH
                  : i == 0 || *wait + window <= r->a->o.max_wait_s ? IN_PART
                                                                    : LEFT_OUT;
    *wait += o == FRESH ? whole : o == IN_PART ? window : 0;
    return o;
}

static qu_status attach_document(ask_run *r, const qu_plan_doc *d, kv_origin o, qu_err *err)
{
    switch (o) {
    case FROM_STORE: return attach_stored(r, d, err);
    case FRESH: return attach_fresh(r, d, err);
    case LEFT_OUT: return QU_OK;
    case IN_PART: QU_TRY(make_pages(r, d->first, d->n, err)); break;
    case FROM_MEMORY: break;
    }
    return attach_memory(r, d, err);
}

static qu_status from_store(ask_run *r, qu_err *err)
{
    QU_OWN(qu_freep) kv_origin *from = NULL;
    QU_OWN(qu_freep) uint64_t *fresh = NULL;
    double wait = 0, speed = qu_encode_speed(r->a->s);
    int32_t n_fresh = 0, n[LEFT_OUT + 1] = {0};
    QU_TRY(qu_memory_take(&from, r->plan.n_docs, sizeof *from, err));
    QU_TRY(qu_memory_take(&fresh, r->plan.n_docs, sizeof *fresh, err));
    for (int32_t i = 0; i < r->plan.n_docs; i++) {
        const qu_plan_doc *d = &r->plan.docs[i];
        from[i] = origin(r, i, speed, &wait);
        n[from[i]] += from[i] != IN_PART || !d->whole;
        if (from[i] == FRESH) fresh[n_fresh++] = d->doc.doc_id;
    }
    QU_TRY(qu_fresh_documents(&r->a->fresh, r->a->encoder, r->a->s, fresh, n_fresh, err));
    for (int32_t i = 0; i < r->plan.n_docs; i++)
        QU_TRY(attach_document(r, &r->plan.docs[i], from[i], err));
    return say_what_lacks(r, n[IN_PART], n[LEFT_OUT], err);
}

/* For the quota: whose KV this question read or had to make. */
static void note_use(const ask_run *r)
{
    uint64_t *ids = calloc((size_t)r->plan.n_docs + 1, sizeof *ids);
    for (int32_t i = 0; ids && i < r->plan.n_docs; i++) ids[i] = r->plan.docs[i].doc.kv_id;
    if (ids && r->a->s->store) qu_use_add(r->a->s->store, ids, (size_t)r->plan.n_docs);
    free(ids);
}

/* Every page as if it were a document of its own. */
static qu_status isolated(ask_run *r, qu_err *err)
{
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        QU_TRY(make_pages(r, i, 1, err));
        QU_TRY(attach(r, i, qu_page_memory_source(r->pages[i].memory), err));
        r->ans->context_flops +=
            qu_model_prefill_flops(r->a->s->model, r->plan.pages[i].record.n_tokens);
    }
    return QU_OK;
}

/* Segments from the first on that hold what a fresh prefill would: the prefix, and what comes of
 * the first document without a gap, for its pages were computed behind just that. */
static int32_t right_already(const ask_run *r)
{
    int32_t n = r->a->s->prefix.n > 0 ? 1 : 0, i = 0;
    int64_t pos = r->a->s->prefix.n;
    for (; i < r->plan.docs[0].n; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        if (p->page != i || p->pos != pos) break;
        pos += p->record.n_tokens;
    }
    return n + i;
}

static qu_status repair(ask_run *r, qu_err *err)
{
    qu_repair_report report = {0};
    const int32_t **ids = calloc((size_t)r->plan.n_pages + 1, sizeof *ids); /* of each segment */
    if (!ids) return qu_fail_nomem(err, r->plan.n_pages * 8ll);
    for (int32_t i = 0, at = r->a->s->prefix.n > 0 ? 1 : 0; i < r->plan.n_pages; i++)
        if (r->pages[i].source.get) ids[at++] = qu_answer_ids(r, i);
    qu_status st = qu_repair(r->c, ids, right_already(r), r->a->o.repair_share, r->tail.ids,
                             (int32_t)r->tail.n, r->plan.end_pos, &report, err);
    free(ids);
    r->ans->repaired_tokens = report.recomputed;
    r->ans->context_flops = report.flops;
    return st;
}

static qu_status exact(ask_run *r, qu_err *err)
{
    qu_session *s = r->a->s;
    int32_t n = r->plan.n_pages + 1, at = 0;
    QU_OWN(qu_freep) qu_page_tokens *pages = NULL;
    QU_TRY(qu_memory_take(&pages, n, sizeof *pages, err));
    if (s->prefix.n > 0) pages[at++] = (qu_page_tokens){s->prefix.ids, (int32_t)s->prefix.n, 0};
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        pages[at++] = (qu_page_tokens){qu_answer_ids(r, i), p->record.n_tokens, p->pos};
    }
    r->ans->prompt_tokens = r->plan.n_tokens;
    r->ans->context_flops = r->ans->full_flops;
    return qu_context_prefill(r->c, pages, at, NULL, err);
}

qu_status qu_answer_context(ask_run *r, qu_err *err)
{
    qu_session *s = r->a->s;
    QU_TRY(qu_context_create(&r->c, s->model, s->pool, s->codec, err));
    r->ans->full_flops = qu_model_prefill_flops(s->model, s->prefix.n + r->plan.n_tokens);
    qu_fidelity how = r->a->o.fidelity;
    if (how == QU_FIDELITY_EXACT) return exact(r, err);
    QU_TRY(qu_encoder_attach_prefix(r->a->encoder, r->c, err));
    if (how == QU_FIDELITY_ISOLATED) return isolated(r, err);
    QU_TRY(from_store(r, err));
    note_use(r);
    return how == QU_FIDELITY_REPAIR ? repair(r, err) : QU_OK;
}
