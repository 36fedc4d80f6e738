#include "retrieve/fuse.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int by_page(const void *a, const void *b)
{
    const qu_lexical_hit *x = a, *y = b;
    if (x->doc_id != y->doc_id) return x->doc_id < y->doc_id ? -1 : 1;
    return (x->page > y->page) - (x->page < y->page);
}

static int best_first(const void *a, const void *b)
{
    const qu_lexical_hit *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return by_page(a, b);
}

/* The place of a hit's page, or with files of its document, among sorted all [n]; NULL: nowhere. */
static qu_lexical_hit *find(qu_lexical_hit *all, int32_t n, const qu_lexical_hit *hit, bool files)
{
    int32_t lo = 0, hi = n;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        bool before = all[mid].doc_id < hit->doc_id ||
                      (!files && all[mid].doc_id == hit->doc_id && all[mid].page < hit->page);
        if (before) lo = mid + 1;
        else hi = mid;
    }
    bool same = lo < n && all[lo].doc_id == hit->doc_id && (files || all[lo].page == hit->page);
    return same ? &all[lo] : NULL;
}

qu_status qu_fuse(qu_lexical_hit *hits, int32_t *n_hits, int32_t k, const qu_lexical_hit *words,
                  int32_t n_words, const qu_lexical_hit *vectors, int32_t n_vectors, float weight,
                  bool files, qu_err *err)
{
    int32_t n = n_words;
    QU_OWN(qu_freep)
    qu_lexical_hit *all = malloc(((size_t)n_words + (size_t)n_vectors + 1) * sizeof *all);
    *n_hits = 0;
    if (!all) return qu_fail_nomem(err, (n_words + n_vectors) * (long long)sizeof *all);
    if (n_words > 0) memcpy(all, words, (size_t)n_words * sizeof *all);
    if (n_words > 0) qsort(all, (size_t)n_words, sizeof *all, by_page);
    float best = n_words > 0 ? words[0].score : 1;
    for (int32_t i = 0; i < n_vectors && weight > 0; i++) {
        float low = vectors[n_vectors - 1].score, range = vectors[0].score - low;
        float v = weight * best * (range > 0 ? (vectors[i].score - low) / range : 1);
        qu_lexical_hit *known = find(all, n_words, &vectors[i], files);
        if (known) {
            known->score += v;
        } else {
            all[n] = vectors[i];
            all[n++].score = v;
        }
    }
    if (n > 0) qsort(all, (size_t)n, sizeof *all, best_first);
    for (; *n_hits < n && *n_hits < k; ++*n_hits) hits[*n_hits] = all[*n_hits];
    return QU_OK;
}
