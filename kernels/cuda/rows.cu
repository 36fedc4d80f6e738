#include "kernels/cuda/common.cuh"

enum { THREADS = 256, GREEDY_THREADS = 1024 };

/* One block a row. Each thread sums every 256th element, then warps fold, then the first warp. */
static __global__ void __launch_bounds__(THREADS)
    rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps)
{
    QU_SHARED(shared);
    QU_LET_NEXT_START();
    QU_WAIT_FOR_LAST();
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
    if (i < n) gate[i] = swish(gate[i]) * up[i];
}

static __global__ void add_bias(float *y, const float *bias, int32_t n, int64_t all)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < all) y[i] += bias[i % n];
}

/* A block a row. Ids are exact as floats. */
static __global__ void __launch_bounds__(GREEDY_THREADS)
    greedy(qu_cuda_choice *out, const float *logits, int32_t n)
{
    QU_SHARED(shared);
    const float *row = logits + (int64_t)blockIdx.x * n;
    float *fold = (float *)shared, top = -INFINITY, odd = 0, sum = 0;
    int32_t best = 0;
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += GREEDY_THREADS) {
        if (!isfinite(row[i])) odd = 1;
        if (row[i] > top) {
            top = row[i];
            best = i;
        }
    }
    float most = block_max<GREEDY_THREADS>(top, fold);
    odd = block_max<GREEDY_THREADS>(odd, fold);
    float id = -block_max<GREEDY_THREADS>(top == most ? -(float)best : -INFINITY, fold);
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += GREEDY_THREADS) sum += expf(row[i] - most);
    sum = block_sum<GREEDY_THREADS>(sum, fold);
    if (threadIdx.x > 0) return;
    out[blockIdx.x].id = odd > 0 ? -1 : (int32_t)id;
    out[blockIdx.x].share = 1 / sum;
}

qu_status qu_cuda_greedy(qu_cuda *cu, qu_cuda_choice *out, const float *logits, int32_t n_rows,
                         int32_t n, qu_err *err)
{
    if (n < 1 || n > 1 << 24)
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for a vocabulary of %d", n);
    size_t fold = GREEDY_THREADS / QU_WARP * sizeof(float);
    if (n_rows > 0) QU_TRY_LAUNCH(greedy, (unsigned)n_rows, GREEDY_THREADS, fold, out, logits, n);
    return QU_OK;
}

qu_status qu_cuda_rmsnorm(qu_cuda *cu, float *y, const float *x, const float *w, int32_t n_rows,
                          int32_t n, float eps, qu_err *err)
{
    size_t fold = THREADS / QU_WARP * sizeof(float);
    if (n_rows > 0) QU_TRY_EARLY(rmsnorm, (unsigned)n_rows, THREADS, fold, y, x, w, n, eps);
    return QU_OK;
}

qu_status qu_cuda_swiglu(qu_cuda *cu, float *gate, const float *up, int64_t n, qu_err *err)
{
    if (n > 0) QU_TRY_LAUNCH(swiglu, blocks_of(n, THREADS), THREADS, 0, gate, up, n);
    return QU_OK;
}

qu_status qu_cuda_add_bias(qu_cuda *cu, float *y, const float *bias, int32_t n_rows, int32_t n,
                           qu_err *err)
{
    int64_t all = (int64_t)n_rows * n;
    if (all > 0) QU_TRY_LAUNCH(add_bias, blocks_of(all, THREADS), THREADS, 0, y, bias, n, all);
    return QU_OK;
}
