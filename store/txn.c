/* Catalogue transactions, and the small things in the catalogue: counters, meta blobs, roots. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

static qu_status state_read(qu_txn *t, qu_err *err)
{
    const void *p;
    size_t n;
    qu_rec_key k = qu_key_tag(QU_TAG_STATE);
    qu_status st = qu_rec_get(t, &k, &p, &n, err);
    if (st == QU_ERR_NOTFOUND) {
        MDB_stat ms;
        if (mdb_stat(t->mt, 1, &ms) == 0 && ms.ms_entries == 0 && t->write) { /* being created */
            t->state = (qu_state){1, 1, 0};
            return QU_OK;
        }
        return qu_fail(err, QU_ERR_CORRUPT, "catalogue of '%s' has lost its counters", t->s->dir);
    }
    QU_TRY(st);
    if (n != sizeof t->state)
        return qu_fail(err, QU_ERR_CORRUPT, "counters of '%s' are malformed", t->s->dir);
    memcpy(&t->state, p, n);
    t->state_at_begin = t->state;
    return QU_OK;
}

/* Reopen when nothing is open, or move on when gc in another process has unlinked our catalogue. */
static qu_status refresh(qu_store *s, qu_err *err)
{
    int fd;
    struct stat sb;
    if (s->env && s->n_txns == 1 && !s->writable && mdb_env_get_fd(s->env, &fd) == 0 &&
        fstat(fd, &sb) == 0 && sb.st_nlink == 0) {
        mdb_env_close(s->env);
        s->env = NULL;
    }
    return s->env ? QU_OK : qu_store_open_catalogue(s, err);
}

/* Under s->mu. */
static qu_status may_begin(const qu_txn *t, qu_err *err)
{
    if (t->write && t->s->writing && pthread_equal(t->s->write_thread, pthread_self()))
        return qu_fail(err, QU_ERR_ARG, "a write transaction is open in this thread already");
    return refresh(t->s, err);
}

qu_status qu_txn_begin(qu_txn **txn, qu_store *s, int mode, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    *txn = NULL;
    if (mode == QU_TXN_WRITE && !s->writable)
        return qu_fail(err, QU_ERR_ARG, "store '%s' was opened for reading", s->dir);
    QU_TRY(qu_memory_take(&t, 1, sizeof *t, err));
    t->s = s;
    t->write = mode == QU_TXN_WRITE;
    pthread_mutex_lock(&s->mu);
    s->n_txns++;
    qu_status st = may_begin(t, err);
    pthread_mutex_unlock(&s->mu);
    QU_TRY(st);
    int rc = mdb_txn_begin(s->env, NULL, t->write ? 0 : MDB_RDONLY, &t->mt);
    if (rc == MDB_MAP_RESIZED) { /* another process was granted a larger map */
        pthread_mutex_lock(&s->mu);
        if (s->n_txns == 1) rc = mdb_env_set_mapsize(s->env, 0);
        pthread_mutex_unlock(&s->mu);
        if (!rc) rc = mdb_txn_begin(s->env, NULL, t->write ? 0 : MDB_RDONLY, &t->mt);
    }
    if (rc) return qu_lmdb_fail(err, rc, "read the catalogue of", s->dir);
    if (t->write) {
        pthread_mutex_lock(&s->mu);
        t->owns_write = s->writing = true;
        s->write_thread = pthread_self();
        pthread_mutex_unlock(&s->mu);
    }
    QU_TRY(state_read(t, err));
    *txn = QU_TAKE(t);
    return QU_OK;
}

/* Keep in t->lost only the files that now have neither a document nor an in-progress record. */
static qu_status keep_unused(qu_txn *t, qu_err *err)
{
    uint64_t *lost = (uint64_t *)(void *)t->lost.data;
    size_t n = 0;
    bool by_doc, open;
    for (size_t i = 0; i < t->lost.len / sizeof *lost; i++) {
        if (i > 0 && lost[i] == lost[i - 1]) continue;
        QU_TRY(qu_kv_used(t, lost[i], &by_doc, &open, err));
        if (!by_doc && !open) lost[n++] = lost[i];
    }
    t->lost.len = n * sizeof *lost;
    return QU_OK;
}

qu_status qu_txn_commit(qu_txn *t, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *owned = t;
    if (!t->write) return QU_OK;
    if (t->unsafe)
        return qu_fail(err, QU_ERR_ARG, "cannot commit to '%s': a write in this transaction failed",
                       t->s->dir);
    QU_TRY(keep_unused(t, err));
    if (t->docs_changed) t->state.generation++;
    if (memcmp(&t->state, &t->state_at_begin, sizeof t->state) != 0) {
        qu_rec_key k = qu_key_tag(QU_TAG_STATE);
        QU_TRY(qu_rec_put(t, &k, &t->state, sizeof t->state, err));
    }
    int rc = mdb_txn_commit(t->mt);
    t->mt = NULL; /* freed, also on error */
    if (rc) return qu_lmdb_fail(err, rc, "commit to the catalogue of", t->s->dir);
    for (size_t i = 0; i < t->lost.len / sizeof(uint64_t); i++) {
        uint64_t file_id = ((uint64_t *)(void *)t->lost.data)[i];
        unlink(qu_kv_path(t->s, file_id).s);
        qu_kv_forget(t->s, file_id);
    }
    return QU_OK;
}

void qu_txn_abort(qu_txn *t)
{
    if (!t) return;
    if (t->mt) mdb_txn_abort(t->mt);
    pthread_mutex_lock(&t->s->mu);
    t->s->n_txns--;
    if (t->owns_write && pthread_equal(t->s->write_thread, pthread_self())) t->s->writing = false;
    pthread_mutex_unlock(&t->s->mu);
    qu_buf_free(&t->lost);
    free(t);
}

qu_status qu_txn_end(qu_txn *t, qu_status st, qu_err *err)
{
    if (st == QU_OK) return qu_txn_commit(t, err);
    qu_txn_abort(t);
    return st;
}

uint64_t qu_catalogue_generation(const qu_txn *t) { return t->state_at_begin.generation; }

/* --- meta --- */

static qu_status meta_key(qu_rec_key *k, const char *name, qu_err *err)
{
    size_t n = strlen(name);
    if (n < 1 || n > QU_STORE_MAX_NAME)
        return qu_fail(err, QU_ERR_LIMIT, "meta name '%.80s' is empty or longer than %d bytes",
                       name, QU_STORE_MAX_NAME);
    *k = qu_key_tag(QU_TAG_META);
    memcpy(k->b + 1, name, n);
    k->n += n;
    return QU_OK;
}

qu_status qu_catalogue_put_meta(qu_txn *t, const char *name, const void *p, size_t n, qu_err *err)
{
    qu_rec_key k;
    QU_TRY(meta_key(&k, name, err));
    if (n > QU_STORE_MAX_META)
        return qu_fail(err, QU_ERR_LIMIT, "meta '%s' is too long: %zu bytes, the limit is %d", name,
                       n, QU_STORE_MAX_META);
    if (n) return qu_rec_put(t, &k, p, n, err);
    qu_status st = qu_rec_del(t, &k, err);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

qu_status qu_catalogue_get_meta(qu_txn *t, const char *name, qu_buf *out, qu_err *err)
{
    qu_rec_key k;
    const void *p;
    size_t n;
    QU_TRY(meta_key(&k, name, err));
    QU_TRY(qu_rec_get(t, &k, &p, &n, err));
    return qu_buf_add(out, p, n, err);
}

/* --- roots: few, so a list that is walked --- */

/* *number of the root with that path, 0 = none; *last: the highest number met. */
static qu_status root_find(qu_txn *t, const char *path, size_t n, uint64_t *number, uint64_t *last,
                           qu_err *err)
{
    qu_rec_key roots = qu_key_tag(QU_TAG_ROOT);
    const void *p;
    size_t len;
    for (*last = 0;; *last = *number) {
        QU_TRY(qu_index_next(t, &roots, *last, number, &p, &len, err));
        if (*number == 0 || (len == n && memcmp(p, path, n) == 0)) return QU_OK;
    }
}

qu_status qu_catalogue_put_root(qu_txn *t, const char *path, size_t n, qu_err *err)
{
    uint64_t number, last;
    if (n < 1 || n > QU_STORE_MAX_PATH)
        return qu_fail(err, QU_ERR_LIMIT, "a root is empty or longer than %d bytes",
                       QU_STORE_MAX_PATH);
    QU_TRY(root_find(t, path, n, &number, &last, err));
    if (number) return QU_OK;
    qu_rec_key k = qu_key_num(QU_TAG_ROOT, last + 1);
    return qu_rec_put(t, &k, path, n, err);
}

qu_status qu_catalogue_del_root(qu_txn *t, const char *path, size_t n, qu_err *err)
{
    uint64_t number, last;
    QU_TRY(root_find(t, path, n, &number, &last, err));
    if (number == 0)
        return qu_fail(err, QU_ERR_NOTFOUND, "'%.*s' is no root", (int)(n < 200 ? n : 200), path);
    qu_rec_key k = qu_key_num(QU_TAG_ROOT, number);
    return qu_rec_del(t, &k, err);
}

qu_status qu_catalogue_root_at(qu_txn *t, int64_t i, qu_buf *path, qu_err *err)
{
    qu_rec_key roots = qu_key_tag(QU_TAG_ROOT);
    const void *p;
    size_t n;
    uint64_t number = 0;
    for (int64_t at = 0;; at++) {
        QU_TRY(qu_index_next(t, &roots, number, &number, &p, &n, err));
        if (number == 0) return qu_fail(err, QU_ERR_NOTFOUND, "no root %lld", (long long)i);
        if (at == i) return qu_buf_add(path, p, n, err);
    }
}

/* --- counts --- */

int64_t qu_store_disk_bytes(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 ? (int64_t)sb.st_blocks * 512 : 0;
}

/* Numbers behind a tag: roots, files in progress. */
static qu_status count(qu_txn *t, int tag, int64_t *n, qu_err *err)
{
    qu_rec_key prefix = qu_key_tag(tag);
    uint64_t at = 0;
    for (*n = 0;; ++*n) {
        QU_TRY(qu_index_next(t, &prefix, at, &at, NULL, NULL, err));
        if (at == 0) return QU_OK;
    }
}

qu_status qu_catalogue_counts(qu_txn *t, qu_store_counts *c, qu_err *err)
{
    qu_rec_key docs = qu_key_tag(QU_TAG_DOC);
    qu_doc d;
    memset(c, 0, sizeof *c);
    for (uint64_t at = 0;; c->n_docs++) {
        QU_TRY(qu_index_next(t, &docs, at, &at, NULL, NULL, err));
        if (at == 0) break;
        QU_TRY(qu_doc_borrow(t, at, &d, err));
        c->n_pages += d.n_pages;
        c->n_kv_pages += d.kv_pages;
        c->n_tokens += d.n_tokens;
        c->n_text_bytes += d.text_bytes;
        c->n_kv_docs += d.kv_file && d.kv_pages == d.n_pages;
    }
    QU_TRY(count(t, QU_TAG_ROOT, &c->n_roots, err));
    QU_TRY(count(t, QU_TAG_OPEN, &c->n_open_kv, err));
    c->catalogue_bytes = qu_store_disk_bytes(
        qu_store_path(t->s, "catalogue.%llu", (unsigned long long)t->s->catalogue_no).s);
    DIR *d_kv = opendir(qu_store_path(t->s, "kv").s);
    for (struct dirent *e; d_kv && (e = readdir(d_kv));) {
        if (e->d_name[0] == '.') continue;
        c->n_kv_files++;
        c->kv_bytes += qu_store_disk_bytes(qu_store_path(t->s, "kv/%.80s", e->d_name).s);
    }
    if (d_kv) closedir(d_kv);
    return QU_OK;
}
