/* Segments on a CUDA device: their slices' ways in and out. Slices lie there as they are stored.
 *
 *   store --get, all threads--> pinned stage --copy stream--> device stage --> slice
 *   k, v of a document chunk --encode--> fresh --> slice
 *                                          \--copy stream--> pinned --> sink, one layer later
 */
#include "base/memory.h"
#include "base/os.h"
#include "decode/cuda_int.h"
#include "kernels/summary.h"

enum { STAGE_BYTES = 8 << 20 };

/* --- segments --- */

static int32_t n_slices(const qu_model *m)
{
    return m->n_layers * m->n_kv_heads;
}

/* In a segment's piece: table, then cosines, then sines, room for a full page. */
static float *angles_of(const qu_model *m, void *piece, int sines)
{
    int64_t all = (int64_t)m->n_ropes * (m->head_size / 2 + 1) * QU_PAGE_TOKENS;
    return (float *)(void *)((char *)piece + n_slices(m) * (int64_t)sizeof(void *)) + sines * all;
}

static qu_status need_segment(qu_context *c, qu_segment *s, qu_err *err)
{
    const qu_model *m = c->m;
    qu_cuda *cu = qu_cuda_of(c)->cu;
    if (!s->device) QU_TRY(qu_cuda_take_segment(c, s, err));
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    if (there->pos == s->pos) return QU_OK;
    int64_t bytes = qu_segment_angles(m, s, m->n_ropes) * 4;
    QU_TRY(qu_cuda_upload(cu, QU_CUDA_COMPUTE, angles_of(m, there->piece, 0), s->cos, bytes, err));
    QU_TRY(qu_cuda_upload(cu, QU_CUDA_COMPUTE, angles_of(m, there->piece, 1), s->sin, bytes, err));
    there->pos = s->pos;
    return QU_OK;
}

/* All slices of a segment whose keys this pass computes. */
static qu_status need_slices(qu_context *c, qu_segment *s, qu_err *err)
{
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    int32_t n = n_slices(c->m);
    if (there->slices[n - 1]) return QU_OK;
    for (int32_t i = 0; i < n; i++)
        if (!there->slices[i]) QU_TRY(qu_cuda_take_slice(c, s->live, -1, &there->slices[i], err));
    return qu_cuda_upload(qu_cuda_of(c)->cu, QU_CUDA_COMPUTE, there->piece, there->slices,
                          n * (int64_t)sizeof(void *), err);
}

qu_status qu_cuda_step_there(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    size_t n = (size_t)c->rows.n * sizeof(int32_t);
    int64_t each = sizeof(qu_cuda_page), bytes = (int64_t)sizeof(qu_cuda_step) + c->n_seg * each;
    if (bytes > x->step_cap)
        QU_TRY(qu_memory_need(&x->step, &x->step_cap, bytes + 256 * each, 1, err));
    QU_TRY(qu_cuda_need(x, &x->b.step, x->step_cap, err));
    memcpy(x->step->ids, c->rows.ids, n);
    memcpy(x->step->own, c->rows.own, n);
    memcpy(x->step->at, c->rows.at, n);
    for (int32_t i = 0; i < c->n_seg; i++) {
        qu_segment *s = &c->seg[i];
        QU_TRY(need_segment(c, s, err));
        if (i >= c->rows.own[0] && i <= c->rows.own[c->rows.n - 1]) QU_TRY(need_slices(c, s, err));
        void *piece = qu_cuda_segment_of(s)->piece;
        const float *cos = angles_of(m, piece, 0), *sin = angles_of(m, piece, 1);
        int32_t codec = qu_cuda_segment_of(s)->codec;
        x->step->pages[i] = (qu_cuda_page){piece, cos, sin, s->n, s->n_pad, codec};
    }
    qu_cuda_step *there = x->b.step.p;
    x->rows = (qu_cuda_rows){there->pages,  there->own,   there->at,       c->rows.n, m->n_heads,
                             m->n_kv_heads, m->head_size, x->d->rope_rows, x->d->rope};
    return qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, there, x->step, bytes, err);
}

/* Items: segment * G + g. */
static void **slice_of(const qu_context *c, int32_t layer, int32_t item)
{
    int32_t g_n = c->m->n_kv_heads;
    return &qu_cuda_segment_of(&c->seg[item / g_n])->slices[layer * g_n + item % g_n];
}

static qu_cuda_slice slice_item(const qu_context *c, int32_t item, int32_t layer, const void *from)
{
    const qu_segment *s = &c->seg[item / c->m->n_kv_heads];
    void **slice = slice_of(c, layer, item), **table = qu_cuda_segment_of(s)->piece;
    return (qu_cuda_slice){from, *slice, table + (slice - qu_cuda_segment_of(s)->slices),
                           qu_codec_bytes(c->codec, s->n, c->m->head_size)};
}

/* --- the way in --- */

typedef struct fetch_run {
    qu_context *c;
    int32_t layer;
    const int32_t *item; /* [n] */
    char *to;
    int64_t stride;
} fetch_run;

static void fetch_item(void *ctx, int64_t i, int worker)
{
    fetch_run *r = ctx;
    qu_context *c = r->c;
    int32_t g_n = c->m->n_kv_heads;
    const qu_segment *s = &c->seg[r->item[i] / g_n];
    const void *data;
    if (qu_fetch_slice(c, s, r->layer, r->item[i] % g_n, worker, &data))
        memcpy(r->to + i * r->stride, data,
               (size_t)qu_codec_bytes(c->codec, s->n, c->m->head_size));
}

/* Pieces for the n slices, or for none of them: what has one counts as resident. */
static qu_status take_pieces(qu_context *c, int32_t layer, const int32_t *item, int32_t n,
                             qu_err *err)
{
    for (int32_t i = 0; i < n; i++) {
        void **piece = slice_of(c, layer, item[i]);
        qu_status st = qu_cuda_take_slice(c, false, layer, piece, err);
        for (int32_t k = i; st != QU_OK && k-- > 0;)
            qu_cuda_give_slice(c, false, slice_of(c, layer, item[k]));
        QU_TRY(st);
    }
    return QU_OK;
}

/* One stage full: b tells which of the two. */
static qu_status fetch_batch(qu_context *c, int32_t layer, const int32_t *item, int32_t n, int b,
                             int64_t stride, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int64_t list = (STAGE_BYTES / stride + 1) * (int64_t)sizeof(qu_cuda_slice);
    QU_TRY(qu_cuda_need(x, &x->b.stage[b], STAGE_BYTES + stride, err));
    QU_TRY(qu_cuda_need_host(x, &x->pinned.stage[b], STAGE_BYTES + stride, err));
    QU_TRY(qu_cuda_need(x, &x->b.items[b], list, err));
    QU_TRY(qu_cuda_need_host(x, &x->pinned.items[b], list, err));
    QU_TRY(qu_cuda_reach(x->cu, MARK_STAGE + b, err)); /* the stage's last load has left it */
    fetch_run r = {c, layer, item, x->pinned.stage[b].p, stride};
    QU_TRY(qu_fetch_all(c, n, fetch_item, &r, 2, err));
    QU_TRY(take_pieces(c, layer, item, n, err));
    qu_cuda_slice *items = x->pinned.items[b].p;
    for (int32_t i = 0; i < n; i++)
        items[i] = slice_item(c, item[i], layer, (char *)x->b.stage[b].p + i * stride);
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, x->b.stage[b].p, r.to, n * stride, err));
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, x->b.items[b].p, items,
                          n * (int64_t)sizeof *items, err));
    QU_TRY(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_STAGE + b, err));
    return qu_cuda_place_slices(x->cu, QU_CUDA_COPY, x->b.items[b].p, n, err);
}

qu_status qu_cuda_fetch(qu_context *c, int32_t layer, const uint8_t *use, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int32_t g_n = c->m->n_kv_heads, n = 0;
    qu_status st = QU_OK;
    int32_t *item;
    QU_TRY(qu_memory_take(&item, (int64_t)c->first_live * g_n, sizeof *item, err));
    for (int32_t i = 0; i < c->first_live; i++)
        for (int32_t g = 0; g < g_n; g++)
            if (c->seg[i].source.get && (!use || use[i * g_n + g]) &&
                !*slice_of(c, layer, i * g_n + g))
                item[n++] = i * g_n + g;
    int64_t stride = qu_slice_stride(c);
    int32_t most = (int32_t)(STAGE_BYTES / stride) + 1;
    double start = qu_os_now_ms();
    for (int32_t i = 0, b = 0; i < n; i += most, b = !b)
        QU_TRY_OUT(fetch_batch(c, layer, item + i, n - i < most ? n - i : most, b, stride, err));
    if (n > 0) {
        x->changes++;
        c->stats.load_ms += qu_os_now_ms() - start;
        QU_TRY_OUT(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_COPIED, err));
        QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COMPUTE, MARK_COPIED, err));
    }
out:
    free(item);
    return st;
}

/* --- the way out --- */

qu_status qu_cuda_place_pages(qu_context *c, int32_t layer, bool out, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    enum { MAX = QU_CUDA_ROWS };
    int32_t g_n = m->n_kv_heads, pages = qu_pass_pages(c), zero = c->rows.own[0], b = layer % 2;
    int64_t stride = qu_slice_stride(c), bytes = stride * g_n * pages;
    QU_TRY(qu_cuda_need(x, &x->b.fresh[b], bytes, err));
    QU_TRY(qu_cuda_need(x, &x->b.fresh_items,
                        2 * MAX * 4 + pages * g_n * (int64_t)sizeof(qu_cuda_slice), err));
    int32_t first[2 * MAX]; /* and behind them the pages' tokens */
    for (int32_t t = 0, p = 0; t < c->rows.n; t++)
        if (c->rows.at[t] == 0) {
            first[p] = t;
            first[MAX + p] = c->seg[zero + p].n;
            p++;
        }
    qu_cuda_slice *items;
    QU_TRY(qu_memory_take(&items, pages * g_n, sizeof *items, err));
    char *fresh = x->b.fresh[b].p;
    for (int32_t i = 0; i < pages * g_n; i++)
        items[i] = slice_item(c, zero * g_n + i, layer, fresh + i * stride);
    int32_t *lists = x->b.fresh_items.p;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COMPUTE, MARK_TAKEN + b, err));
    QU_TRY_OUT(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, lists, first, 2 * MAX * 4, err));
    QU_TRY_OUT(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, lists + 2 * MAX, items,
                              pages * g_n * (int64_t)sizeof *items, err));
    QU_TRY_OUT(qu_cuda_encode(x->cu, fresh, stride, c->codec, x->b.k.p, x->b.v.p, lists,
                              lists + MAX, pages, g_n, m->head_size, err));
    void *list = lists + 2 * MAX;
    QU_TRY_OUT(qu_cuda_place_slices(x->cu, QU_CUDA_COMPUTE, list, pages * g_n, err));
    if (!out) goto out;
    QU_TRY_OUT(qu_cuda_need_host(x, &x->pinned.fresh[b], bytes, err));
    QU_TRY_OUT(qu_cuda_mark(x->cu, QU_CUDA_COMPUTE, MARK_FRESH, err));
    QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COPY, MARK_FRESH, err));
    QU_TRY_OUT(qu_cuda_download(x->cu, QU_CUDA_COPY, x->pinned.fresh[b].p, fresh, bytes, err));
    QU_TRY_OUT(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_TAKEN + b, err));
out:
    free(items);
    return st;
}

typedef struct summary_run {
    qu_context *c;
    int32_t layer;
    const char *slices;
    int64_t at[QU_CUDA_ROWS + 1]; /* where each page's summary begins */
} summary_run;

static void summary_item(void *ctx, int64_t i, int worker)
{
    summary_run *r = ctx;
    qu_context *c = r->c;
    int32_t g_n = c->m->n_kv_heads, p = (int32_t)(i / g_n), g = (int32_t)(i % g_n);
    int32_t n = c->seg[c->rows.own[0] + p].n;
    int64_t at = r->at[p] + qu_summary_bytes(n, c->m->head_size) * (r->layer * g_n + g);
    qu_segment_summarise(c, n, r->layer, g, r->slices + i * qu_slice_stride(c), c->s.summaries + at,
                         worker);
}

/* Summaries are made here, by the processor, while the device is a layer ahead. */
qu_status qu_cuda_deliver(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                          qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    summary_run r = {.c = c, .layer = layer, .slices = x->pinned.fresh[layer % 2].p};
    int64_t worker = qu_attention_worker_floats(c) * qu_pool_threads(c->pool);
    QU_TRY(qu_cuda_reach(x->cu, MARK_TAKEN + layer % 2, err));
    if (sink->summary) {
        QU_TRY(qu_memory_need(&c->s.worker, &c->s.worker_cap, worker, sizeof(float), err));
        QU_TRY(qu_pass_summaries(c, r.at, err));
        qu_pool_run(c->pool, (int64_t)qu_pass_pages(c) * c->m->n_kv_heads, summary_item, &r);
    }
    return qu_pass_deliver(c, layer, sink, page_zero, r.slices, qu_slice_stride(c),
                           sink->summary ? r.at : NULL, err);
}
