/* Borrowed slices of published KV files.
 *
 * A file is opened once, with its own map and one read transaction that lives as long. Published
 * files never change, so there is nothing to lock; a mutex a file keeps LMDB's rule that a
 * transaction is used by one thread at a time, and covers only the key search: checksums run
 * outside it.
 */
#include <errno.h>
#include <sys/stat.h>

#include "store/store_int.h"

void qu_kv_view_close(qu_kv_view *v)
{
    qu_lmdb_abortp(&v->txn);
    qu_lmdb_closep(&v->env);
    *v = (qu_kv_view){0};
}

qu_status qu_kv_view_open(const qu_store *s, uint64_t file_id, qu_kv_view *out, qu_err *err)
{
    QU_OWN(qu_kv_view_close) qu_kv_view v = {0};
    struct stat sb;
    qu_path path = qu_kv_path(s, file_id);
    if (stat(path.s, &sb) != 0) return qu_lmdb_fail(err, errno, "open", path.s);
    if (sb.st_size >= 8192)
        QU_TRY(qu_lmdb_open(&v.env, path.s, MDB_RDONLY | MDB_NOLOCK, (size_t)sb.st_size, err));
    if (!v.env || sb.st_size < qu_lmdb_bytes(v.env, NULL)) /* reading past the end: SIGBUS */
        return qu_fail(err, QU_ERR_CORRUPT, "kv file '%s' is cut short", path.s);
    int rc = mdb_txn_begin(v.env, NULL, MDB_RDONLY, &v.txn);
    if (rc) return qu_lmdb_fail(err, rc, "read", path.s);
    *out = v;
    v = (qu_kv_view){0};
    return QU_OK;
}

static void close_at(qu_kv_reader **at)
{
    qu_kv_reader *r = *at;
    *at = r->next;
    qu_kv_view_close(&r->view);
    pthread_mutex_destroy(&r->mu);
    free(r);
}

/* Under s->mu. */
static qu_status reader_open(qu_store *s, uint64_t file_id, qu_err *err)
{
    QU_OWN(qu_freep) qu_kv_reader *r = NULL;
    QU_TRY(qu_memory_take(&r, 1, sizeof *r, err));
    QU_TRY(qu_kv_view_open(s, file_id, &r->view, err));
    r->file_id = file_id;
    pthread_mutex_init(&r->mu, NULL);
    r->next = s->readers;
    s->readers = QU_TAKE(r);
    return QU_OK;
}

static qu_status reader_get(qu_store *s, uint64_t file_id, qu_kv_reader **r, qu_err *err)
{
    qu_status st = QU_OK;
    qu_kv_reader **p = &s->readers;
    pthread_mutex_lock(&s->mu);
    while (*p && (*p)->file_id != file_id) p = &(*p)->next;
    *r = *p;
    if (*r) { /* to the front */
        *p = (*r)->next;
        (*r)->next = s->readers;
        s->readers = *r;
    } else {
        st = reader_open(s, file_id, err);
        *r = s->readers;
    }
    pthread_mutex_unlock(&s->mu);
    return st;
}

qu_status qu_kv_get(MDB_txn *txn, pthread_mutex_t *mu, uint64_t file_id, const qu_slice_key *key,
                    qu_hash binding, const void **payload, size_t *n, qu_err *err)
{
    uint8_t kb[QU_KV_KEY_BYTES];
    MDB_val k = {sizeof kb, kb}, v;
    qu_hash bound;
    qu_kv_key_bytes(kb, key);
    if (mu) pthread_mutex_lock(mu);
    int rc = mdb_get(txn, 1, &k, &v);
    if (mu) pthread_mutex_unlock(mu);
    if (rc)
        return qu_kv_fail(err, rc == MDB_NOTFOUND ? QU_ERR_NOTFOUND : QU_ERR_CORRUPT,
                          "cannot be found", key, file_id);
    QU_TRY(qu_kv_verify(key, file_id, &v, &bound, payload, n, err));
    if (qu_hash_equal(bound, binding)) return QU_OK;
    return qu_kv_fail(err, QU_ERR_MISMATCH, "is bound to another model or context", key, file_id);
}

qu_status qu_store_slice(qu_store *s, uint64_t file_id, const qu_slice_key *key, qu_hash binding,
                         const void **payload, size_t *n, qu_err *err)
{
    qu_kv_reader *r;
    QU_TRY(reader_get(s, file_id, &r, err));
    return qu_kv_get(r->view.txn, &r->mu, file_id, key, binding, payload, n, err);
}

void qu_store_release_readers(qu_store *s)
{
    pthread_mutex_lock(&s->mu);
    int n = 0;
    for (qu_kv_reader **p = &s->readers; *p;) {
        if ((*p)->doomed || n == QU_KV_READERS) {
            close_at(p);
            continue;
        }
        p = &(*p)->next;
        n++;
    }
    pthread_mutex_unlock(&s->mu);
}

void qu_kv_forget(qu_store *s, uint64_t file_id)
{
    pthread_mutex_lock(&s->mu);
    for (qu_kv_reader *r = s->readers; r; r = r->next) r->doomed |= r->file_id == file_id;
    pthread_mutex_unlock(&s->mu);
}

void qu_kv_close_readers(qu_store *s)
{
    while (s->readers) close_at(&s->readers);
}
