#include "index/ivf.h"

#ifdef QU_WITH_FAISS

#include <omp.h>

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

#define FAISS_TRY(what, call)                                                                      \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != 0) return faiss_fail(code_, what, err);                                       \
    } while (0)

static void free_clustering(FaissClustering **c)
{
    if (*c) faiss_Clustering_free(*c);
}

static void free_flat(FaissIndexFlatIP **flat)
{
    if (*flat) faiss_Index_free((FaissIndex *)*flat);
}

bool qu_ivf_built_in(void) { return true; }

qu_status qu_ivf_train(float *centroids, int32_t n_lists, const float *x, int64_t n, int32_t e,
                       int threads, qu_err *err)
{
    FaissClusteringParameters p;
    QU_OWN(free_flat) FaissIndexFlatIP *flat = NULL;
    QU_OWN(free_clustering) FaissClustering *c = NULL;
    float *found;
    size_t n_found;
    omp_set_num_threads(threads);
    faiss_ClusteringParameters_init(&p);
    p.niter = 10;
    p.spherical = 1;
    p.min_points_per_centroid = 1; /* below this it complains on standard error */
    p.max_points_per_centroid = 1 << 20;
    FAISS_TRY("train", faiss_Clustering_new_with_params(&c, e, n_lists, &p));
    FAISS_TRY("train", faiss_IndexFlatIP_new_with(&flat, e));
    FAISS_TRY("train", faiss_Clustering_train(c, n, x, (FaissIndex *)flat));
    faiss_Clustering_centroids(c, &found, &n_found);
    if (n_found != (size_t)n_lists * (size_t)e)
        return qu_fail(err, QU_ERR_IO, "vector index: training gave %zu numbers", n_found);
    memcpy(centroids, found, n_found * sizeof *centroids);
    return QU_OK;
}

qu_status qu_ivf_create(qu_ivf **out, int32_t e, int32_t n_lists, float range, qu_err *err)
{
    FaissIndexIVFScalarQuantizer *index = NULL;
    QU_OWN(qu_ivf_freep) qu_ivf *ivf = NULL;
    QU_OWN(qu_freep) float *ends = NULL, *zeros = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&ivf, 1, sizeof *ivf, err));
    QU_TRY(qu_memory_take(&ends, 2ll * e, sizeof *ends, err));
    QU_TRY(qu_memory_take(&zeros, (int64_t)n_lists * e, sizeof *zeros, err));
    for (int32_t i = 0; i < e; i++) {
        ends[i] = -range;
        ends[e + i] = range;
    }
    FAISS_TRY("create", faiss_IndexFlatIP_new_with(&ivf->quantizer, e));
    /* It is never searched; as many vectors as lists keep train from making some. */
    FAISS_TRY("create", faiss_Index_add((FaissIndex *)ivf->quantizer, n_lists, zeros));
    FAISS_TRY("create", faiss_IndexIVFScalarQuantizer_new_with_metric(
                                &index, (FaissIndex *)ivf->quantizer, (size_t)e, (size_t)n_lists,
                                QT_8bit_uniform, METRIC_INNER_PRODUCT, 0));
    ivf->index = (FaissIndex *)index;
    FAISS_TRY("create", faiss_Index_train(ivf->index, 2, ends));
    *out = QU_TAKE(ivf);
    return QU_OK;
}

qu_status qu_ivf_add(qu_ivf *ivf, int64_t n, const float *x, const int64_t *ids,
                     const int64_t *lists, qu_err *err)
{
    FaissIndexIVFScalarQuantizer *index = faiss_IndexIVFScalarQuantizer_cast(ivf->index);
    FAISS_TRY("add", faiss_IndexIVFScalarQuantizer_add_core(index, n, x, ids, lists));
    return QU_OK;
}

qu_status qu_ivf_save(const qu_ivf *ivf, FILE *file, qu_err *err)
{
    FAISS_TRY("write", faiss_write_index(ivf->index, file));
    return QU_OK;
}

qu_status qu_ivf_load(qu_ivf **out, FILE *file, qu_err *err)
{
    QU_OWN(qu_ivf_freep) qu_ivf *ivf = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&ivf, 1, sizeof *ivf, err));
    FAISS_TRY("read", faiss_read_index(file, MAP_LISTS, &ivf->index));
    if (!faiss_IndexIVF_cast(ivf->index))
        return qu_fail(err, QU_ERR_FORMAT, "vector index: not made of inverted lists");
    *out = QU_TAKE(ivf);
    return QU_OK;
}

qu_status qu_ivf_search(const qu_ivf *ivf, const float *q, const int64_t *lists, int32_t n_probes,
                        int32_t k, int64_t *ids, float *scores, int32_t *n_hits, qu_err *err)
{
    QU_OWN(qu_freep) float *unused = NULL;
    *n_hits = 0;
    QU_TRY(qu_memory_take(&unused, n_probes, sizeof *unused, err));
    FaissIndexIVF *index = faiss_IndexIVF_cast(ivf->index);
    faiss_IndexIVF_set_nprobe(index, (size_t)n_probes);
    omp_set_num_threads(1);
    FAISS_TRY("search", faiss_IndexIVF_search_preassigned(index, 1, q, k, lists, unused, scores,
                                                              ids, 0));
    while (*n_hits < k && ids[*n_hits] >= 0) ++*n_hits;
    return QU_OK;
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
