#include "kernels/summary.h"

#include <math.h>
#include <string.h>

#include "base/dims.h"
#include "kernels/attend.h"
#include "kernels/ops_simd.h"
#include "kernels/quant.h"

/* Lloyd's iterations. BENCHMARKS.md, "Selection", has the mass caught against this number. */
enum { ITERATIONS = 4 };

int64_t qu_summary_scratch(int32_t n_pad, int32_t d)
{
    int64_t clusters = qu_summary_clusters(n_pad);
    return clusters * (qu_summary_width(d) + (int64_t)d + n_pad + 2) + n_pad;
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
    int32_t outliers = w->clusters / 2, runs = w->clusters - outliers;
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

/* cell [C,W] behind the keys' and values' means: mean of the two dims' variances. */
static void spreads(const work *w, const qu_rope *r, float *cell)
{
    int32_t width = qu_summary_width(w->d);
    for (int32_t j = 0; j < w->d / 2; j++) {
        int32_t a, b;
        qu_rope_pair(r, j, &a, &b);
        const float *x = w->kt + (int64_t)a * w->n_pad, *y = w->kt + (int64_t)b * w->n_pad;
        for (int32_t t = 0; t < w->n; t++) {
            const float *mean = w->mean + (int64_t)w->of[t] * w->d;
            float dx = x[t] - mean[a], dy = y[t] - mean[b];
            cell[w->of[t] * width + 2 * w->d + j] +=
                (dx * dx + dy * dy) * .5f / (float)w->count[w->of[t]];
        }
    }
}

/* cell [C,W] in bytes, each column between its least and its largest number. */
static void put(void *out, const float *cell, const int32_t *count, int32_t clusters, int32_t width)
{
    uint16_t *range = out;
    uint8_t *byte = (uint8_t *)(range + 2 * width);
    for (int32_t j = 0; j < width; j++) {
        float ends[2] = {INFINITY, -INFINITY};
        uint16_t h[2];
        for (int32_t c = 0; c < clusters; c++) {
            float x = cell[(int64_t)c * width + j];
            if (count[c] && x < ends[0]) ends[0] = x;
            if (count[c] && x > ends[1]) ends[1] = x;
        }
        qu_attend_halve(h, ends, 2);
        range[j] = h[0];
        range[width + j] = h[1];
        float lo = qu_f16_to_f32(h[0]), step = (qu_f16_to_f32(h[1]) - lo) / 255;
        for (int32_t c = 0; c < clusters; c++) {
            float x = step > 0 ? (cell[(int64_t)c * width + j] - lo) / step + .5f : 0;
            byte[(int64_t)c * width + j] = x > 0 ? (x < 255 ? (uint8_t)x : 255) : 0;
        }
    }
    for (int32_t c = 0; c < clusters; c++) byte[clusters * width + c] = (uint8_t)count[c];
}

void qu_summary_make(void *out, const float *kt, int32_t n_pad, const float *v, int64_t ldv,
                     int32_t n, int32_t d, const qu_rope *r, float *scratch)
{
    int32_t clusters = qu_summary_clusters(n), width = qu_summary_width(d);
    float *cell = scratch;
    work w = {.kt = kt, .n = n, .n_pad = n_pad, .d = d, .clusters = clusters};
    w.mean = cell + (int64_t)clusters * width;
    w.dot = w.mean + (int64_t)clusters * d;
    w.half_norm = w.dot + (int64_t)clusters * n_pad;
    w.count = (int32_t *)(void *)(w.half_norm + clusters);
    w.of = w.count + clusters;
    start(&w);
    for (int i = 0; i < ITERATIONS && assign(&w); i++) key_means(&w);
    memset(cell, 0, (size_t)clusters * (size_t)width * sizeof *cell);
    for (int32_t c = 0; c < clusters; c++)
        memcpy(cell + (int64_t)c * width, w.mean + (int64_t)c * d, (size_t)d * sizeof *cell);
    for (int32_t t = 0; t < n; t++) {
        float inv = 1.0f / (float)w.count[w.of[t]], *to = cell + (int64_t)w.of[t] * width + d;
        for (int32_t i = 0; i < d; i++) to[i] += v[t * ldv + i] * inv;
    }
    spreads(&w, r, cell);
    memset(out, 0, (size_t)qu_summary_bytes(n, d));
    put(out, cell, w.count, clusters, width);
}

void qu_summary_read(qu_summary *s, const void *in, int32_t n, int32_t d, float *cells)
{
    int32_t clusters = qu_summary_clusters(n), width = qu_summary_width(d);
    const uint16_t *range = in;
    const uint8_t *byte = (const uint8_t *)(range + 2 * width);
    float lo[5 * QU_MAX_HEAD_SIZE / 2], step[5 * QU_MAX_HEAD_SIZE / 2];
    float *part[3] = {cells, cells + (int64_t)clusters * d, cells + 2ll * clusters * d};
    *s = (qu_summary){part[0], part[1], part[2], byte + (int64_t)clusters * width};
    for (int32_t j = 0; j < width; j++) {
        lo[j] = qu_f16_to_f32(range[j]);
        step[j] = (qu_f16_to_f32(range[width + j]) - lo[j]) / 255;
    }
    for (int32_t c = 0; c < clusters; c++, byte += width)
        for (int32_t i = 0; i < 3; i++) {
            int32_t from = i * d, columns = i < 2 ? d : d / 2;
            for (int32_t j = 0; j < columns; j++)
                part[i][j] = lo[from + j] + step[from + j] * (float)byte[from + j];
            part[i] += columns;
        }
}

void qu_summary_place(const void *in, int32_t n, int32_t d, const qu_rope *r, const float *c,
                      const float *s, float *kt, float *v, float *spread, int32_t ld, float *bias)
{
    const qu_summary_ops *ops = QU_ISA_PICK(qu_summary_ops);
    int32_t clusters = qu_summary_clusters(n), width = qu_summary_width(d);
    const uint8_t *byte = (const uint8_t *)((const uint16_t *)in + 2 * width);
    const uint8_t *count = byte + (int64_t)clusters * width;
    float lo[5 * QU_MAX_HEAD_SIZE / 2], step[5 * QU_MAX_HEAD_SIZE / 2];
    ops->range(lo, step, in, width);
    ops->columns(kt, ld, byte, width, lo, step, d, clusters);
    ops->rows(v, qu_attend_pad(d), byte + d, width, lo + d, step + d, d, clusters);
    ops->columns(spread, ld, byte + 2 * d, width, lo + 2 * d, step + 2 * d, d / 2, clusters);
    for (int32_t j = 0; j < qu_rope_pairs(r); j++) {
        int32_t a, b;
        qu_rope_pair(r, j, &a, &b);
        ops->turn(kt + (int64_t)a * ld, kt + (int64_t)b * ld, c[j], s[j], clusters);
    }
    for (int32_t i = 0; i < clusters; i++)
        bias[i] = count[i] > 0 ? logf((float)count[i]) : -INFINITY;
}
