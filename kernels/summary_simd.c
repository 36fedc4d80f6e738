#include "base/dims.h"
#include "kernels/ops_simd.h"
#include "kernels/simd.h"

/* What bytes j to j + 3 of sixteen rows say, a row for each lane. */
#if defined(__AVX512F__)
typedef __m512i quads;
VF quads quads_of(const uint8_t *bytes, const int32_t *at)
{
    return _mm512_i32gather_epi32(_mm512_loadu_si512(at), bytes, 1);
}
VF vf byte_of(quads q, const int k)
{
    __m512i low = _mm512_set1_epi32(255);
    return _mm512_cvtepi32_ps(_mm512_and_epi32(_mm512_srli_epi32(q, (unsigned)(8 * k)), low));
}
#elif defined(__AVX2__)
typedef struct quads {
    __m256i a, b;
} quads;
VF quads quads_of(const uint8_t *bytes, const int32_t *at)
{
    const __m256i *i = (const __m256i *)(const void *)at;
    const int *p = (const int *)(const void *)bytes;
    return (quads){_mm256_i32gather_epi32(p, _mm256_loadu_si256(i), 1),
                   _mm256_i32gather_epi32(p, _mm256_loadu_si256(i + 1), 1)};
}
VF vf byte_of(quads q, const int k)
{
    __m256i low = _mm256_set1_epi32(255);
    return (vf){_mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(q.a, 8 * k), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(q.b, 8 * k), low))};
}
#else
typedef struct quads {
    uint8_t byte[QU_LANES][4];
} quads;
VF quads quads_of(const uint8_t *bytes, const int32_t *at)
{
    quads q;
    for (int i = 0; i < QU_LANES; i++) memcpy(q.byte[i], bytes + at[i], 4);
    return q;
}
VF vf byte_of(quads q, const int k) { QU_EACH_LANE(q.byte[i][k]); }
#endif

/* One product and one sum, each rounded: the same bits in every instruction set. */
static void range(float *lo, float *step, const uint16_t *in, int32_t width)
{
    vf all = vf_set1(255);
    int32_t j = 0;
    for (; j + QU_LANES <= width; j += QU_LANES) {
        vf least = vf_load_f16(in + j);
        vf_store(lo + j, least);
        vf_store(step + j, vf_div(vf_sub(vf_load_f16(in + width + j), least), all));
    }
    for (; j < width; j++) {
        lo[j] = vf_from_f16(in[j]);
        step[j] = (vf_from_f16(in[width + j]) - lo[j]) / 255;
    }
}

static void columns(float *x, int64_t ldx, const uint8_t *bytes, int32_t width, const float *lo,
                    const float *step, int32_t depth, int32_t n)
{
    for (int32_t i = 0; i < n; i += QU_LANES) {
        int32_t at[QU_LANES], j = 0;
        for (int lane = 0; lane < QU_LANES; lane++)
            at[lane] = (i + lane < n ? i + lane : n - 1) * width;
        for (; j + 4 <= depth; j += 4) {
            quads q = quads_of(bytes + j, at);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
                vf_store_n(x + (j + k) * ldx + i,
                           vf_add(vf_set1(lo[j + k]), vf_mul(vf_set1(step[j + k]), byte_of(q, k))),
                           n - i);
        }
        for (; j < depth; j++)
            for (int32_t c = i; c < n && c < i + QU_LANES; c++) {
                float product = step[j] * (float)bytes[(int64_t)c * width + j];
                x[j * ldx + c] = lo[j] + product;
            }
    }
}

static void rows(float *x, int64_t ldx, const uint8_t *bytes, int32_t width, const float *lo,
                 const float *step, int32_t d, int32_t n)
{
    for (int32_t i = 0; i < n; i++, x += ldx, bytes += width) {
        int32_t j = 0;
        for (; j + QU_LANES <= d; j += QU_LANES)
            vf_store(x + j, vf_add(vf_load(lo + j),
                                   vf_mul(vf_load(step + j), vf_load_u8(bytes + j))));
        for (; j < d; j++) {
            float product = step[j] * (float)bytes[j];
            x[j] = lo[j] + product;
        }
    }
}

static void turn(float *a, float *b, float c, float s, int32_t n)
{
    vf cc = vf_set1(c), ss = vf_set1(s);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf x = vf_load_n(a + i, n - i, 0), y = vf_load_n(b + i, n - i, 0);
        vf_store_n(a + i, vf_sub(vf_mul(x, cc), vf_mul(y, ss)), n - i);
        vf_store_n(b + i, vf_add(vf_mul(x, ss), vf_mul(y, cc)), n - i);
    }
}

const qu_summary_ops QU_ISA_NAME(qu_summary_ops) = {range, columns, rows, turn};
