/* The forward pass on a CUDA device: the layers of decode/forward.c with the kernels of
 * kernels/cuda. Host code runs ahead of the device; it waits only for a choice (cuda_select.c), for
 * slices to hand out, and for logits.
 *
 *   document   cuBLAS on matrices dequantised to bf16, always QU_CUDA_ROWS rows; direct attention
 *   question   own kernels on the stored blocks; split attention: a token's bits depend on its
 *              place alone
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/cuda_int.h"
#include "decode/device.h"

/* Tokens of one split attention: bounds the partial states. */
enum { SPLIT_TOKENS = 16 };

/* --- products --- */

typedef struct product {
    const qu_cuda_matrix *to;
    const qu_weight *w;
    qu_cuda_buffer *y;
} product;

static qu_status product_document(qu_context *c, const product *p, bool add, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const void *w = p->to->w;
    if (p->w->type != QU_TYPE_BF16) {
        w = x->b.wb.p;
        QU_TRY(qu_cuda_dequant_bf16(x->cu, x->b.wb.p, p->to->w, p->w->type, p->w->n, p->w->k, err));
    }
    QU_TRY(qu_cuda_gemm(x->cu, p->y->p, x->b.xb.p, w, QU_CUDA_ROWS, p->w->n, p->w->k, add, err));
    if (!p->to->bias) return QU_OK;
    return qu_cuda_add_bias(x->cu, p->y->p, p->to->bias, c->rows.n, p->w->n, err);
}

/* Those whose weights are of one type together. */
static qu_status products_question(qu_context *c, const product *p, int n, qu_cuda_then then,
                                   const float *in, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    for (int i = 0, k = 0; i < n; i = k) {
        qu_cuda_product of[3];
        for (k = i; k < n && p[k].w->type == p[i].w->type; k++)
            of[k - i] = (qu_cuda_product){p[k].y->p, p[k].to->w, p[k].to->bias, p[k].w->n};
        QU_TRY(qu_cuda_matvec(x->cu, of, k - i, p[i].w->type, then, in, c->rows.n, p[i].w->k, err));
    }
    return QU_OK;
}

/* in [T,k of all products] */
static qu_status linear(qu_context *c, bool document, const product *p, int n, qu_cuda_then then,
                        const float *in, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    bool apart = then == QU_CUDA_SWIGLU && (document || p[0].w->type != p[1].w->type);
    if (!document) QU_TRY(products_question(c, p, n, apart ? QU_CUDA_STORE : then, in, err));
    else QU_TRY(qu_cuda_to_bf16(x->cu, x->b.xb.p, in, c->rows.n, QU_CUDA_ROWS, p->w->k, err));
    for (int i = 0; document && i < n; i++)
        QU_TRY(product_document(c, &p[i], then == QU_CUDA_ADD, err));
    if (!apart) return QU_OK;
    return qu_cuda_swiglu(x->cu, p[0].y->p, p[1].y->p, (int64_t)c->rows.n * p->w->n, err);
}

/* --- memory --- */

static qu_status prepare(qu_context *c, bool document, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    int64_t rows = document || c->rows.n > 64 ? QU_CUDA_ROWS : 64;
    int64_t q = (int64_t)m->n_heads * m->head_size, kv = (int64_t)m->n_kv_heads * m->head_size;
    int64_t e = m->width, f = m->ffn, most = q > f ? q : f;
    qu_cuda_buffer *of[] = {&x->b.x, &x->b.h, &x->b.q,    &x->b.att,
                            &x->b.k, &x->b.v, &x->b.gate, &x->b.up};
    const int64_t floats[] = {e, e, q, q, kv, kv, f, f};
    for (int i = 0; i < 8; i++) QU_TRY(qu_cuda_need(x, of[i], rows * floats[i] * 4, err));
    if (!document) return QU_OK;
    QU_TRY(qu_cuda_need(x, &x->b.xb, rows * (most > e ? most : e) * 2, err));
    return qu_cuda_need(x, &x->b.wb, e * most * 2, err);
}

/* --- the layers --- */

static qu_status attention(qu_context *c, int32_t layer, bool document, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    qu_cuda_attend a = {.out = x->b.att.p, .q = x->b.q.p, .rows = x->rows, .layer = layer,
                        .n_pages = c->rows.own[c->rows.n - 1] + 1};
    if (!document && c->hook.select)
        QU_TRY(qu_cuda_select(c, layer, &a, err));
    else
        QU_TRY(qu_cuda_fetch(c, layer, NULL, err));
    if (document) return qu_cuda_attend_direct(x->cu, &a, err);
    QU_TRY(qu_cuda_need(x, &x->b.partial, qu_cuda_attend_floats(&a, SPLIT_TOKENS) * 4, err));
    a.partial = x->b.partial.p;
    int64_t row = (int64_t)m->n_heads * m->head_size;
    for (int32_t t = 0; t < c->rows.n; t += SPLIT_TOKENS) {
        qu_cuda_attend part = a;
        part.rows.n = c->rows.n - t < SPLIT_TOKENS ? c->rows.n - t : SPLIT_TOKENS;
        part.rows.own += t;
        part.rows.at += t;
        part.q += t * row;
        part.out += t * row;
        QU_TRY(qu_cuda_attend_split(x->cu, &part, err));
    }
    return QU_OK;
}

static qu_status layer_pass(qu_context *c, int32_t i, bool document, const qu_page_sink *sink,
                            int32_t page_zero, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda *cu = x->cu;
    const qu_model *m = c->m;
    const qu_layer *l = &m->layers[i];
    const qu_cuda_layer *w = &x->d->layers[i];
    int32_t n = c->rows.n, e = m->width, d = m->head_size;
    QU_TRY(qu_cuda_rmsnorm(cu, x->b.h.p, x->b.x.p, w->attn_norm, n, e, m->eps, err));
    product qkv[] = {
        {&w->q, &l->q.w, &x->b.q}, {&w->k, &l->k.w, &x->b.k}, {&w->v, &l->v.w, &x->b.v}};
    QU_TRY(linear(c, document, qkv, 3, QU_CUDA_STORE, x->b.h.p, err));
    float *q = x->b.q.p, *k = x->b.k.p;
    if (w->q_norm) QU_TRY(qu_cuda_rmsnorm(cu, q, q, w->q_norm, n * m->n_heads, d, m->eps, err));
    if (w->k_norm) QU_TRY(qu_cuda_rmsnorm(cu, k, k, w->k_norm, n * m->n_kv_heads, d, m->eps, err));
    if (document) QU_TRY(qu_cuda_place_pages(c, i, sink != NULL, err));
    if (sink && i > 0) QU_TRY(qu_cuda_deliver(c, i - 1, sink, page_zero, err));
    if (document && i == m->n_layers - 1) /* nobody reads a page's last hidden state */
        return sink ? qu_cuda_deliver(c, i, sink, page_zero, err) : QU_OK;
    QU_TRY(qu_cuda_place_rows(cu, q, document ? NULL : k, x->b.v.p, &x->rows, i,
                              1 / sqrtf((float)d), m->rope_gain, err));
    QU_TRY(attention(c, i, document, err));
    product out = {&w->o, &l->o.w, &x->b.x};
    QU_TRY(linear(c, document, &out, 1, QU_CUDA_ADD, x->b.att.p, err));
    QU_TRY(qu_cuda_rmsnorm(cu, x->b.h.p, x->b.x.p, w->ffn_norm, n, e, m->eps, err));
    product up[] = {{&w->gate, &l->gate.w, &x->b.gate}, {&w->up, &l->up.w, &x->b.up}};
    QU_TRY(linear(c, document, up, 2, QU_CUDA_SWIGLU, x->b.h.p, err));
    product down = {&w->down, &l->down.w, &x->b.x};
    return linear(c, document, &down, 1, QU_CUDA_ADD, x->b.gate.p, err);
}

/* --- the end --- */

static qu_status logits_there(qu_context *c, int32_t n, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    const float *last = (float *)x->b.x.p + (int64_t)(c->rows.n - n) * m->width;
    QU_TRY(qu_cuda_need(x, &x->b.logits, (int64_t)n * m->vocab * 4, err));
    QU_TRY(qu_cuda_need(x, &x->b.choices, n * (int64_t)sizeof(qu_cuda_choice), err));
    QU_TRY(qu_cuda_rmsnorm(x->cu, x->b.h.p, last, x->d->output_norm, n, m->width, m->eps, err));
    qu_cuda_product p = {x->b.logits.p, x->d->output.w, x->d->output.bias, m->vocab};
    QU_TRY(qu_cuda_matvec(x->cu, &p, 1, m->output.w.type, QU_CUDA_STORE, x->b.h.p, n, m->width,
                          err));
    if (!c->choices) return QU_OK;
    return qu_cuda_greedy(x->cu, x->b.choices.p, x->b.logits.p, n, m->vocab, err);
}

static qu_status fetch_choices(qu_context *c, int32_t n, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda_choice best[QU_CUDA_ROWS];
    int64_t bytes = n * (int64_t)sizeof *best;
    QU_TRY(qu_cuda_download(x->cu, QU_CUDA_COMPUTE, best, x->b.choices.p, bytes, err));
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, err));
    for (int32_t i = 0; i < n; i++) {
        if (best[i].id < 0) return qu_check_logits(c, &(float){NAN}, 1, err);
        c->choices[i] = (qu_choice){best[i].id, (double)best[i].share};
    }
    return QU_OK;
}

static qu_status fetch_logits(qu_context *c, int32_t n, float *logits, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int64_t all = (int64_t)n * c->m->vocab;
    QU_TRY(qu_cuda_download(x->cu, QU_CUDA_COMPUTE, logits, x->b.logits.p, all * 4, err));
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, err));
    return qu_check_logits(c, logits, all, err);
}

/* --- a pass --- */

static qu_status can_do(const qu_context *c, bool document, qu_err *err)
{
    const char *what = c->pass                                            ? "repair"
                       : document || !c->hook.select                      ? NULL
                       : c->hook.measured                                 ? "measuring a policy"
                       : !c->hook.plan                                    ? "this policy"
                                                                          : NULL;
    if (!what) return QU_OK;
    return qu_fail(err, QU_ERR_UNSUPPORTED, "%s runs on the processor only: use --device cpu",
                   what);
}

/* All that the device does with the step that lies there. */
static qu_status work(qu_context *c, bool document, const qu_page_sink *sink, int32_t page_zero,
                      int32_t n_logits, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    const qu_cuda_step *step = x->b.step.p;
    QU_TRY(qu_cuda_embed(x->cu, x->b.x.p, x->d->embedding, m->embedding.type, step->ids, c->rows.n,
                         m->embedding.n, m->width, err));
    for (int32_t i = 0; i < m->n_layers; i++)
        QU_TRY(layer_pass(c, i, document, sink, page_zero, err));
    return n_logits > 0 ? logits_there(c, n_logits, err) : QU_OK;
}

/* The recipe of this pass, or a new one in place of the oldest. */
static qu_cuda_recipe *recipe_of(qu_context *c, int32_t n_logits)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda_recipe now = {.of = {c->n_seg, c->rows.own[c->rows.n - 1],
                                 c->hook.select ? c->sel.epoch : -1, c->rows.n, n_logits,
                                 c->choices != NULL, c->hook.select ? 1 + c->hook.far_field : 0}};
    for (int i = 0; i < QU_CUDA_RECIPES; i++)
        if (!memcmp(&x->recipes[i].of, &now.of, sizeof now.of)) return &x->recipes[i];
    qu_cuda_recipe *r = &x->recipes[x->next_recipe++ % QU_CUDA_RECIPES];
    qu_cuda_graph_free(r->graph);
    *r = now;
    return r;
}

static void forget_recipes(qu_cuda_context *x)
{
    for (int i = 0; i < QU_CUDA_RECIPES; i++) qu_cuda_graph_free(x->recipes[i].graph);
    memset(x->recipes, 0, sizeof x->recipes);
}

/* A few rows: work, once it has turned out to change nothing but values, as a graph. */
static qu_status work_or_replay(qu_context *c, int32_t n_logits, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    qu_cuda_recipe *r = recipe_of(c, n_logits);
    int64_t before = x->changes;
    if (!r->steady || r->changes != before) {
        r->steady = false;
        QU_TRY(work(c, false, NULL, 0, n_logits, err));
        r->steady = x->changes == before;
        r->changes = x->changes;
        qu_cuda_graph_free(r->graph);
        r->graph = NULL;
        return QU_OK;
    }
    if (!r->graph) {
        QU_TRY(qu_cuda_record(x->cu, err));
        qu_status st = work(c, false, NULL, 0, n_logits, err);
        qu_status end = qu_cuda_recorded(x->cu, &r->graph, st == QU_OK ? err : NULL);
        QU_TRY(st);
        QU_TRY(end);
    }
    return qu_cuda_replay(x->cu, r->graph, err);
}

static qu_status forward(qu_context *c, bool document, const qu_page_sink *sink, int32_t page_zero,
                         int32_t n_logits, float *logits, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    x->chosen = x->told = 0;
    QU_TRY(can_do(c, document, err));
    QU_TRY(qu_cuda_mark(x->cu, QU_CUDA_COMPUTE, MARK_PASS, err));
    QU_TRY(qu_cuda_follow(x->cu, QU_CUDA_COPY, MARK_PASS, err));
    QU_TRY(prepare(c, document, err));
    QU_TRY(qu_cuda_step_there(c, err));
    if (document || (c->hook.select && c->sel.senses))
        QU_TRY(work(c, document, sink, page_zero, n_logits, err));
    else QU_TRY(work_or_replay(c, n_logits, err));
    if (n_logits > 0)
        QU_TRY(c->choices ? fetch_choices(c, n_logits, err)
                          : fetch_logits(c, n_logits, logits, err));
    return qu_cuda_select_end(c, err);
}

/* --- a context's life --- */

void qu_cuda_leave(qu_cuda_context *x)
{
    if (!x) return;
    qu_cuda_buffer *there = (void *)&x->b, *here = (void *)&x->pinned;
    for (size_t i = 0; i < sizeof x->b / sizeof *there; i++) qu_cuda_free(x->cu, there[i].p);
    for (size_t i = 0; i < sizeof x->pinned / sizeof *here; i++)
        qu_cuda_free_host(x->cu, here[i].p);
    free(x->step);
    free(x);
}

static void free_context(qu_context *c)
{
    qu_cuda_context *x = qu_cuda_of(c);
    if (!x) return;
    qu_cuda_sync(x->cu, QU_CUDA_COPY, NULL);
    qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, NULL);
    forget_recipes(x);
    qu_cuda_leave(x->d->idle);
    x->d->idle = x;
    c->device = NULL;
}

static const qu_backend backend = {forward, qu_cuda_forget, free_context};

qu_status qu_device_begin(qu_context *c, qu_err *err)
{
    const qu_model *m = c->m;
    qu_cuda_context *x = m->device->idle;
    m->device->idle = NULL;
    if (!x) x = calloc(1, sizeof *x);
    if (!x) return qu_fail_nomem(err, sizeof *x);
    x->d = m->device;
    x->cu = m->device->cu;
    x->epoch = -1;
    x->list_segments = 0;
    c->device = x;
    c->backend = &backend;
    return QU_OK;
}
