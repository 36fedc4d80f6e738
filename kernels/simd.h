/* Sixteen floats at a time, with one spelling for AVX-512, AVX2 and plain C. Private to
 * kernels/x_simd.c.
 *
 * Every sum keeps sixteen lanes and folds them by the same tree (vf_sum), and every product-sum is
 * one vf_fma, so a row's result does not depend on how rows are blocked. Only the rounding of
 * vf_fma differs between sets: plain C rounds twice.
 */
#ifndef QU_KERNELS_SIMD_H
#define QU_KERNELS_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define QU_LANES 16
#define QU_PASTE2(a, b) a##_##b
#define QU_PASTE(a, b) QU_PASTE2(a, b)
#define QU_ISA_NAME(stem) QU_PASTE(stem, QU_ISA)
#define VF static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 vf;
VF vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
VF vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
VF vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
VF void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
VF vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
VF vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
VF vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
VF vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
VF vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
VF vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
VF vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
VF vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
VF vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for integral n in [-126, 127] */
VF vf vf_exp2i(vf n)
{
    __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(i, 23));
}
VF vf vf_select_lt(vf a, vf b, vf yes, vf no) /* a < b ? yes : no */
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
VF vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
VF vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
VF void vf_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
VF vf vf_load_bf16(const void *p)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
VF float vf_from_f16(uint16_t h)
{
    return _cvtsh_ss(h);
}
#elif defined(__AVX2__)
#include <immintrin.h>
typedef struct vf {
    __m256 a, b;
} vf;
#define VF2(op) ((vf){op(x.a, y.a), op(x.b, y.b)})
VF vf vf_zero(void)
{
    return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
VF vf vf_set1(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
VF vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
VF void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
VF vf vf_add(vf x, vf y)
{
    return VF2(_mm256_add_ps);
}
VF vf vf_sub(vf x, vf y)
{
    return VF2(_mm256_sub_ps);
}
VF vf vf_mul(vf x, vf y)
{
    return VF2(_mm256_mul_ps);
}
VF vf vf_div(vf x, vf y)
{
    return VF2(_mm256_div_ps);
}
VF vf vf_max(vf x, vf y)
{
    return VF2(_mm256_max_ps);
}
VF vf vf_min(vf x, vf y)
{
    return VF2(_mm256_min_ps);
}
VF vf vf_sqrt(vf x)
{
    return (vf){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}
VF vf vf_fma(vf x, vf y, vf z)
{
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
#define QU_RND(v) _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
VF vf vf_round(vf x)
{
    return (vf){QU_RND(x.a), QU_RND(x.b)};
}
VF __m256 half_exp2i(__m256 n)
{
    __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(i, 23));
}
VF vf vf_exp2i(vf n)
{
    return (vf){half_exp2i(n.a), half_exp2i(n.b)};
}
VF vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    return (vf){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ))};
}
VF __m256 half_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
VF vf vf_load_i8(const int8_t *p)
{
    return (vf){half_load_i8(p), half_load_i8(p + 8)};
}
VF vf vf_load_f16(const void *p)
{
    const __m128i *q = p;
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
VF void vf_store_f16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
VF __m256 half_load_bf16(const __m128i *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
VF vf vf_load_bf16(const void *p)
{
    const __m128i *q = p;
    return (vf){half_load_bf16(q), half_load_bf16(q + 1)};
}
VF float vf_from_f16(uint16_t h)
{
    return _cvtsh_ss(h);
}
#else
#include "kernels/quant.h"
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
VF vf vf_set1(float x)
{
    return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
VF vf vf_zero(void)
{
    return vf_set1(0);
}
VF vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
VF void vf_store(float *p, vf a)
{
    memcpy(p, &a, sizeof a);
}
VF vf vf_add(vf a, vf b)
{
    return a + b;
}
VF vf vf_sub(vf a, vf b)
{
    return a - b;
}
VF vf vf_mul(vf a, vf b)
{
    return a * b;
}
VF vf vf_div(vf a, vf b)
{
    return a / b;
}
VF vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    vi mask = a < b;
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}
VF vf vf_max(vf a, vf b)
{
    return vf_select_lt(b, a, a, b);
} /* like maxps: b when either is NaN */
VF vf vf_min(vf a, vf b)
{
    return vf_select_lt(a, b, a, b);
}
VF vf vf_sqrt(vf a)
{
    for (int i = 0; i < QU_LANES; i++) a[i] = sqrtf(a[i]);
    return a;
}
VF vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
VF vf vf_round(vf a)
{
    vf magic = vf_set1(12582912.0f); /* 1.5 * 2^23: adding it drops the fraction, to nearest even */
    return (a + magic) - magic;
}
VF vf vf_exp2i(vf n)
{
    vi i = (__builtin_convertvector(n, vi) + 127) << 23;
    vf r;
    memcpy(&r, &i, sizeof r);
    return r;
}
VF vf vf_load_i8(const int8_t *p)
{
    vf a;
    for (int i = 0; i < QU_LANES; i++) a[i] = p[i];
    return a;
}
VF vf vf_load_f16(const void *p)
{
    uint16_t h[QU_LANES];
    vf a;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < QU_LANES; i++) a[i] = qu_f16_to_f32(h[i]);
    return a;
}
VF void vf_store_f16(uint16_t *p, vf a)
{
    for (int i = 0; i < QU_LANES; i++) p[i] = qu_f32_to_f16(a[i]);
}
VF vf vf_load_bf16(const void *p)
{
    uint16_t h[QU_LANES];
    vf a;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < QU_LANES; i++) a[i] = qu_bf16_to_f32(h[i]);
    return a;
}
VF float vf_from_f16(uint16_t h)
{
    return qu_f16_to_f32(h);
}
#endif

/* Fold sixteen lanes by halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1; lane i takes lane i + half. */
#if defined(__AVX2__)
VF __m256 vf_low(vf a)
{
#if defined(__AVX512F__)
    return _mm512_castps512_ps256(a);
#else
    return a.a;
#endif
}

VF __m256 vf_high(vf a)
{
#if defined(__AVX512F__)
    return _mm512_extractf32x8_ps(a, 1);
#else
    return a.b;
#endif
}

#define QU_FOLD(op)                                                                                \
    __m256 x = _mm256_##op##_ps(vf_low(a), vf_high(a));                                            \
    __m128 y = _mm_##op##_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));              \
    y = _mm_##op##_ps(y, _mm_movehl_ps(y, y));                                                     \
    return _mm_cvtss_f32(_mm_##op##_ss(y, _mm_shuffle_ps(y, y, 1)))

VF float vf_sum(vf a)
{
    QU_FOLD(add);
}

VF float vf_hmax(vf a)
{
    QU_FOLD(max);
}
#else
VF float vf_sum(vf a)
{
    float x[QU_LANES];
    vf_store(x, a);
    for (int half = QU_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

VF float vf_hmax(vf a)
{
    float x[QU_LANES];
    vf_store(x, a);
    for (int half = QU_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] = x[i] < x[i + half] ? x[i + half] : x[i];
    return x[0];
}
#endif

/* e^x within 2 ulp; 0 below -87.3 (so -INF gives 0), +INF stays large but finite at 88.3. NaN is
 * kept by the caller's arithmetic: scores are checked there. */
VF vf vf_exp(vf x)
{
    vf tiny = vf_set1(-87.3f);
    vf y = vf_min(vf_max(x, tiny), vf_set1(88.3f));
    vf n = vf_round(vf_mul(y, vf_set1(1.44269504088896341f)));
    vf r = vf_fma(n, vf_set1(-0.693359375f), y);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_fma(vf_mul(r, r), p, vf_add(r, vf_set1(1.0f)));
    p = vf_mul(p, vf_exp2i(vf_min(n, vf_set1(127.0f))));
    return vf_select_lt(x, tiny, vf_zero(), p);
}

#endif
