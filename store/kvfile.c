/* KV files: keys, values, writer. The reader is kvread.c. */
#include "store/kvfile.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

#define VALUE_MAGIC 0x4C535551u /* "QUSL" */
enum { VALUE_VERSION = 1 };

/* In front of each payload. */
typedef struct value_head {
    uint32_t magic;
    uint16_t version;
    uint8_t kind, zero;
    uint64_t kv_id;
    uint32_t page;
    uint16_t layer, head;
    uint64_t n_bytes;
    qu_hash binding;
    uint64_t reserved;
    uint64_t sum; /* XXH3-64 of the payload, seeded with that of the 56 bytes before */
} value_head;
_Static_assert(sizeof(value_head) == QU_KV_HEAD_BYTES, "stored as it is: no padding");

struct qu_kv_writer {
    qu_store *s;
    qu_kv_writer *next; /* in s->writers */
    uint64_t file_id;
    qu_path path;
    MDB_env *env; /* NULL once sealed */
    MDB_txn *txn; /* NULL between transactions */
    int64_t bytes, pending;
    size_t value_min; /* smaller values would not get pages of their own */
    bool failed;
};

void qu_kv_key_bytes(uint8_t b[QU_KV_KEY_BYTES], const qu_slice_key *k)
{
    qu_put_be64(b, k->kv_id);
    qu_put_be64(b + 8, (uint64_t)k->page << 32 | (uint64_t)k->layer << 16 | k->head);
    b[16] = k->kind;
}

qu_slice_key qu_kv_key_parse(const uint8_t b[QU_KV_KEY_BYTES])
{
    uint64_t v = qu_get_be64(b + 8);
    return (qu_slice_key){qu_get_be64(b), (uint32_t)(v >> 32), (uint16_t)(v >> 16), (uint16_t)v,
                          b[16]};
}

qu_hash qu_kv_binding(const qu_store *store, const qu_page *page)
{
    return qu_hash_chain(store->config.binding, &page->context, sizeof page->context);
}

static uint64_t value_sum(const value_head *h, const void *payload, size_t n)
{
    return qu_hash_sum(payload, n, qu_hash_sum(h, offsetof(value_head, sum), 0));
}

static bool head_has_key(const value_head *h, const qu_slice_key *k)
{
    return h->kv_id == k->kv_id && h->page == k->page && h->layer == k->layer &&
           h->head == k->head && h->kind == k->kind;
}

qu_status qu_kv_fail(qu_err *err, qu_status st, const char *fault, const qu_slice_key *k,
                     uint64_t file_id)
{
    return qu_fail(err, st, "slice %s: kv file %llu.kv, kv id %llu, page %u, layer %u, head %u",
                   fault, (unsigned long long)file_id, (unsigned long long)k->kv_id, k->page,
                   k->layer, k->head);
}

qu_status qu_kv_verify(const qu_slice_key *k, uint64_t file_id, const MDB_val *v, qu_hash *binding,
                       const void **payload, size_t *n, qu_err *err)
{
    value_head h;
    const char *fault = NULL, *p = v->mv_data;
    if (v->mv_size >= sizeof h) memcpy(&h, p, sizeof h);
    if (v->mv_size < sizeof h || h.magic != VALUE_MAGIC || h.n_bytes > v->mv_size - sizeof h)
        fault = "is malformed";
    else if (h.version != VALUE_VERSION)
        fault = "has an unknown version";
    else if (h.sum != value_sum(&h, p + sizeof h, h.n_bytes))
        fault = "fails its checksum";
    else if (!head_has_key(&h, k))
        fault = "belongs to another key";
    if (fault) return qu_kv_fail(err, QU_ERR_CORRUPT, fault, k, file_id);
    *binding = h.binding;
    *payload = p + sizeof h;
    *n = h.n_bytes;
    return QU_OK;
}

/* --- writer --- */

uint64_t qu_kv_writer_file(const qu_kv_writer *w) { return w->file_id; }
int64_t qu_kv_writer_bytes(const qu_kv_writer *w) { return w->bytes; }

bool qu_kv_is_writing(qu_store *s, uint64_t file_id)
{
    bool found = false;
    pthread_mutex_lock(&s->mu);
    for (qu_kv_writer *w = s->writers; w; w = w->next) found |= w->file_id == file_id;
    pthread_mutex_unlock(&s->mu);
    return found;
}

int64_t qu_kv_writing_bytes(qu_store *s)
{
    int64_t n = 0;
    pthread_mutex_lock(&s->mu);
    for (qu_kv_writer *w = s->writers; w; w = w->next) n += qu_store_disk_bytes(w->path.s);
    pthread_mutex_unlock(&s->mu);
    return n;
}

static void unlist(qu_kv_writer *w)
{
    pthread_mutex_lock(&w->s->mu);
    for (qu_kv_writer **p = &w->s->writers; *p; p = &(*p)->next)
        if (*p == w) {
            *p = w->next;
            break;
        }
    pthread_mutex_unlock(&w->s->mu);
}

/* A new id with its in-progress record, or the check that file_id is in progress. */
static qu_status register_file(qu_store *s, uint64_t *file_id, qu_err *err)
{
    qu_txn *t;
    if (*file_id == 0) {
        QU_TRY(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
        return qu_txn_end(t, qu_open_kv_add(t, file_id, err), err);
    }
    if (qu_kv_is_writing(s, *file_id))
        return qu_fail(err, QU_ERR_ARG, "kv file %llu is being written already",
                       (unsigned long long)*file_id);
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_READ, err));
    qu_status st = qu_open_kv_find(t, *file_id, err);
    qu_txn_abort(t);
    if (st == QU_ERR_NOTFOUND)
        return qu_fail(err, QU_ERR_ARG, "kv file %llu is not in progress",
                       (unsigned long long)*file_id);
    return st;
}

static qu_status open_env(qu_kv_writer *w, qu_err *err)
{
    struct stat sb;
    if (stat(w->path.s, &sb) == 0 && sb.st_size > 0 && sb.st_size < 8192 && unlink(w->path.s) != 0)
        return qu_fail(err, QU_ERR_IO, "cannot remove '%s': %s", w->path.s, qu_os_why(errno));
    QU_TRY(qu_lmdb_open(&w->env, w->path.s, MDB_NOLOCK, 0,
                        err)); /* the store's lock keeps others out */
    w->bytes = qu_lmdb_bytes(w->env, &w->value_min);
    w->value_min /= 2;
    return QU_OK;
}

qu_status qu_kv_writer_create(qu_kv_writer **out, qu_store *s, uint64_t file_id, qu_err *err)
{
    QU_OWN(qu_kv_writer_freep) qu_kv_writer *w = NULL;
    *out = NULL;
    if (!s->writable) return qu_fail(err, QU_ERR_ARG, "store '%s' was opened for reading", s->dir);
    QU_TRY(qu_memory_take(&w, 1, sizeof *w, err));
    w->s = s;
    w->file_id = file_id;
    QU_TRY(register_file(s, &w->file_id, err));
    w->path = qu_kv_path(s, w->file_id);
    QU_TRY(open_env(w, err));
    pthread_mutex_lock(&s->mu);
    w->next = s->writers;
    s->writers = w;
    pthread_mutex_unlock(&s->mu);
    *out = QU_TAKE(w);
    return QU_OK;
}

/* Every use of the writer passes here: refuse after an error or seal, begin a transaction if none
 * is. */
static qu_status ready(qu_kv_writer *w, qu_err *err)
{
    if (!w->env)
        return qu_fail(err, QU_ERR_ARG, "kv file %llu is sealed", (unsigned long long)w->file_id);
    if (w->failed)
        return qu_fail(err, QU_ERR_ARG, "kv file '%s' cannot be written after an earlier error",
                       w->path.s);
    if (w->txn) return QU_OK;
    int rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
    if (rc) {
        w->txn = NULL;
        w->failed = true;
        return qu_lmdb_fail(err, rc, "write", w->path.s);
    }
    return QU_OK;
}

static qu_status put(qu_kv_writer *w, const qu_slice_key *key, qu_hash binding, const void *payload,
                     size_t n, qu_err *err)
{
    uint8_t kb[QU_KV_KEY_BYTES];
    value_head h = {.magic = VALUE_MAGIC, .version = VALUE_VERSION, .kind = key->kind,
                    .kv_id = key->kv_id, .page = key->page, .layer = key->layer,
                    .head = key->head, .n_bytes = n, .binding = binding};
    bool marker = key->kind == QU_KV_MARKER;
    size_t size = sizeof h + n < w->value_min && !marker ? w->value_min : sizeof h + n;
    MDB_val k = {sizeof kb, kb}, v = {size, NULL};
    qu_kv_key_bytes(kb, key);
    h.sum = value_sum(&h, payload, n);
    int rc = mdb_put(w->txn, 1, &k, &v, MDB_RESERVE);
    if (rc) {
        w->failed = true;
        return qu_lmdb_fail(err, rc, "write", w->path.s);
    }
    char *p = v.mv_data;
    memcpy(p, &h, sizeof h);
    if (n) memcpy(p + sizeof h, payload, n);
    memset(p + sizeof h + n, 0, size - sizeof h - n);
    int64_t disk = marker ? (int64_t)size : (int64_t)((size + 16 + 4095) & ~(size_t)4095);
    w->bytes += disk;
    w->pending += disk;
    return QU_OK;
}

qu_status qu_kv_writer_put(qu_kv_writer *w, const qu_slice_key *key, qu_hash binding,
                           const void *payload, size_t n, qu_err *err)
{
    const qu_store_config *c = &w->s->config;
    if (n == 0 || n > QU_KV_MAX_PAYLOAD)
        return qu_fail(err, QU_ERR_ARG, "a slice of %zu bytes: must be 1 to %d", n,
                       QU_KV_MAX_PAYLOAD);
    if (key->kv_id == 0 || key->layer >= c->n_layers || key->head >= c->n_kv_heads ||
        key->kind > QU_KV_SUMMARY || key->page > INT32_MAX)
        return qu_fail(err, QU_ERR_ARG,
                       "slice key is out of range: kv id %llu, page %u, layer %u, head %u",
                       (unsigned long long)key->kv_id, key->page, key->layer, key->head);
    QU_TRY(ready(w, err));
    return put(w, key, binding, payload, n, err);
}

qu_status qu_kv_writer_get(qu_kv_writer *w, const qu_slice_key *key, qu_hash binding,
                           const void **payload, size_t *n, qu_err *err)
{
    QU_TRY(ready(w, err));
    return qu_kv_get(w->txn, NULL, w->file_id, key, binding, payload, n, err);
}

static qu_status commit(qu_kv_writer *w, qu_err *err)
{
    if (!w->txn) return QU_OK;
    int rc = mdb_txn_commit(w->txn);
    w->txn = NULL; /* freed, also on error */
    w->pending = 0;
    if (rc) {
        w->failed = true;
        return qu_lmdb_fail(err, rc, "write", w->path.s);
    }
    return QU_OK;
}

qu_status qu_kv_writer_flush(qu_kv_writer *w, qu_err *err)
{
    QU_TRY(ready(w, err));
    return commit(w, err);
}

static qu_slice_key marker_key(uint64_t kv_id, uint32_t page)
{
    return (qu_slice_key){kv_id, page, UINT16_MAX, UINT16_MAX, QU_KV_MARKER};
}

qu_status qu_kv_writer_page_done(qu_kv_writer *w, uint64_t kv_id, uint32_t page, qu_err *err)
{
    qu_slice_key k = marker_key(kv_id, page);
    QU_TRY(ready(w, err));
    QU_TRY(put(w, &k, (qu_hash){0, 0}, NULL, 0, err));
    return w->pending >= QU_KV_COMMIT_BYTES ? commit(w, err) : QU_OK;
}

qu_status qu_kv_writer_n_pages_done(qu_kv_writer *w, uint64_t kv_id, int32_t *n, qu_err *err)
{
    const void *p;
    size_t len;
    QU_TRY(ready(w, err));
    for (*n = 0; *n < INT32_MAX; ++*n) {
        qu_slice_key key = marker_key(kv_id, (uint32_t)*n);
        qu_status st = qu_kv_get(w->txn, NULL, w->file_id, &key, (qu_hash){0, 0}, &p, &len, err);
        if (st == QU_ERR_NOTFOUND) break;
        QU_TRY(st);
    }
    return QU_OK;
}

/* LMDB may leave pages at the end that it allocated and never wrote. Readers take a short file for
 * a damaged one, so give it its full length. */
static qu_status pad_file(qu_kv_writer *w, qu_err *err)
{
    struct stat sb;
    off_t full = qu_lmdb_bytes(w->env, NULL);
    if (stat(w->path.s, &sb) == 0 && (sb.st_size >= full || truncate(w->path.s, full) == 0))
        return QU_OK;
    return qu_lmdb_fail(err, errno, "write", w->path.s);
}

static void close_env(qu_kv_writer *w)
{
    if (w->txn) mdb_txn_abort(w->txn);
    if (w->env) mdb_env_close(w->env);
    w->txn = NULL;
    w->env = NULL;
}

qu_status qu_kv_writer_seal(qu_kv_writer *w, qu_err *err)
{
    QU_TRY(ready(w, err));
    QU_TRY(commit(w, err));
    w->failed = true; /* unless all of this works */
    QU_TRY(pad_file(w, err));
    int rc = mdb_env_sync(w->env, 1);
    if (rc) return qu_lmdb_fail(err, rc, "sync", w->path.s);
    QU_TRY(qu_os_sync_dir(qu_store_path(w->s, "kv").s, err));
    close_env(w);
    unlist(w);
    return QU_OK;
}

void qu_kv_writer_free(qu_kv_writer *w)
{
    if (!w) return;
    close_env(w);
    unlist(w);
    free(w);
}

qu_status qu_kv_writer_discard(qu_kv_writer *w, qu_err *err)
{
    qu_txn *t = NULL;
    qu_store *s = w->s;
    uint64_t file_id = w->file_id;
    qu_kv_writer_free(w);
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    return qu_txn_end(t, qu_open_kv_del(t, file_id, err), err); /* a commit unlinks it */
}
