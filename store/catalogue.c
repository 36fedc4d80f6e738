#include "store/catalogue.h"

#include "base/os.h"
#include "store/store_int.h"

#define MAX_BYTES ((int64_t)1 << 40) /* of a document's text: sums over all stay numbers */

typedef struct open_rec {
    int64_t created_ms;
    uint64_t zero;
} open_rec;

qu_status qu_doc_damaged(qu_err *err, const char *what, uint64_t doc_id)
{
    return qu_fail(err, QU_ERR_CORRUPT, "%s of document %llu %s malformed", what,
                   (unsigned long long)doc_id, what[strlen(what) - 1] == 's' ? "are" : "is");
}

void qu_doc_free(qu_doc *doc)
{
    if (!doc) return;
    free(doc->path);
    free(doc->title);
    memset(doc, 0, sizeof *doc);
}

/* --- the document record --- */

qu_status qu_doc_borrow(qu_txn *t, uint64_t doc_id, qu_doc *d, qu_err *err)
{
    const char *p;
    size_t n, fixed = offsetof(qu_doc, path);
    qu_rec_key k = qu_key_num(QU_TAG_DOC, doc_id);
    memset(d, 0, sizeof *d);
    qu_status st = qu_rec_get(t, &k, (const void **)&p, &n, err);
    if (st == QU_ERR_NOTFOUND)
        return qu_fail(err, st, "no document %llu in '%s'", (unsigned long long)doc_id, t->s->dir);
    QU_TRY(st);
    if (n >= fixed) memcpy(d, p, fixed);
    if (n < fixed || d->doc_id != doc_id || n != fixed + d->path_len + (size_t)d->title_len ||
        memchr(p + fixed, 0, n - fixed) || /* path and title */
        d->n_pages < 0 || d->kv_pages < 0 || d->kv_pages > d->n_pages || d->n_tokens < 0 ||
        d->n_tokens > (int64_t)d->n_pages * t->s->config.page_tokens || d->text_bytes < 0 ||
        d->text_bytes > MAX_BYTES || d->map_bytes < 0 || d->map_bytes > MAX_BYTES)
        return qu_doc_damaged(err, "record", doc_id);
    d->format[sizeof d->format - 1] = d->charset[sizeof d->charset - 1] = 0;
    d->path = (char *)p + fixed;
    d->title = d->path + d->path_len;
    return QU_OK;
}

static qu_status doc_put(qu_txn *t, const qu_doc *d, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_TRY(qu_buf_add(&b, d, offsetof(qu_doc, path), err));
    QU_TRY(qu_buf_add(&b, d->path, d->path_len, err));
    QU_TRY(qu_buf_add(&b, d->title, d->title_len, err));
    qu_rec_key k = qu_key_num(QU_TAG_DOC, d->doc_id);
    return qu_rec_put(t, &k, b.data, b.len, err);
}

/* Change a document's fixed part: what d borrowed may have moved since. */
static qu_status doc_update(qu_txn *t, qu_doc *d, qu_err *err)
{
    qu_doc old;
    QU_TRY(qu_doc_borrow(t, d->doc_id, &old, err));
    d->path = old.path;
    d->title = old.title;
    return doc_put(t, d, err);
}

qu_status qu_catalogue_get_doc(qu_txn *t, uint64_t doc_id, qu_doc *doc, qu_err *err)
{
    QU_OWN(qu_doc_free) qu_doc d = {0};
    qu_doc from;
    memset(doc, 0, sizeof *doc);
    QU_TRY(qu_doc_borrow(t, doc_id, &from, err));
    d.path = strndup(from.path, from.path_len);
    d.title = strndup(from.title, from.title_len);
    if (!d.path || !d.title) return qu_fail_nomem(err, (long long)d.path_len + d.title_len);
    *doc = from;
    doc->path = QU_TAKE(d.path);
    doc->title = QU_TAKE(d.title);
    return QU_OK;
}

qu_status qu_catalogue_next_doc(qu_txn *t, uint64_t after, qu_doc *doc, qu_err *err)
{
    qu_rec_key docs = qu_key_tag(QU_TAG_DOC);
    uint64_t id;
    memset(doc, 0, sizeof *doc);
    QU_TRY(qu_index_next(t, &docs, after, &id, NULL, NULL, err));
    return id ? qu_catalogue_get_doc(t, id, doc, err) : QU_OK;
}

static int by_file(const void *a, const void *b)
{
    const qu_claim *x = a, *y = b;
    if (x->file_id != y->file_id) return x->file_id < y->file_id ? -1 : 1;
    return x->kv_id < y->kv_id ? -1 : x->kv_id > y->kv_id;
}

qu_status qu_claims_read(qu_txn *t, qu_buf *list, qu_err *err)
{
    qu_rec_key docs = qu_key_tag(QU_TAG_DOC);
    qu_doc d;
    for (uint64_t at = 0;;) {
        QU_TRY(qu_index_next(t, &docs, at, &at, NULL, NULL, err));
        if (at == 0) break;
        QU_TRY(qu_doc_borrow(t, at, &d, err));
        qu_claim c = {.file_id = d.kv_file,
                      .kv_id = d.kv_id, .doc_id = at,
                      .kv_pages = d.kv_pages,
                      .complete = d.kv_file && d.kv_pages == d.n_pages,
                      .n_tokens = d.n_tokens};
        QU_TRY(qu_buf_add(list, &c, sizeof c, err));
    }
    if (list->len) qsort(list->data, list->len / sizeof(qu_claim), sizeof(qu_claim), by_file);
    return QU_OK;
}

/* --- indexes: key and value say the same, the document says the rest --- */

/* *doc_id of the document with exactly that path, 0 = none. Paths share a hash only by design, so
 * the paths themselves are compared. */
static qu_status path_find(qu_txn *t, const char *path, size_t n, uint64_t *doc_id, qu_err *err)
{
    qu_rec_key prefix = qu_key_hash(QU_TAG_PATH, qu_hash_bytes(path, n, 0));
    qu_doc d;
    for (*doc_id = 0;;) {
        QU_TRY(qu_index_next(t, &prefix, *doc_id, doc_id, NULL, NULL, err));
        if (*doc_id == 0) return QU_OK;
        qu_status st = qu_doc_borrow(t, *doc_id, &d, err);
        if (st == QU_ERR_NOTFOUND)
            return qu_fail(err, QU_ERR_CORRUPT,
                           "path index names document %llu, which is not there",
                           (unsigned long long)*doc_id);
        QU_TRY(st);
        if (d.path_len == n && memcmp(d.path, path, n) == 0) return QU_OK;
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
    return qu_index_next(t, &prefix, after, doc_id, NULL, NULL, err);
}

qu_status qu_catalogue_next_open_kv(qu_txn *t, uint64_t after, uint64_t *file_id, qu_err *err)
{
    qu_rec_key prefix = qu_key_tag(QU_TAG_OPEN);
    return qu_index_next(t, &prefix, after, file_id, NULL, NULL, err);
}

static qu_status del_if_there(qu_txn *t, qu_rec_key k, qu_err *err)
{
    qu_status st = qu_rec_del(t, &k, err);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

static qu_rec_key path_key(const qu_doc *d)
{
    return qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes(d->path, d->path_len, 0), d->doc_id);
}

/* The document leaves its KV file; commit looks whether it was the last. */
static qu_status kv_unlink(qu_txn *t, const qu_doc *d, qu_err *err)
{
    if (d->kv_file == 0) return QU_OK;
    QU_TRY(del_if_there(t, qu_key_num2(QU_TAG_KV, d->kv_file, d->doc_id), err));
    return qu_buf_add(&t->lost, &d->kv_file, sizeof d->kv_file, err);
}

qu_status qu_indexes_put(qu_txn *t, const qu_doc *d, qu_err *err)
{
    qu_rec_key k = path_key(d);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    k = qu_key_hash_num(QU_TAG_CONTENT, d->content_hash, d->doc_id);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    if (d->kv_file == 0) return QU_OK;
    k = qu_key_num2(QU_TAG_KV, d->kv_file, d->doc_id);
    return qu_rec_put(t, &k, NULL, 0, err);
}

/* --- changing documents --- */

static qu_status doc_remove(qu_txn *t, uint64_t doc_id, qu_err *err)
{
    static const int tags[] = {QU_TAG_TEXT, QU_TAG_MAP, QU_TAG_PAGES, QU_TAG_IDS, QU_TAG_VECTORS};
    qu_doc d;
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    t->docs_changed = true;
    QU_TRY(del_if_there(t, path_key(&d), err));
    QU_TRY(del_if_there(t, qu_key_hash_num(QU_TAG_CONTENT, d.content_hash, doc_id), err));
    QU_TRY(kv_unlink(t, &d, err));
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        QU_TRY(qu_prefix_del(t, qu_key_num(tags[i], doc_id), err));
    return del_if_there(t, qu_key_num(QU_TAG_DOC, doc_id), err);
}

qu_status qu_catalogue_del_doc(qu_txn *t, uint64_t doc_id, qu_err *err)
{
    qu_doc d;
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    t->unsafe++;
    QU_TRY(doc_remove(t, doc_id, err));
    t->unsafe--;
    return QU_OK;
}

qu_status qu_catalogue_next_doc_id(qu_txn *t, uint64_t *doc_id, qu_err *err)
{
    if (!t->write) return qu_fail(err, QU_ERR_ARG, "cannot write in a read transaction");
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

qu_status qu_catalogue_put_doc(qu_txn *t, const qu_doc *doc, const char *text, size_t n_text,
                               const void *map, size_t n_map, const qu_page *pages, int32_t n_pages,
                               const int32_t *ids, int64_t n_ids, qu_err *err)
{
    uint64_t old;
    qu_doc d = *doc;
    size_t n_title = doc->title ? strlen(doc->title) : 0;
    QU_TRY(path_check(doc->path, doc->path_len, err));
    if (n_title > QU_STORE_MAX_PATH)
        return qu_fail(err, QU_ERR_LIMIT, "title '%.80s...' is longer than %d bytes", doc->title,
                       QU_STORE_MAX_PATH);
    if (d.doc_id == 0 || d.doc_id >= t->state.next_doc || d.kv_id >= t->state.next_doc)
        return qu_fail(err, QU_ERR_ARG, "document id %llu was never given out",
                       (unsigned long long)d.doc_id);
    QU_TRY(qu_pages_check_args(t->s, (int64_t)n_text, pages, n_pages, ids, n_ids, err));
    QU_TRY(kv_check(t, d.kv_file, d.kv_pages, n_pages, err));
    if (d.kv_id == 0) d.kv_id = d.doc_id;
    d.n_pages = n_pages;
    d.n_tokens = n_ids;
    d.text_bytes = (int64_t)n_text;
    d.map_bytes = (int64_t)n_map;
    d.text_hash = qu_hash_bytes(text, n_text, 0);
    d.title_len = (uint32_t)n_title;
    d.zero = 0;
    t->unsafe++;
    QU_TRY(path_find(t, d.path, d.path_len, &old, err));
    if (old) QU_TRY(doc_remove(t, old, err));
    qu_status st = doc_remove(t, d.doc_id, err);
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    t->docs_changed = true;
    QU_TRY(doc_put(t, &d, err));
    QU_TRY(qu_indexes_put(t, &d, err));
    QU_TRY(qu_stream_put(t, QU_TAG_TEXT, d.doc_id, text, n_text, err));
    QU_TRY(qu_stream_put(t, QU_TAG_MAP, d.doc_id, map, n_map, err));
    QU_TRY(qu_pages_put(t, d.doc_id, pages, n_pages, ids, err));
    t->unsafe--;
    return QU_OK;
}

static void identity_set(qu_doc *d, const qu_doc *from)
{
    d->size = from->size;
    d->mtime_ns = from->mtime_ns;
    d->inode = from->inode;
    d->dev = from->dev;
}

qu_status qu_catalogue_rename(qu_txn *t, uint64_t doc_id, const qu_doc *to, qu_err *err)
{
    qu_doc d;
    uint64_t other;
    QU_TRY(path_check(to->path, to->path_len, err));
    QU_TRY(path_find(t, to->path, to->path_len, &other, err));
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    t->unsafe++;
    if (other && other != doc_id) QU_TRY(doc_remove(t, other, err));
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    t->docs_changed = true;
    QU_TRY(del_if_there(t, path_key(&d), err));
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    identity_set(&d, to);
    d.path = to->path;
    d.path_len = to->path_len;
    d.flags = to->flags;
    QU_TRY(doc_put(t, &d, err));
    qu_rec_key k = path_key(&d);
    QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
    t->unsafe--;
    return QU_OK;
}

qu_status qu_catalogue_touch(qu_txn *t, uint64_t doc_id, const qu_doc *identity, qu_err *err)
{
    qu_doc d;
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    identity_set(&d, identity);
    return doc_put(t, &d, err);
}

/* --- vectors --- */

qu_status qu_catalogue_put_vectors(qu_txn *t, uint64_t doc_id, uint32_t chunk, const void *p,
                                   size_t n, qu_err *err)
{
    qu_doc d;
    if (n > QU_STORE_MAX_META)
        return qu_fail(err, QU_ERR_LIMIT, "chunk of %zu bytes of vectors is too long", n);
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    qu_rec_key k = qu_key_chunk(QU_TAG_VECTORS, doc_id, chunk);
    return qu_rec_put(t, &k, p, n, err);
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

qu_status qu_catalogue_clear_vectors(qu_txn *t, qu_err *err)
{
    t->unsafe++;
    QU_TRY(qu_prefix_del(t, qu_key_tag(QU_TAG_VECTORS), err));
    t->unsafe--;
    return QU_OK;
}

/* --- KV files in the catalogue --- */

qu_status qu_catalogue_set_kv(qu_txn *t, uint64_t doc_id, uint64_t kv_id, uint64_t kv_file,
                              int32_t kv_pages, qu_err *err)
{
    qu_doc d;
    QU_TRY(qu_doc_borrow(t, doc_id, &d, err));
    QU_TRY(kv_check(t, kv_file, kv_pages, d.n_pages, err));
    if (kv_id >= t->state.next_doc)
        return qu_fail(err, QU_ERR_ARG, "kv id %llu was never given out",
                       (unsigned long long)kv_id);
    t->unsafe++;
    if (d.kv_file != kv_file) QU_TRY(kv_unlink(t, &d, err));
    if (kv_id) d.kv_id = kv_id;
    d.kv_file = kv_file;
    d.kv_pages = kv_pages;
    QU_TRY(doc_update(t, &d, err));
    if (kv_file) {
        qu_rec_key k = qu_key_num2(QU_TAG_KV, kv_file, doc_id);
        QU_TRY(qu_rec_put(t, &k, NULL, 0, err));
        QU_TRY(del_if_there(t, qu_key_num(QU_TAG_OPEN, kv_file), err));
    }
    t->unsafe--;
    return QU_OK;
}

qu_status qu_kv_replace(qu_txn *t, uint64_t old_id, uint64_t new_id, int64_t *n, qu_err *err)
{
    qu_rec_key users = qu_key_num(QU_TAG_KV, old_id);
    qu_doc d;
    for (uint64_t id;;
         ++*n) { /* set_kv takes the document off the old file's list: always the first */
        QU_TRY(qu_index_next(t, &users, 0, &id, NULL, NULL, err));
        if (id == 0) return QU_OK;
        QU_TRY(qu_doc_borrow(t, id, &d, err));
        QU_TRY(qu_catalogue_set_kv(t, id, 0, new_id, new_id ? d.kv_pages : 0, err));
    }
}

qu_status qu_open_kv_add(qu_txn *t, uint64_t *file_id, qu_err *err)
{
    open_rec r = {.created_ms = qu_os_wall_ms()};
    *file_id = t->state.next_file++;
    qu_rec_key k = qu_key_num(QU_TAG_OPEN, *file_id);
    return qu_rec_put(t, &k, &r, sizeof r, err);
}

qu_status qu_open_kv_del(qu_txn *t, uint64_t file_id, qu_err *err)
{
    QU_TRY(del_if_there(t, qu_key_num(QU_TAG_OPEN, file_id), err));
    return qu_buf_add(&t->lost, &file_id, sizeof file_id, err);
}

qu_status qu_open_kv_find(qu_txn *t, uint64_t file_id, qu_err *err)
{
    const void *p;
    size_t n;
    qu_rec_key k = qu_key_num(QU_TAG_OPEN, file_id);
    return qu_rec_get(t, &k, &p, &n, err);
}

qu_status qu_kv_used(qu_txn *t, uint64_t file_id, bool *by_doc, bool *open, qu_err *err)
{
    uint64_t user;
    qu_rec_key k = qu_key_num(QU_TAG_KV, file_id);
    QU_TRY(qu_index_next(t, &k, 0, &user, NULL, NULL, err));
    qu_status st = qu_open_kv_find(t, file_id, err);
    *by_doc = user != 0;
    *open = st == QU_OK;
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}
