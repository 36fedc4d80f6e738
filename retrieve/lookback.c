#include "retrieve/lookback.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "kernels/summary.h"
#include "retrieve/policy.h"

enum { LAYERS = 4, EVERY_ROW = 16 };

struct qu_lookback {
    const qu_model *m;
    qu_pool *pool;
    int32_t n_pages, n_layers, n_pad;
    int32_t layers[LAYERS];
    int32_t *tokens, *first; /* [n_pages], [n_pages + 1] range of each page's columns */
    uint16_t *kt;            /* [n_layers][G] half [D + D/2, n_pad]: keys, then spreads */
    float *bias;             /* [n_layers][G][n_pad] ln(count), -INF before the summary is there */
    float *mass;             /* [G][n_pad] */
    int64_t pos;
    bool failed; /* a watch ran out of memory */
};

static int64_t head_cells(const qu_lookback *b)
{
    return (int64_t)(b->m->head_size + b->m->head_size / 2) * b->n_pad;
}

/* Spread over the layers that have queries when a document is prefilled: all but the last. */
static void choose_layers(qu_lookback *b)
{
    for (int32_t i = 1; i <= LAYERS; i++) {
        int32_t l = i * (b->m->n_layers - 1) / (LAYERS + 1);
        bool is_new = b->n_layers == 0 || b->layers[b->n_layers - 1] < l;
        if (is_new && l < b->m->n_layers - 1) b->layers[b->n_layers++] = l;
    }
}

qu_status qu_lookback_create(qu_lookback **out, const qu_model *m, qu_pool *pool,
                             const int32_t *tokens, int32_t n_pages, qu_err *err)
{
    QU_OWN(qu_lookback_freep) qu_lookback *b = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&b, 1, sizeof *b, err));
    b->m = m;
    b->pool = pool;
    b->n_pages = n_pages;
    choose_layers(b);
    QU_TRY(qu_memory_take(&b->tokens, n_pages, sizeof *b->tokens, err));
    QU_TRY(qu_memory_take(&b->first, n_pages + 1, sizeof *b->first, err));
    memcpy(b->tokens, tokens, (size_t)n_pages * sizeof *tokens);
    for (int32_t p = 0; p < n_pages; p++)
        b->first[p + 1] = b->first[p] + qu_summary_clusters(tokens[p]);
    b->n_pad = (b->first[n_pages] + 15) / 16 * 16;
    int64_t heads = (int64_t)b->n_layers * m->n_kv_heads;
    QU_TRY(qu_memory_take(&b->kt, heads * head_cells(b), sizeof *b->kt, err));
    QU_TRY(qu_memory_take(&b->bias, heads * b->n_pad, sizeof *b->bias, err));
    QU_TRY(qu_memory_take(&b->mass, (int64_t)m->n_kv_heads * b->n_pad, sizeof *b->mass, err));
    for (int64_t i = 0; i < heads * b->n_pad; i++) b->bias[i] = -INFINITY;
    *out = QU_TAKE(b);
    return QU_OK;
}

void qu_lookback_free(qu_lookback *b)
{
    if (!b) return;
    free(b->tokens);
    free(b->first);
    free(b->kt);
    free(b->bias);
    free(b->mass);
    free(b);
}

static void keep_columns(qu_lookback *b, int32_t slot, int32_t g, int32_t page,
                         const qu_summary *s)
{
    int32_t d = b->m->head_size;
    int64_t head = (int64_t)slot * b->m->n_kv_heads + g;
    uint16_t *kt = b->kt + head * head_cells(b);
    float *bias = b->bias + head * b->n_pad;
    for (int32_t i = 0; i < b->first[page + 1] - b->first[page]; i++) {
        int32_t col = b->first[page] + i;
        const float *key = s->key + i * d, *spread = s->spread + i * (d / 2);
        for (int32_t j = 0; j < d + d / 2; j++)
            qu_attend_halve(kt + (int64_t)j * b->n_pad + col, j < d ? key + j : spread + j - d, 1);
        bias[col] = s->count[i] > 0 ? logf((float)s->count[i]) : -INFINITY;
    }
}

qu_status qu_lookback_summary(qu_lookback *b, int32_t page, const void *data, size_t bytes,
                              qu_err *err)
{
    int32_t n = b->tokens[page];
    int64_t want = qu_page_summary_bytes(b->m, n), each = qu_summary_bytes(n, b->m->head_size);
    if ((int64_t)bytes != want)
        return qu_fail(err, QU_ERR_CORRUPT, "summary of page %d has %zu bytes, expected %lld", page,
                       bytes, (long long)want);
    for (int32_t slot = 0; page > 0 && slot < b->n_layers; slot++)
        for (int32_t g = 0; g < b->m->n_kv_heads; g++) {
            float cells[QU_SUMMARY_CLUSTERS * 5 * QU_MAX_HEAD_SIZE / 2];
            qu_summary s;
            int64_t at = each * ((int64_t)b->layers[slot] * b->m->n_kv_heads + g);
            qu_summary_read(&s, (const char *)data + at, n, b->m->head_size, cells);
            keep_columns(b, slot, g, page, &s);
        }
    return QU_OK;
}

void qu_lookback_begin(qu_lookback *b, int64_t pos)
{
    memset(b->mass, 0, (size_t)b->m->n_kv_heads * (size_t)b->n_pad * sizeof *b->mass);
    b->pos = pos;
    b->failed = false;
}

typedef struct watch_run {
    qu_lookback *b;
    int32_t layer, slot, n_rows;
    const float *q;
    bool *failed; /* [G] */
} watch_run;

/* The KV head's sampled queries, turned back by pos: so keys that stand at 0 are at pos for
 * them. */
static void turn_back(const watch_run *r, int32_t g, float *q, float *q2)
{
    const qu_model *m = r->b->m;
    int32_t d = m->head_size, group = m->n_heads / m->n_kv_heads;
    const qu_rope *rope = m->ropes[qu_model_rope(m, r->layer, g)];
    float c[QU_MAX_HEAD_SIZE * 8], s[QU_MAX_HEAD_SIZE * 8];
    qu_rope_angles(rope, r->b->pos, 1, 16, c, s);
    for (int32_t i = 0; i < d / 2 * 16; i++) s[i] = -s[i];
    for (int32_t t = 0; t < r->n_rows; t += EVERY_ROW)
        for (int32_t h = 0; h < group; h++, q += d, q2 += d / 2) {
            memcpy(q, r->q + ((int64_t)t * m->n_heads + g * group + h) * d, (size_t)d * sizeof *q);
            qu_rope_vector(q, rope, c, s, 16, 0);
            for (int32_t j = 0; j < d / 2; j++) {
                int32_t x, y;
                qu_rope_pair(rope, j, &x, &y);
                q2[j] = q[x] * q[x] + q[y] * q[y];
            }
        }
}

static void watch_head(void *ctx, int64_t item, int worker)
{
    (void)worker;
    watch_run *r = ctx;
    const qu_lookback *b = r->b;
    int32_t g = (int32_t)item, d = b->m->head_size;
    int32_t rows = (r->n_rows + EVERY_ROW - 1) / EVERY_ROW * (b->m->n_heads / b->m->n_kv_heads);
    int64_t head = (int64_t)r->slot * b->m->n_kv_heads + g;
    float *q = malloc((size_t)rows * (size_t)(d + d / 2 + 2 * b->n_pad + 2) * sizeof *q);
    r->failed[g] = !q;
    if (!q) return;
    float *q2 = q + (int64_t)rows * d;
    const uint16_t *kt = b->kt + head * head_cells(b);
    qu_attend_kv kv = {.kt = kt,
                       .bias = b->bias + head * b->n_pad,
                       .type = QU_ATTEND_HALVES,
                       .n = b->n_pad,
                       .n_pad = b->n_pad,
                       .spread = kt + (int64_t)d * b->n_pad};
    turn_back(r, g, q, q2);
    qu_attend_mass(b->mass + (int64_t)g * b->n_pad, q, d, rows, d, &kv, 1, q2,
                   q2 + (int64_t)rows * (d / 2));
    free(q);
}

void qu_lookback_watch(void *ctx, int32_t layer, const float *q, int32_t n_rows)
{
    qu_lookback *b = ctx;
    bool failed[QU_MAX_HEADS] = {false};
    for (int32_t slot = 0; slot < b->n_layers; slot++) {
        if (b->layers[slot] != layer || b->n_pad == 0) continue;
        watch_run r = {b, layer, slot, n_rows, q, failed};
        qu_pool_run(b->pool, b->m->n_kv_heads, watch_head, &r);
    }
    for (int32_t g = 0; g < b->m->n_kv_heads; g++) b->failed = b->failed || failed[g];
}

qu_status qu_lookback_pick(qu_lookback *b, uint8_t *use, int32_t n_earlier, int64_t budget,
                           qu_err *err)
{
    memset(use, 0, (size_t)n_earlier);
    if (b->failed) return qu_fail_nomem(err, b->n_pad * 4ll);
    if (n_earlier <= 1 || budget < QU_PAGE_TOKENS) return QU_OK;
    QU_OWN(qu_freep) float *score = calloc((size_t)n_earlier, sizeof *score);
    if (!score) return qu_fail_nomem(err, n_earlier * 4ll);
    for (int32_t p = 1; p < n_earlier; p++)
        for (int32_t g = 0; g < b->m->n_kv_heads; g++)
            for (int32_t i = b->first[p]; i < b->first[p + 1]; i++)
                score[p] += b->mass[(int64_t)g * b->n_pad + i];
    return qu_policy_cut(use + 1, 1, score + 1, b->tokens + 1, n_earlier - 1, budget, err);
}
