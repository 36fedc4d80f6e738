/* Memory and other things that are owned: arrays with a message where there is no room for them,
 * and locals that are given back when their block ends, on every way out of it.
 *
 *     QU_OWN(qu_buf_free) qu_buf path = {0};       // a struct: freed by what takes its address
 *     QU_OWN(qu_txn_abortp) qu_txn *t = NULL;      // a handle: the same name with a p behind it
 *     QU_OWN(qu_freep) int32_t *ids = NULL;
 *     QU_TRY(qu_memory_take(&ids, n, sizeof *ids, err));                       // n zeroed ones
 *     QU_TRY(qu_memory_grow(&v->ids, &v->cap, v->n + 1, sizeof *v->ids, err)); // kept, one more
 *     QU_TRY(qu_memory_need(&s->x, &s->cap, floats, sizeof *s->x, err));       // lost, if it grows
 *     *out = QU_TAKE(ids);                                                     // now the caller's
 *
 * Brings <stdint.h>, <stdlib.h> and <string.h>. Arrays: QU_ERR_NOMEM names the bytes. p points at
 * the caller's pointer, size is an element's; free() gives back what any of them made. An owned
 * local is initialised where it is declared, so that it may be given back at any moment, and the
 * one declared last goes first.
 */
#ifndef QU_BASE_MEMORY_H
#define QU_BASE_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define QU_OWN(give_back) __attribute__((cleanup(give_back)))

/* In a handle's header: makes close_p of close, which must be fine with NULL. */
#define QU_OWNER(type, close)                                                                      \
    static inline void close##p(type **p) { close(*p); }

/* The pointer, which the local then no longer holds. */
#define QU_TAKE(p)                                                                                 \
    ({                                                                                             \
        __typeof__(p) qu_taken_ = (p);                                                             \
        (p) = NULL;                                                                                \
        qu_taken_;                                                                                 \
    })

static inline void qu_freep(void *p)
{
    void *q;
    memcpy(&q, p, sizeof q);
    free(q);
}

/* *p = n zeroed elements, never NULL on success. */
static inline qu_status qu_memory_take(void *p, int64_t n, size_t size, qu_err *err)
{
    void *q = calloc((size_t)n + (n == 0), size);
    memcpy(p, &q, sizeof q);
    return q ? QU_OK : qu_fail_nomem(err, n * (long long)size);
}

/* Room in *p for need elements of which *cap are there; contents stay, also on error. */
static inline qu_status qu_memory_grow(void *p, int64_t *cap, int64_t need, size_t size,
                                       qu_err *err)
{
    int64_t n = need + need / 2 + 16;
    void *q;
    if (*cap >= need) return QU_OK;
    memcpy(&q, p, sizeof q);
    q = realloc(q, (size_t)n * size);
    if (!q) return qu_fail_nomem(err, n * (long long)size);
    memcpy(p, &q, sizeof q);
    *cap = n;
    return QU_OK;
}

/* The same for scratch: aligned to 64 bytes, no more than asked for, contents lost when it
 * grows. */
static inline qu_status qu_memory_need(void *p, int64_t *cap, int64_t need, size_t size,
                                       qu_err *err)
{
    void *q;
    if (*cap >= need) return QU_OK;
    memcpy(&q, p, sizeof q);
    free(q);
    q = aligned_alloc(64, ((size_t)need * size + 63) / 64 * 64);
    memcpy(p, &q, sizeof q);
    *cap = q ? need : 0;
    return q ? QU_OK : qu_fail_nomem(err, need * (long long)size);
}

#endif
