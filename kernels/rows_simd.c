#include "kernels/rows_simd.h"

#include "kernels/simd.h"

VF vf load_n(const float *p, int32_t n) /* n lanes, the rest zero */
{
    if (n >= QU_LANES) return vf_load(p);
    float x[QU_LANES] = {0};
    memcpy(x, p, (size_t)n * sizeof *x);
    return vf_load(x);
}

VF void store_n(float *p, vf a, int32_t n)
{
    if (n >= QU_LANES) {
        vf_store(p, a);
        return;
    }
    float x[QU_LANES];
    vf_store(x, a);
    memcpy(p, x, (size_t)n * sizeof *x);
}

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    vf sum = vf_zero();
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf a = load_n(x + i, n - i);
        sum = vf_fma(a, a, sum);
    }
    vf scale = vf_set1(1 / sqrtf(vf_sum(sum) / (float)n + eps));
    for (int32_t i = 0; i < n; i += QU_LANES)
        store_n(y + i, vf_mul(vf_mul(load_n(x + i, n - i), scale), load_n(w + i, n - i)), n - i);
}

static void swiglu(float *gate, const float *up, int32_t n)
{
    vf one = vf_set1(1);
    for (int32_t i = 0; i < n; i += QU_LANES) {
        vf z = load_n(gate + i, n - i);
        vf s = vf_div(z, vf_add(one, vf_exp(vf_sub(vf_zero(), z))));
        store_n(gate + i, vf_mul(s, load_n(up + i, n - i)), n - i);
    }
}

const qu_rows_ops QU_ISA_NAME(qu_rows_ops) = {rmsnorm, swiglu};
