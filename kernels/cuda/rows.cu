#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* One block a row. Each thread sums every 256th element, then warps fold, then the first warp. */
static __global__ void __launch_bounds__(THREADS) rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    QU_SHARED(shared);
    float sum = 0;
    const float *row = x + (int64_t)blockIdx.x * n;
    float *out = y + (int64_t)blockIdx.x * n;
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += THREADS) sum = fmaf(row[i], row[i], sum);
    sum = block_sum<THREADS>(sum, (float *)shared);
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += THREADS) out[i] = row[i] * scale * w[i];
}

static __global__ void swiglu(float *gate, const float *up, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static __global__ void add(float *x, const float *y, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) x[i] += y[i];
}

static __global__ void add_bias(float *y, const float *bias, int32_t n, int64_t all)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < all) y[i] += bias[i % n];
}

qu_status qu_cuda_rmsnorm(qu_cuda *cu, float *y, const float *x, const float *w, int32_t n_rows,
                          int32_t n, float eps, qu_err *err)
{
    size_t fold = THREADS / QU_WARP * sizeof(float);
    if (n_rows > 0) QU_TRY_LAUNCH(rmsnorm, (unsigned)n_rows, THREADS, fold, y, x, w, n, eps);
    return QU_OK;
}

qu_status qu_cuda_swiglu(qu_cuda *cu, float *gate, const float *up, int64_t n, qu_err *err)
{
    if (n > 0) QU_TRY_LAUNCH(swiglu, blocks_of(n, THREADS), THREADS, 0, gate, up, n);
    return QU_OK;
}

qu_status qu_cuda_add(qu_cuda *cu, float *x, const float *y, int64_t n, qu_err *err)
{
    if (n > 0) QU_TRY_LAUNCH(add, blocks_of(n, THREADS), THREADS, 0, x, y, n);
    return QU_OK;
}

qu_status qu_cuda_add_bias(qu_cuda *cu, float *y, const float *bias, int32_t n_rows, int32_t n,
                           qu_err *err)
{
    int64_t all = (int64_t)n_rows * n;
    if (all > 0) QU_TRY_LAUNCH(add_bias, blocks_of(all, THREADS), THREADS, 0, y, bias, n, all);
    return QU_OK;
}
