/* Segments on a CUDA device: their memory, and their slices' ways in and out.
 *
 *   store --get, all threads--> pinned stage --copy stream--> device stage --expand--> slice (halves, in place)
 *   k, v of a document chunk --encode--> fresh --expand--> slice
 *                                          \--copy stream--> pinned --> sink, one layer later
 */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "decode/cuda_int.h"
#include "kernels/codec.h"
#include "kernels/summary.h"

enum { CHUNK_BYTES = 32 << 20, STAGE_BYTES = 32 << 20 };

qu_status qu_cuda_need(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err)
{
    if (b->cap >= bytes) return QU_OK;
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, err)); /* nothing may use it still */
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COPY, err));
    qu_cuda_free(x->cu, b->p);
    *b = (qu_cuda_buffer){0};
    QU_TRY(qu_cuda_alloc(x->cu, &b->p, bytes, err));
    b->cap = bytes;
    return QU_OK;
}

qu_status qu_cuda_need_host(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err)
{
    if (b->cap >= bytes) return QU_OK;
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COPY, err));
    qu_cuda_free_host(x->cu, b->p);
    *b = (qu_cuda_buffer){0};
    QU_TRY(qu_cuda_alloc_host(x->cu, &b->p, bytes, err));
    b->cap = bytes;
    return QU_OK;
}

/* --- pieces --- */

static qu_status pool_grow(qu_cuda_context *x, qu_cuda_pool *p, qu_err *err)
{
    int64_t n = CHUNK_BYTES / p->bytes > 1 ? CHUNK_BYTES / p->bytes : 1;
    void **chunks = realloc(p->chunks, (size_t)(p->n_chunks + 1) * sizeof *chunks);
    if (!chunks) return qu_fail_nomem(err, p->n_chunks * 8);
    p->chunks = chunks;
    void **spare = realloc(p->spare, (size_t)(p->n_pieces + n) * sizeof *spare);
    if (!spare) return qu_fail_nomem(err, (p->n_pieces + n) * 8);
    p->spare = spare;
    QU_TRY(qu_cuda_alloc(x->cu, &p->chunks[p->n_chunks], n * p->bytes, err));
    char *from = p->chunks[p->n_chunks++];
    p->n_pieces += n;
    for (int64_t i = n; i-- > 0;) p->spare[p->n_spare++] = from + i * p->bytes;
    return QU_OK;
}

static qu_status pool_take(qu_cuda_context *x, qu_cuda_pool *p, void **piece, qu_err *err)
{
    if (p->n_spare == 0) QU_TRY(pool_grow(x, p, err));
    *piece = p->spare[--p->n_spare];
    return QU_OK;
}

static void pool_give(qu_cuda_pool *p, void *piece)
{
    if (piece) p->spare[p->n_spare++] = piece;
}

void qu_cuda_pool_free(qu_cuda_context *x, qu_cuda_pool *p)
{
    for (int64_t i = 0; i < p->n_chunks; i++) qu_cuda_free(x->cu, p->chunks[i]);
    free(p->chunks);
    free(p->spare);
    memset(p, 0, sizeof *p);
}

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

void qu_cuda_forget(qu_context *c, qu_segment *s)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    for (int32_t i = 0; i < n_slices(c->m); i++) pool_give(&x->slices, there->slices[i]);
    pool_give(&x->heads, there->piece);
    free(there);
    s->device = NULL;
}

static qu_status need_segment(qu_context *c, qu_segment *s, qu_err *err)
{
    const qu_model *m = c->m;
    qu_cuda_context *x = qu_cuda_of(c);
    if (!s->device) {
        size_t bytes = sizeof(qu_cuda_segment) + (size_t)n_slices(m) * sizeof(void *);
        s->device = calloc(1, bytes);
        if (!s->device) return qu_fail_nomem(err, (long long)bytes);
        qu_cuda_segment_of(s)->pos = -1;
    }
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    if (!there->piece) QU_TRY(pool_take(x, &x->heads, &there->piece, err));
    if (there->pos == s->pos) return QU_OK;
    int64_t bytes = qu_segment_angles(m, s, m->n_ropes) * 4;
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, angles_of(m, there->piece, 0), s->cos, bytes, err));
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, angles_of(m, there->piece, 1), s->sin, bytes, err));
    there->pos = s->pos;
    return QU_OK;
}

/* All slices of a segment whose keys this pass computes. */
static qu_status need_slices(qu_context *c, qu_segment *s, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    int32_t n = n_slices(c->m);
    if (there->slices[n - 1]) return QU_OK;
    for (int32_t i = 0; i < n; i++)
        if (!there->slices[i]) QU_TRY(pool_take(x, &x->slices, &there->slices[i], err));
    return qu_cuda_upload(x->cu, QU_CUDA_COPY, there->piece, there->slices,
                          n * (int64_t)sizeof(void *), err);
}

qu_status qu_cuda_segments(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    if (x->pages_cap < c->n_seg) {
        qu_cuda_page *p = realloc(x->pages_host, (size_t)c->n_seg * 2 * sizeof *p);
        if (!p) return qu_fail_nomem(err, c->n_seg * (long long)sizeof *p);
        x->pages_host = p;
        x->pages_cap = c->n_seg * 2;
    }
    QU_TRY(qu_cuda_need(x, &x->pages, x->pages_cap * (int64_t)sizeof *x->pages_host, err));
    for (int32_t i = 0; i < c->n_seg; i++) {
        qu_segment *s = &c->seg[i];
        QU_TRY(need_segment(c, s, err));
        if (i >= c->rows.own[0] && i <= c->rows.own[c->rows.n - 1]) QU_TRY(need_slices(c, s, err));
        void *piece = qu_cuda_segment_of(s)->piece;
        x->pages_host[i] =
            (qu_cuda_page){piece, angles_of(m, piece, 0), angles_of(m, piece, 1), s->n, s->n_pad};
    }
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, x->pages.p, x->pages_host,
                          c->n_seg * (int64_t)sizeof *x->pages_host, err));
    QU_TRY(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_COPIED, err));
    return qu_cuda_follow(x->cu, QU_CUDA_COMPUTE, MARK_COPIED, err);
}

static qu_cuda_slice slice_item(const qu_context *c, int32_t segment, int32_t layer, int32_t g,
                                const void *from)
{
    const qu_model *m = c->m;
    const qu_segment *s = &c->seg[segment];
    const qu_cuda_page *p = &qu_cuda_of(c)->pages_host[segment];
    int32_t at = layer * m->n_kv_heads + g;
    int64_t angles = qu_segment_angles(m, s, qu_model_rope(m, layer, g));
    return (qu_cuda_slice){from, qu_cuda_segment_of(s)->slices[at], p->slices + at,
                           p->cos + angles, p->sin + angles, s->n, s->n_pad};
}

/* --- the way in --- */

typedef struct fetch_run {
    qu_context *c;
    int32_t layer;
    const int32_t *item; /* [n] segment * G + g */
    char *to;
    int64_t stride;
    qu_status *st; /* [workers] */
    qu_err *err;
} fetch_run;

static void fetch_item(void *ctx, int64_t i, int worker)
{
    fetch_run *r = ctx;
    int32_t g_n = r->c->m->n_kv_heads;
    const qu_segment *s = &r->c->seg[r->item[i] / g_n];
    int64_t expected = qu_codec_bytes(r->c->codec, s->n, r->c->m->head_size);
    const void *data;
    size_t bytes;
    if (r->st[worker] != QU_OK) return;
    r->st[worker] =
        s->source.get(s->source.ctx, r->layer, r->item[i] % g_n, &data, &bytes, &r->err[worker]);
    if (r->st[worker] != QU_OK) return;
    if ((int64_t)bytes != expected)
        r->st[worker] = qu_fail(&r->err[worker], QU_ERR_CORRUPT,
                                "stored slice has %zu bytes, expected %lld for %d tokens", bytes,
                                (long long)expected, s->n);
    else
        memcpy(r->to + i * r->stride, data, bytes);
}

static qu_status read_slices(fetch_run *r, int32_t n, qu_err *err)
{
    int workers = qu_pool_threads(r->c->pool);
    qu_status st = QU_OK;
    r->st = calloc((size_t)workers, sizeof *r->st);
    r->err = calloc((size_t)workers, sizeof *r->err);
    if (!r->st || !r->err)
        st = qu_fail_nomem(err, workers * (long long)sizeof *r->err);
    else
        qu_pool_run(r->c->pool, n, fetch_item, r);
    for (int i = 0; st == QU_OK && i < workers; i++)
        if (r->st[i] != QU_OK) {
            st = r->st[i];
            if (err) *err = r->err[i];
        }
    free(r->st);
    free(r->err);
    return st;
}

/* One stage full: b tells which of the two. */
static qu_status fetch_batch(qu_context *c, int32_t layer, const int32_t *item, int32_t n, int b,
                             int64_t stride, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    int32_t g_n = m->n_kv_heads;
    QU_TRY(qu_cuda_need(x, &x->stage[b], STAGE_BYTES + stride, err));
    QU_TRY(qu_cuda_need_host(x, &x->stage_host[b], STAGE_BYTES + stride, err));
    int64_t list = (STAGE_BYTES / stride + 1) * (int64_t)sizeof(qu_cuda_slice);
    QU_TRY(qu_cuda_need(x, &x->items[b], list, err));
    QU_TRY(qu_cuda_need_host(x, &x->items_host[b], list, err));
    QU_TRY(qu_cuda_reach(x->cu, MARK_STAGE + b, err)); /* the stage's last load has left it */
    fetch_run r = {.c = c, .layer = layer, .item = item, .to = x->stage_host[b].p, .stride = stride};
    QU_TRY(read_slices(&r, n, err));
    qu_cuda_slice *items = x->items_host[b].p;
    for (int32_t i = 0; i < n; i++) {
        qu_cuda_segment *s = qu_cuda_segment_of(&c->seg[item[i] / g_n]);
        int32_t at = layer * g_n + item[i] % g_n;
        if (!s->slices[at]) QU_TRY(pool_take(x, &x->slices, &s->slices[at], err));
        items[i] = slice_item(c, item[i] / g_n, layer, item[i] % g_n, (char *)x->stage[b].p + i * stride);
        c->stats.bytes_read += qu_codec_bytes(c->codec, c->seg[item[i] / g_n].n, m->head_size);
    }
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, x->stage[b].p, x->stage_host[b].p, n * stride, err));
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COPY, x->items[b].p, items,
                          n * (int64_t)sizeof *items, err));
    QU_TRY(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_STAGE + b, err));
    QU_TRY(qu_cuda_expand(x->cu, QU_CUDA_COPY, x->items[b].p, n, c->codec, m->head_size, x->d->rope,
                          err));
    for (int32_t i = 0; i < n; i++)
        c->seg[item[i] / g_n].ready[layer * g_n + item[i] % g_n] = 1;
    c->stats.slices_read += n;
    return QU_OK;
}

qu_status qu_cuda_fetch(qu_context *c, int32_t layer, const uint8_t *use, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int32_t g_n = c->m->n_kv_heads, n = 0;
    qu_status st = QU_OK;
    int32_t *item = malloc(((size_t)c->first_live * (size_t)g_n + 1) * sizeof *item);
    if (!item) return qu_fail_nomem(err, c->first_live * 4ll * g_n);
    for (int32_t i = 0; i < c->first_live; i++)
        for (int32_t g = 0; g < g_n; g++)
            if (c->seg[i].source.get && (!use || use[i * g_n + g]) &&
                !c->seg[i].ready[layer * g_n + g])
                item[n++] = i * g_n + g;
    int64_t stride = (qu_codec_bytes(c->codec, QU_PAGE_TOKENS, c->m->head_size) + 63) / 64 * 64;
    int32_t most = (int32_t)(STAGE_BYTES / stride) + 1;
    double start = qu_os_now_ms();
    for (int32_t i = 0, b = 0; i < n; i += most, b = !b)
        QU_TRY_OUT(fetch_batch(c, layer, item + i, n - i < most ? n - i : most, b, stride, err));
    if (n > 0) {
        c->stats.load_ms += qu_os_now_ms() - start;
        QU_TRY_OUT(qu_cuda_mark(x->cu, QU_CUDA_COPY, MARK_COPIED, err));
        QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COMPUTE, MARK_COPIED, err));
    }
out:
    free(item);
    return st;
}

/* --- the way out --- */

static int32_t chunk_pages(const qu_context *c)
{
    return c->rows.own[c->rows.n - 1] - c->rows.own[0] + 1;
}

static int64_t fresh_stride(const qu_context *c)
{
    return (qu_codec_bytes(c->codec, QU_PAGE_TOKENS, c->m->head_size) + 63) / 64 * 64;
}

qu_status qu_cuda_place_pages(qu_context *c, int32_t layer, bool out, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    enum { MAX = QU_CUDA_ROWS };
    int32_t g_n = m->n_kv_heads, pages = chunk_pages(c), zero = c->rows.own[0], b = layer % 2;
    int64_t stride = fresh_stride(c), bytes = stride * g_n * pages;
    QU_TRY(qu_cuda_need(x, &x->fresh[b], bytes, err));
    QU_TRY(qu_cuda_need(x, &x->fresh_items, 2 * MAX * 4 + pages * g_n * (int64_t)sizeof(qu_cuda_slice), err));
    int32_t first[2 * MAX]; /* and behind them the pages' tokens */
    for (int32_t t = 0, p = 0; t < c->rows.n; t++)
        if (c->rows.at[t] == 0) {
            first[p] = t;
            first[MAX + p] = c->seg[zero + p].n;
            p++;
        }
    qu_cuda_slice *items = malloc((size_t)(pages * g_n) * sizeof *items);
    if (!items) return qu_fail_nomem(err, pages * g_n * (long long)sizeof *items);
    for (int32_t i = 0; i < pages * g_n; i++)
        items[i] = slice_item(c, zero + i / g_n, layer, i % g_n, (char *)x->fresh[b].p + i * stride);
    int32_t *lists = x->fresh_items.p;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COMPUTE, MARK_TAKEN + b, err));
    QU_TRY_OUT(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, lists, first, 2 * MAX * 4, err));
    QU_TRY_OUT(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, lists + 2 * MAX, items,
                              pages * g_n * (int64_t)sizeof *items, err));
    QU_TRY_OUT(qu_cuda_encode(x->cu, x->fresh[b].p, stride, c->codec, x->k.p, x->v.p, lists,
                              lists + MAX, pages, g_n, m->head_size, err));
    QU_TRY_OUT(qu_cuda_expand(x->cu, QU_CUDA_COMPUTE, (void *)(lists + 2 * MAX), pages * g_n, c->codec,
                              m->head_size, x->d->rope, err));
    for (int32_t i = 0; i < pages * g_n; i++) c->seg[zero + i / g_n].ready[layer * g_n + i % g_n] = 1;
    if (!out) goto out;
    QU_TRY_OUT(qu_cuda_need_host(x, &x->fresh_host[b], bytes, err));
    QU_TRY_OUT(qu_cuda_mark(x->cu, QU_CUDA_COMPUTE, MARK_FRESH, err));
    QU_TRY_OUT(qu_cuda_follow(x->cu, QU_CUDA_COPY, MARK_FRESH, err));
    QU_TRY_OUT(qu_cuda_download(x->cu, QU_CUDA_COPY, x->fresh_host[b].p, x->fresh[b].p, bytes, err));
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
    qu_segment_summarise(c, n, r->layer, g, r->slices + i * fresh_stride(c), c->s.summaries + at, worker);
}

/* Summaries are made here, by the processor, while the device is a layer ahead. */
static qu_status summarise(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                           qu_err *err)
{
    const qu_model *m = c->m;
    int32_t zero = c->rows.own[0], pages = chunk_pages(c);
    summary_run r = {.c = c, .layer = layer, .slices = qu_cuda_of(c)->fresh_host[layer % 2].p};
    for (int32_t p = 0; p < pages; p++)
        r.at[p + 1] = r.at[p] + qu_page_summary_bytes(m, c->seg[zero + p].n);
    int64_t worker = qu_attention_worker_floats(c) * qu_pool_threads(c->pool);
    QU_TRY(qu_scratch_floats(&c->s.worker, &c->s.worker_cap, worker, err));
    if (c->s.summaries_cap < r.at[pages]) {
        free(c->s.summaries);
        c->s.summaries = malloc((size_t)r.at[pages]);
        c->s.summaries_cap = c->s.summaries ? r.at[pages] : 0;
        if (!c->s.summaries) return qu_fail_nomem(err, r.at[pages]);
    }
    qu_pool_run(c->pool, (int64_t)pages * m->n_kv_heads, summary_item, &r);
    for (int32_t p = 0; layer == m->n_layers - 1 && p < pages; p++)
        QU_TRY(sink->summary(sink->ctx, zero + p - page_zero, c->s.summaries + r.at[p],
                             (size_t)(r.at[p + 1] - r.at[p]), err));
    return QU_OK;
}

qu_status qu_cuda_deliver(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                          qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    int32_t g_n = m->n_kv_heads, zero = c->rows.own[0];
    const char *slices = x->fresh_host[layer % 2].p;
    QU_TRY(qu_cuda_reach(x->cu, MARK_TAKEN + layer % 2, err));
    for (int32_t i = 0; i < chunk_pages(c) * g_n; i++) {
        int32_t n = c->seg[zero + i / g_n].n;
        QU_TRY(sink->put(sink->ctx, zero + i / g_n - page_zero, layer, i % g_n,
                         slices + i * fresh_stride(c),
                         (size_t)qu_codec_bytes(c->codec, n, m->head_size), err));
    }
    return sink->summary ? summarise(c, layer, sink, page_zero, err) : QU_OK;
}
