#include "store/gc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

enum { COPY_COMMIT_BYTES = 32 << 20 };

typedef struct gc {
    qu_store *s;
    qu_buf list;            /* of qu_claim */
    const qu_claim *claims; /* sorted by file, then kv id */
    size_t n_claims;
    qu_gc_report r;
} gc;

static qu_status claims_read(gc *g, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
    QU_TRY(qu_claims_read(t, &g->list, err));
    g->claims = (const qu_claim *)(const void *)g->list.data;
    g->n_claims = g->list.len / sizeof *g->claims;
    return QU_OK;
}

/* --- step 1: what nobody needs --- */

/* Is some member of a file in progress still waiting for it? */
static bool still_wanted(const gc *g, qu_kv_writer *w)
{
    int32_t done = 0;
    for (const qu_claim *c = g->claims; c < g->claims + g->n_claims && done == 0; c++)
        if (!c->complete && qu_kv_writer_n_pages_done(w, c->doc_id, &done, NULL) != QU_OK)
            return false; /* damaged: made anew */
    return done > 0;
}

static qu_status drop_open(gc *g, uint64_t file_id, qu_err *err)
{
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_WRITE, err));
    g->r.n_files_removed++;
    return qu_txn_end(t, qu_open_kv_del(t, file_id, err), err); /* which unlinks the file */
}

static qu_status open_files(gc *g, qu_err *err)
{
    for (uint64_t id = 0;;) {
        qu_txn *t;
        QU_OWN(qu_kv_writer_freep) qu_kv_writer *w = NULL;
        QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
        qu_status st = qu_catalogue_next_open_kv(t, id, &id, err);
        qu_txn_abort(t);
        if (st != QU_OK || id == 0) return st;
        st = qu_kv_writer_create(&w, g->s, id, err);
        if (st != QU_OK && st != QU_ERR_CORRUPT)
            return st; /* a damaged one is made anew: drop it */
        bool wanted = w && still_wanted(g, w);
        qu_kv_writer_free(QU_TAKE(w));
        if (!wanted) QU_TRY(drop_open(g, id, err));
    }
}

/* Is that entry a rest of ours? Files of others, also ones that only look similar, are left alone.
 */
static bool is_rest(qu_txn *t, const char *sub, const char *name)
{
    bool by_doc, open;
    unsigned long long id;
    char again[64];
    if (*sub) {
        if (sscanf(name, "%llu.kv", &id) != 1) return false;
        snprintf(again, sizeof again, "%llu.kv", id);
        return strcmp(name, again) == 0 && qu_kv_used(t, id, &by_doc, &open, NULL) == QU_OK &&
               !by_doc && !open;
    }
    if (strncmp(name, "config.tmp.", 11) == 0 || strncmp(name, "CURRENT.tmp.", 12) == 0)
        return true;
    if (sscanf(name, "catalogue.%llu", &id) != 1 || id == t->s->catalogue_no) return false;
    snprintf(again, sizeof again, "catalogue.%llu", id);
    size_t n = strlen(again);
    return strncmp(name, again, n) == 0 && (name[n] == 0 || strcmp(name + n, "-lock") == 0);
}

static qu_status sweep(gc *g, const char *sub, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_path dir = qu_store_path(g->s, "%s", sub);
    qu_status st = QU_OK;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
    DIR *d = opendir(dir.s);
    if (!d) return qu_lmdb_fail(err, errno, "open", dir.s);
    for (struct dirent *e; st == QU_OK && (e = readdir(d));) {
        if (!is_rest(t, sub, e->d_name)) continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0) g->r.n_files_removed++;
        else st = qu_lmdb_fail(err, errno, "remove", e->d_name);
    }
    closedir(d);
    return st;
}

/* --- step 2: packs --- */

/* Is a slice of c's file one that some document uses? Slices and claims come by rising kv id: *c
 * goes on. The list of a chunk that begins behind the pages that an edit left is still to be copied
 * with them. */
static bool is_claimed(const gc *g, const qu_claim **c, uint64_t file_id, const qu_slice_key *key)
{
    const qu_claim *end = g->claims + g->n_claims;
    while (*c < end && (*c)->file_id == file_id && (*c)->kv_id < key->kv_id) ++*c;
    int64_t pages = 0;
    for (const qu_claim *i = *c; i < end && i->file_id == file_id && i->kv_id == key->kv_id; i++)
        if (i->kv_pages > pages) pages = i->kv_pages;
    return key->page < pages || (pages > 0 && key->kind == QU_KV_LOOKBACK && key->page == pages);
}

/* Copy claimed slices of the file that c is the first claim on into w; w NULL: only look whether
 * there is anything unclaimed. */
static qu_status pack_walk(gc *g, const qu_claim *c, qu_kv_writer *w, bool *unclaimed, qu_err *err)
{
    QU_OWN(qu_kv_view_close) qu_kv_view file = {0};
    QU_OWN(qu_lmdb_cursorp) MDB_cursor *cursor = NULL;
    MDB_val k, v;
    qu_hash binding;
    const void *payload;
    size_t n;
    uint64_t file_id = c->file_id;
    QU_TRY(qu_kv_view_open(g->s, file_id, &file, err));
    int rc = mdb_cursor_open(file.txn, 1, &cursor);
    if (!rc) rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (; !rc && (w || !*unclaimed); rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (k.mv_size != QU_KV_KEY_BYTES)
            return qu_fail(err, QU_ERR_CORRUPT, "a key in kv file %llu.kv is malformed",
                           (unsigned long long)file_id);
        qu_slice_key key = qu_kv_key_parse(k.mv_data);
        bool keep = is_claimed(g, &c, file_id, &key);
        *unclaimed |= !keep;
        if (!w || !keep) continue;
        QU_TRY(qu_kv_verify(&key, file_id, &v, &binding, &payload, &n, err));
        QU_TRY(key.kind == QU_KV_MARKER ? qu_kv_writer_page_done(w, key.kv_id, key.page, err)
                                        : qu_kv_writer_put(w, &key, binding, payload, n, err));
    }
    if (!rc || rc == MDB_NOTFOUND) return QU_OK;
    return qu_lmdb_fail(err, rc, "read a kv file of", g->s->dir);
}

static qu_status pack_rewrite(gc *g, const qu_claim *c, qu_err *err)
{
    qu_kv_writer *w;
    bool unclaimed = false;
    QU_TRY(qu_kv_writer_create(&w, g->s, 0, err));
    uint64_t new_id = qu_kv_writer_file(w);
    qu_status st = pack_walk(g, c, w, &unclaimed, err);
    if (st == QU_OK) st = qu_kv_writer_seal(w, err);
    if (st != QU_OK) {
        qu_kv_writer_discard(w, NULL);
        return st;
    }
    qu_kv_writer_free(w);
    int64_t n_docs = 0; /* they all move to the new file; the commit unlinks the old */
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_WRITE, err));
    QU_TRY(qu_txn_end(t, qu_kv_replace(t, c->file_id, new_id, &n_docs, err), err));
    g->r.n_packs_rewritten++;
    return QU_OK;
}

static qu_status packs(gc *g, qu_err *err)
{
    for (const qu_claim *c = g->claims; c < g->claims + g->n_claims; c++) {
        bool unclaimed = false;
        if (c->file_id == 0 || (c > g->claims && c[-1].file_id == c->file_id)) continue;
        qu_status st = pack_walk(g, c, NULL, &unclaimed, err);
        if (st == QU_OK && unclaimed) st = pack_rewrite(g, c, err);
        bool damaged = st == QU_ERR_CORRUPT || st == QU_ERR_NOTFOUND;
        g->r.n_packs_damaged += damaged;
        if (!damaged) QU_TRY(st);
    }
    return QU_OK;
}

/* --- step 3: catalogue --- */

static qu_status copy_records(MDB_env *from, MDB_env *to, const char *path, qu_err *err)
{
    QU_OWN(qu_lmdb_abortp) MDB_txn *in = NULL, *out = NULL;
    QU_OWN(qu_lmdb_cursorp) MDB_cursor *c = NULL;
    MDB_val k, v;
    const void *p;
    size_t n, pending = 0;
    int rc = mdb_txn_begin(from, NULL, MDB_RDONLY, &in);
    if (!rc) rc = mdb_cursor_open(in, 1, &c);
    for (int op = MDB_FIRST; !rc && (rc = mdb_cursor_get(c, &k, &v, op)) == 0; op = MDB_NEXT) {
        QU_TRY(qu_rec_verify(&k, &v, &p, &n, err)); /* damage is not carried over unseen */
        if (!out && (rc = mdb_txn_begin(to, NULL, 0, &out)) != 0) break;
        if ((rc = mdb_put(out, 1, &k, &v, MDB_APPEND)) != 0) break;
        pending += v.mv_size;
        if (pending < COPY_COMMIT_BYTES) continue; /* an open transaction is held in memory */
        rc = mdb_txn_commit(QU_TAKE(out));
        pending = 0;
    }
    if (rc == MDB_NOTFOUND) rc = out ? mdb_txn_commit(QU_TAKE(out)) : 0;
    if (!rc) rc = mdb_env_sync(to, 1);
    return rc ? qu_lmdb_fail(err, rc, "copy the catalogue to", path) : QU_OK;
}

static qu_status compact(gc *g, qu_err *err)
{
    qu_store *s = g->s;
    MDB_env *to = NULL;
    char name[48];
    unsigned long long old = s->catalogue_no;
    qu_path path = qu_store_path(s, "catalogue.%llu", old + 1);
    if (!s->env) QU_TRY(qu_store_open_catalogue(s, err));
    QU_TRY(qu_lmdb_open(&to, path.s, MDB_NOLOCK, 0, err));
    qu_status st = copy_records(s->env, to, path.s, err);
    mdb_env_close(to);
    if (st == QU_OK)
        st = qu_os_sync_dir(s->dir, err); /* its name, before a file that speaks of it */
    if (st != QU_OK) {
        unlink(path.s);
        return st;
    }
    snprintf(name, sizeof name, "catalogue.%llu\n", old + 1);
    st = qu_os_replace(qu_store_path(s, "CURRENT").s, name, strlen(name), 0600, err);
    mdb_env_close(
        s->env); /* on failure too: CURRENT says which one is live, and the next gc sweeps */
    s->env = NULL;
    QU_TRY(st);
    st = qu_store_open_catalogue(s, err);
    unlink(qu_store_path(s, "catalogue.%llu", old).s);
    unlink(qu_store_path(s, "catalogue.%llu-lock", old).s);
    return st;
}

static qu_status disk_use(gc *g, int64_t *bytes, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_store_counts c;
    *bytes = 0;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
    QU_TRY(qu_catalogue_counts(t, &c, err));
    *bytes = c.catalogue_bytes + c.kv_bytes;
    return QU_OK;
}

static qu_status collect(gc *g, qu_err *err)
{
    QU_TRY(disk_use(g, &g->r.bytes_before, err));
    QU_TRY(claims_read(g, err));
    QU_TRY(open_files(g, err));
    QU_TRY(sweep(g, "kv", err));
    QU_TRY(packs(g, err));
    QU_TRY(sweep(g, "", err));
    QU_TRY(compact(g, err));
    return disk_use(g, &g->r.bytes_after, err);
}

qu_status qu_store_gc(qu_store *s, qu_gc_report *report, qu_err *err)
{
    gc g = {.s = s};
    if (!s->writable || s->n_txns > 0 || s->writers)
        return qu_fail(err, QU_ERR_ARG, "cannot collect garbage in '%s': read-only or in use",
                       s->dir);
    qu_kv_close_readers(s);
    qu_status st = collect(&g, err);
    qu_buf_free(&g.list);
    if (report) *report = g.r;
    return st;
}
