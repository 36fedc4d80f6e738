/* One CUDA device: its memory, two streams, copies, and cuBLAS for document chunks.
 *
 *     qu_cuda *cu;
 *     QU_TRY(qu_cuda_open(&cu, 0, err));
 *     QU_TRY(qu_cuda_alloc(cu, (void **)&x, bytes, err));
 *     QU_TRY(qu_cuda_upload(cu, QU_CUDA_COMPUTE, x, host, bytes, err));
 *     ... launchers of kernels/cuda/ops.h ...
 *     QU_TRY(qu_cuda_sync(cu, QU_CUDA_COMPUTE, err));
 *     qu_cuda_close(cu);
 *
 * Work is asynchronous and in order within a stream; marks order the streams among each other. The
 * first error of the device is kept: every later call returns it at once (QU_ERR_GPU), so a lost
 * device is an error and not a hang. One thread at a time.
 */
#ifndef QU_KERNELS_CUDA_CUDA_H
#define QU_KERNELS_CUDA_CUDA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qu_cuda qu_cuda;

typedef enum qu_cuda_stream { QU_CUDA_COMPUTE, QU_CUDA_COPY, QU_CUDA_STREAMS } qu_cuda_stream;
enum { QU_CUDA_MARKS = 8 };

/* Devices that can be opened; 0 without a driver. */
int qu_cuda_count(void);

/* Errors: QU_ERR_NOGPU (none, no such number, older than sm_80, no cuBLAS), QU_ERR_NOMEM,
 * QU_ERR_GPU. */
qu_status qu_cuda_open(qu_cuda **cu, int number, qu_err *err);
void qu_cuda_close(qu_cuda *cu);

/* "NVIDIA H200", and the major and minor number of its architecture as 90. */
const char *qu_cuda_name(const qu_cuda *cu);
int qu_cuda_arch(const qu_cuda *cu);

/* Bytes of the device that nobody has. */
qu_status qu_cuda_room(qu_cuda *cu, int64_t *bytes, qu_err *err);
/* Device memory, 256-byte aligned, not initialised. Errors: QU_ERR_NOMEM (says what is free),
 * QU_ERR_GPU. Free waits for nothing: nothing may still use p. */
qu_status qu_cuda_alloc(qu_cuda *cu, void **p, int64_t bytes, qu_err *err);
void qu_cuda_free(qu_cuda *cu, void *p);
/* Host memory that the device copies without help; the upload of other memory is staged by the
 * driver and done with the memory when it returns. */
qu_status qu_cuda_alloc_host(qu_cuda *cu, void **p, int64_t bytes, qu_err *err);
void qu_cuda_free_host(qu_cuda *cu, void *p);

qu_status qu_cuda_upload(qu_cuda *cu, qu_cuda_stream s, void *device, const void *host,
                         int64_t bytes, qu_err *err);
qu_status qu_cuda_download(qu_cuda *cu, qu_cuda_stream s, void *host, const void *device,
                           int64_t bytes, qu_err *err);
qu_status qu_cuda_zero(qu_cuda *cu, qu_cuda_stream s, void *device, int64_t bytes, qu_err *err);

/* Put mark (0 .. QU_CUDA_MARKS - 1) behind what stream s was given so far; let a stream, or the
 * caller, wait until the mark's last place is reached. A mark never put is reached. */
qu_status qu_cuda_mark(qu_cuda *cu, qu_cuda_stream s, int mark, qu_err *err);
qu_status qu_cuda_follow(qu_cuda *cu, qu_cuda_stream s, int mark, qu_err *err);
qu_status qu_cuda_reach(qu_cuda *cu, int mark, qu_err *err);
/* Wait for all work of a stream. */
qu_status qu_cuda_sync(qu_cuda *cu, qu_cuda_stream s, qu_err *err);

/* A graph: launches of the compute stream that were noted instead of done, to be done again and
 * again, with the same arguments. Between record and recorded nothing may wait, copy or allocate.
 * recorded is due after record in any case; it gives no graph where something failed between the
 * two. */
typedef struct qu_cuda_graph qu_cuda_graph;
qu_status qu_cuda_record(qu_cuda *cu, qu_err *err);
qu_status qu_cuda_recorded(qu_cuda *cu, qu_cuda_graph **g, qu_err *err);
qu_status qu_cuda_replay(qu_cuda *cu, qu_cuda_graph *g, qu_err *err);
void qu_cuda_graph_free(qu_cuda_graph *g);

/* y [rows,n] f32 = x [rows,k] bf16 times w [n,k] bf16 transposed, summed in f32, or added to y.
 * cuBLAS picks its kernel by shape: give the same rows every time. k a multiple of 8. */
qu_status qu_cuda_gemm(qu_cuda *cu, float *y, const void *x, const void *w, int32_t rows, int32_t n,
                       int32_t k, bool add, qu_err *err);

#ifdef __cplusplus
}
#endif
#endif
