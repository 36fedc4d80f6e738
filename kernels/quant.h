/* Element types of weight tensors: sizes, names and exact dequantisation of whole rows.
 *
 * Values are pinned to GGUF's ggml_type numbers. A row of n elements is n / block blocks.
 *
 *   type  block  bytes  layout (little endian)
 *   F32   1      4      float
 *   F16   1      2      IEEE half
 *   BF16  1      2      upper half of a float
 *   Q4_0  32     18     half d; 16 bytes: low nibbles elements 0..15, high 16..31; x = d * (q - 8)
 *   Q8_0  32     34     half d; int8 q[32]; x = d * q
 *   Q4_1  32     20     half d, m; nibbles as Q4_0; x = d * q + m
 *   Q5_0  32     22     half d; u32 fifth bits; nibbles as Q4_0; x = d * (q - 16)
 *   Q5_1  32     24     half d, m; u32 fifth bits; nibbles as Q4_0; x = d * q + m
 *   Q2_K  256    84     16 bytes: scale low, min high nibble; 64 bytes of two bits; half d, dmin
 *   Q3_K  256    110    32 bytes of third bits; 64 bytes of two bits; 12 bytes: 16 scales; half d
 *   Q4_K  256    144    half d, dmin; 12 bytes: 8 scales, 8 mins of six bits; 128 bytes of nibbles
 *   Q5_K  256    176    as Q4_K with 32 bytes of fifth bits before the nibbles
 *   Q6_K  256    210    128 bytes of nibbles; 64 of upper two bits; int8 scale[16]; half d
 *   IQ4_NL 32    18     half d; nibbles as Q4_0 into a table of 16 values; x = d * table[q]
 *   IQ4_XS 256   136    half d; u16 upper scale bits; 4 bytes of lower ones; nibbles as IQ4_NL
 *
 * Of the K types x = (d * scale) * q - (dmin * min), without the second part where there is no
 * dmin; scales stand for 16 elements (Q2_K, Q3_K, Q6_K) or 32 (Q4_K, Q5_K, IQ4_XS).
 * kernels/quant_simd.h has the order of the bits.
 */
#ifndef QU_KERNELS_QUANT_H
#define QU_KERNELS_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum qu_type {
    QU_TYPE_F32 = 0,
    QU_TYPE_F16 = 1,
    QU_TYPE_Q4_0 = 2,
    QU_TYPE_Q4_1 = 3,
    QU_TYPE_Q5_0 = 6,
    QU_TYPE_Q5_1 = 7,
    QU_TYPE_Q8_0 = 8,
    QU_TYPE_Q2_K = 10,
    QU_TYPE_Q3_K = 11,
    QU_TYPE_Q4_K = 12,
    QU_TYPE_Q5_K = 13,
    QU_TYPE_Q6_K = 14,
    QU_TYPE_IQ4_NL = 20,
    QU_TYPE_IQ4_XS = 23,
    QU_TYPE_BF16 = 30,
} qu_type;

/* f(NAME, block, bytes) of every type. */
#define QU_TYPES(f)                                                                                \
    f(F32, 1, 4) f(F16, 1, 2) f(BF16, 1, 2) f(Q4_0, 32, 18) f(Q4_1, 32, 20) f(Q5_0, 32, 22)        \
    f(Q5_1, 32, 24) f(Q8_0, 32, 34) f(Q2_K, 256, 84) f(Q3_K, 256, 110) f(Q4_K, 256, 144)           \
    f(Q5_K, 256, 176) f(Q6_K, 256, 210) f(IQ4_NL, 32, 18) f(IQ4_XS, 256, 136)

/* "Q8_0"; NULL for values that Quire cannot run. */
const char *qu_type_name(int type);

/* Name of any GGUF type number, also of those that cannot be run; NULL when none is known. */
const char *qu_type_known_name(int type);

/* Elements and bytes of a block; 0 for an unknown type. */
int32_t qu_type_block(int type);
int32_t qu_type_block_bytes(int type);

/* Bytes of n elements, a multiple of the block; -1 when it is not or the type is unknown. */
int64_t qu_type_bytes(int type, int64_t n);

/* Dequantise n elements (a multiple of the block) into x [n] f32, exactly: one rounding an element.
 * This is the reference every SIMD variant is tested against. */
void qu_dequant_ref(float *x, const void *blocks, int type, int64_t n);

/* The sixteen values of IQ4_NL and IQ4_XS. */
extern const int8_t qu_iq4_values[16];

/* Quantise n f32 elements into blocks of F32, F16, BF16 (round to nearest even), Q8_0, Q4_0, Q4_1,
 * Q5_0 or Q5_1 (the format's published rule, bit for bit); other types are left alone. For tools
 * and tests. */
void qu_quant_ref(void *blocks, const float *x, int type, int64_t n);

/* Conversions of one value; NaN stays NaN. */
float qu_f16_to_f32(uint16_t h);
uint16_t qu_f32_to_f16(float f);
float qu_bf16_to_f32(uint16_t h);
uint16_t qu_f32_to_bf16(float f);

#ifdef __cplusplus
}
#endif

#endif
