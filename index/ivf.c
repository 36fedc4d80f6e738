#include "index/ivf.h"

#ifdef QU_WITH_FAISS

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/IndexIVF_c.h>
#include <faiss/c_api/IndexScalarQuantizer_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_io_c.h>

/* IO_FLAG_MMAP of faiss/index_io.h; the C header's flag of that name is another one. */
enum { MAP_LISTS = 8 | 0x646f0000 };

struct qu_ivf {
    FaissIndex *index; /* an IndexIVFScalarQuantizer */
    FaissIndexFlatIP *quantizer; /* ours when created, the index's own when loaded */
};

static qu_status faiss_fail(int code, const char *what, qu_err *err)
{
    const char *why = faiss_get_last_error();
    bool memory = code == STD_EXCEPT && why && strstr(why, "bad_alloc");
    return qu_fail(err, memory ? QU_ERR_NOMEM : QU_ERR_IO, "vector index: cannot %s: %.160s", what,
                   why ? why : "unknown fault of FAISS");
}

#define FAISS_TRY_OUT(what, call)                                                                  \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != 0) {                                                                          \
            st = faiss_fail(code_, what, err);                                                     \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

bool qu_ivf_built_in(void) { return true; }

qu_status qu_ivf_train(float *centroids, int32_t n_lists, const float *x, int64_t n, int32_t e,
                       int threads, qu_err *err)
{
    qu_status st = QU_OK;
    FaissClusteringParameters p;
    FaissClustering *c = NULL;
    FaissIndexFlatIP *flat = NULL;
    float *found;
    size_t n_found;
    omp_set_num_threads(threads);
    faiss_ClusteringParameters_init(&p);
    p.niter = 10;
    p.spherical = 1;
    p.min_points_per_centroid = 1; /* below this it complains on standard error */
    p.max_points_per_centroid = 1 << 20;
    FAISS_TRY_OUT("train", faiss_Clustering_new_with_params(&c, e, n_lists, &p));
    FAISS_TRY_OUT("train", faiss_IndexFlatIP_new_with(&flat, e));
    FAISS_TRY_OUT("train", faiss_Clustering_train(c, n, x, (FaissIndex *)flat));
    faiss_Clustering_centroids(c, &found, &n_found);
    if (n_found != (size_t)n_lists * (size_t)e) {
        st = qu_fail(err, QU_ERR_IO, "vector index: training gave %zu numbers", n_found);
        goto out;
    }
    memcpy(centroids, found, n_found * sizeof *centroids);
out:
    if (c) faiss_Clustering_free(c);
    if (flat) faiss_Index_free((FaissIndex *)flat);
    return st;
}

qu_status qu_ivf_create(qu_ivf **out, int32_t e, int32_t n_lists, float range, qu_err *err)
{
    qu_status st = QU_OK;
    FaissIndexIVFScalarQuantizer *index = NULL;
    qu_ivf *ivf = calloc(1, sizeof *ivf);
    float *ends = malloc(2 * (size_t)e * sizeof *ends), *zeros = NULL;
    *out = NULL;
    zeros = calloc((size_t)n_lists * (size_t)e, sizeof *zeros);
    if (!ivf || !ends || !zeros) {
        st = qu_fail_nomem(err, (long long)n_lists * e * 4);
        goto out;
    }
    for (int32_t i = 0; i < e; i++) {
        ends[i] = -range;
        ends[e + i] = range;
    }
    FAISS_TRY_OUT("create", faiss_IndexFlatIP_new_with(&ivf->quantizer, e));
    /* It is never searched; as many vectors as lists keep train from making some. */
    FAISS_TRY_OUT("create", faiss_Index_add((FaissIndex *)ivf->quantizer, n_lists, zeros));
    FAISS_TRY_OUT("create", faiss_IndexIVFScalarQuantizer_new_with_metric(
                                &index, (FaissIndex *)ivf->quantizer, (size_t)e, (size_t)n_lists,
                                QT_8bit_uniform, METRIC_INNER_PRODUCT, 0));
    ivf->index = (FaissIndex *)index;
    FAISS_TRY_OUT("create", faiss_Index_train(ivf->index, 2, ends));
out:
    free(ends);
    free(zeros);
    if (st != QU_OK) {
        qu_ivf_free(ivf);
        return st;
    }
    *out = ivf;
    return QU_OK;
}

qu_status qu_ivf_add(qu_ivf *ivf, int64_t n, const float *x, const int64_t *ids,
                     const int64_t *lists, qu_err *err)
{
    qu_status st = QU_OK;
    FaissIndexIVFScalarQuantizer *index = faiss_IndexIVFScalarQuantizer_cast(ivf->index);
    FAISS_TRY_OUT("add", faiss_IndexIVFScalarQuantizer_add_core(index, n, x, ids, lists));
out:
    return st;
}

qu_status qu_ivf_save(const qu_ivf *ivf, FILE *file, qu_err *err)
{
    qu_status st = QU_OK;
    FAISS_TRY_OUT("write", faiss_write_index(ivf->index, file));
out:
    return st;
}

qu_status qu_ivf_load(qu_ivf **out, FILE *file, qu_err *err)
{
    qu_status st = QU_OK;
    qu_ivf *ivf = calloc(1, sizeof *ivf);
    *out = NULL;
    if (!ivf) return qu_fail_nomem(err, sizeof *ivf);
    FAISS_TRY_OUT("read", faiss_read_index(file, MAP_LISTS, &ivf->index));
    if (!faiss_IndexIVF_cast(ivf->index))
        st = qu_fail(err, QU_ERR_FORMAT, "vector index: not made of inverted lists");
out:
    if (st != QU_OK) {
        qu_ivf_free(ivf);
        return st;
    }
    *out = ivf;
    return QU_OK;
}

void qu_ivf_shape(const qu_ivf *ivf, int32_t *e, int32_t *n_lists, int64_t *n)
{
    *e = faiss_Index_d(ivf->index);
    *n_lists = (int32_t)faiss_IndexIVF_nlist(faiss_IndexIVF_cast(ivf->index));
    *n = faiss_Index_ntotal(ivf->index);
}

qu_status qu_ivf_search(const qu_ivf *ivf, const float *q, const int64_t *lists, int32_t n_probes,
                        int32_t k, int64_t *ids, float *scores, int32_t *n_hits, qu_err *err)
{
    qu_status st = QU_OK;
    float *unused = calloc((size_t)n_probes + 1, sizeof *unused);
    *n_hits = 0;
    if (!unused) return qu_fail_nomem(err, n_probes * 4ll);
    FaissIndexIVF *index = faiss_IndexIVF_cast(ivf->index);
    faiss_IndexIVF_set_nprobe(index, (size_t)n_probes);
    omp_set_num_threads(1);
    FAISS_TRY_OUT("search", faiss_IndexIVF_search_preassigned(index, 1, q, k, lists, unused, scores,
                                                              ids, 0));
    while (*n_hits < k && ids[*n_hits] >= 0) ++*n_hits;
out:
    free(unused);
    return st;
}

void qu_ivf_free(qu_ivf *ivf)
{
    if (!ivf) return;
    if (ivf->index) faiss_Index_free(ivf->index);
    if (ivf->quantizer) faiss_Index_free((FaissIndex *)ivf->quantizer);
    free(ivf);
}

#else

bool qu_ivf_built_in(void) { return false; }

void qu_ivf_free(qu_ivf *ivf) { (void)ivf; }

#endif
