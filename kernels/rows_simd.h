/* The inner kernels of rows.c, one table an instruction set. Private to kernels/ and its tests. */
#ifndef QU_KERNELS_ROWS_SIMD_H
#define QU_KERNELS_ROWS_SIMD_H

#include <stdint.h>

#include "kernels/isa.h"

typedef struct qu_rows_ops {
    void (*rmsnorm)(float *y, const float *x, const float *w, int32_t n, float eps);
    void (*swiglu)(float *gate, const float *up, int32_t n);
} qu_rows_ops;

QU_ISA_DECLARE(qu_rows_ops, qu_rows_ops);

#endif
