#include "kernels/quant.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Block sizes of the types that run; the others have a name only, so that a refusal can say it. */
static const struct {
    const char *name;
    int16_t block, bytes;
} TYPES[] = {
    {"F32", 1, 4},        {"F16", 1, 2},        {"Q4_0", 32, 18},     {"Q4_1", 0, 0},
    {"Q4_2", 0, 0},       {"Q4_3", 0, 0},       {"Q5_0", 0, 0},       {"Q5_1", 0, 0},
    {"Q8_0", 32, 34},     {"Q8_1", 0, 0},       {"Q2_K", 0, 0},       {"Q3_K", 0, 0},
    {"Q4_K", 0, 0},       {"Q5_K", 0, 0},       {"Q6_K", 0, 0},       {"Q8_K", 0, 0},
    {"IQ2_XXS", 0, 0},    {"IQ2_XS", 0, 0},     {"IQ3_XXS", 0, 0},    {"IQ1_S", 0, 0},
    {"IQ4_NL", 0, 0},     {"IQ3_S", 0, 0},      {"IQ2_S", 0, 0},      {"IQ4_XS", 0, 0},
    {"I8", 0, 0},         {"I16", 0, 0},        {"I32", 0, 0},        {"I64", 0, 0},
    {"F64", 0, 0},        {"IQ1_M", 0, 0},      {"BF16", 1, 2},       {"Q4_0_4_4", 0, 0},
    {"Q4_0_4_8", 0, 0},   {"Q4_0_8_8", 0, 0},   {"TQ1_0", 0, 0},      {"TQ2_0", 0, 0},
    {"IQ4_NL_4_4", 0, 0}, {"IQ4_NL_4_8", 0, 0}, {"IQ4_NL_8_8", 0, 0}, {"MXFP4", 0, 0},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0], BLOCK = 32 };

const char *qu_type_known_name(int type)
{
    return type >= 0 && type < N_TYPES ? TYPES[type].name : NULL;
}

int32_t qu_type_block(int type)
{
    return type >= 0 && type < N_TYPES ? TYPES[type].block : 0;
}

int32_t qu_type_block_bytes(int type)
{
    return type >= 0 && type < N_TYPES ? TYPES[type].bytes : 0;
}

const char *qu_type_name(int type)
{
    return qu_type_block(type) ? TYPES[type].name : NULL;
}

int64_t qu_type_bytes(int type, int64_t n)
{
    int32_t block = qu_type_block(type), bytes = qu_type_block_bytes(type);
    if (block == 0 || n < 0 || n % block != 0 || n / block > INT64_MAX / bytes) return -1;
    return n / block * bytes;
}

static inline uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* The same bits as F16C's vcvtph2ps, which makes signalling NaNs quiet. */
float qu_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31) return bits_float(sign | 0x7f800000 | (m ? 0x400000 : 0) | m << 13);
    if (e == 0) return bits_float(sign | float_bits((float)m * 0x1p-24f));
    return bits_float(sign | (e + 112) << 23 | m << 13);
}

uint16_t qu_f32_to_f16(float f)
{
    uint32_t u = float_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x1ff));
    if (a >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* from 65520 on the nearest is infinity */
    if (a >= 0x38800000) {
        a -= 112u << 23;
        return (uint16_t)(sign | (a + 0xfff + (a >> 13 & 1)) >> 13);
    }
    /* Subnormal halves are multiples of 2^-24, the unit in the last place of 0.5: adding it rounds.
     */
    return (uint16_t)(sign | (float_bits(bits_float(a) + 0.5f) - 0x3f000000));
}

float qu_bf16_to_f32(uint16_t h)
{
    return bits_float((uint32_t)h << 16);
}

uint16_t qu_f32_to_bf16(float f)
{
    uint32_t u = float_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline void store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void qu_dequant_ref(float *x, const void *blocks, int type, int64_t n)
{
    const uint8_t *b = blocks;
    switch (type) {
    case QU_TYPE_F32: memcpy(x, b, (size_t)n * sizeof *x); break;
    case QU_TYPE_F16:
        for (int64_t i = 0; i < n; i++) x[i] = qu_f16_to_f32(load_u16(b + 2 * i));
        break;
    case QU_TYPE_BF16:
        for (int64_t i = 0; i < n; i++) x[i] = qu_bf16_to_f32(load_u16(b + 2 * i));
        break;
    case QU_TYPE_Q8_0:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 34) {
            float d = qu_f16_to_f32(load_u16(b));
            for (int i = 0; i < BLOCK; i++) x[i] = d * (float)(int8_t)b[2 + i];
        }
        break;
    case QU_TYPE_Q4_0:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 18) {
            float d = qu_f16_to_f32(load_u16(b));
            for (int i = 0; i < BLOCK / 2; i++) {
                x[i] = d * (float)((b[2 + i] & 15) - 8);
                x[i + BLOCK / 2] = d * (float)((b[2 + i] >> 4) - 8);
            }
        }
        break;
    default: break;
    }
}

/* Truncate v into [lo, hi]; NaN gives lo, since a cast of it would be undefined. */
static inline int clamp_int(double v, int lo, int hi)
{
    if (!(v > lo)) return lo;
    return v < hi ? (int)v : hi;
}

static void quant_q8_0(uint8_t *b, const float *x)
{
    float top = 0;
    for (int i = 0; i < BLOCK; i++) top = fmaxf(top, fabsf(x[i]));
    float d = top / 127, inv = d != 0 ? 1 / d : 0;
    store_u16(b, qu_f32_to_f16(d));
    for (int i = 0; i < BLOCK; i++) b[2 + i] = (uint8_t)clamp_int(roundf(x[i] * inv), -127, 127);
}

/* The element of largest magnitude becomes exactly -8, whatever its sign. */
static void quant_q4_0(uint8_t *b, const float *x)
{
    float top = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(top)) top = x[i];
    float d = top / -8, inv = d != 0 ? 1 / d : 0;
    store_u16(b, qu_f32_to_f16(d));
    for (int i = 0; i < BLOCK / 2; i++) {
        int low = clamp_int((double)x[i] * inv + 8.5, 0, 15);
        int high = clamp_int((double)x[i + BLOCK / 2] * inv + 8.5, 0, 15);
        b[2 + i] = (uint8_t)(low | high << 4);
    }
}

void qu_quant_ref(void *blocks, const float *x, int type, int64_t n)
{
    uint8_t *b = blocks;
    switch (type) {
    case QU_TYPE_F32: memcpy(b, x, (size_t)n * sizeof *x); break;
    case QU_TYPE_F16:
        for (int64_t i = 0; i < n; i++) store_u16(b + 2 * i, qu_f32_to_f16(x[i]));
        break;
    case QU_TYPE_BF16:
        for (int64_t i = 0; i < n; i++) store_u16(b + 2 * i, qu_f32_to_bf16(x[i]));
        break;
    case QU_TYPE_Q8_0:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 34) quant_q8_0(b, x);
        break;
    case QU_TYPE_Q4_0:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 18) quant_q4_0(b, x);
        break;
    default: break;
    }
}
