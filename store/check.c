#include "store/check.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>

#include "store/store_int.h"

/* What a finding is about, i.e. what a repair drops. */
enum { ABOUT_INDEX, ABOUT_DOC, ABOUT_KV };

typedef struct victim {
    uint64_t doc_id;
    int about;
} victim;

typedef struct check {
    qu_store *s;
    qu_txn *t;
    qu_check_fn *fn;
    void *ctx;
    qu_check_stats r;
    qu_err e; /* of the call just made */
    int about;
    qu_buf victims;         /* of victim: documents with findings, for repair */
    qu_status victims_kept; /* or out of memory */
} check;

static void __attribute__((format(printf, 4, 5)))
report(check *c, qu_status st, uint64_t doc_id, const char *fmt, ...)
{
    char msg[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    victim v = {doc_id, c->about};
    if (st == QU_OK) c->r.n_notes++;
    else c->r.n_problems++;
    if (st != QU_OK && (doc_id == 0 || c->about == ABOUT_DOC)) c->r.n_lost++;
    if (st != QU_OK && doc_id && c->about != ABOUT_INDEX && c->victims_kept == QU_OK)
        c->victims_kept = qu_buf_add(&c->victims, &v, sizeof v, NULL);
    if (c->fn) c->fn(c->ctx, st, doc_id, msg);
}

/* Damage is a finding and the check goes on; lack of memory or a failing disk ends it. */
static qu_status finding(check *c, qu_status st, uint64_t doc_id, qu_err *err)
{
    if (st == QU_OK) return QU_OK;
    if (st == QU_ERR_NOMEM || st == QU_ERR_IO) return qu_fail(err, st, "%s", c->e.msg);
    report(c, st, doc_id, "%s", c->e.msg);
    return QU_OK;
}

/* --- every record --- */

static bool doc_exists(check *c, uint64_t doc_id)
{
    MDB_val v;
    qu_rec_key k = qu_key_num(QU_TAG_DOC, doc_id);
    MDB_val key = {k.n, k.b};
    return mdb_get(c->t->mt, 1, &key, &v) == 0;
}

/* Is that a key as this format has them? *doc_id: the document that it belongs to, 0 = none;
 * *index: it only says again what documents say. */
static bool key_is_known(const uint8_t *b, size_t n, uint64_t *doc_id, bool *index)
{
    static const struct {
        char tag;
        uint8_t bytes, doc_at; /* 0: any length; no document */
        bool index;
    } shapes[] = {
        {QU_TAG_STATE, 1, 0, false},    {QU_TAG_META, 0, 0, false},   {QU_TAG_ROOT, 9, 0, false},
        {QU_TAG_OPEN, 9, 0, false},     {QU_TAG_DOC, 9, 1, false},    {QU_TAG_PATH, 25, 17, true},
        {QU_TAG_CONTENT, 25, 17, true}, {QU_TAG_KV, 17, 9, true},     {QU_TAG_TEXT, 13, 1, false},
        {QU_TAG_MAP, 13, 1, false},     {QU_TAG_PAGES, 13, 1, false}, {QU_TAG_IDS, 13, 1, false},
        {QU_TAG_VECTORS, 13, 1, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (n == 0 || b[0] != shapes[i].tag) continue;
        *index = shapes[i].index;
        *doc_id = shapes[i].doc_at && n == shapes[i].bytes ? qu_get_be64(b + shapes[i].doc_at) : 0;
        return shapes[i].bytes == 0 || n == shapes[i].bytes;
    }
    return false;
}

/* Read every record, and say what is wrong; or (mend) delete those that cannot be right, and all of
 * indexes: documents say what those must be. */
static qu_status records(check *c, bool mend, qu_err *err)
{
    qu_rec_key k, from = {.n = 1};
    const void *p;
    size_t n;
    for (;; from = k, from.b[from.n++] = 0) { /* the key after k */
        uint64_t doc_id = 0;
        bool index = false;
        QU_TRY(mend ? qu_rec_seek(c->t, &from, 0, &k, err)
                    : finding(c, qu_rec_seek(c->t, &from, 0, &k, &c->e), 0, err));
        if (k.n == 0) return QU_OK;
        bool known = key_is_known(k.b, k.n, &doc_id, &index);
        qu_status st = qu_rec_get(c->t, &k, &p, &n, &c->e);
        bool lost = st == QU_OK && doc_id && !doc_exists(c, doc_id);
        if (st != QU_OK && st != QU_ERR_CORRUPT) return qu_fail(err, st, "%s", c->e.msg);
        if (mend) {
            if (!known || index || lost || st != QU_OK) QU_TRY(qu_rec_del(c->t, &k, err));
            continue;
        }
        c->r.n_records++;
        c->about = index ? ABOUT_INDEX : ABOUT_DOC;
        if (!known)
            report(c, QU_ERR_CORRUPT, 0, "catalogue holds a record with an unknown key");
        else if (st != QU_OK)
            report(c, QU_ERR_CORRUPT, doc_id, "%s", c->e.msg);
        else if (lost)
            report(c, QU_ERR_CORRUPT, 0,
                   "a '%c' record belongs to document %llu, which is not there", k.b[0],
                   (unsigned long long)doc_id);
    }
}

/* --- every document --- */

static void indexes(check *c, const qu_doc *d)
{
    const void *p;
    size_t n;
    qu_rec_key k[3] = {
        qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(d->path, d->path_len, 0), d->doc_id),
        qu_key_hash_num(QU_TAG_CONTENT, d->content_hash, d->doc_id),
        qu_key_num2(QU_TAG_KV, d->kv_file, d->doc_id),
    };
    for (int i = 0; i < (d->kv_file ? 3 : 2); i++)
        if (qu_rec_get(c->t, &k[i], &p, &n, NULL) == QU_ERR_NOTFOUND)
            report(c, QU_ERR_CORRUPT, d->doc_id, "document %llu is missing in the '%c' index",
                   (unsigned long long)d->doc_id, k[i].b[0]);
}

static qu_status contents(check *c, const qu_doc *d, qu_page **pages, int32_t *n_pages, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = qu_catalogue_text(c->t, d->doc_id, 0, d->text_bytes, &b, &c->e);
    if (st == QU_OK && !qu_hash_equal(qu_hash_bytes(b.data, b.len, 0), d->text_hash))
        st = qu_doc_damaged(&c->e, "hash of the text", d->doc_id);
    QU_TRY(finding(c, st, d->doc_id, err));
    c->r.bytes += (int64_t)b.len;
    b.len = 0;
    QU_TRY(finding(c, qu_catalogue_source_map(c->t, d->doc_id, &b, &c->e), d->doc_id, err));
    b.len = 0;
    QU_TRY(finding(c, qu_catalogue_pages(c->t, d->doc_id, pages, n_pages, &c->e), d->doc_id, err));
    st = qu_catalogue_ids(c->t, d->doc_id, 0, d->n_pages, &b, &c->e);
    if (st == QU_OK && *n_pages == d->n_pages && /* counts that do not add up fail here */
        (qu_pages_check_args(c->s, d->text_bytes, *pages, *n_pages, (const int32_t *)b.data,
                             (int64_t)b.len / 4, &c->e) != QU_OK ||
         d->n_tokens != (int64_t)b.len / 4))
        st = qu_doc_damaged(&c->e, "sum of the tokens", d->doc_id);
    return finding(c, st, d->doc_id, err);
}

/* One page's slices. The first fault of a page is reported, the others would say the same. */
static qu_status page_slices(check *c, const qu_doc *d, MDB_txn *txn, const qu_page *page,
                             uint32_t at, int32_t *n_summaries)
{
    const qu_store_config *cf = &c->s->config;
    qu_hash binding = qu_kv_binding(c->s, page);
    const void *p;
    size_t n;
    int32_t heads = cf->n_layers * cf->n_kv_heads;
    for (int32_t i = 0; i <= heads; i++) { /* the summary last */
        qu_slice_key k = {d->kv_id, at, (uint16_t)(i / cf->n_kv_heads),
                          (uint16_t)(i % cf->n_kv_heads), QU_KV_SLICE};
        if (i == heads) k = (qu_slice_key){d->kv_id, at, 0, 0, QU_KV_SUMMARY};
        qu_status st = qu_kv_get(txn, NULL, d->kv_file, &k, binding, &p, &n, &c->e);
        if (i == heads && st == QU_ERR_NOTFOUND) break; /* made before there were summaries */
        if (st != QU_OK) return st;
        c->r.n_slices += i < heads;
        *n_summaries += i == heads;
        c->r.bytes += (int64_t)n;
    }
    return QU_OK;
}

static qu_status slices(check *c, const qu_doc *d, const qu_page *pages, int32_t n_pages,
                        qu_err *err)
{
    QU_OWN(qu_kv_view_close) qu_kv_view file = {0};
    qu_status st = qu_kv_view_open(c->s, d->kv_file, &file, &c->e);
    if (st != QU_OK) return finding(c, st, d->doc_id, err);
    int32_t n = d->kv_pages < n_pages ? d->kv_pages : n_pages, n_summaries = 0;
    int64_t before = c->r.n_problems;
    for (int32_t i = 0; i < n; i++)
        QU_TRY(finding(c, page_slices(c, d, file.txn, &pages[i], (uint32_t)i, &n_summaries),
                       d->doc_id, err));
    if (c->r.n_problems == before && n_summaries != 0 && n_summaries != n)
        report(c, QU_ERR_CORRUPT, d->doc_id, "document %llu has %d of %d summaries",
               (unsigned long long)d->doc_id, n_summaries, n);
    return QU_OK;
}

static qu_status document(check *c, uint64_t doc_id, qu_err *err)
{
    QU_OWN(qu_doc_free) qu_doc d = {0};
    QU_OWN(qu_freep) qu_page *pages = NULL;
    int32_t n_pages = 0;
    const void *p;
    size_t n;
    qu_rec_key k = qu_key_num(QU_TAG_DOC, doc_id);
    if (qu_rec_get(c->t, &k, &p, &n, NULL) == QU_ERR_CORRUPT)
        return QU_OK; /* reported among the records */
    c->about = ABOUT_DOC;
    qu_status st = qu_catalogue_get_doc(c->t, doc_id, &d, &c->e);
    QU_TRY(finding(c, st, doc_id, err));
    if (st != QU_OK) return QU_OK;
    c->r.n_docs++;
    c->about = ABOUT_INDEX;
    indexes(c, &d);
    c->about = ABOUT_DOC;
    st = contents(c, &d, &pages, &n_pages, err);
    c->about = ABOUT_KV;
    if (st == QU_OK && d.kv_file) st = slices(c, &d, pages, n_pages, err);
    return st;
}

/* --- files that are no document's --- */

static void orphans(check *c)
{
    unsigned long long id;
    bool by_doc, open;
    DIR *d = opendir(qu_store_path(c->s, "kv").s);
    for (struct dirent *e; d && (e = readdir(d));)
        if (sscanf(e->d_name, "%llu.kv", &id) == 1 &&
            qu_kv_used(c->t, id, &by_doc, &open, NULL) == QU_OK && !by_doc)
            report(c, QU_OK, 0, "kv file '%s' is %s", e->d_name,
                   open ? "in progress" : "not used by any document: gc removes it");
    if (d) closedir(d);
}

static qu_status check_all(check *c, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_rec_key k, from = qu_key_tag(QU_TAG_DOC);
    qu_status st = qu_txn_begin(&t, c->s, QU_TXN_READ, &c->e);
    if (st != QU_OK) return finding(c, st, 0, err);
    c->t = t;
    QU_TRY(records(c, false, err));
    for (;; from = k, from.b[from.n++] = 0) { /* the key after k */
        QU_TRY(finding(c, qu_rec_seek(c->t, &from, 1, &k, &c->e), 0, err));
        if (k.n == 0) break;
        if (k.n == 9) QU_TRY(document(c, qu_get_be64(k.b + 1), err)); /* others are reported */
    }
    orphans(c);
    return QU_OK;
}

qu_status qu_store_check(qu_store *s, qu_check_fn *fn, void *ctx, qu_check_stats *stats,
                         qu_err *err)
{
    check c = {.s = s, .fn = fn, .ctx = ctx};
    qu_status st = check_all(&c, err);
    qu_buf_free(&c.victims);
    if (stats) *stats = c.r;
    return st;
}

/* --- repair --- */

/* Drop what is wrong about the victims of that kind. */
static qu_status drop(check *c, int about, qu_err *err)
{
    static const int tags[] = {QU_TAG_DOC,   QU_TAG_TEXT, QU_TAG_MAP,
                               QU_TAG_PAGES, QU_TAG_IDS,  QU_TAG_VECTORS};
    const victim *v = (const victim *)(const void *)c->victims.data;
    for (size_t n = c->victims.len / sizeof *v; n > 0; n--, v++) {
        qu_doc d;
        if (v->about != about) continue;
        if (about == ABOUT_KV) {
            qu_status st = qu_doc_borrow(c->t, v->doc_id, &d, err);
            if (st == QU_ERR_NOTFOUND || (st == QU_OK && !d.kv_file)) continue; /* dropped before */
            QU_TRY(st);
            QU_TRY(qu_catalogue_set_kv(c->t, v->doc_id, 0, 0, 0, err));
            c->r.n_kv_dropped++;
            continue;
        }
        c->r.n_removed += doc_exists(c, v->doc_id);
        c->t->docs_changed = true;
        for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
            QU_TRY(qu_prefix_del(c->t, qu_key_num(tags[i], v->doc_id), err));
    }
    return QU_OK;
}

static qu_status rebuild_indexes(check *c, qu_err *err)
{
    for (uint64_t at = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(c->t, at, &d, err));
        if ((at = d.doc_id) == 0) return QU_OK;
        QU_TRY(qu_indexes_put(c->t, &d, err));
    }
}

static qu_status mend(check *c, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, c->s, QU_TXN_WRITE, err)); /* QU_ERR_CORRUPT without its counters */
    c->t = t;
    QU_TRY(drop(c, ABOUT_DOC, err)); /* first, then the KV of those that stay */
    QU_TRY(drop(c, ABOUT_KV, err));
    QU_TRY(records(c, true, err));
    QU_TRY(rebuild_indexes(c, err));
    return qu_txn_commit(QU_TAKE(t), err);
}

qu_status qu_store_repair(qu_store *s, qu_check_fn *fn, void *ctx, qu_check_stats *stats,
                          qu_err *err)
{
    check c = {.s = s, .fn = fn, .ctx = ctx};
    if (!s->writable) return qu_fail(err, QU_ERR_ARG, "store '%s' was opened for reading", s->dir);
    qu_status st = check_all(&c, err);
    if (st == QU_OK && c.victims_kept != QU_OK) st = qu_fail_nomem(err, (long long)c.victims.len);
    if (st == QU_OK && c.r.n_problems > 0) st = mend(&c, err);
    qu_buf_free(&c.victims);
    if (stats) *stats = c.r;
    return st;
}
