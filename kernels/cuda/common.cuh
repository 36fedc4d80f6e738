/* What the .cu files share: launching, warp sums, halves. Under the tests the same sources are
 * compiled as C++ against tests/emulate, which brings its own QU_LAUNCH and QU_SHARED. */
#ifndef QU_KERNELS_CUDA_COMMON_CUH
#define QU_KERNELS_CUDA_COMMON_CUH

#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

#include <type_traits>

#include "base/dims.h"
#include "kernels/cuda/ops.h"

#ifdef __CUDACC__
#define QU_LAUNCH(kernel, grid, block, shared, stream, ...)                                        \
    kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define QU_SHARED(name) extern __shared__ float4 name[]
/* A kernel launched by QU_LAUNCH_EARLY begins while the one ahead ends: before it touches what
 * others write, or writes, it waits for them. Any kernel may let the next one begin. Nothing of
 * this before sm_90. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define QU_LET_NEXT_START() cudaTriggerProgrammaticLaunchCompletion()
#define QU_WAIT_FOR_LAST() cudaGridDependencySynchronize()
#else
#define QU_LET_NEXT_START() (void)0
#define QU_WAIT_FOR_LAST() (void)0
#endif
template <class... P, class... A>
static void qu_cuda_launch_early(qu_cuda *cu, void (*kernel)(P...), dim3 grid, dim3 block,
                                 size_t shared, cudaStream_t stream, A... args)
{
    cudaLaunchAttribute early = {};
    cudaLaunchConfig_t c = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid, c.blockDim = block, c.dynamicSmemBytes = shared, c.stream = stream;
    c.attrs = &early, c.numAttrs = qu_cuda_arch(cu) >= 90;
    cudaLaunchKernelEx(&c, kernel, (P)args...);
}
#define QU_LAUNCH_EARLY(cu, kernel, grid, block, shared, stream, ...)                              \
    qu_cuda_launch_early(cu, kernel, grid, block, shared, stream, __VA_ARGS__)
#else
#define QU_LET_NEXT_START() (void)0
#define QU_WAIT_FOR_LAST() (void)0
#define QU_LAUNCH_EARLY(cu, ...) QU_LAUNCH(__VA_ARGS__)
#endif

/* cuda.cu: the raw stream, and what became of a launch. */
cudaStream_t qu_cuda_raw_stream(qu_cuda *cu, qu_cuda_stream s);
int qu_cuda_processors(const qu_cuda *cu); /* multiprocessors */
int qu_cuda_shared(const qu_cuda *cu);     /* bytes of shared memory that a block can have */
qu_status qu_cuda_launched(qu_cuda *cu, const char *kernel, qu_err *err);
/* Launch on a stream of cu and go on if that was possible; cu and err are the caller's. */
#define QU_TRY_LAUNCH_ON(s, kernel, grid, block, shared, ...)                                      \
    do {                                                                                           \
        cudaStream_t stream_ = qu_cuda_raw_stream(cu, s);                                          \
        QU_LAUNCH(kernel, grid, block, shared, stream_, __VA_ARGS__);                              \
        QU_TRY(qu_cuda_launched(cu, #kernel, err));                                                \
    } while (0)
#define QU_TRY_LAUNCH(kernel, grid, block, shared, ...)                                            \
    QU_TRY_LAUNCH_ON(QU_CUDA_COMPUTE, kernel, grid, block, shared, __VA_ARGS__)
#define QU_TRY_EARLY(kernel, grid, block, shared, ...)                                             \
    do {                                                                                           \
        cudaStream_t stream_ = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);                            \
        QU_LAUNCH_EARLY(cu, kernel, grid, block, shared, stream_, __VA_ARGS__);                    \
        QU_TRY(qu_cuda_launched(cu, #kernel, err));                                                \
    } while (0)

/* Let a kernel have bytes of shared memory. */
template <class T> static inline void qu_cuda_want_shared(T *kernel, size_t bytes)
{
    if (bytes > 48 << 10)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

enum { QU_WARP = 32 };
#define QU_DEVICE static __device__ __forceinline__

/* The i-th T from p on, a multiple of its size. */
template <class T> QU_DEVICE T read(const void *p, int64_t i = 0)
{
    return ((const T *)p)[i];
}

static inline unsigned blocks_of(int64_t n, int64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

/* Folds by halves, always in the same order; every lane gets the result. */
QU_DEVICE float warp_sum(float v)
{
    for (int o = QU_WARP / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
QU_DEVICE float warp_max(float v)
{
    for (int o = QU_WARP / 2; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

/* The same over a block of N threads; fold: a float a warp in shared memory. */
template <int N> QU_DEVICE float block_sum(float v, float *fold)
{
    v = warp_sum(v);
    __syncthreads(); /* fold may still be read */
    if (threadIdx.x % QU_WARP == 0) fold[threadIdx.x / QU_WARP] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < N / QU_WARP; i++) v += fold[i];
    return v;
}
template <int N> QU_DEVICE float block_max(float v, float *fold)
{
    v = warp_max(v);
    __syncthreads();
    if (threadIdx.x % QU_WARP == 0) fold[threadIdx.x / QU_WARP] = v;
    __syncthreads();
    for (int i = 0; i < N / QU_WARP; i++) v = fmaxf(v, fold[i]);
    return v;
}

QU_DEVICE float swish(float x)
{
    return x / (1.0f + expf(-x));
}

/* Eight floats, 16-byte aligned. */
QU_DEVICE void floats8(float x[8], const void *p)
{
    float4 a = read<float4>(p), b = read<float4>(p, 1);
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
/* sum + x . y: one chain of fused operations, in order. */
QU_DEVICE float dot8(const float x[8], const float y[8], float sum)
{
    for (int i = 0; i < 8; i++) sum = fmaf(x[i], y[i], sum);
    return sum;
}

QU_DEVICE float from_half(uint16_t h)
{
    return __half2float(__ushort_as_half(h));
}
/* To nearest even, clamped: qu_attend_halve. */
QU_DEVICE uint16_t to_half(float x)
{
    return __half_as_ushort(__float2half_rn(fminf(fmaxf(x, -65504.0f), 65504.0f)));
}
/* Both by to_half, except that NaN stays NaN; the first one in the low half of the word. */
QU_DEVICE uint32_t pack_halves(float low, float high)
{
#ifdef __CUDACC__
    uint32_t w;
    asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(high), "f"(low));
    return w;
#else
    const uint32_t u = low == low ? to_half(low) : 0x7fff;
    const uint32_t v = high == high ? to_half(high) : 0x7fff;
    return u | v << 16;
#endif
}
/* c [16,8] += a [16,16] b [16,8] of halves, summed in f32, by a warp: lane 4 g + t has of c (g,
 * 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1); of a, two columns a word, (g, 2t), (g + 8, 2t),
 * (g, 2t + 8), (g + 8, 2t + 8); of b, two rows a word, (2t, g), (2t + 8, g). */
QU_DEVICE void multiply(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                        uint32_t b1)
{
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    const uint32_t a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    emulate_multiply(c, a, b);
#endif
}
/* Eight halves out of sixteen bytes. */
QU_DEVICE void halves8(float x[8], uint4 u)
{
    const unsigned w[4] = {u.x, u.y, u.z, u.w};
    for (int i = 0; i < 4; i++) {
        x[2 * i] = from_half((uint16_t)(w[i] & 0xffff));
        x[2 * i + 1] = from_half((uint16_t)(w[i] >> 16));
    }
}
QU_DEVICE uint16_t to_bf16(float f)
{
    uint32_t u = __float_as_uint(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* The dims of pair j: those that turn together, and what passes through by twos (qu_rope_pair). */
QU_DEVICE void pair_dims(qu_cuda_rope r, int32_t j, int32_t *a, int32_t *b)
{
    bool apart = r.halves && j < r.n_dims / 2;
    *a = apart ? j : 2 * j;
    *b = apart ? j + r.n_dims / 2 : 2 * j + 1;
}
/* Each operation rounded by itself: qu_rope_vector's bits. */
QU_DEVICE void turn(float *x, float *y, float c, float s)
{
    float u = *x, v = *y;
    *x = __fsub_rn(__fmul_rn(u, c), __fmul_rn(v, s));
    *y = __fadd_rn(__fmul_rn(u, s), __fmul_rn(v, c));
}

/* Where the angles of a KV head begin in its page's cos and sin, and those inside a page. */
QU_DEVICE int64_t rope_row(const qu_cuda_rows &r, int32_t layer, int32_t g)
{
    return r.rope_rows ? r.rope_rows[layer * r.n_kv_heads + g] : 0;
}
QU_DEVICE int64_t angles_at(const qu_cuda_rows &r, const qu_cuda_page &page, int32_t layer,
                            int32_t g)
{
    return rope_row(r, layer, g) * (r.d / 2 + 1) * page.n_pad;
}
QU_DEVICE const float *places_of(const qu_cuda_rows &r, int32_t layer, int32_t g)
{
    return r.rope.places + rope_row(r, layer, g) * r.d * QU_PAGE_TOKENS;
}

/* The weights' sum has a floor under its maximum so that a set without visible keys is not -INF -
 * -INF. */
#define QU_SCORE_FLOOR (-3e38f)
QU_DEVICE float weight_of(float score, float floor)
{
    return score == score ? expf(score - floor) : 0; /* NaN weighs nothing */
}

#endif
