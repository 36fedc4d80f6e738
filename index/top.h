/* The k best of many scored things: a heap whose root is the worst that is kept.
 *
 *     qu_top_put(heap, k, &n, (qu_top){score, id});        // for each
 *     if (n > 0) qsort(heap, n, sizeof *heap, qu_top_best_first);
 *
 * Of equal scores the smaller id is better, so the result does not depend on the order of putting.
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

/* Keep the best k of what is put into heap [k]; *n of them so far. */
static inline void qu_top_put(qu_top *heap, int32_t k, int32_t *n, qu_top c)
{
    int32_t i;
    if (*n < k) {
        for (i = (*n)++; i > 0 && qu_top_better(heap[(i - 1) / 2], c); i = (i - 1) / 2)
            heap[i] = heap[(i - 1) / 2];
        heap[i] = c;
        return;
    }
    if (k == 0 || !qu_top_better(c, heap[0])) return;
    for (i = 0;;) {
        int32_t kid = 2 * i + 1;
        if (kid >= k) break;
        if (kid + 1 < k && qu_top_better(heap[kid], heap[kid + 1])) kid++;
        if (!qu_top_better(c, heap[kid])) break;
        heap[i] = heap[kid];
        i = kid;
    }
    heap[i] = c;
}

/* For qsort. */
static inline int qu_top_best_first(const void *a, const void *b)
{
    const qu_top *x = a, *y = b;
    return qu_top_better(*x, *y) ? -1 : qu_top_better(*y, *x);
}

#endif
