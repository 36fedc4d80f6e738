/* Selection inside a context: the candidates' clusters turned to their places, the hook's choices,
 * and the far field of what was not chosen.
 *
 *   candidates  segments whose source has a summary; everything else is always read
 *   parts       runs of candidates whose clusters lie together, a block for each layer and KV head:
 *               keys, values and spreads. The same block serves sensing and, with the chosen pages'
 *               columns hidden, the far field
 *   chosen      [epoch][L][candidate, G]: epoch 0 is the question's choice, epoch e that of the
 *               generated token e * refresh, so that rewinding needs no undo
 */
#include <math.h>

#include "base/memory.h"
#include "base/os.h"
#include "decode/context_int.h"
#include "kernels/summary.h"

/* A part has whole pages, at most QU_ATTEND_COLUMNS clusters: pages [first, first + n) in columns
 * [column, column + n_pad), the last of them empty, at that byte of a head's block. */
typedef struct qu_part {
    int32_t first, n, column, n_clusters, n_pad;
    int64_t at;
} qu_part;

int64_t qu_page_summary_bytes(const qu_model *m, int32_t n)
{
    return qu_summary_bytes(n, m->head_size) * m->n_layers * m->n_kv_heads;
}

void qu_selection_clear(qu_selection *s)
{
    void *owned[] = {s->segment,  s->tokens, s->summary, s->first,        s->parts,  s->column,
                     s->clusters, s->bias,   s->hidden,  s->hidden_epoch, s->chosen, s->q};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    memset(s, 0, sizeof *s);
}

/* --- the candidates' clusters --- */

static int64_t head_of(const qu_context *c, int32_t layer, int32_t g)
{
    return (int64_t)layer * c->m->n_kv_heads + g;
}

static float *bias_of(const qu_context *c, float *bias, int64_t head)
{
    return bias + head * c->sel.n_columns;
}

/* One part of one head, with that bias. */
static qu_attend_kv part_kv(const qu_context *c, const qu_part *p, int64_t head, float *bias)
{
    int32_t d = c->m->head_size, type = c->sel.type;
    const char *kt = c->sel.clusters + head * c->sel.head_bytes + p->at;
    const char *v = kt + qu_attend_kt_bytes(type, d, p->n_pad);
    const char *spread = v + qu_attend_v_bytes(type, d, p->n_pad);
    const float *own = bias_of(c, bias, head) + p->column;
    return (qu_attend_kv){kt, v, own, type, p->n_clusters, p->n_pad, NULL, spread};
}

typedef struct load_run {
    qu_context *c;
    float *cos, *sin; /* [n_pages][n_ropes][D/2] of a page's start */
    float *floats;    /* a worker's: keys, values and spreads of a part */
} load_run;

static int64_t part_floats(const qu_model *m)
{
    int64_t d = m->head_size;
    return QU_ATTEND_COLUMNS * (d + qu_attend_pad(m->head_size) + d / 2);
}

/* A page's clusters of one head in columns from at on of kt, v and spread, keys turned by the
 * page's start. */
static void place_page(const load_run *r, int32_t page, int32_t layer, int32_t g, int32_t n_pad,
                       int32_t at, float *kt, float *v, float *spread)
{
    const qu_context *c = r->c;
    const qu_model *m = c->m;
    int32_t d = m->head_size, dp = qu_attend_pad(d), row = qu_model_rope(m, layer, g);
    int64_t head = head_of(c, layer, g);
    const char *data = c->sel.summary[page];
    data += head * qu_summary_bytes(c->sel.tokens[page], d);
    const float *cos = r->cos + ((int64_t)page * m->n_ropes + row) * (d / 2),
                *sin = r->sin + ((int64_t)page * m->n_ropes + row) * (d / 2);
    float *bias = bias_of(c, c->sel.bias, head) + c->sel.column[page];
    qu_summary_place(data, c->sel.tokens[page], d, m->ropes[row], cos, sin, kt + at,
                     v + (int64_t)at * dp, spread + at, n_pad, bias);
}

/* One head of one part. */
static void place(void *ctx, int64_t item, int worker)
{
    load_run *r = ctx;
    const qu_context *c = r->c;
    const qu_selection *s = &c->sel;
    const qu_part *p = &s->parts[item % s->n_parts];
    int64_t head = item / s->n_parts;
    int32_t layer = (int32_t)(head / c->m->n_kv_heads), g = (int32_t)(head % c->m->n_kv_heads);
    int32_t d = c->m->head_size, n = p->n_clusters, n_pad = p->n_pad;
    float *kt = r->floats + worker * part_floats(c->m), *v = kt + (int64_t)d * n_pad,
          *spread = v + (int64_t)qu_attend_pad(d) * n_pad;
    memset(kt, 0, (size_t)part_floats(c->m) * sizeof *kt);
    for (int32_t i = p->first; i < p->first + p->n; i++)
        place_page(r, i, layer, g, n_pad, s->column[i] - p->column, kt, v, spread);
    qu_attend_kv kv = part_kv(c, p, head, s->bias);
    qu_attend_pack_kt(s->type, (void *)kv.kt, kt, n, n_pad, d);
    qu_attend_pack_kt(s->type, (void *)kv.spread, spread, n, n_pad, d / 2);
    if (c->hook.far_field) qu_attend_pack_v(s->type, (void *)kv.v, v, n, n_pad, d);
}

/* The angles of the candidates' starts. */
static void start_angles(load_run *r)
{
    const qu_model *m = r->c->m;
    float *cos = r->cos, *sin = r->sin;
    for (int32_t p = 0; p < r->c->sel.n_pages; p++) {
        const qu_segment *seg = &r->c->seg[r->c->sel.segment[p]];
        for (int32_t row = 0; row < m->n_ropes; row++)
            for (int32_t j = 0; j < m->head_size / 2; j++) {
                int64_t at = qu_segment_angles(m, seg, row) + (int64_t)j * seg->n_pad;
                *cos++ = seg->cos[at];
                *sin++ = seg->sin[at];
            }
    }
}

typedef struct found {
    qu_status st;
    qu_err err;
    const void *data;
    size_t bytes;
} found;

typedef struct find_run {
    const qu_context *c;
    found *of;
} find_run;

static void find_summary(void *ctx, int64_t item, int worker)
{
    (void)worker;
    find_run *r = ctx;
    found *f = &r->of[item];
    const qu_page_source *source = &r->c->seg[item].source;
    f->st = QU_ERR_NOTFOUND;
    if (source->get && source->summary)
        f->st = source->summary(source->ctx, &f->data, &f->bytes, &f->err);
}

qu_status qu_selection_find(qu_context *c, qu_err *err)
{
    qu_selection *s = &c->sel;
    QU_OWN(qu_freep) found *of = NULL;
    if (s->loaded) return QU_OK;
    s->type = qu_context_type(c);
    if (c->hook.bytes && s->type == QU_ATTEND_HALVES && !c->backend) s->type = QU_ATTEND_BYTES;
    QU_TRY(qu_memory_take(&of, c->first_live, sizeof *of, err));
    QU_TRY(qu_memory_take(&s->segment, c->n_seg + 1ll, sizeof *s->segment, err));
    QU_TRY(qu_memory_take(&s->first, c->n_seg + 1ll, sizeof *s->first, err));
    QU_TRY(qu_memory_take(&s->tokens, c->n_seg + 1ll, sizeof *s->tokens, err));
    QU_TRY(qu_memory_take(&s->summary, c->n_seg + 1ll, sizeof *s->summary, err));
    double start = qu_os_now_ms();
    find_run r = {c, of};
    qu_pool_run(c->pool, c->first_live, find_summary, &r);
    for (int32_t i = 0; i < c->first_live; i++) {
        if (of[i].st == QU_ERR_NOTFOUND) continue;
        int64_t expected = qu_page_summary_bytes(c->m, c->seg[i].n);
        if (of[i].st != QU_OK && err) *err = of[i].err;
        if (of[i].st != QU_OK) return of[i].st;
        if ((int64_t)of[i].bytes != expected)
            return qu_fail(err, QU_ERR_CORRUPT, "stored summary has %zu bytes, expected %lld",
                           of[i].bytes, (long long)expected);
        if (s->type == QU_ATTEND_BYTES && !c->seg[i].kv) c->seg[i].type = QU_ATTEND_BYTES;
        c->stats.bytes_read += expected;
        int32_t p = s->n_pages++;
        s->segment[p] = i;
        s->tokens[p] = c->seg[i].n;
        s->summary[p] = of[i].data;
        s->first[p + 1] = s->first[p] + qu_summary_clusters(c->seg[i].n);
    }
    c->stats.load_ms += qu_os_now_ms() - start;
    s->loaded = true;
    return QU_OK;
}

/* Cut the candidates into parts. */
static void make_parts(qu_context *c)
{
    qu_selection *s = &c->sel;
    int32_t d = c->m->head_size;
    for (int32_t p = 0; p < s->n_pages;) {
        qu_part *part = &s->parts[s->n_parts++];
        *part = (qu_part){.first = p, .column = s->n_columns, .at = s->head_bytes};
        for (; p < s->n_pages && s->first[p + 1] - s->first[part->first] <= QU_ATTEND_COLUMNS; p++)
            s->column[p] = s->n_columns + s->first[p] - s->first[part->first];
        part->n = p - part->first;
        part->n_clusters = s->first[p] - s->first[part->first];
        part->n_pad = (part->n_clusters + 15) / 16 * 16;
        s->n_columns += part->n_pad;
        s->head_bytes += qu_attend_kt_bytes(s->type, d, part->n_pad) +
                         qu_attend_v_bytes(s->type, d, part->n_pad) +
                         qu_attend_kt_bytes(s->type, d / 2, part->n_pad);
    }
    s->column[s->n_pages] = s->n_columns;
}

static void end_load(load_run *r)
{
    free(r->cos);
    free(r->sin);
    free(r->floats);
}

/* Once a question: find the candidates and make their clusters ready. */
static qu_status load(qu_context *c, qu_err *err)
{
    const qu_model *m = c->m;
    qu_selection *s = &c->sel;
    QU_OWN(end_load) load_run r = {.c = c};
    if (s->loaded) return QU_OK;
    QU_TRY(qu_selection_find(c, err));
    if (s->n_pages == 0) return QU_OK;
    double start = qu_os_now_ms();
    int64_t heads = (int64_t)m->n_layers * m->n_kv_heads, none = 0, no_room = 0;
    int64_t angles = (int64_t)s->n_pages * m->n_ropes * (m->head_size / 2);
    QU_TRY(qu_memory_take(&s->parts, s->n_pages, sizeof *s->parts, err));
    QU_TRY(qu_memory_take(&s->column, s->n_pages + 1ll, sizeof *s->column, err));
    make_parts(c);
    QU_TRY(qu_memory_need(&s->clusters, &none, heads * s->head_bytes, 1, err));
    QU_TRY(qu_memory_take(&s->bias, heads * s->n_columns, sizeof *s->bias, err));
    QU_TRY(qu_memory_take(&s->hidden, heads * s->n_columns, sizeof *s->hidden, err));
    QU_TRY(qu_memory_take(&s->hidden_epoch, m->n_layers, sizeof *s->hidden_epoch, err));
    QU_TRY(qu_memory_take(&r.cos, angles, sizeof *r.cos, err));
    QU_TRY(qu_memory_take(&r.sin, angles, sizeof *r.sin, err));
    QU_TRY(qu_memory_need(&r.floats, &no_room, qu_pool_threads(c->pool) * part_floats(m),
                          sizeof *r.floats, err));
    for (int64_t i = 0; i < heads * s->n_columns; i++) s->bias[i] = -INFINITY;
    for (int32_t i = 0; i < m->n_layers; i++) s->hidden_epoch[i] = -1;
    start_angles(&r);
    qu_pool_run(c->pool, heads * s->n_parts, place, &r);
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
    qu_attend_kv *slices = NULL, *parts = NULL;
    QU_TRY_OUT(qu_memory_take(&heads, g_n, sizeof *heads, err));
    QU_TRY_OUT(qu_memory_take(&parts, (int64_t)g_n * s->n_parts, sizeof *parts, err));
    QU_TRY_OUT(gather_queries(c, layer, err));
    if (c->hook.reads_keys) {
        QU_TRY_OUT(qu_memory_take(&slices, (int64_t)g_n * s->n_pages, sizeof *slices, err));
        QU_TRY_OUT(qu_attention_fetch(c, layer, c->s.use, 1, err));
    }
    for (int32_t g = 0; g < g_n; g++) {
        qu_attend_kv *own = slices ? slices + (int64_t)g * s->n_pages : NULL;
        for (int32_t p = 0; own && p < s->n_pages; p++) own[p] = slice_of(c, p, layer, g);
        for (int32_t p = 0; p < s->n_parts; p++)
            parts[g * s->n_parts + p] = part_kv(c, &s->parts[p], head_of(c, layer, g), s->bias);
        heads[g] = (qu_sense){layer,
                              g,
                              rows,
                              s->n_pages,
                              s->q + (int64_t)g * rows * m->head_size,
                              m->head_size,
                              s->q + (int64_t)rows * (g_n * m->head_size + g * (m->head_size / 2)),
                              parts + (int64_t)g * s->n_parts,
                              s->n_parts,
                              s->column,
                              s->tokens,
                              own};
    }
    memset(chosen, 0, (size_t)s->n_pages * (size_t)g_n);
    QU_TRY_OUT(c->hook.select(c->hook.ctx, heads, g_n, chosen, err));
    if (slices) count_values(c, chosen);
out:
    free(heads);
    free(parts);
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

/* The far field's bias: that of the clusters, but chosen pages hidden. */
static void hide(qu_context *c, int32_t layer, const uint8_t *chosen)
{
    qu_selection *s = &c->sel;
    int32_t g_n = c->m->n_kv_heads;
    for (int32_t g = 0; g < g_n; g++) {
        float *hidden = bias_of(c, s->hidden, head_of(c, layer, g));
        memcpy(hidden, bias_of(c, s->bias, head_of(c, layer, g)),
               (size_t)s->n_columns * sizeof *hidden);
        for (int32_t p = 0; p < s->n_pages; p++)
            for (int32_t i = s->column[p]; chosen[p * g_n + g] && i < s->column[p + 1]; i++)
                hidden[i] = -INFINITY;
    }
    s->hidden_epoch[layer] = s->epoch;
}

static void apply(qu_context *c, int32_t layer, const uint8_t *chosen)
{
    qu_selection *s = &c->sel;
    int32_t g_n = c->m->n_kv_heads;
    s->far = false;
    for (int32_t p = 0; p < s->n_pages; p++)
        for (int32_t g = 0; g < g_n; g++) {
            bool in = chosen[p * g_n + g];
            c->s.use[s->segment[p] * g_n + g] = in;
            s->far = s->far || !in;
        }
    s->far = s->far && c->hook.far_field;
    if (s->far && (s->senses || s->hidden_epoch[layer] != s->epoch)) hide(c, layer, chosen);
}

qu_status qu_selection_apply(qu_context *c, int32_t layer, qu_err *err)
{
    qu_selection *s = &c->sel;
    qu_status st = load(c, err);
    if (st != QU_OK) qu_selection_clear(s); /* nothing half loaded for a later step */
    if (st != QU_OK || s->n_pages == 0) return st;
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
    return c->sel.far ? c->sel.n_parts : 0;
}

qu_attend_kv qu_selection_far(const qu_context *c, int32_t layer, int32_t g, int32_t part)
{
    return part_kv(c, &c->sel.parts[part], head_of(c, layer, g), c->sel.hidden);
}
