#include "decode/draft.h"

#include <math.h>

#include "base/memory.h"
#include "base/os.h"
#include "decode/device.h"

enum {
    ROWS = QU_DRAFT_MAX + 1,
    N_SIZES = 6,   /* passes of 1, 2, 4, 8, 16 and 32 rows */
    N_LENGTHS = 6, /* matches of 1, 2, 3, 4-5, 6-8 and more tokens */
};

/* How good drafts are in this answer and what passes cost. */
typedef struct pace {
    double right[N_LENGTHS], tried[N_LENGTHS]; /* tokens foretold, by the length of the match */
    double ms[N_SIZES];                        /* of a pass; 0: none yet */
    double draft_ms;                           /* of one token of the drafter */
    double balance; /* plain passes saved (+) or lost (-) by drafts so far */
} pace;

struct qu_draft {
    qu_draft_options o;
    int64_t live0; /* live tokens of the context before the first of ours */
    int32_t *text; /* [n] tokens so far, taken or not */
    int64_t n, cap, taken;
    int32_t n_queue;          /* tokens of the last pass; the last n - taken wait */
    float *rows;              /* [ROWS or 1, V] their logits, or, */
    bool greedy;              /* on a device, where nothing but the largest one matters, */
    qu_choice best[ROWS];     /* [rows] these instead */
    float *adjusted, *few;    /* [V] logits with the penalty; of allowed tokens */
    int32_t *said, n_said;    /* distinct tokens so far */
    uint8_t *is_said;         /* [V] */
    float *q, *p, *p1, *next; /* self: shares of the drafts [QU_DRAFT_MAX, V], of the target,
                                 scratch; logits behind the drafter's last token */
    int64_t small_n;          /* tokens so far that the drafter has stepped; -1: not the prompt */
    bool ended;
    int32_t streak; /* tokens in a row that were foretold */
    pace pace;
    qu_draft_stats stats;
};

static bool is_self(const qu_draft *d)
{
    return d->o.kind == QU_DRAFT_SELF;
}

static qu_status check(const qu_draft_options *o, qu_err *err)
{
    bool self = o->kind == QU_DRAFT_SELF;
    if (self && (!o->small || o->quote))
        return qu_fail(err, QU_ERR_ARG, "drafter 'self' needs stored pages and free text: %s",
                       o->quote ? "quotes draft from their pages" : "no second context");
    if (o->transfer < 0 || (o->transfer > 0 && (!self || o->sample.temperature == 0)))
        return qu_fail(err, QU_ERR_ARG,
                       "transfer %g needs drafter 'self' and a temperature above 0",
                       (double)o->transfer);
    return QU_OK;
}

/* Before anything is seen: what answers from their pages do; times of a quantised 135M model. */
static const pace first_pace = {
    .right = {.7, 1, 1.3, 1.5, 1.7, 1.9},
    .tried = {2, 2, 2, 2, 2, 2},
};
static const double usual_cost[N_SIZES] = {1, 1.2, 1.6, 2.8, 4.2, 6.8};

qu_status qu_draft_create(qu_draft **out, const qu_draft_options *o, qu_err *err)
{
    *out = NULL;
    QU_TRY(check(o, err));
    qu_draft *d;
    QU_TRY(qu_memory_take(&d, 1, sizeof *d, err));
    d->o = *o;
    d->live0 = qu_context_live(o->context);
    d->small_n = -1;
    d->pace = first_pace;
    d->greedy = qu_device_name(o->model) && o->sample.temperature == 0 && !o->quote && !o->choose &&
                (o->sample.repetition == 0 || o->sample.repetition == 1);
    int64_t v = o->model->vocab, n = d->greedy || o->kind == QU_DRAFT_NONE ? 1 : ROWS;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_memory_take(&d->rows, n * v, sizeof(float), err));
    QU_TRY_OUT(qu_memory_take(&d->adjusted, v, sizeof(float), err));
    QU_TRY_OUT(qu_memory_take(&d->few, v, sizeof(float), err));
    QU_TRY_OUT(qu_memory_take(&d->said, v, sizeof *d->said, err));
    QU_TRY_OUT(qu_memory_take(&d->is_said, v, 1, err));
    if (is_self(d)) {
        QU_TRY_OUT(qu_memory_take(&d->q, QU_DRAFT_MAX * v, sizeof(float), err));
        QU_TRY_OUT(qu_memory_take(&d->p, v, sizeof(float), err));
        QU_TRY_OUT(qu_memory_take(&d->p1, v, sizeof(float), err));
        QU_TRY_OUT(qu_memory_take(&d->next, v, sizeof(float), err));
    }
    memcpy(d->rows, o->logits, (size_t)v * sizeof *d->rows);
    *out = d;
    return QU_OK;
out:
    qu_draft_free(d);
    return st;
}

void qu_draft_free(qu_draft *d)
{
    if (!d) return;
    void *p[] = {d->text,    d->rows, d->adjusted, d->few, d->said,
                 d->is_said, d->q,    d->p,        d->p1,  d->next};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
    free(d);
}

/* --- choosing --- */

static void say(qu_draft *d, int32_t id)
{
    if (d->is_said[id]) return;
    d->is_said[id] = 1;
    d->said[d->n_said++] = id;
}

static void unsay(qu_draft *d, int32_t n)
{
    while (d->n_said > n) d->is_said[d->said[--d->n_said]] = 0;
}

/* The logits that choices are made from: both sides have the same penalty. */
static const float *adjust(qu_draft *d, const float *logits)
{
    float penalty = d->o.sample.repetition;
    if (!(penalty > 0) || penalty == 1) return logits;
    memcpy(d->adjusted, logits, (size_t)d->o.model->vocab * sizeof *logits);
    qu_sample_penalise(d->adjusted, d->said, d->n_said, penalty);
    return d->adjusted;
}

/* Token number d->n as plain decoding chooses it. */
static qu_status choose(qu_draft *d, const float *logits, int32_t *id, qu_err *err)
{
    *id = d->o.choose ? d->o.choose(d->o.choose_ctx, (int32_t)d->n, logits) : -1;
    if (*id >= 0) return QU_OK;
    const float *x = adjust(d, logits);
    uint64_t at = (uint64_t)d->n;
    if (!d->o.quote) return qu_sample_pick(id, x, d->o.model->vocab, &d->o.sample, at, err);
    const int32_t *ids;
    int32_t n = qu_quote_allowed(d->o.quote, &ids), i = 0;
    for (int32_t k = 0; k < n; k++) d->few[k] = x[ids[k]];
    QU_TRY(qu_sample_pick(&i, d->few, n, &d->o.sample, at, err));
    *id = ids[i];
    return QU_OK;
}

/* --- learning --- */

static int32_t length_class(int32_t length)
{
    return length <= 3 ? length - 1 : length <= 5 ? 3 : length <= 8 ? 4 : 5;
}

static int size_class(int32_t rows)
{
    int k = 0;
    while ((1 << k) < rows) k++;
    return k;
}

/* What is likely to come, at most n tokens; *length: of the match that says so. */
static int32_t foretell(const qu_draft *d, int32_t *ids, int32_t n, int32_t *length)
{
    *length = d->streak + 1;
    if (d->o.quote) return qu_quote_follow(d->o.quote, ids, n);
    if (!d->o.suffix || is_self(d)) return 0;
    *length = qu_suffix_length(d->o.suffix);
    return qu_suffix_follow(d->o.suffix, ids, n);
}

/* The token is settled: it joins the text, and drafters learn it. */
static qu_status commit(qu_draft *d, int32_t id, qu_err *err)
{
    int32_t foretold, length;
    QU_TRY(qu_memory_grow(&d->text, &d->cap, d->n + 1, sizeof *d->text, err));
    if (foretell(d, &foretold, 1, &length) > 0) {
        int32_t k = length_class(length);
        d->pace.tried[k]++;
        d->pace.right[k] += foretold == id;
        d->streak = foretold == id ? d->streak + 1 : 0;
    }
    d->text[d->n++] = id;
    d->n_queue++;
    say(d, id);
    if (d->o.suffix && !d->o.quote) QU_TRY(qu_suffix_next(d->o.suffix, id, err));
    if (d->o.quote) d->ended = qu_quote_take(d->o.quote, id);
    return QU_OK;
}

/* Quick to believe in a short time, slow in a long one: others use the machine, too. */
static void learn_ms(double *usual, double ms)
{
    *usual = *usual > 0 && ms > *usual ? *usual + .1 * (ms - *usual) : ms;
}

/* Cost of a pass with that many drafts, in plain passes. */
static double cost(const qu_draft *d, int32_t drafts)
{
    int k = size_class(drafts + 1);
    const pace *p = &d->pace;
    double pass = p->ms[0] > 0 && p->ms[k] > 0 ? p->ms[k] / p->ms[0] : usual_cost[k];
    double draft = !is_self(d) ? 0 : p->ms[0] > 0 && p->draft_ms > 0 ? p->draft_ms / p->ms[0] : .5;
    return pass + drafts * draft;
}

/* Tokens that a pass with that many drafts yields, if the match goes on as others of its length
 * did. */
static double expected(const qu_draft *d, int32_t drafts, int32_t length)
{
    double sum = 1, all = 1;
    for (int32_t i = 0; i < drafts; i++) {
        int32_t k = length_class(length + i);
        sum += all *= d->pace.right[k] / d->pace.tried[k];
    }
    return sum;
}

/* How many of n foretold tokens to draft. */
static int32_t worth(const qu_draft *d, int32_t n, int32_t length)
{
    bool careful = d->o.kind == QU_DRAFT_AUTO;
    double best = careful ? 1 : 0, played = d->n > 10 ? (double)d->n : 10;
    int32_t drafts = 0;
    for (int k = 1; k < N_SIZES && n > 0; k++) {
        int32_t g = n < (1 << k) - 1 ? n : (1 << k) - 1;
        double c = cost(d, g), rate = expected(d, g, length) / c;
        if (careful && c - 1 > d->pace.balance + played * QU_DRAFT_STAKE) break;
        if (rate > best) {
            best = rate;
            drafts = g;
        }
        if (g == n) break;
    }
    return drafts;
}

/* --- the self drafter --- */

static qu_status small_step(qu_draft *d, const int32_t *ids, int64_t n, qu_err *err)
{
    QU_TRY(qu_context_step(d->o.small, ids, (int32_t)n, d->o.pos + d->small_n, 1, d->next, err));
    d->small_n += n;
    return QU_OK;
}

static qu_status propose_self(qu_draft *d, int32_t *ids, int32_t n, qu_err *err)
{
    const int32_t vocab = d->o.model->vocab, said = d->n_said;
    double start = qu_os_now_ms();
    qu_status st = QU_OK;
    if (d->small_n < 0) {
        QU_TRY(qu_context_step(d->o.small, d->o.prompt, d->o.n_prompt, d->o.pos - d->o.n_prompt, 0,
                               NULL, err));
        d->small_n = 0;
        start = qu_os_now_ms();
    }
    QU_TRY(small_step(d, d->text + d->small_n, d->n - d->small_n, err));
    for (int32_t i = 0; i < n; i++) {
        const float *x = adjust(d, d->next);
        float *q = d->q + (int64_t)i * vocab;
        if (d->o.sample.temperature == 0) {
            ids[i] = qu_sample_greedy(x, vocab);
        } else {
            QU_TRY_OUT(qu_sample_shares(q, x, vocab, &d->o.sample, err));
            ids[i] = qu_sample_propose(q, vocab, d->o.sample.seed, (uint64_t)(d->n + i));
        }
        say(d, ids[i]);
        if (i + 1 < n) QU_TRY_OUT(small_step(d, &ids[i], 1, err));
    }
    learn_ms(&d->pace.draft_ms, (qu_os_now_ms() - start) / n);
out:
    unsay(d, said);
    return st;
}

/* --- propose, verify, commit or roll back --- */

static qu_status propose(qu_draft *d, int32_t *ids, int32_t *n, qu_err *err)
{
    int64_t left = d->o.most - d->n - 1; /* behind the token that the pass yields anyway */
    int32_t room = left < QU_DRAFT_MAX ? (int32_t)left : QU_DRAFT_MAX, length;
    *n = 0;
    if (room <= 0 || d->o.kind == QU_DRAFT_NONE) return QU_OK;
    if (is_self(d)) {
        *n = worth(d, room, d->streak + 1);
        return *n > 0 ? propose_self(d, ids, *n, err) : QU_OK;
    }
    *n = foretell(d, ids, room, &length);
    *n = worth(d, *n, length);
    return QU_OK;
}

/* Settle tokens from the rows: as many drafts as hold, then one more. */
static qu_status verify(qu_draft *d, const int32_t *ids, int32_t n, qu_err *err)
{
    const qu_sample *s = &d->o.sample;
    const int32_t vocab = d->o.model->vocab;
    bool ratio = is_self(d) && s->temperature > 0, held = true;
    for (int32_t i = 0; i <= n && held && !d->ended; i++) {
        const float *row = d->rows + (d->greedy ? 0 : (int64_t)i * vocab);
        int32_t id;
        if (ratio && i < n) {
            QU_TRY(qu_sample_shares(d->p, adjust(d, row), vocab, s, err));
            held = qu_sample_verify(&id, d->p, d->q + (int64_t)i * vocab, d->p1, vocab, ids[i],
                                    d->o.transfer, s->seed, (uint64_t)d->n);
        } else {
            id = d->best[i].id;
            if (!d->greedy) QU_TRY(choose(d, row, &id, err));
            held = i < n && id == ids[i];
        }
        if (is_self(d) && i < n) {
            int32_t k = length_class(d->streak + 1);
            d->pace.tried[k]++;
            d->pace.right[k] += held;
            d->streak = held ? d->streak + 1 : 0;
        }
        d->stats.accepted += held;
        QU_TRY(commit(d, id, err));
    }
    return QU_OK;
}

static qu_status pass(qu_draft *d, qu_err *err)
{
    int32_t ids[ROWS], n;
    int64_t before = d->n;
    ids[0] = d->text[d->n - 1];
    QU_TRY(propose(d, ids + 1, &n, err));
    double start = qu_os_now_ms();
    int64_t at = d->o.pos + d->n - 1;
    if (d->greedy)
        QU_TRY(qu_context_step_greedy(d->o.context, ids, n + 1, at, n + 1, d->best, err));
    else QU_TRY(qu_context_step(d->o.context, ids, n + 1, at, n + 1, d->rows, err));
    learn_ms(&d->pace.ms[size_class(n + 1)], qu_os_now_ms() - start);
    d->n_queue = 0;
    d->stats.passes++;
    d->stats.proposed += n;
    QU_TRY(verify(d, ids + 1, n, err));
    qu_context_rewind(d->o.context, d->live0 + d->n - 1);
    if (n > 0) d->pace.balance += (double)(d->n - before) - cost(d, n);
    if (is_self(d) && d->small_n > d->n - 1) {
        d->small_n = d->n - 1;
        qu_context_rewind(d->o.small, d->o.n_prompt + d->small_n);
    }
    return QU_OK;
}

qu_status qu_draft_next(qu_draft *d, int32_t *id, double *probability, qu_err *err)
{
    if (d->n == 0) {
        int32_t first;
        QU_TRY(choose(d, d->rows, &first, err));
        d->best[0] = (qu_choice){first, d->greedy && probability
                                            ? qu_sample_share(d->rows, d->o.model->vocab, first)
                                            : 0};
        QU_TRY(commit(d, first, err));
    } else if (d->taken == d->n) {
        if (d->ended || d->n >= d->o.most)
            return qu_fail(err, QU_ERR_ARG, "no token beyond the last of %lld",
                           (long long)d->o.most);
        QU_TRY(pass(d, err));
    }
    *id = d->text[d->taken];
    if (probability) {
        int64_t row = d->taken - (d->n - d->n_queue);
        int32_t vocab = d->o.model->vocab;
        *probability =
            d->greedy ? d->best[row].share : qu_sample_share(d->rows + row * vocab, vocab, *id);
    }
    d->taken++;
    return QU_OK;
}

bool qu_draft_ended(const qu_draft *d) { return d->ended && d->taken == d->n; }

void qu_draft_finish(qu_draft *d)
{
    if (d->taken > 0) qu_context_rewind(d->o.context, d->live0 + d->taken - 1);
}

qu_draft_stats qu_draft_stats_get(const qu_draft *d) { return d->stats; }
