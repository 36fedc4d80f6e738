#include "pipelines/hybrid.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "pipelines/output.h"
#include "retrieve/fuse.h"

#define META_PATH "embed.path"
#define META_WEIGHT "embed.weight"
#define VECTORS_NAME "vectors.idx"

enum {
    BATCH_PAGES = 256, /* embedded between two looks at the clock */
    MORE_HITS = 32,    /* of each list beyond what is asked for: they may rise by the other list */
};

#define COMMIT_MS 2000.0
#define UNTUNED_WEIGHT .3

struct qu_hybrid {
    qu_session *s;
    qu_lexical *lx;
    qu_embed *model; /* NULL: words alone */
    qu_vector *vectors;
    double weight;
};

static qu_status vectors_path(const qu_session *s, qu_buf *out, qu_err *err)
{
    return qu_buf_printf(out, err, "%s/" VECTORS_NAME, s->store_dir);
}

/* What was set; where nothing was, UNTUNED_WEIGHT for vectors that are there. */
static qu_status stored_weight(qu_txn *t, double *weight, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_vector_info info;
    qu_status st = qu_catalogue_get_meta(t, META_WEIGHT, &b, err);
    *weight = 0;
    if (st == QU_OK && b.len == sizeof *weight) memcpy(weight, b.data, sizeof *weight);
    if (!(*weight >= 0 && *weight <= 1000)) *weight = 0;
    if (st != QU_ERR_NOTFOUND) return st;
    st = qu_vector_get_info(t, &info, err);
    if (st == QU_OK) *weight = UNTUNED_WEIGHT;
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

qu_status qu_hybrid_set_weight(qu_session *s, double weight, qu_err *err)
{
    return qu_session_put_meta(s, META_WEIGHT, &weight, sizeof weight, err);
}

/* The model that made the store's vectors, and the vectors. */
static qu_status open_vectors(qu_hybrid *h, qu_txn *t, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0}, file = {0};
    qu_vector_info info;
    qu_status st = qu_vector_get_info(t, &info, err);
    if (st == QU_OK) st = qu_catalogue_get_meta(t, META_PATH, &path, err);
    if (st == QU_ERR_NOTFOUND)
        qu_fail(err, st, "the store has no vectors: quire index --embed-model FILE makes them");
    if (st != QU_OK) return st;
    QU_TRY(qu_embed_open(&h->model, path.data, err));
    if (!qu_hash_equal(qu_embed_hash(h->model), info.model))
        return qu_fail(err, QU_ERR_NOTFOUND,
                       "embedding model '%s' is not the one that made the vectors", path.data);
    QU_TRY(vectors_path(h->s, &file, err));
    return qu_vector_open(&h->vectors, t, file.data, err);
}

qu_status qu_hybrid_open(qu_hybrid **out, qu_session *s, double weight, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_OWN(qu_hybrid_closep) qu_hybrid *h = NULL;
    qu_err why = {0};
    *out = NULL;
    QU_TRY(qu_memory_take(&h, 1, sizeof *h, err));
    h->s = s;
    h->weight = weight;
    QU_TRY(qu_session_lexical(s, &h->lx, err));
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    if (weight < 0) QU_TRY(stored_weight(t, &h->weight, err));
    qu_status st = h->weight > 0 ? open_vectors(h, t, &why) : QU_OK;
    if (st == QU_ERR_NOTFOUND && weight < 0) {
        qu_out_warn("words alone are searched: %s", why.msg);
        qu_embed_close(QU_TAKE(h->model));
        h->weight = 0;
    } else if (st != QU_OK) {
        return qu_fail(err, st, "%s", why.msg);
    }
    *out = QU_TAKE(h);
    return QU_OK;
}

void qu_hybrid_close(qu_hybrid *h)
{
    if (!h) return;
    qu_lexical_close(h->lx);
    qu_vector_close(h->vectors);
    qu_embed_close(h->model);
    free(h);
}

double qu_hybrid_weight(const qu_hybrid *h) { return h->weight; }

/* Search the words; an index that turns out damaged is derived data: make it again and go on. */
static qu_status find_words(qu_hybrid *h, const char *q, size_t n, const qu_lexical_opts *opts,
                            int32_t k, qu_lexical_hit *hits, int32_t *n_hits, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    qu_status st = qu_lexical_search(h->lx, q, n, opts, k, hits, n_hits, err);
    if (st != QU_ERR_CORRUPT) return st;
    QU_TRY(qu_session_lexical_path(h->s, &path, err));
    qu_lexical_close(h->lx);
    h->lx = NULL;
    unlink(path.data);
    QU_TRY(qu_session_lexical(h->s, &h->lx, err));
    return qu_lexical_search(h->lx, q, n, opts, k, hits, n_hits, err);
}

qu_status qu_hybrid_lists(qu_hybrid *h, qu_txn *t, const char *q, size_t n,
                          const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *words,
                          int32_t *n_words, qu_lexical_hit *vectors, int32_t *n_vectors,
                          qu_err *err)
{
    *n_vectors = 0;
    QU_TRY(find_words(h, q, n, opts, k, words, n_words, err));
    if (!h->vectors) return QU_OK;
    qu_embed_text text = {q, n};
    QU_OWN(qu_freep) float *x = NULL;
    QU_TRY(qu_memory_take(&x, qu_embed_dims(h->model), sizeof *x, err));
    QU_TRY(qu_embed_run(h->model, h->s->pool, &text, 1, QU_EMBED_QUESTION, x, err));
    return qu_vector_search(h->vectors, t, x, opts, k, vectors, n_vectors, err);
}

qu_status qu_hybrid_search(qu_hybrid *h, qu_txn *t, const char *q, size_t n,
                           const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *hits,
                           int32_t *n_hits, qu_err *err)
{
    if (!h->vectors) return find_words(h, q, n, opts, k, hits, n_hits, err);
    int32_t more = k + MORE_HITS, n_words, n_vectors;
    QU_OWN(qu_freep) qu_lexical_hit *both = NULL;
    *n_hits = 0;
    QU_TRY(qu_memory_take(&both, 2ll * more, sizeof *both, err));
    QU_TRY(qu_hybrid_lists(h, t, q, n, opts, more, both, &n_words, both + more, &n_vectors, err));
    return qu_fuse(hits, n_hits, k, both, n_words, both + more, n_vectors, (float)h->weight,
                   opts && opts->max_per_doc == 1, err);
}

qu_status qu_hybrid_unknown(qu_hybrid *h, const char *q, size_t n, qu_buf *words, int64_t *n_held,
                            qu_err *err)
{
    return qu_lexical_unknown(h->lx, q, n, words, n_held, err);
}

/* --- making vectors --- */

typedef struct make {
    qu_session *s;
    qu_embed *model;
    bool (*stop)(void);
    qu_hybrid_made *made;
    qu_err *err;
} make;

/* Start the space, or go on with it. */
static qu_status begin(make *m, const char *path)
{
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, m->s->store, QU_TXN_WRITE, m->err));
    qu_status st = qu_vector_begin(t, qu_embed_hash(m->model), qu_embed_dims(m->model), m->err);
    if (st == QU_OK) st = qu_catalogue_put_meta(t, META_PATH, path, strlen(path), m->err);
    return qu_txn_end(t, st, m->err);
}

/* Vectors of every page of a document into *x, malloc'ed [*n,E]; a page is read with its title. */
static qu_status embed_doc(make *m, qu_txn *t, const qu_doc *doc, float **x, int32_t *n)
{
    QU_OWN(qu_freep) qu_page *pages = NULL;
    QU_OWN(qu_freep) float *made = NULL;
    QU_OWN(qu_buf_free) qu_buf text = {0}, all = {0};
    qu_embed_text texts[BATCH_PAGES];
    size_t starts[BATCH_PAGES + 1] = {0};
    int64_t e = qu_embed_dims(m->model);
    int32_t n_pages;
    QU_TRY(qu_catalogue_pages(t, doc->doc_id, &pages, &n_pages, m->err));
    QU_TRY(qu_catalogue_text(t, doc->doc_id, 0, doc->text_bytes, &text, m->err));
    *n = n_pages > 0 ? n_pages - 1 : 0;
    QU_TRY(qu_memory_take(&made, *n * e, sizeof *made, m->err));
    for (int32_t first = 1; first <= *n; first += BATCH_PAGES) {
        int32_t k = *n + 1 - first < BATCH_PAGES ? *n + 1 - first : BATCH_PAGES;
        all.len = 0;
        for (int32_t i = 0; i < k; i++) {
            const qu_page *p = &pages[first + i];
            QU_TRY(qu_buf_printf(&all, m->err, "%s\n", doc->title));
            QU_TRY(qu_buf_add(&all, text.data + p->text_start,
                              (size_t)(p->text_end - p->text_start), m->err));
            starts[i + 1] = all.len;
        }
        for (int32_t i = 0; i < k; i++)
            texts[i] = (qu_embed_text){all.data + starts[i], starts[i + 1] - starts[i]};
        QU_TRY(qu_embed_run(m->model, m->s->pool, texts, k, QU_EMBED_PASSAGE,
                            made + (first - 1) * e, m->err));
    }
    *x = QU_TAKE(made);
    return QU_OK;
}

/* Documents after *after until the time of a commit has come; *after 0 when all are done. */
static qu_status make_some(make *m, uint64_t *after)
{
    double start = qu_os_now_ms();
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, m->s->store, QU_TXN_WRITE, m->err));
    while (qu_os_now_ms() - start < COMMIT_MS && !(m->made->stopped = m->stop && m->stop())) {
        QU_OWN(qu_doc_free) qu_doc doc = {0};
        QU_OWN(qu_freep) float *x = NULL;
        bool has;
        int32_t n;
        QU_TRY(qu_catalogue_next_doc(t, *after, &doc, m->err));
        *after = doc.doc_id;
        if (doc.doc_id == 0) break;
        QU_TRY(qu_vector_has(t, doc.doc_id, &has, m->err));
        if (has) continue;
        QU_TRY(embed_doc(m, t, &doc, &x, &n));
        QU_TRY(qu_vector_put(t, doc.doc_id, x, n, m->err));
        m->made->docs++;
        m->made->pages += n;
        qu_out_progress("vectors", m->made->pages, 0, "pages");
    }
    return qu_txn_commit(QU_TAKE(t), m->err);
}

static qu_status build_file(make *m)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    qu_vector_build_options options = {.pool = m->s->pool};
    qu_txn *t;
    QU_TRY(vectors_path(m->s, &path, m->err));
    QU_TRY(qu_txn_begin(&t, m->s->store, QU_TXN_WRITE, m->err));
    return qu_txn_end(t, qu_vector_build(t, path.data, &options, m->err), m->err);
}

/* The model to use: the given one, else the store's; empty for none. */
static qu_status model_path(qu_session *s, const char *path, qu_buf *out, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    if (path) {
        QU_OWN(qu_freep) char *real = realpath(path, NULL);
        return qu_buf_puts(out, real ? real : path, err);
    }
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_get_meta(t, META_PATH, out, err);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

qu_status qu_hybrid_make(qu_session *s, const char *path, bool (*stop)(void), qu_hybrid_made *made,
                         qu_err *err)
{
    make m = {.s = s, .stop = stop, .made = made, .err = err};
    QU_OWN(qu_buf_free) qu_buf model = {0};
    uint64_t after = 0;
    double start = qu_os_now_ms();
    memset(made, 0, sizeof *made);
    QU_TRY(model_path(s, path, &model, err));
    if (model.len == 0) return QU_OK;
    QU_OWN(qu_embed_closep) qu_embed *embed = NULL;
    QU_TRY(qu_embed_open(&embed, model.data, err));
    m.model = embed;
    QU_TRY(begin(&m, model.data));
    do QU_TRY(make_some(&m, &after));
    while (after != 0 && !made->stopped);
    qu_out_progress_end();
    if (!made->stopped) QU_TRY(build_file(&m));
    made->seconds = (qu_os_now_ms() - start) / 1e3;
    return QU_OK;
}
