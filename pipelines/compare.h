/* How far the answers of one fidelity are from those of a fresh prefill: the exact answer's tokens
 * are put through the other context one by one, and the choices at each are compared.
 *
 *     qu_compare *c;
 *     QU_TRY(qu_compare_create(&c, &session, &options, err));
 *     QU_TRY(qu_compare_exact(c, question, &exact, err));                  // the reference
 *     QU_TRY(qu_compare_with(c, QU_FIDELITY_KV, &difference, &answer, err)); // any number
 *     QU_TRY(qu_compare_free(c, QU_OK, err));
 *
 * Both also give the fidelity's own greedy answer, to be freed by the caller. One thread.
 */
#ifndef QU_PIPELINES_COMPARE_H
#define QU_PIPELINES_COMPARE_H

#include "pipelines/answer.h"

enum { QU_COMPARE_KL_TOKENS = 8 }; /* first tokens of an answer that the divergence is taken over */

typedef struct qu_compare qu_compare;

/* Counts that can be added up over questions. positions: tokens of the exact answer, what ends it
 * included; agree: of these, the same likeliest token; kl: sum over kl_positions, the first
 * QU_COMPARE_KL_TOKENS, of KL(exact || this) in nats. */
typedef struct qu_difference {
    int64_t positions, agree, kl_positions;
    double kl;
    bool same; /* the greedy answers are equal token by token */
} qu_difference;

/* options: as for qu_asker_create; fidelity and choose are set here, answers are greedy. */
qu_status qu_compare_create(qu_compare **c, qu_session *s, const qu_ask_options *options,
                            qu_err *err);

/* Free, saving KV that was made: st and err as for qu_asker_free. NULL is fine. */
qu_status qu_compare_free(qu_compare *c, qu_status st, qu_err *err);

/* The exact answer to a question becomes the reference. *answer as from qu_asker_ask. */
qu_status qu_compare_exact(qu_compare *c, const char *question, qu_answer *answer, qu_err *err);

/* The same question another way. answer NULL: only the difference is wanted. */
qu_status qu_compare_with(qu_compare *c, qu_fidelity fidelity, qu_difference *d, qu_answer *answer,
                          qu_err *err);

/* Add one question's counts to a sum; sum->same stays true while all were. */
void qu_difference_add(qu_difference *sum, const qu_difference *d);

#endif
