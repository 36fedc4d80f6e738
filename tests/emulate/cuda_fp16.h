/* Stand-in: halves by the conversions of kernels/quant.h. */
#ifndef QU_TESTS_EMULATE_CUDA_FP16_H
#define QU_TESTS_EMULATE_CUDA_FP16_H

#include <stdint.h>

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
    return qu_f16_to_f32(h.bits);
}
static inline __half __float2half_rn(float f)
{
    return {qu_f32_to_f16(f)};
}

#endif
