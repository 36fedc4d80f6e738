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

#if defined(__AVX2__)
#include <immintrin.h>

/* In registers: what was just stored in small pieces is slow to load as a whole. */
VF __m128i eight_of(const uint16_t *h)
{
    return _mm_set_epi16((short)h[7], (short)h[6], (short)h[5], (short)h[4], (short)h[3],
                         (short)h[2], (short)h[1], (short)h[0]);
}
#else
#include "kernels/quant.h"
#endif

#if defined(__AVX512F__)
typedef __m512 vf;
VF vf vf_set1(float x) { return _mm512_set1_ps(x); }
VF vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
VF void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
VF vf vf_max(vf x, vf y) { return _mm512_max_ps(x, y); }
VF vf vf_min(vf x, vf y) { return _mm512_min_ps(x, y); }
VF vf vf_sqrt(vf x) { return _mm512_sqrt_ps(x); }
VF vf vf_fma(vf x, vf y, vf z) { return _mm512_fmadd_ps(x, y, z); }
VF vf vf_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for integral n in [-126, 127] */
VF vf vf_exp2i(vf n)
{
    __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(i, 23));
}
VF vf vf_select_lt(vf x, vf y, vf yes, vf no) /* x < y ? yes : no */
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), no, yes);
}
VF vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
VF vf vf_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
VF vf vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
VF void vf_store_f16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
VF vf vf_load_bf16(const void *p)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
VF vf vf_both(float low, float high) /* eight lanes of each */
{
    return _mm512_insertf32x8(_mm512_set1_ps(low), _mm256_set1_ps(high), 1);
}
VF vf vf_eight_f16(const uint16_t *h)
{
    return _mm512_zextps256_ps512(_mm256_cvtph_ps(eight_of(h)));
}
VF vf vf_set1_f16(uint16_t h) { return _mm512_cvtph_ps(_mm256_set1_epi16((short)h)); }
VF __m256 vf_low(vf x) { return _mm512_castps512_ps256(x); }
VF __m256 vf_high(vf x) { return _mm512_extractf32x8_ps(x, 1); }
#elif defined(__AVX2__)
typedef struct vf {
    __m256 a, b;
} vf;
#define QU_VF2(op) (vf){op(x.a, y.a), op(x.b, y.b)}
#define QU_ROUND8(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
VF vf vf_set1(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
VF vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
VF void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
VF vf vf_add(vf x, vf y) { return QU_VF2(_mm256_add_ps); }
VF vf vf_sub(vf x, vf y) { return QU_VF2(_mm256_sub_ps); }
VF vf vf_mul(vf x, vf y) { return QU_VF2(_mm256_mul_ps); }
VF vf vf_div(vf x, vf y) { return QU_VF2(_mm256_div_ps); }
VF vf vf_max(vf x, vf y) { return QU_VF2(_mm256_max_ps); }
VF vf vf_min(vf x, vf y) { return QU_VF2(_mm256_min_ps); }
VF vf vf_sqrt(vf x) { return (vf){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
VF vf vf_fma(vf x, vf y, vf z)
{
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
VF vf vf_round(vf x) { return (vf){QU_ROUND8(x.a), QU_ROUND8(x.b)}; }
VF __m256 exp2i_8(__m256 n)
{
    __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(i, 23));
}
VF vf vf_exp2i(vf n) { return (vf){exp2i_8(n.a), exp2i_8(n.b)}; }
VF vf vf_select_lt(vf x, vf y, vf yes, vf no)
{
    return (vf){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
VF __m256 load_i8_8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
VF vf vf_load_i8(const int8_t *p) { return (vf){load_i8_8(p), load_i8_8(p + 8)}; }
VF __m256 load_u8_8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
VF vf vf_load_u8(const uint8_t *p) { return (vf){load_u8_8(p), load_u8_8(p + 8)}; }
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
VF __m256 load_bf16_8(const __m128i *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
VF vf vf_load_bf16(const void *p)
{
    const __m128i *q = p;
    return (vf){load_bf16_8(q), load_bf16_8(q + 1)};
}
VF vf vf_both(float low, float high) { return (vf){_mm256_set1_ps(low), _mm256_set1_ps(high)}; }
VF vf vf_eight_f16(const uint16_t *h)
{
    return (vf){_mm256_cvtph_ps(eight_of(h)), _mm256_setzero_ps()};
}
VF vf vf_set1_f16(uint16_t h)
{
    __m256 x = _mm256_cvtph_ps(_mm_set1_epi16((short)h));
    return (vf){x, x};
}
VF __m256 vf_low(vf x) { return x.a; }
VF __m256 vf_high(vf x) { return x.b; }
#else
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
#define QU_EACH_LANE(value)                                                                        \
    vf a;                                                                                          \
    for (int i = 0; i < QU_LANES; i++) a[i] = value;                                               \
    return a
VF vf vf_set1(float x) { return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
VF vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
VF void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
VF vf vf_select_lt(vf x, vf y, vf yes, vf no)
{
    vi mask = x < y;
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}
VF vf vf_max(vf x, vf y) { return vf_select_lt(y, x, x, y); } /* like maxps: y when either is NaN */
VF vf vf_min(vf x, vf y) { return vf_select_lt(x, y, x, y); }
VF vf vf_sqrt(vf x) { QU_EACH_LANE(sqrtf(x[i])); }
VF vf vf_fma(vf x, vf y, vf z) { return x * y + z; }
VF vf vf_round(vf x)
{
    vf magic = vf_set1(12582912.0f); /* 1.5 * 2^23: adding it drops the fraction, to nearest even */
    return (x + magic) - magic;
}
VF vf vf_exp2i(vf n) { return (vf)((__builtin_convertvector(n, vi) + 127) << 23); }
VF uint16_t load_u16(const void *p, int i)
{
    uint16_t h;
    memcpy(&h, (const char *)p + 2 * i, sizeof h);
    return h;
}
VF vf vf_load_i8(const int8_t *p) { QU_EACH_LANE(p[i]); }
VF vf vf_load_u8(const uint8_t *p) { QU_EACH_LANE(p[i]); }
VF vf vf_load_f16(const void *p) { QU_EACH_LANE(qu_f16_to_f32(load_u16(p, i))); }
VF void vf_store_f16(uint16_t *p, vf x)
{
    for (int i = 0; i < QU_LANES; i++) p[i] = qu_f32_to_f16(x[i]);
}
VF vf vf_both(float low, float high) { QU_EACH_LANE(i < 8 ? low : high); }
VF vf vf_eight_f16(const uint16_t *h) { QU_EACH_LANE(i < 8 ? qu_f16_to_f32(h[i]) : 0); }
VF vf vf_set1_f16(uint16_t h) { return vf_set1(qu_f16_to_f32(h)); }
VF vf vf_load_bf16(const void *p) { QU_EACH_LANE(qu_bf16_to_f32(load_u16(p, i))); }
#endif

#if !defined(__AVX2__) || defined(__AVX512F__) /* the compiler's own vectors */
VF vf vf_add(vf x, vf y) { return x + y; }
VF vf vf_sub(vf x, vf y) { return x - y; }
VF vf vf_mul(vf x, vf y) { return x * y; }
VF vf vf_div(vf x, vf y) { return x / y; }
#endif

VF vf vf_zero(void) { return vf_set1(0); }

VF float vf_from_f16(uint16_t h)
{
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#else
    return qu_f16_to_f32(h);
#endif
}

/* The first n lanes, the others fill; all sixteen where n is more. */
#if defined(__AVX512F__)
VF __mmask16 first_lanes(int32_t n)
{
    return (__mmask16)(n >= QU_LANES ? 0xffff : (1 << n) - 1);
}
VF vf vf_load_n(const float *p, int32_t n, float fill)
{
    return _mm512_mask_loadu_ps(vf_set1(fill), first_lanes(n), p);
}
VF void vf_store_n(float *p, vf a, int32_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), a); }
#else
VF vf vf_load_n(const float *p, int32_t n, float fill)
{
    float x[QU_LANES];
    if (n >= QU_LANES) return vf_load(p);
    for (int i = 0; i < QU_LANES; i++) x[i] = i < n ? p[i] : fill;
    return vf_load(x);
}
VF void vf_store_n(float *p, vf a, int32_t n)
{
    float x[QU_LANES];
    if (n >= QU_LANES) {
        vf_store(p, a);
        return;
    }
    vf_store(x, a);
    memcpy(p, x, (size_t)n * sizeof *x);
}
#endif

/* Fold sixteen lanes by halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1; lane i takes lane i + half. */
#if defined(__AVX2__)
#define QU_FOLD(op)                                                                                \
    __m256 x = _mm256_##op##_ps(vf_low(a), vf_high(a));                                            \
    __m128 y = _mm_##op##_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));              \
    y = _mm_##op##_ps(y, _mm_movehl_ps(y, y));                                                     \
    return _mm_cvtss_f32(_mm_##op##_ss(y, _mm_shuffle_ps(y, y, 1)))

VF float vf_sum(vf a) { QU_FOLD(add); }
VF float vf_hmax(vf a) { QU_FOLD(max); }
#else
#define QU_FOLD(op)                                                                                \
    for (int half = QU_LANES / 2; half > 0; half /= 2)                                             \
        for (int i = 0; i < half; i++) a[i] = op(a[i], a[i + half]);                               \
    return a[0]
VF float plus(float x, float y) { return x + y; }
VF float larger(float x, float y) { return x < y ? y : x; }
VF float vf_sum(vf a) { QU_FOLD(plus); }
VF float vf_hmax(vf a) { QU_FOLD(larger); }
#endif

/* x 2^n for integral n in [-126, 127] */
VF vf vf_scale(vf x, vf n)
{
#if defined(__AVX512F__)
    return _mm512_scalef_ps(x, n);
#else
    return vf_mul(x, vf_exp2i(n));
#endif
}

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
    return vf_select_lt(x, tiny, vf_zero(), vf_scale(p, n));
}

#endif
