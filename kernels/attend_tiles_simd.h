/* Attention over a page as products of tiles: one text for the tile unit and for its reference,
 * which bring
 *     split_pair(high, low, a, b)    32 elements of a row, both halves of each
 *     cut_pair(high, low, a, b)      the same, cheaper: cut off instead of rounded, element i of a
 *                                    beside i of b
 *     split_rows(high, low, a, b)    16 columns of two rows, pair by pair
 *     split_product(c, ...)          32 rows by two tiles of columns
 * Private to kernels/tile.c and kernels/tile_amx.c.
 *
 * A number is the sum of two in bf16, sixteen bits in all; of a product of two such numbers the
 * lowest part is left out (arXiv:1904.06376, section 2). So scores err by some 2^-16 of their
 * largest term, outputs by 2^-15 of the largest value, where f32 has 2^-24: no more than keys and
 * values in halves lose.
 */
#ifndef QU_KERNELS_ATTEND_TILES_SIMD_H
#define QU_KERNELS_ATTEND_TILES_SIMD_H

#include "kernels/simd.h"
#include "kernels/tile.h"

/* What a page needs: both halves of its keys and values, of a strip's scores and weights. */
typedef struct tiles_scratch {
    uint16_t *k[2], *v[2], *w[2];
    float *scores;
} tiles_scratch;

static tiles_scratch lay_out(void *memory, int32_t d)
{
    tiles_scratch s;
    uint16_t *p = memory;
    int64_t kv = (int64_t)qu_tile_runs(d) * QU_TILE_RUN * QU_ATTEND_COLUMNS;
    for (int i = 0; i < 2; i++) {
        s.k[i] = p + i * kv;
        s.v[i] = p + (2 + i) * kv;
        s.w[i] = p + 4 * kv + (int64_t)i * QU_ATTEND_STRIP * QU_ATTEND_COLUMNS;
    }
    s.scores = (float *)(void *)(p + 4 * kv + 2 * QU_ATTEND_STRIP * QU_ATTEND_COLUMNS);
    return s;
}

#define LOG2_E 1.44269504f

/* Rows of q [rows,ldq] times log2 e in tiles of sixteen, both halves; rows of the last strip
 * zero. */
static void tiles_queries(uint16_t *high, uint16_t *low, const float *q, int64_t ldq, int32_t rows,
                          int32_t d)
{
    int64_t step = (int64_t)qu_tile_runs(d) * QU_TILE_SIZE;
    for (int32_t r = 0; r < (rows + QU_ATTEND_STRIP - 1) / QU_ATTEND_STRIP * QU_ATTEND_STRIP; r++)
        for (int32_t i = 0; i < d; i += QU_TILE_RUN) {
            const float *x = q + r * ldq + i;
            int32_t n = r < rows ? d - i : 0;
            int64_t at =
                r / QU_TILE * step + i / QU_TILE_RUN * QU_TILE_SIZE + r % QU_TILE * QU_TILE_RUN;
            vf a = n > 0 ? vf_load_n(x, n, 0) : vf_zero();
            vf b = n > QU_LANES ? vf_load_n(x + QU_LANES, n - QU_LANES, 0) : vf_zero();
            split_pair(high + at, low + at, vf_mul(a, vf_set1(LOG2_E)), vf_mul(b, vf_set1(LOG2_E)));
        }
}

VF vf load_row(const void *x, int64_t at, const bool half)
{
    return half ? vf_load_f16((const uint16_t *)x + at) : vf_load((const float *)x + at);
}

/* Rows [0, depth) of x, ld elements apart, in tiles of sixteen columns and of pairs of rows: of a
 * run's rows next to each other, or (for what cut_pair's order meets) of sixteen apart. Rows of the
 * last run that are not there are zero. */
VF void split_matrix(uint16_t *high, uint16_t *low, const void *x, int64_t ld, int32_t depth,
                     int32_t columns, const bool half, const bool apart)
{
    int64_t step = (int64_t)qu_tile_runs(depth) * QU_TILE_SIZE;
    for (int32_t i = 0; i < qu_tile_runs(depth) * QU_TILE_RUN / 2; i++) {
        int32_t r = apart ? i / QU_TILE * QU_TILE_RUN + i % QU_TILE : 2 * i;
        int32_t s = r + (apart ? QU_TILE : 1);
        for (int32_t c = 0; c < columns; c += QU_TILE) {
            vf a = r < depth ? load_row(x, r * ld + c, half) : vf_zero();
            vf b = s < depth ? load_row(x, s * ld + c, half) : vf_zero();
            int64_t at = c / QU_TILE * step + (int64_t)i * QU_TILE_RUN;
            split_rows(high + at, low + at, a, b);
        }
    }
}

/* c [QU_ATTEND_STRIP, columns] = rows by a matrix of so many tiles of columns, both split. */
VF void tiles_product(float *c, int64_t ldc, uint16_t *const a[2], uint16_t *const b[2],
                      int32_t runs, int32_t columns)
{
    int64_t step = (int64_t)runs * QU_TILE_SIZE;
    for (int32_t j = 0; j < columns / QU_TILE; j += 2) {
        bool both = j + 1 < columns / QU_TILE;
        split_product(c + j * QU_TILE, ldc, a[0], a[1], b[0] + j * step, b[1] + j * step,
                      both ? step : 0, runs, both);
    }
}

/* 2^x for x <= 0 within 2^-18, as much as is kept; 0 below -100, so that nothing is denormal, which
 * is slow; 0 of a NaN too. */
VF vf near_exp2(vf x)
{
    vf least = vf_set1(-100), y = vf_max(x, vf_set1(-101)), n = vf_round(y), r = vf_sub(y, n);
    vf p = vf_fma(vf_set1(9.570101791e-3f), r, vf_set1(5.591786031e-2f));
    p = vf_fma(p, r, vf_set1(2.402474483e-1f));
    p = vf_fma(p, r, vf_set1(6.931218147e-1f));
    p = vf_fma(p, r, vf_set1(9.999992614e-1f));
    return vf_select_lt(y, least, vf_zero(), vf_scale(p, n));
}

/* Scores of a row, to base 2, become weights 2^(s - max), split; zero beyond visible; m is in
 * natural logarithms. cols a multiple of 16. */
VF void tiles_weigh(uint16_t *high, uint16_t *low, float *s, int32_t visible, int32_t cols,
                    const float *bias, float *m, float *l)
{
    vf top = vf_set1(-INFINITY), sum = vf_zero();
    for (int32_t i = 0; bias && i < cols; i += QU_LANES)
        vf_store(s + i, vf_fma(vf_load(bias + i), vf_set1(LOG2_E), vf_load(s + i)));
    for (int32_t i = visible < 0 ? 0 : visible; i < cols; i++) s[i] = -INFINITY;
    if (cols % QU_TILE_RUN) vf_store(s + cols, vf_set1(-INFINITY));
    for (int32_t i = 0; i < cols; i += QU_LANES) top = vf_max(vf_load(s + i), top);
    float most = vf_hmax(top);
    vf max = vf_set1(most > -3e38f ? most : -3e38f); /* all hidden: no -INF - -INF */
    for (int32_t i = 0; i < cols; i += QU_TILE_RUN) {
        int64_t at = (int64_t)i / QU_TILE_RUN * QU_TILE_SIZE;
        vf a = near_exp2(vf_sub(vf_load(s + i), max));
        vf b = near_exp2(vf_sub(vf_load(s + i + QU_LANES), max));
        sum = vf_add(sum, vf_add(a, b));
        cut_pair(high + at, low + at, a, b);
    }
    *m = most / LOG2_E;
    *l = vf_sum(sum);
}

static void tiles_page(qu_attend_state *part, const uint16_t *q_high, const uint16_t *q_low,
                       int32_t rows, int32_t d, const qu_attend_kv *kv, const int32_t *visible,
                       void *scratch)
{
    tiles_scratch s = lay_out(scratch, d);
    int32_t cols = (kv->n + QU_TILE - 1) / QU_TILE * QU_TILE, dp = qu_attend_pad(d);
    int32_t deep = qu_tile_runs(d), wide = qu_tile_runs(cols), lds = wide * QU_TILE_RUN + QU_TILE;
    if (kv->type == QU_ATTEND_HALVES) {
        split_matrix(s.k[0], s.k[1], kv->kt, kv->n_pad, d, cols, true, false);
        split_matrix(s.v[0], s.v[1], kv->v, dp, kv->n, dp, true, true);
    } else {
        split_matrix(s.k[0], s.k[1], kv->kt, kv->n_pad, d, cols, false, false);
        split_matrix(s.v[0], s.v[1], kv->v, dp, kv->n, dp, false, true);
    }
    tiles_begin();
    for (int32_t r = 0; r < rows; r += QU_ATTEND_STRIP) {
        int64_t at = (int64_t)r / QU_TILE * deep * QU_TILE_SIZE;
        uint16_t *const q[2] = {(uint16_t *)q_high + at, (uint16_t *)q_low + at};
        tiles_product(s.scores, lds, q, s.k, deep, cols);
        for (int32_t i = 0; i < QU_ATTEND_STRIP && r + i < rows; i++) {
            int64_t w = ((int64_t)(i / QU_TILE) * wide * QU_TILE + i % QU_TILE) * QU_TILE_RUN;
            tiles_weigh(s.w[0] + w, s.w[1] + w, s.scores + i * lds,
                        visible ? visible[r + i] : kv->n, cols, kv->bias, &part->m[r + i],
                        &part->l[r + i]);
        }
        tiles_product(part->o + (int64_t)r * dp, dp, s.w, s.v, wide, dp);
    }
    tiles_end();
}

#endif
