#include "kernels/tile.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/transpose_simd.h"

/* What ldtilecfg reads: eight tiles of sixteen lines of 64 bytes. Constant and in memory, since GCC
 * 12 drops stores to what it does not see read. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} layout = {.palette = 1,
            .line_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
            .lines = {16, 16, 16, 16, 16, 16, 16, 16}};

/* What bf16 leaves of x. */
static inline __m512 rest_of(__m512 x, __m256bh high)
{
    __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)high), 16);
    return _mm512_sub_ps(x, _mm512_castsi512_ps(wide));
}

/* Sixteen elements of each, rounded; rest: what that left of them, or NULL. */
static inline __m512i split(__m512 a, __m512 b, __m512i *rest)
{
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    if (rest) {
        __m256bh low = (__m256bh)_mm512_castsi512_si256(both);
        __m256bh high = (__m256bh)_mm512_extracti64x4_epi64(both, 1);
        *rest = (__m512i)_mm512_cvtne2ps_pbh(rest_of(b, high), rest_of(a, low));
    }
    return both;
}

/* The same of floats [0, n) of p, zeros behind them. */
static inline __m512i split_from(const float *p, int32_t n, __m512i *rest)
{
    uint32_t mask = n >= 32 ? ~0u : (1u << n) - 1;
    return split(_mm512_maskz_loadu_ps((__mmask16)mask, p),
                 _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), p + 16), rest);
}

static void pack_w(uint16_t *tile_row, uint16_t *rest, const float *row, int32_t k)
{
    for (int32_t i = 0, at = 0; i < k; i += QU_TILE_RUN, at += QU_TILE_SIZE) {
        __m512i left = _mm512_setzero_si512();
        _mm512_store_si512(tile_row + at, split_from(row + i, k - i, rest ? &left : NULL));
        if (rest) _mm512_store_si512(rest + at, left);
    }
}

static inline void store_turned(uint16_t *tile, __m512 r[QU_TILE])
{
    transpose_registers(r);
    for (int p = 0; p < QU_TILE; p++) _mm512_store_ps(tile + 2 * p * QU_TILE, r[p]);
}

static void pack_x(uint16_t *tile, uint16_t *rest, const float *x, int64_t ldx, int32_t n_rows,
                   int32_t k)
{
    for (int32_t i = 0, at = 0; i < k; i += QU_TILE_RUN, at += QU_TILE_SIZE) {
        __m512 r[QU_TILE], left[QU_TILE];
        for (int t = 0; t < QU_TILE; t++) {
            __m512i none = _mm512_setzero_si512();
            r[t] = _mm512_setzero_ps();
            if (t < n_rows) r[t] = (__m512)split_from(x + t * ldx + i, k - i, rest ? &none : NULL);
            left[t] = (__m512)none;
        }
        store_turned(tile + at, r);
        if (rest) store_turned(rest + at, left);
    }
}

enum { LINE = 64, C = QU_TILE * QU_TILE };

/* Two tiles by two, of one run: four sums in registers. */
#define PRODUCT(a, a_step, b, b_step)                                                              \
    _tile_loadd(4, a, LINE);                                                                       \
    _tile_loadd(6, b, LINE);                                                                       \
    _tile_dpbf16ps(0, 4, 6);                                                                       \
    _tile_loadd(7, (b) + (b_step), LINE);                                                          \
    _tile_dpbf16ps(1, 4, 7);                                                                       \
    _tile_loadd(5, (a) + (a_step), LINE);                                                          \
    _tile_dpbf16ps(2, 5, 6);                                                                       \
    _tile_dpbf16ps(3, 5, 7)

static inline __attribute__((always_inline)) void block(float *c, bool first, const uint16_t *w,
                                                        const uint16_t *w_rest, int64_t w_step,
                                                        const uint16_t *x, const uint16_t *x_rest,
                                                        int64_t x_step, int32_t runs)
{
    if (first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, c, LINE);
        _tile_loadd(1, c + C, LINE);
        _tile_loadd(2, c + 2 * C, LINE);
        _tile_loadd(3, c + 3 * C, LINE);
    }
    for (int64_t at = 0; at < (int64_t)runs * QU_TILE_SIZE; at += QU_TILE_SIZE) {
        PRODUCT(w + at, w_step, x + at, x_step);
        if (!w_rest) continue;
        PRODUCT(w_rest + at, w_step, x + at, x_step);
        PRODUCT(w + at, w_step, x_rest + at, x_step);
    }
    _tile_stored(0, c, LINE);
    _tile_stored(1, c + C, LINE);
    _tile_stored(2, c + 2 * C, LINE);
    _tile_stored(3, c + 3 * C, LINE);
}

/* c turned into rows of y: n columns from i on, n_rows rows from t on. */
static void put(const qu_tile_sums *to, const float *c, int32_t i, int32_t t)
{
    int32_t n = to->n - i < QU_TILE ? to->n - i : QU_TILE;
    __mmask16 columns = (__mmask16)((1u << n) - 1);
    __m512 r[QU_TILE], b = _mm512_setzero_ps();
    if (to->bias) b = _mm512_maskz_loadu_ps(columns, to->bias + i);
    for (int k = 0; k < QU_TILE; k++) r[k] = _mm512_load_ps(c + k * QU_TILE);
    transpose_registers(r);
    for (int k = 0; k < QU_TILE && t + k < to->n_rows; k++)
        _mm512_mask_storeu_ps(to->y + (t + k) * to->ldy + i, columns, _mm512_add_ps(r[k], b));
}

static void product(const qu_tile_sums *to, const uint16_t *w, const uint16_t *w_rest,
                    const uint16_t *x, const uint16_t *x_rest, int64_t x_step, int32_t runs)
{
    int64_t w_step = (int64_t)runs * QU_TILE_SIZE;
    if (to->last) /* y's lines come while the products are made */
        for (int32_t t = 0; t < to->n_rows; t++)
            for (int32_t i = 0; i < to->n; i += QU_TILE)
                __builtin_prefetch(to->y + t * to->ldy + i, 1);
    _tile_loadconfig(&layout);
    for (int32_t i = 0; i < to->n; i += 2 * QU_TILE) {
        int64_t at = i / QU_TILE * w_step;
        float *c = to->sums + i * 2 * QU_TILE;
        if (w_rest)
            block(c, to->first, w + at, w_rest + at, w_step, x, x_rest, x_step, runs);
        else
            block(c, to->first, w + at, NULL, w_step, x, NULL, x_step, runs);
    }
    _tile_release();
    for (int32_t i = 0; to->last && i < to->n; i += QU_TILE)
        for (int32_t t = 0; t < to->n_rows; t += QU_TILE)
            put(to, to->sums + i * 2 * QU_TILE + t * QU_TILE, i, t);
}

/* --- attention --- */

static inline void split_pair(uint16_t *high, uint16_t *low, __m512 a, __m512 b)
{
    __m512i rest;
    _mm512_store_si512(high, split(a, b, &rest));
    _mm512_store_si512(low, rest);
}

static inline void cut_pair(uint16_t *high, uint16_t *low, __m512 a, __m512 b)
{
    __m512i mask = _mm512_set1_epi32((int)0xffff0000);
    __m512i x = _mm512_and_si512((__m512i)a, mask), y = _mm512_and_si512((__m512i)b, mask);
    __m512i c = (__m512i)_mm512_sub_ps(a, (__m512)x), d = (__m512i)_mm512_sub_ps(b, (__m512)y);
    _mm512_store_si512(high, _mm512_or_si512(_mm512_srli_epi32(x, 16), y));
    d = _mm512_and_si512(d, mask);
    _mm512_store_si512(low, _mm512_or_si512(_mm512_srli_epi32(c, 16), d));
}

static inline void split_rows(uint16_t *high, uint16_t *low, __m512 a, __m512 b)
{
    __m256bh x = _mm512_cvtneps_pbh(a), y = _mm512_cvtneps_pbh(b);
    __m512i even = _mm512_cvtepu16_epi32((__m256i)x), odd = _mm512_cvtepu16_epi32((__m256i)y);
    _mm512_store_si512(high, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    x = _mm512_cvtneps_pbh(rest_of(a, x));
    y = _mm512_cvtneps_pbh(rest_of(b, y));
    even = _mm512_cvtepu16_epi32((__m256i)x), odd = _mm512_cvtepu16_epi32((__m256i)y);
    _mm512_store_si512(low, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
}

static inline void split_product(float *c, int64_t ldc, const uint16_t *a_high,
                                 const uint16_t *a_low, const uint16_t *b_high,
                                 const uint16_t *b_low, int64_t b_step, int32_t runs, bool both)
{
    int64_t a_step = (int64_t)runs * QU_TILE_SIZE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t at = 0; at < a_step; at += QU_TILE_SIZE) {
        PRODUCT(a_high + at, a_step, b_high + at, b_step);
        PRODUCT(a_low + at, a_step, b_high + at, b_step);
        PRODUCT(a_high + at, a_step, b_low + at, b_step);
    }
    _tile_stored(0, c, 4 * ldc);
    _tile_stored(2, c + QU_TILE * ldc, 4 * ldc);
    if (!both) return;
    _tile_stored(1, c + QU_TILE, 4 * ldc);
    _tile_stored(3, c + QU_TILE * ldc + QU_TILE, 4 * ldc);
}

static void tiles_begin(void)
{
    _tile_loadconfig(&layout);
}
static void tiles_end(void)
{
    _tile_release();
}
#include "kernels/attend_tiles_simd.h"

const qu_tile_ops qu_tile_amx = {pack_w, pack_x, product, tiles_queries, tiles_page};

#endif
