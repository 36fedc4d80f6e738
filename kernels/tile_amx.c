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

/* Floats [0, n) of p and [16, n) behind them, as 32 elements in bf16. */
static inline __m512i in_bf16(const float *p, int32_t n)
{
    uint32_t mask = n >= 32 ? ~0u : (1u << n) - 1;
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, p);
    __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), p + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void pack_w(uint16_t *tile_row, const float *row, int32_t k)
{
    for (int32_t i = 0; i < k; i += QU_TILE_RUN, tile_row += QU_TILE_SIZE)
        _mm512_store_si512(tile_row, in_bf16(row + i, k - i));
}

static void pack_x(uint16_t *tile, const float *x, int64_t ldx, int32_t n_rows, int32_t k)
{
    for (int32_t i = 0; i < k; i += QU_TILE_RUN, tile += QU_TILE_SIZE) {
        __m512 r[QU_TILE];
        for (int t = 0; t < QU_TILE; t++)
            r[t] = t < n_rows ? (__m512)in_bf16(x + t * ldx + i, k - i) : _mm512_setzero_ps();
        transpose_registers(r);
        for (int p = 0; p < QU_TILE; p++) _mm512_store_ps(tile + 2 * p * QU_TILE, r[p]);
    }
}

enum { LINE = 64, C = QU_TILE * QU_TILE };

/* Two tiles of W by two of x: four sums in registers. */
static inline void block(float *c, bool first, const uint16_t *w, int64_t w_step, const uint16_t *x,
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
    for (int32_t r = 0; r < runs; r++, w += QU_TILE_SIZE, x += QU_TILE_SIZE) {
        _tile_loadd(4, w, LINE);
        _tile_loadd(6, x, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, x + x_step, LINE);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, w + w_step, LINE);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
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

static void product(const qu_tile_sums *to, const uint16_t *w, const uint16_t *x, int64_t x_step,
                    int32_t runs)
{
    int64_t w_step = (int64_t)runs * QU_TILE_SIZE;
    if (to->last) /* y's lines come while the products are made */
        for (int32_t t = 0; t < to->n_rows; t++)
            for (int32_t i = 0; i < to->n; i += QU_TILE)
                __builtin_prefetch(to->y + t * to->ldy + i, 1);
    _tile_loadconfig(&layout);
    for (int32_t i = 0; i < to->n; i += 2 * QU_TILE)
        block(to->sums + i * 2 * QU_TILE, to->first, w + i / QU_TILE * w_step, w_step, x, x_step,
              runs);
    _tile_release();
    for (int32_t i = 0; to->last && i < to->n; i += QU_TILE)
        for (int32_t t = 0; t < to->n_rows; t += QU_TILE)
            put(to, to->sums + i * 2 * QU_TILE + t * QU_TILE, i, t);
}

/* --- attention --- */

/* What bf16 leaves of x. */
static inline __m512 rest_of(__m512 x, __m256bh high)
{
    __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)high), 16);
    return _mm512_sub_ps(x, _mm512_castsi512_ps(wide));
}

static inline void split_pair(uint16_t *high, uint16_t *low, __m512 a, __m512 b)
{
    __m256bh x = _mm512_cvtneps_pbh(a), y = _mm512_cvtneps_pbh(b);
    _mm256_store_si256((__m256i *)high, (__m256i)x);
    _mm256_store_si256((__m256i *)(high + 16), (__m256i)y);
    _mm512_store_si512(low, (__m512i)_mm512_cvtne2ps_pbh(rest_of(b, y), rest_of(a, x)));
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
    for (int32_t r = 0; r < runs; r++) {
        int64_t at = (int64_t)r * QU_TILE_SIZE;
        _tile_loadd(4, a_high + at, LINE);
        _tile_loadd(5, a_high + at + a_step, LINE);
        _tile_loadd(6, b_high + at, LINE);
        _tile_loadd(7, b_high + at + b_step, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(4, a_low + at, LINE);
        _tile_loadd(5, a_low + at + a_step, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(4, a_high + at, LINE);
        _tile_loadd(5, a_high + at + a_step, LINE);
        _tile_loadd(6, b_low + at, LINE);
        _tile_loadd(7, b_low + at + b_step, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
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
