/* Attention of one layer over a context's segments: fetch what is missing, then part by part.
 *
 * Rows go in blocks of QU_ATTEND_TOKENS tokens of one segment (in tiles, whose pages are laid out
 * for a whole block, of more where threads have enough to do), times the query heads of one KV
 * head: so a loaded key serves its whole group. What a block reads of a KV head are its parts: the
 * pages that were chosen, then the far field. A pair of block and head is one item, which merges
 * parts as they come. Where that would leave threads idle, it is several, each a run of the parts:
 * partial states are kept, and the item that ends last merges them in the same order, hence to the
 * same bits.
 */
#include <stdatomic.h>

#include "base/memory.h"
#include "base/os.h"
#include "decode/context_int.h"
#include "kernels/codec.h"
#include "kernels/linear.h"
#include "kernels/summary.h"

enum { ITEMS_PER_THREAD = 8 }; /* at least, where parts allow it */

/* Documents' chunks are attended to in tiles where they are multiplied in tiles. */
static bool in_tiles(const qu_context *c)
{
    return !c->backend && qu_linear_prefill_kind() == QU_PREFILL_AMX_BF16;
}

/* Rows of so many tokens times heads of a group, in whole strips. */
static int64_t block_rows(const qu_model *m, int32_t tokens)
{
    int64_t rows = (int64_t)tokens * (m->n_heads / m->n_kv_heads);
    return (rows + QU_ATTEND_STRIP - 1) / QU_ATTEND_STRIP * QU_ATTEND_STRIP;
}

/* Floats of a state of so many rows: o, m, l. */
static int64_t state_floats(const qu_model *m, int64_t rows)
{
    return (rows * (qu_attend_pad(m->head_size) + 2) + 15) / 16 * 16;
}

static qu_attend_state state_at(const qu_model *m, int64_t rows, float *p)
{
    int64_t o = rows * qu_attend_pad(m->head_size);
    return (qu_attend_state){p, p + o, p + o + rows};
}

/* Floats for scores, or for queries and pages in tiles, aligned to 64 bytes. */
static int64_t work_floats(const qu_model *m, int64_t rows, bool tiles)
{
    int64_t bytes = qu_attend_tiles_bytes((int32_t)rows, m->head_size) +
                    qu_attend_tiles_scratch(m->head_size) + 64;
    return tiles ? bytes / (int64_t)sizeof(float) : rows * QU_ATTEND_COLUMNS;
}

/* A worker's scratch. */
typedef struct item_scratch {
    float *q, *scores;
    char *queries, *tiles; /* instead of scores */
    qu_attend_state part, acc;
    int32_t *visible;
} item_scratch;

static int64_t item_floats(const qu_model *m, int32_t tokens, bool tiles)
{
    int64_t rows = block_rows(m, tokens);
    return rows * m->head_size + work_floats(m, rows, tiles) + 2 * state_floats(m, rows) + rows;
}

static item_scratch lay_out(const qu_model *m, int32_t tokens, bool tiles, float *p)
{
    int64_t rows = block_rows(m, tokens);
    item_scratch s = {.q = p, .scores = p + rows * m->head_size};
    s.queries = (char *)s.scores + (64 - (uintptr_t)s.scores % 64) % 64;
    s.tiles = s.queries + qu_attend_tiles_bytes((int32_t)rows, m->head_size);
    p = s.scores + work_floats(m, rows, tiles);
    s.part = state_at(m, rows, p);
    s.acc = state_at(m, rows, p + state_floats(m, rows));
    s.visible = (int32_t *)(void *)(p + 2 * state_floats(m, rows));
    return s;
}

int64_t qu_attention_worker_floats(const qu_context *c)
{
    const qu_model *m = c->m;
    bool tiles = in_tiles(c);
    int64_t item = item_floats(m, tiles ? QU_PAGE_TOKENS : QU_ATTEND_TOKENS, tiles);
    int64_t question = item_floats(m, QU_ATTEND_TOKENS, false);
    int64_t decode = (int64_t)QU_PAGE_TOKENS * (2 * m->head_size + qu_attend_pad(m->head_size)) +
                     qu_summary_scratch(QU_PAGE_TOKENS, m->head_size);
    int64_t most = item > question ? item : question;
    return ((most > decode ? most : decode) + 15) / 16 * 16;
}

/* --- fetching --- */

bool qu_fetch_slice(qu_context *c, const qu_segment *s, int32_t layer, int32_t g, int worker,
                    const void **data)
{
    qu_fetch_share *w = &c->s.share[worker];
    int64_t expected = qu_codec_bytes(c->codec, s->n, c->m->head_size);
    size_t bytes;
    if (w->st != QU_OK) return false;
    w->st = s->source.get(s->source.ctx, layer, g, data, &bytes, &w->err);
    if (w->st == QU_OK && (int64_t)bytes != expected)
        w->st = qu_fail(&w->err, QU_ERR_CORRUPT,
                        "stored slice has %zu bytes, expected %lld for %d tokens", bytes,
                        (long long)expected, s->n);
    w->bytes += expected;
    w->slices++;
    return w->st == QU_OK;
}

qu_status qu_fetch_all(qu_context *c, int64_t n, void (*body)(void *ctx, int64_t item, int worker),
                       void *ctx, int halves, qu_err *err)
{
    int workers = qu_pool_threads(c->pool);
    qu_status st = QU_OK;
    QU_TRY(qu_memory_need(&c->s.share, &c->s.share_cap, workers, sizeof *c->s.share, err));
    memset(c->s.share, 0, (size_t)workers * sizeof *c->s.share);
    qu_pool_run(c->pool, n, body, ctx);
    for (int i = 0; i < workers; i++) {
        const qu_fetch_share *w = &c->s.share[i];
        c->stats.bytes_read += w->bytes * halves / 2;
        c->stats.slices_read += halves > 0 ? w->slices : 0;
        if (w->st == QU_OK || st != QU_OK) continue;
        st = w->st;
        if (err) *err = w->err;
    }
    return st;
}

typedef struct fetch_run {
    qu_context *c;
    int32_t layer;
    const uint8_t *use;
} fetch_run;

static bool is_missing(const fetch_run *r, const qu_segment *s, int32_t g)
{
    int32_t g_n = r->c->m->n_kv_heads;
    return r->use[(s - r->c->seg) * g_n + g] && s->source.get && !s->ready[r->layer * g_n + g];
}

static void fetch_item(void *ctx, int64_t item, int worker)
{
    fetch_run *r = ctx;
    int32_t g = (int32_t)(item % r->c->m->n_kv_heads);
    qu_segment *s = &r->c->seg[item / r->c->m->n_kv_heads];
    const void *data;
    if (is_missing(r, s, g) && qu_fetch_slice(r->c, s, r->layer, g, worker, &data))
        qu_segment_fill(r->c, s, r->layer, g, data, NULL, worker);
}

qu_status qu_attention_fetch(qu_context *c, int32_t layer, const uint8_t *use, int halves,
                             qu_err *err)
{
    fetch_run r = {c, layer, use};
    int64_t n = (int64_t)c->first_live * c->m->n_kv_heads, missing = 0;
    for (qu_segment *s = c->seg; s < c->seg + c->first_live; s++)
        for (int32_t g = 0; g < c->m->n_kv_heads; g++) {
            if (!is_missing(&r, s, g)) continue;
            missing++;
            QU_TRY(qu_segment_need(c, s, err));
        }
    if (missing == 0) return QU_OK;
    double start = qu_os_now_ms();
    qu_status st = qu_fetch_all(c, n, fetch_item, &r, halves, err);
    c->stats.load_ms += qu_os_now_ms() - start;
    return st;
}

/* --- attending --- */

/* Consecutive rows [t0, t0 + n) of one segment. */
typedef struct block {
    int32_t t0, n, own;
} block;

typedef struct attend_run {
    qu_context *c;
    int32_t layer;
    block blocks[QU_PASS_ROWS];
    int32_t tokens; /* of a block at most */
    bool tiles;
    int32_t n_blocks, n_splits;
    int32_t n_pages, n_far; /* segments that the last block can see; parts of the far field */
    int32_t *pages, *n;     /* [G][n_pages] those read, [G] how many */
    atomic_int *left;       /* [blocks * G] items to come */
    float *partial;         /* [blocks * G][n_pages + n_far] */
} attend_run;

/* The block's queries of one KV head, [n * group, D], and how much of their own segment they
 * see. */
static int32_t gather(const attend_run *r, const block *b, int32_t g, item_scratch *s)
{
    const qu_model *m = r->c->m;
    int32_t group = m->n_heads / m->n_kv_heads, d = m->head_size;
    for (int32_t i = 0; i < b->n; i++) {
        const float *q = r->c->s.q + ((int64_t)(b->t0 + i) * m->n_heads + (int64_t)g * group) * d;
        memcpy(s->q + (int64_t)i * group * d, q, (size_t)group * (size_t)d * sizeof *q);
        for (int32_t h = 0; h < group; h++)
            s->visible[i * group + h] = r->c->rows.at[b->t0 + i] + 1;
    }
    return b->n * group;
}

/* Pages of head g that a block sees. Where it sees other documents' pages not, the list is of all
 * pages: choosing is for questions. */
static int32_t pages_seen(const attend_run *r, const block *b, int32_t g)
{
    const int32_t *pages = r->pages + (int64_t)g * r->n_pages;
    int32_t n = r->n[g];
    while (n > 0 && pages[n - 1] > b->own) n--;
    return n - r->c->seg[b->own].n_hidden;
}

/* A block's part i of head g, after the n_pages pages one of the far field; whether it is the
 * block's own segment. */
static bool part_of(const attend_run *r, const block *b, int32_t g, int32_t n_pages, int32_t i,
                    qu_attend_kv *kv)
{
    const qu_segment *own = &r->c->seg[b->own];
    int32_t at = i < own->hidden ? i : i + own->n_hidden;
    int32_t page = i < n_pages ? r->pages[(int64_t)g * r->n_pages + at] : -1;
    *kv = page < 0 ? qu_selection_far(r->c, r->layer, g, i - n_pages)
                   : qu_segment_kv(r->c->m, &r->c->seg[page], r->layer, g);
    return page == b->own;
}

static void scatter(const attend_run *r, const block *b, int32_t g, const qu_attend_state *acc)
{
    const qu_model *m = r->c->m;
    int32_t group = m->n_heads / m->n_kv_heads, d = m->head_size, dp = qu_attend_pad(d);
    for (int32_t i = 0; i < b->n; i++) {
        int64_t row = (int64_t)i * group;
        qu_attend_state one = {acc->o + row * dp, acc->m + row, acc->l + row};
        float *out = r->c->s.att + ((int64_t)(b->t0 + i) * m->n_heads + (int64_t)g * group) * d;
        qu_attend_finish(out, d, NULL, &one, group, d);
    }
}

static void attend_item(void *ctx, int64_t item, int worker)
{
    attend_run *r = ctx;
    const qu_model *m = r->c->m;
    int32_t g_n = m->n_kv_heads, dp = qu_attend_pad(m->head_size),
            split = (int32_t)(item % r->n_splits);
    int64_t pair = item / r->n_splits, each = block_rows(m, r->tokens);
    int64_t stride = state_floats(m, each);
    int32_t g = (int32_t)(pair % g_n);
    const block *b = &r->blocks[pair / g_n];
    item_scratch s =
        lay_out(m, r->tokens, r->tiles, r->c->s.worker + worker * qu_attention_worker_floats(r->c));
    int32_t rows = gather(r, b, g, &s), n_pages = pages_seen(r, b, g), n = n_pages + r->n_far;
    float *partial = r->partial + pair * (r->n_pages + r->n_far) * stride;
    qu_attend_reset(&s.acc, rows, dp);
    if (r->tiles) qu_attend_tiles_queries(s.queries, s.q, m->head_size, rows, m->head_size);
    int32_t i = n * split / r->n_splits, end = n * (split + 1) / r->n_splits;
    qu_attend_kv kv, next = {0};
    bool own = i < end && part_of(r, b, g, n_pages, i, &kv), own_next = false;
    for (; i < end; i++, kv = next, own = own_next) {
        qu_attend_state part = r->n_splits > 1 ? state_at(m, each, partial + i * stride) : s.part;
        if (i + 1 < end) own_next = part_of(r, b, g, n_pages, i + 1, &next);
        kv.next = i + 1 < end ? next.kt : NULL;
        if (r->tiles && kv.type != QU_ATTEND_BYTES)
            qu_attend_tiles_page(&part, s.queries, rows, m->head_size, &kv, own ? s.visible : NULL,
                                 s.tiles);
        else
            qu_attend_page(&part, s.q, m->head_size, rows, m->head_size, &kv,
                           own ? s.visible : NULL, s.scores);
        if (r->n_splits == 1) qu_attend_merge(&s.acc, &part, rows, dp);
    }
    if (r->n_splits > 1) {
        if (atomic_fetch_sub(&r->left[pair], 1) > 1) return;
        for (i = 0; i < n; i++) {
            qu_attend_state part = state_at(m, each, partial + i * stride);
            qu_attend_merge(&s.acc, &part, rows, dp);
        }
    }
    scatter(r, b, g, &s.acc);
}

static void make_blocks(attend_run *r)
{
    const qu_rows *rows = &r->c->rows;
    r->n_blocks = 0;
    for (int32_t t = 0; t < rows->n;) {
        block *b = &r->blocks[r->n_blocks++];
        *b = (block){t, 0, rows->own[t]};
        while (t < rows->n && b->n < r->tokens && rows->own[t] == b->own) {
            b->n++;
            t++;
        }
    }
}

/* Which pages each head reads, and the room for what is split. */
static qu_status make_parts(attend_run *r, qu_err *err)
{
    qu_context *c = r->c;
    int32_t g_n = c->m->n_kv_heads, last = c->rows.own[c->rows.n - 1];
    int64_t pairs = (int64_t)r->n_blocks * g_n, threads = qu_pool_threads(c->pool);
    r->n_pages = last + 1;
    r->n_far = qu_selection_far_parts(c);
    QU_TRY(qu_memory_need(&c->s.parts, &c->s.parts_cap, g_n * (r->n_pages + 1ll) + pairs,
                          sizeof *c->s.parts, err));
    r->pages = c->s.parts;
    r->n = r->pages + (int64_t)g_n * r->n_pages;
    r->left = (atomic_int *)(r->n + g_n);
    r->n_splits = threads == 1 || pairs >= threads * ITEMS_PER_THREAD
                      ? 1
                      : (int32_t)(threads * ITEMS_PER_THREAD / pairs);
    for (int32_t g = 0; g < g_n; g++) {
        r->n[g] = 0;
        for (int32_t p = 0; p <= last; p++)
            if (c->s.use[p * g_n + g] || c->seg[p].live) r->pages[g * (last + 1) + r->n[g]++] = p;
    }
    if (r->n_splits == 1) return QU_OK;
    for (int64_t i = 0; i < pairs; i++) atomic_init(&r->left[i], r->n_splits);
    int64_t need =
        pairs * (r->n_pages + r->n_far) * state_floats(c->m, block_rows(c->m, r->tokens));
    QU_TRY(qu_memory_need(&c->s.partial, &c->s.partial_cap, need, sizeof(float), err));
    r->partial = c->s.partial;
    return QU_OK;
}

static qu_status choose(qu_context *c, int32_t layer, bool hooked, qu_err *err)
{
    int64_t need = (int64_t)c->n_seg * c->m->n_kv_heads;
    if (c->s.use_cap < need) QU_TRY(qu_memory_need(&c->s.use, &c->s.use_cap, need * 2, 1, err));
    memset(c->s.use, 1, (size_t)need);
    c->sel.far = false;
    if (!hooked || !c->hook.select) return QU_OK;
    return qu_selection_apply(c, layer, err);
}

qu_status qu_attention(qu_context *c, int32_t layer, bool hooked, qu_err *err)
{
    QU_TRY(choose(c, layer, hooked, err));
    QU_TRY(qu_attention_fetch(c, layer, c->s.use, 2, err));
    attend_run r = {.c = c, .layer = layer, .tiles = !hooked && in_tiles(c)};
    int64_t enough = (int64_t)qu_pool_threads(c->pool) * ITEMS_PER_THREAD;
    r.tokens = r.tiles ? QU_PAGE_TOKENS : QU_ATTEND_TOKENS;
    make_blocks(&r);
    for (; r.tokens > QU_ATTEND_TOKENS && r.n_blocks * c->m->n_kv_heads < enough; make_blocks(&r))
        r.tokens /= 2;
    QU_TRY(make_parts(&r, err));
    qu_pool_run(c->pool, (int64_t)r.n_blocks * c->m->n_kv_heads * r.n_splits, attend_item, &r);
    return QU_OK;
}
