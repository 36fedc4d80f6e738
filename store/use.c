#include "store/use.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

/* One use, in the file. */
typedef struct use_record {
    uint64_t kv_id, zero;
    double one;
    uint64_t sum; /* XXH3-64 of what is before it */
} use_record;
_Static_assert(sizeof(use_record) == 32, "stored as it is: no padding");

static uint64_t sum_of(const use_record *r)
{
    return qu_hash_sum(r, offsetof(use_record, sum), 0);
}

void qu_use_add(const qu_store *s, const uint64_t *kv_ids, size_t n)
{
    struct stat sb;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    use_record *r = malloc((n + 1) * sizeof *r);
    int fd = r && n > 0 ? open(qu_store_path(s, "use").s, flags, 0600) : -1;
    if (fd >= 0 && fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size < QU_USE_MAX_BYTES) {
        for (size_t i = 0; i < n; i++) {
            r[i] = (use_record){.kv_id = kv_ids[i], .one = 1};
            r[i].sum = sum_of(&r[i]);
        }
        ssize_t written = write(fd, r, n * sizeof *r); /* one call: appends do not mix */
        (void)written; /* what is lost only makes the quota know less */
    }
    if (fd >= 0) close(fd);
    free(r);
}

static int by_id(const void *a, const void *b)
{
    const qu_use_entry *x = a, *y = b;
    return (x->kv_id > y->kv_id) - (x->kv_id < y->kv_id);
}

/* The records in b, as they came; score: which one it was. */
static qu_status take_records(qu_use *u, const qu_buf *b, qu_err *err)
{
    use_record r;
    int64_t cap = 0;
    for (size_t at = 0; at + sizeof r <= b->len;) {
        memcpy(&r, b->data + at, sizeof r);
        bool whole = r.sum == sum_of(&r);
        at += whole ? sizeof r : 1; /* behind damage: wherever the next whole one begins */
        if (!whole || r.kv_id == 0 || r.zero != 0) continue;
        QU_TRY(qu_memory_grow(&u->v, &cap, (int64_t)u->n + 1, sizeof *u->v, err));
        u->v[u->n] = (qu_use_entry){r.kv_id, (double)u->n};
        u->n++;
    }
    return QU_OK;
}

qu_status qu_use_read(qu_use *u, const qu_store *s, size_t n_kept, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_path path = qu_store_path(s, "use");
    double half = fmax(QU_USE_HALF * (double)n_kept, QU_USE_LEAST);
    size_t n = 0;
    if (qu_os_read(&b, path.s, 2 * QU_USE_MAX_BYTES, NULL) == QU_ERR_NOMEM)
        return qu_fail_nomem(err, QU_USE_MAX_BYTES); /* whatever else: nothing is known */
    QU_TRY(take_records(u, &b, err));
    for (size_t i = 0; i < u->n; i++) u->v[i].score = exp2(((double)i + 1 - (double)u->n) / half);
    if (u->n > 0) qsort(u->v, u->n, sizeof *u->v, by_id);
    for (size_t i = 0; i < u->n; i++) /* one for each document */
        if (n > 0 && u->v[n - 1].kv_id == u->v[i].kv_id)
            u->v[n - 1].score += u->v[i].score;
        else
            u->v[n++] = u->v[i];
    u->n = n;
    if (s->writable && b.len > QU_USE_MAX_BYTES / 2) /* the newer half will do */
        qu_os_replace(path.s, b.data + b.len / 2, b.len - b.len / 2, 0600, NULL);
    return QU_OK;
}

double qu_use_score(const qu_use *u, uint64_t kv_id)
{
    qu_use_entry key = {kv_id, 0},
                 *e = u->n ? bsearch(&key, u->v, u->n, sizeof *u->v, by_id) : NULL;
    return e ? e->score : 0;
}

void qu_use_free(qu_use *u)
{
    free(u->v);
    memset(u, 0, sizeof *u);
}
