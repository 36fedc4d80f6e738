#include "kernels/summary.h"

#include <string.h>

#include "kernels/attend.h"

/* Lloyd's iterations. BENCHMARKS.md, "Selection", has the mass caught against this number. */
enum { ITERATIONS = 2 };

/* Centres of eight that start as the keys farthest from the others. */
enum { OUTLIERS = 6 };

int64_t qu_summary_scratch(int32_t n_pad, int32_t d)
{
    int64_t clusters = qu_summary_clusters(n_pad);
    return clusters * (3 * (int64_t)d + n_pad + 2) + n_pad;
}

typedef struct work {
    const float *kt;
    int32_t n, n_pad, d, clusters;
    float *mean, *dot, *half_norm; /* [C,D], [C,n_pad], [C] */
    int32_t *count, *of;           /* [C], [n] */
} work;

static void count_members(work *w)
{
    memset(w->count, 0, (size_t)w->clusters * sizeof *w->count);
    for (int32_t t = 0; t < w->n; t++) w->count[w->of[t]]++;
}

static void key_means(work *w)
{
    memset(w->mean, 0, (size_t)w->clusters * (size_t)w->d * sizeof *w->mean);
    for (int32_t i = 0; i < w->d; i++) {
        const float *row = w->kt + (int64_t)i * w->n_pad;
        for (int32_t t = 0; t < w->n; t++) w->mean[(int64_t)w->of[t] * w->d + i] += row[t];
    }
    for (int32_t c = 0; c < w->clusters; c++) {
        float *m = w->mean + (int64_t)c * w->d, norm = 0,
              inv = w->count[c] ? 1.0f / (float)w->count[c] : 0;
        for (int32_t i = 0; i < w->d; i++) {
            m[i] *= inv;
            norm += m[i] * m[i];
        }
        w->half_norm[c] = norm / 2;
    }
}

/* away [n] = squared distance of each key to centre c, or what it was if that is less. */
static void come_nearer(const work *w, int32_t c, float *away)
{
    const float *mean = w->mean + (int64_t)c * w->d;
    for (int32_t t = 0; t < w->n_pad; t++) w->dot[t] = 0;
    for (int32_t i = 0; i < w->d; i++) {
        const float *row = w->kt + (int64_t)i * w->n_pad;
        for (int32_t t = 0; t < w->n_pad; t++) w->dot[t] += (row[t] - mean[i]) * (row[t] - mean[i]);
    }
    for (int32_t t = 0; t < w->n; t++) away[t] = w->dot[t] < away[t] ? w->dot[t] : away[t];
}

/* Some centres start as means of runs of consecutive tokens, the others as the keys farthest from
 * every centre before them: a rare key, which may be what is asked for, is not lost among common
 * ones. */
static void start(work *w)
{
    int32_t outliers = w->clusters * OUTLIERS / 8, runs = w->clusters - outliers;
    float *away = w->dot + w->n_pad; /* there are two clusters at least when it is used */
    for (int32_t t = 0; t < w->n; t++) w->of[t] = t * runs / w->n;
    count_members(w);
    key_means(w);
    for (int32_t t = 0; outliers > 0 && t < w->n; t++) away[t] = 3e38f;
    for (int32_t c = 0; outliers > 0 && c < w->clusters; c++) {
        int32_t far = 0;
        for (int32_t t = 1; t < w->n; t++) far = away[t] > away[far] ? t : far;
        for (int32_t i = 0; c >= runs && i < w->d; i++)
            w->mean[(int64_t)c * w->d + i] = w->kt[(int64_t)i * w->n_pad + far];
        come_nearer(w, c, away);
    }
    for (int32_t c = runs; c < w->clusters; c++) {
        const float *mean = w->mean + (int64_t)c * w->d;
        w->half_norm[c] = 0;
        for (int32_t i = 0; i < w->d; i++) w->half_norm[c] += mean[i] * mean[i] / 2;
    }
}

/* Each token to the nearest mean that has room. The empty cluster's mean of zero is a place like
 * any other, so it may fill again. Returns whether anything moved. */
static int assign(work *w)
{
    int moved = 0;
    qu_attend_product(w->dot, w->mean, w->kt, w->clusters, w->d, w->n_pad);
    memset(w->count, 0, (size_t)w->clusters * sizeof *w->count);
    for (int32_t t = 0; t < w->n; t++) {
        int32_t best = -1;
        float least = 0;
        for (int32_t c = 0; c < w->clusters; c++) {
            float away = w->half_norm[c] - w->dot[(int64_t)c * w->n_pad + t];
            if (w->count[c] < QU_SUMMARY_CAP && (best < 0 || away < least)) {
                best = c;
                least = away;
            }
        }
        w->count[best]++;
        moved |= w->of[t] != best;
        w->of[t] = best;
    }
    return moved;
}

/* spread [C,D/2]: mean of the two dims' variances. */
static void spreads(const work *w, const qu_rope *r, float *spread)
{
    memset(spread, 0, (size_t)w->clusters * (size_t)(w->d / 2) * sizeof *spread);
    for (int32_t j = 0; j < w->d / 2; j++) {
        int32_t a, b;
        qu_rope_pair(r, j, &a, &b);
        const float *x = w->kt + (int64_t)a * w->n_pad, *y = w->kt + (int64_t)b * w->n_pad;
        for (int32_t t = 0; t < w->n; t++) {
            const float *mean = w->mean + (int64_t)w->of[t] * w->d;
            float dx = x[t] - mean[a], dy = y[t] - mean[b];
            spread[w->of[t] * (w->d / 2) + j] += dx * dx + dy * dy;
        }
    }
    for (int32_t c = 0; c < w->clusters; c++)
        for (int32_t j = 0; j < w->d / 2 && w->count[c]; j++)
            spread[c * (w->d / 2) + j] *= .5f / (float)w->count[c];
}

void qu_summary_make(void *out, const float *kt, int32_t n_pad, const float *v, int64_t ldv,
                     int32_t n, int32_t d, const qu_rope *r, float *scratch)
{
    int32_t clusters = qu_summary_clusters(n);
    float *mean_v = scratch;
    work w = {.kt = kt, .n = n, .n_pad = n_pad, .d = d, .clusters = clusters};
    float *spread = mean_v + (int64_t)clusters * d;
    w.mean = spread + (int64_t)clusters * d;
    w.dot = w.mean + (int64_t)clusters * d;
    w.half_norm = w.dot + (int64_t)clusters * n_pad;
    w.count = (int32_t *)(void *)(w.half_norm + clusters);
    w.of = w.count + clusters;
    start(&w);
    for (int i = 0; i < ITERATIONS && assign(&w); i++) key_means(&w);
    memset(mean_v, 0, (size_t)clusters * (size_t)d * sizeof *mean_v);
    for (int32_t t = 0; t < n; t++) {
        float inv = 1.0f / (float)w.count[w.of[t]], *to = mean_v + (int64_t)w.of[t] * d;
        for (int32_t i = 0; i < d; i++) to[i] += v[t * ldv + i] * inv;
    }
    spreads(&w, r, spread);
    int64_t cells = (int64_t)clusters * d;
    uint16_t *p = (uint16_t *)((uint32_t *)out + clusters);
    memset(out, 0, (size_t)qu_summary_bytes(n, d));
    memcpy(out, w.count, (size_t)clusters * sizeof *w.count);
    qu_attend_halve(p, w.mean, cells);
    qu_attend_halve(p + cells, mean_v, cells);
    qu_attend_halve(p + 2 * cells, spread, clusters * (int64_t)(d / 2));
}

void qu_summary_read(qu_summary *s, const void *in, int32_t n, int32_t d)
{
    int64_t cells = (int64_t)qu_summary_clusters(n) * d;
    s->count = in;
    s->key = (const uint16_t *)(s->count + qu_summary_clusters(n));
    s->value = s->key + cells;
    s->spread = s->value + cells;
}
