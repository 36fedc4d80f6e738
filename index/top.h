/* The k best of many scored things, in order.
 *
 *     qu_top_put(best, k, &n, (qu_top){score, id});        // for each: best [k], n of them so far
 *
 * Of equal scores the smaller id is better, so the result does not depend on the order of putting.
 * Most of what is put is worse than the worst that is kept; the rest moves those behind it.
 */
#ifndef QU_INDEX_TOP_H
#define QU_INDEX_TOP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct qu_top {
    float score;
    uint64_t id;
} qu_top;

static inline bool qu_top_better(qu_top a, qu_top b)
{
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

/* Keep the best k of what is put, best first. */
static inline void qu_top_put(qu_top *best, int32_t k, int32_t *n, qu_top c)
{
    int32_t i = *n;
    if (i == k && (k == 0 || !qu_top_better(c, best[--i]))) return;
    if (*n < k) ++*n;
    for (; i > 0 && qu_top_better(c, best[i - 1]); i--) best[i] = best[i - 1];
    best[i] = c;
}

#endif
