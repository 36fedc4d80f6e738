/* The page loop of rope.c, one table an instruction set. Private to kernels/ and its tests. */
#ifndef QU_KERNELS_ROPE_SIMD_H
#define QU_KERNELS_ROPE_SIMD_H

#include <stdint.h>

#include "kernels/isa.h"

typedef struct qu_rope_ops {
    /* kt [d,n_pad] = transpose of k [n,d], padding zero */
    void (*transpose)(float *kt, int32_t n_pad, const float *k, int32_t n, int32_t d);
    /* rotate rows a and b [n_pad] by c and s [n_pad]: a' = a c - b s, b' = a s + b c */
    void (*rotate)(float *a, float *b, const float *c, const float *s, int32_t n_pad);
} qu_rope_ops;

QU_ISA_DECLARE(qu_rope_ops, qu_rope_ops);

#endif
