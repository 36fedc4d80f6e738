/* The context of a question: prefix and planned pages, from the store where their KV is there, else
 * made.
 *
 *   kv      stored slices, fetched layer by layer when they are first read. A document without KV is
 *           prefilled whole if that takes less than --max-wait (and saved afterwards), else only
 *           its planned pages are, as if it consisted of these: said in a warning.
 *   repair  the same, then the tokens that the question attends to most are computed again.
 *   exact   the whole list is prefilled as one prompt from the stored ids at the same positions.
 *   isolated  each page is prefilled by itself, behind the prefix alone.
 */
#include <stdlib.h>

#include "decode/repair.h"
#include "pipelines/answer_int.h"
#include "store/use.h"

static qu_status get_stored(void *ctx, int32_t layer, int32_t g, const void **data, size_t *bytes,
                            qu_err *err)
{
    const stored_page *p = ctx;
    qu_slice_key k = {p->kv_id, p->page, (uint16_t)layer, (uint16_t)g, QU_KV_SLICE};
    return qu_store_slice(p->store, p->file, &k, p->binding, data, bytes, err);
}

static qu_status get_summary(void *ctx, const void **data, size_t *bytes, qu_err *err)
{
    const stored_page *p = ctx;
    qu_slice_key k = {p->kv_id, p->page, 0, 0, QU_KV_SUMMARY};
    return qu_store_slice(p->store, p->file, &k, p->binding, data, bytes, err);
}

/* A header and the last page are always read: they are no candidates (DESIGN.md 7). */
static void always_read(const ask_run *r, int32_t i, qu_page_source *source)
{
    if (r->plan.pages[i].page == 0 || i == r->plan.n_pages - 1) source->summary = NULL;
}

static qu_status attach(ask_run *r, int32_t i, const qu_page_source *source, qu_err *err)
{
    const qu_plan_page *p = &r->plan.pages[i];
    r->segment_ids[qu_context_segments(r->c)] = (const int32_t *)(const void *)r->ids[i].data;
    r->ans->prompt_tokens += p->record.n_tokens;
    r->attached[i] = *source;
    return qu_context_attach(r->c, p->record.n_tokens, p->pos, source, err);
}

static qu_status attach_stored(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    for (int32_t i = d->first; i < d->first + d->n; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        r->sources[i] = (stored_page){r->a->s->store, d->doc.kv_file, d->doc.kv_id,
                                      (uint32_t)p->page, qu_kv_binding(r->a->s->store, &p->record)};
        qu_page_source source = {get_stored, &r->sources[i], get_summary};
        always_read(r, i, &source);
        QU_TRY(attach(r, i, &source, err));
        r->ans->loaded_tokens += p->record.n_tokens;
    }
    return QU_OK;
}

static qu_status attach_memory(ask_run *r, int32_t i, qu_page_memory *memory, qu_err *err)
{
    qu_page_source source = qu_page_memory_source(memory);
    always_read(r, i, &source);
    return attach(r, i, &source, err);
}

static qu_status attach_window(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    qu_buf ids = {0};
    qu_status st = QU_OK;
    qu_page *records = calloc((size_t)d->n, sizeof *records);
    if (!records) return qu_fail_nomem(err, d->n * (long long)sizeof *records);
    for (int32_t i = 0; i < d->n; i++) {
        records[i] = r->plan.pages[d->first + i].record;
        QU_TRY_OUT(qu_buf_add(&ids, r->ids[d->first + i].data, r->ids[d->first + i].len, err));
    }
    QU_TRY_OUT(qu_fresh_window(r->windows + d->first, r->a->encoder, r->a->s, records, d->n,
                               (const int32_t *)(const void *)ids.data, err));
    for (int32_t i = 0; i < d->n; i++)
        QU_TRY_OUT(attach_memory(r, d->first + i, r->windows[d->first + i], err));
    if (!d->whole) r->n_windowed++;
out:
    free(records);
    qu_buf_free(&ids);
    return st;
}

static qu_status attach_fresh(ask_run *r, const qu_plan_doc *d, qu_err *err)
{
    const qu_fresh_doc *f;
    QU_TRY(qu_fresh_document(&r->a->fresh, r->a->encoder, r->a->s, d->doc.doc_id, &f, err));
    for (int32_t i = d->first; i < d->first + d->n; i++) {
        int32_t page = r->plan.pages[i].page;
        if (page >= f->n_pages || f->records[page].n_tokens != r->plan.pages[i].record.n_tokens)
            return qu_fail(err, QU_ERR_NOTFOUND,
                           "'%s' changed while the question was answered: ask again", d->doc.path);
        QU_TRY(attach_memory(r, i, f->pages[page], err));
    }
    return QU_OK;
}

static bool is_fresh(const qu_fresh *f, uint64_t doc_id)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->docs[i].doc_id == doc_id) return true;
    return false;
}

static qu_status say_what_lacks(ask_run *r, int32_t left_out, qu_err *err)
{
    if (r->n_windowed > 0)
        QU_TRY(
            qu_answer_warn(r->ans, err,
                           "%d of %d documents have no stored KV yet: only the pages found in them "
                           "were read, without the rest as context (quire index --kv eager)",
                           r->n_windowed, r->plan.n_docs));
    if (left_out > 0)
        QU_TRY(
            qu_answer_warn(r->ans, err,
                           "%d of %d documents were left out: reading them would take longer than "
                           "--max-wait",
                           left_out, r->plan.n_docs));
    return QU_OK;
}

static int64_t plan_tokens(const ask_run *r, const qu_plan_doc *d)
{
    int64_t n = 0;
    for (int32_t i = d->first; i < d->first + d->n; i++) n += r->plan.pages[i].record.n_tokens;
    return n;
}

/* Documents come best first, so what no longer fits the wait is the least likely. The best one is
 * always read. */
static qu_status from_store(ask_run *r, qu_err *err)
{
    const qu_model *m = r->a->s->model;
    double wait = 0, most = r->a->o.max_wait_s, speed = qu_encode_speed(r->a->s);
    int32_t left_out = 0;
    for (int32_t i = 0; i < r->plan.n_docs; i++) {
        const qu_plan_doc *d = &r->plan.docs[i];
        double whole = qu_model_prefill_flops(m, d->doc.n_tokens) / speed;
        double window = qu_model_prefill_flops(m, plan_tokens(r, d)) / speed;
        if (d->doc.kv_pages >= d->doc.n_pages && d->doc.kv_file) {
            QU_TRY(attach_stored(r, d, err));
        } else if (is_fresh(&r->a->fresh, d->doc.doc_id)) {
            QU_TRY(attach_fresh(r, d, err));
        } else if (wait + whole <= most) {
            wait += whole;
            QU_TRY(attach_fresh(r, d, err));
        } else if (i == 0 || wait + window <= most) {
            wait += window;
            QU_TRY(attach_window(r, d, err));
        } else {
            left_out++;
        }
    }
    return say_what_lacks(r, left_out, err);
}

/* For the quota: whose KV this question read or had to make. */
static void note_use(const ask_run *r)
{
    uint64_t *ids = calloc((size_t)r->plan.n_docs + 1, sizeof *ids);
    for (int32_t i = 0; ids && i < r->plan.n_docs; i++) ids[i] = r->plan.docs[i].doc.kv_id;
    if (ids) qu_use_add(r->a->s->store, ids, (size_t)r->plan.n_docs);
    free(ids);
}

/* Every page as if it were a document of its own. */
static qu_status isolated(ask_run *r, qu_err *err)
{
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        const int32_t *ids = (const int32_t *)(const void *)r->ids[i].data;
        QU_TRY(qu_fresh_window(&r->windows[i], r->a->encoder, r->a->s, &r->plan.pages[i].record, 1,
                               ids, err));
        QU_TRY(attach_memory(r, i, r->windows[i], err));
        r->ans->context_flops +=
            qu_model_prefill_flops(r->a->s->model, r->plan.pages[i].record.n_tokens);
    }
    return QU_OK;
}

/* Segments from the first on that hold what a fresh prefill would: the prefix, and what comes of the
 * first document without a gap, for its pages were computed behind just that. */
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
    qu_repair_report report;
    QU_TRY(qu_repair(r->c, r->segment_ids, right_already(r), r->a->o.repair_share, r->tail.ids,
                     (int32_t)r->tail.n, r->plan.end_pos, &report, err));
    r->ans->repaired_tokens = report.recomputed;
    r->ans->context_flops = report.flops;
    return QU_OK;
}

static qu_status exact(ask_run *r, qu_err *err)
{
    qu_session *s = r->a->s;
    int32_t n = r->plan.n_pages + 1, at = 0;
    qu_page_tokens *pages = calloc((size_t)n, sizeof *pages);
    if (!pages) return qu_fail_nomem(err, n * (long long)sizeof *pages);
    if (s->prefix.n > 0) pages[at++] = (qu_page_tokens){s->prefix.ids, (int32_t)s->prefix.n, 0};
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        pages[at++] = (qu_page_tokens){(const int32_t *)(const void *)r->ids[i].data,
                                       p->record.n_tokens, p->pos};
    }
    qu_status st = qu_context_prefill(r->c, pages, at, NULL, err);
    free(pages);
    r->ans->prompt_tokens = r->plan.n_tokens;
    r->ans->context_flops = r->ans->full_flops;
    return st;
}

qu_status qu_answer_context(ask_run *r, qu_err *err)
{
    qu_session *s = r->a->s;
    r->sources = calloc((size_t)r->plan.n_pages, sizeof *r->sources);
    r->windows = calloc((size_t)r->plan.n_pages, sizeof *r->windows);
    r->segment_ids = calloc((size_t)r->plan.n_pages + 1, sizeof *r->segment_ids);
    r->attached = calloc((size_t)r->plan.n_pages, sizeof *r->attached);
    if (!r->sources || !r->windows || !r->segment_ids || !r->attached)
        return qu_fail_nomem(err, r->plan.n_pages * 96ll);
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
