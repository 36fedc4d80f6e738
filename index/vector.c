/* Opening and searching. */
#include "index/vector.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "index/top.h"
#include "index/vector_int.h"

enum {
    LEAST_PROBES = 8,
    LISTS_PER_PROBE = 256, /* of the lists 1/256 is probed: bench/coarse.c */
    SPARE_HITS = 4, /* and a sixteenth of the hits wanted: rounding in the file changes the order */
};

struct qu_vector {
    qu_vector_state state;
    uint64_t generation;
    char *file;
    float *centroids;    /* [n_lists, width] */
    qu_ivf *ivf;         /* NULL: without a file */
    uint64_t file_epoch; /* it holds what was put up to this one */
    int64_t file_rows;   /* vectors in it */
    qu_buf delta;        /* uint64_t ids of the store's documents that are not in the file */
};

/* --- the file --- */

/* Read and check the head and everything behind it. */
static bool sound(FILE *f, qu_vector_head *head)
{
    struct stat sb;
    uint64_t sum;
    if (fstat(fileno(f), &sb) != 0 || !S_ISREG(sb.st_mode) || fread(head, sizeof *head, 1, f) != 1)
        return false;
    if (head->magic != QU_VECTOR_FILE_MAGIC ||
        qu_hash_sum(head, offsetof(qu_vector_head, self_sum), 0) != head->self_sum)
        return false;
    return qu_vector_file_sum(f, sizeof *head, sb.st_size - (int64_t)sizeof *head, &sum) &&
           sum == head->body_sum && fseeko(f, sizeof *head, SEEK_SET) == 0;
}

static void close_file(FILE **f)
{
    if (*f) fclose(*f);
}

/* Take the file if it is whole and of these lists; else go without it. */
static void take_file(qu_vector *v)
{
    qu_vector_head head;
    if (!v->file || !qu_ivf_built_in() || v->state.n_lists == 0) return;
    int fd = open(v->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    QU_OWN(close_file) FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f && fd >= 0) close(fd);
    if (!f || !sound(f, &head)) return;
    if (head.trained_epoch != v->state.trained_epoch || head.n_dims != v->state.n_dims ||
        head.n_lists != v->state.n_lists || !qu_hash_equal(head.model, v->state.model))
        return;
    if (qu_ivf_load(&v->ivf, f, NULL) != QU_OK) return;
    v->file_epoch = head.epoch;
    v->file_rows = head.n_rows;
}

/* Find the store's documents that the file has not. */
static qu_status find_delta(qu_vector *v, qu_txn *t, qu_err *err)
{
    v->delta.len = 0;
    for (qu_vector_lists l = {0};;) {
        QU_TRY(qu_vector_next_lists(t, l.doc_id, &l, err));
        if (l.doc_id == 0) return QU_OK;
        if (l.epoch > v->file_epoch) QU_TRY(qu_buf_add(&v->delta, &l.doc_id, sizeof l.doc_id, err));
    }
}

static void forget(qu_vector *v)
{
    qu_ivf_free(QU_TAKE(v->ivf));
    free(QU_TAKE(v->centroids));
    v->generation = 0;
}

/* Bring the handle to the transaction's state. */
static qu_status refresh(qu_vector *v, qu_txn *t, qu_err *err)
{
    qu_vector_state s;
    QU_TRY(qu_vector_get_state(t, &s, err));
    uint64_t generation = qu_catalogue_generation(t);
    if (s.epoch == v->state.epoch && generation == v->generation) return QU_OK;
    if (s.trained_epoch != v->state.trained_epoch || !v->centroids) {
        forget(v);
        v->state = s;
        QU_TRY(qu_vector_get_centroids(t, &s, &v->centroids, err));
        take_file(v);
    }
    v->state = s;
    if (v->ivf) QU_TRY(find_delta(v, t, err));
    v->generation = generation;
    return QU_OK;
}

qu_status qu_vector_open(qu_vector **out, qu_txn *t, const char *file, qu_err *err)
{
    QU_OWN(qu_vector_closep) qu_vector *v = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&v, 1, sizeof *v, err));
    if (file && !(v->file = strdup(file))) return qu_fail_nomem(err, (long long)strlen(file));
    QU_TRY(refresh(v, t, err));
    *out = QU_TAKE(v);
    return QU_OK;
}

bool qu_vector_uses_file(const qu_vector *v)
{
    return v->ivf != NULL;
}

int64_t qu_vector_n_delta(const qu_vector *v)
{
    return (int64_t)(v->delta.len / sizeof(uint64_t));
}

void qu_vector_close(qu_vector *v)
{
    if (!v) return;
    forget(v);
    free(v->file);
    qu_buf_free(&v->delta);
    free(v);
}

/* --- searching --- */

typedef struct search {
    qu_vector *v;
    qu_txn *t;
    const qu_lexical_opts *opts;
    float *q;        /* [width], length 1 */
    int64_t *probes; /* [n_probes] lists, best first */
    int32_t n_probes;
    bool *probed;          /* [n_lists]; NULL: all vectors count */
    int32_t k, per_doc;    /* k: some more than asked for; per_doc 0: any */
    qu_top *best, *of_doc; /* [k], [per_doc] */
    int32_t n, n_of_doc;
    uint64_t doc; /* whose chunk of rows was read last */
    uint32_t chunk;
    const uint8_t *rows;
    int32_t n_rows;
    qu_err *err;
} search;

static void free_search(search *x)
{
    free(x->q);
    free(x->best);
    free(x->of_doc);
    free(x->probes);
    free(x->probed);
}

/* Choose the lists that this question looks into: part of what a hit is, not a matter of speed. */
static qu_status choose_probes(search *x)
{
    const qu_vector_state *s = &x->v->state;
    if (s->n_lists == 0) return QU_OK;
    int32_t n = s->n_lists / LISTS_PER_PROBE, got = 0;
    if (n < LEAST_PROBES) n = LEAST_PROBES;
    if (n > s->n_lists) n = s->n_lists;
    QU_OWN(qu_freep) float *y = NULL;
    QU_OWN(qu_freep) qu_top *best = NULL;
    QU_TRY(qu_memory_take(&y, s->n_lists, sizeof *y, x->err));
    QU_TRY(qu_memory_take(&best, n, sizeof *best, x->err));
    QU_TRY(qu_memory_take(&x->probes, n, sizeof *x->probes, x->err));
    QU_TRY(qu_memory_take(&x->probed, s->n_lists, sizeof *x->probed, x->err));
    qu_weight w = {x->v->centroids, QU_TYPE_F32, s->n_lists, qu_vector_width(s->n_dims)};
    qu_linear_job job = {&w, NULL, y, s->n_lists};
    qu_linear_question(NULL, &job, 1, x->q, w.k, 1);
    for (int32_t l = 0; l < s->n_lists; l++) qu_top_put(best, n, &got, (qu_top){y[l], (uint64_t)l});
    for (int32_t i = 0; i < got; i++) {
        x->probes[i] = (int64_t)best[i].id;
        x->probed[best[i].id] = true;
    }
    x->n_probes = got;
    return QU_OK;
}

static void end_doc(search *x)
{
    for (int32_t i = 0; i < x->n_of_doc; i++) qu_top_put(x->best, x->k, &x->n, x->of_doc[i]);
    x->n_of_doc = 0;
}

static bool kept(const search *x, uint64_t doc_id)
{
    return !x->opts->keep || x->opts->keep(x->opts->ctx, doc_id);
}

/* Score a page by its row in the store; one without is passed over. */
static qu_status offer(search *x, uint64_t doc, int32_t page)
{
    const qu_vector_state *s = &x->v->state;
    int32_t per = qu_vector_chunk_rows(s->n_dims), at = (page - 1) % per;
    uint32_t chunk = (uint32_t)((page - 1) / per) + 1;
    float score;
    if (doc != x->doc || chunk != x->chunk)
        QU_TRY(qu_vector_rows(x->t, s, doc, chunk, &x->rows, &x->n_rows, x->err));
    x->doc = doc;
    x->chunk = chunk;
    if (at >= x->n_rows) return QU_OK;
    qu_weight w = {x->rows + (size_t)at * (size_t)qu_vector_row_bytes(s->n_dims), QU_TYPE_Q8_0, 1,
                   qu_vector_width(s->n_dims)};
    qu_linear_job job = {&w, NULL, &score, 1};
    qu_linear_question(NULL, &job, 1, x->q, w.k, 1);
    qu_top c = {score, doc << QU_VECTOR_PAGE_BITS | (uint64_t)page};
    if (x->per_doc)
        qu_top_put(x->of_doc, x->per_doc, &x->n_of_doc, c);
    else
        qu_top_put(x->best, x->k, &x->n, c);
    return QU_OK;
}

/* The pages of a document that lie in probed lists. */
static qu_status scan_doc(search *x, const qu_vector_lists *l)
{
    bool asked = false;
    for (int32_t i = 0; i < l->n; i++) {
        uint16_t list;
        memcpy(&list, l->lists + 2 * (size_t)i, 2);
        if (x->probed && (list >= x->v->state.n_lists || !x->probed[list])) continue;
        if (!asked && !kept(x, l->doc_id)) return QU_OK;
        asked = true;
        QU_TRY(offer(x, l->doc_id, i + 1));
    }
    end_doc(x);
    return QU_OK;
}

static qu_status scan_all(search *x)
{
    qu_vector_lists l = {0};
    for (;;) {
        QU_TRY(qu_vector_next_lists(x->t, l.doc_id, &l, x->err));
        if (l.doc_id == 0) return QU_OK;
        QU_TRY(scan_doc(x, &l));
    }
}

static qu_status scan_delta(search *x)
{
    const uint64_t *ids = (const uint64_t *)(void *)x->v->delta.data;
    for (int64_t i = 0; i < qu_vector_n_delta(x->v); i++) {
        qu_vector_lists l;
        QU_TRY(qu_vector_next_lists(x->t, ids[i] - 1, &l, x->err));
        if (l.doc_id == ids[i]) QU_TRY(scan_doc(x, &l));
    }
    return QU_OK;
}

/* Has the store the document as it is in the file? */
static qu_status is_live(const search *x, uint64_t doc_id, bool *live)
{
    qu_vector_lists l;
    QU_TRY(qu_vector_next_lists(x->t, doc_id - 1, &l, x->err));
    *live = l.doc_id == doc_id && l.epoch <= x->v->file_epoch;
    return QU_OK;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Hits of the file, scored again from the store; sorted, a document's pages stand together. */
static qu_status offer_ids(search *x, int64_t *ids, int32_t n_ids)
{
    uint64_t doc = 0;
    bool good = false;
    qsort(ids, (size_t)n_ids, sizeof *ids, by_id);
    for (int32_t i = 0; i < n_ids; i++) {
        uint64_t d = (uint64_t)ids[i] >> QU_VECTOR_PAGE_BITS;
        int32_t page = (int32_t)(ids[i] & ((1 << QU_VECTOR_PAGE_BITS) - 1));
        if (d != doc) {
            end_doc(x);
            QU_TRY(is_live(x, d, &good));
            good = good && kept(x, d);
        }
        doc = d;
        if (good && page > 0) QU_TRY(offer(x, d, page));
    }
    end_doc(x);
    return QU_OK;
}

/* As many of the file's best as it takes for k hits that count. */
static qu_status scan_file(search *x)
{
    for (int64_t want = x->k;; want *= 8) {
        QU_OWN(qu_freep) int64_t *ids = NULL;
        QU_OWN(qu_freep) float *scores = NULL;
        int32_t got;
        if (want > x->v->file_rows)
            want = x->v->file_rows + 1; /* one more than there can be: the last round */
        if (want > INT32_MAX) want = INT32_MAX;
        QU_TRY(qu_memory_take(&ids, want, sizeof *ids, x->err));
        QU_TRY(qu_memory_take(&scores, want, sizeof *scores, x->err));
        QU_TRY(qu_ivf_search(x->v->ivf, x->q, x->probes, x->n_probes, (int32_t)want, ids, scores,
                             &got, x->err));
        x->n = 0;
        QU_TRY(offer_ids(x, ids, got));
        if (got < want || x->n == x->k) return QU_OK;
    }
}

qu_status qu_vector_search(qu_vector *v, qu_txn *t, const float *q, const qu_lexical_opts *opts,
                           int32_t k, qu_lexical_hit *hits, int32_t *n_hits, qu_err *err)
{
    static const qu_lexical_opts defaults;
    QU_OWN(free_search) search x = {.v = v, .t = t, .opts = opts ? opts : &defaults, .err = err};
    *n_hits = 0;
    if (k < 0) return qu_fail(err, QU_ERR_ARG, "cannot search for %d hits", k);
    QU_TRY(refresh(v, t, err));
    int32_t width = qu_vector_width(v->state.n_dims);
    x.k = k < INT32_MAX / 2 ? k + k / 16 + SPARE_HITS : k;
    x.per_doc = x.opts->max_per_doc > 0 && x.opts->max_per_doc < x.k ? x.opts->max_per_doc : 0;
    QU_TRY(qu_memory_take(&x.q, width, sizeof *x.q, err));
    QU_TRY(qu_memory_take(&x.best, x.k, sizeof *x.best, err));
    QU_TRY(qu_memory_take(&x.of_doc, x.per_doc, sizeof *x.of_doc, err));
    if (k == 0 || !qu_vector_unit(x.q, q, v->state.n_dims, width)) return QU_OK;
    QU_TRY(choose_probes(&x));
    QU_TRY(v->ivf ? scan_file(&x) : scan_all(&x));
    if (v->ivf) QU_TRY(scan_delta(&x));
    if (x.n > k) x.n = k;
    for (int32_t i = 0; i < x.n; i++)
        hits[i] = (qu_lexical_hit){x.best[i].id >> QU_VECTOR_PAGE_BITS,
                                   (int32_t)(x.best[i].id & ((1 << QU_VECTOR_PAGE_BITS) - 1)),
                                   x.best[i].score};
    *n_hits = x.n;
    return QU_OK;
}
