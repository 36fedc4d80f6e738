#include "store/gc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

enum { COPY_COMMIT_BYTES = 32 << 20 };

/* One document's claim on slices. */
typedef struct claim {
    uint64_t file_id, kv_id;
    int32_t kv_pages;
    bool complete;
} claim;

typedef struct gc {
    qu_store *s;
    claim *claims;            /* sorted by file, then kv id */
    size_t n_claims, cap;
    qu_gc_report r;
} gc;

static int by_file(const void *a, const void *b)
{
    const claim *x = a, *y = b;
    if (x->file_id != y->file_id) return x->file_id < y->file_id ? -1 : 1;
    return x->kv_id < y->kv_id ? -1 : x->kv_id > y->kv_id;
}

static qu_status claims_read(gc *g, qu_err *err)
{
    qu_txn *t;
    qu_doc d;
    qu_status st;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
    for (uint64_t at = 0;; at = d.doc_id, qu_doc_free(&d)) {
        QU_TRY_OUT(qu_catalogue_next_doc(t, at, &d, err));
        if (d.doc_id == 0) break;
        if (g->n_claims == g->cap) {
            g->cap = g->cap ? 2 * g->cap : 256;
            claim *p = realloc(g->claims, g->cap * sizeof *p);
            if (!p) {
                st = qu_fail_nomem(err, (long long)(g->cap * sizeof *p));
                qu_doc_free(&d);
                goto out;
            }
            g->claims = p;
        }
        g->claims[g->n_claims++] =
            (claim){d.kv_file, d.kv_id, d.kv_pages, d.kv_file && d.kv_pages == d.n_pages};
    }
    if (g->n_claims) qsort(g->claims, g->n_claims, sizeof *g->claims, by_file);
out:
    qu_txn_abort(t);
    return st;
}

/* Index of the first claim that is not before (file, kv id). */
static size_t claim_at(const gc *g, uint64_t file_id, uint64_t kv_id)
{
    size_t lo = 0, hi = g->n_claims;
    claim want = {.file_id = file_id, .kv_id = kv_id};
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (by_file(&g->claims[mid], &want) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Pages of kv_id that some document uses in that file; 0 = not a member any more. */
static int32_t claimed_pages(const gc *g, uint64_t file_id, uint64_t kv_id)
{
    int32_t n = 0;
    for (size_t i = claim_at(g, file_id, kv_id);
         i < g->n_claims && g->claims[i].file_id == file_id && g->claims[i].kv_id == kv_id; i++)
        if (g->claims[i].kv_pages > n) n = g->claims[i].kv_pages;
    return n;
}

static bool file_is_claimed(const gc *g, uint64_t file_id)
{
    size_t i = claim_at(g, file_id, 0);
    return i < g->n_claims && g->claims[i].file_id == file_id;
}

/* --- step 1: what nobody needs --- */

/* Is some member of a file in progress still waiting for it? */
static bool still_wanted(const gc *g, qu_kv_writer *w)
{
    uint64_t kv_id = 0;
    for (;;) {
        if (qu_kv_writer_next_member(w, kv_id, &kv_id, NULL) != QU_OK || kv_id == 0) return false;
        for (size_t i = 0; i < g->n_claims; i++)
            if (g->claims[i].kv_id == kv_id && !g->claims[i].complete) return true;
    }
}

static qu_status drop_open(gc *g, uint64_t file_id, qu_err *err)
{
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_WRITE, err));
    qu_status st = qu_open_kv_del(t, file_id, err);
    if (st != QU_OK) {
        qu_txn_abort(t);
        return st;
    }
    g->r.n_files_removed++;
    return qu_txn_commit(t, err); /* which unlinks the file */
}

static qu_status open_files(gc *g, qu_err *err)
{
    for (uint64_t id = 0;;) {
        qu_txn *t;
        qu_kv_writer *w = NULL;
        uint32_t purpose = 0;
        QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
        qu_status st = qu_catalogue_next_open_kv(t, id, &id, err);
        if (st == QU_OK && id) st = qu_open_kv_purpose(t, id, &purpose, err);
        qu_txn_abort(t);
        QU_TRY(st);
        if (id == 0) return QU_OK;
        if (purpose != QU_OPEN_GC) { /* gc's own file in progress is the rest of a killed gc */
            st = qu_kv_writer_create(&w, g->s, id, err);
            if (st != QU_OK && st != QU_ERR_CORRUPT)
                return st; /* a damaged one is made anew: drop it */
        }
        bool wanted = w && still_wanted(g, w);
        qu_kv_writer_free(w);
        if (!wanted) QU_TRY(drop_open(g, id, err));
    }
}

static bool is_open_kv(gc *g, uint64_t file_id)
{
    qu_txn *t;
    uint32_t purpose;
    if (qu_txn_begin(&t, g->s, QU_TXN_READ, NULL) != QU_OK) return true; /* in doubt keep it */
    qu_status st = qu_open_kv_purpose(t, file_id, &purpose, NULL);
    qu_txn_abort(t);
    return st != QU_ERR_NOTFOUND;
}

/* Is that entry a rest of ours? Files of others, also ones that only look similar, are left alone.
 */
static bool is_rest(gc *g, const char *sub, const char *name)
{
    unsigned long long id;
    char again[64];
    if (*sub) {
        if (sscanf(name, "%llu.kv", &id) != 1) return false;
        snprintf(again, sizeof again, "%llu.kv", id);
        return strcmp(name, again) == 0 && !file_is_claimed(g, id) && !is_open_kv(g, id);
    }
    if (strncmp(name, "config.tmp.", 11) == 0 || strncmp(name, "CURRENT.tmp.", 12) == 0)
        return true;
    if (sscanf(name, "catalogue.%llu", &id) != 1 || id == g->s->catalogue_no) return false;
    snprintf(again, sizeof again, "catalogue.%llu", id);
    size_t n = strlen(again);
    return strncmp(name, again, n) == 0 && (name[n] == 0 || strcmp(name + n, "-lock") == 0);
}

static qu_status sweep(gc *g, const char *sub, qu_err *err)
{
    char *dir = qu_store_path(g->s, "%s", sub);
    DIR *d = dir ? opendir(dir) : NULL;
    qu_status st = QU_OK;
    if (!dir) st = qu_fail_nomem(err, 256);
    else if (!d) st = qu_lmdb_fail(err, errno, "open", dir);
    for (struct dirent *e; d && st == QU_OK && (e = readdir(d));) {
        if (!is_rest(g, sub, e->d_name)) continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0) g->r.n_files_removed++;
        else st = qu_lmdb_fail(err, errno, "remove", e->d_name);
    }
    if (d) closedir(d);
    free(dir);
    return st;
}

/* --- step 2: packs --- */

/* Copy claimed slices into w; w NULL: only look whether there is anything unclaimed. */
static qu_status pack_walk(gc *g, uint64_t file_id, qu_kv_writer *w, bool *unclaimed, qu_err *err)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_cursor *c = NULL;
    MDB_val k, v;
    qu_hash binding;
    const void *payload;
    size_t n;
    qu_status st = QU_OK;
    QU_TRY(qu_kv_open_read(g->s, file_id, &env, &txn, err));
    int rc = mdb_cursor_open(txn, 1, &c);
    for (rc = rc ? rc : mdb_cursor_get(c, &k, &v, MDB_FIRST); !rc;
         rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (k.mv_size != QU_KV_KEY_BYTES) {
            st = qu_fail(err, QU_ERR_CORRUPT, "a key in kv file %llu.kv is malformed",
                         (unsigned long long)file_id);
            break;
        }
        qu_slice_key key = qu_kv_key_parse(k.mv_data);
        bool keep = (int64_t)key.page < claimed_pages(g, file_id, key.kv_id);
        if (!keep) *unclaimed = true;
        if (!w && !keep) break;
        if (!w || !keep) continue;
        st = qu_kv_verify(&key, file_id, &v, &binding, &payload, &n, err);
        if (st == QU_OK && key.kind != QU_KV_MARKER)
            st = qu_kv_writer_put(w, &key, binding, payload, n, err);
        else if (st == QU_OK) st = qu_kv_writer_page_done(w, key.kv_id, key.page, err);
        if (st != QU_OK) break;
    }
    if (rc && rc != MDB_NOTFOUND) st = qu_lmdb_fail(err, rc, "read a kv file of", g->s->dir);
    if (c) mdb_cursor_close(c);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return st;
}

/* Point every document of the old file to the new one. Commit unlinks the old. */
static qu_status republish(gc *g, uint64_t old_id, uint64_t new_id, qu_err *err)
{
    qu_txn *t;
    qu_doc d = {0};
    qu_status st;
    qu_rec_key k, from;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_WRITE, err));
    for (;;) { /* set_kv takes the document off the old file's list: always the first */
        from = qu_key_num(QU_TAG_KV, old_id);
        QU_TRY_OUT(qu_rec_seek(t, &from, from.n, &k, err));
        if (k.n != 17) break;
        QU_TRY_OUT(qu_catalogue_get_doc(t, qu_get_be64(k.b + 9), &d, err));
        st = qu_catalogue_set_kv(t, d.doc_id, 0, new_id, d.kv_pages, err);
        qu_doc_free(&d);
        if (st != QU_OK) goto out;
    }
    return qu_txn_commit(t, err);
out:
    qu_txn_abort(t);
    return st;
}

static qu_status pack_rewrite(gc *g, uint64_t file_id, qu_err *err)
{
    qu_kv_writer *w;
    bool unclaimed = false;
    QU_TRY(qu_kv_writer_start(&w, g->s, 0, QU_OPEN_GC, err));
    uint64_t new_id = qu_kv_writer_file(w);
    qu_status st = pack_walk(g, file_id, w, &unclaimed, err);
    if (st == QU_OK) st = qu_kv_writer_seal(w, err);
    if (st != QU_OK) {
        qu_kv_writer_discard(w, NULL);
        return st;
    }
    qu_kv_writer_free(w);
    QU_TRY(republish(g, file_id, new_id, err));
    g->r.n_packs_rewritten++;
    return QU_OK;
}

static qu_status packs(gc *g, qu_err *err)
{
    uint64_t last = 0;
    size_t n_files = 0;
    uint64_t *files = malloc((g->n_claims + 1) * sizeof *files);
    qu_status st = QU_OK;
    if (!files) return qu_fail_nomem(err, (long long)(g->n_claims * sizeof *files));
    for (size_t i = 0; i < g->n_claims; i++) {
        if (g->claims[i].file_id != last) files[n_files++] = g->claims[i].file_id;
        last = g->claims[i].file_id;
    }
    for (size_t i = 0; i < n_files && st == QU_OK; i++) {
        bool unclaimed = false;
        st = pack_walk(g, files[i], NULL, &unclaimed, err);
        if (st == QU_OK && unclaimed) st = pack_rewrite(g, files[i], err);
        if (st == QU_ERR_CORRUPT || st == QU_ERR_NOTFOUND) {
            g->r.n_packs_damaged++;
            st = QU_OK;
        }
    }
    free(files);
    return st;
}

/* --- step 3: catalogue --- */

static qu_status copy_records(MDB_env *from, MDB_env *to, const char *path, qu_err *err)
{
    MDB_txn *in = NULL, *out = NULL;
    MDB_cursor *c = NULL;
    MDB_val k, v;
    const void *p;
    size_t n, pending = 0;
    qu_status st = QU_OK;
    int rc = mdb_txn_begin(from, NULL, MDB_RDONLY, &in);
    if (!rc) rc = mdb_cursor_open(in, 1, &c);
    if (!rc) rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
    while (!rc) {
        QU_TRY_OUT(qu_rec_verify(&k, &v, &p, &n, err)); /* damage is not carried over unseen */
        if (!out && (rc = mdb_txn_begin(to, NULL, 0, &out)) != 0) break;
        if ((rc = mdb_put(out, 1, &k, &v, MDB_APPEND)) != 0) break;
        pending += v.mv_size;
        if (pending >= COPY_COMMIT_BYTES) { /* an open transaction is held in memory */
            rc = mdb_txn_commit(out);
            out = NULL;
            pending = 0;
        }
        if (!rc) rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) rc = 0;
    if (!rc && out) {
        rc = mdb_txn_commit(out);
        out = NULL;
    }
    if (!rc) rc = mdb_env_sync(to, 1);
    if (rc) st = qu_lmdb_fail(err, rc, "copy the catalogue to", path);
out:
    if (out) mdb_txn_abort(out);
    if (c) mdb_cursor_close(c);
    if (in) mdb_txn_abort(in);
    return st;
}

static qu_status compact(gc *g, qu_err *err)
{
    qu_store *s = g->s;
    MDB_env *to = NULL;
    char name[48];
    uint64_t no = s->catalogue_no + 1, old = s->catalogue_no;
    char *path = qu_store_path(s, "catalogue.%llu", (unsigned long long)no);
    char *current = qu_store_path(s, "CURRENT");
    qu_status st = path && current ? QU_OK : qu_fail_nomem(err, 256);
    if (st != QU_OK) goto out;
    if (!s->env) QU_TRY_OUT(qu_store_open_catalogue(s, err));
    QU_TRY_OUT(qu_lmdb_open(&to, path, MDB_NOLOCK, 0, err));
    st = copy_records(s->env, to, path, err);
    mdb_env_close(to);
    snprintf(name, sizeof name, "catalogue.%llu\n", (unsigned long long)no);
    if (st != QU_OK) {
        unlink(path);
        goto out;
    }
    QU_TRY_OUT(qu_os_sync_dir(s->dir, err)); /* the file's own name, before one that speaks of it */
    st = qu_os_replace(current, name, strlen(name), 0600, err);
    mdb_env_close(
        s->env); /* on failure too: CURRENT says which one is live, and the next gc sweeps */
    s->env = NULL;
    QU_TRY_OUT(st);
    st = qu_store_open_catalogue(s, err);
    for (int i = 0; i < 2; i++) {
        char *gone =
            qu_store_path(s, i ? "catalogue.%llu-lock" : "catalogue.%llu", (unsigned long long)old);
        if (gone) unlink(gone);
        free(gone);
    }
out:
    free(path);
    free(current);
    return st;
}

static qu_status disk_use(gc *g, int64_t *bytes, qu_err *err)
{
    qu_txn *t;
    qu_store_counts c;
    QU_TRY(qu_txn_begin(&t, g->s, QU_TXN_READ, err));
    qu_status st = qu_catalogue_counts(t, &c, err);
    qu_txn_abort(t);
    *bytes = st == QU_OK ? c.catalogue_bytes + c.kv_bytes : 0;
    return st;
}

qu_status qu_store_gc(qu_store *s, qu_gc_report *report, qu_err *err)
{
    gc g = {.s = s};
    qu_status st;
    if (!s->writable || s->n_txns > 0 || s->writers)
        return qu_fail(err, QU_ERR_ARG, "cannot collect garbage in '%s': read-only or in use",
                       s->dir);
    qu_kv_close_readers(s);
    QU_TRY_OUT(disk_use(&g, &g.r.bytes_before, err));
    QU_TRY_OUT(claims_read(&g, err));
    QU_TRY_OUT(open_files(&g, err));
    QU_TRY_OUT(sweep(&g, "kv", err));
    QU_TRY_OUT(packs(&g, err));
    QU_TRY_OUT(sweep(&g, "", err));
    QU_TRY_OUT(compact(&g, err));
    QU_TRY_OUT(disk_use(&g, &g.r.bytes_after, err));
out:
    free(g.claims);
    if (report) *report = g.r;
    return st;
}
