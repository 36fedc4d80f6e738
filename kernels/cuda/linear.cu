#include "kernels/cuda/common.cuh"
#include "kernels/quant.h"

/* --- eight weights of a row at a time, from stored blocks --- */

/* n bytes from an address that is a multiple of 2, of 8 where ALIGN says so. */
template <int ALIGN> static __device__ __forceinline__ void bytes8(uint8_t x[8], const uint8_t *p)
{
    if (ALIGN == 8) {
        uint2 u = *(const uint2 *)(const void *)p;
        for (int j = 0; j < 4; j++) {
            x[j] = (uint8_t)(u.x >> 8 * j);
            x[4 + j] = (uint8_t)(u.y >> 8 * j);
        }
    } else {
        const uint16_t *h = (const uint16_t *)(const void *)p;
        for (int j = 0; j < 4; j++) {
            x[2 * j] = (uint8_t)h[j];
            x[2 * j + 1] = (uint8_t)(h[j] >> 8);
        }
    }
}

static __device__ __forceinline__ float half_at(const uint8_t *p)
{
    return from_half(*(const uint16_t *)(const void *)p);
}

static __device__ __forceinline__ int iq4_value(int q)
{
    const uint64_t low = 0xf6eaddcfbfad9881ull, high = 0x7159453526190d01ull; /* qu_iq4_values */
    return (int)(int8_t)((q < 8 ? low : high) >> 8 * (q & 7));
}

/* Six-bit scale and min of the i-th 32 elements of Q4_K and Q5_K. */
static __device__ __forceinline__ void scale_min(const uint8_t *s, int i, float *scale, float *min)
{
    int low = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
    int high = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
    *scale = (float)low;
    *min = (float)high;
}

/* w = elements i .. i + 7 of a row, i a multiple of 8: the arithmetic of qu_dequant_ref, each operation
 * rounded by itself, hence the same bits. */
template <int TYPE> static __device__ __forceinline__ void weights8(float w[8], const uint8_t *row, int32_t i)
{
    uint8_t x[8], h[8];
    if (TYPE == QU_TYPE_F32) {
        floats8(w, (const float *)(const void *)row + i);
    } else if (TYPE == QU_TYPE_F16) {
        halves8(w, ((const uint4 *)(const void *)row)[i / 8]);
    } else if (TYPE == QU_TYPE_BF16) {
        uint4 u = ((const uint4 *)(const void *)row)[i / 8];
        const unsigned v[4] = {u.x, u.y, u.z, u.w};
        for (int j = 0; j < 8; j++)
            w[j] = __uint_as_float(j % 2 ? v[j / 2] & 0xffff0000u : v[j / 2] << 16);
    } else if (TYPE == QU_TYPE_Q8_0 || TYPE == QU_TYPE_Q4_0 || TYPE == QU_TYPE_Q4_1 ||
               TYPE == QU_TYPE_Q5_0 || TYPE == QU_TYPE_Q5_1 || TYPE == QU_TYPE_IQ4_NL) {
        const bool five = TYPE == QU_TYPE_Q5_0 || TYPE == QU_TYPE_Q5_1, eight = TYPE == QU_TYPE_Q8_0;
        const bool with_min = TYPE == QU_TYPE_Q4_1 || TYPE == QU_TYPE_Q5_1;
        const int head = with_min ? 4 : 2, bytes = head + (eight ? 32 : five ? 20 : 16);
        const uint8_t *b = row + i / 32 * bytes;
        float d = half_at(b), m = with_min ? half_at(b + 2) : 0;
        int bits = five ? b[head + i % 32 / 8] : 0;
        bytes8<2>(x, b + head + (five ? 4 : 0) + (eight ? i % 32 : i % 16));
        for (int j = 0; j < 8; j++) {
            int q = eight ? (int8_t)x[j] : x[j] >> i / 16 % 2 * 4 & 15;
            if (five) q |= (bits >> j & 1) << 4;
            if (TYPE == QU_TYPE_Q4_0) q -= 8;
            if (TYPE == QU_TYPE_Q5_0) q -= 16;
            if (TYPE == QU_TYPE_IQ4_NL) q = iq4_value(q);
            w[j] = __fmul_rn(d, (float)q);
            if (with_min) w[j] = __fadd_rn(w[j], m);
        }
    } else if (TYPE == QU_TYPE_Q2_K) {
        int e = i % 256;
        const uint8_t *b = row + i / 256 * 84;
        float scale = __fmul_rn(half_at(b + 80), (float)(b[e / 16] & 15));
        float min = __fmul_rn(half_at(b + 82), (float)(b[e / 16] >> 4));
        bytes8<2>(x, b + 16 + e / 128 * 32 + e % 32);
        for (int j = 0; j < 8; j++)
            w[j] = __fsub_rn(__fmul_rn(scale, (float)(x[j] >> e / 32 % 4 * 2 & 3)), min);
    } else if (TYPE == QU_TYPE_Q3_K) {
        int e = i % 256, g = e / 16;
        const uint8_t *b = row + i / 256 * 110, *s = b + 96;
        int six = (s[g % 8] >> g / 8 * 4 & 15) | (s[8 + g % 4] >> g / 4 * 2 & 3) << 4;
        float scale = __fmul_rn(half_at(b + 108), (float)(six - 32));
        bytes8<2>(x, b + 32 + e / 128 * 32 + e % 32);
        bytes8<2>(h, b + e % 32);
        for (int j = 0; j < 8; j++)
            w[j] = __fmul_rn(
                scale, (float)(((x[j] >> e / 32 % 4 * 2 & 3) | (h[j] >> e / 32 & 1) << 2) - 4));
    } else if (TYPE == QU_TYPE_Q4_K || TYPE == QU_TYPE_Q5_K) {
        const bool five = TYPE == QU_TYPE_Q5_K;
        int e = i % 256;
        const uint8_t *b = row + i / 256 * (five ? 176 : 144);
        float scale, min;
        scale_min(b + 4, e / 32, &scale, &min);
        scale = __fmul_rn(half_at(b), scale);
        min = __fmul_rn(half_at(b + 2), min);
        bytes8<8>(x, b + (five ? 48 : 16) + e / 64 * 32 + e % 32);
        if (five) bytes8<8>(h, b + 16 + e % 32);
        for (int j = 0; j < 8; j++) {
            int q = x[j] >> e / 32 % 2 * 4 & 15;
            if (five) q |= (h[j] >> e / 32 & 1) << 4;
            w[j] = __fsub_rn(__fmul_rn(scale, (float)q), min);
        }
    } else if (TYPE == QU_TYPE_Q6_K) {
        int e = i % 256;
        const uint8_t *b = row + i / 256 * 210;
        float scale = __fmul_rn(half_at(b + 208), (float)(int8_t)b[192 + e / 16]);
        bytes8<2>(x, b + e / 128 * 64 + e % 64);
        bytes8<2>(h, b + 128 + e / 128 * 32 + e % 32);
        for (int j = 0; j < 8; j++) {
            int q = (x[j] >> e / 64 % 2 * 4 & 15) | (h[j] >> e / 32 % 4 * 2 & 3) << 4;
            w[j] = __fmul_rn(scale, (float)(q - 32));
        }
    } else { /* IQ4_XS */
        int e = i % 256, g = e / 32;
        const uint8_t *b = row + i / 256 * 136;
        int six = (b[4 + g / 2] >> g % 2 * 4 & 15) |
                  (*(const uint16_t *)(const void *)(b + 2) >> 2 * g & 3) << 4;
        float scale = __fmul_rn(half_at(b), (float)(six - 32));
        bytes8<8>(x, b + 8 + g * 16 + e % 16);
        for (int j = 0; j < 8; j++)
            w[j] = __fmul_rn(scale, (float)iq4_value(x[j] >> e / 16 % 2 * 4 & 15));
    }
}

/* f(a constant) for a type known at run time. */
template <class F> static void with_type(int type, F f)
{
    switch (type) {
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: f(std::integral_constant<int, QU_TYPE_##name>()); break;
        QU_TYPES(CASE)
#undef CASE
    default: break;
    }
}

/* --- kernels --- */

enum { MATVEC_WARPS = 4, MATVEC_ROWS = 8, THREADS = 256 };

/* A warp makes one weight row times up to T rows of x. A lane takes eight elements, its next eight 256
 * further on; each product-sum is one chain of fused operations, then lanes fold. So the order of a row's
 * sum depends on k alone. */
template <int TYPE, int T>
static __global__ void __launch_bounds__(MATVEC_WARPS * QU_WARP)
    matvec(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const float *bias,
           const float *x, int32_t n_rows, int32_t n, int32_t k)
{
    int32_t lane = (int32_t)threadIdx.x % QU_WARP, t0 = (int32_t)blockIdx.y * T;
    int32_t i = (int32_t)blockIdx.x * MATVEC_WARPS + (int32_t)threadIdx.x / QU_WARP;
    if (i >= n) return; /* a whole warp */
    int32_t rows = min(T, n_rows - t0);
    const uint8_t *row = w + i * row_bytes;
    float acc[T];
    for (int t = 0; t < T; t++) acc[t] = 0;
    for (int32_t c = lane * 8; c < k; c += QU_WARP * 8) {
        float v[8];
        weights8<TYPE>(v, row, c);
#pragma unroll
        for (int t = 0; t < T; t++) {
            if (t >= rows) break;
            float u[8];
            floats8(u, x + (int64_t)(t0 + t) * k + c);
            acc[t] = dot8(v, u, acc[t]);
        }
    }
#pragma unroll
    for (int t = 0; t < T; t++) {
        if (t >= rows) break;
        float sum = warp_sum(acc[t]);
        if (lane == 0) y[(int64_t)(t0 + t) * ldy + i] = bias ? sum + bias[i] : sum;
    }
}

template <int TYPE>
static __global__ void dequant_bf16(uint16_t *out, const uint8_t *w, int64_t row_bytes, int32_t n,
                                    int32_t k)
{
    int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8;
    if (at >= (int64_t)n * k) return;
    float v[8];
    weights8<TYPE>(v, w + at / k * row_bytes, (int32_t)(at % k));
    uint4 u;
    unsigned *p = &u.x;
    for (int j = 0; j < 4; j++)
        p[j] = (unsigned)to_bf16(v[2 * j]) | (unsigned)to_bf16(v[2 * j + 1]) << 16;
    *(uint4 *)(void *)(out + at) = u;
}

template <int TYPE>
static __global__ void embed(float *x, const uint8_t *table, int64_t row_bytes, const int32_t *ids,
                             int32_t k)
{
    int32_t c = ((int32_t)blockIdx.x * THREADS + (int32_t)threadIdx.x) * 8;
    if (c >= k) return;
    float v[8];
    weights8<TYPE>(v, table + ids[blockIdx.y] * row_bytes, c);
    for (int j = 0; j < 8; j++) x[(int64_t)blockIdx.y * k + c + j] = v[j];
}

static __global__ void cast_bf16(uint16_t *out, const float *x, int64_t n, int64_t n_out)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n_out) out[i] = i < n ? to_bf16(x[i]) : 0;
}

/* --- launchers --- */

static qu_status check(int type, int32_t k, qu_err *err)
{
    if (!qu_type_name(type) || k % 8 != 0 || qu_type_bytes(type, k) < 0)
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for rows of %d elements of type %d", k, type);
    return QU_OK;
}

qu_status qu_cuda_matvec(qu_cuda *cu, float *y, int64_t ldy, const void *w, int type,
                         const float *bias, const float *x, int32_t n_rows, int32_t n, int32_t k,
                         qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n_rows <= 0 || n <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    dim3 grid(blocks_of(n, MATVEC_WARPS), n_rows == 1 ? 1 : blocks_of(n_rows, MATVEC_ROWS));
    const uint8_t *blocks = (const uint8_t *)w;
    int64_t row_bytes = qu_type_bytes(type, k);
    with_type(type, [&](auto t) {
        const int TYPE = decltype(t)::value;
        auto *kernel = n_rows == 1 ? matvec<TYPE, 1> : matvec<TYPE, MATVEC_ROWS>;
        QU_LAUNCH(kernel, grid, MATVEC_WARPS * QU_WARP, 0, stream, y, ldy, blocks, row_bytes, bias, x,
                  n_rows, n, k);
    });
    return qu_cuda_launched(cu, "matvec", err);
}

qu_status qu_cuda_dequant_bf16(qu_cuda *cu, void *out, const void *w, int type, int32_t n,
                               int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    with_type(type, [&](auto t) {
        auto *kernel = dequant_bf16<decltype(t)::value>;
        QU_LAUNCH(kernel, blocks_of((int64_t)n * k / 8, THREADS), THREADS, 0, stream,
                  (uint16_t *)out, (const uint8_t *)w, qu_type_bytes(type, k), n, k);
    });
    return qu_cuda_launched(cu, "dequant_bf16", err);
}

qu_status qu_cuda_embed(qu_cuda *cu, float *x, const void *table, int type, const int32_t *ids,
                        int32_t n_rows, int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n_rows <= 0) return QU_OK;
    dim3 grid(blocks_of(k / 8, THREADS), (unsigned)n_rows);
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    with_type(type, [&](auto t) {
        auto *kernel = embed<decltype(t)::value>;
        QU_LAUNCH(kernel, grid, THREADS, 0, stream, x, (const uint8_t *)table,
                  qu_type_bytes(type, k), ids, k);
    });
    return qu_cuda_launched(cu, "embed", err);
}

qu_status qu_cuda_to_bf16(qu_cuda *cu, void *out, const float *x, int32_t rows, int32_t rows_out,
                          int32_t k, qu_err *err)
{
    int64_t n = (int64_t)rows * k, n_out = (int64_t)rows_out * k;
    QU_TRY_LAUNCH(cast_bf16, blocks_of(n_out, THREADS), THREADS, 0, (uint16_t *)out, x, n, n_out);
    return QU_OK;
}
