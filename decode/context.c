#include "decode/context.h"

#include <stdio.h>

#include "base/memory.h"
#include "decode/context_int.h"
#include "decode/device.h"
#include "kernels/codec.h"
#include "kernels/isa.h"
#include "kernels/linear.h"
#include "kernels/summary.h"

/* Bumped whenever the engine's arithmetic changes: stored pages of another number are another
 * class. */
enum { ENGINE_NUMERICS = 2 };

void qu_context_numerics(char out[48])
{
    snprintf(out, 48, "%d/%s/%s", ENGINE_NUMERICS, qu_isa_name(qu_isa_current()),
             qu_linear_document_name());
}

static void set_angles(const qu_model *m, qu_segment *s)
{
    for (int32_t i = 0; i < m->n_ropes; i++) {
        int64_t at = qu_segment_angles(m, s, i);
        qu_rope_angles(m->ropes[i], s->pos, s->n_pad, s->n_pad, s->cos + at, s->sin + at);
    }
}

static qu_status make_angles(const qu_model *m, qu_segment *s, qu_err *err)
{
    int64_t n = qu_segment_angles(m, s, m->n_ropes);
    QU_TRY(qu_memory_take(&s->cos, n, sizeof *s->cos, err));
    QU_TRY(qu_memory_take(&s->sin, n, sizeof *s->sin, err));
    set_angles(m, s);
    return QU_OK;
}

static void free_segment(qu_context *c, qu_segment *s)
{
    if (s->device) c->backend->forget(c, s);
    free(s->kv);
    free(s->ready);
    free(s->cos);
    free(s->sin);
    memset(s, 0, sizeof *s);
}

qu_status qu_context_create(qu_context **out, const qu_model *m, qu_pool *pool, int codec,
                            qu_err *err)
{
    *out = NULL;
    if (!qu_codec_name(codec)) return qu_fail(err, QU_ERR_ARG, "unknown KV codec %d", codec);
    qu_context *c = calloc(1, sizeof *c);
    if (!c) return qu_fail_nomem(err, sizeof *c);
    c->m = m;
    c->pool = pool;
    c->codec = codec;
    c->page.n_pad = QU_PAGE_TOKENS;
    qu_status st = make_angles(m, &c->page, err);
    if (st == QU_OK && m->device) st = qu_device_begin(c, err);
    if (st == QU_OK)
        *out = c;
    else
        qu_context_free(c);
    return st;
}

void qu_context_free(qu_context *c)
{
    if (!c) return;
    for (int32_t i = 0; i < c->n_seg; i++) free_segment(c, &c->seg[i]);
    free_segment(c, &c->page);
    qu_scratch *s = &c->s;
    float *rows[] = {s->x, s->h, s->q, s->k, s->v, s->att, s->gate, s->up, s->worker, s->partial,
                     s->lora};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) free(rows[i]);
    free(s->use);
    free(s->parts);
    free(s->share);
    free(s->slices);
    free(s->summaries);
    qu_selection_clear(&c->sel);
    qu_linear_scratch_free(c->linear);
    free(c->seg);
    if (c->backend) c->backend->free(c);
    free(c);
}

/* Append a segment; its index is c->n_seg - 1 afterwards. */
static qu_status add_segment(qu_context *c, int32_t n, int32_t n_pad, int64_t pos, qu_err *err)
{
    const qu_model *m = c->m;
    QU_TRY(qu_memory_grow(&c->seg, &c->seg_cap, c->n_seg + 1ll, sizeof *c->seg, err));
    qu_segment *s = &c->seg[c->n_seg];
    *s = (qu_segment){.n = n, .n_pad = n_pad, .pos = pos};
    qu_status st = qu_memory_take(&s->ready, (int64_t)m->n_layers * m->n_kv_heads, 1, err);
    if (st == QU_OK) st = make_angles(m, s, err);
    if (st != QU_OK) {
        free_segment(c, s);
        return st;
    }
    c->n_seg++;
    return QU_OK;
}

qu_status qu_segment_need(qu_context *c, qu_segment *s, qu_err *err)
{
    int64_t slices = (int64_t)c->m->n_layers * c->m->n_kv_heads;
    int64_t bytes = slices * qu_segment_head_bytes(c->m, s), none = 0;
    if (s->kv) return QU_OK;
    QU_TRY(qu_memory_need(&s->kv, &none, bytes, 1, err));
    if (!s->source.get) memset(s->kv, 0, (size_t)bytes);
    return QU_OK;
}

/* k: the slice's keys before rotation, which begin the worker's scratch; what lies behind them but
 * the values is free again. */
static void summarise(qu_context *c, const qu_segment *s, const float *k, const float *v,
                      int32_t row, void *out)
{
    const qu_model *m = c->m;
    int32_t d = m->head_size, dp = qu_attend_pad(d);
    float *kt = (float *)k + (int64_t)QU_PAGE_TOKENS * d; /* both are the worker's */
    float *scratch = kt + (int64_t)QU_PAGE_TOKENS * (d + dp);
    int64_t at = qu_segment_angles(m, &c->page, row);
    qu_rope_page(kt, s->n_pad, k, s->n, d, m->ropes[row], c->page.cos + at, c->page.sin + at,
                 QU_PAGE_TOKENS);
    qu_summary_make(out, kt, s->n_pad, v, dp, s->n, d, m->ropes[row], scratch);
}

void qu_segment_fill(qu_context *c, qu_segment *s, int32_t layer, int32_t g, const void *slice,
                     void *summary, int worker)
{
    const qu_model *m = c->m;
    int32_t d = m->head_size, dp = qu_attend_pad(d);
    bool as_is = s->type == QU_ATTEND_FLOATS;
    float *k = c->s.worker + worker * qu_attention_worker_floats(c);
    float *kt = as_is ? qu_segment_kt(m, s, layer, g) : k + (int64_t)QU_PAGE_TOKENS * d;
    float *v = as_is ? qu_segment_v(m, s, layer, g) : kt + (int64_t)QU_PAGE_TOKENS * d;
    memset(v, 0, (size_t)s->n_pad * (size_t)dp * sizeof *v);
    qu_codec_decode(k, v, dp, c->codec, slice, s->n, d);
    int32_t row = qu_model_rope(m, layer, g);
    int64_t at = qu_segment_angles(m, s, row);
    qu_rope_page(kt, s->n_pad, k, s->n, d, m->ropes[row], s->cos + at, s->sin + at, s->n_pad);
    if (!as_is) {
        qu_attend_pack_kt(s->type, qu_segment_kt(m, s, layer, g), kt, s->n, s->n_pad, d);
        qu_attend_pack_v(s->type, qu_segment_v(m, s, layer, g), v, s->n, s->n_pad, d);
    }
    s->ready[layer * m->n_kv_heads + g] = 1;
    if (summary) summarise(c, s, k, v, row, summary);
}

void qu_segment_summarise(qu_context *c, int32_t n, int32_t layer, int32_t g, const void *slice,
                          void *summary, int worker)
{
    int32_t d = c->m->head_size;
    qu_segment s = {.n = n, .n_pad = (n + 15) / 16 * 16};
    float *k = c->s.worker + worker * qu_attention_worker_floats(c);
    float *v = k + 2ll * QU_PAGE_TOKENS * d;
    qu_codec_decode(k, v, qu_attend_pad(d), c->codec, slice, n, d);
    summarise(c, &s, k, v, qu_model_rope(c->m, layer, g), summary);
}

static int32_t pad16(int32_t n)
{
    return (n + 15) / 16 * 16;
}

static qu_status check_page(const qu_context *c, int32_t n, int64_t pos, qu_err *err)
{
    if (c->n_live > 0)
        return qu_fail(err, QU_ERR_ARG, "a page cannot follow live tokens: cut the context first");
    if (n < 1 || n > QU_PAGE_TOKENS)
        return qu_fail(err, QU_ERR_ARG, "a page of %d tokens: 1 to %d are possible", n,
                       QU_PAGE_TOKENS);
    if (pos < 0) return qu_fail(err, QU_ERR_ARG, "a page at position %lld", (long long)pos);
    return QU_OK;
}

qu_status qu_context_attach(qu_context *c, int32_t n, int64_t pos, const qu_page_source *source,
                            qu_err *err)
{
    QU_TRY(check_page(c, n, pos, err));
    QU_TRY(add_segment(c, n, pad16(n), pos, err));
    c->seg[c->n_seg - 1].source = *source;
    c->seg[c->n_seg - 1].type = qu_context_type(c);
    c->first_live = c->n_seg;
    qu_selection_clear(&c->sel);
    return QU_OK;
}

static qu_status check_ids(const qu_context *c, const int32_t *ids, int32_t n, qu_err *err)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->m->vocab)
            return qu_fail(err, QU_ERR_ARG, "token id %d is outside the vocabulary of %d", ids[i],
                           c->m->vocab);
    return QU_OK;
}

/* How many of the next pages make a pass: as many as fit, or fewer where that leaves less of its
 * last tile empty. Dequantising costs about a quarter of a tile. */
static int32_t pass_pages(const qu_context *c, const qu_page_tokens *pages, int32_t n)
{
    int32_t best = 1, rows = 0, most_rows = c->backend ? QU_DEVICE_ROWS : QU_PASS_ROWS;
    int32_t tile = c->backend ? QU_DEVICE_ROWS : QU_TILE_ROWS; /* what products pad to */
    double most = 0;
    for (int32_t i = 0; i < n && (rows += pages[i].n) <= most_rows; i++) {
        double rate = rows / (.25 + (rows + tile - 1) / tile);
        if (rate < most && i + 1 < n) continue;
        most = rate;
        best = i + 1;
    }
    return best;
}

qu_status qu_context_prefill(qu_context *c, const qu_page_tokens *pages, int32_t n_pages,
                             const qu_page_sink *sink, qu_err *err)
{
    qu_status st = QU_OK;
    int32_t before = c->n_seg, first = before, ids[QU_PASS_ROWS];
    for (int32_t i = 0; i < n_pages; i++) {
        QU_TRY(check_page(c, pages[i].n, pages[i].pos, err));
        QU_TRY(check_ids(c, pages[i].ids, pages[i].n, err));
    }
    for (int32_t done = 0, end; done < n_pages;) {
        qu_rows *r = &c->rows;
        r->n = 0;
        for (end = done + pass_pages(c, pages + done, n_pages - done); done < end; done++) {
            const qu_page_tokens *p = &pages[done];
            if (done > 0 && p->pos <= p[-1].pos) first = c->n_seg;
            if (first > before && c->backend)
                QU_TRY_OUT(qu_fail(err, QU_ERR_UNSUPPORTED, "several documents on a device"));
            QU_TRY_OUT(add_segment(c, p->n, pad16(p->n), p->pos, err));
            qu_segment *s = &c->seg[c->n_seg - 1];
            s->type = qu_context_type(c);
            s->hidden = before;
            s->n_hidden = first - before;
            for (int32_t i = 0; i < p->n; i++) {
                ids[r->n] = p->ids[i];
                r->own[r->n] = c->n_seg - 1;
                r->at[r->n++] = i;
            }
        }
        r->ids = ids;
        c->first_live = c->n_seg;
        QU_TRY_OUT(qu_forward(c, true, sink, before, 0, NULL, err));
    }
    return QU_OK;
out:
    qu_context_cut(c, before);
    return st;
}

/* How many of the next rows one pass takes, and whether they choose. Without a hook any grouping
 * does; with one the question's rows choose together and generated rows are cut where one of them
 * chooses alone. */
static int32_t next_rows(qu_context *c, int32_t left)
{
    enum { ROWS = 64, QUESTION_ROWS = QU_PAGE_TOKENS * 4 };
    qu_selection *s = &c->sel;
    s->senses = false;
    if (!c->hook.select) return left < ROWS ? left : ROWS;
    int64_t answered = c->n_live - c->n_question, every = c->hook.refresh;
    if (answered < 0) {
        s->senses = true;
        s->epoch = 0;
        return left < QUESTION_ROWS ? left : QUESTION_ROWS;
    }
    if (every <= 0) return left < ROWS ? left : ROWS;
    s->epoch = (int32_t)(answered / every);
    s->senses = answered > 0 && answered % every == 0;
    int64_t most = s->senses ? 1 : every - answered % every;
    most = most < ROWS ? most : ROWS;
    return left < most ? left : (int32_t)most;
}

/* A live token's segment and place. */
static qu_status add_live(qu_context *c, qu_rows *r, int32_t i, qu_err *err)
{
    int32_t s = c->first_live + (int32_t)(c->n_live / QU_PAGE_TOKENS);
    if (s == c->n_seg) {
        QU_TRY(add_segment(c, 0, QU_PAGE_TOKENS, c->live_pos + c->n_live, err));
        c->seg[s].live = true;
    }
    r->own[i] = s;
    r->at[i] = c->seg[s].n++;
    c->n_live++;
    return QU_OK;
}

/* choices: NULL, or where the rows' choices go in place of their logits. */
static qu_status step(qu_context *c, const int32_t *ids, int32_t n, int64_t pos, int32_t n_logits,
                      float *logits, qu_choice *choices, qu_err *err)
{
    if (n < 1 || n_logits < 0 || n_logits > n)
        return qu_fail(err, QU_ERR_ARG, "a step of %d tokens with %d logits", n, n_logits);
    if (c->n_live > 0 && pos != c->live_pos + c->n_live)
        return qu_fail(err, QU_ERR_ARG, "live token at position %lld, expected %lld",
                       (long long)pos, (long long)(c->live_pos + c->n_live));
    QU_TRY(check_ids(c, ids, n, err));
    int64_t before = c->n_live;
    qu_status st = QU_OK;
    if (c->n_live == 0) {
        c->live_pos = pos;
        c->first_live = c->n_seg;
        c->n_question = n;
    }
    for (int32_t done = 0; done < n;) {
        qu_rows *r = &c->rows;
        int32_t n_rows = next_rows(c, n - done);
        r->question = c->n_live < c->n_question;
        r->ids = ids + done;
        for (r->n = 0; r->n < n_rows; r->n++) QU_TRY_OUT(add_live(c, r, r->n, err));
        done += r->n;
        int32_t wanted = n - n_logits, from = done - r->n > wanted ? done - r->n : wanted;
        /* a suffix of this block's rows */
        int32_t want = (logits || choices) && done > from ? done - from : 0;
        float *out = want && logits ? logits + (int64_t)(from - wanted) * c->m->vocab : NULL;
        c->choices = want && choices ? choices + from - wanted : NULL;
        QU_TRY_OUT(qu_forward(c, false, NULL, 0, want, out, err));
    }
    return QU_OK;
out:
    qu_context_rewind(c, before);
    return st;
}

qu_status qu_context_step(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                          int32_t n_logits, float *logits, qu_err *err)
{
    return step(c, ids, n, pos, n_logits, logits, NULL, err);
}

qu_status qu_context_step_greedy(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                                 int32_t n_choices, qu_choice *choices, qu_err *err)
{
    if (!c->backend)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "the processor gives logits, not choices: only a device makes both");
    return step(c, ids, n, pos, n_choices, NULL, choices, err);
}

void qu_context_rewind(qu_context *c, int64_t n)
{
    if (n < 0) n = 0;
    while (c->n_live > n) {
        qu_segment *s = &c->seg[c->n_seg - 1];
        int64_t surplus = c->n_live - n;
        int32_t take = surplus < s->n ? (int32_t)surplus : s->n;
        s->n -= take;
        c->n_live -= take;
        if (s->n == 0) {
            free_segment(c, s);
            c->n_seg--;
        }
    }
}

void qu_context_cut(qu_context *c, int32_t first)
{
    qu_context_rewind(c, 0);
    qu_selection_clear(&c->sel);
    while (c->n_seg > first && c->n_seg > 0) free_segment(c, &c->seg[--c->n_seg]);
    c->first_live = c->n_seg;
}

void qu_context_move(qu_context *c, int32_t segment, int64_t pos)
{
    qu_segment *s = &c->seg[segment];
    if (!s->source.get || s->pos == pos) return;
    s->pos = pos;
    qu_selection_clear(&c->sel);
    memset(s->ready, 0, (size_t)c->m->n_layers * (size_t)c->m->n_kv_heads);
    set_angles(c->m, s);
}

void qu_context_watch(qu_context *c,
                      void (*watch)(void *ctx, int32_t layer, const float *q, int32_t n_rows),
                      void *ctx)
{
    c->watch = watch;
    c->watch_ctx = ctx;
}

void qu_context_select(qu_context *c, const qu_select_hook *hook)
{
    c->hook = hook ? *hook : (qu_select_hook){0};
}

int32_t qu_context_segments(const qu_context *c) { return c->n_seg; }
int64_t qu_context_live(const qu_context *c) { return c->n_live; }
qu_context_stats qu_context_stats_get(const qu_context *c) { return c->stats; }
