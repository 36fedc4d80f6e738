/* The inner kernels of linear.c, one table an instruction set. Private to kernels/ and its tests.
 * */
#ifndef QU_KERNELS_LINEAR_SIMD_H
#define QU_KERNELS_LINEAR_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/isa.h"
#include "kernels/quant.h"

typedef struct qu_linear_ops {
    /* x[i] = value of element i, n a multiple of the type's block; equals qu_dequant_ref bit for
     * bit. */
    void (*dequant)(float *x, const void *blocks, int type, int64_t n);
    /* y[t * ldy + i] = sum_k w[i * k_dim + k] x[t * ldx + k] for i < n_w, t < n_rows. */
    void (*dots)(float *y, int64_t ldy, const float *w, int32_t n_w, const float *x, int64_t ldx,
                 int32_t n_rows, int32_t k_dim);
    /* The same from stored blocks for n_rows <= 4, without a buffer: bit for bit what dequant then
     * dots gives. row_bytes between rows of w. False, with nothing done, for types that have no such
     * kernel: the rare ones, and all of them in plain C. */
    bool (*dots_stored)(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                        int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim);
} qu_linear_ops;

QU_ISA_DECLARE(qu_linear_ops, qu_linear_ops);

#endif
