/* Stand-ins for the parts of CUDA that kernels/cuda uses, so that the same sources run on any
 * processor as plain C++ under the tests and the sanitizers.
 *
 *     g++ -x c++ -Itests/emulate -I. -c kernels/cuda/rows.cu        // launches run at once
 *
 * Blocks run one after the other, a block's threads as fibres that change at barriers and warp
 * operations: first to last, or last to first (emulate_reverse), since a missing barrier shows as a
 * difference between the two. A barrier that not every thread reaches stops the program. Shared
 * memory is of the asked size exactly and holds NaN when a block begins. Device memory is host
 * memory; copies happen at once. emulate_fail lets the n-th call of the runtime fail.
 */
#ifndef QU_TESTS_EMULATE_CUDA_RUNTIME_H
#define QU_TESTS_EMULATE_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __constant__
#define __grid_constant__
#define __noinline__

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
struct alignas(8) uint2 {
    unsigned x, y;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
extern int emulate_reverse;  /* run a block's threads from the last to the first */
extern int emulate_shared_bytes; /* what a block can have, on devices opened from now on */
/* let that call of the runtime from now on fail, and all after it; 0: none */
extern long emulate_fail;
extern long emulate_leaks;   /* allocations minus frees */
extern long emulate_launches, emulate_waits; /* waits: of the host for a stream */
extern long emulate_replays;                 /* graphs that ran */

void emulate_launch(const char *name, dim3 grid, dim3 block, size_t shared,
                    const std::function<void()> &body);
void *emulate_shared();
void __syncthreads();
uint64_t emulate_exchange(uint64_t value, int lane); /* lane's value of the warp */
unsigned __ballot_sync(unsigned mask, int predicate);
void __syncwarp();
/* mma.m16n8k16 of halves */
void emulate_multiply(float c[4], const uint32_t a[4], const uint32_t b[2]);

#define QU_LAUNCH(kernel, grid, block, shared, stream, ...)                                        \
    do {                                                                                           \
        (void)(stream);                                                                            \
        emulate_launch(#kernel, grid, block, shared, emulate_bind(kernel, __VA_ARGS__));           \
    } while (0)
#define QU_SHARED(name) float4 *name = (float4 *)emulate_shared()

/* A launch takes its arguments' values with it. */
template <class... P, class... A>
static inline std::function<void()> emulate_bind(void (*kernel)(P...), A... args)
{
    return [=]() { kernel(args...); };
}
template <class T> static inline T emulate_shuffle(T v, int lane)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = emulate_exchange(bits, lane);
    memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask)
{
    return emulate_shuffle(v, (int)(threadIdx.x % 32) ^ mask);
}
template <class T> static inline T __shfl_sync(unsigned, T v, int lane)
{
    return emulate_shuffle(v, lane);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned which)
{
    uint64_t all = (uint64_t)b << 32 | a;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) out |= (unsigned)(all >> 8 * (which >> 4 * i & 7) & 255) << 8 * i;
    return out;
}
static inline int __dp4a(int a, int b, int sum)
{
    for (int i = 0; i < 32; i += 8) sum += (int8_t)(a >> i) * (int8_t)(b >> i);
    return sum;
}
static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
template <class T> static inline T min(T a, T b)
{
    return a < b ? a : b;
}
template <class T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

/* --- the runtime --- */

enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoDevice = 100,
    cudaErrorDeviceUnavailable = 46,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_event *cudaEvent_t;
typedef struct emulated_graph *cudaGraph_t, *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
    size_t sharedMemPerBlockOptin;
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int n);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int n);
cudaError_t cudaGetLastError();
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
/* Between begin and end launches are kept; copies, waits and allocations stop the program. */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e);
template <class T> static inline cudaError_t cudaFuncSetAttribute(T *, cudaFuncAttribute, int)
{
    return cudaSuccess;
}

#endif
