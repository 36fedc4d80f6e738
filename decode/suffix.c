#include "decode/suffix.h"

#include <stdlib.h>
#include <string.h>

/* All texts in one array, the growing one last. */
struct qu_suffix {
    int32_t n_vocab, n, cap;
    int32_t *text;             /* [n] ids, -1 between texts */
    int32_t *before;           /* [n] the place of the same id before this one; -1 none */
    int32_t *length;           /* [n] of the match that ends here, if when says now */
    int32_t *when;             /* [n] the token of the growing text that length belongs to */
    int32_t *last;             /* [n_vocab] the last place of each id, + 1 */
    int32_t now;               /* tokens of the growing text */
    int32_t best, best_length; /* where the longest match ends */
};

qu_status qu_suffix_create(qu_suffix **out, int32_t n_vocab, qu_err *err)
{
    qu_suffix *s = *out = calloc(1, sizeof *s);
    if (!s) return qu_fail_nomem(err, sizeof *s);
    s->n_vocab = n_vocab;
    s->best = -1;
    s->last = calloc((size_t)n_vocab + 1, sizeof *s->last);
    if (s->last) return QU_OK;
    qu_suffix_free(s);
    *out = NULL;
    return qu_fail_nomem(err, n_vocab * 4ll);
}

void qu_suffix_free(qu_suffix *s)
{
    if (!s) return;
    free(s->text);
    free(s->before);
    free(s->length);
    free(s->when);
    free(s->last);
    free(s);
}

static bool grow(int32_t **p, int32_t cap)
{
    int32_t *q = realloc(*p, (size_t)cap * sizeof *q);
    if (q) *p = q;
    return q != NULL;
}

static qu_status need(qu_suffix *s, int64_t more, qu_err *err)
{
    if (s->n + more <= s->cap) return QU_OK;
    int64_t cap = (s->n + more) * 2;
    if (cap > INT32_MAX / 4) return qu_fail(err, QU_ERR_NOMEM, "too much text to draft from");
    if (!grow(&s->text, (int32_t)cap) || !grow(&s->before, (int32_t)cap) ||
        !grow(&s->length, (int32_t)cap) || !grow(&s->when, (int32_t)cap))
        return qu_fail_nomem(err, cap * 4);
    s->cap = (int32_t)cap;
    return QU_OK;
}

static void put(qu_suffix *s, int32_t id)
{
    s->text[s->n] = id;
    s->before[s->n] = -1;
    s->when[s->n] = 0;
    if (id >= 0) {
        s->before[s->n] = s->last[id] - 1;
        s->last[id] = s->n + 1;
    }
    s->n++;
}

static qu_status check(const qu_suffix *s, int32_t id, qu_err *err)
{
    if (id >= 0 && id < s->n_vocab) return QU_OK;
    return qu_fail(err, QU_ERR_ARG, "token id %d is outside the vocabulary of %d", id, s->n_vocab);
}

qu_status qu_suffix_add(qu_suffix *s, const int32_t *ids, int32_t n, bool joined, qu_err *err)
{
    for (int32_t i = 0; i < n; i++) QU_TRY(check(s, ids[i], err));
    QU_TRY(need(s, n + 1ll, err));
    if (!joined && s->n > 0) put(s, -1);
    for (int32_t i = 0; i < n; i++) put(s, ids[i]);
    return QU_OK;
}

qu_status qu_suffix_next(qu_suffix *s, int32_t id, qu_err *err)
{
    QU_TRY(check(s, id, err));
    QU_TRY(need(s, 2, err));
    if (s->now == 0 && s->n > 0) put(s, -1);
    int32_t was = s->now++;
    s->best_length = 0;
    s->best = -1;
    /* From the last place back, so that the length at p - 1 is still that of the token before. */
    for (int32_t p = s->last[id] - 1; p >= 0; p = s->before[p]) {
        bool goes_on = was > 0 && p > 0 && s->when[p - 1] == was;
        s->length[p] = goes_on ? s->length[p - 1] + 1 : 1;
        s->when[p] = s->now;
        if (p + 1 < s->n && s->text[p + 1] < 0) continue; /* nothing follows */
        if (s->length[p] >= s->best_length) {
            s->best = p;
            s->best_length = s->length[p];
        }
    }
    put(s, id);
    return QU_OK;
}

int32_t qu_suffix_length(const qu_suffix *s)
{
    return s->best_length;
}

/* At the end of the growing text the copy goes on with itself: a loop stays one. */
int32_t qu_suffix_follow(const qu_suffix *s, int32_t *ids, int32_t n)
{
    int32_t k = 0, from = s->best + 1;
    if (s->best < 0) return 0;
    for (; k < n; k++) {
        int32_t id = from + k < s->n ? s->text[from + k] : ids[k - (s->n - from)];
        if (id < 0) break;
        ids[k] = id;
    }
    return k;
}
