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

#include <stdbool.h>
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
    float repetition; /* the caller's penalty (qu_sample_penalise); 0 or 1 = none. Last: pick
                       * itself takes the logits as they are */
} qu_sample;

/* Index of the largest of n logits, the lowest one among equals; NaN is never the largest. n >= 1.
 */
int32_t qu_sample_greedy(const float *logits, int32_t n);

/* The greedy choice and its share of the logits' softmax; id -1 where one is not finite. */
typedef struct qu_choice {
    int32_t id;
    double share;
} qu_choice;

/* The share of id in the softmax of n logits. */
double qu_sample_share(const float *logits, int32_t n, int32_t id);

/* Pick a token from logits [n]. at numbers the draws of one sequence: each has its own random
 * number, made from seed and at. Equal logits rank by id. A logit that is NaN or -INF is never
 * drawn (greedy's choice is returned where nothing else is left). Errors: QU_ERR_ARG (an option
 * outside its range), QU_ERR_NOMEM. */
qu_status qu_sample_pick(int32_t *id, const float *logits, int32_t n, const qu_sample *opts,
                         uint64_t at, qu_err *err);


/* Make tokens that have been said less likely: logits of the distinct ids are divided by penalty
 * where above 0, multiplied where below. */
void qu_sample_penalise(float *logits, const int32_t *ids, int32_t n, float penalty);

/* The shares that qu_sample_pick draws with: p [n], summing to 1; greedy: all on its choice.
 * Errors: as qu_sample_pick. */
qu_status qu_sample_shares(float *p, const float *logits, int32_t n, const qu_sample *opts,
                           qu_err *err);

/* Draw from shares q [n] as a drafter does: with other random numbers than picks have. */
int32_t qu_sample_propose(const float *q, int32_t n, uint64_t seed, uint64_t at);

/* Verify a token that was drawn from q [n] against the target's shares p [n]: *id is the drafted
 * one if accepted (true), else one drawn from the residual. With p'(x) = p(x) exp(eta (q(x) -
 * p(x))) / sum, the exponent being 0 where q(x) < .1 max q: accept iff u <= p'(drafted) /
 * q(drafted); the residual is max(p - p', p - q, 0), normalised. So *id is distributed as p if eta
 * is 0, and otherwise moved towards q. p1 [n] is scratch. Source: RAPID, arXiv:2502.20330, equation
 * 5: softmax(z / T + eta (q - p)) in terms of p. */
bool qu_sample_verify(int32_t *id, const float *p, const float *q, float *p1, int32_t n,
                      int32_t drafted, float eta, uint64_t seed, uint64_t at);

#endif
