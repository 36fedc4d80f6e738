/* Embedding models: a text to one vector, for searching by meaning.
 *
 *     qu_embed *m;
 *     QU_TRY(qu_embed_open(&m, "bge-small.gguf", err));
 *     float *x = malloc(n * qu_embed_dims(m) * sizeof *x);
 *     QU_TRY_OUT(qu_embed_run(m, pool, texts, n, QU_EMBED_PASSAGE, x, err));
 *     qu_embed_close(m);
 *
 * Architecture `bert` (BGE, all-MiniLM, E5, GTE and kin): WordPiece (decode/wordpiece.h), learned
 * positions, attention both ways, layer norm after each sum, GELU, the mean of all tokens or the
 * first one's row as the file says, scaled to length 1. What is longer than the model's window is
 * cut. Everything else is refused by name. Models named E5 or BGE (English) want a text to begin
 * with what it is, as their cards say; that is added here.
 *
 * A text's vector does not depend on what it is run with, nor on threads. Source: BERT,
 * arXiv:1810.04805; Sentence-BERT, arXiv:1908.10084 (pooling).
 * Thread rule: one thread a handle.
 */
#ifndef QU_DECODE_EMBED_H
#define QU_DECODE_EMBED_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/status.h"

typedef struct qu_embed qu_embed;

typedef struct qu_embed_text {
    const char *data;
    size_t n;
} qu_embed_text;

typedef enum qu_embed_kind {
    QU_EMBED_PASSAGE,
    QU_EMBED_QUESTION,
} qu_embed_kind;

/* Open and check the model at path. Errors: those of qu_gguf_open; QU_ERR_UNSUPPORTED (another
 * architecture, tokenizer or pooling), QU_ERR_FORMAT (missing or misshapen tensor or key). */
qu_status qu_embed_open(qu_embed **m, const char *path, qu_err *err);
void qu_embed_close(qu_embed *m);
QU_OWNER(qu_embed, qu_embed_close)

int32_t qu_embed_dims(const qu_embed *m); /* E */

/* Identity of weights, vocabulary and rules: vectors of different ones must not be mixed. */
qu_hash qu_embed_hash(const qu_embed *m);

/* Vectors of n texts into x [n,E] f32. An empty text has one too. Errors: QU_ERR_NOMEM. */
qu_status qu_embed_run(qu_embed *m, qu_pool *pool, const qu_embed_text *texts, int32_t n,
                       qu_embed_kind kind, float *x, qu_err *err);

/* The same for one sequence of token ids, at most the window's, without pooling: rows [n,E]. For
 * tests. Errors: QU_ERR_ARG (ids out of range), QU_ERR_NOMEM. */
qu_status qu_embed_rows(qu_embed *m, qu_pool *pool, const int32_t *ids, int32_t n, float *rows,
                        qu_err *err);

#endif
