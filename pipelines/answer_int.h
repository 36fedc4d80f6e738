/* Inside answering: shared by answer.c (the question), context_from_store.c (pages) and cite.c. */
#ifndef QU_PIPELINES_ANSWER_INT_H
#define QU_PIPELINES_ANSWER_INT_H

#include <stdarg.h>
#include <stdio.h>

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
    float *logits; /* [V] */
    int64_t asked;
};

/* Where a page's slices lie in the store. */
typedef struct stored_page {
    qu_store *store;
    uint64_t file, kv_id;
    uint32_t page;
    qu_hash binding;
} stored_page;

/* One question on its way. */
typedef struct ask_run {
    qu_asker *a;
    const char *question;
    qu_answer *ans;
    double started_ms;
    qu_plan plan;
    qu_buf *texts, *ids;      /* [plan.n_pages] text and int32 ids of each page */
    stored_page *sources;     /* [plan.n_pages] */
    qu_page_memory **windows; /* [plan.n_pages] of documents encoded in part; NULL elsewhere */
    qu_tokens tail;           /* the question */
    int32_t n_windowed;       /* documents read in part for want of KV */
    qu_context *c;
    qu_page_source *attached; /* [plan.n_pages] where each page comes from; get NULL: not attached */
    const int32_t **segment_ids; /* [plan.n_pages + 1] token ids of each of c's segments */
    qu_policy *policy; /* NULL: every candidate is read */
    qu_quote_span quotes[QU_QUOTE_SPANS]; /* pages by their number in the plan */
    int32_t n_quotes;
} ask_run;

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

/* cite.c: the places that hold the answer: citations and supported; what was quoted, if anything. */
qu_status qu_answer_cite(ask_run *r, qu_err *err);

/* cite.c: the best sentences for the question, as citations; answer: their best span is the answer,
 * too. */
qu_status qu_answer_extract(ask_run *r, bool answer, qu_err *err);

/* cite.c: fill in heading and raw byte range of a citation whose text range is known, from the
 * document's stored source map. */
qu_status qu_answer_locate(qu_txn *t, const qu_doc *d, qu_citation *c, qu_err *err);

qu_status qu_answer_warn(qu_answer *ans, qu_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
