#include "kernels/cuda/cuda.h"

#include <cublas_v2.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/common.cuh"

#ifdef __CUDACC__
#include <dlfcn.h>
#endif

/* cuBLAS is found when a device is opened: linking it would cost every start of the program. */
typedef struct blas {
    void *library;
    cublasHandle_t handle;
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    decltype(&cublasSetStream_v2) set_stream;
    decltype(&cublasSetWorkspace_v2) set_workspace;
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                           const void *, const void *, cudaDataType_t, int, const void *,
                           cudaDataType_t, int, const void *, void *, cudaDataType_t, int,
                           cublasComputeType_t, cublasGemmAlgo_t);
} blas;

enum { WORKSPACE = 32 << 20, MIN_ARCH = 80 };

struct qu_cuda {
    char name[256];
    int arch, processors, shared;
    cudaStream_t stream[QU_CUDA_STREAMS];
    cudaEvent_t mark[QU_CUDA_MARKS];
    bool marked[QU_CUDA_MARKS];
    cudaError_t lost; /* the device's first error; nothing is asked of it afterwards */
    void *workspace; /* cuBLAS's, ours so that its choice of kernel cannot depend on what is free */
    blas b;
};

static qu_status failed(qu_cuda *cu, const char *what, cudaError_t e, qu_err *err)
{
    if (cu->lost == cudaSuccess) cu->lost = e;
    return qu_fail(err, QU_ERR_GPU, "device '%s' failed in %s: %s", cu->name, what,
                   cudaGetErrorString(e));
}

/* Ask the device for something, unless it has failed already. */
#define DEVICE(what, call)                                                                         \
    do {                                                                                           \
        cudaError_t e_ = cu->lost != cudaSuccess ? cu->lost : (call);                              \
        if (e_ != cudaSuccess) return failed(cu, what, e_, err);                                   \
    } while (0)

int qu_cuda_count(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

#ifdef __CUDACC__
#define QU_TEXT2(x) #x
#define QU_TEXT(x) QU_TEXT2(x)
static bool find_blas(blas *b)
{
    static const char *const names[] = {
        "libcublas.so." QU_TEXT(CUBLAS_VER_MAJOR), "libcublas.so",
        "/usr/local/cuda/lib64/libcublas.so." QU_TEXT(CUBLAS_VER_MAJOR)};
    for (size_t i = 0; i < sizeof names / sizeof *names && !b->library; i++)
        b->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!b->library) return false;
    *(void **)&b->create = dlsym(b->library, "cublasCreate_v2");
    *(void **)&b->destroy = dlsym(b->library, "cublasDestroy_v2");
    *(void **)&b->set_stream = dlsym(b->library, "cublasSetStream_v2");
    *(void **)&b->set_workspace = dlsym(b->library, "cublasSetWorkspace_v2");
    *(void **)&b->gemm = dlsym(b->library, "cublasGemmEx");
    return b->create && b->destroy && b->set_stream && b->set_workspace && b->gemm;
}
static void drop_blas(blas *b)
{
    if (b->library) dlclose(b->library);
}
#else
static bool find_blas(blas *b)
{
    *b = {nullptr,           nullptr, cublasCreate_v2, cublasDestroy_v2, cublasSetStream_v2,
          cublasSetWorkspace_v2, cublasGemmEx};
    return true;
}
static void drop_blas(blas *)
{
}
#endif

static qu_status open_streams(qu_cuda *cu, qu_err *err)
{
    for (int i = 0; i < QU_CUDA_STREAMS; i++)
        DEVICE("making a stream", cudaStreamCreateWithFlags(&cu->stream[i], cudaStreamNonBlocking));
    for (int i = 0; i < QU_CUDA_MARKS; i++)
        DEVICE("making a mark", cudaEventCreateWithFlags(&cu->mark[i], cudaEventDisableTiming));
    return QU_OK;
}

static qu_status open_blas(qu_cuda *cu, qu_err *err)
{
    if (!find_blas(&cu->b))
        return qu_fail(
            err, QU_ERR_NOGPU,
            "cannot find libcublas of the CUDA toolkit this was built with: install it or add its "
            "folder to LD_LIBRARY_PATH");
    QU_TRY(qu_cuda_alloc(cu, &cu->workspace, WORKSPACE, err));
    if (cu->b.create(&cu->b.handle) != CUBLAS_STATUS_SUCCESS ||
        cu->b.set_stream(cu->b.handle, cu->stream[QU_CUDA_COMPUTE]) != CUBLAS_STATUS_SUCCESS ||
        cu->b.set_workspace(cu->b.handle, cu->workspace, WORKSPACE) != CUBLAS_STATUS_SUCCESS)
        return qu_fail(err, QU_ERR_GPU, "device '%s' failed in starting cuBLAS", cu->name);
    return QU_OK;
}

static qu_status open_device(qu_cuda *cu, int number, qu_err *err)
{
    cudaDeviceProp p;
    int n = qu_cuda_count();
    if (n == 0)
        return qu_fail(
            err, QU_ERR_NOGPU,
            "no CUDA device found: check the driver with nvidia-smi, or use --device cpu");
    if (number < 0 || number >= n)
        return qu_fail(err, QU_ERR_NOGPU, "no CUDA device %d: there are %d, counted from 0", number,
                       n);
    snprintf(cu->name, sizeof cu->name, "cuda:%d", number);
    DEVICE("choosing it", cudaSetDevice(number));
    DEVICE("asking what it is", cudaGetDeviceProperties(&p, number));
    snprintf(cu->name, sizeof cu->name, "%s", p.name);
    cu->arch = p.major * 10 + p.minor;
    cu->processors = p.multiProcessorCount;
    cu->shared = (int)p.sharedMemPerBlockOptin;
    if (cu->arch < MIN_ARCH)
        return qu_fail(err, QU_ERR_NOGPU, "device '%s' is too old: sm_%d, at least sm_%d is needed",
                       cu->name, cu->arch, (int)MIN_ARCH);
    QU_TRY(open_streams(cu, err));
    return open_blas(cu, err);
}

qu_status qu_cuda_open(qu_cuda **out, int number, qu_err *err)
{
    *out = NULL;
    qu_cuda *cu = (qu_cuda *)calloc(1, sizeof *cu);
    if (!cu) return qu_fail_nomem(err, sizeof *cu);
    qu_status st = open_device(cu, number, err);
    if (st == QU_OK)
        *out = cu;
    else
        qu_cuda_close(cu);
    return st;
}

void qu_cuda_close(qu_cuda *cu)
{
    if (!cu) return;
    if (cu->b.handle) cu->b.destroy(cu->b.handle);
    drop_blas(&cu->b);
    qu_cuda_free(cu, cu->workspace);
    for (int i = 0; i < QU_CUDA_MARKS; i++)
        if (cu->mark[i]) cudaEventDestroy(cu->mark[i]);
    for (int i = 0; i < QU_CUDA_STREAMS; i++)
        if (cu->stream[i]) cudaStreamDestroy(cu->stream[i]);
    free(cu);
}

const char *qu_cuda_name(const qu_cuda *cu)
{
    return cu->name;
}
int qu_cuda_arch(const qu_cuda *cu)
{
    return cu->arch;
}
int qu_cuda_processors(const qu_cuda *cu)
{
    return cu->processors;
}
int qu_cuda_shared(const qu_cuda *cu)
{
    return cu->shared;
}
cudaStream_t qu_cuda_raw_stream(qu_cuda *cu, qu_cuda_stream s)
{
    return cu->stream[s];
}

qu_status qu_cuda_launched(qu_cuda *cu, const char *kernel, qu_err *err)
{
    DEVICE(kernel, cudaGetLastError());
    return QU_OK;
}

qu_status qu_cuda_room(qu_cuda *cu, int64_t *bytes, qu_err *err)
{
    size_t left = 0, all = 0;
    DEVICE("asking what is free", cudaMemGetInfo(&left, &all));
    *bytes = (int64_t)left;
    return QU_OK;
}

qu_status qu_cuda_alloc(qu_cuda *cu, void **p, int64_t bytes, qu_err *err)
{
    *p = NULL;
    if (cu->lost != cudaSuccess) return failed(cu, "making room", cu->lost, err);
    cudaError_t e = cudaMalloc(p, (size_t)bytes);
    if (e == cudaErrorMemoryAllocation) {
        size_t left = 0, all = 0;
        cudaGetLastError(); /* this error is ours to handle: forget it */
        cudaMemGetInfo(&left, &all);
        *p = NULL;
        return qu_fail(
            err, QU_ERR_NOMEM,
            "device '%s' has no room for %lld MB more: %lld of its %lld MB are free; use fewer "
            "pages, a smaller model or --device cpu",
            cu->name, (long long)(bytes >> 20), (long long)(left >> 20), (long long)(all >> 20));
    }
    DEVICE("making room", e);
    return QU_OK;
}

void qu_cuda_free(qu_cuda *cu, void *p)
{
    (void)cu;
    if (p) cudaFree(p);
}

qu_status qu_cuda_alloc_host(qu_cuda *cu, void **p, int64_t bytes, qu_err *err)
{
    *p = NULL;
    if (cu->lost != cudaSuccess) return failed(cu, "pinning memory", cu->lost, err);
    cudaError_t e = cudaHostAlloc(p, (size_t)bytes, 0);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        *p = NULL;
        return qu_fail_nomem(err, bytes);
    }
    DEVICE("pinning memory", e);
    return QU_OK;
}

void qu_cuda_free_host(qu_cuda *cu, void *p)
{
    (void)cu;
    if (p) cudaFreeHost(p);
}

qu_status qu_cuda_upload(qu_cuda *cu, qu_cuda_stream s, void *device, const void *host,
                         int64_t bytes, qu_err *err)
{
    DEVICE("an upload",
           cudaMemcpyAsync(device, host, (size_t)bytes, cudaMemcpyHostToDevice, cu->stream[s]));
    return QU_OK;
}

qu_status qu_cuda_download(qu_cuda *cu, qu_cuda_stream s, void *host, const void *device,
                           int64_t bytes, qu_err *err)
{
    DEVICE("a download",
           cudaMemcpyAsync(host, device, (size_t)bytes, cudaMemcpyDeviceToHost, cu->stream[s]));
    return QU_OK;
}

qu_status qu_cuda_zero(qu_cuda *cu, qu_cuda_stream s, void *device, int64_t bytes, qu_err *err)
{
    DEVICE("zeroing memory", cudaMemsetAsync(device, 0, (size_t)bytes, cu->stream[s]));
    return QU_OK;
}

qu_status qu_cuda_mark(qu_cuda *cu, qu_cuda_stream s, int mark, qu_err *err)
{
    DEVICE("a mark", cudaEventRecord(cu->mark[mark], cu->stream[s]));
    cu->marked[mark] = true;
    return QU_OK;
}

qu_status qu_cuda_follow(qu_cuda *cu, qu_cuda_stream s, int mark, qu_err *err)
{
    if (cu->marked[mark])
        DEVICE("following a mark", cudaStreamWaitEvent(cu->stream[s], cu->mark[mark], 0));
    return QU_OK;
}

qu_status qu_cuda_reach(qu_cuda *cu, int mark, qu_err *err)
{
    if (cu->marked[mark]) DEVICE("the work before a mark", cudaEventSynchronize(cu->mark[mark]));
    return QU_OK;
}

qu_status qu_cuda_sync(qu_cuda *cu, qu_cuda_stream s, qu_err *err)
{
    DEVICE("its work", cudaStreamSynchronize(cu->stream[s]));
    return QU_OK;
}

qu_status qu_cuda_record(qu_cuda *cu, qu_err *err)
{
    DEVICE("beginning a graph",
           cudaStreamBeginCapture(cu->stream[QU_CUDA_COMPUTE], cudaStreamCaptureModeThreadLocal));
    return QU_OK;
}

qu_status qu_cuda_recorded(qu_cuda *cu, qu_cuda_graph **g, qu_err *err)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    *g = NULL;
    cudaError_t e = cudaStreamEndCapture(cu->stream[QU_CUDA_COMPUTE], &graph); /* in any case */
    if (e == cudaSuccess) e = cudaGraphInstantiate(&exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    DEVICE("making a graph", e);
    *g = (qu_cuda_graph *)exec;
    return QU_OK;
}

qu_status qu_cuda_replay(qu_cuda *cu, qu_cuda_graph *g, qu_err *err)
{
    DEVICE("a graph", cudaGraphLaunch((cudaGraphExec_t)g, cu->stream[QU_CUDA_COMPUTE]));
    return QU_OK;
}

void qu_cuda_graph_free(qu_cuda_graph *g)
{
    if (g) cudaGraphExecDestroy((cudaGraphExec_t)g);
}

qu_status qu_cuda_gemm(qu_cuda *cu, float *y, const void *x, const void *w, int32_t rows, int32_t n,
                       int32_t k, bool add, qu_err *err)
{
    const float one = 1, zero = 0;
    if (cu->lost != cudaSuccess) return failed(cu, "cuBLAS", cu->lost, err);
    cublasStatus_t st = cu->b.gemm(cu->b.handle, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, w,
                                   CUDA_R_16BF, k, x, CUDA_R_16BF, k, add ? &one : &zero, y,
                                   CUDA_R_32F, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    if (st != CUBLAS_STATUS_SUCCESS)
        return qu_fail(err, QU_ERR_GPU, "device '%s' failed in cuBLAS with code %d", cu->name,
                       (int)st);
    return QU_OK;
}
