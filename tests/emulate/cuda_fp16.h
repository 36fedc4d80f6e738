/* Stand-in: halves by the conversions of kernels/quant.h, which are asked once for each half, and
 * for floats that are no normal halves. */
#ifndef QU_TESTS_EMULATE_CUDA_FP16_H
#define QU_TESTS_EMULATE_CUDA_FP16_H

#include <stdint.h>
#include <string.h>

extern "C" {
float qu_f16_to_f32(uint16_t h);
uint16_t qu_f32_to_f16(float f);
}
struct __half {
    uint16_t bits;
};
static inline __half __ushort_as_half(unsigned short u)
{
    return {u};
}
static inline unsigned short __half_as_ushort(__half h)
{
    return h.bits;
}
static inline float __half2float(__half h)
{
    struct table {
        float value[1 << 16];
        table()
        {
            for (int i = 0; i < 1 << 16; i++) value[i] = qu_f16_to_f32((uint16_t)i);
        }
    };
    static const table all;
    return all.value[h.bits];
}
static inline __half __float2half_rn(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint32_t sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
    if (size < 0x38800000 || size >= 0x477fe000) return {qu_f32_to_f16(f)};
    return {(uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13)};
}

#endif
