#include "kernels/codec.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/ops_simd.h"
#include "kernels/quant.h"

static const char *const names[QU_CODEC_COUNT] = {"f32", "f16", "q8", "q4"};

const char *qu_codec_name(int codec)
{
    return codec >= 0 && codec < QU_CODEC_COUNT ? names[codec] : NULL;
}

int qu_codec_find(const char *name)
{
    for (int i = 0; i < QU_CODEC_COUNT; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

int64_t qu_codec_bytes(int codec, int32_t n, int32_t d)
{
    int64_t each = (int64_t)n * d;
    switch (codec) {
    case QU_CODEC_F32: return each * 8;
    case QU_CODEC_F16: return each * 4;
    case QU_CODEC_Q8: return each * 2 + (2 * (int64_t)d + n) * 4;
    case QU_CODEC_Q4:
        return 8 * (int64_t)d +
               n * ((d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP * 4 + (d + 1) / 2 * 2ll);
    default: return -1;
    }
}

static float or_zero(float x)
{
    return isfinite(x) ? x : 0;
}

static float within_half(float x)
{
    return x > 65504 ? 65504 : x < -65504 ? -65504 : x;
}

static float inverse_of(float scale)
{
    return scale > 0 && isfinite(1 / scale) ? 1 / scale : 0;
}

/* x less middle as whole numbers of -127 to 127, elements x_step and q_step apart; returns the
 * scale. */
static float encode_int8(int8_t *q, int64_t q_step, const float *x, int64_t x_step, int32_t n,
                         float middle)
{
    float most = 0;
    for (int32_t i = 0; i < n; i++) most = fmaxf(most, fabsf(or_zero(x[i * x_step]) - middle));
    float scale = most / 127, inverse = inverse_of(scale);
    for (int32_t i = 0; i < n; i++) {
        float rounded = nearbyintf((or_zero(x[i * x_step]) - middle) * inverse);
        q[i * q_step] = (int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
    }
    return scale;
}

/* Keys per channel, mean removed; values per token. */
static void encode_q8(float *mean, const float *k, int64_t ldk, const float *v, int64_t ldv,
                      int32_t n, int32_t d)
{
    float *key_scale = mean + d, *value_scale = key_scale + d;
    int8_t *q = (int8_t *)(value_scale + n);
    for (int32_t c = 0; c < d; c++) {
        double sum = 0;
        for (int32_t i = 0; i < n; i++) sum += or_zero(k[i * ldk + c]);
        mean[c] = (float)(sum / n);
        key_scale[c] = encode_int8(q + c, d, k + c, ldk, n, mean[c]);
    }
    q += (int64_t)n * d;
    for (int32_t i = 0; i < n; i++)
        value_scale[i] = encode_int8(q + (int64_t)i * d, 1, v + i * ldv, 1, d, 0);
}

/* 0 to 15 on the scale that begins at base. */
static uint8_t to_nibble(float x, float base, float inverse)
{
    float q = nearbyintf((x - base) * inverse);
    return (uint8_t)(q > 15 ? 15 : q > 0 ? q : 0);
}

static void put_nibble(uint8_t *row, int32_t c, int32_t d, uint8_t q)
{
    int32_t h = (d + 1) / 2;
    row[c < h ? c : c - h] |= (uint8_t)(c < h ? q : q << 4);
}

static void encode_q4_keys(float *base, float *scale, uint8_t *q, const float *k, int64_t ldk,
                           int32_t n, int32_t d)
{
    for (int32_t c = 0; c < d; c++) {
        float least = INFINITY, most = -INFINITY;
        for (int32_t i = 0; i < n; i++) {
            float x = or_zero(k[i * ldk + c]);
            least = x < least ? x : least;
            most = x > most ? x : most;
        }
        base[c] = least;
        scale[c] = most / 15 - least / 15; /* their difference may be too large for a float */
        float inverse = inverse_of(scale[c]);
        for (int32_t i = 0; i < n; i++)
            put_nibble(q + (int64_t)i * ((d + 1) / 2), c, d,
                       to_nibble(or_zero(k[i * ldk + c]), least, inverse));
    }
}

/* Channels [from, to) of one value. Base and scale are rounded before they are used. */
static void encode_q4_group(uint16_t head[2], uint8_t *row, const float *v, int32_t from,
                            int32_t to, int32_t d)
{
    float least = INFINITY, most = -INFINITY, x[QU_CODEC_GROUP];
    for (int32_t c = from; c < to; c++) {
        float f = x[c - from] = within_half(or_zero(v[c]));
        least = f < least ? f : least;
        most = f > most ? f : most;
    }
    head[0] = qu_f32_to_f16(least);
    float base = qu_f16_to_f32(head[0]);
    head[1] = qu_f32_to_f16((most - base) / 15);
    float inverse = inverse_of(qu_f16_to_f32(head[1]));
    for (int32_t c = from; c < to; c++)
        put_nibble(row, c, d, to_nibble(x[c - from], base, inverse));
}

static void encode_q4(uint8_t *out, const float *k, int64_t ldk, const float *v, int64_t ldv,
                      int32_t n, int32_t d)
{
    int32_t groups = (d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP, h = (d + 1) / 2;
    uint16_t *heads = (uint16_t *)(void *)(out + 8 * (int64_t)d);
    uint8_t *qk = (uint8_t *)(heads + 2ll * n * groups), *qv = qk + (int64_t)n * h;
    memset(qk, 0, 2 * (size_t)n * (size_t)h);
    encode_q4_keys((float *)(void *)out, (float *)(void *)out + d, qk, k, ldk, n, d);
    for (int32_t i = 0; i < n; i++)
        for (int32_t g = 0; g < groups; g++) {
            int32_t from = g * QU_CODEC_GROUP, to = from + QU_CODEC_GROUP;
            encode_q4_group(heads + 2 * ((int64_t)i * groups + g), qv + (int64_t)i * h, v + i * ldv,
                            from, to < d ? to : d, d);
        }
}

static void encode_f16(uint16_t *out, const float *x, int64_t ldx, int32_t n, int32_t d)
{
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < d; c++) out[i * d + c] = qu_f32_to_f16(within_half(x[i * ldx + c]));
}

void qu_codec_encode(void *out, int codec, const float *k, int64_t ldk, const float *v, int64_t ldv,
                     int32_t n, int32_t d)
{
    int64_t each = (int64_t)n * d;
    float *f = out;
    if (codec == QU_CODEC_F32) {
        for (int32_t i = 0; i < n; i++) {
            memcpy(f + (int64_t)i * d, k + i * ldk, (size_t)d * sizeof *f);
            memcpy(f + each + (int64_t)i * d, v + i * ldv, (size_t)d * sizeof *f);
        }
    } else if (codec == QU_CODEC_F16) {
        encode_f16(out, k, ldk, n, d);
        encode_f16((uint16_t *)out + each, v, ldv, n, d);
    } else if (codec == QU_CODEC_Q8) {
        encode_q8(f, k, ldk, v, ldv, n, d);
    } else if (codec == QU_CODEC_Q4) {
        encode_q4(out, k, ldk, v, ldv, n, d);
    }
}

void qu_codec_decode(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n,
                     int32_t d)
{
    QU_ISA_PICK(qu_codec_ops)->decode(k, v, ldv, codec, in, n, d);
}
