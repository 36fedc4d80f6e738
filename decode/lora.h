/* A LoRA adapter in a GGUF file, applied as a low-rank product beside the mapped weights, so there
 * is no second copy of them:  y += scale * B (A x),  A [r,k], B [n,r].
 *
 *     qu_lora *l;
 *     qu_lora_pair p;
 *     QU_TRY(qu_lora_open(&l, "adapter.gguf", "llama", err));
 *     QU_TRY_OUT(qu_lora_find(l, "blk.0.attn_q.weight", n, k, &p, err));   // p.rank 0: not in it
 *     QU_TRY_OUT(qu_lora_check(l, err));                 // was every tensor asked for?
 *     qu_lora_add(pool, &p, x, k, y, n, n_rows, scratch);
 *
 * Tensors are named as llama.cpp's converter does: the model's tensor, then `.lora_a` and
 * `.lora_b`; scale = `adapter.lora.alpha` / r, or 1 without alpha. Source: LoRA, arXiv:2106.09685.
 * A row's bits do not depend on the number of rows, and the product is the question kernel's in
 * both phases.
 */
#ifndef QU_DECODE_LORA_H
#define QU_DECODE_LORA_H

#include "base/hash.h"
#include "base/memory.h"
#include "base/pool.h"
#include "decode/gguf.h"
#include "kernels/linear.h"

typedef struct qu_lora qu_lora;

typedef struct qu_lora_pair {
    qu_weight a, b; /* [r,k], [n,r], borrowed from the adapter */
    int32_t rank;   /* 0: no pair */
    float scale;
} qu_lora_pair;

/* Open and check an adapter for a model of architecture arch. Errors: those of qu_gguf_open;
 * QU_ERR_UNSUPPORTED (not a LoRA adapter, a conditional one), QU_ERR_MISMATCH (another
 * architecture), each naming path. */
qu_status qu_lora_open(qu_lora **l, const char *path, const char *arch, qu_err *err);
void qu_lora_close(qu_lora *l);
QU_OWNER(qu_lora, qu_lora_close)

/* The pair for a tensor [n,k] of the model, or rank 0. l NULL: rank 0. Errors: QU_ERR_MISMATCH
 * (shapes), QU_ERR_FORMAT (half a pair). */
qu_status qu_lora_find(qu_lora *l, const char *tensor, int32_t n, int32_t k, qu_lora_pair *p,
                       qu_err *err);

/* QU_ERR_MISMATCH when the adapter has tensors that nobody asked for. */
qu_status qu_lora_check(const qu_lora *l, qu_err *err);

qu_hash qu_lora_fingerprint(const qu_lora *l);

/* Floats of scratch for n_rows through pair p. */
int64_t qu_lora_scratch(const qu_lora_pair *p, int32_t n_rows);

/* y [T,ldy] += scale * B (A x), x [T,ldx]. */
void qu_lora_add(qu_pool *pool, const qu_lora_pair *p, const float *x, int64_t ldx, float *y,
                 int64_t ldy, int32_t n_rows, float *scratch);

#endif
