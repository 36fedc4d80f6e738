/* oneDNN's matrix product for one prefill tile: y [R,n] = x [R,k] W^T, W a panel [n,k]. Private to
 * kernels/.
 *
 * The row count R is always QU_TILE_ROWS (short tiles are padded) and every call runs on the
 * calling thread alone, because oneDNN 2.6 chooses its algorithm by row count and by thread count:
 * so a row's result depends on neither. Elements are f32 or bf16.
 */
#ifndef QU_KERNELS_DNNL_TILE_H
#define QU_KERNELS_DNNL_TILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/linear.h"

typedef struct qu_dnnl qu_dnnl;
typedef struct qu_dnnl_kernel qu_dnnl_kernel;

/* Has the processor products in bf16, and are they faster than those in f32 (AMD's are)? */
bool qu_dnnl_can_bf16(void);
bool qu_dnnl_bf16_is_faster(void);

/* Errors: QU_ERR_NOMEM, QU_ERR_UNSUPPORTED (oneDNN refused). */
qu_status qu_dnnl_create(qu_dnnl **d, bool bf16, qu_err *err);
void qu_dnnl_free(qu_dnnl *d);

/* Make the kernel for panels of n rows of k elements, once. Not while others run. */
qu_status qu_dnnl_want(qu_dnnl *d, int32_t n, int32_t k, qu_err *err);

/* The kernel that qu_dnnl_want made; NULL if it did not. */
const qu_dnnl_kernel *qu_dnnl_find(const qu_dnnl *d, int32_t n, int32_t k);

/* Bytes of scratch that a run of any kernel made so far needs. */
int64_t qu_dnnl_scratch_bytes(const qu_dnnl *d);

/* y [R,n] f32 out; x [R,k] and w [n,k] in the element type; scratch 64-byte aligned, the caller's
 * own. Any thread, at the same time. */
void qu_dnnl_run(const qu_dnnl *d, const qu_dnnl_kernel *kernel, float *y, const void *x,
                 const void *w, void *scratch);

#endif
