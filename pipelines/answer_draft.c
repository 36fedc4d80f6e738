/* Writing the answer: drafters over the pages that the question loaded, the token loop, quotes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/answer_int.h"
#include "pipelines/generate.h"

typedef struct writer {
    ask_run *r;
    qu_detok detok;
    double log_sum;
    size_t shown;
    int64_t end; /* where the template's own end begins in the text; -1 */
    qu_suffix *suffix;
    qu_quote *quote;
    qu_context *small;
    qu_policy *policy;
} writer;

qu_status qu_answer_check(const qu_ask_options *o, qu_err *err)
{
    bool self = o->draft == QU_DRAFT_SELF;
    if (o->quote && (o->extract || self))
        return qu_fail(err, QU_ERR_ARG, "--quote does not go with %s",
                       self ? "--draft self: quotes draft from their pages" : "--extract");
    if (self && o->fidelity == QU_FIDELITY_EXACT)
        return qu_fail(err, QU_ERR_ARG,
                       "--draft self reads stored pages: it does not go with --fidelity exact");
    if (o->transfer > 0 && (!self || o->sample.temperature == 0))
        return qu_fail(err, QU_ERR_ARG,
                       "--transfer takes --draft self and a --temperature above 0");
    return QU_OK;
}

static bool is_loaded(const ask_run *r, int32_t i)
{
    return r->a->o.fidelity == QU_FIDELITY_EXACT || r->pages[i].source.get;
}

static qu_status make_suffix(writer *w, qu_err *err)
{
    const ask_run *r = w->r;
    const qu_plan_page *p = r->plan.pages;
    QU_TRY(qu_suffix_create(&w->suffix, r->a->s->model->vocab, err));
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        bool joined = i > 0 && p[i].doc == p[i - 1].doc && p[i].page == p[i - 1].page + 1;
        if (is_loaded(r, i))
            QU_TRY(qu_suffix_add(w->suffix, qu_answer_ids(r, i),
                                 p[i].record.n_tokens, joined, err));
    }
    for (int64_t i = 0; i < r->tail.n; i++) QU_TRY(qu_suffix_next(w->suffix, r->tail.ids[i], err));
    return QU_OK;
}

/* Its pages have the plan's numbers; headers and pages that were not loaded are empty. */
static qu_status make_quote(writer *w, qu_err *err)
{
    const ask_run *r = w->r;
    QU_TRY(qu_quote_create(&w->quote, r->a->s->tok, err));
    for (int32_t i = 0; i < r->plan.n_pages; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        bool use = p->page > 0 && is_loaded(r, i) && r->pages[i].text.len > 0;
        QU_TRY(qu_quote_add(w->quote, qu_answer_ids(r, i),
                            use ? p->record.n_tokens : 0, use ? r->pages[i].text.data : "",
                            use ? r->pages[i].text.len : 0, err));
    }
    return QU_OK;
}

/* The self drafter's context: the same pages with a small budget. */
static qu_status make_small(writer *w, qu_err *err)
{
    ask_run *r = w->r;
    qu_session *s = r->a->s;
    QU_TRY(qu_context_create(&w->small, s->model, s->pool, s->codec, err));
    QU_TRY(qu_encoder_attach_prefix(r->a->encoder, w->small, err));
    for (int32_t i = 0; i < r->plan.n_pages; i++)
        if (is_loaded(r, i))
            QU_TRY(qu_context_attach(w->small, r->plan.pages[i].record.n_tokens,
                                     r->plan.pages[i].pos, &r->pages[i].source, err));
    qu_policy_options p = {.name = QU_POLICY_DEFAULT,
                           .budget = r->a->o.draft_budget,
                           .far_field = true,
                           .refresh = QU_POLICY_REFRESH,
                           .pool = s->pool,
                           .bytes = true};
    QU_TRY(qu_policy_create(&w->policy, &p, s->model->n_layers, s->model->n_kv_heads, err));
    qu_context_select(w->small, qu_policy_hook(w->policy));
    return QU_OK;
}

/* Hand out the answer's bytes from shown to n as they come; never an answer that may be withheld,
 * nor quotes, whose ends are not settled before they are whole. */
static void emit(writer *w, size_t n)
{
    const qu_ask_options *o = &w->r->a->o;
    if (o->on_text && o->min_confidence <= 0 && !o->quote && n > w->shown)
        o->on_text(o->ctx, w->r->ans->text.data + w->shown, n - w->shown);
    w->shown = n;
}

static void first_token(void *ctx)
{
    const ask_run *r = ((writer *)ctx)->r;
    r->ans->first_token_ms = qu_os_now_ms() - r->started_ms + r->ans->start_ms;
}

static qu_status add_token(void *ctx, int32_t id, double probability, bool *stop, qu_err *err)
{
    writer *w = ctx;
    qu_answer *ans = w->r->ans;
    w->log_sum += log(probability);
    QU_TRY(qu_detok_add(&w->detok, id, &ans->text, err));
    ans->generated_tokens++;
    if (!w->quote)
        w->end = qu_template_answer_end(w->r->a->s->template, ans->text.data, ans->text.len);
    *stop = w->end >= 0;
    if (!*stop) emit(w, ans->text.len);
    return QU_OK;
}

/* The answer's text: the quoted bytes themselves. */
static qu_status take_quotes(writer *w, qu_err *err)
{
    ask_run *r = w->r;
    r->n_quotes = qu_quote_spans(w->quote, r->quotes);
    r->ans->text.len = 0;
    for (int32_t i = 0; i < r->n_quotes; i++) {
        const qu_quote_span *s = &r->quotes[i];
        if (i > 0) QU_TRY(qu_buf_puts(&r->ans->text, QU_QUOTE_SEPARATOR, err));
        QU_TRY(qu_buf_add(&r->ans->text, r->pages[s->page].text.data + s->start,
                          (size_t)(s->end - s->start), err));
    }
    return QU_OK;
}

static qu_status write_answer(writer *w, qu_err *err)
{
    ask_run *r = w->r;
    qu_asker *a = r->a;
    const qu_ask_options *o = &a->o;
    qu_answer *ans = r->ans;
    int64_t pos = r->plan.end_pos + r->tail.n, room = a->s->model->context - pos;
    bool drafts = o->draft != QU_DRAFT_NONE && !o->choose;
    qu_detok_init(&w->detok, a->s->tok, 0);
    if (o->quote) QU_TRY(make_quote(w, err));
    if (drafts && o->draft == QU_DRAFT_SELF) QU_TRY(make_small(w, err));
    if (drafts && o->draft != QU_DRAFT_SELF && !o->quote) QU_TRY(make_suffix(w, err));
    qu_generate g = {.draft = {.kind = drafts ? o->draft : QU_DRAFT_NONE,
                               .sample = o->sample,
                               .choose = o->choose,
                               .choose_ctx = o->ctx,
                               .model = a->s->model,
                               .context = r->c,
                               .logits = a->logits,
                               .pos = pos,
                               .most = o->max_tokens < room ? o->max_tokens : room,
                               .suffix = w->suffix,
                               .quote = w->quote,
                               .small = w->small,
                               .prompt = r->tail.ids,
                               .n_prompt = (int32_t)r->tail.n,
                               .transfer = o->transfer},
                     .tok = a->s->tok,
                     .wants_probability = true,
                     .token = add_token,
                     .first = first_token,
                     .ctx = w};
    QU_TRY(qu_generate_run(&g, err));
    ans->draft = g.stats;
    if (w->quote)
        QU_TRY(take_quotes(w, err));
    else if (w->end >= 0)
        ans->text.len = (size_t)w->end;
    else
        QU_TRY(qu_detok_end(&w->detok, &ans->text, err));
    emit(w, ans->text.len);
    ans->confidence = ans->generated_tokens > 0 ? exp(w->log_sum) : 0;
    return QU_OK;
}

qu_status qu_answer_write(ask_run *r, qu_err *err)
{
    writer w = {.r = r, .end = -1};
    qu_status st = write_answer(&w, err);
    qu_suffix_free(w.suffix);
    qu_quote_free(w.quote);
    qu_context_free(w.small);
    qu_policy_free(w.policy);
    return st;
}
