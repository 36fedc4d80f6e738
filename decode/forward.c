/* The forward pass of both phases over the rows that context.c has laid out.
 *
 *   embed -> per layer: norm -> q k v -> [pages: round to codec, hand out] -> place keys ->
 *   attention
 *            -> output product -> add -> norm -> gate up -> silu -> down -> add -> norm -> logits
 *
 * The phases differ in the linear kernel and in where keys go: document rows become whole pages,
 * rounded to the codec; live rows are appended to their segment one by one.
 */
#include <math.h>

#include "base/memory.h"
#include "decode/context_int.h"
#include "kernels/codec.h"
#include "kernels/rows.h"
#include "kernels/summary.h"

static qu_status prepare(qu_context *c, bool document, qu_err *err)
{
    const qu_model *m = c->m;
    qu_scratch *s = &c->s;
    int64_t q = (int64_t)m->n_heads * m->head_size, kv = (int64_t)m->n_kv_heads * m->head_size;
    if (s->rows < c->rows.n) {
        int64_t n = c->rows.n > 64 || document ? QU_PASS_ROWS : 64;
        struct {
            float **p;
            int64_t width;
        } all[] = {{&s->x, m->width}, {&s->h, m->width}, {&s->q, q},      {&s->att, q},
                   {&s->k, kv},       {&s->v, kv},       {&s->gate, m->ffn}, {&s->up, m->ffn}};
        s->rows = 0;
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            QU_TRY(qu_memory_need(all[i].p, &(int64_t){0}, n * all[i].width, sizeof(float), err));
        s->rows = (int32_t)n;
    }
    int64_t each = qu_attention_worker_floats(c) * qu_pool_threads(c->pool);
    return qu_memory_need(&s->worker, &s->worker_cap, each, sizeof *s->worker, err);
}

/* y = what p makes of the shared input. */
typedef struct product {
    const qu_projection *p;
    float *y;
} product;

/* What rows are of: kernels are chosen by it. */
typedef enum row_phase { DOCUMENT, QUESTION, ANSWER } row_phase;

/* Products of x [rows, ldx], with each projection's bias and adapter; y [rows, n of p]. */
static qu_status linear(qu_context *c, row_phase phase, const product *products, int n,
                        const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    qu_linear_job jobs[3];
    for (int i = 0; i < n; i++) {
        const qu_projection *p = products[i].p;
        jobs[i] = (qu_linear_job){&p->w, p->bias, products[i].y, p->w.n};
    }
    if (phase == DOCUMENT)
        QU_TRY(qu_linear_document(c->pool, &c->linear, jobs, n, x, ldx, n_rows, err));
    else if (c->batch)
        QU_TRY(qu_batch_linear(c->batch, c->batch_at++, phase == QUESTION, jobs, n, x, ldx, n_rows,
                               err));
    else if (phase == QUESTION)
        QU_TRY(qu_linear_prompt(c->pool, &c->linear, jobs, n, x, ldx, n_rows, err));
    else
        qu_linear_question(c->pool, jobs, n, x, ldx, n_rows);
    for (int i = 0; i < n; i++) {
        const qu_lora_pair *l = &products[i].p->lora;
        if (!l->rank) continue;
        QU_TRY(qu_memory_need(&c->s.lora, &c->s.lora_cap, qu_lora_scratch(l, n_rows), sizeof(float),
                              err));
        qu_lora_add(c->pool, l, x, ldx, jobs[i].y, jobs[i].ldy, n_rows, c->s.lora);
    }
    return QU_OK;
}

/* --- small per-row work, in parallel --- */

typedef struct row_run {
    qu_context *c;
    const float *w;
    int32_t layer;
} row_run;

static void norm_row(void *ctx, int64_t t, int worker)
{
    (void)worker;
    row_run *r = ctx;
    const qu_model *m = r->c->m;
    qu_rows_rmsnorm(r->c->s.h + t * m->width, r->c->s.x + t * m->width, r->w, m->width, m->eps);
}

static void swiglu_row(void *ctx, int64_t t, int worker)
{
    (void)worker;
    row_run *r = ctx;
    const qu_model *m = r->c->m;
    qu_rows_swiglu(r->c->s.gate + t * m->ffn, r->c->s.up + t * m->ffn, m->ffn);
}

static void add_row(void *ctx, int64_t t, int worker)
{
    (void)worker;
    row_run *r = ctx;
    const qu_model *m = r->c->m;
    qu_rows_add(r->c->s.x + t * m->width, r->c->s.h + t * m->width, m->width);
}

/* Norm each head of a row's queries and keys, as Qwen3 does, before they turn or are stored. */
static void head_norm_row(void *ctx, int64_t t, int worker)
{
    (void)worker;
    row_run *r = ctx;
    const qu_model *m = r->c->m;
    const qu_layer *l = &m->layers[r->layer];
    int32_t d = m->head_size;
    float *q = r->c->s.q + t * m->n_heads * d, *k = r->c->s.k + t * m->n_kv_heads * d;
    for (int32_t h = 0; l->q_norm && h < m->n_heads; h++)
        qu_rows_rmsnorm(q + h * d, q + h * d, l->q_norm, d, m->eps);
    for (int32_t g = 0; l->k_norm && g < m->n_kv_heads; g++)
        qu_rows_rmsnorm(k + g * d, k + g * d, l->k_norm, d, m->eps);
}

/* Rotate a row's queries and scale them by 1/sqrt(D) and, where they turn, by YaRN's gain, so that
 * attention is plain dot products. */
static void query_row(void *ctx, int64_t t, int worker)
{
    (void)worker;
    row_run *r = ctx;
    qu_context *c = r->c;
    const qu_model *m = c->m;
    const qu_segment *s = &c->seg[c->rows.own[t]];
    float *q = c->s.q + t * m->n_heads * m->head_size, scale = 1 / sqrtf((float)m->head_size);
    int32_t group = m->n_heads / m->n_kv_heads;
    for (int32_t h = 0; h < m->n_heads; h++, q += m->head_size) {
        int32_t row = qu_model_rope(m, r->layer, h / group);
        int64_t at = qu_segment_angles(m, s, row);
        qu_rope_vector(q, m->ropes[row], s->cos + at, s->sin + at, s->n_pad, c->rows.at[t]);
        for (int32_t i = 0; i < m->rope_dims; i++) q[i] *= scale * m->rope_gain;
        for (int32_t i = m->rope_dims; i < m->head_size; i++) q[i] *= scale;
    }
}

/* Run body over the rows: in the caller for a few, since waking the pool costs more. */
static void each_row(qu_context *c, void (*body)(void *, int64_t, int), const float *w,
                     int32_t layer)
{
    row_run r = {c, w, layer};
    qu_pool_run(c->rows.n >= 8 ? c->pool : NULL, c->rows.n, body, &r);
}

/* --- keys and values --- */

/* Live rows: rotate each key into its column and copy its value. */
static void place_live(qu_context *c, int32_t layer)
{
    const qu_model *m = c->m;
    int32_t d = m->head_size, dp = qu_attend_pad(d), g_n = m->n_kv_heads;
    for (int32_t t = 0; t < c->rows.n; t++) {
        qu_segment *s = &c->seg[c->rows.own[t]];
        int32_t at = c->rows.at[t];
        for (int32_t g = 0; g < g_n; g++) {
            float *k = c->s.k + ((int64_t)t * g_n + g) * d;
            const float *v = c->s.v + ((int64_t)t * g_n + g) * d;
            float *kt = qu_segment_kt(m, s, layer, g);
            float *to = (float *)qu_segment_v(m, s, layer, g) + (int64_t)at * dp;
            int32_t row = qu_model_rope(m, layer, g);
            int64_t angles = qu_segment_angles(m, s, row);
            qu_rope_vector(k, m->ropes[row], s->cos + angles, s->sin + angles, s->n_pad, at);
            for (int32_t i = 0; i < d; i++) kt[(int64_t)i * s->n_pad + at] = k[i];
            memcpy(to, v, (size_t)d * sizeof *v);
        }
    }
}

/* Pages: encode each (page, KV head), make resident what was encoded. */
typedef struct page_run {
    qu_context *c;
    int32_t layer, first;
    int64_t stride;
    bool summarise;
    int32_t row0[QU_PASS_ROWS];
    int64_t summary[QU_PASS_ROWS + 1]; /* where each page's summary begins */
} page_run;

static void place_page(void *ctx, int64_t item, int worker)
{
    page_run *r = ctx;
    qu_context *c = r->c;
    const qu_model *m = c->m;
    int32_t d = m->head_size, g_n = m->n_kv_heads, g = (int32_t)(item % g_n),
            p = (int32_t)(item / g_n);
    qu_segment *s = &c->seg[r->first + p];
    int64_t ld = (int64_t)g_n * d;
    const float *k = c->s.k + r->row0[p] * ld + (int64_t)g * d;
    const float *v = c->s.v + r->row0[p] * ld + (int64_t)g * d;
    void *slice = (char *)c->s.slices + item * r->stride;
    qu_codec_encode(slice, c->codec, k, ld, v, ld, s->n, d);
    int64_t at = r->summary[p] + qu_summary_bytes(s->n, d) * (r->layer * g_n + g);
    qu_segment_fill(c, s, r->layer, g, slice, r->summarise ? c->s.summaries + at : NULL, worker);
}

int32_t qu_pass_pages(const qu_context *c)
{
    return c->rows.own[c->rows.n - 1] - c->rows.own[0] + 1;
}

int64_t qu_slice_stride(const qu_context *c)
{
    return (qu_codec_bytes(c->codec, QU_PAGE_TOKENS, c->m->head_size) + 63) / 64 * 64;
}

qu_status qu_pass_summaries(qu_context *c, int64_t *at, qu_err *err)
{
    int32_t n = qu_pass_pages(c);
    at[0] = 0;
    for (int32_t p = 0; p < n; p++)
        at[p + 1] = at[p] + qu_page_summary_bytes(c->m, c->seg[c->rows.own[0] + p].n);
    return qu_memory_need(&c->s.summaries, &c->s.summaries_cap, at[n], 1, err);
}

qu_status qu_pass_deliver(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                          const char *slices, int64_t stride, const int64_t *at, qu_err *err)
{
    int32_t g_n = c->m->n_kv_heads, n = qu_pass_pages(c), first = c->rows.own[0];
    for (int32_t i = 0; i < n * g_n; i++) {
        int64_t bytes = qu_codec_bytes(c->codec, c->seg[first + i / g_n].n, c->m->head_size);
        QU_TRY(sink->put(sink->ctx, first + i / g_n - page_zero, layer, i % g_n,
                         slices + i * stride, (size_t)bytes, err));
    }
    for (int32_t p = 0; at && layer == c->m->n_layers - 1 && p < n; p++)
        QU_TRY(sink->summary(sink->ctx, first + p - page_zero, c->s.summaries + at[p],
                             (size_t)(at[p + 1] - at[p]), err));
    return QU_OK;
}

static qu_status place_pages(qu_context *c, int32_t layer, const qu_page_sink *sink,
                             int32_t page_zero, qu_err *err)
{
    page_run r = {.c = c, .layer = layer, .first = c->rows.own[0], .stride = qu_slice_stride(c)};
    int64_t items = (int64_t)qu_pass_pages(c) * c->m->n_kv_heads;
    for (int32_t t = 0, p = 0; t < c->rows.n; t++)
        if (c->rows.at[t] == 0) r.row0[p++] = t;
    QU_TRY(qu_memory_need(&c->s.slices, &c->s.slices_cap, r.stride * items, 1, err));
    r.summarise = sink && sink->summary;
    if (r.summarise) QU_TRY(qu_pass_summaries(c, r.summary, err));
    qu_pool_run(c->pool, items, place_page, &r);
    if (!sink) return QU_OK;
    return qu_pass_deliver(c, layer, sink, page_zero, c->s.slices, r.stride,
                           r.summarise ? r.summary : NULL, err);
}

static qu_status key_values(qu_context *c, int32_t layer, bool document, const qu_page_sink *sink,
                            int32_t page_zero, qu_err *err)
{
    for (int32_t s = c->rows.own[0]; s <= c->rows.own[c->rows.n - 1]; s++)
        QU_TRY(qu_segment_need(c, &c->seg[s], err));
    if (document && c->pass) return c->pass->place(c, layer, err);
    if (document) return place_pages(c, layer, sink, page_zero, err);
    place_live(c, layer);
    return QU_OK;
}

/* --- the pass --- */

static qu_status layer_pass(qu_context *c, int32_t i, bool document, const qu_page_sink *sink,
                            int32_t page_zero, qu_err *err)
{
    const qu_model *m = c->m;
    const qu_layer *l = &m->layers[i];
    qu_scratch *s = &c->s;
    row_phase phase = document ? DOCUMENT : c->rows.question ? QUESTION : ANSWER;
    each_row(c, norm_row, l->attn_norm, i);
    product qkv[] = {{&l->q, s->q}, {&l->k, s->k}, {&l->v, s->v}};
    QU_TRY(linear(c, phase, qkv, 3, s->h, m->width, c->rows.n, err));
    if (l->q_norm || l->k_norm) each_row(c, head_norm_row, NULL, i);
    QU_TRY(key_values(c, i, document, sink, page_zero, err));
    if (document && i == m->n_layers - 1)
        return QU_OK; /* nobody reads a page's last hidden state */
    each_row(c, query_row, NULL, i);
    if (c->watch) c->watch(c->watch_ctx, i, s->q, c->rows.n);
    QU_TRY(qu_attention(c, i, !document, err));
    if (c->pass && c->pass->attended) QU_TRY(c->pass->attended(c, i, err));
    product out = {&l->o, s->h};
    QU_TRY(linear(c, phase, &out, 1, s->att, l->o.w.k, c->rows.n, err));
    each_row(c, add_row, NULL, i);
    each_row(c, norm_row, l->ffn_norm, i);
    product up[] = {{&l->gate, s->gate}, {&l->up, s->up}};
    QU_TRY(linear(c, phase, up, 2, s->h, m->width, c->rows.n, err));
    each_row(c, swiglu_row, NULL, i);
    product down = {&l->down, s->h};
    QU_TRY(linear(c, phase, &down, 1, s->gate, m->ffn, c->rows.n, err));
    each_row(c, add_row, NULL, i);
    return QU_OK;
}

qu_status qu_check_logits(const qu_context *c, const float *logits, int64_t n, qu_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return qu_fail(err, QU_ERR_CORRUPT, "model '%s' computed a logit that is not a number",
                           qu_gguf_path(c->m->gguf));
    return QU_OK;
}

static qu_status finish(qu_context *c, int32_t n_logits, float *logits, qu_err *err)
{
    const qu_model *m = c->m;
    int64_t from = c->rows.n - n_logits;
    for (int64_t t = from; t < c->rows.n; t++) {
        row_run r = {c, m->output_norm, 0};
        norm_row(&r, t, 0);
    }
    product job = {&m->output, logits};
    const float *h = c->s.h + from * m->width;
    QU_TRY(linear(c, ANSWER, &job, 1, h, m->width, n_logits, err)); /* a row or two of a question */
    return qu_check_logits(c, logits, (int64_t)n_logits * m->vocab, err);
}

qu_status qu_forward(qu_context *c, bool document, const qu_page_sink *sink, int32_t page_zero,
                     int32_t n_logits, float *logits, qu_err *err)
{
    const qu_model *m = c->m;
    if (c->backend) return c->backend->forward(c, document, sink, page_zero, n_logits, logits, err);
    QU_TRY(prepare(c, document, err));
    c->batch_at = 0;
    int64_t row_bytes = qu_type_bytes(m->embedding.type, m->width);
    for (int32_t t = 0; t < c->rows.n; t++)
        qu_dequant_ref(c->s.x + (int64_t)t * m->width,
                       (const char *)m->embedding.data + c->rows.ids[t] * row_bytes,
                       m->embedding.type, m->width);
    for (int32_t i = 0; i < m->n_layers; i++)
        QU_TRY(layer_pass(c, i, document, sink, page_zero, err));
    return n_logits > 0 ? finish(c, n_logits, logits, err) : QU_OK;
}
