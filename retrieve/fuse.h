/* One list of hits from two: words and vectors.
 *
 *     qu_fuse(hits, &n, k, words, n_words, vectors, n_vectors, .5f, false);
 *
 * score = words + weight * best words' score * v, v the vector's score stretched over its list to
 * 0..1. A page that only one list has gets nothing from the other. So weight 0 gives the list of
 * words, hit for hit and score for score, and the scale of scores stays that of words (the floor of
 * retrieve/plan.h keeps its meaning). Where no word was found the vectors' v is the score.
 */
#ifndef QU_RETRIEVE_FUSE_H
#define QU_RETRIEVE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "index/lexical.h"

/* The best k of both lists into hits [k], best first, ties by (doc_id, page); *n_hits <= k. Lists
 * are best first. files: a document counts once, with its best score of each list; its page is the
 * one found by words. Errors: QU_ERR_NOMEM. */
qu_status qu_fuse(qu_lexical_hit *hits, int32_t *n_hits, int32_t k, const qu_lexical_hit *words,
                  int32_t n_words, const qu_lexical_hit *vectors, int32_t n_vectors, float weight,
                  bool files, qu_err *err);

#endif
