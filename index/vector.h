/* Vectors of pages: those nearest to a question's.
 *
 *     QU_TRY(qu_vector_begin(t, model_hash, 384, err));            // writer, once
 *     QU_TRY(qu_vector_put(t, doc_id, x, n, err));                 // pages 1..n of a document
 *     QU_TRY(qu_vector_build(t, "DIR/vectors.idx", &options, err));  // after a batch
 *
 *     QU_TRY(qu_vector_open(&v, t, "DIR/vectors.idx", err));       // QU_ERR_NOTFOUND: no vectors
 *     QU_TRY_OUT(qu_vector_search(v, t, q, NULL, 32, hits, &n, err));
 *     qu_vector_close(v);
 *
 * The store is the truth: it holds every vector (8 bits a number), the list that it belongs to and
 * the centroids of the lists. A hit is a page in one of the lists probed for the question; its
 * score is the inner product with the stored vector. The file only makes that fast: FAISS's
 * inverted lists of what the store held when it was built. Vectors that came later are scored one
 * by one (the delta), those that went are passed over, hits of the file are scored again from the
 * store. So hits are the same with the file, with an older one, without it and in a build without
 * FAISS, but for vectors that differ by less than 8 bits show around the last place.
 *
 * Below QU_VECTOR_FLAT vectors there are no lists and no file: all are scored.
 *
 *   stored chunk 0 of a document   u64 epoch of its putting; u16 list of each page
 *   stored chunk c > 0             rows of pages 1 + (c - 1) R ...: Q8_0 blocks (kernels/quant.h),
 *                                  R = 8154 / row bytes, at least 1; E filled up with zeros to 32 n
 *   meta "vectors"                 qu_vector_state (vector_int.h); "vectors.N": centroids, f32,
 *                                  2^18 numbers each
 *
 * Thread rule: one thread a handle.
 */
#ifndef QU_INDEX_VECTOR_H
#define QU_INDEX_VECTOR_H

#include "base/pool.h"
#include "index/lexical.h"
#include "store/catalogue.h"

enum {
    QU_VECTOR_FLAT = 50000,  /* fewer vectors are all scored */
    QU_VECTOR_MAX_DIMS = 8192,
};

typedef struct qu_vector qu_vector;

typedef struct qu_vector_info {
    qu_hash model;           /* what made the vectors */
    int32_t n_dims;          /* E */
    int32_t n_lists;         /* 0: all vectors are scored */
} qu_vector_info;

/* What vectors the store has. Errors: QU_ERR_NOTFOUND (none), those of the catalogue. */
qu_status qu_vector_get_info(qu_txn *t, qu_vector_info *info, qu_err *err);

/* Say what the vectors that follow are made with. Vectors of another model or size are deleted.
 * Errors: QU_ERR_ARG (write transaction missing, n_dims), those of the catalogue. */
qu_status qu_vector_begin(qu_txn *t, qu_hash model, int32_t n_dims, qu_err *err);

/* Put the vectors x [n,E] f32 of pages 1..n of a document, replacing what it had. They are scaled
 * to length 1; a vector of zeros or with a number that is not finite is kept as zeros and found
 * last. Errors: QU_ERR_ARG (before qu_vector_begin), QU_ERR_LIMIT (2^24 pages, document ids of
 * 2^39), QU_ERR_NOTFOUND (document), those of the catalogue. */
qu_status qu_vector_put(qu_txn *t, uint64_t doc_id, const float *x, int32_t n, qu_err *err);

/* Has the document vectors? */
qu_status qu_vector_has(qu_txn *t, uint64_t doc_id, bool *has, qu_err *err);

typedef struct qu_vector_build_options {
    qu_pool *pool;           /* NULL: this thread */
    int64_t flat;            /* 0: QU_VECTOR_FLAT; tests set less */
} qu_vector_build_options;

/* Bring lists and file up to date, where FAISS is built in: make lists when there are vectors
 * enough and none yet, or four times as many as when they were made; write the file when it is
 * missing or more than a tenth of the vectors are not in it. Removes a file that is of no use. t is
 * a write transaction (lists are stored). Deterministic but for the last bits of the centroids.
 * Errors: those of the catalogue; QU_ERR_NOMEM, QU_ERR_IO, QU_ERR_FULL; the old file stays. */
qu_status qu_vector_build(qu_txn *t, const char *file, const qu_vector_build_options *options,
                          qu_err *err);

/* Open for searching. A file that is missing, damaged, of other vectors, or that this build cannot
 * read, is done without. Errors: QU_ERR_NOTFOUND (the store has no vectors), those of the
 * catalogue. *v is NULL on error. */
qu_status qu_vector_open(qu_vector **v, qu_txn *t, const char *file, qu_err *err);

/* Is the file in use? And how many documents of the store are not in it? */
bool qu_vector_uses_file(const qu_vector *v);
int64_t qu_vector_n_delta(const qu_vector *v);

/* The k pages nearest to q [E] f32 (need not have length 1), best first; scores are cosines.
 * opts as in qu_lexical_search. t may be a later transaction than the one at open: what changed
 * since is seen. Errors: those of the catalogue, QU_ERR_NOMEM. */
qu_status qu_vector_search(qu_vector *v, qu_txn *t, const float *q, const qu_lexical_opts *opts,
                           int32_t k, qu_lexical_hit *hits, int32_t *n_hits, qu_err *err);

void qu_vector_close(qu_vector *v);
QU_OWNER(qu_vector, qu_vector_close)

#endif
