#include "kernels/linear_simd.h"

#include "kernels/simd.h"

/* Rows of W and of x that share registers: 4 x 4 sums fit 32 wide registers, 2 x 2 fit 16 narrow
 * ones. */
#if defined(__AVX512F__)
enum { NW = 4, NX = 4 };
#else
enum { NW = 2, NX = 2 };
#endif

enum { BLOCK = 32, AHEAD_ROWS = 8 };

/* Sixteen elements [at, at + 16) of a row; at is a multiple of 16. The scale is applied in f32, as
 * in qu_dequant_ref, so both give the same bits. */
VF vf load_q8_0(const uint8_t *row, int64_t at)
{
    const uint8_t *b = row + at / BLOCK * 34;
    uint16_t d;
    memcpy(&d, b, 2);
    return vf_mul(vf_set1(vf_from_f16(d)), vf_load_i8((const int8_t *)b + 2 + at % BLOCK));
}

VF vf load_q4_0(const uint8_t *row, int64_t at)
{
    const uint8_t *b = row + at / BLOCK * 18;
    uint16_t d;
    int8_t q[QU_LANES];
    memcpy(&d, b, 2);
    int shift = at % BLOCK ? 4 : 0;
#if defined(__AVX2__)
    __m128i x = _mm_loadu_si128((const __m128i *)(b + 2));
    x = _mm_and_si128(_mm_srl_epi16(x, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(15));
    _mm_storeu_si128((__m128i *)q, _mm_sub_epi8(x, _mm_set1_epi8(8)));
#else
    for (int i = 0; i < QU_LANES; i++) q[i] = (int8_t)((b[2 + i] >> shift & 15) - 8);
#endif
    return vf_mul(vf_set1(vf_from_f16(d)), vf_load_i8(q));
}

VF vf load_stored(const uint8_t *row, int type, int64_t at)
{
    switch (type) {
    case QU_TYPE_Q8_0: return load_q8_0(row, at);
    case QU_TYPE_Q4_0: return load_q4_0(row, at);
    case QU_TYPE_F16: return vf_load_f16(row + at * 2);
    case QU_TYPE_BF16: return vf_load_bf16(row + at * 2);
    default: return vf_load((const float *)(const void *)row + at);
    }
}

static void dequant(float *x, const void *blocks, int type, int64_t n)
{
    const uint8_t *b = blocks;
    int64_t i = 0, whole = n / QU_LANES * QU_LANES;
    switch (type) { /* one loop a type, so that the branch is outside */
#define CASE(t)                                                                                    \
    case t:                                                                                        \
        for (; i < whole; i += QU_LANES) vf_store(x + i, load_stored(b, t, i));                    \
        break
        CASE(QU_TYPE_Q8_0);
        CASE(QU_TYPE_Q4_0);
        CASE(QU_TYPE_F16);
        CASE(QU_TYPE_BF16);
    default: break;
#undef CASE
    }
    if (i < n) qu_dequant_ref(x + i, b + qu_type_bytes(type, i), type, n - i);
}

/* The last k_dim % 16 elements, padded with zeros: they join the same lanes as every other group.
 * */
VF vf load_tail(const float *p, int32_t n)
{
    float x[QU_LANES] = {0};
    memcpy(x, p, (size_t)n * sizeof *x);
    return vf_load(x);
}

VF void dots_tile(float *y, int64_t ldy, const float *w, const float *x, int64_t ldx, int32_t k_dim,
                  const int nw, const int nx)
{
    vf acc[4][4], a[4];
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) acc[j][i] = vf_zero();
    int32_t k = 0, whole = k_dim / QU_LANES * QU_LANES;
    for (; k < whole; k += QU_LANES) {
        for (int i = 0; i < nw; i++) a[i] = vf_load(w + (int64_t)i * k_dim + k);
        for (int j = 0; j < nx; j++) {
            vf b = vf_load(x + j * ldx + k);
            for (int i = 0; i < nw; i++) acc[j][i] = vf_fma(a[i], b, acc[j][i]);
        }
    }
    if (k < k_dim) {
        for (int i = 0; i < nw; i++) a[i] = load_tail(w + (int64_t)i * k_dim + k, k_dim - k);
        for (int j = 0; j < nx; j++) {
            vf b = load_tail(x + j * ldx + k, k_dim - k);
            for (int i = 0; i < nw; i++) acc[j][i] = vf_fma(a[i], b, acc[j][i]);
        }
    }
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) y[j * ldy + i] = vf_sum(acc[j][i]);
}

static void dots(float *y, int64_t ldy, const float *w, int32_t n_w, const float *x, int64_t ldx,
                 int32_t n_rows, int32_t k_dim)
{
    int32_t i = 0;
    for (; i + NW <= n_w; i += NW) {
        const float *wi = w + (int64_t)i * k_dim;
        int32_t t = 0;
        for (; t + NX <= n_rows; t += NX)
            dots_tile(y + t * ldy + i, ldy, wi, x + t * ldx, ldx, k_dim, NW, NX);
        for (; t < n_rows; t++) dots_tile(y + t * ldy + i, ldy, wi, x + t * ldx, ldx, k_dim, NW, 1);
    }
    for (; i < n_w; i++)
        for (int32_t t = 0; t < n_rows; t++)
            dots_tile(y + t * ldy + i, ldy, w + (int64_t)i * k_dim, x + t * ldx, ldx, k_dim, 1, 1);
}

VF void stored_tile(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                    const float *x, int64_t ldx, int32_t k_dim, const int nw, const int nx)
{
    vf acc[4][4];
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) acc[j][i] = vf_zero();
    int32_t k = 0, whole = k_dim / QU_LANES * QU_LANES;
    /* Rows lie one after the other, read nw at a time: the memory's own prefetcher loses that
     * pattern, so each step asks for as many bytes as it uses, some rows ahead. */
    const uint8_t *ahead = w + AHEAD_ROWS * row_bytes;
    int64_t step = nw * row_bytes * QU_LANES / (k_dim > 0 ? k_dim : 1) + 1;
    for (; k < whole; k += QU_LANES, ahead += step) {
        vf b[4];
        for (int64_t line = 0; line < step; line += 64) __builtin_prefetch(ahead + line, 0, 3);
        for (int j = 0; j < nx; j++) b[j] = vf_load(x + j * ldx + k);
        for (int i = 0; i < nw; i++) {
            vf a = load_stored(w + i * row_bytes, type, k);
            for (int j = 0; j < nx; j++) acc[j][i] = vf_fma(a, b[j], acc[j][i]);
        }
    }
    if (k < k_dim) { /* only types with a block of one element have a tail */
        float tail[QU_LANES];
        for (int i = 0; i < nw; i++) {
            qu_dequant_ref(tail, w + i * row_bytes + qu_type_bytes(type, k), type, k_dim - k);
            vf a = load_tail(tail, k_dim - k);
            for (int j = 0; j < nx; j++)
                acc[j][i] = vf_fma(a, load_tail(x + j * ldx + k, k_dim - k), acc[j][i]);
        }
    }
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) y[j * ldy + i] = vf_sum(acc[j][i]);
}

VF void stored_rows(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                    int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim)
{
    int32_t i = 0;
    for (; i + NW <= n_w; i += NW, w += NW * row_bytes) {
        int32_t t = 0;
        if (n_rows == 4 && NX == 4) {
            stored_tile(y + i, ldy, w, row_bytes, type, x, ldx, k_dim, NW, NX);
            continue;
        }
        for (; t + 2 <= n_rows; t += 2)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, NW, 2);
        if (t < n_rows)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, NW, 1);
    }
    for (; i < n_w; i++, w += row_bytes)
        for (int32_t t = 0; t < n_rows; t++)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, 1, 1);
}

static void dots_stored(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                        int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim)
{
    switch (type) {
#define CASE(t)                                                                                    \
    case t: stored_rows(y, ldy, w, row_bytes, t, n_w, x, ldx, n_rows, k_dim); break
        CASE(QU_TYPE_Q8_0);
        CASE(QU_TYPE_Q4_0);
        CASE(QU_TYPE_F16);
        CASE(QU_TYPE_BF16);
        CASE(QU_TYPE_F32);
#undef CASE
    default: break;
    }
}

const qu_linear_ops QU_ISA_NAME(qu_linear_ops) = {dequant, dots, dots_stored};
