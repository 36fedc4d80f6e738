#include "kernels/summary.h"

#include <string.h>

#include "kernels/attend.h"

/* Lloyd's iterations. BENCHMARKS.md, "Selection", has the mass caught against this number. */
enum { ITERATIONS = 2 };

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
    for (int32_t t = 0; t < n; t++) w.of[t] = t * clusters / n;
    count_members(&w);
    key_means(&w);
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
