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

/* 0 where none was set. */
static qu_status stored_weight(qu_txn *t, double *weight, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = qu_catalogue_get_meta(t, META_WEIGHT, &b, err);
    *weight = 0;
    if (st == QU_OK && b.len == sizeof *weight) memcpy(weight, b.data, sizeof *weight);
    if (!(*weight >= 0 && *weight <= 1000)) *weight = 0;
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
    qu_status st = QU_OK;
    st = qu_vector_get_info(t, &info, err);
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
    qu_status st = QU_OK;
    qu_txn *t = NULL;
    qu_err why = {0};
    qu_hybrid *h = calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return qu_fail_nomem(err, sizeof *h);
    h->s = s;
    h->weight = weight;
    QU_TRY_OUT(qu_session_lexical(s, &h->lx, err));
    QU_TRY_OUT(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    if (weight < 0) QU_TRY_OUT(stored_weight(t, &h->weight, err));
    if (h->weight > 0) {
        st = open_vectors(h, t, &why);
        if (st == QU_ERR_NOTFOUND && weight < 0) {
            qu_out_warn("words alone are searched: %s", why.msg);
            qu_embed_close(h->model);
            h->model = NULL;
            h->weight = 0;
            st = QU_OK;
        } else if (st != QU_OK) {
            qu_fail(err, st, "%s", why.msg);
        }
    }
out:
    qu_txn_abort(t);
    if (st != QU_OK) {
        qu_hybrid_close(h);
        return st;
    }
    *out = h;
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
    QU_OWN(qu_freep) float *x = malloc((size_t)qu_embed_dims(h->model) * sizeof *x);
    if (!x) return qu_fail_nomem(err, qu_embed_dims(h->model) * 4ll);
    QU_TRY(qu_embed_run(h->model, h->s->pool, &text, 1, QU_EMBED_QUESTION, x, err));
    return qu_vector_search(h->vectors, t, x, opts, k, vectors, n_vectors, err);
}

qu_status qu_hybrid_search(qu_hybrid *h, qu_txn *t, const char *q, size_t n,
                           const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *hits,
                           int32_t *n_hits, qu_err *err)
{
    if (!h->vectors) return find_words(h, q, n, opts, k, hits, n_hits, err);
    int32_t more = k + MORE_HITS, n_words, n_vectors;
    QU_OWN(qu_freep) qu_lexical_hit *both = malloc(2 * (size_t)more * sizeof *both);
    *n_hits = 0;
    if (!both) return qu_fail_nomem(err, more * 2ll * (long long)sizeof *both);
    qu_status st =
        qu_hybrid_lists(h, t, q, n, opts, more, both, &n_words, both + more, &n_vectors, err);
    QU_TRY(st);
    return qu_fuse(hits, n_hits, k, both, n_words, both + more, n_vectors, (float)h->weight,
                   opts && opts->max_per_doc == 1, err);
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
    qu_page *pages = NULL;
    qu_buf text = {0}, all = {0};
    qu_embed_text texts[BATCH_PAGES];
    size_t starts[BATCH_PAGES + 1] = {0};
    qu_status st = QU_OK;
    int64_t e = qu_embed_dims(m->model);
    int32_t n_pages;
    *x = NULL;
    QU_TRY_OUT(qu_catalogue_pages(t, doc->doc_id, &pages, &n_pages, m->err));
    QU_TRY_OUT(qu_catalogue_text(t, doc->doc_id, 0, doc->text_bytes, &text, m->err));
    *n = n_pages > 0 ? n_pages - 1 : 0;
    *x = malloc((size_t)(*n * e + 1) * sizeof **x);
    if (!*x) {
        st = qu_fail_nomem(m->err, *n * e * 4);
        goto out;
    }
    for (int32_t first = 1; first <= *n; first += BATCH_PAGES) {
        int32_t k = *n + 1 - first < BATCH_PAGES ? *n + 1 - first : BATCH_PAGES;
        all.len = 0;
        for (int32_t i = 0; i < k; i++) {
            const qu_page *p = &pages[first + i];
            QU_TRY_OUT(qu_buf_printf(&all, m->err, "%s\n", doc->title));
            QU_TRY_OUT(qu_buf_add(&all, text.data + p->text_start,
                                  (size_t)(p->text_end - p->text_start), m->err));
            starts[i + 1] = all.len;
        }
        for (int32_t i = 0; i < k; i++)
            texts[i] = (qu_embed_text){all.data + starts[i], starts[i + 1] - starts[i]};
        QU_TRY_OUT(qu_embed_run(m->model, m->s->pool, texts, k, QU_EMBED_PASSAGE,
                                *x + (first - 1) * e, m->err));
    }
out:
    free(pages);
    qu_buf_free(&text);
    qu_buf_free(&all);
    if (st != QU_OK) {
        free(*x);
        *x = NULL;
    }
    return st;
}

/* Documents after *after until the time of a commit has come; *after 0 when all are done. */
static qu_status make_some(make *m, uint64_t *after)
{
    double start = qu_os_now_ms();
    qu_txn *t;
    qu_doc doc = {0};
    qu_status st = QU_OK;
    QU_TRY(qu_txn_begin(&t, m->s->store, QU_TXN_WRITE, m->err));
    while (qu_os_now_ms() - start < COMMIT_MS && !(m->made->stopped = m->stop && m->stop())) {
        bool has;
        float *x = NULL;
        int32_t n;
        QU_TRY_OUT(qu_catalogue_next_doc(t, *after, &doc, m->err));
        *after = doc.doc_id;
        if (doc.doc_id == 0) break;
        st = qu_vector_has(t, doc.doc_id, &has, m->err);
        if (st == QU_OK && !has) st = embed_doc(m, t, &doc, &x, &n);
        if (x) {
            st = qu_vector_put(t, doc.doc_id, x, n, m->err);
            m->made->docs++;
            m->made->pages += n;
        }
        free(x);
        qu_doc_free(&doc);
        if (st != QU_OK) goto out;
        qu_out_progress("vectors", m->made->pages, 0, "pages");
    }
out:
    return qu_txn_end(t, st, m->err);
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
        char *real = realpath(path, NULL);
        qu_status st = qu_buf_puts(out, real ? real : path, err);
        free(real);
        return st;
    }
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_get_meta(t, META_PATH, out, err);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

qu_status qu_hybrid_make(qu_session *s, const char *path, bool (*stop)(void), qu_hybrid_made *made,
                         qu_err *err)
{
    make m = {.s = s, .stop = stop, .made = made, .err = err};
    qu_buf model = {0};
    uint64_t after = 0;
    qu_status st = QU_OK;
    double start = qu_os_now_ms();
    memset(made, 0, sizeof *made);
    QU_TRY_OUT(model_path(s, path, &model, err));
    if (model.len == 0) goto out;
    QU_TRY_OUT(qu_embed_open(&m.model, model.data, err));
    QU_TRY_OUT(begin(&m, model.data));
    do {
        QU_TRY_OUT(make_some(&m, &after));
    } while (after != 0 && !made->stopped);
    qu_out_progress_end();
    if (!made->stopped) QU_TRY_OUT(build_file(&m));
    made->seconds = (qu_os_now_ms() - start) / 1e3;
out:
    qu_embed_close(m.model);
    qu_buf_free(&model);
    return st;
}
