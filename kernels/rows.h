/* The small row operations of a transformer block. A row's result depends on that row alone. */
#ifndef QU_KERNELS_ROWS_H
#define QU_KERNELS_ROWS_H

#include <stdint.h>

/* y [n] = x [n] / sqrt(mean(x^2) + eps) * w [n]; y may alias x. RMSNorm, arXiv:1910.07467. */
void qu_rows_rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps);
void qu_rows_rmsnorm_ref(float *y, const float *x, const float *w, int32_t n, float eps);

/* gate [n] = silu(gate) * up [n], silu(z) = z / (1 + e^-z). SwiGLU, arXiv:2002.05202. */
void qu_rows_swiglu(float *gate, const float *up, int32_t n);
void qu_rows_swiglu_ref(float *gate, const float *up, int32_t n);

/* Sum of exp(x[i] - from) over x [n], numbers or -INF, within 4e-6 of itself; a term beyond e^88
 * counts as that. */
double qu_rows_exp_sum(const float *x, int32_t n, float from);
double qu_rows_exp_sum_ref(const float *x, int32_t n, float from);

/* x [n] += y [n] */
void qu_rows_add(float *x, const float *y, int32_t n);

#endif
