/* Inside answering: asker.c (the course of a question), context_from_store.c (its pages),
 * selection.c, answer_draft.c, cite.c; answer.c has what all of them build. */
#ifndef QU_PIPELINES_ANSWER_INT_H
#define QU_PIPELINES_ANSWER_INT_H

#include <stdarg.h>
#include <stdio.h>

#include "decode/batch.h"
#include "decode/context.h"
#include "decode/quote.h"
#include "pipelines/answer.h"
#include "pipelines/fresh.h"
#include "pipelines/hybrid.h"
#include "retrieve/plan.h"

struct qu_asker {
    qu_session *s;
    qu_ask_options o;
    qu_hybrid *hybrid;
    qu_encoder *encoder;
    qu_fresh fresh;
    float *logits;   /* [V] */
    qu_batch *batch; /* tokens go side by side with those of other askers; NULL: alone */
    int64_t asked;
};

/* Get a session's model ready for questions, without candidates from the store. Session and
 * options' strings are borrowed. To be closed, also on error. */
qu_status qu_asker_open(qu_asker *a, qu_session *s, const qu_ask_options *options, qu_err *err);
void qu_asker_close(qu_asker *a);

/* Where a page's slices lie in the store. */
typedef struct stored_page {
    qu_store *store;
    uint64_t file, kv_id;
    uint32_t page;
    qu_hash binding;
} stored_page;

/* What belongs to a page of the plan. */
typedef struct answer_page {
    qu_buf text, ids;       /* ids: int32 */
    stored_page stored;
    qu_page_memory *memory; /* its KV where that is not stored; given ones may be set beforehand */
    bool own;               /* memory was made for this question alone */
    qu_page_source source;  /* where it is attached from; get NULL: not attached */
} answer_page;

/* One question on its way. */
typedef struct ask_run {
    qu_asker *a;
    const char *question;
    qu_answer *ans;
    double started_ms;
    qu_plan plan;
    answer_page *pages; /* [plan.n_pages] */
    qu_tokens tail;     /* the question */
    qu_context *c;
    qu_policy *policy;  /* NULL: every candidate is read */
    qu_quote_span quotes[QU_QUOTE_SPANS]; /* pages by their number in the plan */
    int32_t n_quotes;
} ask_run;

/* asker.c: the model's answer, without citations: context (if r->c is not there yet), selection,
 * the tokens of r->tail, the text, trimmed; found unless it is empty or the agreed refusal. */
qu_status qu_answer_model(ask_run *r, qu_err *err);

/* answer.c: a plan made by hand, for documents that were not searched for: room for it, to be
 * called first; then each page behind the one before, documents in order. */
qu_status qu_answer_plan(ask_run *r, int32_t n_docs, int32_t n_pages, qu_err *err);
void qu_answer_plan_page(ask_run *r, int32_t doc, int32_t page, const qu_page *record);

/* answer.c: free all that belongs to the question but ans. */
void qu_answer_end(ask_run *r);

/* Token ids of page i of the plan. */
static inline const int32_t *qu_answer_ids(const ask_run *r, int32_t i)
{
    return (const int32_t *)(const void *)r->pages[i].ids.data;
}

/* context_from_store.c: make r->c and put prefix and plan into it as the fidelity says. */
qu_status qu_answer_context(ask_run *r, qu_err *err);

/* selection.c: choose among the candidates of r->c from now on, if they are more than the budget;
 * and, after the answer, what was chosen. */
qu_status qu_answer_select(ask_run *r, qu_err *err);
qu_status qu_answer_selected(ask_run *r, qu_err *err);

/* answer_draft.c: the answer's tokens after the question's step, whose logits are in a->logits:
 * text, confidence, draft, and quotes. */
qu_status qu_answer_write(ask_run *r, qu_err *err);

/* Do the options of writing go together? Errors: QU_ERR_ARG. */
qu_status qu_answer_check(const qu_ask_options *o, qu_err *err);

/* cite.c: the places that hold the answer: citations and supported; what was quoted, if
 * anything. */
qu_status qu_answer_cite(ask_run *r, qu_err *err);

/* cite.c: the best sentences for the question, as citations. A span of the best one is the answer,
 * too: by QU_RULE_ALWAYS whatever its score; by a score above that where it reaches that score and
 * says less than its sentence, which is cited anyway; by QU_RULE_NEVER not. */
#define QU_RULE_ALWAYS 0.0
#define QU_RULE_NEVER 2.0
qu_status qu_answer_extract(ask_run *r, double least, qu_err *err);

/* cite.c: fill in path, member, heading, page number and raw byte range of a citation whose text
 * range is known, from the document and its stored source map. */
qu_status qu_answer_locate(qu_txn *t, const qu_doc *d, qu_citation *c, qu_err *err);

qu_status qu_answer_warn(qu_answer *ans, qu_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
