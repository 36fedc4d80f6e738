/* Where the end of a growing text has stood before: the longest suffix of it that occurs in given
 * texts or earlier in itself, and what followed there. The cheapest drafter there is: answers and
 * summaries repeat their pages.
 *
 *     qu_suffix *s;
 *     QU_TRY(qu_suffix_create(&s, n_vocab, err));
 *     for each page: QU_TRY(qu_suffix_add(s, ids, n, joined, err));
 *     for each token of the question and the answer: QU_TRY(qu_suffix_next(s, id, err));
 *     n = qu_suffix_follow(s, ids, 15);       // what followed the longest match, up to 15 tokens
 *
 * No automaton and no sorted array: each token has the chain of its places, and a match is carried
 * from place p - 1 to place p where the next token stands in the chain. Nothing is built before the
 * first token, a token costs its own occurrences, and all lengths are exact (DESIGN.md section 12
 * has the comparison). A suffix index belongs to one thread.
 */
#ifndef QU_DECODE_SUFFIX_H
#define QU_DECODE_SUFFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"

typedef struct qu_suffix qu_suffix;

/* Ids are 0 .. n_vocab - 1. Errors: QU_ERR_NOMEM. */
qu_status qu_suffix_create(qu_suffix **s, int32_t n_vocab, qu_err *err);
void qu_suffix_free(qu_suffix *s);
QU_OWNER(qu_suffix, qu_suffix_free)

/* Add a text to search in, before the first qu_suffix_next. joined: it continues the one added
 * before, and matches may run across. Errors: QU_ERR_ARG (an id outside the vocabulary),
 * QU_ERR_NOMEM; the text is then not added. */
qu_status qu_suffix_add(qu_suffix *s, const int32_t *ids, int32_t n, bool joined, qu_err *err);

/* The growing text has one more token. Errors: as add. */
qu_status qu_suffix_next(qu_suffix *s, int32_t id, qu_err *err);

/* Length of the longest suffix of the growing text that has occurred before with a token after it;
 * 0: none. */
int32_t qu_suffix_length(const qu_suffix *s);

/* Copy what followed there, at most n tokens up to the end of that text; returns how many. Among
 * equally long matches the first one counts. */
int32_t qu_suffix_follow(const qu_suffix *s, int32_t *ids, int32_t n);

#endif
