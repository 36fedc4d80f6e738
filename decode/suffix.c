#include "decode/suffix.h"

#include "base/memory.h"

/* A token of any text. */
typedef struct place {
    int32_t id;     /* -1 between texts */
    int32_t before; /* the place of the same id before this one; -1 none */
    int32_t length; /* of the match that ends here, if when says now */
    int32_t when;   /* the token of the growing text that length belongs to */
} place;

struct qu_suffix {
    int32_t n_vocab, n;
    place *at; /* [n] all texts, the growing one last */
    int64_t cap;
    int32_t *last;             /* [n_vocab] the last place of each id, + 1 */
    int32_t now;               /* tokens of the growing text */
    int32_t best, best_length; /* where the longest match ends */
};

qu_status qu_suffix_create(qu_suffix **out, int32_t n_vocab, qu_err *err)
{
    qu_suffix *s;
    *out = NULL;
    QU_TRY(qu_memory_take(&s, 1, sizeof *s, err));
    s->n_vocab = n_vocab;
    s->best = -1;
    qu_status st = qu_memory_take(&s->last, n_vocab, sizeof *s->last, err);
    if (st == QU_OK)
        *out = s;
    else
        qu_suffix_free(s);
    return st;
}

void qu_suffix_free(qu_suffix *s)
{
    if (!s) return;
    free(s->at);
    free(s->last);
    free(s);
}

static qu_status need(qu_suffix *s, int64_t more, qu_err *err)
{
    if (s->n + more > INT32_MAX / 4)
        return qu_fail(err, QU_ERR_NOMEM, "too much text to draft from");
    return qu_memory_grow(&s->at, &s->cap, s->n + more, sizeof *s->at, err);
}

static void put(qu_suffix *s, int32_t id)
{
    s->at[s->n] = (place){.id = id, .before = id >= 0 ? s->last[id] - 1 : -1};
    if (id >= 0) s->last[id] = s->n + 1;
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
    for (int32_t p = s->last[id] - 1; p >= 0; p = s->at[p].before) {
        place *x = &s->at[p];
        bool goes_on = was > 0 && p > 0 && x[-1].when == was;
        x->length = goes_on ? x[-1].length + 1 : 1;
        x->when = s->now;
        if (p + 1 < s->n && x[1].id < 0) continue; /* nothing follows */
        if (x->length >= s->best_length) {
            s->best = p;
            s->best_length = x->length;
        }
    }
    put(s, id);
    return QU_OK;
}

int32_t qu_suffix_length(const qu_suffix *s) { return s->best_length; }

/* At the end of the growing text the copy goes on with itself: a loop stays one. */
int32_t qu_suffix_follow(const qu_suffix *s, int32_t *ids, int32_t n)
{
    int32_t k = 0, from = s->best + 1;
    if (s->best < 0) return 0;
    for (; k < n; k++) {
        int32_t id = from + k < s->n ? s->at[from + k].id : ids[k - (s->n - from)];
        if (id < 0) break;
        ids[k] = id;
    }
    return k;
}
