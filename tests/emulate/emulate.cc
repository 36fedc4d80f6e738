#include "tests/emulate/cuda_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <vector>

#include "tests/emulate/cublas_v2.h"
#include "tests/emulate/cuda_fp16.h"
#include "tests/emulate/cuda_pipeline.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;
int emulate_reverse;
int emulate_shared_bytes = 99 << 10; /* an sm_86's: little, so that warps take several parts each */
long emulate_fail, emulate_leaks, emulate_launches, emulate_waits, emulate_replays;

/* --- a block's threads --- */

enum { STACK = 64 << 10, MAX_THREADS = 1024, WARP = 32 };
enum state { READY, AT_BARRIER, AT_WARP, DONE };

/* Where a stack that does not run stands. */
#if defined(__x86_64__)
typedef void *place;
extern "C" void emulate_switch(place *from, place to);
asm(".text\n.globl emulate_switch\n.type emulate_switch,@function\n"
    "emulate_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size emulate_switch,.-emulate_switch\n.section .note.GNU-stack,\"\",@progbits\n.text\n");
static void prepare(place *p, char *stack, void (*entry)())
{
    void **top = (void **)(void *)(stack + STACK) - 2;
    *top = (void *)entry; /* what the first switch returns to, as if it had been called */
    *p = top - 6;
}
static void change(place *from, place *to)
{
    emulate_switch(from, *to);
}
#else
typedef ucontext_t place; /* slow: every switch makes system calls */
static void prepare(place *p, char *stack, void (*entry)())
{
    getcontext(p);
    p->uc_stack.ss_sp = stack;
    p->uc_stack.ss_size = STACK;
    makecontext(p, entry, 0);
}
static void change(place *from, place *to)
{
    swapcontext(from, to);
}
#endif

struct copy {
    void *to;
    const void *from;
    size_t bytes;
    unsigned group;
};

struct fibre {
    place at;
    state s;
    char *stack;
    unsigned turn; /* warp operations so far */
    dim3 index;
    void *fake;    /* asan's */
    std::vector<copy> copies; /* under way, in order */
    unsigned groups;
};

struct factor {
    float value;
    int exponent;
};

struct warp {
    uint64_t value[2][WARP]; /* by turn: a lane may be one operation ahead */
    factor a[2][16][16], b[2][8][16]; /* of a product: rows of a, columns of b */
};

static fibre fibres[MAX_THREADS];
static warp warps[MAX_THREADS / WARP];
static place scheduler;
static int current, n_threads;
static const std::function<void()> *body;
static const char *kernel;
static char *shared;

[[noreturn]] static void stop(const char *why)
{
    fprintf(stderr, "emulated kernel %s, block %u %u %u: %s\n", kernel, blockIdx.x, blockIdx.y,
            blockIdx.z, why);
    abort();
}

#if defined(__SANITIZE_ADDRESS__)
static const void *main_stack;
static size_t main_bytes;
static void *main_fake;
#define SWITCHING(fake, stack, bytes) __sanitizer_start_switch_fiber(fake, stack, bytes)
#define SWITCHED(fake, stack, bytes) __sanitizer_finish_switch_fiber(fake, stack, bytes)
#define FORGET(stack) ASAN_UNPOISON_MEMORY_REGION(stack, STACK) /* its last owner never returned */
#else
#define SWITCHING(fake, stack, bytes) (void)0
#define SWITCHED(fake, stack, bytes) (void)0
#define FORGET(stack) (void)0
#endif

static void leave(fibre *f)
{
    SWITCHING(f->s == DONE ? nullptr : &f->fake, main_stack, main_bytes);
    change(&f->at, &scheduler);
    SWITCHED(f->fake, nullptr, nullptr);
}

static void start()
{
    fibre *f = &fibres[current];
    SWITCHED(nullptr, &main_stack, &main_bytes);
    (*body)();
    f->s = DONE;
    leave(f);
}

static void enter(fibre *f)
{
    SWITCHING(&main_fake, f->stack, STACK);
    change(&scheduler, &f->at);
    SWITCHED(main_fake, nullptr, nullptr);
}

static void resume(int t)
{
    current = t;
    threadIdx = fibres[t].index;
    enter(&fibres[t]);
}

static void wait_as(state s)
{
    fibre *f = &fibres[current];
    f->s = s;
    leave(f);
}

void __syncthreads()
{
    wait_as(AT_BARRIER);
}

uint64_t emulate_exchange(uint64_t value, int lane)
{
    int t = current, w = t / WARP;
    unsigned turn = fibres[t].turn++ % 2;
    warps[w].value[turn][t % WARP] = value;
    wait_as(AT_WARP);
    if (lane < 0 || lane >= WARP || w * WARP + lane >= n_threads) stop("lane outside the warp");
    return warps[w].value[turn][lane];
}

unsigned __ballot_sync(unsigned mask, int predicate)
{
    int t = current, w = t / WARP;
    unsigned turn = fibres[t].turn++ % 2, bits = 0;
    warps[w].value[turn][t % WARP] = predicate != 0;
    wait_as(AT_WARP);
    for (int i = 0; i < WARP && w * WARP + i < n_threads; i++)
        bits |= (unsigned)warps[w].value[turn][i] << i;
    return bits & mask;
}

void __syncwarp()
{
    emulate_exchange(0, 0);
}

/* What is not finite counts even by a zero: their product is NaN. */
static factor factor_of(uint32_t half)
{
    const float x = __half2float({(uint16_t)half});
    const int e = (int)(__float_as_uint(x) >> 23 & 255) - 127;
    return {x, x == 0 ? -4999 : e == 128 ? 9999 : max(e, -14)};
}

static double power_of_two(int e)
{
    const uint64_t bits = (uint64_t)(e + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* c plus eight products of halves as an sm_80's tensor cores add them (arXiv:2511.10909): all cut
 * off 24 bits behind the largest exponent, the sum cut off to a float. Later ones keep a bit
 * more. */
static float add_eight(float c, const factor *x, const factor *y)
{
    int top = -999;
    for (int i = 0; i < 8; i++) top = max(top, x[i].exponent + y[i].exponent);
    if (top == -999) return c;
    top = max(top, max((int)(__float_as_uint(c) >> 23 & 255) - 127, -126));
    if (top > 30) { /* no place for what is not finite */
        for (int i = 0; i < 8; i++) c += x[i].value * y[i].value;
        return c;
    }
    const double inverse = power_of_two(24 - top);
    int sum = (int)(c * inverse);
    for (int i = 0; i < 8; i++) sum += (int)((double)x[i].value * y[i].value * inverse);
    const double exact = sum * power_of_two(top - 24);
    const float f = (float)exact;
    return fabs((double)f) > fabs(exact) ? __uint_as_float(__float_as_uint(f) - 1) : f;
}

void emulate_multiply(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    warp *w = &warps[current / WARP];
    unsigned turn = fibres[current].turn++ % 2;
    const int g = current % WARP / 4, t = current % 4;
    for (int i = 0; i < 8; i++)
        w->a[turn][g + i / 2 % 2 * 8][2 * t + i % 2 + i / 4 * 8] =
            factor_of(a[i / 2] >> i % 2 * 16);
    for (int i = 0; i < 4; i++)
        w->b[turn][g][2 * t + i % 2 + i / 2 * 8] = factor_of(b[i / 2] >> i % 2 * 16);
    wait_as(AT_WARP);
    for (int i = 0; i < 4; i++) {
        const factor *x = w->a[turn][g + i / 2 * 8], *y = w->b[turn][2 * t + i % 2];
        c[i] = add_eight(add_eight(c[i], x, y), x + 8, y + 8);
    }
}

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes)
{
    if (((uintptr_t)to | (uintptr_t)from) % bytes) stop("an unaligned copy");
    fibres[current].copies.push_back({to, from, bytes, fibres[current].groups});
}

void __pipeline_commit()
{
    fibres[current].groups++;
}

void __pipeline_wait_prior(size_t groups)
{
    fibre *f = &fibres[current];
    size_t n = 0;
    for (; n < f->copies.size() && f->copies[n].group + groups < f->groups; n++)
        memcpy(f->copies[n].to, f->copies[n].from, f->copies[n].bytes);
    f->copies.erase(f->copies.begin(), f->copies.begin() + (long)n);
}

/* Every thread of [from, to) that waits as s may go on, once all that live do. */
static bool release(int from, int to, state s)
{
    int waiting = 0;
    for (int t = from; t < to; t++) {
        if (fibres[t].s == READY || (fibres[t].s != s && fibres[t].s != DONE)) return false;
        if (s == AT_WARP && fibres[t].s == DONE) return false; /* all lanes take part */
        waiting += fibres[t].s == s;
    }
    for (int t = from; t < to; t++)
        if (fibres[t].s == s) fibres[t].s = READY;
    return waiting > 0;
}

/* Run a warp until all of it waits at the block's barrier or is done; returns how many ended. */
static int run_warp(int from, int to)
{
    int ended = 0;
    do {
        for (int i = 0; i < to - from; i++) {
            int t = emulate_reverse ? to - 1 - i : from + i;
            if (fibres[t].s != READY) continue;
            resume(t);
            ended += fibres[t].s == DONE;
        }
    } while (release(from, to, AT_WARP));
    return ended;
}

static void run_block()
{
    for (int t = 0; t < n_threads; t++) {
        fibre *f = &fibres[t];
        if (!f->stack) f->stack = (char *)malloc(STACK);
        FORGET(f->stack);
        prepare(&f->at, f->stack, start);
        f->s = READY;
        f->turn = 0;
        f->groups = 0;
        f->copies.clear();
    }
    for (int live = n_threads, n_warps = n_threads / WARP; live > 0;) {
        for (int i = 0; i < n_warps; i++) {
            int w = emulate_reverse ? n_warps - 1 - i : i;
            live -= run_warp(w * WARP, (w + 1) * WARP);
        }
        if (!release(0, n_threads, AT_BARRIER) && live > 0)
            stop("a barrier that not every thread reaches");
    }
}

void *emulate_shared()
{
    return shared;
}

/* Launches that wait for their graph. */
struct emulated_graph {
    std::vector<std::function<void()>> launches;
};
static emulated_graph *recording;

void emulate_launch(const char *name, dim3 grid, dim3 block, size_t bytes,
                    const std::function<void()> &work)
{
    if (recording) {
        recording->launches.push_back([=]() { emulate_launch(name, grid, block, bytes, work); });
        return;
    }
    kernel = name;
    n_threads = (int)(block.x * block.y * block.z);
    blockDim = block;
    gridDim = grid;
    body = &work;
    emulate_launches++;
    if (n_threads < 1 || n_threads > MAX_THREADS || n_threads % WARP) stop("odd number of threads");
    if (bytes > (size_t)emulate_shared_bytes) stop("more shared memory than a block can have");
    for (int t = 0; t < n_threads; t++)
        fibres[t].index = dim3(t % block.x, t / block.x % block.y, t / block.x / block.y);
    if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 || grid.z > 65535)
        stop("odd grid");
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                shared = (char *)malloc(bytes); /* of the exact size, so that asan sees */
                memset(shared, 0xff, bytes);
                run_block();
                free(shared);
            }
}

/* --- the runtime --- */

static bool fails()
{
    if (emulate_fail == 0) return false;
    if (emulate_fail > 1) {
        emulate_fail--;
        return false;
    }
    return true;
}

#define MAY_FAIL(error)                                                                            \
    if (fails()) return error
/* Not while a graph is recorded. */
#define AT_ONCE()                                                                                  \
    if (recording) stop("a copy, wait or allocation in a graph")

const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? "out of memory" : "device unavailable";
}
cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    MAY_FAIL(cudaErrorNoDevice);
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int)
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    snprintf(p->name, sizeof p->name, "emulated");
    p->major = 8;
    p->multiProcessorCount = 2; /* few: blocks go round */
    p->minor = 0;
    p->sharedMemPerBlockOptin = (size_t)emulate_shared_bytes;
    return cudaSuccess;
}
cudaError_t cudaGetLastError()
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}
static cudaError_t allocate(void **p, size_t bytes)
{
    AT_ONCE();
    MAY_FAIL(cudaErrorMemoryAllocation);
    if (posix_memalign(p, 256, bytes ? bytes : 1)) return cudaErrorMemoryAllocation;
    memset(*p, 0xff, bytes);
    emulate_leaks++;
    return cudaSuccess;
}
static cudaError_t release_memory(void *p)
{
    emulate_leaks -= p != nullptr;
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t bytes)
{
    return allocate(p, bytes);
}
cudaError_t cudaFree(void *p)
{
    return release_memory(p);
}
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    return allocate(p, bytes);
}
cudaError_t cudaFreeHost(void *p)
{
    return release_memory(p);
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)1 << 30;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
    AT_ONCE();
    MAY_FAIL(cudaErrorDeviceUnavailable);
    memmove(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t)
{
    AT_ONCE();
    MAY_FAIL(cudaErrorDeviceUnavailable);
    memset(p, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    return allocate((void **)s, 1);
}
cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    return release_memory(s);
}
cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    AT_ONCE();
    emulate_waits++;
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    return allocate((void **)e, 1);
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    return release_memory(e);
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t)
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    MAY_FAIL(cudaErrorDeviceUnavailable);
    return cudaSuccess;
}

/* --- graphs --- */

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode)
{
    AT_ONCE();
    MAY_FAIL(cudaErrorDeviceUnavailable);
    recording = new emulated_graph;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *g)
{
    *g = recording;
    recording = nullptr;
    emulate_leaks += *g != nullptr;
    return *g ? cudaSuccess : cudaErrorDeviceUnavailable;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long)
{
    MAY_FAIL(cudaErrorMemoryAllocation);
    *e = new emulated_graph(*g);
    emulate_leaks++;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t)
{
    AT_ONCE();
    MAY_FAIL(cudaErrorDeviceUnavailable);
    emulate_replays++;
    for (const auto &launch : e->launches) launch();
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    emulate_leaks--;
    delete g;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e)
{
    return cudaGraphDestroy(e);
}

/* --- cuBLAS --- */

cublasStatus_t cublasCreate_v2(cublasHandle_t *h)
{
    return allocate((void **)h, 1) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : (cublasStatus_t)1;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t h)
{
    release_memory(h);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

static float bf16(const void *p, int64_t i)
{
    return __uint_as_float((unsigned)((const uint16_t *)p)[i] << 16);
}

cublasStatus_t cublasGemmEx(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const void *, const void *a, cudaDataType_t a_type,
                            int lda, const void *b, cudaDataType_t b_type, int ldb,
                            const void *beta, void *c, cudaDataType_t c_type, int ldc,
                            cublasComputeType_t, cublasGemmAlgo_t)
{
    if (fails() || ta != CUBLAS_OP_T || tb != CUBLAS_OP_N || a_type != CUDA_R_16BF ||
        b_type != CUDA_R_16BF || c_type != CUDA_R_32F)
        return (cublasStatus_t)1;
    std::vector<float> column((size_t)k);
    for (int j = 0; j < n; j++) {
        bool zero = true;
        for (int p = 0; p < k; p++) {
            column[(size_t)p] = bf16(b, (int64_t)j * ldb + p);
            zero = zero && column[(size_t)p] == 0;
        }
        for (int i = 0; i < m; i++) {
            float *y = (float *)c + (int64_t)j * ldc + i, sum = 0;
            for (int p = 0; !zero && p < k; p++)
                sum += bf16(a, (int64_t)i * lda + p) * column[(size_t)p];
            *y = *(const float *)beta != 0 ? *y + sum : sum;
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}
