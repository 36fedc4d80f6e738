#include "kernels/attend.h"

#include <math.h>
#include <string.h>

#include "kernels/ops_simd.h"
#include "kernels/tile.h"

void qu_attend_reset(qu_attend_state *s, int32_t rows, int32_t dp)
{
    memset(s->o, 0, (size_t)rows * (size_t)dp * sizeof *s->o);
    for (int32_t r = 0; r < rows; r++) {
        s->m[r] = -INFINITY;
        s->l[r] = 0;
    }
}

void qu_attend_page(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *kv, const int32_t *visible, float *scratch)
{
    QU_ISA_PICK(qu_attend_ops)->page(part, q, ldq, rows, d, kv, visible, scratch);
}

/* Elements of one half of the queries, in tiles. */
static int64_t half_of_queries(int32_t rows, int32_t d)
{
    int64_t strips = (rows + QU_ATTEND_STRIP - 1) / QU_ATTEND_STRIP;
    return strips * QU_ATTEND_STRIP * qu_tile_runs(d) * QU_TILE_RUN;
}

int64_t qu_attend_tiles_bytes(int32_t rows, int32_t d)
{
    return half_of_queries(rows, d) * 2 * (int64_t)sizeof(uint16_t);
}

int64_t qu_attend_tiles_scratch(int32_t d)
{
    int64_t k_and_v = 4ll * qu_tile_runs(d) * QU_TILE_RUN * QU_ATTEND_COLUMNS;
    return (k_and_v + 2ll * QU_ATTEND_STRIP * QU_ATTEND_COLUMNS) * (int64_t)sizeof(uint16_t) +
           (int64_t)QU_ATTEND_STRIP * (QU_ATTEND_COLUMNS + QU_TILE) * (int64_t)sizeof(float);
}

void qu_attend_tiles_queries(void *packed, const float *q, int64_t ldq, int32_t rows, int32_t d)
{
    uint16_t *high = packed;
    qu_tile()->queries(high, high + half_of_queries(rows, d), q, ldq, rows, d);
}

void qu_attend_tiles_page(qu_attend_state *part, const void *packed, int32_t rows, int32_t d,
                          const qu_attend_kv *kv, const int32_t *visible, void *scratch)
{
    const uint16_t *high = packed;
    qu_tile()->page(part, high, high + half_of_queries(rows, d), rows, d, kv, visible, scratch);
}

void qu_attend_mass(float *mass, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *parts, int32_t n_parts, const float *q2, float *scratch)
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_parts; i++) n += parts[i].n_pad;
    float *m = scratch + (int64_t)rows * n * 2, *l = m + rows;
    QU_ISA_PICK(qu_attend_ops)->mass(scratch, m, l, q, ldq, rows, d, parts, n_parts, n, q2);
    for (int32_t r = 0; r < rows; r++) {
        const float *w = scratch + (int64_t)r * n;
        float inv = l[r] > 0 ? 1 / l[r] : 0;
        for (int32_t j = 0; j < n; j++) mass[j] += w[j] * inv;
    }
}

void qu_attend_product(float *c, const float *a, const float *b, int32_t rows, int32_t depth,
                       int32_t cols)
{
    QU_ISA_PICK(qu_attend_ops)->product(c, a, b, rows, depth, cols);
}

static int64_t matrix_bytes(qu_attend_type type, int32_t rows, int32_t columns, int32_t channels)
{
    int64_t n = (int64_t)rows * columns;
    if (type == QU_ATTEND_BYTES) return n + 8ll * channels;
    return type == QU_ATTEND_HALVES ? 2 * n : 4 * n;
}

int64_t qu_attend_kt_bytes(qu_attend_type type, int32_t d, int32_t n_pad)
{
    int32_t dp = qu_attend_pad(d);
    return matrix_bytes(type, type == QU_ATTEND_BYTES ? dp : d, n_pad, dp);
}

int64_t qu_attend_v_bytes(qu_attend_type type, int32_t d, int32_t n_pad)
{
    return matrix_bytes(type, n_pad, qu_attend_pad(d), qu_attend_pad(d));
}

/* n elements of another type than bytes. */
static void pack_plain(qu_attend_type type, void *to, const float *x, int64_t n)
{
    if (type == QU_ATTEND_HALVES) qu_attend_halve(to, x, n);
    else memcpy(to, x, (size_t)n * sizeof *x);
}

void qu_attend_pack_kt(qu_attend_type type, void *kt, const float *x, int32_t n, int32_t n_pad,
                       int32_t d)
{
    if (type == QU_ATTEND_BYTES) QU_ISA_PICK(qu_attend_ops)->pack_kt(kt, x, n, n_pad, d);
    else pack_plain(type, kt, x, (int64_t)d * n_pad);
}

void qu_attend_pack_v(qu_attend_type type, void *v, const float *x, int32_t n, int32_t n_pad,
                      int32_t d)
{
    if (type == QU_ATTEND_BYTES) QU_ISA_PICK(qu_attend_ops)->pack_v(v, x, n, n_pad, d);
    else pack_plain(type, v, x, (int64_t)n_pad * qu_attend_pad(d));
}

void qu_attend_halve(uint16_t *out, const float *x, int64_t n)
{
    QU_ISA_PICK(qu_attend_ops)->halve(out, x, n);
}

void qu_attend_merge(qu_attend_state *acc, const qu_attend_state *part, int32_t rows, int32_t dp)
{
    QU_ISA_PICK(qu_attend_ops)->merge(acc, part, rows, dp);
}

void qu_attend_finish(float *out, int64_t ldo, float *lse_ln, const qu_attend_state *s,
                      int32_t rows, int32_t d)
{
    int32_t dp = qu_attend_pad(d);
    for (int32_t r = 0; r < rows; r++) {
        bool empty = s->m[r] == -INFINITY;
        float inv = empty ? 0 : 1 / s->l[r];
        for (int32_t i = 0; i < d; i++) out[r * ldo + i] = s->o[(int64_t)r * dp + i] * inv;
        if (lse_ln) lse_ln[r] = empty ? -INFINITY : s->m[r] + logf(s->l[r]);
    }
}

void qu_attend_ref(float *out, double *lse_ln, const float *q, const float *k, const float *v,
                   int32_t n, int32_t d)
{
    double m = -INFINITY, l = 0, o[1024] = {0};
    for (int32_t i = 0; i < n; i++) {
        double s = 0;
        for (int32_t j = 0; j < d; j++) s += (double)q[j] * k[(int64_t)i * d + j];
        double next = s > m ? s : m, scale = exp(m - next), w = exp(s - next);
        for (int32_t j = 0; j < d; j++) o[j] = o[j] * scale + w * v[(int64_t)i * d + j];
        l = l * scale + w;
        m = next;
    }
    for (int32_t j = 0; j < d; j++) out[j] = n > 0 ? (float)(o[j] / l) : 0;
    if (lse_ln) *lse_ln = n > 0 ? m + log(l) : -INFINITY;
}
