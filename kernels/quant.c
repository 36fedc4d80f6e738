#include "kernels/quant.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ROW(type, block, bytes) [QU_TYPE_##type] = {#type, block, bytes},
static const struct {
    const char *name;
    int16_t block, bytes;
} TYPES[] = {QU_TYPES(ROW)};

/* Types that do not run have a name only, so that a refusal can say it. */
static const char *const NAMES[] = {
    [4] = "Q4_2",      [5] = "Q4_3",      [9] = "Q8_1",      [15] = "Q8_K",    [16] = "IQ2_XXS",
    [17] = "IQ2_XS",   [18] = "IQ3_XXS",  [19] = "IQ1_S",    [21] = "IQ3_S",   [22] = "IQ2_S",
    [24] = "I8",       [25] = "I16",      [26] = "I32",      [27] = "I64",     [28] = "F64",
    [29] = "IQ1_M",    [31] = "Q4_0_4_4", [32] = "Q4_0_4_8", [33] = "Q4_0_8_8", [34] = "TQ1_0",
    [35] = "TQ2_0",    [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8",
    [39] = "MXFP4",
};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES, N_NAMES = sizeof NAMES / sizeof *NAMES };
enum { BLOCK = 32, SUPER = 256 };

const char *qu_type_known_name(int type)
{
    const char *name = qu_type_name(type);
    return name || type < 0 || type >= N_NAMES ? name : NAMES[type];
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
    return type >= 0 && type < N_TYPES ? TYPES[type].name : NULL;
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

const int8_t qu_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

/* The type is a constant wherever these are used: no branch is left inside the loops. */
#define INLINE static inline __attribute__((always_inline))

/* Blocks of 32: low nibbles are elements 0..15, high ones 16..31; fifth bits are a number of 32. */
INLINE void block_32(float *x, const uint8_t *b, const int type)
{
    const bool with_min = type == QU_TYPE_Q4_1 || type == QU_TYPE_Q5_1;
    const bool five = type == QU_TYPE_Q5_0 || type == QU_TYPE_Q5_1;
    const uint8_t *h = b + (with_min ? 4 : 2), *q = h + (five ? 4 : 0);
    float d = half_at(b), m = with_min ? half_at(b + 2) : 0;
    for (int i = 0; i < BLOCK; i++) {
        int v = q[i % 16] >> i / 16 * 4 & 15;
        if (five) v |= (h[i / 8] >> i % 8 & 1) << 4;
        if (type == QU_TYPE_Q4_0) v -= 8;
        if (type == QU_TYPE_Q5_0) v -= 16;
        if (type == QU_TYPE_Q8_0) v = (int8_t)b[2 + i];
        if (type == QU_TYPE_IQ4_NL) v = qu_iq4_values[v];
        x[i] = d * (float)v;
        if (with_min) x[i] += m;
    }
}

/* Scale and min of 32 elements, six bits each: the first four of both lie in the low bits of bytes
 * 0 to 7; the last four have their low bits in bytes 8 to 11, their high ones on top of the
 * others. */
static void scale_min(const uint8_t *s, int i, float *scale, float *min)
{
    int low = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
    int high = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
    *scale = (float)low;
    *min = (float)high;
}

/* Blocks of 256: elements in runs of 16 or 32 with a scale, the numbers' bits in layers of 32
 * bytes. */
INLINE void block_256(float *x, const uint8_t *b, const int type)
{
    const bool five = type == QU_TYPE_Q5_K, two = type == QU_TYPE_Q2_K;
    const bool with_min = five || two || type == QU_TYPE_Q4_K;
    const int at = two ? 80 : type == QU_TYPE_Q3_K ? 108 : type == QU_TYPE_Q6_K ? 208 : 0;
    const float d = half_at(b + at), dmin = with_min ? half_at(b + at + 2) : 0;
    for (int i = 0; i < SUPER; i++) {
        int g = i / 16, low = i / 128 * 32 + i % 32, pair = i / 32 % 4 * 2, q, scale;
        float factor, min;
        switch (type) {
        case QU_TYPE_Q2_K:
            q = b[16 + low] >> pair & 3;
            x[i] = d * (float)(b[g] & 15) * (float)q - dmin * (float)(b[g] >> 4);
            break;
        case QU_TYPE_Q3_K:
            q = (b[32 + low] >> pair & 3) | (b[i % 32] >> i / 32 & 1) << 2;
            scale = (b[96 + g % 8] >> g / 8 * 4 & 15) | (b[104 + g % 4] >> g / 4 * 2 & 3) << 4;
            x[i] = d * (float)(scale - 32) * (float)(q - 4);
            break;
        case QU_TYPE_Q6_K:
            q = b[i / 128 * 64 + i % 64] >> i / 64 % 2 * 4 & 15;
            q |= (b[128 + low] >> pair & 3) << 4;
            x[i] = d * (float)(int8_t)b[192 + g] * (float)(q - 32);
            break;
        case QU_TYPE_IQ4_XS:
            q = b[8 + i / 32 * 16 + i % 16] >> i / 16 % 2 * 4 & 15;
            scale = (b[4 + g / 4] >> g / 2 % 2 * 4 & 15) | (load_u16(b + 2) >> i / 32 * 2 & 3) << 4;
            x[i] = d * (float)(scale - 32) * (float)qu_iq4_values[q];
            break;
        default: /* Q4_K, Q5_K */
            scale_min(b + 4, i / 32, &factor, &min);
            q = b[(five ? 48 : 16) + i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
            if (five) q |= (b[16 + i % 32] >> i / 32 & 1) << 4;
            x[i] = d * factor * (float)q - dmin * min;
        }
    }
}

INLINE void block_of(float *x, const uint8_t *b, const int type)
{
    switch (type) {
    case QU_TYPE_F32: memcpy(x, b, sizeof *x); break;
    case QU_TYPE_F16: *x = half_at(b); break;
    case QU_TYPE_BF16: *x = qu_bf16_to_f32(load_u16(b)); break;
    case QU_TYPE_Q2_K:
    case QU_TYPE_Q3_K:
    case QU_TYPE_Q4_K:
    case QU_TYPE_Q5_K:
    case QU_TYPE_Q6_K:
    case QU_TYPE_IQ4_XS: block_256(x, b, type); break;
    default: block_32(x, b, type);
    }
}

void qu_dequant_ref(float *x, const void *blocks, int type, int64_t n)
{
    const uint8_t *b = blocks;
    switch (type) { /* one loop a type, so that the branch is outside */
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name:                                                                           \
        for (int64_t i = 0; i + block <= n; i += block, b += bytes)                                \
            block_of(x + i, b, QU_TYPE_##name);                                                    \
        break;
        QU_TYPES(CASE)
#undef CASE
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

/* Nibbles, or five bits, of a block of 32. Without a minimum the element of largest magnitude
 * becomes exactly the lowest number, whatever its sign; with one the range is cut evenly. */
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
    int32_t block = qu_type_block(type), bytes = qu_type_block_bytes(type);
    for (; block > 0 && n >= block; n -= block, x += block, b += bytes)
        switch (type) {
        case QU_TYPE_F32: memcpy(b, x, sizeof *x); break;
        case QU_TYPE_F16: store_u16(b, qu_f32_to_f16(*x)); break;
        case QU_TYPE_BF16: store_u16(b, qu_f32_to_bf16(*x)); break;
        case QU_TYPE_Q8_0: quant_q8_0(b, x); break;
        case QU_TYPE_Q4_0: quant_bits(b, x, 4, false); break;
        case QU_TYPE_Q4_1: quant_bits(b, x, 4, true); break;
        case QU_TYPE_Q5_0: quant_bits(b, x, 5, false); break;
        case QU_TYPE_Q5_1: quant_bits(b, x, 5, true); break;
        default: break;
        }
}
