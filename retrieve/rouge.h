/* ROUGE-1, -2 and -L: how much of a reference summary's words, pairs and word order another summary
 * has, number for number as PyPI rouge-score 0.1.2 counts with its default tokenizer and no stemmer:
 * words are runs of a-z and 0-9 after lower-casing, so other scripts have none; pairs are counted
 * with their repetitions; l is the longest common subsequence of the whole texts.
 *
 *     qu_rouge r;
 *     QU_TRY(qu_rouge_score(&r, summary, n, reference, n_reference, err));
 *     printf("%.3f\n", r.two.f1);
 *
 * Pure function; any thread. Source: Lin, ROUGE, 2004.
 */
#ifndef QU_RETRIEVE_ROUGE_H
#define QU_RETRIEVE_ROUGE_H

#include <stddef.h>

#include "base/status.h"

typedef struct qu_rouge_value {
    double precision, recall, f1;
} qu_rouge_value;

typedef struct qu_rouge {
    qu_rouge_value one, two, l;
} qu_rouge;

/* Score n bytes of candidate against n_reference of reference, both UTF-8. Texts without a word score
 * 0. Errors: QU_ERR_LIMIT (so long that there are more than 2^26 pairs of words), QU_ERR_NOMEM. */
qu_status qu_rouge_score(qu_rouge *r, const char *candidate, size_t n, const char *reference,
                         size_t n_reference, qu_err *err);

#endif
