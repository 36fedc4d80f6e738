/* Attention over pages and clusters held in bytes. Private to attend_simd.c.
 *
 *     pack_rows(range, bytes, kt, d, dp, n, n_pad);    // a matrix as attend.h has it
 *     byte_split(&a, x, n, unit);                      // x = unit * (256 high + low)
 *     byte_product(c, ldc, a, rows, b, next, depth, cols);   // whole numbers times bytes
 *
 * A row of queries or weights becomes whole numbers of 15 bits and a sign, in two parts of a byte
 * each, so that what is lost is what the pages lost when they became bytes. Sums of whole numbers
 * are exact, hence the same on every instruction set and for any blocking of rows. Four depths of a
 * column lie side by side: the four products that one lane of vpdpbusd adds up.
 */
#ifndef QU_KERNELS_ATTEND_BYTES_SIMD_H
#define QU_KERNELS_ATTEND_BYTES_SIMD_H

#include "base/dims.h"
#include "kernels/whole_simd.h"

/* Rows that share what is loaded; vectors of a tile. */
#if defined(__AVX512F__)
enum { BYTE_ROWS = 3, BYTE_TILE = 2 };
#else
enum { BYTE_ROWS = 3, BYTE_TILE = 1 };
#endif

#if defined(__AVX512F__)
typedef __m512i vb;
VF vb vb_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
/* The instruction takes bytes unsigned: what counting from -128 added. */
VF vi vi_added(int32_t sum_of_a) { return vi_set1(128 * sum_of_a); }
VF vi vi_dot(vi sum, vb b, int32_t four) { return _mm512_dpbusd_epi32(sum, b, vi_set1(four)); }
#elif defined(__AVX2__)
typedef vi vb;
VF vb vb_load(const uint8_t *p)
{
    const __m256i from = _mm256_set1_epi8((char)0x80), *q = (const __m256i *)p;
    return (vb){_mm256_loadu_si256(q) ^ from, _mm256_loadu_si256(q + 1) ^ from};
}
VF vi vi_added(int32_t sum_of_a)
{
    (void)sum_of_a;
    return vi_set1(0);
}
VF __m256i dot8(__m256i sum, __m256i b, __m256i a) /* 128 * 127 twice fits a half word */
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
VF vi vi_dot(vi sum, vb b, int32_t four)
{
    __m256i a = _mm256_set1_epi32(four);
    return (vi){dot8(sum.a, b.a, a), dot8(sum.b, b.b, a)};
}
#else
typedef struct vb {
    uint8_t b[64];
} vb;
VF vb vb_load(const uint8_t *p)
{
    vb b;
    memcpy(&b, p, sizeof b);
    return b;
}
VF vi vi_added(int32_t sum_of_a) { return vi_set1(0 * sum_of_a); }
VF vi vi_dot(vi sum, vb b, int32_t four)
{
    int8_t a[4];
    memcpy(a, &four, sizeof a);
    for (int i = 0; i < QU_LANES; i++)
        for (int j = 0; j < 4; j++) sum[i] += a[j] * (b.b[4 * i + j] - 128);
    return sum;
}
#endif

/* --- making --- */

VF vf within_halves(vf x) { return vf_min(vf_max(x, vf_set1(-65504.0f)), vf_set1(65504.0f)); }

/* Sixteen columns of four depths, each (x - mid) * inverse in whole numbers from -127 to 127. */
VF void put_four(uint8_t *out, const float *x, int64_t ldx, const int rows, const vf *mid,
                 const vf *inverse)
{
    vi all = vi_set1(0);
    for (int j = 3; j >= 0; j--) {
        vi u = vi_set1(128);
        if (j < rows) {
            vf y = vf_mul(vf_sub(within_halves(vf_load(x + j * ldx)), mid[j]), inverse[j]);
            u = vi_add(u, vi_of(vf_min(vf_max(y, vf_set1(-127)), vf_set1(127))));
        }
        all = vi_add(vi_left(all, 8), u);
    }
    vi_store(out, all);
}

/* mid and step of a channel, and what divides by the step. */
VF void set_range(vf least, vf most, vf *mid, vf *step, vf *inverse)
{
    vf zero = vf_zero(), tiny = vf_set1(1e-30f);
    *mid = vf_mul(vf_add(least, most), vf_set1(.5f));
    *step = vf_mul(vf_sub(most, least), vf_set1(1.0f / 254));
    *inverse = vf_select_lt(*step, tiny, zero, vf_div(vf_set1(1), vf_max(*step, tiny)));
}

/* Channels are rows: x [d,n_pad], range over its first n columns. */
VF void pack_rows(float *range, uint8_t *bytes, const float *x, int32_t d, int32_t dp, int32_t n,
                  int32_t n_pad)
{
    for (int32_t i = 0; i < dp; i += 4) {
        vf mid[4], inverse[4], step;
        int rows = d - i < 0 ? 0 : d - i < 4 ? d - i : 4;
        for (int j = 0; j < 4; j++) {
            const float *row = x + (int64_t)(i + j) * n_pad;
            vf least = vf_zero(), most = vf_zero();
            if (j < rows) least = most = within_halves(vf_set1(row[0]));
            for (int32_t t = 0; j < rows && t < n; t += QU_LANES) {
                vf y = within_halves(vf_load_n(row + t, n - t, row[0]));
                least = vf_min(least, y);
                most = vf_max(most, y);
            }
            least = vf_set1(-vf_hmax(vf_sub(vf_zero(), least)));
            most = vf_set1(vf_hmax(most));
            set_range(least, most, &mid[j], &step, &inverse[j]);
            vf_store_n(range + i + j, mid[j], 1);
            vf_store_n(range + dp + i + j, step, 1);
        }
        for (int32_t t = 0; t < n_pad; t += QU_LANES)
            put_four(bytes + ((int64_t)t * dp + i * QU_LANES), x + (int64_t)i * n_pad + t, n_pad,
                     rows, mid, inverse);
    }
}

/* Channels are columns: x [n_pad,dp], range over its first n rows. */
VF void pack_columns(float *range, uint8_t *bytes, const float *x, int32_t dp, int32_t n,
                     int32_t n_pad)
{
    for (int32_t c = 0; c < dp; c += QU_LANES) {
        vf least = within_halves(vf_load(x + c)), most = least, mid[4], inverse[4], step;
        for (int32_t t = 1; t < n; t++) {
            vf y = within_halves(vf_load(x + (int64_t)t * dp + c));
            least = vf_min(least, y);
            most = vf_max(most, y);
        }
        set_range(least, most, &mid[0], &step, &inverse[0]);
        vf_store(range + c, mid[0]);
        vf_store(range + dp + c, step);
        for (int j = 1; j < 4; j++) mid[j] = mid[0], inverse[j] = inverse[0];
        for (int32_t t = 0; t < n_pad; t += 4, bytes += 4 * QU_LANES)
            put_four(bytes, x + (int64_t)t * dp + c, dp, 4, mid, inverse);
    }
}

/* --- reading --- */

/* A row in whole numbers 256 high + low, and their sum. */
typedef struct byte_row {
    int8_t high[QU_MAX_HEAD_SIZE], low[QU_MAX_HEAD_SIZE];
    int32_t sum;
    float unit; /* what a whole number stands for */
} byte_row;

enum { BYTE_MOST = 127 * 256 };

VF void byte_put(byte_row *a, int32_t i, vi whole)
{
    vi_store_i8(a->high + i, vi_right(vi_add(whole, vi_set1(128)), 8));
    vi_store_i8(a->low + i, whole);
}

/* x [n] / unit, n a multiple of 16, at most BYTE_MOST either way. */
VF void byte_split(byte_row *a, const float *x, int32_t n, float unit)
{
    vf inverse = vf_set1(1 / unit), most = vf_set1(BYTE_MOST), least = vf_set1(-BYTE_MOST);
    vi sum = vi_set1(0);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vi whole = vi_of(vf_min(vf_max(vf_mul(vf_load(x + i), inverse), least), most));
        byte_put(a, i, whole);
        sum = vi_add(sum, whole);
    }
    a->sum = vi_sum(sum);
    a->unit = unit;
}

/* A row's scores, n in whole numbers, in place: fma(score, unit, base) + bias, -INF from visible
 * on; the largest. */
VF float byte_scores(float *w, int32_t n, float unit, float base, const float *bias,
                     int32_t visible)
{
    vf top = vf_set1(-INFINITY), u = vf_set1(unit), start = vf_set1(base);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf y = vf_fma(vf_load(w + i), u, start);
        if (bias) y = vf_add(y, vf_load(bias + i));
        vf_store(w + i, y);
        if (i + QU_LANES > visible) {
            vf_store(w + i, vf_set1(-INFINITY));
            if (i < visible) vf_store_n(w + i, y, visible - i);
            y = vf_load(w + i);
        }
        top = vf_max(y, top);
    }
    return vf_hmax(top);
}

/* The weights exp(score - most) of a row in whole numbers. 2^y is 2^round(y) times a polynomial,
 * within 3e-6; a score that is not a number weighs nothing. */
VF void byte_weights(byte_row *a, const float *w, int32_t n, float most)
{
    static const float c[] = {.999999261f, .693121815f, .240247448f, .0559178616f, .00957010195f};
    const float log2_e = 1.44269504f, all = BYTE_MOST;
    vf base = vf_set1(-log2_e * (most > -3e38f ? most : 0)), per = vf_set1(log2_e);
    vi sum = vi_set1(0);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf y = vf_max(vf_fma(vf_load(w + i), per, base), vf_set1(-126)), whole = vf_round(y);
        vf r = vf_sub(y, whole), p = vf_set1(c[4] * all);
        for (int k = 3; k >= 0; k--) p = vf_fma(p, r, vf_set1(c[k] * all));
        vi weight = vi_of(vf_scale(p, whole));
        byte_put(a, i, weight);
        sum = vi_add(sum, weight);
    }
    a->sum = vi_sum(sum);
    a->unit = 1.0f / BYTE_MOST;
}

VF int32_t four_bytes(const int8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

VF void byte_tile(float *c, int64_t ldc, const byte_row *a, const uint8_t *b, const uint8_t *next,
                  int32_t depth, const int rows, const int vecs)
{
    vi high[BYTE_ROWS][BYTE_TILE], low[BYTE_ROWS][BYTE_TILE], added[BYTE_ROWS];
    for (int r = 0; r < rows; r++) added[r] = vi_added(a[r].sum);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++) {
            high[r][j] = low[r][j] = vi_set1(0);
        }
    for (int32_t k = 0; k < depth; k += 4) {
        vb x[BYTE_TILE];
        for (int j = 0; j < vecs; j++) {
            int64_t at = ((int64_t)j * depth + k) * QU_LANES;
            __builtin_prefetch(next + at);
            x[j] = vb_load(b + at);
        }
        for (int r = 0; r < rows; r++) {
            int32_t four = four_bytes(a[r].high + k), below = four_bytes(a[r].low + k);
            for (int j = 0; j < vecs; j++) high[r][j] = vi_dot(high[r][j], x[j], four);
            for (int j = 0; j < vecs; j++) low[r][j] = vi_dot(low[r][j], x[j], below);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            vf_store(c + r * ldc + j * QU_LANES,
                     vf_of(vi_sub(vi_add(vi_left(high[r][j], 8), low[r][j]), added[r])));
}

VF void byte_columns(float *c, int64_t ldc, const byte_row *a, const uint8_t *b,
                     const uint8_t *next, int32_t depth, int32_t cols, const int rows)
{
    int32_t col = 0;
    for (; col + BYTE_TILE * QU_LANES <= cols; col += BYTE_TILE * QU_LANES)
        byte_tile(c + col, ldc, a, b + (int64_t)col * depth, next + (int64_t)col * depth, depth,
                  rows, BYTE_TILE);
    for (; col < cols; col += QU_LANES)
        byte_tile(c + col, ldc, a, b + (int64_t)col * depth, next + (int64_t)col * depth, depth,
                  rows, 1);
}

/* c [rows,cols] = whole numbers of a [rows,depth] times bytes b [depth,cols]. With each line of b a
 * line of next is asked for, which is read afterwards. */
VF void byte_product(float *c, int64_t ldc, const byte_row *a, int32_t rows, const void *b,
                     const void *next, int32_t depth, int32_t cols)
{
    switch (rows) {
    case 1: byte_columns(c, ldc, a, b, next, depth, cols, 1); break;
    case 2: byte_columns(c, ldc, a, b, next, depth, cols, 2); break;
    default: byte_columns(c, ldc, a, b, next, depth, cols, 3); break;
    }
}

#endif
