#include "pipelines/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipelines/answer_int.h"

struct qu_compare {
    qu_asker *asker;
    int32_t vocab, n; /* n: tokens of the reference */
    int32_t *ids;     /* [max_tokens] */
    float *logits;    /* [QU_COMPARE_KL_TOKENS, V] */
    char *question;   /* NULL: no reference yet */
    bool records;     /* else its tokens are forced */
    qu_difference now;
};

/* KL(p || q) of two rows of logits. */
static double divergence(const float *p, const float *q, int32_t n)
{
    double mp = p[0], mq = q[0], sp = 0, sq = 0, sum = 0;
    for (int32_t i = 1; i < n; i++) {
        if (p[i] > mp) mp = p[i];
        if (q[i] > mq) mq = q[i];
    }
    for (int32_t i = 0; i < n; i++) {
        sp += exp(p[i] - mp);
        sq += exp(q[i] - mq);
    }
    double lp = mp + log(sp), lq = mq + log(sq);
    for (int32_t i = 0; i < n; i++) sum += exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
    return sum > 0 ? sum : 0; /* below 0 by rounding only */
}

static int32_t choose(void *ctx, int32_t i, const float *logits)
{
    qu_compare *c = ctx;
    int32_t best = qu_sample_greedy(logits, c->vocab);
    float *kept = c->logits + (int64_t)i * c->vocab;
    if (c->records) {
        c->ids[i] = best;
        c->n = i + 1;
        if (i < QU_COMPARE_KL_TOKENS) memcpy(kept, logits, (size_t)c->vocab * sizeof *kept);
        return best;
    }
    if (i >= c->n) return best;
    c->now.positions++;
    c->now.agree += best == c->ids[i];
    if (i < QU_COMPARE_KL_TOKENS) {
        c->now.kl_positions++;
        c->now.kl += divergence(kept, logits, c->vocab);
    }
    return c->ids[i];
}

static void drop(qu_compare **c) { qu_compare_free(*c, QU_ERR_ARG, NULL); }

qu_status qu_compare_create(qu_compare **out, qu_session *s, const qu_ask_options *options,
                            qu_err *err)
{
    qu_ask_options o = *options;
    QU_OWN(drop) qu_compare *c = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&c, 1, sizeof *c, err));
    o.choose = choose;
    o.ctx = c;
    o.on_text = NULL;
    o.sample = (qu_sample){0};
    o.min_confidence = 0;
    c->vocab = s->model->vocab;
    QU_TRY(qu_memory_take(&c->ids, o.max_tokens, sizeof *c->ids, err));
    QU_TRY(qu_memory_take(&c->logits, (int64_t)c->vocab * QU_COMPARE_KL_TOKENS, sizeof *c->logits,
                          err));
    QU_TRY(qu_asker_create(&c->asker, s, &o, err));
    *out = QU_TAKE(c);
    return QU_OK;
}

qu_status qu_compare_free(qu_compare *c, qu_status st, qu_err *err)
{
    if (!c) return st;
    st = qu_asker_free(c->asker, st, err);
    free(c->ids);
    free(c->logits);
    free(c->question);
    free(c);
    return st;
}

qu_status qu_compare_exact(qu_compare *c, const char *question, qu_answer *answer, qu_err *err)
{
    char *copy = strdup(question);
    if (!copy) return qu_fail_nomem(err, (long long)strlen(question));
    free(c->question);
    c->question = copy;
    c->records = true;
    c->n = 0;
    c->asker->o.fidelity = QU_FIDELITY_EXACT;
    return qu_asker_ask(c->asker, question, answer, err);
}

/* First with the reference's tokens; where all choices agree, this was its own answer as well. */
qu_status qu_compare_with(qu_compare *c, qu_fidelity fidelity, qu_difference *d, qu_answer *answer,
                          qu_err *err)
{
    qu_answer forced;
    c->records = false;
    c->now = (qu_difference){0};
    c->asker->o.fidelity = fidelity;
    qu_status st = qu_asker_ask(c->asker, c->question, &forced, err);
    *d = c->now;
    d->same = d->agree == d->positions;
    if (st == QU_OK && answer && !d->same) {
        c->asker->o.choose = NULL;
        qu_answer_free(&forced);
        st = qu_asker_ask(c->asker, c->question, &forced, err);
        c->asker->o.choose = choose;
    }
    if (st == QU_OK && answer)
        *answer = forced;
    else
        qu_answer_free(&forced);
    return st;
}

void qu_difference_add(qu_difference *sum, const qu_difference *d)
{
    sum->same = d->same && (sum->same || sum->positions == 0);
    sum->positions += d->positions;
    sum->agree += d->agree;
    sum->kl_positions += d->kl_positions;
    sum->kl += d->kl;
}
