#include "store/quota.h"

#include <sys/statvfs.h>

#include "store/store_int.h"
#include "store/use.h"

#define META_NAME "kv.max_bytes"
#define RESERVE_BYTES ((int64_t)1 << 30)

/* Never used: worth next to nothing, but the cheaper to compute the less. */
#define NEVER 1e-6

struct qu_quota {
    qu_store *s;
    qu_quota_cost cost;
    void *ctx;
    qu_use use;
    qu_quota_file *files; /* by rising worth; the first gone are no more */
    size_t n_files, gone;
    qu_buf claims; /* of all documents, by file and kv id */
    int64_t limit, held, evicted;
};

/* --- the limit --- */

qu_status qu_quota_set(qu_txn *t, int64_t bytes, qu_err *err)
{
    return qu_catalogue_put_meta(t, META_NAME, &bytes, bytes < 0 ? 0 : sizeof bytes, err);
}

static qu_status read_set(qu_txn *t, int64_t *set, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    *set = QU_QUOTA_AUTO;
    qu_status st = qu_catalogue_get_meta(t, META_NAME, &b, err);
    if (st == QU_OK && b.len == sizeof *set) memcpy(set, b.data, sizeof *set);
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

static int by_worth(const void *a, const void *b)
{
    const qu_quota_file *x = a, *y = b;
    if (x->worth < y->worth || x->worth > y->worth) return x->worth < y->worth ? -1 : 1;
    return x->file_id < y->file_id ? -1 : x->file_id > y->file_id;
}

static double worth(const qu_quota *q, double use, int64_t n_tokens, int64_t bytes)
{
    return bytes > 0 ? q->cost(q->ctx, n_tokens) * use / (double)bytes : 0;
}

static qu_status rank_files(qu_quota *q, qu_err *err)
{
    const qu_claim *claims = (const qu_claim *)(const void *)q->claims.data;
    size_t n = q->claims.len / sizeof *claims;
    QU_TRY(qu_memory_take(&q->files, (int64_t)n, sizeof *q->files, err));
    for (size_t i = 0; i < n; i++) {
        const qu_claim *c = &claims[i];
        if (c->file_id == 0) continue;
        bool first = i == 0 || c[-1].file_id != c->file_id;
        if (first)
            q->files[q->n_files++] =
                (qu_quota_file){c->file_id, qu_store_disk_bytes(qu_kv_path(q->s, c->file_id).s), 0};
        qu_quota_file *f = &q->files[q->n_files - 1];
        if (first || c[-1].kv_id != c->kv_id) /* documents that share slices count once */
            f->worth += worth(q, qu_use_score(&q->use, c->kv_id) + NEVER, c->n_tokens, f->bytes);
    }
    qsort(q->files, q->n_files, sizeof *q->files, by_worth);
    return QU_OK;
}

static qu_status read_state(qu_quota *q, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_quota_state state = {0};
    QU_TRY(qu_txn_begin(&t, q->s, QU_TXN_READ, err));
    QU_TRY(qu_quota_get(t, &state, err));
    q->limit = state.limit;
    q->held = state.held - qu_kv_writing_bytes(q->s);
    return qu_claims_read(t, &q->claims, err);
}

qu_status qu_quota_open(qu_quota **out, qu_store *s, qu_quota_cost cost, void *ctx, qu_err *err)
{
    QU_OWN(qu_quota_freep) qu_quota *q = NULL;
    size_t n_kept = 0;
    *out = NULL;
    QU_TRY(qu_memory_take(&q, 1, sizeof *q, err));
    q->s = s;
    q->cost = cost;
    q->ctx = ctx;
    QU_TRY(read_state(q, err));
    for (size_t i = 0; i < q->claims.len / sizeof(qu_claim); i++)
        n_kept += ((const qu_claim *)(const void *)q->claims.data)[i].file_id != 0;
    QU_TRY(qu_use_read(&q->use, s, n_kept, err));
    QU_TRY(rank_files(q, err));
    *out = QU_TAKE(q);
    return QU_OK;
}

void qu_quota_free(qu_quota *q)
{
    if (!q) return;
    qu_use_free(&q->use);
    free(q->files);
    qu_buf_free(&q->claims);
    free(q);
}

double qu_quota_use(const qu_quota *q, uint64_t kv_id) { return qu_use_score(&q->use, kv_id); }
int64_t qu_quota_limit(const qu_quota *q) { return q->limit; }
int64_t qu_quota_evicted(const qu_quota *q) { return q->evicted; }
void qu_quota_grew(qu_quota *q, int64_t bytes)
{
    q->held += bytes;
}

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

qu_status qu_quota_room(qu_quota *q, int64_t bytes, double least, bool *fits, qu_err *err)
{
    qu_txn *t;
    qu_quota_file *files = q->files + q->gone;
    int64_t n = qu_quota_pick(files, q->n_files - q->gone, q->held + bytes - q->limit, least);
    *fits = n >= 0;
    if (n <= 0) return QU_OK;
    QU_TRY(qu_txn_begin(&t, q->s, QU_TXN_WRITE, err));
    qu_status st = QU_OK;
    for (int64_t i = 0; i < n && st == QU_OK; i++)
        st = qu_kv_replace(t, files[i].file_id, 0, &q->evicted, err); /* the commit unlinks it */
    QU_TRY(qu_txn_end(t, st, err));
    for (int64_t i = 0; i < n; i++) q->held -= files[i].bytes;
    q->gone += (size_t)n;
    return QU_OK;
}
