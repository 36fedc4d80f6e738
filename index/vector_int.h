/* What the files of the vector arm share; private to index/ and its tests. */
#ifndef QU_INDEX_VECTOR_INT_H
#define QU_INDEX_VECTOR_INT_H

#include <stdio.h>

#include "base/os.h"
#include "index/ivf.h"
#include "index/vector.h"
#include "kernels/linear.h"

QU_OWNER(qu_linear_scratch, qu_linear_scratch_free)

#define QU_VECTOR_MAGIC 0x3153544345565551ull      /* "QUVECTS1" */
#define QU_VECTOR_FILE_MAGIC 0x3258444956464551ull /* "QEFVIDX2" */

enum {
    /* with LMDB's and the record's head two disk pages: a hit scored again reads its whole chunk */
    QU_VECTOR_CHUNK_BYTES = 8192 - 38,
    QU_VECTOR_PAGE_BITS = 24, /* of an id in the file: doc_id << 24 | page */
};

/* Meta blob "vectors". */
typedef struct qu_vector_state {
    uint64_t magic;
    qu_hash model;
    uint64_t epoch;         /* raised by every put, training and deletion of all */
    uint64_t trained_epoch; /* of the lists; 0: none */
    int64_t n_trained;      /* vectors there were when the lists were made */
    int32_t n_dims, n_lists;
    float range;            /* largest component of the vectors trained on */
    uint32_t zero;
} qu_vector_state;

/* The file: this, then FAISS's bytes to the end. Native byte order. It holds every document whose
 * vectors were put up to epoch. */
typedef struct qu_vector_head {
    uint64_t magic;
    qu_hash model;
    uint64_t trained_epoch, epoch;
    int64_t n_rows;
    int32_t n_dims, n_lists;
    uint64_t body_sum; /* checksum of what stands behind the head */
    uint64_t self_sum; /* checksum of the fields above */
} qu_vector_head;

/* A document's chunk 0, borrowed from the transaction. */
typedef struct qu_vector_lists {
    uint64_t doc_id, epoch;
    const uint8_t *lists; /* [n] u16, unaligned: of pages 1.. */
    int32_t n;
} qu_vector_lists;

/* E filled up to whole Q8_0 blocks; bytes of a row; rows of a chunk. */
static inline int32_t qu_vector_width(int32_t n_dims) { return (n_dims + 31) / 32 * 32; }
static inline int32_t qu_vector_row_bytes(int32_t n_dims)
{
    return qu_vector_width(n_dims) / 32 * 34;
}
static inline int32_t qu_vector_chunk_rows(int32_t n_dims)
{
    int32_t n = QU_VECTOR_CHUNK_BYTES / qu_vector_row_bytes(n_dims);
    return n > 1 ? n : 1;
}

/* QU_ERR_NOTFOUND: no vectors; QU_ERR_CORRUPT. */
qu_status qu_vector_get_state(qu_txn *t, qu_vector_state *s, qu_err *err);
qu_status qu_vector_put_state(qu_txn *t, const qu_vector_state *s, qu_err *err);

/* Centroids [n_lists, width] f32, malloc'ed; NULL for no lists. QU_ERR_CORRUPT, QU_ERR_NOMEM. */
qu_status qu_vector_get_centroids(qu_txn *t, const qu_vector_state *s, float **centroids,
                                  qu_err *err);
qu_status qu_vector_put_centroids(qu_txn *t, const qu_vector_state *s, const float *centroids,
                                  qu_err *err);

/* Chunk 0 of the first document after `after`; out->doc_id 0 at the end. */
qu_status qu_vector_next_lists(qu_txn *t, uint64_t after, qu_vector_lists *out, qu_err *err);

/* Chunk c > 0 of a document: *n rows. *rows NULL when it is not there. */
qu_status qu_vector_rows(qu_txn *t, const qu_vector_state *s, uint64_t doc_id, uint32_t chunk,
                         const uint8_t **rows, int32_t *n, qu_err *err);

/* Checksum of what stands in the file from byte `from` on, n bytes; false when it cannot be read.
 * Read piece by piece, not mapped: it is large. */
bool qu_vector_file_sum(FILE *f, int64_t from, int64_t n, uint64_t *sum);

/* x [E] with length 1 into out [width]; false, and zeros, where it has no direction. */
bool qu_vector_unit(float *out, const float *x, int32_t e, int32_t width);

/* The list nearest to each of x [n,width], into lists [n] u16; y [n,n_lists] is scratch. */
qu_status qu_vector_assign(qu_pool *pool, qu_linear_scratch **scratch, const float *centroids,
                           int32_t n_lists, const float *x, int32_t n, int32_t width,
                           uint16_t *lists, float *y, qu_err *err);

#endif
