#include "kernels/quant.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static void q4_0(float *x, const uint8_t *b);
static void q4_1(float *x, const uint8_t *b);
static void q5_0(float *x, const uint8_t *b);
static void q5_1(float *x, const uint8_t *b);
static void q8_0(float *x, const uint8_t *b);
static void q2_k(float *x, const uint8_t *b);
static void q3_k(float *x, const uint8_t *b);
static void q4_k(float *x, const uint8_t *b);
static void q5_k(float *x, const uint8_t *b);
static void q6_k(float *x, const uint8_t *b);
static void iq4_nl(float *x, const uint8_t *b);
static void iq4_xs(float *x, const uint8_t *b);

/* Block sizes of the types that run; the others have a name only, so that a refusal can say it. */
static const struct {
    const char *name;
    int16_t block, bytes;
    void (*dequant)(float *x, const uint8_t *b); /* one block; NULL for single elements */
} TYPES[] = {
    {"F32", 1, 4, NULL},
    {"F16", 1, 2, NULL},
    {"Q4_0", 32, 18, q4_0},
    {"Q4_1", 32, 20, q4_1},
    {"Q4_2", 0, 0, NULL},
    {"Q4_3", 0, 0, NULL},
    {"Q5_0", 32, 22, q5_0},
    {"Q5_1", 32, 24, q5_1},
    {"Q8_0", 32, 34, q8_0},
    {"Q8_1", 0, 0, NULL},
    {"Q2_K", 256, 84, q2_k},
    {"Q3_K", 256, 110, q3_k},
    {"Q4_K", 256, 144, q4_k},
    {"Q5_K", 256, 176, q5_k},
    {"Q6_K", 256, 210, q6_k},
    {"Q8_K", 0, 0, NULL},
    {"IQ2_XXS", 0, 0, NULL},
    {"IQ2_XS", 0, 0, NULL},
    {"IQ3_XXS", 0, 0, NULL},
    {"IQ1_S", 0, 0, NULL},
    {"IQ4_NL", 32, 18, iq4_nl},
    {"IQ3_S", 0, 0, NULL},
    {"IQ2_S", 0, 0, NULL},
    {"IQ4_XS", 256, 136, iq4_xs},
    {"I8", 0, 0, NULL},
    {"I16", 0, 0, NULL},
    {"I32", 0, 0, NULL},
    {"I64", 0, 0, NULL},
    {"F64", 0, 0, NULL},
    {"IQ1_M", 0, 0, NULL},
    {"BF16", 1, 2, NULL},
    {"Q4_0_4_4", 0, 0, NULL},
    {"Q4_0_4_8", 0, 0, NULL},
    {"Q4_0_8_8", 0, 0, NULL},
    {"TQ1_0", 0, 0, NULL},
    {"TQ2_0", 0, 0, NULL},
    {"IQ4_NL_4_4", 0, 0, NULL},
    {"IQ4_NL_4_8", 0, 0, NULL},
    {"IQ4_NL_8_8", 0, 0, NULL},
    {"MXFP4", 0, 0, NULL},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0], BLOCK = 32, SUPER = 256 };

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

static inline float half_at(const uint8_t *p)
{
    return qu_f16_to_f32(load_u16(p));
}

/* Low nibbles are elements 0..15 of a block of 32, high ones 16..31. */
static inline int nibble(const uint8_t *q, int i)
{
    return q[i % 16] >> i / 16 * 4 & 15;
}

/* The fifth bit of element i, in its place. */
static inline int fifth(const uint8_t *h, int i)
{
    return (h[i / 8] >> i % 8 & 1) << 4;
}

static void q4_0(float *x, const uint8_t *b)
{
    float d = half_at(b);
    for (int i = 0; i < BLOCK; i++) x[i] = d * (float)(nibble(b + 2, i) - 8);
}

static void q4_1(float *x, const uint8_t *b)
{
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < BLOCK; i++) x[i] = d * (float)nibble(b + 4, i) + m;
}

static void q5_0(float *x, const uint8_t *b)
{
    float d = half_at(b);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float)((nibble(b + 6, i) | fifth(b + 2, i)) - 16);
}

static void q5_1(float *x, const uint8_t *b)
{
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < BLOCK; i++) x[i] = d * (float)(nibble(b + 8, i) | fifth(b + 4, i)) + m;
}

static void q8_0(float *x, const uint8_t *b)
{
    float d = half_at(b);
    for (int i = 0; i < BLOCK; i++) x[i] = d * (float)(int8_t)b[2 + i];
}

const int8_t qu_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static void iq4_nl(float *x, const uint8_t *b)
{
    float d = half_at(b);
    for (int i = 0; i < BLOCK; i++) x[i] = d * (float)qu_iq4_values[nibble(b + 2, i)];
}

/* Scale and min of 32 elements, six bits each: the first four of both lie in the low bits of bytes 0
 * to 7; the last four have their low bits in bytes 8 to 11, their high ones on top of the others. */
static void scale_min(const uint8_t *s, int i, float *scale, float *min)
{
    int low = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
    int high = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
    *scale = (float)low;
    *min = (float)high;
}

static void q4_k(float *x, const uint8_t *b)
{
    float d = half_at(b), dmin = half_at(b + 2), scale, min;
    for (int i = 0; i < SUPER; i++) {
        scale_min(b + 4, i / 32, &scale, &min);
        int q = b[16 + i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
        x[i] = d * scale * (float)q - dmin * min;
    }
}

static void q5_k(float *x, const uint8_t *b)
{
    float d = half_at(b), dmin = half_at(b + 2), scale, min;
    for (int i = 0; i < SUPER; i++) {
        scale_min(b + 4, i / 32, &scale, &min);
        int q = b[48 + i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
        q |= (b[16 + i % 32] >> i / 32 & 1) << 4;
        x[i] = d * scale * (float)q - dmin * min;
    }
}

static void q2_k(float *x, const uint8_t *b)
{
    float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int i = 0; i < SUPER; i++) {
        int s = b[i / 16], q = b[16 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
        x[i] = d * (float)(s & 15) * (float)q - dmin * (float)(s >> 4);
    }
}

static void q3_k(float *x, const uint8_t *b)
{
    float d = half_at(b + 108);
    const uint8_t *s = b + 96;
    for (int i = 0; i < SUPER; i++) {
        int g = i / 16, q = b[32 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
        int scale = (s[g % 8] >> g / 8 * 4 & 15) | (s[8 + g % 4] >> g / 4 * 2 & 3) << 4;
        q |= (b[i % 32] >> i / 32 & 1) << 2;
        x[i] = d * (float)(scale - 32) * (float)(q - 4);
    }
}

static void q6_k(float *x, const uint8_t *b)
{
    float d = half_at(b + 208);
    for (int i = 0; i < SUPER; i++) {
        int q = b[i / 128 * 64 + i % 64] >> i / 64 % 2 * 4 & 15;
        q |= (b[128 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) << 4;
        x[i] = d * (float)(int8_t)b[192 + i / 16] * (float)(q - 32);
    }
}

static void iq4_xs(float *x, const uint8_t *b)
{
    float d = half_at(b);
    for (int i = 0; i < SUPER; i++) {
        int g = i / 32, q = b[8 + g * 16 + i % 16] >> i / 16 % 2 * 4 & 15;
        int scale = (b[4 + g / 2] >> g % 2 * 4 & 15) | (load_u16(b + 2) >> 2 * g & 3) << 4;
        x[i] = d * (float)(scale - 32) * (float)qu_iq4_values[q];
    }
}

void qu_dequant_ref(float *x, const void *blocks, int type, int64_t n)
{
    const uint8_t *b = blocks;
    int32_t block = qu_type_block(type);
    if (type == QU_TYPE_F32) memcpy(x, b, (size_t)n * sizeof *x);
    for (int64_t i = 0; type == QU_TYPE_F16 && i < n; i++) x[i] = half_at(b + 2 * i);
    for (int64_t i = 0; type == QU_TYPE_BF16 && i < n; i++)
        x[i] = qu_bf16_to_f32(load_u16(b + 2 * i));
    for (int64_t i = 0; block > 1 && i + block <= n; i += block, b += TYPES[type].bytes)
        TYPES[type].dequant(x + i, b);
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

/* Nibbles, or five bits, of a block of 32. Without a minimum the element of largest magnitude becomes
 * exactly the lowest number, whatever its sign; with one the range is cut evenly. */
static void quant_bits(uint8_t *b, const float *x, int bits, bool with_min)
{
    float top = 0, low = x[0], high = x[0];
    for (int i = 0; i < BLOCK; i++) {
        if (fabsf(x[i]) > fabsf(top)) top = x[i];
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    int half = 1 << (bits - 1), most = 2 * half - 1;
    float d = with_min ? (high - low) / (float)most : top / (float)-half, inv = d != 0 ? 1 / d : 0;
    uint8_t *h = b + (with_min ? 4 : 2), *q = h + (bits == 5 ? 4 : 0);
    store_u16(b, qu_f32_to_f16(d));
    if (with_min) store_u16(b + 2, qu_f32_to_f16(low));
    memset(h, 0, (size_t)(q - h) + BLOCK / 2);
    for (int i = 0; i < BLOCK; i++) {
        double scaled = with_min ? (x[i] - low) * inv + 0.5f : (double)x[i] * inv + half + 0.5;
        int v = clamp_int(scaled, 0, most);
        q[i % 16] |= (uint8_t)((v & 15) << i / 16 * 4);
        if (bits == 5) h[i / 8] |= (uint8_t)(v >> 4 << i % 8);
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
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 18) quant_bits(b, x, 4, false);
        break;
    case QU_TYPE_Q4_1:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 20) quant_bits(b, x, 4, true);
        break;
    case QU_TYPE_Q5_0:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 22) quant_bits(b, x, 5, false);
        break;
    case QU_TYPE_Q5_1:
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, b += 24) quant_bits(b, x, 5, true);
        break;
    default: break;
    }
}
