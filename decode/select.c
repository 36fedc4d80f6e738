/* Selection inside a context: the candidates' clusters turned to their places, the hook's choices,
 * and the far field of what was not chosen.
 *
 *   candidates  segments whose source has a summary; everything else is always read
 *   clusters    [L][G] of one block of keys, values and spreads, columns in candidate order: the
 *               same block serves sensing and, with the chosen pages' columns hidden, the far field
 *   chosen      [epoch][L][candidate, G]: epoch 0 is the question's choice, epoch e that of the
 *               generated token e * refresh, so that rewinding needs no undo
 */
#include <math.h>

#include "base/memory.h"
#include "base/os.h"
#include "decode/context_int.h"
#include "kernels/codec.h"
#include "kernels/quant.h"
#include "kernels/summary.h"

/* A page's clusters side by side, in whole vectors. */
enum { COLUMNS = (QU_SUMMARY_CLUSTERS + 15) / 16 * 16 };

int64_t qu_page_summary_bytes(const qu_model *m, int32_t n)
{
    return qu_summary_bytes(n, m->head_size) * m->n_layers * m->n_kv_heads;
}

void qu_selection_clear(qu_selection *s)
{
    void *owned[] = {s->segment, s->first,  s->tokens, s->kv,  s->bias,
                     s->hidden,  s->chosen, s->q,      s->cos, s->sin};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    memset(s, 0, sizeof *s);
}

/* --- the candidates' clusters --- */

static int64_t head_elements(const qu_context *c)
{
    int32_t d = c->m->head_size;
    return (int64_t)c->sel.n_pad * (d + qu_attend_pad(d) + d / 2);
}

static char *block_kt(const qu_context *c, int32_t layer, int32_t g)
{
    return c->sel.kv + (layer * c->m->n_kv_heads + g) * head_elements(c) * (c->sel.half ? 2 : 4);
}

static float *block_bias(const qu_context *c, int32_t layer, int32_t g)
{
    return c->sel.bias + ((int64_t)layer * c->m->n_kv_heads + g) * c->sel.n_pad;
}

static qu_attend_kv block_kv(const qu_context *c, int32_t layer, int32_t g, const float *bias)
{
    char *kt = block_kt(c, layer, g);
    int64_t keys = (int64_t)c->m->head_size * c->sel.n_pad * (c->sel.half ? 2 : 4);
    return (qu_attend_kv){kt, kt + keys, bias, c->sel.half, c->sel.n_pad, c->sel.n_pad};
}

/* Behind keys and values. */
static void *block_spread(const qu_context *c, int32_t layer, int32_t g)
{
    int64_t d = c->m->head_size, before = c->sel.n_pad * (d + qu_attend_pad((int32_t)d));
    return block_kt(c, layer, g) + before * (c->sel.half ? 2 : 4);
}

/* Column col + c of a [rows, n_pad] matrix = column c of x [rows, COLUMNS], c < n. */
static void put_columns(void *block, bool half, int32_t n_pad, int32_t col, const float *x,
                        int32_t rows, int32_t n)
{
    uint16_t h[COLUMNS];
    for (int32_t j = 0; j < rows; j++, x += COLUMNS) {
        int64_t at = (int64_t)j * n_pad + col;
        if (half) qu_attend_halve(h, x, COLUMNS);
        if (half)
            memcpy((uint16_t *)block + at, h, (size_t)n * sizeof *h);
        else
            memcpy((float *)block + at, x, (size_t)n * sizeof *x);
    }
}

typedef struct load_run {
    qu_context *c;
    int32_t page;
    const char *data; /* its summary */
} load_run;

/* One head's summary into the page's columns, keys turned by the page's start. */
static void place(void *ctx, int64_t item, int worker)
{
    (void)worker;
    load_run *r = ctx;
    qu_context *c = r->c;
    const qu_model *m = c->m;
    const qu_segment *seg = &c->seg[c->sel.segment[r->page]];
    int32_t layer = (int32_t)(item / m->n_kv_heads), g = (int32_t)(item % m->n_kv_heads);
    int32_t d = m->head_size, dp = qu_attend_pad(d), row = qu_model_rope(m, layer, g);
    int32_t n = qu_summary_clusters(seg->n), col = c->sel.first[r->page];
    float cells[QU_SUMMARY_CLUSTERS * 5 * QU_MAX_HEAD_SIZE / 2];
    float columns[QU_MAX_HEAD_SIZE * COLUMNS];
    qu_attend_kv kv = block_kv(c, layer, g, NULL);
    qu_summary s;
    qu_summary_read(&s, r->data + item * qu_summary_bytes(seg->n, d), seg->n, d, cells);
    int64_t angles = (int64_t)row * (d / 2 + 1) * COLUMNS;
    qu_rope_page(columns, COLUMNS, s.key, n, d, m->ropes[row], c->sel.cos + angles,
                 c->sel.sin + angles, COLUMNS);
    put_columns((void *)kv.kt, kv.half, kv.n_pad, col, columns, d, n);
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < d / 2; j++) columns[j * COLUMNS + i] = s.spread[i * (d / 2) + j];
    put_columns(block_spread(c, layer, g), kv.half, kv.n_pad, col, columns, d / 2, n);
    for (int32_t i = 0; i < n; i++) {
        int64_t at = (int64_t)(col + i) * dp;
        if (kv.half)
            qu_attend_halve((uint16_t *)kv.v + at, s.value + i * d, d);
        else
            memcpy((float *)kv.v + at, s.value + i * d, (size_t)d * sizeof *s.value);
        block_bias(c, layer, g)[col + i] = s.count[i] > 0 ? logf((float)s.count[i]) : -INFINITY;
    }
}

/* Angles of one position for every RoPE row, the same in each column. */
static void page_angles(qu_context *c, const qu_segment *seg)
{
    const qu_model *m = c->m;
    for (int32_t row = 0; row < m->n_ropes; row++) {
        int64_t to = (int64_t)row * (m->head_size / 2 + 1) * COLUMNS,
                at = qu_segment_angles(m, seg, row);
        for (int32_t i = 0; i < m->head_size / 2; i++)
            for (int32_t j = 0; j < COLUMNS; j++) {
                c->sel.cos[to + i * COLUMNS + j] = seg->cos[at + (int64_t)i * seg->n_pad];
                c->sel.sin[to + i * COLUMNS + j] = seg->sin[at + (int64_t)i * seg->n_pad];
            }
    }
}

qu_status qu_selection_summary(qu_context *c, int32_t p, const void **data, qu_err *err)
{
    const qu_segment *seg = &c->seg[c->sel.segment[p]];
    int64_t expected = qu_page_summary_bytes(c->m, seg->n);
    size_t bytes;
    QU_TRY(seg->source.summary(seg->source.ctx, data, &bytes, err));
    c->stats.bytes_read += (int64_t)bytes;
    if ((int64_t)bytes == expected) return QU_OK;
    return qu_fail(err, QU_ERR_CORRUPT, "stored summary has %zu bytes, expected %lld", bytes,
                   (long long)expected);
}

static qu_status load_page(qu_context *c, int32_t p, qu_err *err)
{
    load_run r = {c, p, NULL};
    QU_TRY(qu_selection_summary(c, p, (const void **)&r.data, err));
    page_angles(c, &c->seg[c->sel.segment[p]]);
    qu_pool_run(c->pool, (int64_t)c->m->n_layers * c->m->n_kv_heads, place, &r);
    return QU_OK;
}

qu_status qu_selection_find(qu_context *c, qu_err *err)
{
    qu_selection *s = &c->sel;
    if (s->loaded) return QU_OK;
    QU_TRY(qu_memory_take(&s->segment, c->n_seg + 1ll, sizeof *s->segment, err));
    QU_TRY(qu_memory_take(&s->first, c->n_seg + 1ll, sizeof *s->first, err));
    QU_TRY(qu_memory_take(&s->tokens, c->n_seg + 1ll, sizeof *s->tokens, err));
    for (int32_t i = 0; i < c->first_live; i++) {
        const qu_page_source *source = &c->seg[i].source;
        const void *data;
        size_t bytes;
        if (!source->get || !source->summary) continue;
        qu_status st = source->summary(source->ctx, &data, &bytes, err);
        if (st == QU_ERR_NOTFOUND) continue;
        QU_TRY(st);
        int32_t p = s->n_pages++;
        s->segment[p] = i;
        s->tokens[p] = c->seg[i].n;
        s->first[p + 1] = s->first[p] + qu_summary_clusters(c->seg[i].n);
    }
    s->n_pad = (s->first[s->n_pages] + 15) / 16 * 16;
    s->half = c->codec != QU_CODEC_F32;
    s->loaded = true;
    return QU_OK;
}

/* Once a question: find the candidates and make their clusters ready. */
static qu_status load(qu_context *c, qu_err *err)
{
    const qu_model *m = c->m;
    qu_selection *s = &c->sel;
    if (s->loaded) return QU_OK;
    QU_TRY(qu_selection_find(c, err));
    if (s->n_pages == 0) return QU_OK;
    int64_t heads = (int64_t)m->n_layers * m->n_kv_heads, bias = heads * s->n_pad;
    int64_t angles = (int64_t)m->n_ropes * (m->head_size / 2 + 1) * COLUMNS;
    QU_TRY(qu_memory_take(&s->kv, heads * head_elements(c), s->half ? 2 : 4, err));
    QU_TRY(qu_memory_take(&s->bias, bias, sizeof *s->bias, err));
    QU_TRY(qu_memory_take(&s->hidden, (int64_t)m->n_kv_heads * s->n_pad, sizeof *s->hidden, err));
    QU_TRY(qu_memory_take(&s->cos, angles, sizeof *s->cos, err));
    QU_TRY(qu_memory_take(&s->sin, angles, sizeof *s->sin, err));
    for (int64_t i = 0; i < bias; i++) s->bias[i] = -INFINITY;
    double start = qu_os_now_ms();
    for (int32_t p = 0; p < s->n_pages; p++) QU_TRY(load_page(c, p, err));
    c->stats.load_ms += qu_os_now_ms() - start;
    return QU_OK;
}

/* --- choosing --- */

qu_status qu_selection_chosen(qu_context *c, int32_t epoch, int32_t layer, uint8_t **chosen,
                              qu_err *err)
{
    qu_selection *s = &c->sel;
    int64_t each = (int64_t)s->n_pages * c->m->n_kv_heads, pass = each * c->m->n_layers;
    QU_TRY(qu_memory_grow(&s->chosen, &s->chosen_cap, pass * (epoch + 1ll), 1, err));
    *chosen = s->chosen + epoch * pass + layer * each;
    return QU_OK;
}

/* The layer's queries, one KV head's rows together: [G][rows * group, D]; behind them their
 * squares, added up over the pairs of dims that turn together: [G][rows * group, D/2]. */
static qu_status gather_queries(qu_context *c, int32_t layer, qu_err *err)
{
    const qu_model *m = c->m;
    int32_t d = m->head_size, g_n = m->n_kv_heads, group = m->n_heads / g_n;
    int64_t rows = (int64_t)c->rows.n * group;
    QU_TRY(qu_memory_need(&c->sel.q, &c->sel.q_cap, rows * g_n * (d + d / 2), sizeof(float), err));
    for (int32_t t = 0; t < c->rows.n; t++)
        for (int32_t g = 0; g < g_n; g++)
            memcpy(c->sel.q + (g * rows + (int64_t)t * group) * d,
                   c->s.q + ((int64_t)t * m->n_heads + (int64_t)g * group) * d,
                   (size_t)group * (size_t)d * sizeof *c->sel.q);
    float *q2 = c->sel.q + rows * g_n * d;
    for (int64_t r = 0; r < rows * g_n; r++)
        for (int32_t j = 0; j < d / 2; j++) {
            int32_t a, b;
            qu_rope_pair(m->ropes[qu_model_rope(m, layer, (int32_t)(r / rows))], j, &a, &b);
            float x = c->sel.q[r * d + a], y = c->sel.q[r * d + b];
            q2[r * (d / 2) + j] = x * x + y * y;
        }
    return QU_OK;
}

static qu_attend_kv slice_of(const qu_context *c, int32_t p, int32_t layer, int32_t g)
{
    return qu_segment_kv(c->m, &c->seg[c->sel.segment[p]], layer, g);
}

static void candidates_in_use(const qu_context *c, uint8_t *use, uint8_t value)
{
    int32_t g_n = c->m->n_kv_heads;
    for (int32_t p = 0; p < c->sel.n_pages; p++)
        memset(use + c->sel.segment[p] * g_n, value, (size_t)g_n);
}

/* Half of the chosen slices' bytes: a policy that reads keys has paid for the other half. */
static void count_values(qu_context *c, const uint8_t *chosen)
{
    for (int32_t i = 0; i < c->sel.n_pages * c->m->n_kv_heads; i++)
        if (chosen[i])
            c->stats.bytes_read +=
                qu_codec_bytes(c->codec, c->sel.tokens[i / c->m->n_kv_heads], c->m->head_size) / 2;
}

static qu_status sense(qu_context *c, int32_t layer, uint8_t *chosen, qu_err *err)
{
    const qu_model *m = c->m;
    qu_selection *s = &c->sel;
    int32_t g_n = m->n_kv_heads, rows = c->rows.n * (m->n_heads / g_n);
    qu_status st = QU_OK;
    qu_sense *heads = NULL;
    qu_attend_kv *slices = NULL;
    QU_TRY_OUT(qu_memory_take(&heads, g_n, sizeof *heads, err));
    QU_TRY_OUT(gather_queries(c, layer, err));
    if (c->hook.reads_keys) {
        QU_TRY_OUT(qu_memory_take(&slices, (int64_t)g_n * s->n_pages, sizeof *slices, err));
        QU_TRY_OUT(qu_attention_fetch(c, layer, c->s.use, 1, err));
    }
    for (int32_t g = 0; g < g_n; g++) {
        qu_attend_kv *own = slices ? slices + (int64_t)g * s->n_pages : NULL;
        for (int32_t p = 0; own && p < s->n_pages; p++) own[p] = slice_of(c, p, layer, g);
        heads[g] = (qu_sense){layer,
                              g,
                              rows,
                              s->n_pages,
                              s->q + (int64_t)g * rows * m->head_size,
                              m->head_size,
                              s->q + (int64_t)rows * (g_n * m->head_size + g * (m->head_size / 2)),
                              block_kv(c, layer, g, block_bias(c, layer, g)),
                              block_spread(c, layer, g),
                              s->first,
                              s->tokens,
                              own};
    }
    memset(chosen, 0, (size_t)s->n_pages * (size_t)g_n);
    QU_TRY_OUT(c->hook.select(c->hook.ctx, heads, g_n, chosen, err));
    if (slices) count_values(c, chosen);
out:
    free(heads);
    free(slices);
    return st;
}

/* --- measuring --- */

/* Mean over rows of each page's share of the softmax over the candidates, one KV head. */
static qu_status true_mass(qu_context *c, int32_t layer, int32_t g, float *mass, qu_err *err)
{
    const qu_model *m = c->m;
    int32_t d = m->head_size, n = c->sel.n_pages, rows = c->rows.n * (m->n_heads / m->n_kv_heads);
    int64_t o = (int64_t)rows * qu_attend_pad(d);
    float *lse;
    QU_TRY(qu_memory_take(&lse, o + rows * (2ll + QU_PAGE_TOKENS + n), sizeof *lse, err));
    qu_attend_state part = {lse + (int64_t)rows * n, NULL, NULL};
    part.m = part.o + o;
    part.l = part.m + rows;
    const float *q = c->sel.q + (int64_t)g * rows * d;
    for (int32_t p = 0; p < n; p++) {
        qu_attend_kv kv = slice_of(c, p, layer, g);
        qu_attend_page(&part, q, d, rows, d, &kv, NULL, part.l + rows);
        for (int32_t r = 0; r < rows; r++) lse[(int64_t)r * n + p] = part.m[r] + logf(part.l[r]);
    }
    for (int32_t r = 0; r < rows; r++) {
        const float *x = lse + (int64_t)r * n;
        float top = x[0], sum = 0;
        for (int32_t p = 1; p < n; p++) top = x[p] > top ? x[p] : top;
        for (int32_t p = 0; p < n; p++) sum += expf(x[p] - top);
        for (int32_t p = 0; p < n; p++)
            mass[p * m->n_kv_heads + g] += expf(x[p] - top) / (sum * (float)rows);
    }
    free(lse);
    return QU_OK;
}

static qu_status measure(qu_context *c, int32_t layer, const uint8_t *chosen, qu_err *err)
{
    int32_t g_n = c->m->n_kv_heads, n = c->sel.n_pages;
    qu_status st = QU_OK;
    float *mass;
    QU_TRY(qu_memory_take(&mass, (int64_t)n * g_n, sizeof *mass, err));
    candidates_in_use(c, c->s.use, 1);
    QU_TRY_OUT(qu_attention_fetch(c, layer, c->s.use, 0, err));
    for (int32_t g = 0; g < g_n; g++) QU_TRY_OUT(true_mass(c, layer, g, mass, err));
    c->hook.measured(c->hook.ctx, layer, n, g_n, mass, chosen);
out:
    free(mass);
    return st;
}

/* --- what attention reads --- */

static void apply(qu_context *c, int32_t layer, const uint8_t *chosen)
{
    qu_selection *s = &c->sel;
    int32_t g_n = c->m->n_kv_heads;
    s->far = false;
    for (int32_t g = 0; g < g_n; g++) {
        float *hidden = s->hidden + (int64_t)g * s->n_pad;
        memcpy(hidden, block_bias(c, layer, g), (size_t)s->n_pad * sizeof *hidden);
        for (int32_t p = 0; p < s->n_pages; p++) {
            bool in = chosen[p * g_n + g];
            c->s.use[s->segment[p] * g_n + g] = in;
            s->far = s->far || !in;
            for (int32_t i = s->first[p]; in && i < s->first[p + 1]; i++) hidden[i] = -INFINITY;
        }
    }
    s->far = s->far && c->hook.far_field;
}

qu_status qu_selection_apply(qu_context *c, int32_t layer, qu_err *err)
{
    qu_selection *s = &c->sel;
    QU_TRY(load(c, err));
    if (s->n_pages == 0) return QU_OK;
    uint8_t *chosen;
    QU_TRY(qu_selection_chosen(c, s->epoch, layer, &chosen, err));
    if (s->senses) QU_TRY(sense(c, layer, chosen, err));
    apply(c, layer, chosen);
    if (!s->senses || !c->hook.measured) return QU_OK;
    QU_TRY(qu_attention_fetch(c, layer, c->s.use, 2, err)); /* counted before the rest is read */
    QU_TRY(measure(c, layer, chosen, err));
    apply(c, layer, chosen);
    return QU_OK;
}

int32_t qu_selection_far_parts(const qu_context *c)
{
    return c->sel.far ? (c->sel.n_pad + QU_PAGE_TOKENS - 1) / QU_PAGE_TOKENS : 0;
}

qu_attend_kv qu_selection_far(const qu_context *c, int32_t layer, int32_t g, int32_t part)
{
    int32_t at = part * QU_PAGE_TOKENS, n_pad = c->sel.n_pad;
    int64_t size = c->sel.half ? 2 : 4;
    qu_attend_kv kv = block_kv(c, layer, g, c->sel.hidden + (int64_t)g * n_pad + at);
    kv.kt = (const char *)kv.kt + at * size;
    kv.v = (const char *)kv.v + at * size * qu_attend_pad(c->m->head_size);
    kv.n = n_pad - at < QU_PAGE_TOKENS ? n_pad - at : QU_PAGE_TOKENS;
    return kv;
}
