/* Which places in the pages an answer rests on.
 *
 *     qu_support_span spans[3];
 *     QU_TRY(qu_support_find(spans, 3, &n, question, answer, n_answer, texts, n_texts, err));
 *
 * Each sentence of the candidate texts is scored by how much of the answer it holds: the whole
 * answer word by word in order (folded as the index folds), or else the share of its words; the
 * question's words and the page's retrieval score decide between equals. A sentence supports the
 * answer if it holds all of it, or at least QU_SUPPORT_SHARE of its words. Thread rule: no state.
 */
#ifndef QU_RETRIEVE_SUPPORT_H
#define QU_RETRIEVE_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define QU_SUPPORT_SHARE 0.6f

/* A candidate text, borrowed: n bytes of UTF-8 (other bytes are harmless). prior in 0..1: its
 * retrieval score over the best one's. */
typedef struct qu_support_text {
    const char *text;
    int64_t n;
    float prior;
} qu_support_text;

/* A sentence, half-open bytes in its text, trimmed of white space. score 0..1. */
typedef struct qu_support_span {
    int32_t text;
    int64_t start, end;
    float score;
    bool supported;
    bool verbatim;           /* the answer's words stand there in order */
} qu_support_span;

/* The up to k best sentences, best first, at most one a text; *n of them. An empty answer is scored
 * by the question alone and nothing is supported then. Errors: QU_ERR_NOMEM. */
qu_status qu_support_find(qu_support_span *spans, int32_t k, int32_t *n, const char *question,
                          const char *answer, size_t n_answer, const qu_support_text *texts,
                          int32_t n_texts, qu_err *err);

#endif
