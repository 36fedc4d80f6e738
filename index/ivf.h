/* Inverted lists of 8-bit vectors: FAISS's IVF,SQ8 behind its C API, where the build has it.
 *
 *     if (!qu_ivf_built_in()) search everything;
 *     QU_TRY(qu_ivf_train(centroids, n_lists, sample, n, E, threads, err));
 *     QU_TRY(qu_ivf_create(&ivf, E, n_lists, range, err));
 *     QU_TRY(qu_ivf_add(ivf, n, x, ids, lists, err));          // again and again
 *     QU_TRY(qu_ivf_save(ivf, file, err));
 *     QU_TRY(qu_ivf_load(&ivf, file, err));                       // maps the lists, copies nothing
 *     QU_TRY(qu_ivf_search(ivf, query, lists, n_probes, k, ids, scores, &n, err));
 *
 * Which list a vector is in and which lists a query probes is the caller's: FAISS only keeps the
 * lists and scans them. Scores are inner products with vectors rounded to 8 bits over one range for
 * all dimensions; who wants them exact scores the hits again. Not wrapped in IDMap2: an IVF index
 * keeps ids of its own, and the map would only add 50 MB a million vectors.
 * In a build without FAISS only qu_ivf_built_in and qu_ivf_free (of NULL) may be called: the others
 * are not there.
 * Thread rule: one thread a handle. Every function: QU_ERR_NOMEM, QU_ERR_IO.
 */
#ifndef QU_INDEX_IVF_H
#define QU_INDEX_IVF_H

#include <stdbool.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/status.h"

typedef struct qu_ivf qu_ivf;

bool qu_ivf_built_in(void);

#pragma weak qu_ivf_train
#pragma weak qu_ivf_create
#pragma weak qu_ivf_add
#pragma weak qu_ivf_save
#pragma weak qu_ivf_load
#pragma weak qu_ivf_search

/* Spherical k-means, ten iterations, of x [n,E] f32, n >= n_lists, into centroids [n_lists,E]. */
qu_status qu_ivf_train(float *centroids, int32_t n_lists, const float *x, int64_t n, int32_t e,
                       int threads, qu_err *err);

/* Empty lists. range > 0: components beyond +-range are cut. */
qu_status qu_ivf_create(qu_ivf **ivf, int32_t e, int32_t n_lists, float range, qu_err *err);

/* Append x [n,E] to lists[i] under ids[i]. */
qu_status qu_ivf_add(qu_ivf *ivf, int64_t n, const float *x, const int64_t *ids,
                     const int64_t *lists, qu_err *err);

/* Write at, or read from, the place where file stands. The bytes that are read must be known to be
 * those that were written: FAISS trusts them. file may be closed afterwards; what is mapped
 * stays. */
qu_status qu_ivf_save(const qu_ivf *ivf, FILE *file, qu_err *err);
qu_status qu_ivf_load(qu_ivf **ivf, FILE *file, qu_err *err);

/* The k best of the probed lists for q [E]: ids and scores [k], best first, *n_hits <= k. */
qu_status qu_ivf_search(const qu_ivf *ivf, const float *q, const int64_t *lists, int32_t n_probes,
                        int32_t k, int64_t *ids, float *scores, int32_t *n_hits, qu_err *err);

void qu_ivf_free(qu_ivf *ivf);
QU_OWNER(qu_ivf, qu_ivf_free)

#endif
