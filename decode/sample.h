/* Choosing the next token from a row of logits.
 *
 *     qu_sample s = {.temperature = .8f, .top_p = .95f, .seed = 7};
 *     QU_TRY(qu_sample_pick(&id, logits, n_vocab, &s, n_generated, err));
 *
 * A pure function: the same logits, options and `at` give the same token. There is no state to
 * carry, so a rewound sequence draws the same tokens again. Threads: any number at a time.
 */
#ifndef QU_DECODE_SAMPLE_H
#define QU_DECODE_SAMPLE_H

#include <stdint.h>

#include "base/status.h"

enum { QU_SAMPLE_MAX_TOP_K = 1024 };

/* Zero-initialised: greedy. */
typedef struct qu_sample {
    float temperature; /* 0 = greedy; logits are divided by it */
    int32_t top_k;     /* draw among the k best; 0 = all; at most QU_SAMPLE_MAX_TOP_K */
    float top_p; /* then among the fewest best ones that hold this share of their mass; 0 or 1 = all
                  */
    uint64_t seed;
} qu_sample;

/* Index of the largest of n logits, the lowest one among equals; NaN is never the largest. n >= 1.
 */
int32_t qu_sample_greedy(const float *logits, int32_t n);

/* Pick a token from logits [n]. at numbers the draws of one sequence: each has its own random
 * number, made from seed and at. Equal logits rank by id. A logit that is NaN or -INF is never
 * drawn (greedy's choice is returned where nothing else is left). Errors: QU_ERR_ARG (an option
 * outside its range), QU_ERR_NOMEM. */
qu_status qu_sample_pick(int32_t *id, const float *logits, int32_t n, const qu_sample *opts,
                         uint64_t at, qu_err *err);

#endif
