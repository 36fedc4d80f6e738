#include "decode/paging.h"

#include "base/dims.h"
#include "base/memory.h"

enum { NO_CUT = 100 };

static int is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* rank[i] = best rank of the cut points that token i begins at, NO_CUT where there is none. From
 * the end, so that one pass finds what can be reached over white space alone. Tokens that begin
 * inside a character (offsets not at a border) never qualify, since cut points are characters. */
static void rank_tokens(int8_t *rank, int64_t n_tokens, const int64_t *at, const qu_cut *cuts,
                        int64_t n_cuts, const char *text)
{
    int64_t c = n_cuts - 1, p = at[n_tokens - 1];
    int8_t best = NO_CUT;
    if (c >= 0 && cuts[c].at > p) p = cuts[c].at;
    for (int64_t i = n_tokens - 1; i >= 0; i--) {
        for (; p >= at[i]; p--) {
            if (!is_space(text[p])) best = NO_CUT;
            for (; c >= 0 && cuts[c].at == p; c--)
                if (cuts[c].rank < best) best = cuts[c].rank;
        }
        rank[i] = i > 0 && at[i] == at[i - 1] ? NO_CUT : best;
    }
}

qu_status qu_paging_cut(int64_t **ends, int32_t *n_pages, int64_t n_tokens, const int64_t *at,
                        const qu_cut *cuts, int64_t n_cuts, const char *text, qu_err *err)
{
    *ends = NULL;
    *n_pages = 0;
    if (n_tokens == 0) return QU_OK;
    int64_t most = n_tokens / (QU_PAGE_TOKENS / 2) + 1;
    if (most > INT32_MAX / 2)
        return qu_fail(err, QU_ERR_LIMIT, "document of %lld tokens is too long",
                       (long long)n_tokens);
    QU_OWN(qu_freep) int8_t *rank = NULL;
    QU_TRY(qu_memory_take(&rank, n_tokens, 1, err));
    qu_status st = qu_memory_take(ends, most, sizeof **ends, err);
    rank_tokens(rank, n_tokens, at, cuts, n_cuts, text);
    for (int64_t start = 0; st == QU_OK && start < n_tokens;) {
        int64_t end = n_tokens, last = start + QU_PAGE_TOKENS;
        if (last < n_tokens) {
            end = last;
            for (int64_t i = last; i >= start + QU_PAGE_TOKENS / 2; i--)
                if (rank[i] < rank[end]) end = i;
        }
        (*ends)[(*n_pages)++] = end;
        start = end;
    }
    return st;
}
