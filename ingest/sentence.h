/* Sentence boundaries by rules that need no language: used for cut points and for extractive
 * answers.
 *
 *     qu_sentences s = {0};
 *     QU_TRY(qu_sentences_find(&s, text, 0, n, err));
 *     for (int64_t i = 0; i < s.n; i++) sentence i is [s.starts[i], i + 1 < s.n ? s.starts[i + 1] :
 * n) qu_sentences_free(&s);
 *
 * A sentence ends after . ! ? or an ellipsis, closing quotes and brackets included, when white
 * space and then an upper-case letter, a digit, an opening quote or bracket or a letter of a script
 * without case follow; after a full-width mark at once; at a blank line; before a line that begins
 * with a list marker or
 * '#'; and, once it is longer than QU_SENTENCE_LONG_BYTES, at any line end. Known abbreviations,
 * initials and decimals do not end one.
 */
#ifndef QU_INGEST_SENTENCE_H
#define QU_INGEST_SENTENCE_H

#include <stdint.h>

#include "base/status.h"

enum { QU_SENTENCE_LONG_BYTES = 400 };

/* Zero-initialise; set n = 0 to reuse the memory. */
typedef struct qu_sentences {
    int64_t *starts; /* text offsets, strictly increasing within one call's results */
    int64_t n, cap;
} qu_sentences;

/* Append the start of every sentence of text[start, end), which must be valid UTF-8 and begin and
 * end at character borders. The first is the first non-space; white space before the next start
 * belongs to the sentence before it. Nothing is appended for blank text. Linear time. Errors:
 * QU_ERR_NOMEM. */
qu_status qu_sentences_find(qu_sentences *s, const char *text, int64_t start, int64_t end,
                            qu_err *err);

void qu_sentences_free(qu_sentences *s);

#endif
