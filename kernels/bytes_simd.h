/* Products of bytes: x rounded to one byte an element, weights as the integers that they are stored
 * as, sums of whole numbers over 32 elements, scaled and added in f32. Private to linear_simd.c.
 *
 *     bytes_round(x, floats, k);
 *     bytes_step(acc, at, type, x, 256, nw, nx);    // acc[j][i] += 256 of W's row i by x's row j
 *
 * A run of 32 elements of x is scale * q with scale = (largest |x|) / 127. Its product with as many
 * weights is (d * scale) * (sum of whole products) - min * (scale * sum of q): whole sums are
 * exact, so every instruction set has the same; the floats have sixteen lanes, four of each of four
 * runs.
 *
 *   q       A0 B0 C0 D0 | A1 B1 C1 D1   sixteen bytes each, the halves of four runs A to D
 *   lanes   aaaabbbbccccdddd            a lane adds four bytes' products of each half
 */
#ifndef QU_KERNELS_BYTES_SIMD_H
#define QU_KERNELS_BYTES_SIMD_H

#include "kernels/ops_simd.h"
#include "kernels/quant_simd.h"
#include "kernels/whole_simd.h"

/* Sixteen weights of run j of 256, its half c, as signed numbers or such from 0 on. */
VF b16 sixteen_of(const uint8_t *b, const int type, const int j, const int c)
{
    return quant_step(type) == 32 ? quants_of(b + j * quant_step_bytes(type), type, c)
                                  : quants_of(b, type, 2 * j + c);
}

#if defined(__AVX512F__)
typedef __m512i vb;

VF vb vb_load(const int8_t *p) { return _mm512_loadu_si512(p); }
VF vi vi_dot(vi sum, vb q, vb x) { return _mm512_dpbusd_epi32(sum, q, x); }
VF vf vf_upper(vf x) { return _mm512_maskz_mov_ps(0xff00, x); }

/* Lanes 4 i to 4 i + 3 = x[first + i * step]. */
VF vf vf_spread(vf x, const int first, const int step)
{
    const __m512i run = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(run * step + _mm512_set1_epi32(first), x);
}

/* What quants are counted from here: the instruction takes them unsigned. */
VF int unsigned_from(const int type)
{
    switch (type) {
    case QU_TYPE_Q4_0: return 8;
    case QU_TYPE_Q5_0: return 16;
    case QU_TYPE_Q6_K: return 32;
    case QU_TYPE_IQ4_XS: return 128;
    default: return 0;
    }
}

/* Minus what that adds to each lane. */
VF vi vi_start(const int type, vb x0, vb x1, const int halves)
{
    const __m512i from = _mm512_set1_epi8((char)unsigned_from(type)), zero = _mm512_setzero_si512();
    if (!unsigned_from(type)) return zero;
    vi sum = vi_dot(zero, from, x0);
    return _mm512_sub_epi32(zero, halves > 1 ? vi_dot(sum, from, x1) : sum);
}

VF __m512i lanes_by(const int a, const int b, const int c, const int d)
{
    return _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a);
}

/* Sixteen bytes at p and at each of the next three strides. */
VF __m512i four_of(const uint8_t *p, const int stride)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 2 * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 3 * stride)), 3);
}

/* Half c of runs 4 g to 4 g + 3 of the step at b: nibbles, then what is above them. */
VF vb vb_quants(const uint8_t *b, const int type, const int g, const int c)
{
    const __m512i low = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);
    const int stride = quant_step_bytes(type);
    __m512i q, h;
    switch (type) {
    case QU_TYPE_Q4_0:
        q = four_of(b + 4 * g * stride + 2, stride);
        return _mm512_srli_epi32(q, c * 4) & low;
    case QU_TYPE_Q5_0: {
        const uint8_t *p = b + 4 * g * stride + 2 + 2 * c;
        uint64_t bits = 0;
        for (int i = 3; i >= 0; i--)
            bits = bits << 16 | (uint64_t)(p[i * stride] | p[i * stride + 1] << 8);
        q = _mm512_srli_epi32(four_of(b + 4 * g * stride + 6, stride), c * 4) & low;
        return _mm512_mask_add_epi8(q, bits, q, fifth);
    }
    case QU_TYPE_IQ4_XS:
        q = four_of(b + 8 + 64 * g, 16);
        q = _mm512_srli_epi32(q, c * 4) & low;
        return _mm512_shuffle_epi8(
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)qu_iq4_values)), q) ^
               _mm512_set1_epi8((char)0x80);
    case QU_TYPE_Q6_K:
        q = _mm512_loadu_si512(b + 64 * g);
        q = c ? _mm512_shuffle_i64x2(q, q, 0xDD) : _mm512_shuffle_i64x2(q, q, 0x88);
        q = _mm512_srlv_epi32(q, lanes_by(0, 0, 4, 4)) & low;
        h = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(b + 128 + 32 * g + 16 * c)));
        h = _mm512_rolv_epi32(h, lanes_by(4, 2, 0, 30));
        return (h & _mm512_set1_epi8(48)) | q;
    default: /* Q4_K, Q5_K */
        q = _mm512_loadu_si512(b + (type == QU_TYPE_Q4_K ? 16 : 48) + 64 * g);
        q = c ? _mm512_shuffle_i64x2(q, q, 0xF5) : _mm512_shuffle_i64x2(q, q, 0xA0);
        q = _mm512_srlv_epi32(q, lanes_by(0, 4, 0, 4)) & low;
        if (type == QU_TYPE_Q4_K) return q;
        h = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(b + 16 + 16 * c)));
        h = _mm512_rolv_epi32(h, g ? lanes_by(0, 31, 30, 29) : lanes_by(4, 3, 2, 1));
        return (h & fifth) | q;
    }
}

#elif defined(__AVX2__)
typedef vi vb;

VF vb vb_load(const int8_t *p)
{
    return (vb){_mm256_loadu_si256((const __m256i *)p),
                _mm256_loadu_si256((const __m256i *)(p + 32))};
}
VF __m256i dot8(__m256i sum, __m256i q, __m256i x) /* 128 * 127 twice still fits a half word */
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
VF vi vi_dot(vi sum, vb q, vb x) { return (vi){dot8(sum.a, q.a, x.a), dot8(sum.b, q.b, x.b)}; }
VF vi vi_start(const int type, vb x0, vb x1, const int halves)
{
    (void)type, (void)x0, (void)x1, (void)halves;
    return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
VF vf vf_upper(vf x) { return (vf){_mm256_setzero_ps(), x.b}; }
VF vf vf_spread(vf x, const int first, const int step)
{
    float p[QU_LANES];
    vf_store(p, x);
    const float *q = p + first;
    return (vf){_mm256_set_m128(_mm_set1_ps(q[step]), _mm_set1_ps(q[0])),
                _mm256_set_m128(_mm_set1_ps(q[3 * step]), _mm_set1_ps(q[2 * step]))};
}
VF vb vb_quants(const uint8_t *b, const int type, const int g, const int c)
{
    return (vb){_mm256_set_m128i((__m128i)sixteen_of(b, type, 4 * g + 1, c),
                                 (__m128i)sixteen_of(b, type, 4 * g, c)),
                _mm256_set_m128i((__m128i)sixteen_of(b, type, 4 * g + 3, c),
                                 (__m128i)sixteen_of(b, type, 4 * g + 2, c))};
}

#else
typedef struct vb {
    int8_t q[64];
} vb;

VF vb vb_load(const int8_t *p)
{
    vb v;
    memcpy(&v, p, sizeof v);
    return v;
}
VF vi vi_dot(vi sum, vb q, vb x)
{
    /* A run's sum in the first of its lanes: a loop that compilers know. */
    for (int run = 0; run < 4; run++) {
        int32_t s = 0;
        for (int i = run * 16; i < run * 16 + 16; i++) s += q.q[i] * x.q[i];
        sum[run * 4] += s;
    }
    return sum;
}
VF vi vi_start(const int type, vb x0, vb x1, const int halves)
{
    (void)type, (void)x0, (void)x1, (void)halves;
    return (vi){0};
}
VF vf vf_upper(vf x) { QU_EACH_LANE(i < 8 ? 0 : x[i]); }
VF vf vf_spread(vf x, const int first, const int step) { QU_EACH_LANE(x[first + i / 4 * step]); }
VF vb vb_quants(const uint8_t *b, const int type, const int g, const int c)
{
    vb v;
    for (int i = 0; i < 4; i++) {
        b16 q = sixteen_of(b, type, 4 * g + i, c);
        memcpy(v.q + 16 * i, &q, sizeof q);
    }
    return v;
}
#endif

/* The scales of the runs of the step at b; where there are minima, those from lane 8 on. Q6_K: of
 * half runs. Blocks of 32: 0 for those behind the first n elements. */
VF vf step_scales(const uint8_t *b, const int type, const int n)
{
    if (type == QU_TYPE_Q4_K || type == QU_TYPE_Q5_K || type == QU_TYPE_Q6_K)
        return packed_values(b, type);
    if (type == QU_TYPE_IQ4_XS) {
        float scale[QU_LANES] = {0};
        quant_scales(scale, scale, b, type);
        return vf_load(scale);
    }
    uint16_t h[8] = {0};
    for (int i = 0; i < 8; i++)
        if (i * 32 < n) memcpy(h + i, b + i * quant_step_bytes(type), sizeof *h);
    return vf_eight_f16(h);
}

/* acc[j][i] += the first n elements at at[i], at most 256, by those of x[j], which is zero behind
 * them. */
VF void bytes_step(vf acc[4][4], const uint8_t *const *at, const int type,
                   const qu_linear_bytes *const *x, const int n, const int nw, const int nx)
{
    const bool fine = type == QU_TYPE_Q6_K, mins = type == QU_TYPE_Q4_K || type == QU_TYPE_Q5_K;
    const int halves = fine ? 1 : 2;
    vf scale[4], s[4];
    vb q[4][2];
    for (int i = 0; i < nw; i++) scale[i] = step_scales(at[i], type, n);
    for (int j = 0; mins && j < nx; j++)
        for (int i = 0; i < nw; i++)
            acc[j][i] = vf_fma(vf_upper(scale[i]), vf_load(x[j]->scale), acc[j][i]);
#pragma GCC unroll 2
    for (int g = 0; g * 128 < n; g++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c += halves) {
            for (int i = 0; i < nw; i++) {
                s[i] = fine ? vf_spread(scale[i], 8 * g + c, 2) : vf_spread(scale[i], 4 * g, 1);
                for (int h = 0; h < halves; h++) q[i][h] = vb_quants(at[i], type, g, c + h);
            }
            for (int j = 0; j < nx; j++) {
                const int8_t *p = x[j]->q + 128 * g + 64 * c;
                vb x0 = vb_load(p), x1 = vb_load(p + (halves - 1) * 64);
                vi start = vi_start(type, x0, x1, halves);
                vf xs = vf_spread(vf_load(x[j]->scale), 4 * g, 1);
                for (int i = 0; i < nw; i++) {
                    vi whole = vi_dot(start, q[i][0], x0);
                    if (halves > 1) whole = vi_dot(whole, q[i][1], x1);
                    acc[j][i] = vf_fma(vf_of(whole), vf_mul(s[i], xs), acc[j][i]);
                }
            }
        }
}

/* x [n] in bytes, as qu_linear_round_ref rounds it, the rest of the last 256 zero; a NaN is in the
 * scale. */
VF void bytes_round(qu_linear_bytes *out, const float *x, int32_t n)
{
    for (int32_t k = 0; k < n; k += 256, out++) {
        memset(out, 0, sizeof *out);
        for (int run = 0; run < 8 && k + run * 32 < n; run++) {
            const float *from = x + k + run * 32;
            vf a = vf_load(from), b = vf_load(from + QU_LANES), zero = vf_zero();
            float most = vf_hmax(vf_max(vf_max(a, vf_sub(zero, a)), vf_max(b, vf_sub(zero, b))));
            float none = vf_sum(vf_add(vf_mul(a, zero), vf_mul(b, zero)));
            if (most < 1e-30f || none != 0) {
                out->scale[run] = none;
                continue;
            }
            float q[32];
            int32_t sum = 0;
            vf_store(q, vf_round(vf_mul(a, vf_set1(127 / most))));
            vf_store(q + QU_LANES, vf_round(vf_mul(b, vf_set1(127 / most))));
            int8_t *to = out->q + run / 4 * 128 + run % 4 * 16;
            for (int i = 0; i < 16; i++) {
                to[i] = (int8_t)q[i];
                to[64 + i] = (int8_t)q[16 + i];
                sum += to[i] + to[64 + i];
            }
            out->scale[run] = most / 127;
            out->minus_sum[run] = -(most / 127) * (float)sum;
        }
    }
}

#endif
