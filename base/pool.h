/* The one thread pool. Work is an index range; a worker takes the next index when it is free.
 *
 *     qu_pool_run(pool, n_items, body, &args);   // body(args, item, worker), item in [0, n_items)
 *
 * Results must not depend on which worker runs an item: that is the numerics rule (docs/DESIGN.md),
 * and it keeps answers equal for every thread count. The calling thread takes part as worker 0. One
 * run at a time a pool; body must not start another. NULL pool = run in the caller.
 */
#ifndef QU_BASE_POOL_H
#define QU_BASE_POOL_H

#include <stdint.h>

#include "base/memory.h"

typedef struct qu_pool qu_pool;

/* Start n_threads - 1 workers (n_threads >= 1; the caller is the other one).
 * Errors: QU_ERR_ARG, QU_ERR_NOMEM. */
qu_status qu_pool_create(qu_pool **pool, int n_threads, qu_err *err);
void qu_pool_free(qu_pool *pool);
QU_OWNER(qu_pool, qu_pool_free)

/* Threads that run bodies, the caller included; 1 for NULL. */
int qu_pool_threads(const qu_pool *pool);

/* Call body(ctx, item, worker) once for every item in [0, n_items), worker in [0, threads). Returns
 * when all are done. */
void qu_pool_run(qu_pool *pool, int64_t n_items, void (*body)(void *ctx, int64_t item, int worker),
                 void *ctx);

#endif
