#include "retrieve/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"

/* Rows whose scores are held at a time. */
enum { SCORE_ROWS = 64 };

typedef qu_status (*score_fn)(float *score, const qu_sense *s, int32_t head_size, qu_err *err);

typedef struct kind {
    const char *name;
    score_fn score;
    bool reads_keys, pooled;
} kind;

struct qu_policy {
    const kind *kind;
    qu_policy_options o;
    int32_t n_layers, n_heads;
    float *heads; /* [L,G] or NULL */
    qu_select_hook hook;
    qu_select_plan plan;
    qu_policy_layer *layers;
    float *caught; /* [L,G] sums of caught / best, divided when asked for */
    int64_t *n_caught;
    const int32_t *tokens; /* of the last choice's candidates: for measured, which follows it */
    float *ratio;
};

/* --- scores --- */

/* mass [columns] of all columns of the parts, mean over rows. */
static qu_status mean_mass(float *mass, const qu_sense *s, const qu_attend_kv *parts,
                           int32_t n_parts, int32_t columns, bool spread, int32_t d, qu_err *err)
{
    int32_t rows = s->n_rows < SCORE_ROWS ? s->n_rows : SCORE_ROWS;
    size_t need = (size_t)rows * (size_t)(2 * columns + 2) * sizeof(float);
    QU_OWN(qu_freep) float *scratch = malloc(need);
    if (!scratch) return qu_fail_nomem(err, (long long)need);
    memset(mass, 0, (size_t)columns * sizeof *mass);
    for (int32_t r = 0; r < s->n_rows; r += rows) {
        int32_t n = s->n_rows - r < rows ? s->n_rows - r : rows;
        qu_attend_mass(mass, s->q + r * s->ldq, s->ldq, n, d, parts, n_parts,
                       spread ? s->q2 + r * (int64_t)(d / 2) : NULL, scratch);
    }
    for (int32_t i = 0; i < columns; i++) mass[i] /= (float)s->n_rows;
    return QU_OK;
}

static qu_status multipole(float *score, const qu_sense *s, int32_t d, qu_err *err)
{
    int32_t columns = s->first[s->n_pages];
    QU_OWN(qu_freep) float *mass = malloc((size_t)columns * sizeof *mass);
    if (!mass) return qu_fail_nomem(err, columns * 4ll);
    qu_status st = mean_mass(mass, s, s->parts, s->n_parts, columns, true, d, err);
    for (int32_t p = 0; st == QU_OK && p < s->n_pages; p++) {
        score[p] = 0;
        for (int32_t i = s->first[p]; i < s->first[p + 1]; i++) score[p] += mass[i];
    }
    return st;
}

/* The best cluster's mass a key. Times the page's tokens, since the cut is by score a token. */
static qu_status squeezed(float *score, const qu_sense *s, int32_t d, qu_err *err)
{
    int32_t columns = s->first[s->n_pages];
    QU_OWN(qu_freep) float *mass = malloc((size_t)columns * sizeof *mass);
    if (!mass) return qu_fail_nomem(err, columns * 4ll);
    qu_status st = mean_mass(mass, s, s->parts, s->n_parts, columns, false, d, err);
    for (int32_t p = 0; st == QU_OK && p < s->n_pages; p++) {
        float best = 0;
        for (int32_t i = s->first[p]; i < s->first[p + 1]; i++) {
            float bias = s->parts->bias[i], each = mass[i] * expf(-bias); /* parts' follow */
            if (bias > -INFINITY && each > best) best = each;
        }
        score[p] = best * (float)s->tokens[p];
    }
    return st;
}

static float key_at(const qu_attend_kv *kv, int64_t at)
{
    return kv->type == QU_ATTEND_HALVES ? qu_f16_to_f32(((const uint16_t *)kv->kt)[at])
                                        : ((const float *)kv->kt)[at];
}

/* One key a page: the mean of its clusters' by their counts, which is the mean of its keys. */
static qu_status page_mean(float *score, const qu_sense *s, int32_t d, qu_err *err)
{
    int32_t n_pad = (s->n_pages + 15) / 16 * 16;
    QU_OWN(qu_freep) float *kt = calloc((size_t)(d + 2) * (size_t)n_pad, sizeof *kt);
    if (!kt) return qu_fail_nomem(err, (d + 2) * 4ll * n_pad);
    float *bias = kt + (int64_t)d * n_pad, *mass = bias + n_pad;
    for (int32_t p = 0; p < n_pad; p++)
        bias[p] = p < s->n_pages ? logf((float)s->tokens[p]) : -INFINITY;
    const qu_attend_kv *part = s->parts;
    for (int32_t p = 0, at = 0; p < s->n_pages; p++)
        for (int32_t i = s->first[p]; i < s->first[p + 1]; i++) {
            if (i - at == part->n_pad) at += part++->n_pad;
            float share = expf(part->bias[i - at]) / (float)s->tokens[p];
            for (int32_t j = 0; j < d && share > 0; j++)
                kt[(int64_t)j * n_pad + p] +=
                    share * key_at(part, (int64_t)j * part->n_pad + i - at);
        }
    qu_attend_kv kv = {.kt = kt, .bias = bias, .n = n_pad, .n_pad = n_pad};
    qu_status st = mean_mass(mass, s, &kv, 1, n_pad, false, d, err);
    if (st == QU_OK) memcpy(score, mass, (size_t)s->n_pages * sizeof *score);
    return st;
}

static void extremes(float *least, float *most, const qu_attend_kv *kv, int32_t d)
{
    for (int32_t j = 0; j < d; j++) {
        least[j] = most[j] = key_at(kv, (int64_t)j * kv->n_pad);
        for (int32_t t = 1; t < kv->n; t++) {
            float k = key_at(kv, (int64_t)j * kv->n_pad + t);
            least[j] = k < least[j] ? k : least[j];
            most[j] = k > most[j] ? k : most[j];
        }
    }
}

static qu_status quest(float *score, const qu_sense *s, int32_t d, qu_err *err)
{
    size_t n = (size_t)s->n_pages;
    QU_OWN(qu_freep) float *bound = malloc((n * (size_t)s->n_rows + 2 * (size_t)d) * sizeof *bound);
    if (!bound) return qu_fail_nomem(err, (long long)n * s->n_rows * 4);
    float *least = bound + n * (size_t)s->n_rows, *most = least + d;
    for (int32_t p = 0; p < s->n_pages; p++) {
        extremes(least, most, &s->slices[p], d);
        for (int32_t r = 0; r < s->n_rows; r++) {
            const float *q = s->q + r * s->ldq;
            float sum = 0;
            for (int32_t j = 0; j < d; j++) sum += q[j] * (q[j] > 0 ? most[j] : least[j]);
            bound[(size_t)r * n + (size_t)p] = sum;
        }
    }
    memset(score, 0, n * sizeof *score);
    for (int32_t r = 0; r < s->n_rows; r++) {
        const float *b = bound + (size_t)r * n;
        float top = b[0], sum = 0;
        for (size_t p = 1; p < n; p++) top = b[p] > top ? b[p] : top;
        for (size_t p = 0; p < n; p++) sum += expf(b[p] - top);
        for (size_t p = 0; p < n; p++) score[p] += expf(b[p] - top) / sum;
    }
    return QU_OK;
}

static qu_status streaming(float *score, const qu_sense *s, int32_t d, qu_err *err)
{
    (void)d;
    (void)err;
    for (int32_t p = 0; p < s->n_pages; p++) score[p] = (float)(p + 1) * (float)s->tokens[p];
    return QU_OK;
}

static const kind KINDS[] = {
    {"dense", NULL, false, false},          {"streaming", streaming, false, false},
    {"page-mean", page_mean, false, false}, {"quest", quest, true, false},
    {"squeezed", squeezed, false, true},    {"multipole", multipole, false, false},
    {"duo", streaming, false, false},
};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

/* --- the cut --- */

typedef struct entry {
    float density;
    int32_t index;
} entry;

static int denser(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->density != y->density) return x->density > y->density ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Entries come sorted; index / n_pages is the head, index % n_pages the page of score. */
static void take(uint8_t *use, int32_t stride, const entry *e, int32_t n, const int32_t *tokens,
                 int32_t n_pages, int64_t budget)
{
    int64_t spent = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t page = e[i].index % n_pages;
        if (i > 0 && spent + tokens[page] > budget) continue;
        spent += tokens[page];
        use[page * stride + e[i].index / n_pages] = 1;
    }
}

static qu_status cut(uint8_t *use, int32_t stride, const float *score, int32_t n_heads,
                     const int32_t *tokens, int32_t n_pages, int64_t budget, qu_err *err)
{
    int32_t n = n_heads * n_pages;
    QU_OWN(qu_freep) entry *e = malloc((size_t)n * sizeof *e);
    if (!e) return qu_fail_nomem(err, n * (long long)sizeof *e);
    for (int32_t i = 0; i < n; i++) {
        float density = score[i] / (float)tokens[i % n_pages];
        e[i] = (entry){density == density ? density : -1, i}; /* not a number: last */
    }
    qsort(e, (size_t)n, sizeof *e, denser);
    take(use, stride, e, n, tokens, n_pages, budget);
    return QU_OK;
}

qu_status qu_policy_cut(uint8_t *use, int32_t stride, const float *score, const int32_t *tokens,
                        int32_t n_pages, int64_t budget, qu_err *err)
{
    return cut(use, stride, score, 1, tokens, n_pages, budget, err);
}

/* --- the hook --- */

typedef struct select_run {
    qu_policy *p;
    const qu_sense *heads;
    int32_t d;
    float *score; /* [G, n_pages] */
    qu_status *st;
    qu_err *err;
} select_run;

static void score_head(void *ctx, int64_t g, int worker)
{
    (void)worker;
    select_run *r = ctx;
    r->st[g] =
        r->p->kind->score(r->score + g * r->heads[g].n_pages, &r->heads[g], r->d, &r->err[g]);
}

static bool reads_all(const qu_policy *p, int32_t layer, int32_t g)
{
    return p->heads && p->heads[layer * p->n_heads + g] >= .5f;
}

static qu_status cut_heads(qu_policy *p, const qu_sense *heads, int32_t n_heads, const float *score,
                           uint8_t *use, qu_err *err)
{
    int32_t n_pages = heads[0].n_pages;
    const int32_t *tokens = heads[0].tokens;
    if (p->kind->pooled)
        QU_TRY(cut(use, n_heads, score, n_heads, tokens, n_pages, p->o.budget * n_heads, err));
    for (int32_t g = 0; g < n_heads; g++) {
        if (reads_all(p, heads[0].layer, g))
            for (int32_t i = 0; i < n_pages; i++) use[i * n_heads + g] = 1;
        else if (!p->kind->pooled)
            QU_TRY(cut(use + g, n_heads, score + (int64_t)g * n_pages, 1, tokens, n_pages,
                       p->o.budget, err));
    }
    return QU_OK;
}

static void count_choice(void *ctx, int32_t layer, const int32_t *tokens, int32_t n_pages,
                         int32_t n_heads, const uint8_t *use)
{
    qu_policy *p = ctx;
    qu_policy_layer *l = &p->layers[layer];
    for (int32_t i = 0; i < n_pages * n_heads; i++) {
        l->slices += use[i];
        l->tokens += use[i] ? tokens[i / n_heads] : 0;
    }
    l->candidate_slices += (int64_t)n_pages * n_heads;
}

static void end_run(select_run *r)
{
    free(r->score);
    free(r->st);
    free(r->err);
}

static qu_status choose(void *ctx, const qu_sense *heads, int32_t n_heads, uint8_t *use,
                        qu_err *err)
{
    qu_policy *p = ctx;
    int32_t n_pages = heads[0].n_pages;
    QU_OWN(end_run) select_run r = {.p = p, .heads = heads, .d = (int32_t)heads[0].ldq};
    QU_TRY(qu_memory_take(&r.score, (int64_t)n_heads * n_pages, sizeof *r.score, err));
    QU_TRY(qu_memory_take(&r.st, n_heads, sizeof *r.st, err));
    QU_TRY(qu_memory_take(&r.err, n_heads, sizeof *r.err, err));
    qu_pool_run(p->o.pool, n_heads, score_head, &r);
    for (int32_t g = 0; g < n_heads; g++)
        if (r.st[g] != QU_OK) {
            if (err) *err = r.err[g];
            return r.st[g];
        }
    QU_TRY(cut_heads(p, heads, n_heads, r.score, use, err));
    p->tokens = heads[0].tokens;
    count_choice(p, heads[0].layer, heads[0].tokens, n_pages, n_heads, use);
    return QU_OK;
}

/* Against what the same cut makes of the truth: as many tokens, the best pages. */
static void measured(void *ctx, int32_t layer, int32_t n_pages, int32_t n_heads, const float *mass,
                     const uint8_t *use)
{
    qu_policy *p = ctx;
    size_t n = (size_t)n_pages * (size_t)n_heads;
    QU_OWN(qu_freep) float *true_score = calloc(n, sizeof *true_score);
    QU_OWN(qu_freep) uint8_t *best_use = calloc(n, 1);
    QU_OWN(qu_freep) qu_sense *heads = calloc((size_t)n_heads, sizeof *heads);
    if (!true_score || !best_use || !heads) return; /* only a figure is lost */
    for (int32_t g = 0; g < n_heads; g++) {
        heads[g] = (qu_sense){.layer = layer, .n_pages = n_pages, .tokens = p->tokens};
        for (int32_t i = 0; i < n_pages; i++) true_score[g * n_pages + i] = mass[i * n_heads + g];
    }
    if (cut_heads(p, heads, n_heads, true_score, best_use, NULL) != QU_OK) return;
    for (int32_t g = 0; g < n_heads; g++) {
        double caught = 0, best = 0;
        for (int32_t i = 0; i < n_pages; i++) {
            double m = (double)mass[i * n_heads + g];
            caught += use[i * n_heads + g] ? m : 0;
            best += best_use[i * n_heads + g] ? m : 0;
        }
        p->layers[layer].caught += caught;
        p->layers[layer].best += best;
        p->layers[layer].n++;
        p->caught[layer * n_heads + g] += best > 0 ? (float)(caught / best) : 1;
        p->n_caught[layer * n_heads + g]++;
    }
}

qu_status qu_policy_create(qu_policy **out, const qu_policy_options *o, int32_t n_layers,
                           int32_t n_kv_heads, qu_err *err)
{
    *out = NULL;
    const kind *k = NULL;
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(KINDS[i].name, o->name) == 0) k = &KINDS[i];
    if (!k) return qu_fail(err, QU_ERR_ARG, "unknown selection policy '%s'", o->name);
    if (o->budget < 1)
        return qu_fail(err, QU_ERR_ARG, "a budget of %lld tokens", (long long)o->budget);
    if (strcmp(o->name, "duo") == 0 && !o->heads)
        return qu_fail(err, QU_ERR_ARG, "policy 'duo' needs a table of heads");
    int64_t n = (int64_t)n_layers * n_kv_heads;
    QU_OWN(qu_policy_freep) qu_policy *p = NULL;
    QU_TRY(qu_memory_take(&p, 1, sizeof *p, err));
    p->kind = k;
    p->o = *o;
    p->n_layers = n_layers;
    p->n_heads = n_kv_heads;
    p->hook = (qu_select_hook){.select = choose,
                               .measured = o->measure ? measured : NULL,
                               .ctx = p,
                               .reads_keys = k->reads_keys,
                               .far_field = o->far_field,
                               .refresh = o->refresh,
                               .bytes = o->bytes && !k->reads_keys && k->score != page_mean};
    QU_TRY(qu_memory_take(&p->layers, n_layers, sizeof *p->layers, err));
    QU_TRY(qu_memory_take(&p->caught, n, sizeof *p->caught, err));
    QU_TRY(qu_memory_take(&p->n_caught, n, sizeof *p->n_caught, err));
    QU_TRY(qu_memory_take(&p->ratio, n, sizeof *p->ratio, err));
    if (o->heads) QU_TRY(qu_memory_take(&p->heads, n, sizeof *p->heads, err));
    if (o->heads) memcpy(p->heads, o->heads, (size_t)n * sizeof *p->heads);
    p->plan = (qu_select_plan){o->budget, p->heads, count_choice};
    if (k->score == multipole) p->hook.plan = &p->plan;
    *out = QU_TAKE(p);
    return QU_OK;
}

void qu_policy_free(qu_policy *p)
{
    if (!p) return;
    free(p->layers);
    free(p->caught);
    free(p->n_caught);
    free(p->ratio);
    free(p->heads);
    free(p);
}

const qu_select_hook *qu_policy_hook(const qu_policy *p)
{
    return p->kind->score ? &p->hook : NULL;
}

qu_policy_layer qu_policy_report(const qu_policy *p, int32_t layer)
{
    return p->layers[layer];
}

const float *qu_policy_heads(qu_policy *p)
{
    for (int32_t i = 0; i < p->n_layers * p->n_heads; i++)
        p->ratio[i] = p->n_caught[i] ? p->caught[i] / (float)p->n_caught[i] : 1;
    return p->ratio;
}
