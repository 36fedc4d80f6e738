/* The decoding loops of codec.c, one table an instruction set. Private to kernels/ and its tests. */
#ifndef QU_KERNELS_CODEC_SIMD_H
#define QU_KERNELS_CODEC_SIMD_H

#include "kernels/codec.h"
#include "kernels/isa.h"

typedef struct qu_codec_ops {
    void (*decode)(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n, int32_t d);
} qu_codec_ops;

QU_ISA_DECLARE(qu_codec_ops, qu_codec_ops);

#endif
