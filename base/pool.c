#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Workers spin briefly for the next run (a layer starts several a millisecond), then sleep. */
enum { SPINS = 4000 };

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
    atomic_uint run; /* number of the current run; workers compare with the last one they did */
    atomic_int sleepers;
    atomic_bool stop;
    atomic_int busy;
    atomic_llong next;
    int64_t n_items;
    void (*body)(void *, int64_t, int);
    void *ctx;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void take_items(qu_pool *p, int worker_index)
{
    for (;;) {
        long long i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->n_items) return;
        p->body(p->ctx, i, worker_index);
    }
}

static void *work(void *arg)
{
    worker *w = arg;
    qu_pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        int spins = 0;
        while (atomic_load_explicit(&p->run, memory_order_acquire) == seen && !atomic_load(&p->stop)) {
            if (++spins < SPINS) {
                relax();
                continue;
            }
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->sleepers, 1);
            while (atomic_load(&p->run) == seen && !atomic_load(&p->stop))
                pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_sub(&p->sleepers, 1);
            pthread_mutex_unlock(&p->lock);
        }
        if (atomic_load(&p->stop)) return NULL;
        seen = atomic_load_explicit(&p->run, memory_order_acquire);
        take_items(p, w->index);
        atomic_fetch_sub_explicit(&p->busy, 1, memory_order_release);
    }
}

qu_status qu_pool_create(qu_pool **out, int n_threads, qu_err *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return qu_fail(err, QU_ERR_ARG, "cannot run %d threads: give 1 to 1024", n_threads);
    qu_pool *p = calloc(1, sizeof *p);
    if (!p) return qu_fail_nomem(err, sizeof *p);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    if (!p->workers) {
        free(p);
        return qu_fail_nomem(err, n_threads * (long long)sizeof(worker));
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->n_threads = 1;
    for (int i = 1; i < n_threads; i++) {
        worker *w = &p->workers[i - 1];
        w->pool = p;
        w->index = i;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            qu_pool_free(p);
            return qu_fail(err, QU_ERR_NOMEM, "cannot start thread %d of %d", i + 1, n_threads);
        }
        p->n_threads = i + 1;
    }
    *out = p;
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

void qu_pool_run(qu_pool *p, int64_t n_items, void (*body)(void *, int64_t, int), void *ctx)
{
    if (!p || p->n_threads == 1 || n_items <= 1) {
        for (int64_t i = 0; i < n_items; i++) body(ctx, i, 0);
        return;
    }
    p->n_items = n_items;
    p->body = body;
    p->ctx = ctx;
    atomic_store(&p->next, 0);
    atomic_store(&p->busy, p->n_threads - 1);
    pthread_mutex_lock(&p->lock); /* orders this run before a worker that is about to sleep */
    atomic_fetch_add(&p->run, 1);
    if (atomic_load(&p->sleepers) > 0) pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    take_items(p, 0);
    for (int spins = 0; atomic_load_explicit(&p->busy, memory_order_acquire) > 0; spins++) {
        if (spins < SPINS) relax();
        else sched_yield(); /* the last worker lost its processor to somebody else */
    }
}
