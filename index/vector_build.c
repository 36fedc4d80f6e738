/* Making the lists and the file. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "index/vector_int.h"

enum {
    MOST_LISTS = 1 << 14,
    SAMPLE_PER_LIST = 32,  /* vectors trained on */
    RETRAIN_GROWTH = 4,
    STALE_SHARE = 10,      /* a file that lacks more than 1/10 of the vectors is made anew */
};

/* One walk over all vectors of the store. */
typedef struct build {
    qu_txn *t;
    qu_vector_state s;
    const char *file;
    qu_pool *pool;
    float *centroids;
    int64_t n_rows, n_docs;
    int32_t width, per;    /* numbers and rows of a chunk */
    qu_err *err;
} build;

/* Rows [at, at + n) of a document. */
typedef struct chunk {
    qu_vector_lists l;
    int32_t at, n;
    const uint8_t *rows;
} chunk;

/* Step to the next chunk of rows: c zero before the first; c->l.doc_id 0 behind the last. */
static qu_status next_chunk(build *b, chunk *c)
{
    c->at += c->n;
    while (c->at >= c->l.n) {
        QU_TRY(qu_vector_next_lists(b->t, c->l.doc_id, &c->l, b->err));
        if (c->l.doc_id == 0) return QU_OK;
        c->at = 0;
    }
    QU_TRY(qu_vector_rows(b->t, &b->s, c->l.doc_id, (uint32_t)(c->at / b->per) + 1, &c->rows, &c->n,
                          b->err));
    if (c->n == (c->l.n - c->at < b->per ? c->l.n - c->at : b->per)) return QU_OK;
    return qu_doc_damaged(b->err, "vectors", c->l.doc_id);
}

static qu_status count(build *b)
{
    qu_vector_lists l = {0};
    for (;;) {
        QU_TRY(qu_vector_next_lists(b->t, l.doc_id, &l, b->err));
        if (l.doc_id == 0) return QU_OK;
        b->n_docs++;
        b->n_rows += l.n;
    }
}

/* --- training --- */

/* Every so many-th vector into x [cap,width], so that the whole store is sampled evenly. */
static qu_status take_sample(build *b, float *x, int64_t cap, int64_t *n)
{
    int64_t seen = 0;
    b->s.range = 1e-6f;
    *n = 0;
    for (chunk c = {0};;) {
        QU_TRY(next_chunk(b, &c));
        if (c.l.doc_id == 0) return QU_OK;
        for (int32_t i = 0; i < c.n; i++, seen++) {
            if (*n == cap || seen * cap / b->n_rows < *n) continue;
            float *to = x + (*n)++ * b->width;
            qu_dequant_ref(to, c.rows + (size_t)i * (size_t)qu_vector_row_bytes(b->s.n_dims),
                           QU_TYPE_Q8_0, b->width);
            for (int32_t j = 0; j < b->width; j++) b->s.range = fmaxf(b->s.range, fabsf(to[j]));
        }
    }
}

/* Between 4 and 8 times the root of the number of vectors, a power of two. */
static int32_t lists_for(int64_t n_rows)
{
    int32_t n = 1;
    while (n < MOST_LISTS && n < 4 * sqrt((double)n_rows)) n *= 2;
    while (n > 1 && n > n_rows) n /= 2;
    return n;
}

static qu_status train(build *b)
{
    QU_OWN(qu_freep) float *x = NULL;
    b->s.n_lists = lists_for(b->n_rows);
    int64_t cap = (int64_t)SAMPLE_PER_LIST * b->s.n_lists, n;
    if (cap > b->n_rows) cap = b->n_rows;
    QU_TRY(qu_memory_take(&x, cap * b->width, sizeof *x, b->err));
    QU_TRY(qu_memory_take(&b->centroids, (int64_t)b->s.n_lists * b->width, sizeof *b->centroids,
                          b->err));
    QU_TRY(take_sample(b, x, cap, &n));
    QU_TRY(qu_ivf_train(b->centroids, b->s.n_lists, x, n, b->width, qu_pool_threads(b->pool),
                        b->err));
    b->s.n_trained = b->n_rows;
    b->s.trained_epoch = ++b->s.epoch;
    return qu_vector_put_centroids(b->t, &b->s, b->centroids, b->err);
}

/* --- every vector into its list --- */

/* Store the lists of every vector. A document's record changes its content, not its epoch: no file
 * with older lists is ever used. */
static qu_status assign_all(build *b)
{
    QU_OWN(qu_linear_scratch_freep) qu_linear_scratch *scratch = NULL;
    QU_OWN(qu_buf_free) qu_buf record = {0}; /* epoch and lists of the document at hand */
    QU_OWN(qu_freep) float *x = NULL, *y = NULL;
    QU_OWN(qu_freep) uint16_t *lists = NULL;
    chunk c = {0};
    QU_TRY(qu_memory_take(&x, (int64_t)b->per * b->width, sizeof *x, b->err));
    QU_TRY(qu_memory_take(&y, (int64_t)b->per * b->s.n_lists, sizeof *y, b->err));
    QU_TRY(qu_memory_take(&lists, b->per, sizeof *lists, b->err));
    for (;;) {
        QU_TRY(next_chunk(b, &c));
        if (c.l.doc_id == 0) return qu_vector_put_state(b->t, &b->s, b->err);
        if (c.at == 0) record.len = 0;
        if (c.at == 0) QU_TRY(qu_buf_add(&record, &c.l.epoch, sizeof c.l.epoch, b->err));
        qu_dequant_ref(x, c.rows, QU_TYPE_Q8_0, (int64_t)c.n * b->width);
        QU_TRY(qu_vector_assign(b->pool, &scratch, b->centroids, b->s.n_lists, x, c.n, b->width,
                                lists, y, b->err));
        QU_TRY(qu_buf_add(&record, lists, (size_t)c.n * sizeof *lists, b->err));
        if (c.at + c.n < c.l.n) continue;
        uint64_t doc_id = c.l.doc_id; /* what c borrows ends here */
        QU_TRY(qu_catalogue_put_vectors(b->t, doc_id, 0, record.data, record.len, b->err));
    }
}

/* --- the file --- */

static qu_status failed(const build *b, const char *path)
{
    return qu_os_fail(b->err, errno, "write", path);
}

static qu_status fill(build *b, qu_ivf *ivf)
{
    QU_OWN(qu_freep) float *x = NULL;
    QU_OWN(qu_freep) int64_t *ids = NULL, *lists = NULL;
    QU_TRY(qu_memory_take(&x, (int64_t)b->per * b->width, sizeof *x, b->err));
    QU_TRY(qu_memory_take(&ids, b->per, sizeof *ids, b->err));
    QU_TRY(qu_memory_take(&lists, b->per, sizeof *lists, b->err));
    for (chunk c = {0};;) {
        QU_TRY(next_chunk(b, &c));
        if (c.l.doc_id == 0) return QU_OK;
        qu_dequant_ref(x, c.rows, QU_TYPE_Q8_0, (int64_t)c.n * b->width);
        for (int32_t i = 0; i < c.n; i++) {
            uint16_t list;
            memcpy(&list, c.l.lists + 2 * (size_t)(c.at + i), 2);
            ids[i] = (int64_t)(c.l.doc_id << QU_VECTOR_PAGE_BITS | (uint64_t)(c.at + i + 1));
            lists[i] = list;
            if (list >= b->s.n_lists) return qu_doc_damaged(b->err, "lists of vectors", c.l.doc_id);
        }
        QU_TRY(qu_ivf_add(ivf, c.n, x, ids, lists, b->err));
    }
}

/* Checksum of what stands behind the head, then the head itself. */
static qu_status seal(build *b, FILE *f, const char *path)
{
    struct stat sb;
    qu_vector_head h = {.magic = QU_VECTOR_FILE_MAGIC,
                        .model = b->s.model,
                        .trained_epoch = b->s.trained_epoch,
                        .epoch = b->s.epoch,
                        .n_rows = b->n_rows,
                        .n_dims = b->s.n_dims,
                        .n_lists = b->s.n_lists};
    if (fflush(f) != 0 || fstat(fileno(f), &sb) != 0) return failed(b, path);
    bool good = qu_vector_file_sum(f, sizeof h, sb.st_size - (int64_t)sizeof h, &h.body_sum);
    h.self_sum = qu_hash_sum(&h, offsetof(qu_vector_head, self_sum), 0);
    good = good && fseeko(f, 0, SEEK_SET) == 0 && fwrite(&h, sizeof h, 1, f) == 1;
    return good ? QU_OK : failed(b, path);
}

static qu_status write_to(build *b, FILE *f, const char *path)
{
    qu_vector_head nothing = {0};
    QU_OWN(qu_ivf_freep) qu_ivf *ivf = NULL;
    QU_TRY(qu_ivf_create(&ivf, b->width, b->s.n_lists, b->s.range, b->err));
    if (fwrite(&nothing, sizeof nothing, 1, f) != 1) return failed(b, path);
    QU_TRY(fill(b, ivf));
    QU_TRY(qu_ivf_save(ivf, f, b->err));
    return seal(b, f, path);
}

static qu_status write_file(build *b)
{
    QU_OWN(qu_buf_free) qu_buf tmp = {0};
    QU_TRY(qu_buf_printf(&tmp, b->err, "%s.tmp", b->file));
    int fd = open(tmp.data, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *f = fd >= 0 ? fdopen(dup(fd), "w+") : NULL;
    qu_status st = f ? write_to(b, f, tmp.data) : failed(b, tmp.data);
    if (f && fclose(f) != 0 && st == QU_OK) st = failed(b, tmp.data);
    if (st == QU_OK) return qu_os_publish(fd, tmp.data, b->file, b->err);
    if (fd >= 0) close(fd);
    if (fd >= 0) unlink(tmp.data);
    return st;
}

/* Does the file hold nearly all of what the store holds? */
static qu_status is_current(build *b, bool *current)
{
    QU_OWN(qu_vector_closep) qu_vector *v = NULL;
    QU_TRY(qu_vector_open(&v, b->t, b->file, b->err));
    *current = qu_vector_uses_file(v) && qu_vector_n_delta(v) * STALE_SHARE <= b->n_docs;
    return QU_OK;
}

qu_status qu_vector_build(qu_txn *t, const char *file, const qu_vector_build_options *options,
                          qu_err *err)
{
    build b = {.t = t, .file = file, .pool = options->pool, .err = err};
    int64_t flat = options->flat > 0 ? options->flat : QU_VECTOR_FLAT;
    bool current = false;
    qu_status st = qu_vector_get_state(t, &b.s, err);
    if (st == QU_ERR_NOTFOUND) b.s.n_dims = 1; /* no vectors: no file */
    else if (st != QU_OK) return st;
    b.width = qu_vector_width(b.s.n_dims);
    b.per = qu_vector_chunk_rows(b.s.n_dims);
    if (st == QU_OK) QU_TRY(count(&b));
    if (b.n_rows < flat && b.s.n_lists == 0) {
        unlink(file);
        return QU_OK;
    }
    if (!qu_ivf_built_in()) return QU_OK;
    if (b.s.n_lists == 0 || b.n_rows >= RETRAIN_GROWTH * b.s.n_trained) {
        st = train(&b);
        if (st == QU_OK) st = assign_all(&b);
    } else {
        st = is_current(&b, &current);
    }
    if (st == QU_OK && !current) st = write_file(&b);
    free(b.centroids);
    return st;
}
