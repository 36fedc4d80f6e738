/* Choosing on a CUDA device. Scores, cut and lists are made there. Only the processor can read
 * slices from the store, so a layer's choice comes back before the layer goes on where a
 * candidate's slice is not on the device yet; where all are, nothing waits and the choices come
 * back when the pass is over. They are kept by epoch in c->sel as on the processor, so that
 * rewinding needs no undo. Passes that do not choose ask nothing. */
#include "base/memory.h"
#include "decode/cuda_int.h"

static int64_t layer_flags(const qu_context *c)
{
    return (int64_t)c->sel.n_pages * c->m->n_kv_heads;
}
/* A layer's choices there and on their way here. */
static uint8_t *chosen_there(const qu_context *c, int32_t layer)
{
    return (uint8_t *)qu_cuda_of(c)->b.chosen.p + layer * layer_flags(c);
}
static uint8_t *chosen_pinned(const qu_context *c, int32_t layer)
{
    return (uint8_t *)qu_cuda_of(c)->pinned.chosen.p + layer * layer_flags(c);
}

/* --- once a question --- */

static qu_status need_clusters(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    qu_selection *s = &c->sel;
    int64_t n = s->first[s->n_pages], d = m->head_size;
    int64_t heads = (int64_t)m->n_layers * m->n_kv_heads;
    int64_t bytes[7] = {heads * n * d * 2, heads * n * d * 2,      heads * n * d, heads * n * 4,
                        n * 4,             (s->n_pages + 1) * 4ll, s->n_pages * 4ll};
    for (int i = 0; i < 7; i++) QU_TRY(qu_cuda_need(x, &x->b.cells[i], bytes[i], err));
    x->clusters = (qu_cuda_clusters){x->b.cells[0].p, x->b.cells[1].p, x->b.cells[2].p,
                                     x->b.cells[3].p, x->b.cells[4].p, x->b.cells[5].p,
                                     x->b.cells[6].p, (int32_t)n,      s->n_pages};
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, x->b.cells[5].p, s->first, bytes[5], err));
    QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, x->b.cells[6].p, s->tokens, bytes[6], err));
    QU_TRY(qu_cuda_need(x, &x->b.score, layer_flags(c) * 4, err));
    QU_TRY(qu_cuda_need(x, &x->b.chosen, layer_flags(c) * m->n_layers, err));
    QU_TRY(qu_cuda_need_host(x, &x->pinned.chosen, layer_flags(c) * m->n_layers, err));
    QU_TRY(qu_cuda_need(x, &x->b.all, heads, err));
    return qu_cuda_need(x, &x->b.summary, qu_page_summary_bytes(m, QU_PAGE_TOKENS), err);
}

static qu_status load_pages(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    for (int32_t p = 0; p < c->sel.n_pages; p++) {
        const qu_segment *seg = &c->seg[c->sel.segment[p]];
        QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, x->b.summary.p, c->sel.summary[p],
                              qu_page_summary_bytes(m, seg->n), err));
        QU_TRY(qu_cuda_place_summary(x->cu, &x->clusters, x->b.summary.p,
                                     x->rows.pages + c->sel.segment[p], x->d->rope_rows, x->d->rope,
                                     seg->n, p, c->sel.first[p], m->n_layers, m->n_kv_heads,
                                     m->head_size, err));
    }
    return QU_OK;
}

static qu_status load(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    if (c->sel.loaded) return QU_OK;
    x->changes++;
    QU_TRY(qu_selection_find(c, err));
    if (c->sel.n_pages == 0) return QU_OK;
    QU_TRY(need_clusters(c, err));
    QU_TRY(load_pages(c, err));
    int32_t heads = m->n_layers * m->n_kv_heads;
    uint8_t *all;
    QU_TRY(qu_memory_take(&all, heads, 1, err));
    for (int32_t i = 0; c->hook.plan->heads && i < heads; i++)
        all[i] = c->hook.plan->heads[i] >= .5f;
    qu_status st = qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, x->b.all.p, all, heads, err);
    free(all);
    x->epoch = -1;
    x->list_segments = 0;
    return st;
}

/* --- once a pass --- */

/* Which candidate each segment is; room for the lists of all layers. */
static qu_status need_lists(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    if (x->list_segments == c->n_seg) return QU_OK;
    x->changes++;
    int64_t heads = (int64_t)m->n_layers * m->n_kv_heads;
    int32_t *candidate;
    QU_TRY(qu_memory_take(&candidate, c->n_seg, sizeof *candidate, err));
    for (int32_t i = 0; i < c->n_seg; i++) candidate[i] = -1;
    for (int32_t p = 0; p < c->sel.n_pages; p++) candidate[c->sel.segment[p]] = p;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_cuda_need(x, &x->b.list, heads * c->n_seg * 4, err));
    QU_TRY_OUT(qu_cuda_need(x, &x->b.count, heads * 4, err));
    QU_TRY_OUT(qu_cuda_need(x, &x->b.candidate, c->n_seg * 4ll, err));
    QU_TRY_OUT(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, x->b.candidate.p, candidate, c->n_seg * 4ll,
                              err));
    x->list_segments = c->n_seg;
    x->epoch = -1; /* lists are made anew */
out:
    free(candidate);
    return st;
}

static qu_status make_lists(qu_context *c, int32_t layer, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int32_t g_n = c->m->n_kv_heads;
    return qu_cuda_lists(x->cu, (int32_t *)x->b.list.p + (int64_t)layer * g_n * c->n_seg,
                         (int32_t *)x->b.count.p + layer * g_n, x->b.candidate.p,
                         chosen_there(c, layer), c->n_seg, g_n, err);
}

/* Choices of another epoch, or of the same one after segments came or went: all layers at once. */
static qu_status recall(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    x->changes++;
    for (int32_t l = 0; l < c->m->n_layers; l++) {
        uint8_t *chosen;
        QU_TRY(qu_selection_chosen(c, c->sel.epoch, l, &chosen, err));
        QU_TRY(qu_cuda_upload(x->cu, QU_CUDA_COMPUTE, chosen_there(c, l), chosen, layer_flags(c),
                              err));
        QU_TRY(make_lists(c, l, err));
    }
    x->epoch = c->sel.epoch;
    return QU_OK;
}

static qu_status sense(qu_context *c, int32_t layer, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    int32_t g_n = m->n_kv_heads;
    int64_t scratch = qu_cuda_sense_floats(x->clusters.n, c->rows.n, m->n_heads);
    uint8_t *there = chosen_there(c, layer), *all = (uint8_t *)x->b.all.p + layer * g_n;
    float *score = x->b.score.p;
    QU_TRY(qu_cuda_need(x, &x->b.sense, scratch * 4, err));
    QU_TRY(qu_cuda_sense(x->cu, score, &x->clusters, x->b.q.p, &x->rows, layer, x->b.sense.p, err));
    QU_TRY(qu_cuda_cut(x->cu, there, score, x->clusters.tokens, all, c->sel.n_pages, g_n,
                       c->hook.plan->budget, err));
    QU_TRY(make_lists(c, layer, err));
    QU_TRY(qu_cuda_download(x->cu, QU_CUDA_COMPUTE, chosen_pinned(c, layer), there, layer_flags(c),
                            err));
    x->chosen = layer + 1;
    return QU_OK;
}

/* Wait for the choices so far and note them. */
static qu_status learn(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    if (x->told < x->chosen) QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, err));
    for (; x->told < x->chosen; x->told++) {
        uint8_t *chosen;
        QU_TRY(qu_selection_chosen(c, c->sel.epoch, x->told, &chosen, err));
        memcpy(chosen, chosen_pinned(c, x->told), (size_t)layer_flags(c));
        c->hook.plan->told(c->hook.ctx, x->told, c->sel.tokens, c->sel.n_pages, c->m->n_kv_heads,
                           chosen);
    }
    return QU_OK;
}

qu_status qu_cuda_select_end(qu_context *c, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    bool all = x->chosen == c->m->n_layers;
    QU_TRY(learn(c, err));
    if (all) x->epoch = c->sel.epoch;
    return QU_OK;
}

/* Is everything that this layer may read on the device? */
static bool all_here(const qu_context *c, int32_t layer)
{
    int32_t g_n = c->m->n_kv_heads;
    for (int32_t i = 0; i < c->first_live; i++)
        for (int32_t g = 0; g < g_n; g++)
            if (!qu_cuda_segment_of(&c->seg[i])->slices[layer * g_n + g]) return false;
    return true;
}

static qu_status fetch_chosen(qu_context *c, int32_t layer, const uint8_t *chosen, qu_err *err)
{
    int32_t g_n = c->m->n_kv_heads;
    uint8_t *use;
    QU_TRY(qu_memory_take(&use, c->n_seg * (int64_t)g_n, 1, err));
    memset(use, 1, (size_t)c->n_seg * (size_t)g_n);
    for (int32_t p = 0; p < c->sel.n_pages; p++)
        memcpy(use + c->sel.segment[p] * g_n, chosen + p * g_n, (size_t)g_n);
    qu_status st = qu_cuda_fetch(c, layer, use, err);
    free(use);
    return st;
}

qu_status qu_cuda_select(qu_context *c, int32_t layer, qu_cuda_attend *a, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    int32_t g_n = c->m->n_kv_heads;
    if (layer == 0) {
        qu_status st = load(c, err);
        if (st != QU_OK) qu_selection_clear(&c->sel);
        QU_TRY(st);
    }
    if (c->sel.n_pages == 0) return qu_cuda_fetch(c, layer, NULL, err);
    if (layer == 0) {
        QU_TRY(need_lists(c, err));
        if (!c->sel.senses && x->epoch != c->sel.epoch) QU_TRY(recall(c, err));
        if (c->sel.senses) x->epoch = -1; /* until every layer has chosen */
    }
    if (c->sel.senses) QU_TRY(sense(c, layer, err));
    bool far = c->hook.far_field;
    if (!all_here(c, layer)) {
        uint8_t *chosen;
        QU_TRY(learn(c, err));
        QU_TRY(qu_selection_chosen(c, c->sel.epoch, layer, &chosen, err));
        QU_TRY(fetch_chosen(c, layer, chosen, err));
        far = far && memchr(chosen, 0, (size_t)layer_flags(c));
    }
    a->list = (int32_t *)x->b.list.p + (int64_t)layer * g_n * c->n_seg;
    a->count = (int32_t *)x->b.count.p + layer * g_n;
    a->list_cap = c->n_seg;
    if (!far) return QU_OK;
    int64_t before = (int64_t)layer * g_n * x->clusters.n, d = c->m->head_size;
    a->key = x->clusters.key + before * d;
    a->value = x->clusters.value + before * d;
    a->bias = x->clusters.bias + before;
    a->page_of = x->clusters.page_of;
    a->chosen = chosen_there(c, layer);
    a->n_clusters = x->clusters.n;
    return QU_OK;
}
