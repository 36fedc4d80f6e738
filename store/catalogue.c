#include "store/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "store/store_int.h"

typedef struct open_rec {
    int64_t created_ms;
    uint32_t purpose, zero;
} open_rec;

void qu_doc_free(qu_doc *doc)
{
    if (!doc) return;
    free(doc->path);
    free(doc->title);
    memset(doc, 0, sizeof *doc);
}

/* Give a writing function's status its meaning for the transaction (catalogue.h): half-done work
 * may not be committed, refusals have changed nothing. */
static qu_status settle(qu_txn *t, qu_status st)
{
    if (st != QU_OK && st != QU_ERR_ARG && st != QU_ERR_NOTFOUND && st != QU_ERR_LIMIT)
        t->failed = true;
    return st;
}

static qu_status need_write(const qu_txn *t, qu_err *err)
{
    return t->write ? QU_OK : qu_fail(err, QU_ERR_ARG, "cannot write in a read transaction");
}

/* --- the document record --- */

qu_status qu_doc_rec_get(qu_txn *t, uint64_t doc_id, qu_doc_rec *r, const char **path,
                         const char **title, qu_err *err)
{
    const char *p;
    size_t n;
    qu_rec_key k = qu_key_num(QU_TAG_DOC, doc_id);
    qu_status st = qu_rec_get(t, &k, (const void **)&p, &n, err);
    if (st == QU_ERR_NOTFOUND)
        return qu_fail(err, st, "no document %llu in '%s'", (unsigned long long)doc_id, t->s->dir);
    QU_TRY(st);
    if (n >= sizeof *r) memcpy(r, p, sizeof *r);
    if (n < sizeof *r || r->doc_id != doc_id ||
        n != sizeof *r + r->path_len + (size_t)r->title_len || r->n_pages < 0 || r->kv_pages < 0 ||
        r->kv_pages > r->n_pages || r->text_bytes < 0 || r->map_bytes < 0)
        return qu_fail(err, QU_ERR_CORRUPT, "record of document %llu is malformed",
                       (unsigned long long)doc_id);
    *path = p + sizeof *r;
    *title = *path + r->path_len;
    return QU_OK;
}

static qu_status doc_rec_put(qu_txn *t, const qu_doc_rec *r, const char *path, const char *title,
                             qu_err *err)
{
    qu_status st;
    qu_buf b = {0};
    QU_TRY_OUT(qu_buf_add(&b, r, sizeof *r, err));
    QU_TRY_OUT(qu_buf_add(&b, path, r->path_len, err));
    QU_TRY_OUT(qu_buf_add(&b, title, r->title_len, err));
    qu_rec_key k = qu_key_num(QU_TAG_DOC, r->doc_id);
    st = qu_rec_put(t, &k, b.data, b.len, err);
out:
    qu_buf_free(&b);
    return st;
}

/* Change a document's fixed part in place. */
static qu_status doc_rec_update(qu_txn *t, const qu_doc_rec *r, qu_err *err)
{
    qu_doc_rec old;
    const char *path, *title;
    qu_buf keep = {0}; /* the put may move what path and title point at */
    QU_TRY(qu_doc_rec_get(t, r->doc_id, &old, &path, &title, err));
    qu_status st = qu_buf_add(&keep, path, (size_t)old.path_len + old.title_len, err);
    if (st == QU_OK) st = doc_rec_put(t, r, keep.data, keep.data + old.path_len, err);
    qu_buf_free(&keep);
    return st;
}

static qu_status doc_fill(qu_doc *doc, const qu_doc_rec *r, const char *path, const char *title,
                          qu_err *err)
{
    memset(doc, 0, sizeof *doc);
    doc->doc_id = r->doc_id, doc->kv_id = r->kv_id, doc->kv_file = r->kv_file;
    doc->n_pages = r->n_pages, doc->kv_pages = r->kv_pages, doc->n_tokens = r->n_tokens;
    doc->text_bytes = r->text_bytes, doc->size = r->size, doc->mtime_ns = r->mtime_ns;
    doc->indexed_ms = r->indexed_ms, doc->inode = r->inode, doc->dev = r->dev;
    doc->content_hash = r->content_hash, doc->text_hash = r->text_hash, doc->flags = r->flags;
    memcpy(doc->format, r->format, sizeof doc->format - 1);
    memcpy(doc->charset, r->charset, sizeof doc->charset - 1);
    doc->path_len = r->path_len;
    doc->path = malloc((size_t)r->path_len + 1);
    doc->title = malloc((size_t)r->title_len + 1);
    if (!doc->path || !doc->title) {
        qu_doc_free(doc);
        return qu_fail_nomem(err, (long long)r->path_len + r->title_len);
    }
    memcpy(doc->path, path, r->path_len);
    memcpy(doc->title, title, r->title_len);
    doc->path[r->path_len] = doc->title[r->title_len] = 0;
    return QU_OK;
}

qu_status qu_catalogue_get_doc(qu_txn *t, uint64_t doc_id, qu_doc *doc, qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    memset(doc, 0, sizeof *doc);
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    return doc_fill(doc, &r, path, title, err);
}

qu_status qu_catalogue_next_doc(qu_txn *t, uint64_t after, qu_doc *doc, qu_err *err)
{
    qu_rec_key k, from = qu_key_num(QU_TAG_DOC, after + 1);
    memset(doc, 0, sizeof *doc);
    if (after == UINT64_MAX) return QU_OK;
    QU_TRY(qu_rec_seek(t, &from, 1, &k, err));
    if (k.n == 0) return QU_OK;
    if (k.n != 9) return qu_fail(err, QU_ERR_CORRUPT, "a document's key is malformed");
    return qu_catalogue_get_doc(t, qu_get_be64(k.b + 1), doc, err);
}

/* --- indexes: key and value say the same, the document says the rest --- */

/* The smallest number behind prefix that is above after, 0 = none. */
static qu_status index_next(qu_txn *t, const qu_rec_key *prefix, uint64_t after, uint64_t *id,
                            qu_err *err)
{
    qu_rec_key k, from = *prefix;
    const void *p;
    size_t n;
    *id = 0;
    if (after == UINT64_MAX) return QU_OK;
    qu_put_be64(from.b + from.n, after + 1);
    from.n += 8;
    QU_TRY(qu_rec_seek(t, &from, prefix->n, &k, err));
    if (k.n == 0) return QU_OK;
    if (k.n != from.n) return qu_fail(err, QU_ERR_CORRUPT, "an index key is malformed");
    QU_TRY(qu_rec_get(t, &k, &p, &n, err));
    *id = qu_get_be64(k.b + prefix->n);
    return QU_OK;
}

/* *doc_id of the document with exactly that path, 0 = none. Paths share a hash only by design, so
 * the paths themselves are compared. */
static qu_status path_find(qu_txn *t, const char *path, size_t n, uint64_t *doc_id, qu_err *err)
{
    qu_rec_key prefix = qu_key_hash(QU_TAG_PATH, qu_hash_bytes(path, n, 0));
    qu_doc_rec r;
    const char *p, *title;
    *doc_id = 0;
    for (;;) {
        QU_TRY(index_next(t, &prefix, *doc_id, doc_id, err));
        if (*doc_id == 0) return QU_OK;
        qu_status st = qu_doc_rec_get(t, *doc_id, &r, &p, &title, err);
        if (st == QU_ERR_NOTFOUND)
            return qu_fail(err, QU_ERR_CORRUPT,
                           "path index names document %llu, which is not there",
                           (unsigned long long)*doc_id);
        QU_TRY(st);
        if (r.path_len == n && memcmp(p, path, n) == 0) return QU_OK;
    }
}

qu_status qu_catalogue_find_path(qu_txn *t, const char *path, size_t n, qu_doc *doc, qu_err *err)
{
    uint64_t id;
    memset(doc, 0, sizeof *doc);
    QU_TRY(path_find(t, path, n, &id, err));
    if (id == 0)
        return qu_fail(err, QU_ERR_NOTFOUND, "no document '%.*s' in the store",
                       (int)(n < 160 ? n : 160), path);
    return qu_catalogue_get_doc(t, id, doc, err);
}

qu_status qu_catalogue_find_content(qu_txn *t, qu_hash content, uint64_t after, uint64_t *doc_id,
                                    qu_err *err)
{
    qu_rec_key prefix = qu_key_hash(QU_TAG_CONTENT, content);
    return index_next(t, &prefix, after, doc_id, err);
}

qu_status qu_catalogue_next_open_kv(qu_txn *t, uint64_t after, uint64_t *file_id, qu_err *err)
{
    qu_rec_key prefix = qu_key_tag(QU_TAG_OPEN);
    return index_next(t, &prefix, after, file_id, err);
}

/* Remember that a KV file lost a user; commit looks whether it was the last. */
static qu_status note_lost(qu_txn *t, uint64_t file_id, qu_err *err)
{
    if (t->n_lost && t->lost[t->n_lost - 1] == file_id) return QU_OK;
    if (t->n_lost == t->lost_cap) {
        int cap = t->lost_cap ? 2 * t->lost_cap : 16;
        uint64_t *p = realloc(t->lost, (size_t)cap * sizeof *p);
        if (!p) return qu_fail_nomem(err, cap * 8LL);
        t->lost = p;
        t->lost_cap = cap;
    }
    t->lost[t->n_lost++] = file_id;
    return QU_OK;
}

static qu_status kv_unlink(qu_txn *t, const qu_doc_rec *r, qu_err *err)
{
    if (r->kv_file == 0) return QU_OK;
    qu_rec_key k = qu_key_num2(QU_TAG_KV, r->kv_file, r->doc_id);
    qu_status st = qu_rec_del(t, &k, err);
    return st == QU_OK || st == QU_ERR_NOTFOUND ? note_lost(t, r->kv_file, err) : st;
}

qu_status qu_indexes_put(qu_txn *t, const qu_doc *d, qu_err *err)
{
    qu_rec_key k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(d->path, d->path_len, 0), d->doc_id);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    k = qu_key_hash_num(QU_TAG_CONTENT, d->content_hash, d->doc_id);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    if (d->kv_file == 0) return QU_OK;
    k = qu_key_num2(QU_TAG_KV, d->kv_file, d->doc_id);
    return qu_rec_put(t, &k, NULL, 0, err);
}

/* --- changing documents --- */

static qu_status del_if_there(qu_txn *t, const qu_rec_key *k, qu_err *err)
{
    qu_status st = qu_rec_del(t, k, err);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

static qu_status doc_remove(qu_txn *t, uint64_t doc_id, qu_err *err)
{
    static const int tags[] = {QU_TAG_TEXT, QU_TAG_MAP, QU_TAG_PAGES, QU_TAG_IDS, QU_TAG_VECTORS};
    qu_doc_rec r;
    const char *path, *title;
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    qu_rec_key k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(path, r.path_len, 0), doc_id);
    t->docs_changed = true;
    QU_TRY(del_if_there(t, &k, err));
    k = qu_key_hash_num(QU_TAG_CONTENT, r.content_hash, doc_id);
    QU_TRY(del_if_there(t, &k, err));
    QU_TRY(kv_unlink(t, &r, err));
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        QU_TRY(qu_chunks_del(t, tags[i], doc_id, err));
    k = qu_key_num(QU_TAG_DOC, doc_id);
    return del_if_there(t, &k, err);
}

/* --- vectors --- */

static qu_status put_vectors(qu_txn *t, uint64_t doc_id, uint32_t chunk, const void *p, size_t n,
                             qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    qu_rec_key k = qu_key_chunk(QU_TAG_VECTORS, doc_id, chunk);
    return qu_rec_put(t, &k, p, n, err);
}

qu_status qu_catalogue_put_vectors(qu_txn *t, uint64_t doc_id, uint32_t chunk, const void *p,
                                   size_t n, qu_err *err)
{
    QU_TRY(need_write(t, err));
    if (n > QU_STORE_MAX_META)
        return qu_fail(err, QU_ERR_LIMIT, "chunk of %zu bytes of vectors is too long", n);
    return settle(t, put_vectors(t, doc_id, chunk, p, n, err));
}

qu_status qu_catalogue_next_vectors(qu_txn *t, uint64_t *doc_id, uint32_t *chunk, const void **p,
                                    size_t *n, qu_err *err)
{
    qu_rec_key k, from = qu_key_chunk(QU_TAG_VECTORS, *doc_id, *chunk);
    from.b[from.n++] = 0; /* the key after it */
    *p = NULL;
    *n = 0;
    QU_TRY(qu_rec_seek(t, &from, 1, &k, err));
    *doc_id = 0;
    if (k.n == 0) return QU_OK;
    if (k.n != 13) return qu_fail(err, QU_ERR_CORRUPT, "catalogue holds a malformed vector key");
    *doc_id = qu_get_be64(k.b + 1);
    *chunk = (uint32_t)k.b[9] << 24 | (uint32_t)k.b[10] << 16 | (uint32_t)k.b[11] << 8 | k.b[12];
    return qu_rec_get(t, &k, p, n, err);
}

static qu_status clear_vectors(qu_txn *t, qu_err *err)
{
    qu_rec_key k, from = qu_key_tag(QU_TAG_VECTORS);
    for (;;) {
        QU_TRY(qu_rec_seek(t, &from, 1, &k, err));
        if (k.n == 0) return QU_OK;
        QU_TRY(qu_rec_del(t, &k, err));
    }
}

qu_status qu_catalogue_clear_vectors(qu_txn *t, qu_err *err)
{
    QU_TRY(need_write(t, err));
    return settle(t, clear_vectors(t, err));
}

qu_status qu_catalogue_del_doc(qu_txn *t, uint64_t doc_id, qu_err *err)
{
    QU_TRY(need_write(t, err));
    return settle(t, doc_remove(t, doc_id, err));
}

qu_status qu_catalogue_next_doc_id(qu_txn *t, uint64_t *doc_id, qu_err *err)
{
    QU_TRY(need_write(t, err));
    *doc_id = t->state.next_doc++;
    return QU_OK;
}

static qu_status path_check(const char *path, size_t n, qu_err *err)
{
    if (!path || n == 0 || memchr(path, 0, n))
        return qu_fail(err, QU_ERR_ARG, "a document's path is empty or holds a NUL");
    if (n > QU_STORE_MAX_PATH)
        return qu_fail(err, QU_ERR_LIMIT, "path '%.80s...' is longer than %d bytes", path,
                       QU_STORE_MAX_PATH);
    return QU_OK;
}

/* Is that KV file, if any, one that may be published: made here once and not being written? */
static qu_status kv_check(qu_txn *t, uint64_t kv_file, int32_t kv_pages, int32_t n_pages,
                          qu_err *err)
{
    if (kv_pages < 0 || kv_pages > n_pages || (kv_file == 0 && kv_pages > 0))
        return qu_fail(err, QU_ERR_ARG, "cannot publish %d pages of a document with %d", kv_pages,
                       n_pages);
    if (kv_file >= t->state.next_file || (kv_file && qu_kv_is_writing(t->s, kv_file)))
        return qu_fail(err, QU_ERR_ARG, "kv file %llu is not sealed", (unsigned long long)kv_file);
    return QU_OK;
}

static qu_status put_doc(qu_txn *t, const qu_doc_rec *r, const qu_doc *doc, const char *text,
                         const void *map, const qu_page *pages, const int32_t *ids, qu_err *err)
{
    uint64_t old;
    QU_TRY(path_find(t, doc->path, doc->path_len, &old, err));
    if (old) QU_TRY(doc_remove(t, old, err));
    qu_status st = doc_remove(t, doc->doc_id, err);
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    t->docs_changed = true;
    QU_TRY(doc_rec_put(t, r, doc->path, doc->title, err));
    QU_TRY(qu_indexes_put(t, doc, err));
    QU_TRY(qu_stream_put(t, QU_TAG_TEXT, r->doc_id, text, (size_t)r->text_bytes, err));
    QU_TRY(qu_stream_put(t, QU_TAG_MAP, r->doc_id, map, (size_t)r->map_bytes, err));
    return qu_pages_put(t, r->doc_id, pages, r->n_pages, ids, err);
}

qu_status qu_catalogue_put_doc(qu_txn *t, const qu_doc *doc, const char *text, size_t n_text,
                               const void *map, size_t n_map, const qu_page *pages, int32_t n_pages,
                               const int32_t *ids, int64_t n_ids, qu_err *err)
{
    size_t n_title = doc->title ? strlen(doc->title) : 0;
    QU_TRY(need_write(t, err));
    QU_TRY(path_check(doc->path, doc->path_len, err));
    if (n_title > QU_STORE_MAX_PATH)
        return qu_fail(err, QU_ERR_LIMIT, "title '%.80s...' is longer than %d bytes", doc->title,
                       QU_STORE_MAX_PATH);
    if (doc->doc_id == 0 || doc->doc_id >= t->state.next_doc || doc->kv_id >= t->state.next_doc)
        return qu_fail(err, QU_ERR_ARG, "document id %llu was never given out",
                       (unsigned long long)doc->doc_id);
    QU_TRY(qu_pages_check_args(t->s, (int64_t)n_text, pages, n_pages, ids, n_ids, err));
    QU_TRY(kv_check(t, doc->kv_file, doc->kv_pages, n_pages, err));
    qu_doc_rec r = {
        .doc_id = doc->doc_id,
        .kv_id = doc->kv_id ? doc->kv_id : doc->doc_id,
        .kv_file = doc->kv_file,
        .n_pages = n_pages,
        .kv_pages = doc->kv_pages,
        .n_tokens = n_ids,
        .text_bytes = (int64_t)n_text,
        .map_bytes = (int64_t)n_map,
        .size = doc->size,
        .mtime_ns = doc->mtime_ns,
        .indexed_ms = doc->indexed_ms,
        .inode = doc->inode,
        .dev = doc->dev,
        .content_hash = doc->content_hash,
        .text_hash = qu_hash_bytes(text, n_text, 0),
        .flags = doc->flags,
        .path_len = (uint32_t)doc->path_len,
        .title_len = (uint32_t)n_title,
    };
    memcpy(r.format, doc->format, sizeof r.format);
    memcpy(r.charset, doc->charset, sizeof r.charset);
    return settle(t, put_doc(t, &r, doc, text, map, pages, ids, err));
}

static qu_status put_pages(qu_txn *t, qu_doc_rec *r, const qu_page *pages, int32_t n_pages,
                           const int32_t *ids, int64_t n_ids, qu_err *err)
{
    t->docs_changed = true;
    QU_TRY(kv_unlink(t, r, err));
    QU_TRY(qu_chunks_del(t, QU_TAG_PAGES, r->doc_id, err));
    QU_TRY(qu_chunks_del(t, QU_TAG_IDS, r->doc_id, err));
    QU_TRY(qu_chunks_del(t, QU_TAG_VECTORS, r->doc_id, err));
    QU_TRY(qu_pages_put(t, r->doc_id, pages, n_pages, ids, err));
    r->n_pages = n_pages;
    r->n_tokens = n_ids;
    r->kv_file = 0;
    r->kv_pages = 0;
    r->kv_id = r->doc_id;
    return doc_rec_update(t, r, err);
}

qu_status qu_catalogue_put_pages(qu_txn *t, uint64_t doc_id, const qu_page *pages, int32_t n_pages,
                                 const int32_t *ids, int64_t n_ids, qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    QU_TRY(need_write(t, err));
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    QU_TRY(qu_pages_check_args(t->s, r.text_bytes, pages, n_pages, ids, n_ids, err));
    return settle(t, put_pages(t, &r, pages, n_pages, ids, n_ids, err));
}

static void identity_set(qu_doc_rec *r, const qu_doc *d)
{
    r->size = d->size;
    r->mtime_ns = d->mtime_ns;
    r->inode = d->inode;
    r->dev = d->dev;
}

static qu_status rename_doc(qu_txn *t, uint64_t doc_id, const qu_doc *to, qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    uint64_t other;
    qu_buf name = {0};
    qu_status st;
    QU_TRY(path_find(t, to->path, to->path_len, &other, err));
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err)); /* before anything changes */
    if (other && other != doc_id) QU_TRY(doc_remove(t, other, err));
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    t->docs_changed = true;
    qu_rec_key k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(path, r.path_len, 0), doc_id);
    QU_TRY_OUT(qu_buf_add(&name, title, r.title_len, err));
    QU_TRY_OUT(del_if_there(t, &k, err));
    identity_set(&r, to);
    r.path_len = (uint32_t)to->path_len;
    QU_TRY_OUT(doc_rec_put(t, &r, to->path, name.data, err));
    k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(to->path, to->path_len, 0), doc_id);
    st = qu_rec_put(t, &k, NULL, 0, err);
out:
    qu_buf_free(&name);
    return st;
}

qu_status qu_catalogue_rename(qu_txn *t, uint64_t doc_id, const qu_doc *to, qu_err *err)
{
    QU_TRY(need_write(t, err));
    QU_TRY(path_check(to->path, to->path_len, err));
    return settle(t, rename_doc(t, doc_id, to, err));
}

qu_status qu_catalogue_touch(qu_txn *t, uint64_t doc_id, const qu_doc *identity, qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    QU_TRY(need_write(t, err));
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    identity_set(&r, identity);
    return settle(t, doc_rec_update(t, &r, err));
}

/* --- KV files in the catalogue --- */

static qu_status set_kv(qu_txn *t, qu_doc_rec *r, uint64_t kv_id, uint64_t kv_file,
                        int32_t kv_pages, qu_err *err)
{
    qu_rec_key k;
    if (r->kv_file != kv_file) QU_TRY(kv_unlink(t, r, err));
    if (kv_id) r->kv_id = kv_id;
    r->kv_file = kv_file;
    r->kv_pages = kv_pages;
    QU_TRY(doc_rec_update(t, r, err));
    if (kv_file == 0) return QU_OK;
    k = qu_key_num2(QU_TAG_KV, kv_file, r->doc_id);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    k = qu_key_num(QU_TAG_OPEN, kv_file);
    return del_if_there(t, &k, err);
}

qu_status qu_catalogue_set_kv(qu_txn *t, uint64_t doc_id, uint64_t kv_id, uint64_t kv_file,
                              int32_t kv_pages, qu_err *err)
{
    qu_doc_rec r;
    const char *path, *title;
    QU_TRY(need_write(t, err));
    QU_TRY(qu_doc_rec_get(t, doc_id, &r, &path, &title, err));
    QU_TRY(kv_check(t, kv_file, kv_pages, r.n_pages, err));
    if (kv_id >= t->state.next_doc)
        return qu_fail(err, QU_ERR_ARG, "kv id %llu was never given out",
                       (unsigned long long)kv_id);
    return settle(t, set_kv(t, &r, kv_id, kv_file, kv_pages, err));
}

qu_status qu_open_kv_add(qu_txn *t, uint32_t purpose, uint64_t *file_id, qu_err *err)
{
    open_rec r = {.created_ms = qu_os_wall_ms(), .purpose = purpose};
    *file_id = t->state.next_file++;
    qu_rec_key k = qu_key_num(QU_TAG_OPEN, *file_id);
    return qu_rec_put(t, &k, &r, sizeof r, err);
}

qu_status qu_open_kv_del(qu_txn *t, uint64_t file_id, qu_err *err)
{
    qu_rec_key k = qu_key_num(QU_TAG_OPEN, file_id);
    QU_TRY(settle(t, del_if_there(t, &k, err)));
    return settle(t, note_lost(t, file_id, err));
}

qu_status qu_open_kv_purpose(qu_txn *t, uint64_t file_id, uint32_t *purpose, qu_err *err)
{
    open_rec r;
    const void *p;
    size_t n;
    qu_rec_key k = qu_key_num(QU_TAG_OPEN, file_id);
    QU_TRY(qu_rec_get(t, &k, &p, &n, err));
    if (n != sizeof r)
        return qu_fail(err, QU_ERR_CORRUPT, "in-progress record of kv file %llu is malformed",
                       (unsigned long long)file_id);
    memcpy(&r, p, n);
    *purpose = r.purpose;
    return QU_OK;
}
