#include "kernels/cuda/common.cuh"
#include "kernels/cuda/ops.h"

enum { THREADS = 256 };

/* One block a row. Each thread sums every 256th element, then warps fold, then the first warp. */
static __global__ void __launch_bounds__(THREADS) rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    QU_SHARED(shared);
    float *part = (float *)shared, sum = 0;
    const float *row = x + (int64_t)blockIdx.x * n;
    float *out = y + (int64_t)blockIdx.x * n;
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += THREADS) sum = fmaf(row[i], row[i], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % QU_WARP == 0) part[threadIdx.x / QU_WARP] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < THREADS / QU_WARP; i++) sum += part[i];
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
    if (n_rows <= 0) return QU_OK;
    QU_LAUNCH(rmsnorm, dim3((unsigned)n_rows), dim3(THREADS), THREADS / QU_WARP * sizeof(float),
              qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE), y, x, w, n, eps);
    return qu_cuda_launched(cu, "rmsnorm", err);
}

qu_status qu_cuda_swiglu(qu_cuda *cu, float *gate, const float *up, int64_t n, qu_err *err)
{
    if (n <= 0) return QU_OK;
    QU_LAUNCH(swiglu, dim3(blocks_of(n, THREADS)), dim3(THREADS), 0,
              qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE), gate, up, n);
    return qu_cuda_launched(cu, "swiglu", err);
}

qu_status qu_cuda_add(qu_cuda *cu, float *x, const float *y, int64_t n, qu_err *err)
{
    if (n <= 0) return QU_OK;
    QU_LAUNCH(add, dim3(blocks_of(n, THREADS)), dim3(THREADS), 0,
              qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE), x, y, n);
    return qu_cuda_launched(cu, "add", err);
}

qu_status qu_cuda_add_bias(qu_cuda *cu, float *y, const float *bias, int32_t n_rows, int32_t n,
                           qu_err *err)
{
    int64_t all = (int64_t)n_rows * n;
    if (all <= 0) return QU_OK;
    QU_LAUNCH(add_bias, dim3(blocks_of(all, THREADS)), dim3(THREADS), 0,
              qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE), y, bias, n, all);
    return qu_cuda_launched(cu, "add_bias", err);
}
