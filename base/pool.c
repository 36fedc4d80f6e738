#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Workers spin briefly for the next run (a layer starts several a millisecond), then sleep. */
enum { SPINS = 4000 };

/* Claims that a thread's share of what is left is good for. */
enum { SHARES = 2 };

/* The state of the current run in one word, so that an item is claimed and its run checked by one
 * compare and swap: a worker that wakes late finds nothing and holds nobody up.
 *
 *   | run number 16 | items 24 | next item 24 |
 */
enum { ITEM_BITS = 24, MAX_ITEMS = (1 << ITEM_BITS) - 1 };

typedef struct worker {
    struct qu_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct qu_pool {
    int n_threads;
    worker *workers; /* n_threads - 1 */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic uint64_t state;
    atomic_int done; /* items of this run that are finished */
    atomic_int sleepers;
    atomic_bool stop;
    void (*body)(void *, int64_t, int);
    void *ctx;
    int64_t base; /* added to the item's index */
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline uint64_t items_of(uint64_t state) { return state >> ITEM_BITS & MAX_ITEMS; }
static inline uint64_t next_of(uint64_t state) { return state & MAX_ITEMS; }
static inline bool has_work(uint64_t state) { return next_of(state) < items_of(state); }

/* Claim and run items until there are none: a share of what is left at a time, since a claim takes
 * as long as a small item. The claim makes body and ctx valid: the run cannot end before its items
 * are counted as done. */
static void take_items(qu_pool *p, int worker_index)
{
    uint64_t s = atomic_load(&p->state);
    while (has_work(s)) {
        uint64_t n = (items_of(s) - next_of(s)) / (uint64_t)(SHARES * p->n_threads);
        if (n == 0) n = 1;
        if (!atomic_compare_exchange_weak(&p->state, &s, s + n)) continue;
        for (uint64_t i = 0; i < n; i++)
            p->body(p->ctx, p->base + (int64_t)(next_of(s) + i), worker_index);
        atomic_fetch_add(&p->done, (int)n);
        s = atomic_load(&p->state);
    }
}

static void *work(void *arg)
{
    worker *w = arg;
    qu_pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        for (int spins = 0; spins < SPINS && !has_work(atomic_load(&p->state)); spins++) relax();
        if (!has_work(atomic_load(&p->state))) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->sleepers, 1);
            while (!has_work(atomic_load(&p->state)) && !atomic_load(&p->stop))
                pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_sub(&p->sleepers, 1);
            pthread_mutex_unlock(&p->lock);
        }
        take_items(p, w->index);
    }
    return NULL;
}

qu_status qu_pool_create(qu_pool **out, int n_threads, qu_err *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return qu_fail(err, QU_ERR_ARG, "cannot run %d threads: give 1 to 1024", n_threads);
    QU_OWN(qu_pool_freep) qu_pool *p = NULL;
    QU_TRY(qu_memory_take(&p, 1, sizeof *p, err));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->n_threads = 1;
    QU_TRY(qu_memory_take(&p->workers, n_threads, sizeof *p->workers, err));
    for (int i = 1; i < n_threads; i++) {
        worker *w = &p->workers[i - 1];
        w->pool = p;
        w->index = i;
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            return qu_fail(err, QU_ERR_NOMEM, "cannot start thread %d of %d", i + 1, n_threads);
        p->n_threads = i + 1;
    }
    *out = QU_TAKE(p);
    return QU_OK;
}

void qu_pool_free(qu_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->workers[i - 1].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p->workers);
    free(p);
}

int qu_pool_threads(const qu_pool *p) { return p ? p->n_threads : 1; }

static void run_part(qu_pool *p, int64_t base, int n_items)
{
    uint64_t run = (atomic_load(&p->state) >> (2 * ITEM_BITS)) + 1;
    p->base = base;
    atomic_store(&p->done, 0);
    atomic_store(&p->state, run << (2 * ITEM_BITS) | (uint64_t)n_items << ITEM_BITS);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    take_items(p, 0);
    for (int spins = 0; atomic_load(&p->done) < n_items; spins++) {
        if (spins < SPINS) relax();
        else sched_yield(); /* the last worker lost its processor to somebody else */
    }
}

void qu_pool_run(qu_pool *p, int64_t n_items, void (*body)(void *, int64_t, int), void *ctx)
{
    if (!p || p->n_threads == 1 || n_items <= 1) {
        for (int64_t i = 0; i < n_items; i++) body(ctx, i, 0);
        return;
    }
    p->body = body;
    p->ctx = ctx;
    for (int64_t base = 0; base < n_items; base += MAX_ITEMS)
        run_part(p, base, (int)(n_items - base < MAX_ITEMS ? n_items - base : MAX_ITEMS));
}
