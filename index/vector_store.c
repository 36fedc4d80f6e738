/* Vectors in the store: state, rows, lists. */
#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "index/vector_int.h"

#define META "vectors"

enum { PIECE = 1 << 18 }; /* numbers of a blob of centroids: 1 MiB */

qu_status qu_vector_get_state(qu_txn *t, qu_vector_state *s, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    memset(s, 0, sizeof *s);
    QU_TRY(qu_catalogue_get_meta(t, META, &b, err));
    if (b.len == sizeof *s) memcpy(s, b.data, sizeof *s);
    if (s->magic != QU_VECTOR_MAGIC || s->n_dims < 1 || s->n_dims > QU_VECTOR_MAX_DIMS ||
        s->n_lists < 0 || s->n_lists > UINT16_MAX)
        return qu_fail(err, QU_ERR_CORRUPT, "the store's record of its vectors is malformed");
    return QU_OK;
}

qu_status qu_vector_put_state(qu_txn *t, const qu_vector_state *s, qu_err *err)
{
    return qu_catalogue_put_meta(t, META, s, sizeof *s, err);
}

qu_status qu_vector_get_info(qu_txn *t, qu_vector_info *info, qu_err *err)
{
    qu_vector_state s;
    QU_TRY(qu_vector_get_state(t, &s, err));
    *info = (qu_vector_info){s.model, s.n_dims, s.n_lists};
    return QU_OK;
}

qu_status qu_vector_begin(qu_txn *t, qu_hash model, int32_t n_dims, qu_err *err)
{
    qu_vector_state s;
    if (n_dims < 1 || n_dims > QU_VECTOR_MAX_DIMS)
        return qu_fail(err, QU_ERR_ARG, "vectors of %d numbers: 1 to %d are possible", n_dims,
                       QU_VECTOR_MAX_DIMS);
    qu_status st = qu_vector_get_state(t, &s, err);
    if (st == QU_OK && qu_hash_equal(s.model, model) && s.n_dims == n_dims) return QU_OK;
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    QU_TRY(qu_catalogue_clear_vectors(t, err));
    s = (qu_vector_state){.magic = QU_VECTOR_MAGIC, .model = model, .epoch = s.epoch + 1,
                          .n_dims = n_dims};
    return qu_vector_put_state(t, &s, err);
}

bool qu_vector_file_sum(FILE *f, int64_t from, int64_t n, uint64_t *sum)
{
    enum { PART = 1 << 20 };
    QU_OWN(qu_freep) uint8_t *part = malloc(PART);
    size_t k = part && fseeko(f, (off_t)from, SEEK_SET) == 0;
    *sum = 0;
    for (; k > 0 && n > 0; n -= (int64_t)k) {
        k = fread(part, 1, n < PART ? (size_t)n : PART, f); /* whole pieces, but for the last */
        *sum = qu_hash_sum(part, k, *sum);
    }
    return n == 0;
}

/* --- centroids --- */

static int64_t n_numbers(const qu_vector_state *s)
{
    return (int64_t)s->n_lists * qu_vector_width(s->n_dims);
}

qu_status qu_vector_get_centroids(qu_txn *t, const qu_vector_state *s, float **centroids,
                                  qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = QU_OK;
    char name[32];
    *centroids = NULL;
    for (int64_t at = 0; at < n_numbers(s) && st == QU_OK; at += PIECE) {
        snprintf(name, sizeof name, META ".%lld", (long long)(at / PIECE));
        st = qu_catalogue_get_meta(t, name, &b, err);
    }
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    if (st != QU_OK || b.len != (size_t)n_numbers(s) * sizeof(float))
        return qu_fail(err, QU_ERR_CORRUPT, "the store's centroids of vectors are incomplete");
    *centroids = (float *)(void *)QU_TAKE(b.data); /* malloc'ed, so aligned */
    return QU_OK;
}

qu_status qu_vector_put_centroids(qu_txn *t, const qu_vector_state *s, const float *centroids,
                                  qu_err *err)
{
    char name[32];
    int64_t n = n_numbers(s);
    for (int64_t at = 0; at < n; at += PIECE) {
        size_t len = (size_t)(n - at < PIECE ? n - at : PIECE) * sizeof *centroids;
        snprintf(name, sizeof name, META ".%lld", (long long)(at / PIECE));
        QU_TRY(qu_catalogue_put_meta(t, name, centroids + at, len, err));
    }
    return QU_OK;
}

qu_status qu_vector_assign(qu_pool *pool, qu_linear_scratch **scratch, const float *centroids,
                           int32_t n_lists, const float *x, int32_t n, int32_t width,
                           uint16_t *lists, float *y, qu_err *err)
{
    qu_weight w = {centroids, QU_TYPE_F32, n_lists, width};
    qu_linear_job job = {&w, NULL, y, n_lists};
    QU_TRY(qu_linear_document(pool, scratch, &job, 1, x, width, n, err));
    for (int32_t i = 0; i < n; i++) {
        const float *row = y + (int64_t)i * n_lists;
        int32_t best = 0;
        for (int32_t l = 1; l < n_lists; l++)
            if (row[l] > row[best]) best = l;
        lists[i] = (uint16_t)best;
    }
    return QU_OK;
}

/* --- rows --- */

bool qu_vector_unit(float *out, const float *x, int32_t e, int32_t width)
{
    double square = 0;
    for (int32_t i = 0; i < e; i++) square += (double)x[i] * x[i];
    bool has = square > 0 && isfinite(square);
    for (int32_t i = 0; i < width; i++) out[i] = i < e && has ? (float)(x[i] / sqrt(square)) : 0;
    return has;
}

static qu_status put_rows(qu_txn *t, const qu_vector_state *s, uint64_t doc_id, const float *x,
                          int32_t n, const float *centroids, uint16_t *lists, qu_err *err)
{
    int32_t e = s->n_dims, width = qu_vector_width(e), per = qu_vector_chunk_rows(e);
    size_t bytes = (size_t)qu_vector_row_bytes(e);
    QU_OWN(qu_linear_scratch_freep) qu_linear_scratch *scratch = NULL;
    QU_OWN(qu_freep) uint8_t *rows = NULL;
    QU_OWN(qu_freep) float *units = NULL, *y = NULL;
    QU_TRY(qu_memory_take(&rows, per, bytes, err));
    QU_TRY(qu_memory_take(&units, (int64_t)per * width, sizeof *units, err));
    QU_TRY(qu_memory_take(&y, (int64_t)per * s->n_lists, sizeof *y, err));
    for (int32_t at = 0; at < n; at += per) {
        int32_t k = n - at < per ? n - at : per;
        for (int32_t i = 0; i < k; i++)
            qu_vector_unit(units + (int64_t)i * width, x + (int64_t)(at + i) * e, e, width);
        qu_quant_ref(rows, units, QU_TYPE_Q8_0, (int64_t)k * width);
        if (s->n_lists > 0)
            QU_TRY(qu_vector_assign(NULL, &scratch, centroids, s->n_lists, units, k, width,
                                    lists + at, y, err));
        QU_TRY(qu_catalogue_put_vectors(t, doc_id, (uint32_t)(at / per) + 1, rows,
                                        (size_t)k * bytes, err));
    }
    return QU_OK;
}

qu_status qu_vector_put(qu_txn *t, uint64_t doc_id, const float *x, int32_t n, qu_err *err)
{
    qu_vector_state s;
    QU_OWN(qu_freep) float *centroids = NULL;
    QU_OWN(qu_freep) uint8_t *chunk = NULL;
    qu_status st = qu_vector_get_state(t, &s, err);
    if (st == QU_ERR_NOTFOUND) return qu_fail(err, QU_ERR_ARG, "vectors of no known model");
    if (st != QU_OK) return st;
    if (n < 0 || n >= 1 << QU_VECTOR_PAGE_BITS || doc_id >> (63 - QU_VECTOR_PAGE_BITS))
        return qu_fail(err, QU_ERR_LIMIT, "document %llu has too many pages for vectors",
                       (unsigned long long)doc_id);
    size_t head = sizeof s.epoch;
    QU_TRY(qu_memory_take(&chunk, (int64_t)head + 2ll * n, 1, err));
    s.epoch++;
    memcpy(chunk, &s.epoch, head);
    QU_TRY(qu_vector_get_centroids(t, &s, &centroids, err));
    QU_TRY(put_rows(t, &s, doc_id, x, n, centroids, (uint16_t *)(void *)(chunk + head), err));
    QU_TRY(qu_catalogue_put_vectors(t, doc_id, 0, chunk, head + 2 * (size_t)n, err));
    return qu_vector_put_state(t, &s, err);
}

qu_status qu_vector_next_lists(qu_txn *t, uint64_t after, qu_vector_lists *out, qu_err *err)
{
    const void *p;
    size_t n;
    uint32_t chunk = UINT32_MAX;
    memset(out, 0, sizeof *out);
    QU_TRY(qu_catalogue_next_vectors(t, &after, &chunk, &p, &n, err));
    if (after == 0) return QU_OK;
    if (chunk != 0 || n < sizeof out->epoch || (n - sizeof out->epoch) % 2 != 0)
        return qu_doc_damaged(err, "vectors", after);
    memcpy(&out->epoch, p, sizeof out->epoch);
    out->doc_id = after;
    out->lists = (const uint8_t *)p + sizeof out->epoch;
    out->n = (int32_t)((n - sizeof out->epoch) / 2);
    return QU_OK;
}

qu_status qu_vector_has(qu_txn *t, uint64_t doc_id, bool *has, qu_err *err)
{
    qu_vector_lists l;
    QU_TRY(qu_vector_next_lists(t, doc_id - 1, &l, err));
    *has = l.doc_id == doc_id;
    return QU_OK;
}

qu_status qu_vector_rows(qu_txn *t, const qu_vector_state *s, uint64_t doc_id, uint32_t chunk,
                         const uint8_t **rows, int32_t *n, qu_err *err)
{
    const void *p;
    size_t len, bytes = (size_t)qu_vector_row_bytes(s->n_dims);
    uint64_t doc = doc_id;
    uint32_t found = chunk - 1;
    *rows = NULL;
    *n = 0;
    QU_TRY(qu_catalogue_next_vectors(t, &doc, &found, &p, &len, err));
    if (doc != doc_id || found != chunk) return QU_OK;
    if (len % bytes != 0 || len / bytes > (size_t)qu_vector_chunk_rows(s->n_dims))
        return qu_doc_damaged(err, "vectors", doc_id);
    *rows = p;
    *n = (int32_t)(len / bytes);
    return QU_OK;
}
