#include "kernels/ops_simd.h"

#include "kernels/simd.h"

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    vf sum = vf_zero();
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf a = vf_load_n(x + i, n - i, 0);
        sum = vf_fma(a, a, sum);
    }
    vf scale = vf_set1(1 / sqrtf(vf_sum(sum) / (float)n + eps));
    for (int32_t i = 0; i < n; i += QU_LANES)
        vf_store_n(y + i,
                   vf_mul(vf_mul(vf_load_n(x + i, n - i, 0), scale), vf_load_n(w + i, n - i, 0)),
                   n - i);
}

static void swiglu(float *gate, const float *up, int32_t n)
{
    vf one = vf_set1(1);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf z = vf_load_n(gate + i, n - i, 0);
        vf s = vf_div(z, vf_add(one, vf_exp(vf_sub(vf_zero(), z))));
        vf_store_n(gate + i, vf_mul(s, vf_load_n(up + i, n - i, 0)), n - i);
    }
}

static float exp_sum(const float *x, int32_t n, float from)
{
    vf start = vf_set1(from), sum = vf_zero();
    for (int32_t i = 0; i < n; i += QU_LANES)
        sum = vf_add(sum, vf_exp(vf_sub(vf_load_n(x + i, n - i, -INFINITY), start)));
    return vf_sum(sum);
}

const qu_rows_ops QU_ISA_NAME(qu_rows_ops) = {rmsnorm, swiglu, exp_sum};
