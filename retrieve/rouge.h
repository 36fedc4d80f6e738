/* ROUGE: how much of a reference summary's words, pairs and word order another summary has. Two
 * published programs of that name differ; both are here, number for number.
 *
 *   rouge-score  PyPI rouge-score 0.1.2, its default tokenizer, no stemmer. Words: runs of a-z and
 *                0-9 after lower-casing, so other scripts have none. Pairs are counted with their
 *                repetitions. l: longest common subsequence of the whole texts; lsum: the union
 *                over lines, a word counted no oftener than it stands in either text.
 *   rouge        PyPI rouge 1.0.1. Words: what stands between white space, case and all; sentences
 *                end at each '.'; everything is a set, repetitions aside; l: the set of words in
 *                any common subsequence of a sentence of each. There is no lsum: it is 0. f1 has
 *                1e-8 in its divisor.
 *
 *     qu_rouge r;
 *     QU_TRY(qu_rouge_score(&r, QU_ROUGE_SCORE, summary, n, reference, n_reference, err));
 *     printf("%.3f\n", r.two.f1);
 *
 * Pure function; any thread. Source: Lin, ROUGE, 2004.
 */
#ifndef QU_RETRIEVE_ROUGE_H
#define QU_RETRIEVE_ROUGE_H

#include <stddef.h>

#include "base/status.h"

typedef enum qu_rouge_flavour { QU_ROUGE_SCORE = 0, QU_ROUGE_SETS = 1 } qu_rouge_flavour;

/* Their names, in order. */
#define QU_ROUGE_NAMES "rouge-score|rouge"

typedef struct qu_rouge_value {
    double precision, recall, f1;
} qu_rouge_value;

typedef struct qu_rouge {
    qu_rouge_value one, two, l, lsum;
} qu_rouge;

/* Score n bytes of candidate against n_reference of reference, both UTF-8. Texts without a word
 * score 0 (where rouge 1.0.1 raises an error, too). Errors: QU_ERR_LIMIT (so long that the table of
 * a subsequence would take more than 256 MB), QU_ERR_NOMEM. */
qu_status qu_rouge_score(qu_rouge *r, qu_rouge_flavour flavour, const char *candidate, size_t n,
                         const char *reference, size_t n_reference, qu_err *err);

#endif
