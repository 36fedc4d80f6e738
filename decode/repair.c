#include "decode/repair.h"

#include <math.h>

#include "base/memory.h"
#include "decode/context_int.h"
#include "kernels/codec.h"
#include "kernels/quant.h"

/* --- looking: what the question's tokens attend to --- */

/* One look at one layer: a KV head is an item, so that each head's sums have one order. */
typedef struct look_run {
    qu_context *c;
    int32_t layer;
    const int64_t *start; /* [segments] index of each segment's first token */
    double *scores;       /* [G, tokens] */
    int64_t n_tokens;
} look_run;

/* A worker's scratch: queries and states of one block of rows. */
typedef struct look_scratch {
    float *q, *weights, *m, *l; /* m, l: over all segments */
    qu_attend_state part;
    int32_t *visible;
} look_scratch;

static look_scratch scratch_of(qu_context *c, int worker)
{
    const qu_model *m = c->m;
    int64_t rows = (int64_t)QU_ATTEND_TOKENS * (m->n_heads / m->n_kv_heads);
    float *p = c->s.worker + worker * qu_attention_worker_floats(c);
    look_scratch s = {.q = p, .weights = p + rows * m->head_size};
    p = s.weights + rows * QU_PAGE_TOKENS;
    s.part = (qu_attend_state){p, p + rows * qu_attend_pad(m->head_size), NULL};
    s.part.l = s.part.m + rows;
    s.m = s.part.l + rows;
    s.l = s.m + rows;
    s.visible = (int32_t *)(void *)(s.l + rows);
    return s;
}

/* Rows of a block over one segment: s->part, and exp(score - m) of each key in s->weights. */
static void attend(const look_run *r, look_scratch *s, int32_t g, int32_t seg, int32_t t0,
                   int32_t n)
{
    const qu_context *c = r->c;
    const qu_model *m = c->m;
    const qu_segment *x = &c->seg[seg];
    int32_t group = m->n_heads / m->n_kv_heads;
    for (int32_t i = 0; i < n * group; i++) {
        int32_t t = t0 + i / group, own = c->rows.own[t];
        s->visible[i] = seg < own ? x->n : seg == own ? c->rows.at[t] + 1 : 0;
    }
    qu_attend_kv kv = qu_segment_kv(m, x, r->layer, g);
    qu_attend_page(&s->part, s->q, m->head_size, n * group, m->head_size, &kv, s->visible,
                   s->weights);
}

static double value_norm(const qu_model *m, const qu_segment *s, int32_t layer, int32_t g,
                         int32_t at)
{
    int64_t dp = qu_attend_pad(m->head_size);
    const char *v = qu_segment_v(m, s, layer, g);
    double sum = 0;
    for (int64_t i = at * dp; i < (at + 1) * dp; i++) {
        double x = s->type == QU_ATTEND_HALVES
                       ? qu_f16_to_f32(((const uint16_t *)(const void *)v)[i])
                       : ((const float *)(const void *)v)[i];
        sum += x * x;
    }
    return sqrt(sum);
}

/* Add the block's normalised weights on each token of the context, times the value's norm. */
static void add_scores(const look_run *r, look_scratch *s, int32_t g, int32_t seg, int32_t rows)
{
    const qu_segment *x = &r->c->seg[seg];
    double *scores = r->scores + g * r->n_tokens + r->start[seg];
    for (int32_t i = 0; i < rows; i++) {
        float scale = s->l[i] > 0 ? expf(s->part.m[i] - s->m[i]) / s->l[i] : 0;
        const float *w = s->weights + (int64_t)i * ((x->n + 15) / 16 * 16);
        for (int32_t j = 0; j < x->n; j++) s->weights[j] = (i ? s->weights[j] : 0) + w[j] * scale;
    }
    for (int32_t j = 0; j < x->n; j++)
        scores[j] += (double)s->weights[j] * value_norm(r->c->m, x, r->layer, g, j);
}

static void look_item(void *ctx, int64_t item, int worker)
{
    const look_run *r = ctx;
    qu_context *c = r->c;
    const qu_model *m = c->m;
    int32_t g = (int32_t)item, group = m->n_heads / m->n_kv_heads, d = m->head_size;
    look_scratch s = scratch_of(c, worker);
    for (int32_t t0 = 0; t0 < c->rows.n; t0 += QU_ATTEND_TOKENS) {
        int32_t n = c->rows.n - t0 < QU_ATTEND_TOKENS ? c->rows.n - t0 : QU_ATTEND_TOKENS;
        for (int32_t i = 0; i < n; i++)
            memcpy(s.q + (int64_t)i * group * d,
                   c->s.q + ((int64_t)(t0 + i) * m->n_heads + (int64_t)g * group) * d,
                   (size_t)group * (size_t)d * sizeof *s.q);
        for (int32_t i = 0; i < n * group; i++) s.m[i] = -INFINITY, s.l[i] = 0;
        for (int32_t seg = 0; seg < c->n_seg; seg++) {
            attend(r, &s, g, seg, t0, n);
            for (int32_t i = 0; i < n * group; i++) {
                if (!(s.part.l[i] > 0)) continue;
                float most = fmaxf(s.m[i], s.part.m[i]);
                s.l[i] = (s.l[i] > 0 ? s.l[i] * expf(s.m[i] - most) : 0) +
                         s.part.l[i] * expf(s.part.m[i] - most);
                s.m[i] = most;
            }
        }
        for (int32_t seg = 0; seg < c->first_live; seg++) {
            attend(r, &s, g, seg, t0, n);
            add_scores(r, &s, g, seg, n * group);
        }
    }
}

static qu_status look(qu_context *c, int32_t layer, qu_err *err)
{
    (void)err;
    look_run r = *(look_run *)c->pass->ctx;
    r.layer = layer;
    qu_pool_run(c->pool, c->m->n_kv_heads, look_item, &r);
    return QU_OK;
}

static qu_status check_idle(const qu_context *c, qu_err *err)
{
    for (int32_t i = 0; i < c->n_seg; i++)
        if (c->seg[i].type == QU_ATTEND_BYTES)
            return qu_fail(err, QU_ERR_ARG, "repair comes before pages are chosen");
    if (c->n_live == 0) return QU_OK;
    return qu_fail(err, QU_ERR_ARG, "repair comes before live tokens: rewind the context first");
}

qu_status qu_repair_scores(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                           double **scores, qu_err *err)
{
    *scores = NULL;
    QU_TRY(check_idle(c, err));
    int32_t g_n = c->m->n_kv_heads, n_seg = c->n_seg;
    qu_status st = QU_OK;
    look_run r = {.c = c};
    qu_select_hook before = c->hook;
    int64_t *start;
    QU_TRY(qu_memory_take(&start, n_seg, sizeof *start, err));
    for (int32_t i = 0; i < n_seg; i++) {
        start[i] = r.n_tokens;
        r.n_tokens += c->seg[i].n;
    }
    r.start = start;
    QU_TRY_OUT(qu_memory_take(&r.scores, r.n_tokens * g_n, sizeof *r.scores, err));
    qu_pass_hook pass = {NULL, look, &r};
    c->pass = &pass;
    qu_context_select(c, NULL);
    st = qu_context_step(c, ids, n, pos, 0, NULL, err);
    c->pass = NULL;
    qu_context_rewind(c, 0);
    c->hook = before;
    for (int32_t g = 1; g < g_n; g++)
        for (int64_t i = 0; i < r.n_tokens; i++) r.scores[i] += r.scores[g * r.n_tokens + i];
out:
    free(start);
    if (st != QU_OK)
        free(r.scores);
    else
        *scores = r.scores;
    return st;
}

/* --- recomputing --- */

/* One row's key and value into their places, rounded as a slice of one token would be. */
static void place_row(qu_context *c, int32_t layer, int32_t t, int32_t g)
{
    const qu_model *m = c->m;
    qu_segment *s = &c->seg[c->rows.own[t]];
    int32_t d = m->head_size, dp = qu_attend_pad(d), at = c->rows.at[t];
    int64_t row = ((int64_t)t * m->n_kv_heads + g) * d, angles;
    float *slice = c->s.worker, *k = slice + 5 * d,
          *v = k + d; /* q8 of one token: 10 d + 4 bytes, q4 less */
    qu_codec_encode(slice, c->codec, c->s.k + row, d, c->s.v + row, d, 1, d);
    memset(v, 0, (size_t)dp * sizeof *v);
    qu_codec_decode(k, v, dp, c->codec, slice, 1, d);
    int32_t rope = qu_model_rope(m, layer, g);
    angles = qu_segment_angles(m, s, rope);
    qu_rope_vector(k, m->ropes[rope], s->cos + angles, s->sin + angles, s->n_pad, at);
    void *kt = qu_segment_kt(m, s, layer, g), *to = qu_segment_v(m, s, layer, g);
    if (s->type == QU_ATTEND_HALVES) {
        uint16_t *half = (uint16_t *)(void *)slice;
        qu_attend_halve(half, k, d);
        for (int32_t i = 0; i < d; i++) ((uint16_t *)kt)[(int64_t)i * s->n_pad + at] = half[i];
        qu_attend_halve((uint16_t *)to + (int64_t)at * dp, v, dp);
    } else {
        for (int32_t i = 0; i < d; i++) ((float *)kt)[(int64_t)i * s->n_pad + at] = k[i];
        memcpy((float *)to + (int64_t)at * dp, v, (size_t)dp * sizeof *v);
    }
}

/* What is stored must be there before a row of it is replaced. */
static qu_status place_rows(qu_context *c, int32_t layer, qu_err *err)
{
    QU_TRY(qu_attention_fetch(c, layer, c->pass->ctx, 2, err));
    for (int32_t t = 0; t < c->rows.n; t++)
        for (int32_t g = 0; g < c->m->n_kv_heads; g++) place_row(c, layer, t, g);
    return QU_OK;
}

static qu_status check_token(const qu_context *c, const qu_repair_token *t, bool first, qu_err *err)
{
    if (t->segment < 0 || t->segment >= c->n_seg || t->at < 0 || t->at >= c->seg[t->segment].n)
        return qu_fail(err, QU_ERR_ARG, "no token %d in segment %d", t->at, t->segment);
    if (t->id < 0 || t->id >= c->m->vocab)
        return qu_fail(err, QU_ERR_ARG, "token id %d is outside the vocabulary of %d", t->id,
                       c->m->vocab);
    if (!first &&
        (t[-1].segment > t->segment || (t[-1].segment == t->segment && t[-1].at >= t->at)))
        return qu_fail(err, QU_ERR_ARG, "tokens to recompute must ascend");
    return QU_OK;
}

/* Blocks in order, each through all layers: a token needs only earlier ones, so this is the same as
 * all of them layer by layer. */
qu_status qu_repair_tokens(qu_context *c, const qu_repair_token *tokens, int32_t n, qu_err *err)
{
    enum { ROWS = QU_PAGE_TOKENS * 4 };
    int32_t ids[ROWS];
    qu_status st = QU_OK;
    QU_TRY(check_idle(c, err));
    int64_t slices = (int64_t)c->n_seg * c->m->n_kv_heads;
    uint8_t *use;
    QU_TRY(qu_memory_take(&use, slices, 1, err));
    memset(use, 1, (size_t)slices);
    qu_pass_hook pass = {place_rows, NULL, use};
    for (int32_t done = 0; done < n;) {
        qu_rows *r = &c->rows;
        for (r->n = 0; r->n < ROWS && done < n; r->n++, done++) {
            QU_TRY_OUT(check_token(c, &tokens[done], done == 0, err));
            ids[r->n] = tokens[done].id;
            r->own[r->n] = tokens[done].segment;
            r->at[r->n] = tokens[done].at;
        }
        r->ids = ids;
        c->pass = &pass;
        QU_TRY_OUT(qu_forward(c, true, NULL, 0, 0, NULL, err));
    }
out:
    c->pass = NULL;
    free(use);
    return st;
}

/* --- choosing --- */

typedef struct choice {
    double score;
    qu_repair_token token;
} choice;

static int by_place(const void *a, const void *b)
{
    const qu_repair_token *x = a, *y = b;
    if (x->segment != y->segment) return x->segment < y->segment ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int by_score(const void *a, const void *b)
{
    const choice *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return by_place(&x->token, &y->token);
}

/* The n best of segments [first, ...), scores from there on: *tokens in order, malloc'ed. */
static qu_status choose(const qu_context *c, const int32_t *const *ids, int32_t first, int64_t all,
                        const double *scores, qu_repair_token **tokens, int32_t n, qu_err *err)
{
    choice *best;
    int64_t i = 0;
    QU_TRY(qu_memory_take(&best, all, sizeof *best, err));
    for (int32_t s = first; s < c->n_seg; s++)
        for (int32_t at = 0; at < c->seg[s].n; at++, i++)
            best[i] = (choice){isfinite(scores[i]) ? scores[i] : 0, {s, at, ids[s][at]}};
    qsort(best, (size_t)all, sizeof *best, by_score);
    qu_status st = qu_memory_take(tokens, n, sizeof **tokens, err);
    for (int32_t k = 0; st == QU_OK && k < n; k++) (*tokens)[k] = best[k].token;
    free(best);
    if (st == QU_OK) qsort(*tokens, (size_t)n, sizeof **tokens, by_place);
    return st;
}

static void fill_report(qu_repair_report *r, const qu_context *c, const qu_repair_token *tokens,
                        int32_t n, int32_t question)
{
    int64_t before = 0;
    double keys = 0;
    for (int32_t s = 0, i = 0; s < c->n_seg; s++) {
        for (; i < n && tokens[i].segment == s; i++) keys += (double)(before + tokens[i].at + 1);
        before += c->seg[s].n;
    }
    *r = (qu_repair_report){before, n, 0};
    /* looking costs a pass over the question, whose attention is done three times */
    if (n > 0)
        r->flops = qu_model_flops(c->m, n, keys) +
                   qu_model_flops(c->m, question, 3.0 * question * (double)before);
}

qu_status qu_repair(qu_context *c, const int32_t *const *ids, int32_t first, double share,
                    const int32_t *question, int32_t n, int64_t pos, qu_repair_report *report,
                    qu_err *err)
{
    QU_OWN(qu_freep) double *scores = NULL;
    QU_OWN(qu_freep) qu_repair_token *tokens = NULL;
    int64_t skip = 0, all = 0;
    if (!(share >= 0 && share <= 1) || first < 0 || first > c->n_seg)
        return qu_fail(err, QU_ERR_ARG, "repair of a share of %g from segment %d", share, first);
    for (int32_t s = 0; s < c->n_seg; s++) *(s < first ? &skip : &all) += c->seg[s].n;
    int32_t n_tokens = (int32_t)((double)all * share + 1e-9);
    if (n_tokens > 0) {
        QU_TRY(qu_repair_scores(c, question, n, pos, &scores, err));
        QU_TRY(choose(c, ids, first, all, scores + skip, &tokens, n_tokens, err));
        QU_TRY(qu_repair_tokens(c, tokens, n_tokens, err));
    }
    if (report) fill_report(report, c, tokens, n_tokens, n);
    return QU_OK;
}
