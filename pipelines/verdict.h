/* What `quire verify` found about a store's pages, kept in its catalogue for the binding and codec
 * of the store and the numerics class of the process that measured: another class has no verdict.
 *
 *     qu_verdict v;
 *     QU_TRY(qu_verdict_load(&v, &session, err));
 *     if (!v.known || !v.kv.passed) ...
 */
#ifndef QU_PIPELINES_VERDICT_H
#define QU_PIPELINES_VERDICT_H

#include "pipelines/session.h"

/* One fidelity beside exact. */
typedef struct qu_verdict_mode {
    bool passed;
    int64_t positions;          /* tokens compared */
    double agreement, kl, same; /* mean top-1 agreement, mean KL in nats, share of equal answers */
} qu_verdict_mode;

typedef struct qu_verdict {
    bool known;
    int64_t questions, at_ms; /* how many; wall clock */
    qu_verdict_mode kv, repair;
} qu_verdict;

/* s: store and model open. No verdict, or one that cannot be read: known false. Errors: those of
 * the catalogue. */
qu_status qu_verdict_load(qu_verdict *v, const qu_session *s, qu_err *err);

/* s: store open for writing. Errors: those of the catalogue. */
qu_status qu_verdict_save(const qu_verdict *v, qu_session *s, qu_err *err);

#endif
