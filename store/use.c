#include "store/use.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_int.h"

/* One in the file. clock 0: one use, just now; kv_id 0: how far the clock was at the last fold. */
typedef struct use_record {
    uint64_t kv_id, clock;
    double score;
    uint64_t sum; /* XXH3-64 of what is before it */
} use_record;
_Static_assert(sizeof(use_record) == 32, "stored as it is: no padding");

static use_record record_of(uint64_t kv_id, uint64_t clock, double score)
{
    use_record r = {kv_id, clock, score, 0};
    r.sum = qu_hash_sum(&r, offsetof(use_record, sum), 0);
    return r;
}

void qu_use_add(const qu_store *s, const uint64_t *kv_ids, size_t n)
{
    struct stat sb;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    use_record *r = malloc((n + 1) * sizeof *r);
    int fd = r && n > 0 ? open(qu_store_path(s, "use").s, flags, 0600) : -1;
    if (fd >= 0 && fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size < QU_USE_MAX_BYTES) {
        for (size_t i = 0; i < n; i++) r[i] = record_of(kv_ids[i], 0, 1);
        ssize_t written = write(fd, r, n * sizeof *r); /* one call: appends do not mix */
        (void)written; /* what is lost only makes the quota know less */
    }
    if (fd >= 0) close(fd);
    free(r);
}

/* --- the table --- */

static qu_use_entry *slot_of(const qu_use *u, uint64_t kv_id)
{
    size_t i = (size_t)(kv_id * 0x9E3779B97F4A7C15u >> 20) & (u->cap - 1);
    while (u->slots[i].kv_id && u->slots[i].kv_id != kv_id) i = (i + 1) & (u->cap - 1);
    return &u->slots[i];
}

static qu_status slot_make(qu_use *u, uint64_t kv_id, qu_use_entry **e, qu_err *err)
{
    if (2 * u->n >= u->cap) {
        qu_use wide = *u;
        wide.cap = u->cap ? 2 * u->cap : 64;
        QU_TRY(qu_memory_take(&wide.slots, wide.cap, sizeof *wide.slots, err));
        for (size_t i = 0; i < u->cap; i++)
            if (u->slots[i].kv_id) *slot_of(&wide, u->slots[i].kv_id) = u->slots[i];
        free(u->slots);
        *u = wide;
    }
    *e = slot_of(u, kv_id);
    if (!(*e)->kv_id) u->n++;
    (*e)->kv_id = kv_id;
    return QU_OK;
}

static double faded(const qu_use *u, const qu_use_entry *e)
{
    double half = (double)QU_USE_HALF * (double)u->kept, age = (double)(u->clock - e->clock);
    return e->score * exp2(-age / (half > QU_USE_LEAST ? half : QU_USE_LEAST));
}

qu_status qu_use_touch(qu_use *u, uint64_t kv_id, qu_err *err)
{
    qu_use_entry *e;
    QU_TRY(slot_make(u, kv_id, &e, err));
    double before = faded(u, e);
    *e = (qu_use_entry){kv_id, ++u->clock, before + 1};
    return QU_OK;
}

double qu_use_score(const qu_use *u, uint64_t kv_id)
{
    const qu_use_entry *e = u->cap ? slot_of(u, kv_id) : NULL;
    return e && e->kv_id ? faded(u, e) : 0;
}

void qu_use_free(qu_use *u)
{
    free(u->slots);
    memset(u, 0, sizeof *u);
}

/* --- the file --- */

static qu_status take(qu_use *u, const use_record *r, qu_err *err)
{
    qu_use_entry *e;
    if (r->clock == 0) return r->kv_id ? qu_use_touch(u, r->kv_id, err) : QU_OK;
    if (r->clock > UINT64_MAX / 2 || !(r->score >= 0 && r->score < 1e12)) return QU_OK;
    if (r->clock > u->clock) u->clock = r->clock;
    if (r->kv_id == 0) return QU_OK;
    QU_TRY(slot_make(u, r->kv_id, &e, err));
    e->clock = r->clock;
    e->score = r->score;
    return QU_OK;
}

qu_status qu_use_read(qu_use *u, const qu_store *s, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    use_record r;
    qu_err why = {0};
    qu_status st = qu_os_read(&b, qu_store_path(s, "use").s, 2 * (size_t)QU_USE_MAX_BYTES, &why);
    if (st == QU_ERR_NOMEM && err) *err = why;
    if (st != QU_ERR_NOMEM) st = QU_OK; /* whatever else: nothing is known */
    for (size_t at = 0; st == QU_OK && at + sizeof r <= b.len;) {
        memcpy(&r, b.data + at, sizeof r);
        bool whole = r.sum == qu_hash_sum(&r, offsetof(use_record, sum), 0);
        at += whole ? sizeof r : 1; /* behind damage: wherever the next whole one begins */
        if (whole) st = take(u, &r, err);
    }
    return st;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void qu_use_fold(const qu_use *u, const qu_store *s, const uint64_t *keep, size_t n_keep)
{
    struct stat sb;
    qu_buf b = {0};
    qu_path path = qu_store_path(s, "use");
    if (stat(path.s, &sb) == 0 && sb.st_size > QU_USE_FOLD_BYTES) {
        use_record r = record_of(0, u->clock, 0);
        qu_status st = qu_buf_add(&b, &r, sizeof r, NULL);
        for (size_t i = 0; i < u->cap && st == QU_OK; i++) {
            const qu_use_entry *e = &u->slots[i];
            bool there =
                e->kv_id && n_keep && bsearch(&e->kv_id, keep, n_keep, sizeof *keep, by_id);
            if (!there || faded(u, e) < 1e-3) continue;
            r = record_of(e->kv_id, e->clock, e->score);
            st = qu_buf_add(&b, &r, sizeof r, NULL);
        }
        if (st == QU_OK) qu_os_replace(path.s, b.data, b.len, 0600, NULL);
    }
    qu_buf_free(&b);
}
