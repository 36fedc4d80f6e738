/* Linear layers on the weights' own stored blocks: y = x W^T + bias, without a second copy of W.
 *
 *     qu_linear_job jobs[3] = {{&wq, bq, q, n_q}, {&wk, bk, k, n_k}, {&wv, bv, v, n_v}};
 *     qu_linear_question(pool, jobs, 3, x, ldx, T);
 *
 * Kernels are chosen by phase and never by shape (numerics rule, DESIGN.md section 4):
 *   question  decode, verify, and questions where there are no tiles (qu_linear_prompt): from the
 *             stored blocks, one sixteen-lane f32 sum a result, so T rows give bit for bit what T
 *             calls with one row give. Types of four to six bits (qu_linear_in_bytes) are
 *             multiplied as the integers that they are, with x in one byte an element; W's rows of
 *             other types are dequantised on the fly.
 *   document  document chunks: rows in tiles of fixed height against dequantised panels of W
 *             (qu_prefill_kind tells by what).
 * Results depend neither on T nor on the number of threads.
 */
#ifndef QU_KERNELS_LINEAR_H
#define QU_KERNELS_LINEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "kernels/quant.h"

/* A tile of the document kernel: 64 rows reach 93% of the rate of 128 on a Xeon, and pad a short
 * document half as far. */
enum { QU_TILE_ROWS = 64 };

/* A weight matrix [n,k], row n contiguous, borrowed (usually from the GGUF map). */
typedef struct qu_weight {
    const void *data;
    qu_type type;
    int32_t n, k;
} qu_weight;

/* One product over the shared input. y [T,ldy] f32 out; bias [n] f32 or NULL. */
typedef struct qu_linear_job {
    const qu_weight *w;
    const float *bias;
    float *y;
    int64_t ldy;
} qu_linear_job;

/* Whether the question kernel rounds x to bytes for W of that type: Q4_0, Q5_0, Q4_K, Q5_K, Q6_K,
 * IQ4_XS. */
bool qu_linear_in_bytes(qu_type type);

/* How: y [n] = x [n], in runs of 32 (of which n is a multiple) rounded to whole multiples of the
 * run's largest |x| / 127. A run without anything above 1e-30 is zero; one that holds a NaN or an
 * infinity is all NaN. The reference of the rounding: the product with W is exact but for f32 sums.
 */
void qu_linear_round_ref(float *y, const float *x, int32_t n);

/* Reference: one result at a time with a double accumulator. x [T,ldx] f32, T >= 0, not rounded. */
void qu_linear_ref(const qu_linear_job *job, const float *x, int64_t ldx, int32_t n_rows);

/* Run jobs over x [T,ldx]; all jobs share k. Buffers must not overlap. */
void qu_linear_question(qu_pool *pool, const qu_linear_job *jobs, int n_jobs, const float *x,
                        int64_t ldx, int32_t n_rows);

/* The same for document chunks. Scratch is kept in *scratch (zero-initialised by the caller once,
 * freed with qu_linear_scratch_free). Errors: QU_ERR_NOMEM. */
typedef struct qu_linear_scratch qu_linear_scratch;
qu_status qu_linear_document(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err);
void qu_linear_scratch_free(qu_linear_scratch *scratch);

/* The same for a question as it is read, all of its rows at once: as qu_linear_question, but in
 * tiles where documents are, both sides with sixteen bits (errors 2^-16 of the largest term). */
qu_status qu_linear_prompt(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                           int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err);

/* What multiplies document chunks: part of the numerics class. */
typedef enum qu_prefill_kind {
    QU_PREFILL_OWN,       /* the question kernel */
    QU_PREFILL_DNNL_F32,  /* oneDNN on dequantised panels */
    QU_PREFILL_DNNL_BF16, /* both rounded to bf16: AMD's AVX512_BF16 */
    QU_PREFILL_AMX_BF16,  /* likewise, on the tile unit (tile.h) */
    QU_PREFILL_COUNT
} qu_prefill_kind;

/* The one in use: the fastest that processor and build have, unless forced. */
qu_prefill_kind qu_linear_prefill_kind(void);

/* Use that one from now on, for tests and for comparing classes; QU_PREFILL_COUNT: the fastest
 * again. False where it cannot run; without a tile unit its reference does, slowly. */
bool qu_linear_force_prefill(qu_prefill_kind kind);

/* "own", "dnnl-f32", "dnnl-bf16" or "amx-bf16". */
const char *qu_linear_document_name(void);

#endif
