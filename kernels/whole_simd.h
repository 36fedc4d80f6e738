/* Sixteen whole numbers at a time, beside simd.h's floats. Private to kernels/x_simd.c. */
#ifndef QU_KERNELS_WHOLE_SIMD_H
#define QU_KERNELS_WHOLE_SIMD_H

#include "kernels/simd.h"

#if defined(__AVX512F__)
typedef __m512i vi;
VF vi vi_of(vf x) { return _mm512_cvtps_epi32(x); }
VF vf vf_of(vi x) { return _mm512_cvtepi32_ps(x); }
VF vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
VF vi vi_add(vi x, vi y) { return _mm512_add_epi32(x, y); }
VF vi vi_sub(vi x, vi y) { return _mm512_sub_epi32(x, y); }
VF vi vi_left(vi x, const int n) { return _mm512_slli_epi32(x, (unsigned)n); }
VF vi vi_right(vi x, const int n) { return _mm512_srai_epi32(x, (unsigned)n); }
VF int32_t vi_sum(vi x) { return _mm512_reduce_add_epi32(x); }
VF void vi_store(void *p, vi x) { _mm512_storeu_si512(p, x); }
VF void vi_store_i8(int8_t *p, vi x) /* the lowest bytes */
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(x));
}
#elif defined(__AVX2__)
typedef struct vi {
    __m256i a, b;
} vi;
#define QU_VI2(op, y) (vi){op(x.a, y.a), op(x.b, y.b)}
VF vi vi_of(vf x) { return (vi){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
VF vf vf_of(vi x) { return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
VF vi vi_set1(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
VF vi vi_add(vi x, vi y) { return QU_VI2(_mm256_add_epi32, y); }
VF vi vi_sub(vi x, vi y) { return QU_VI2(_mm256_sub_epi32, y); }
VF vi vi_left(vi x, const int n)
{
    return (vi){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
VF vi vi_right(vi x, const int n)
{
    return (vi){_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)};
}
VF void vi_store(void *p, vi x)
{
    _mm256_storeu_si256(p, x.a);
    _mm256_storeu_si256((__m256i *)p + 1, x.b);
}
VF int32_t vi_sum(vi x)
{
    int32_t part[QU_LANES], sum = 0;
    vi_store(part, x);
    for (int i = 0; i < QU_LANES; i++) sum += part[i];
    return sum;
}
VF void vi_store_i8(int8_t *p, vi x) /* the lowest bytes */
{
    x = vi_right(vi_left(x, 24), 24);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words),
                                                   _mm256_extracti128_si256(words, 1)));
}
#else
VF vi vi_of(vf x) { return __builtin_convertvector(vf_round(x), vi); }
VF vf vf_of(vi x) { return __builtin_convertvector(x, vf); }
VF vi vi_set1(int32_t x) { return x - (vi){0}; }
VF vi vi_add(vi x, vi y) { return x + y; }
VF vi vi_sub(vi x, vi y) { return x - y; }
VF vi vi_left(vi x, const int n) /* what leaves the lane is lost */
{
    typedef uint32_t vu __attribute__((vector_size(64)));
    return (vi)((vu)x << n);
}
VF vi vi_right(vi x, const int n) { return x >> n; }
VF void vi_store(void *p, vi x) { memcpy(p, &x, sizeof x); }
VF int32_t vi_sum(vi x)
{
    int32_t sum = 0;
    for (int i = 0; i < QU_LANES; i++) sum += x[i];
    return sum;
}
VF void vi_store_i8(int8_t *p, vi x)
{
    for (int i = 0; i < QU_LANES; i++) p[i] = (int8_t)x[i];
}
#endif

#endif
