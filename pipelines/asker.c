/* The course of a question: candidates, plan, context, answer, citations. */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/answer_int.h"
#include "pipelines/output.h"
#include "pipelines/paths.h"

/* Hits looked at for each candidate page: the floor and documents that come whole thin them out. */
enum { HITS_PER_PAGE = 3 };

/* Below this score the rule is no surer than the model was (DESIGN.md, section 12). */
static const double RULE_SURE = 0.6;

qu_status qu_asker_open(qu_asker *a, qu_session *s, const qu_ask_options *options, qu_err *err)
{
    *a = (qu_asker){.s = s, .o = *options};
    if (!s->model) return QU_OK;
    QU_TRY(qu_memory_take(&a->logits, s->model->vocab, sizeof *a->logits, err));
    return qu_encoder_create(&a->encoder, s, err);
}

void qu_asker_close(qu_asker *a)
{
    qu_hybrid_close(a->hybrid);
    qu_encoder_free(a->encoder);
    qu_fresh_free(&a->fresh);
    free(a->logits);
    *a = (qu_asker){0};
}

qu_status qu_asker_create(qu_asker **out, qu_session *s, const qu_ask_options *options, qu_err *err)
{
    *out = NULL;
    QU_TRY(qu_answer_check(options, err));
    qu_asker *a = *out = calloc(1, sizeof *a);
    if (!a) return qu_fail_nomem(err, sizeof *a);
    qu_status st = qu_asker_open(a, s, options, err);
    if (st == QU_OK) st = qu_hybrid_open(&a->hybrid, s, QU_HYBRID_STORED, err);
    if (st != QU_OK) {
        qu_asker_free(a, st, NULL);
        *out = NULL;
    }
    return st;
}

qu_status qu_asker_free(qu_asker *a, qu_status st, qu_err *err)
{
    if (!a) return st;
    qu_session *s = a->s;
    QU_OWN(qu_fresh_free) qu_fresh fresh = a->fresh;
    a->fresh = (qu_fresh){0};
    qu_asker_close(a); /* saving opens the store anew: nothing may hold on to it */
    free(a);
    qu_status saved = qu_fresh_save(&fresh, s, st == QU_OK ? err : NULL);
    return st == QU_OK ? saved : st;
}

/* --- retrieve --- */

/* Text and ids of each planned page. */
static qu_status read_pages(ask_run *r, qu_txn *t, qu_err *err)
{
    const qu_plan *p = &r->plan;
    QU_TRY(qu_memory_take(&r->pages, p->n_pages + 1, sizeof *r->pages, err));
    for (int32_t i = 0; i < p->n_pages; i++) {
        const qu_plan_page *page = &p->pages[i];
        uint64_t id = p->docs[page->doc].doc.doc_id;
        QU_TRY(qu_catalogue_text(t, id, page->record.text_start, page->record.text_end,
                                 &r->pages[i].text, err));
        if (!r->a->o.extract) QU_TRY(qu_catalogue_ids(t, id, page->page, 1, &r->pages[i].ids, err));
    }
    return QU_OK;
}

static qu_status retrieve(ask_run *r, int64_t room, qu_err *err)
{
    qu_asker *a = r->a;
    int32_t k = a->o.pages * HITS_PER_PAGE, n = 0;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_OWN(qu_freep) qu_lexical_hit *hits = calloc((size_t)k, sizeof *hits);
    if (!hits) return qu_fail_nomem(err, k * (long long)sizeof *hits);
    QU_TRY(qu_txn_begin(&t, a->s->store, QU_TXN_READ, err));
    qu_paths_filter filter = {a->o.in_glob, t};
    qu_lexical_opts opts = {0};
    qu_paths_keep(&opts, &filter);
    QU_TRY(
        qu_hybrid_search(a->hybrid, t, r->question, strlen(r->question), &opts, k, hits, &n, err));
    float floor = a->o.floor < 0 ? 0 : a->o.floor > 0 ? a->o.floor : QU_PLAN_FLOOR;
    qu_plan_options plan = {a->o.pages, a->s->prefix.n, room, floor};
    QU_TRY(qu_plan_make(&r->plan, t, hits, n, &plan, err));
    return read_pages(r, t, err);
}

static void trim(qu_buf *b)
{
    size_t lead = 0;
    while (b->len > 0 && strchr(" \n\t", b->data[b->len - 1])) b->len--;
    while (lead < b->len && strchr(" \n\t", b->data[lead])) lead++;
    if (!b->data) return;
    memmove(b->data, b->data + lead, b->len - lead);
    b->len -= lead;
    b->data[b->len] = 0;
}

static qu_status step_and_write(ask_run *r, double start_ms, qu_err *err)
{
    qu_answer *ans = r->ans;
    QU_TRY(qu_context_step(r->c, r->tail.ids, (int32_t)r->tail.n, r->plan.end_pos, 1, r->a->logits,
                           err));
    double now = qu_os_now_ms();
    ans->load_ms = qu_context_stats_get(r->c).load_ms;
    ans->prefill_ms = now - start_ms - ans->load_ms;
    QU_TRY(qu_answer_write(r, err));
    ans->decode_ms = qu_os_now_ms() - now;
    return QU_OK;
}

qu_status qu_answer_model(ask_run *r, qu_err *err)
{
    qu_asker *a = r->a;
    qu_answer *ans = r->ans;
    double start = qu_os_now_ms();
    if (!r->c) QU_TRY(qu_answer_context(r, err));
    QU_TRY(qu_answer_select(r, err));
    qu_context_batch(r->c, a->batch);
    if (a->batch) qu_batch_enter(a->batch);
    qu_status st = step_and_write(r, start, err);
    if (a->batch) qu_batch_leave(a->batch);
    if (st != QU_OK) return st;
    qu_context_stats stats = qu_context_stats_get(r->c);
    ans->slices_read = stats.slices_read;
    ans->bytes_read = stats.bytes_read;
    QU_TRY(qu_answer_selected(r, err));
    if (stats.slices_evicted > 0)
        QU_TRY(qu_answer_warn(
            ans, err,
            "the device's memory does not hold the pages: %lld slices were dropped and read again "
            "(fewer --pages, or a smaller codec)",
            (long long)stats.slices_evicted));
    ans->prompt_tokens += a->s->prefix.n + r->tail.n;
    trim(&ans->text);
    ans->found = ans->text.len > 0 &&
                 (a->o.quote || !qu_template_is_refusal(ans->text.data, ans->text.len));
    return QU_OK;
}

/* --- the question --- */

static void explain(const ask_run *r)
{
    for (int32_t i = 0; r->a->o.explain && i < r->plan.n_pages; i++) {
        const qu_plan_page *p = &r->plan.pages[i];
        const qu_plan_doc *d = &r->plan.docs[p->doc];
        qu_out_note("page %llu.%d at %lld, %d tokens, score %.3f, %s",
                    (unsigned long long)d->doc.doc_id, p->page, (long long)p->pos,
                    p->record.n_tokens, (double)p->score, d->doc.path);
    }
}

static qu_status warn_unsupported(qu_answer *ans, qu_err *err)
{
    int32_t without = 0;
    for (int32_t i = 0; i < ans->n_sentences; i++) without += ans->sentences[i].citation < 0;
    if (without == ans->n_sentences)
        return qu_answer_warn(ans, err, "no cited passage supports the answer");
    return qu_answer_warn(ans, err, "%d of %d sentences of the answer rest on no cited passage",
                          without, ans->n_sentences);
}

/* From which score on the rule's answer stands for one that was withheld. A span is not what a
 * prompt without a question asks for, nor whole quotes. */
static double least_for_rule(const qu_ask_options *o)
{
    if (!o->second_reading || o->raw || o->quote) return QU_RULE_NEVER;
    return o->min_confidence > RULE_SURE ? o->min_confidence : RULE_SURE;
}

static qu_status ask(ask_run *r, qu_err *err)
{
    qu_asker *a = r->a;
    qu_answer *ans = r->ans;
    int64_t room = INT64_MAX / 4;
    if (!a->o.extract) {
        const qu_model *m = a->s->model;
        if (a->o.raw)
            QU_TRY(qu_tokenize(a->s->tok, &r->tail, r->question, strlen(r->question),
                               QU_TOK_CONTINUE, err));
        else
            QU_TRY(qu_template_instruct(a->s->template, a->s->tok, a->o.system, r->question,
                                        &r->tail, err));
        int64_t reserve = a->o.max_tokens < m->context / 4 ? a->o.max_tokens : m->context / 4;
        room = m->context - a->s->prefix.n - r->tail.n - reserve;
        if (room < 1)
            return qu_fail(err, QU_ERR_LIMIT,
                           "question of %lld tokens does not fit the window of %d",
                           (long long)r->tail.n, m->context);
    }
    QU_TRY(retrieve(r, room, err));
    ans->retrieve_ms = qu_os_now_ms() - r->started_ms;
    ans->documents = r->plan.n_docs;
    ans->candidates = r->plan.n_pages - r->plan.n_docs;
    explain(r);
    if (r->plan.n_pages == 0) return QU_OK;
    if (a->o.extract) return qu_answer_extract(r, QU_RULE_ALWAYS, err);
    QU_TRY(qu_answer_model(r, err));
    ans->withheld = ans->confidence < a->o.min_confidence;
    ans->found = ans->found && !ans->withheld;
    if (!ans->found) /* what the question itself points at */
        return qu_answer_extract(r, ans->withheld ? least_for_rule(&a->o) : QU_RULE_NEVER, err);
    QU_TRY(qu_answer_cite(r, err));
    if (!ans->supported) QU_TRY(warn_unsupported(ans, err));
    return QU_OK;
}

static qu_status ask_once(qu_asker *a, const char *question, double started_ms, qu_answer *ans,
                          qu_err *err)
{
    ask_run r = {.a = a, .question = question, .ans = ans, .started_ms = started_ms};
    qu_status st = ask(&r, err);
    qu_answer_end(&r);
    if (a->s->store) qu_store_release_readers(a->s->store);
    return st;
}

qu_status qu_asker_ask(qu_asker *a, const char *question, qu_answer *ans, qu_err *err)
{
    qu_err why = {0};
    double start_ms = a->asked++ == 0 ? qu_os_since_exec_ms() : 0, now = qu_os_now_ms();
    *ans = (qu_answer){.start_ms = start_ms};
    qu_status st = ask_once(a, question, now, ans, &why);
    bool shown = a->o.on_text && ans->text.len > 0;
    if ((st == QU_ERR_NOTFOUND || st == QU_ERR_CORRUPT) && !shown) {
        /* an index, gc or eviction may have taken a file between plan and reading: plan again,
         * once */
        qu_hybrid *again;
        qu_answer_free(ans);
        ans->start_ms = start_ms;
        if (qu_hybrid_open(&again, a->s, QU_HYBRID_STORED, NULL) == QU_OK) {
            qu_hybrid_close(a->hybrid);
            a->hybrid = again;
            st = ask_once(a, question, now, ans, &why);
        }
    }
    ans->total_ms = qu_os_now_ms() - now + start_ms;
    if (st != QU_OK && err) *err = why;
    return st;
}
