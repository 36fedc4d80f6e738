/* Sixteen weights at a time out of stored blocks, in registers: x = scale * q - min, the same bits
 * as qu_dequant_ref. Private to kernels/x_simd.c; the type is a constant wherever these are used.
 *
 *     for (; k < n; k += quant_step(type), b += quant_step_bytes(type)) {
 *         float scale[16], min[16];
 *         quant_scales(scale, min, b, type);
 *         for (int g = 0; g < quant_step(type) / 16; g++) use(quant_load(b, type, g, scale, min));
 *     }
 *
 * A step is one block; of types without blocks it is sixteen elements. Not for plain C: there
 * qu_dequant_ref is as fast.
 */
#ifndef QU_KERNELS_QUANT_SIMD_H
#define QU_KERNELS_QUANT_SIMD_H

#include <stdbool.h>

#include "kernels/quant.h"
#include "kernels/simd.h"

typedef uint8_t b16 __attribute__((vector_size(16)));

VF int quant_step(const int type)
{
    switch (type) {
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: return block == 1 ? QU_LANES : block;
        QU_TYPES(CASE)
#undef CASE
    default: return 0;
    }
}

VF int quant_step_bytes(const int type)
{
    switch (type) {
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: return block == 1 ? QU_LANES * bytes : bytes;
        QU_TYPES(CASE)
#undef CASE
    default: return 0;
    }
}

VF float half_of(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return vf_from_f16(h);
}

VF b16 bytes_of(const uint8_t *p)
{
    b16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

VF vf floats_of(b16 q)
{
    int8_t x[QU_LANES];
    memcpy(x, &q, sizeof x);
    return vf_load_i8(x);
}

/* Three words of packed scales, as 16 bytes. */
VF b16 packed_scales(const uint8_t *p, const bool q3)
{
    const uint32_t low = 0x0f0f0f0f, two = 0x03030303, six = 0x3f3f3f3f;
    uint32_t a[3];
    b16 v;
    memcpy(a, p, sizeof a);
    const uint32_t c = a[2];
    const uint32_t w[4] = {q3 ? (a[0] & low) | (c & two) << 4 : a[0] & six,
                           q3 ? (a[1] & low) | (c >> 2 & two) << 4
                              : (c & low) | (a[0] >> 6 & two) << 4,
                           q3 ? (a[0] >> 4 & low) | (c >> 4 & two) << 4 : a[1] & six,
                           q3 ? (a[1] >> 4 & low) | (c >> 6 & two) << 4
                              : (c >> 4 & low) | (a[1] >> 6 & two) << 4};
    memcpy(&v, w, sizeof v);
    return v;
}

/* The scales of a block of Q4_K or Q5_K, from lane 8 on its minima; of Q6_K. */
VF vf packed_values(const uint8_t *b, const int type)
{
    if (type == QU_TYPE_Q6_K)
        return vf_mul(vf_set1(half_of(b + 208)), floats_of(bytes_of(b + 192)));
    return vf_mul(vf_both(half_of(b), half_of(b + 2)), floats_of(packed_scales(b + 4, false)));
}

/* The scales and minima of the block at b, in order; Q4_K and Q5_K have their minima behind the
 * scales, from scale[8] on. What a type does not have is left alone, as is the one scale of blocks of
 * 32, which quant_load spreads straight from the block. */
VF void quant_scales(float *scale, float *min, const uint8_t *b, const int type)
{
    vf v;
    switch (type) {
    case QU_TYPE_Q4_1:
    case QU_TYPE_Q5_1: min[0] = -half_of(b + 2); break;
    case QU_TYPE_Q2_K:
        vf_store(scale, vf_mul(vf_set1(half_of(b + 80)), floats_of(bytes_of(b) & 15)));
        vf_store(min, vf_mul(vf_set1(half_of(b + 82)), floats_of(bytes_of(b) >> 4)));
        break;
    case QU_TYPE_Q3_K:
        v = floats_of(packed_scales(b + 96, true) - 32);
        vf_store(scale, vf_mul(vf_set1(half_of(b + 108)), v));
        break;
    case QU_TYPE_Q4_K:
    case QU_TYPE_Q5_K:
    case QU_TYPE_Q6_K: vf_store(scale, packed_values(b, type)); break;
    case QU_TYPE_IQ4_XS:
        for (int i = 0; i < 8; i++) {
            int x = (b[4 + i / 2] >> i % 2 * 4 & 15) | (b[2 + i / 4] >> i % 4 * 2 & 3) << 4;
            scale[i] = half_of(b) * (float)(x - 32);
        }
        break;
    default: break;
    }
}

/* Sixteen nibbles: the low ones of the bytes at p, or the high ones. */
VF b16 nibbles_of(const uint8_t *p, const int high)
{
    return high ? bytes_of(p) >> 4 : bytes_of(p) & 15;
}

/* out[i] = table[index[i]] */
VF b16 shuffled(b16 table, b16 index)
{
#ifdef __clang__
    b16 v;
    for (int i = 0; i < 16; i++) v[i] = table[index[i]];
    return v;
#else
    return __builtin_shuffle(table, index);
#endif
}

/* Sixteen bits at p as bytes of 0 or 16. */
VF b16 fifths_of(const uint8_t *p)
{
    typedef uint16_t h8 __attribute__((vector_size(16)));
    const b16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const b16 upper = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return (b16)((shuffled((b16)(h8){h, h, h, h, h, h, h, h}, upper) & bit) == bit) & 16;
}

VF b16 iq4_of(b16 index)
{
    b16 table;
    memcpy(&table, qu_iq4_values, sizeof table);
    return shuffled(table, index);
}

/* The numbers q of elements [16 g, 16 g + 16) of the block at b, as int8. */
VF b16 quants_of(const uint8_t *b, const int type, const int g)
{
    const int in64 = g / 4 * 32 + g % 2 * 16, in128 = g / 8 * 32 + g % 2 * 16; /* their bytes */
    const int pair = g / 2 % 4 * 2;
    switch (type) {
    case QU_TYPE_Q4_0: return nibbles_of(b + 2, g) - 8;
    case QU_TYPE_Q4_1: return nibbles_of(b + 4, g);
    case QU_TYPE_Q5_0: return (nibbles_of(b + 6, g) | fifths_of(b + 2 + 2 * g)) - 16;
    case QU_TYPE_Q5_1: return nibbles_of(b + 8, g) | fifths_of(b + 4 + 2 * g);
    case QU_TYPE_Q8_0: return bytes_of(b + 2 + 16 * g);
    case QU_TYPE_IQ4_NL: return iq4_of(nibbles_of(b + 2, g));
    case QU_TYPE_IQ4_XS: return iq4_of(nibbles_of(b + 8 + g / 2 * 16, g % 2));
    case QU_TYPE_Q2_K: return bytes_of(b + 16 + in128) >> pair & 3;
    case QU_TYPE_Q3_K:
        return ((bytes_of(b + 32 + in128) >> pair & 3) |
                (bytes_of(b + g % 2 * 16) >> g / 2 & 1) << 2) - 4;
    case QU_TYPE_Q4_K: return nibbles_of(b + 16 + in64, g / 2 % 2);
    case QU_TYPE_Q5_K:
        return nibbles_of(b + 48 + in64, g / 2 % 2) |
               (bytes_of(b + 16 + g % 2 * 16) >> g / 2 & 1) << 4;
    default: /* Q6_K */
        return (nibbles_of(b + g / 8 * 64 + g % 4 * 16, g / 4 % 2) |
                (bytes_of(b + 128 + in128) >> pair & 3) << 4) - 32;
    }
}

/* Elements [16 g, 16 g + 16) of the step at b. Scale and minimum are applied in f32, each with one
 * rounding, as in qu_dequant_ref: so both give the same bits. */
VF vf quant_load(const uint8_t *b, const int type, const int g, const float *scale,
                 const float *min)
{
    switch (type) {
    case QU_TYPE_F32: return vf_load((const float *)(const void *)b);
    case QU_TYPE_F16: return vf_load_f16(b);
    case QU_TYPE_BF16: return vf_load_bf16(b);
    default: break;
    }
    const bool by32 = type == QU_TYPE_Q4_K || type == QU_TYPE_Q5_K || type == QU_TYPE_IQ4_XS;
    const bool one = quant_step(type) == 32;
    const int i = one ? 0 : by32 ? g / 2 : g;
    const vf d = one ? vf_set1_f16((uint16_t)(b[0] | b[1] << 8)) : vf_set1(scale[i]);
    vf x = vf_mul(d, floats_of(quants_of(b, type, g)));
    switch (type) {
    case QU_TYPE_Q4_1:
    case QU_TYPE_Q5_1:
    case QU_TYPE_Q2_K: return vf_sub(x, vf_set1(min[i]));
    case QU_TYPE_Q4_K:
    case QU_TYPE_Q5_K: return vf_sub(x, vf_set1(scale[8 + i]));
    default: return x;
    }
}

#endif
