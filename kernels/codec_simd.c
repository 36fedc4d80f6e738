#include "kernels/ops_simd.h"

#include "kernels/codec.h"
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

/* Loops of one product and one sum, each rounded: the same bits in every instruction set.
 * Vectorising them is left to the compiler; what in points at need not be aligned. */
static float float_at(const uint8_t *p, int32_t i)
{
    float f;
    memcpy(&f, p + 4 * (int64_t)i, sizeof f);
    return f;
}

static void q8_key_row(float *x, const int8_t *q, const uint8_t *mean, const uint8_t *scale,
                       int32_t d)
{
    for (int32_t c = 0; c < d; c++) {
        float product = float_at(scale, c) * (float)q[c];
        x[c] = float_at(mean, c) + product;
    }
}

static void q8_value_row(float *x, const int8_t *q, float scale, int32_t d)
{
    for (int32_t c = 0; c < d; c++) x[c] = scale * (float)q[c];
}

/* Nibbles of channels [from, to), all in low or all in high halves of consecutive bytes, to floats;
 * then base + scale * q. */
static void nibbles(float *x, const uint8_t *row, int32_t h, int32_t from, int32_t to)
{
    int32_t mid = to < h ? to : h > from ? h : from;
    for (int32_t c = from; c < mid; c++) x[c] = (float)(row[c] & 15);
    for (int32_t c = mid; c < to; c++) x[c] = (float)(row[c - h] >> 4);
}

static void q4_key_row(float *x, const uint8_t *row, const uint8_t *base, const uint8_t *scale,
                       int32_t d)
{
    nibbles(x, row, (d + 1) / 2, 0, d);
    for (int32_t c = 0; c < d; c++) {
        float product = float_at(scale, c) * x[c];
        x[c] = float_at(base, c) + product;
    }
}

static void q4_value_row(float *x, const uint8_t *row, const uint8_t *heads, int32_t d)
{
    for (int32_t from = 0; from < d; from += QU_CODEC_GROUP, heads += 4) {
        uint16_t head[2];
        memcpy(head, heads, 4);
        float base = vf_from_f16(head[0]), scale = vf_from_f16(head[1]);
        int32_t to = from + QU_CODEC_GROUP < d ? from + QU_CODEC_GROUP : d;
        nibbles(x, row, (d + 1) / 2, from, to);
        for (int32_t c = from; c < to; c++) {
            float product = scale * x[c];
            x[c] = base + product;
        }
    }
}

static void decode_q4(float *k, float *v, int64_t ldv, const uint8_t *p, int32_t n, int32_t d)
{
    int32_t groups = (d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP, h = (d + 1) / 2;
    const uint8_t *heads = p + 8 * (int64_t)d, *q = heads + 4ll * n * groups;
    for (int32_t i = 0; i < n; i++) {
        q4_key_row(k + (int64_t)i * d, q + (int64_t)i * h, p, p + 4 * d, d);
        q4_value_row(v + i * ldv, q + ((int64_t)n + i) * h, heads + 4ll * i * groups, d);
    }
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
            q8_key_row(k + (int64_t)i * d, q + (int64_t)i * d, p, p + 4 * d, d);
            q8_value_row(v + i * ldv, q + each + (int64_t)i * d, float_at(value_scale, i), d);
        }
    } else if (codec == QU_CODEC_Q4) {
        decode_q4(k, v, ldv, p, n, d);
    }
}

const qu_codec_ops QU_ISA_NAME(qu_codec_ops) = {decode};
