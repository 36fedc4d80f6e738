#include "kernels/codec.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/codec_simd.h"
#include "kernels/quant.h"

static const char *const names[QU_CODEC_COUNT] = {"f32", "f16", "q8"};

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
    default: return -1;
    }
}

static float or_zero(float x)
{
    return isfinite(x) ? x : 0;
}

static int8_t to_int8(float x, float inverse)
{
    float q = nearbyintf(x * inverse);
    return (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
}

/* Keys: per channel, mean removed. */
static void encode_q8_keys(float *mean, float *scale, int8_t *q, const float *k, int64_t ldk,
                           int32_t n, int32_t d)
{
    for (int32_t c = 0; c < d; c++) {
        double sum = 0;
        float most = 0;
        for (int32_t i = 0; i < n; i++) sum += or_zero(k[i * ldk + c]);
        mean[c] = (float)(sum / n);
        for (int32_t i = 0; i < n; i++)
            most = fmaxf(most, fabsf(or_zero(k[i * ldk + c]) - mean[c]));
        scale[c] = most / 127;
        float inverse = scale[c] > 0 && isfinite(1 / scale[c]) ? 1 / scale[c] : 0;
        for (int32_t i = 0; i < n; i++)
            q[i * d + c] = to_int8(or_zero(k[i * ldk + c]) - mean[c], inverse);
    }
}

/* Values: per token. */
static void encode_q8_values(float *scale, int8_t *q, const float *v, int64_t ldv, int32_t n,
                             int32_t d)
{
    for (int32_t i = 0; i < n; i++) {
        float most = 0;
        for (int32_t c = 0; c < d; c++) most = fmaxf(most, fabsf(or_zero(v[i * ldv + c])));
        scale[i] = most / 127;
        float inverse = scale[i] > 0 && isfinite(1 / scale[i]) ? 1 / scale[i] : 0;
        for (int32_t c = 0; c < d; c++) q[i * d + c] = to_int8(or_zero(v[i * ldv + c]), inverse);
    }
}

static void encode_f16(uint16_t *out, const float *x, int64_t ldx, int32_t n, int32_t d)
{
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < d; c++) {
            float f = x[i * ldx + c];
            out[i * d + c] = qu_f32_to_f16(f > 65504 ? 65504 : f < -65504 ? -65504 : f);
        }
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
        int8_t *q = (int8_t *)(f + 2 * d + n);
        encode_q8_keys(f, f + d, q, k, ldk, n, d);
        encode_q8_values(f + 2 * d, q + each, v, ldv, n, d);
    }
}

void qu_codec_decode(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n,
                     int32_t d)
{
    QU_ISA_PICK(qu_codec_ops)->decode(k, v, ldv, codec, in, n, d);
}
