/* Coarse retrieval as every verb does it: words, and vectors where the store has them and a weight
 * for them.
 *
 *     qu_hybrid *h;
 *     QU_TRY(qu_hybrid_open(&h, session, QU_HYBRID_STORED, err));
 *     QU_TRY_OUT(qu_hybrid_search(h, txn, q, n, &opts, 32, hits, &n_hits, err));
 *     qu_hybrid_close(h);
 *
 * The weight is the store's, set by `quire eval recall --tune` and .3 before, whose recall@10
 * was never below that of words alone over five question sets (DESIGN.md section 7). With 0
 * vectors cost nothing and the answer is that of the words alone. Where the embedding model's file
 * is gone or has changed, words alone serve, with a warning.
 */
#ifndef QU_PIPELINES_HYBRID_H
#define QU_PIPELINES_HYBRID_H

#include "decode/embed.h"
#include "index/vector.h"
#include "pipelines/session.h"

typedef struct qu_hybrid qu_hybrid;

/* In place of a weight: the store's. */
#define QU_HYBRID_STORED (-1.0)

/* weight > 0 needs vectors: QU_ERR_NOTFOUND where the store has none or their model is not there.
 * Other errors: those of qu_session_lexical, of the catalogue and of qu_embed_open. */
qu_status qu_hybrid_open(qu_hybrid **h, qu_session *s, double weight, qu_err *err);
void qu_hybrid_close(qu_hybrid *h);
QU_OWNER(qu_hybrid, qu_hybrid_close)

/* The weight in use. */
double qu_hybrid_weight(const qu_hybrid *h);

/* The k best pages, as qu_lexical_search; a damaged word index is made again. opts->max_per_doc 0
 * or 1. */
qu_status qu_hybrid_search(qu_hybrid *h, qu_txn *t, const char *q, size_t n,
                           const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *hits,
                           int32_t *n_hits, qu_err *err);

/* The words of a query that no page holds: as qu_lexical_unknown. */
qu_status qu_hybrid_unknown(qu_hybrid *h, const char *q, size_t n, qu_buf *words, int64_t *n_held,
                            qu_err *err);

/* Both lists by themselves, each [k]. */
qu_status qu_hybrid_lists(qu_hybrid *h, qu_txn *t, const char *q, size_t n,
                          const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *words,
                          int32_t *n_words, qu_lexical_hit *vectors, int32_t *n_vectors,
                          qu_err *err);

/* Set the store's weight; needs the store open for writing. */
qu_status qu_hybrid_set_weight(qu_session *s, double weight, qu_err *err);

/* --- making vectors, for `quire index` --- */

typedef struct qu_hybrid_made {
    int64_t docs, pages;
    double seconds;
    bool stopped;
} qu_hybrid_made;

/* Embed every document that has no vectors yet, with the model at path (NULL: the store's; none:
 * nothing is done), and bring DIR/vectors.idx up to date. Vectors of another model are deleted
 * first. stop (NULL: never) is asked between batches; what is done stays. Errors: those of
 * qu_embed_open, of the catalogue and of qu_vector_build. */
qu_status qu_hybrid_make(qu_session *s, const char *path, bool (*stop)(void), qu_hybrid_made *made,
                         qu_err *err);

#endif
