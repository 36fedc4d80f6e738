/* Scores of answers and their uncertainty.
 *
 *     double f1;
 *     bool right;
 *     QU_TRY(qu_score_answer("The Ferry!", golds, &right, &f1, err)); // golds: array of strings
 *     qu_score_ratio(kv, exact, n, seed, &ratio, &low, &high);
 *
 * Answers are compared as SQuAD 1.1 does: lower case, without ASCII punctuation, without the words
 * a, an and the, white space apart. Pure functions; any number of threads.
 */
#ifndef QU_PIPELINES_SCORE_H
#define QU_PIPELINES_SCORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { QU_SCORE_MAX_BYTES = 1 << 14 }; /* of a normalised answer; what is longer is cut */

/* answer in that form, appended to out, words parted by one blank. Errors: QU_ERR_NOMEM. */
qu_status qu_score_normalise(qu_buf *out, const char *answer, qu_err *err);

/* Best over golds (strings; others are passed over): *f1 the words' F1, *exact whether one is
 * equal. No golds: an empty answer is right. Errors: QU_ERR_NOMEM. */
qu_status qu_score_answer(const char *answer, const json_t *golds, bool *exact, double *f1,
                          qu_err *err);

/* Half the width of the 95% interval of the mean of n values, given by their sum and that of their
 * squares. */
double qu_score_half_width(double sum, double squares, double n);

/* sum a / sum b over n paired values and its 95% interval: a bootstrap of 2,000 draws of pairs. NaN
 * where the sum of b is 0. */
void qu_score_ratio(const double *a, const double *b, int64_t n, uint64_t seed, double *ratio,
                    double *low, double *high);

/* For qsort of doubles. */
int qu_score_ascending(const void *a, const void *b);

/* [low, high] for a result, each null unless finite. */
json_t *qu_score_range(const double range[2]);

/* The next number of a seeded sequence. */
uint64_t qu_score_random(uint64_t *state);

#endif
