#include "store/quota.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "store/store_int.h"
#include "store/use.h"

#define META_NAME "kv.max_bytes"
#define RESERVE_BYTES ((int64_t)1 << 30)

/* Never used: worth next to nothing, but the cheaper to compute the less. */
#define NEVER 1e-6

typedef struct member {
    uint64_t file_id, kv_id;
    int64_t n_tokens;
} member;

struct qu_quota {
    qu_store *s;
    qu_quota_cost cost;
    void *ctx;
    qu_use use;
    qu_quota_file *files; /* by rising worth; the first gone are no more */
    size_t n_files, gone;
    member *members;      /* documents with KV, by file and kv id */
    size_t n_members;
    uint64_t *kv_ids;     /* of all documents */
    size_t n_kv_ids, ids_cap;
    int64_t limit, held, evicted;
};

/* --- the limit --- */

qu_status qu_quota_set(qu_txn *t, int64_t bytes, qu_err *err)
{
    return qu_catalogue_put_meta(t, META_NAME, &bytes, bytes < 0 ? 0 : sizeof bytes, err);
}

static qu_status read_set(qu_txn *t, int64_t *set, qu_err *err)
{
    qu_buf b = {0};
    *set = QU_QUOTA_AUTO;
    qu_status st = qu_catalogue_get_meta(t, META_NAME, &b, err);
    if (st == QU_OK && b.len == sizeof *set) memcpy(set, b.data, sizeof *set);
    qu_buf_free(&b);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

static int64_t limit_of(const qu_store *s, int64_t set, int64_t held, int64_t *free_bytes)
{
    struct statvfs fs;
    *free_bytes = 0;
    if (statvfs(s->dir, &fs) != 0) return set < 0 ? held : set;
    int64_t unit = (int64_t)fs.f_frsize, reserve = (int64_t)fs.f_blocks / 20 * unit;
    *free_bytes = (int64_t)fs.f_bavail * unit;
    if (reserve > RESERVE_BYTES) reserve = RESERVE_BYTES;
    if (set >= 0) return set;
    int64_t limit = (*free_bytes + held) / 5, most = *free_bytes + held - reserve;
    if (limit > most) limit = most;
    return limit > 0 ? limit : 0;
}

qu_status qu_quota_get(qu_txn *t, qu_quota_state *q, qu_err *err)
{
    qu_store_counts c;
    memset(q, 0, sizeof *q);
    QU_TRY(read_set(t, &q->set, err));
    QU_TRY(qu_catalogue_counts(t, &c, err));
    q->held = c.kv_bytes;
    q->limit = limit_of(t->s, q->set, q->held, &q->free_bytes);
    return QU_OK;
}

/* --- what is there and what it is worth --- */

static int by_member(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->file_id != y->file_id) return x->file_id < y->file_id ? -1 : 1;
    return x->kv_id < y->kv_id ? -1 : x->kv_id > y->kv_id;
}

static int by_worth(const void *a, const void *b)
{
    const qu_quota_file *x = a, *y = b;
    if (x->worth < y->worth || x->worth > y->worth) return x->worth < y->worth ? -1 : 1;
    return x->file_id < y->file_id ? -1 : x->file_id > y->file_id;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t file_bytes(const qu_store *s, uint64_t file_id)
{
    struct stat sb;
    char *path = qu_store_path(s, "kv/%llu.kv", (unsigned long long)file_id);
    int64_t n = path && stat(path, &sb) == 0 ? (int64_t)sb.st_blocks * 512 : 0;
    free(path);
    return n;
}

static qu_status add_member(qu_quota *q, const qu_doc *d, qu_err *err)
{
    if (q->n_kv_ids == q->ids_cap) {
        size_t cap = q->ids_cap ? 2 * q->ids_cap : 256;
        uint64_t *ids = realloc(q->kv_ids, cap * sizeof *ids);
        if (!ids) return qu_fail_nomem(err, (long long)(cap * sizeof *ids));
        q->kv_ids = ids;
        member *m = realloc(q->members, cap * sizeof *m);
        if (!m) return qu_fail_nomem(err, (long long)(cap * sizeof *m));
        q->members = m;
        q->ids_cap = cap;
    }
    q->kv_ids[q->n_kv_ids++] = d->kv_id;
    if (d->kv_file) q->members[q->n_members++] = (member){d->kv_file, d->kv_id, d->n_tokens};
    return QU_OK;
}

static qu_status read_members(qu_quota *q, qu_txn *t, qu_err *err)
{
    qu_doc d;
    for (uint64_t after = 0;;) {
        QU_TRY(qu_catalogue_next_doc(t, after, &d, err));
        if (d.doc_id == 0) break;
        after = d.doc_id;
        qu_status st = add_member(q, &d, err);
        qu_doc_free(&d);
        if (st != QU_OK) return st;
    }
    if (q->n_members) qsort(q->members, q->n_members, sizeof *q->members, by_member);
    if (q->n_kv_ids) qsort(q->kv_ids, q->n_kv_ids, sizeof *q->kv_ids, by_number);
    return QU_OK;
}

static double worth(const qu_quota *q, double use, int64_t n_tokens, int64_t bytes)
{
    return bytes > 0 ? q->cost(q->ctx, n_tokens) * use / (double)bytes : 0;
}

static qu_status rank_files(qu_quota *q, qu_err *err)
{
    q->files = calloc(q->n_members + 1, sizeof *q->files);
    if (!q->files) return qu_fail_nomem(err, (long long)(q->n_members * sizeof *q->files));
    for (size_t i = 0; i < q->n_members; i++) {
        const member *m = &q->members[i];
        bool first = i == 0 || m[-1].file_id != m->file_id;
        if (first)
            q->files[q->n_files++] =
                (qu_quota_file){m->file_id, file_bytes(q->s, m->file_id), 0};
        qu_quota_file *f = &q->files[q->n_files - 1];
        if (first || m[-1].kv_id != m->kv_id) /* documents that share slices count once */
            f->worth += worth(q, qu_use_score(&q->use, m->kv_id) + NEVER, m->n_tokens, f->bytes);
    }
    qsort(q->files, q->n_files, sizeof *q->files, by_worth);
    return QU_OK;
}

static qu_status read_state(qu_quota *q, qu_err *err)
{
    qu_txn *t;
    qu_quota_state state = {0};
    QU_TRY(qu_txn_begin(&t, q->s, QU_TXN_READ, err));
    qu_status st = qu_quota_get(t, &state, err);
    if (st == QU_OK) st = read_members(q, t, err);
    qu_txn_abort(t);
    q->limit = state.limit;
    q->held = state.held - qu_kv_writing_bytes(q->s);
    return st;
}

qu_status qu_quota_open(qu_quota **out, qu_store *s, qu_quota_cost cost, void *ctx, qu_err *err)
{
    qu_status st;
    qu_quota *q = *out = calloc(1, sizeof *q);
    if (!q) return qu_fail_nomem(err, sizeof *q);
    q->s = s;
    q->cost = cost;
    q->ctx = ctx;
    QU_TRY_OUT(read_state(q, err));
    q->use.kept = q->n_members;
    QU_TRY_OUT(qu_use_read(&q->use, s, err));
    st = rank_files(q, err);
    if (st == QU_OK) qu_use_fold(&q->use, s, q->kv_ids, q->n_kv_ids);
out:
    if (st != QU_OK) {
        qu_quota_free(q);
        *out = NULL;
    }
    return st;
}

void qu_quota_free(qu_quota *q)
{
    if (!q) return;
    qu_use_free(&q->use);
    free(q->files);
    free(q->members);
    free(q->kv_ids);
    free(q);
}

double qu_quota_use(const qu_quota *q, uint64_t kv_id) { return qu_use_score(&q->use, kv_id); }
int64_t qu_quota_limit(const qu_quota *q) { return q->limit; }
int64_t qu_quota_evicted(const qu_quota *q) { return q->evicted; }
void qu_quota_grew(qu_quota *q, int64_t bytes) { q->held += bytes; }

double qu_quota_worth(const qu_quota *q, uint64_t kv_id, int64_t n_tokens, int64_t bytes)
{
    return worth(q, qu_use_score(&q->use, kv_id), n_tokens, bytes);
}

/* --- eviction --- */

int64_t qu_quota_pick(const qu_quota_file *files, size_t n, int64_t need, double least)
{
    size_t i = 0;
    while (need > 0) {
        if (i == n || !(files[i].worth < least)) return -1;
        need -= files[i++].bytes;
    }
    return (int64_t)i;
}

/* Take its KV from every document of the file: the commit unlinks it. */
static qu_status evict(qu_quota *q, qu_txn *t, uint64_t file_id, qu_err *err)
{
    qu_rec_key k, from = qu_key_num(QU_TAG_KV, file_id);
    for (;; q->evicted++) { /* set_kv takes the document off the file's list: always the first */
        QU_TRY(qu_rec_seek(t, &from, from.n, &k, err));
        if (k.n != 17) return QU_OK;
        QU_TRY(qu_catalogue_set_kv(t, qu_get_be64(k.b + 9), 0, 0, 0, err));
    }
}

qu_status qu_quota_room(qu_quota *q, int64_t bytes, double least, bool *fits, qu_err *err)
{
    qu_txn *t;
    qu_quota_file *files = q->files + q->gone;
    int64_t n = qu_quota_pick(files, q->n_files - q->gone, q->held + bytes - q->limit, least);
    *fits = n >= 0;
    if (n <= 0) return QU_OK;
    QU_TRY(qu_txn_begin(&t, q->s, QU_TXN_WRITE, err));
    for (int64_t i = 0; i < n; i++) {
        qu_status st = evict(q, t, files[i].file_id, err);
        if (st != QU_OK) {
            qu_txn_abort(t);
            return st;
        }
    }
    QU_TRY(qu_txn_commit(t, err));
    for (int64_t i = 0; i < n; i++) q->held -= files[i].bytes;
    q->gone += (size_t)n;
    return QU_OK;
}
