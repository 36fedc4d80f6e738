/* Several contexts stepping side by side: one reading of the weights serves all of them.
 *
 *     qu_batch *b;
 *     QU_TRY(qu_batch_create(&b, pool, err));
 *     // in each of several threads, with a context of its own that was created without a pool:
 *     qu_context_batch(c, b);
 *     qu_batch_enter(b);
 *     ... qu_context_step(c, ...), as often as need be ...
 *     qu_batch_leave(b);
 *
 * A thread that has entered and comes to a product of its step waits there until every other one
 * that has entered has come to one, too; the products that are least far in their pass are then
 * made together, by the pool. So those that enter late catch up and go on with the rest. Attention
 * is each thread's own. Since a row's bits do not depend on its company (kernels/linear.h), a
 * context gives what it gives alone, bit for bit.
 *
 * Between enter and leave a thread must not wait for another one of them but here.
 */
#ifndef QU_DECODE_BATCH_H
#define QU_DECODE_BATCH_H

#include "base/pool.h"
#include "decode/context.h"

typedef struct qu_batch qu_batch;

/* pool is borrowed and used by one thread at a time; NULL: none. Errors: QU_ERR_NOMEM. */
qu_status qu_batch_create(qu_batch **b, qu_pool *pool, qu_err *err);

/* Nobody may be inside. NULL is fine. */
void qu_batch_free(qu_batch *b);

/* The calling thread takes part, or no longer. */
void qu_batch_enter(qu_batch *b);
void qu_batch_leave(qu_batch *b);

/* The products of c's steps (not of its prefills) go through b from now on; NULL: no longer. */
void qu_context_batch(qu_context *c, qu_batch *b);

#endif
