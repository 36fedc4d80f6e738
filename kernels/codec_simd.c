#include "kernels/codec_simd.h"

#include "kernels/quant.h"
#include "kernels/simd.h"

static void f16_row(float *x, const uint8_t *h, int32_t d)
{
    int32_t c = 0;
    for (; c + QU_LANES <= d; c += QU_LANES) vf_store(x + c, vf_load_f16(h + 2 * c));
    for (; c < d; c++) {
        uint16_t u;
        memcpy(&u, h + 2 * c, 2);
        x[c] = vf_from_f16(u);
    }
}

/* Product, then sum, each rounded: the same bits in every instruction set. */
static void q8_key_row(float *x, const int8_t *q, const uint8_t *mean, const uint8_t *scale,
                       int32_t d)
{
    for (int32_t c = 0; c < d; c++) {
        float m, s;
        memcpy(&m, mean + 4 * c, 4);
        memcpy(&s, scale + 4 * c, 4);
        float product = s * (float)q[c];
        x[c] = m + product;
    }
}

static void q8_value_row(float *x, const int8_t *q, float scale, int32_t d)
{
    int32_t c = 0;
    for (; c + QU_LANES <= d; c += QU_LANES)
        vf_store(x + c, vf_mul(vf_set1(scale), vf_load_i8(q + c)));
    for (; c < d; c++) x[c] = scale * (float)q[c];
}

static void decode(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n, int32_t d)
{
    const uint8_t *p = in;
    int64_t each = (int64_t)n * d;
    if (codec == QU_CODEC_F32) {
        memcpy(k, p, (size_t)each * 4);
        for (int32_t i = 0; i < n; i++)
            memcpy(v + i * ldv, p + (each + (int64_t)i * d) * 4, (size_t)d * 4);
    } else if (codec == QU_CODEC_F16) {
        for (int32_t i = 0; i < n; i++) {
            f16_row(k + (int64_t)i * d, p + 2 * (int64_t)i * d, d);
            f16_row(v + i * ldv, p + 2 * (each + (int64_t)i * d), d);
        }
    } else if (codec == QU_CODEC_Q8) {
        const uint8_t *value_scale = p + 8 * (int64_t)d;
        const int8_t *q = (const int8_t *)(value_scale + 4 * (int64_t)n);
        for (int32_t i = 0; i < n; i++) {
            float scale;
            memcpy(&scale, value_scale + 4 * i, 4);
            q8_key_row(k + (int64_t)i * d, q + (int64_t)i * d, p, p + 4 * d, d);
            q8_value_row(v + i * ldv, q + each + (int64_t)i * d, scale, d);
        }
    }
}

const qu_codec_ops QU_ISA_NAME(qu_codec_ops) = {decode};
