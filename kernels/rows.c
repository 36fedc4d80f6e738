#include "kernels/rows.h"

#include <math.h>

#include "kernels/ops_simd.h"

void qu_rows_rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    QU_ISA_PICK(qu_rows_ops)->rmsnorm(y, x, w, n, eps);
}

void qu_rows_rmsnorm_ref(float *y, const float *x, const float *w, int32_t n, float eps)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    double scale = 1 / sqrt(sum / n + eps);
    for (int32_t i = 0; i < n; i++) y[i] = (float)(x[i] * scale * w[i]);
}

void qu_rows_swiglu(float *gate, const float *up, int32_t n)
{
    QU_ISA_PICK(qu_rows_ops)->swiglu(gate, up, n);
}

void qu_rows_swiglu_ref(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        gate[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

double qu_rows_exp_sum(const float *x, int32_t n, float from)
{
    enum { SOME = 4096 }; /* so few that f32 keeps their sum */
    double sum = 0;
    for (int32_t i = 0; i < n; i += SOME)
        sum += (double)QU_ISA_PICK(qu_rows_ops)->exp_sum(x + i, n - i < SOME ? n - i : SOME, from);
    return sum;
}

double qu_rows_exp_sum_ref(const float *x, int32_t n, float from)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)from);
    return sum;
}

void qu_rows_add(float *x, const float *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) x[i] += y[i];
}
