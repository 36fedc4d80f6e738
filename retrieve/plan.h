/* The candidate list of a question: which pages of which documents, and where each stands.
 *
 *     qu_plan plan;
 *     QU_TRY(qu_plan_make(&plan, txn, hits, n_hits, &options, err));
 *     for (int32_t i = 0; i < plan.n_pages; i++) attach(plan.pages[i]);   // in order, at .pos
 *     ask at position plan.end_pos;
 *     qu_plan_free(&plan);
 *
 * Positions are fixed here, once a question (DESIGN.md 3.4): after the prefix come the documents,
 * best first, each with its header (page 0) and its candidate pages in order. Pages of a document
 * keep their original distances if every document's whole span fits the window, else all gaps are
 * closed.
 *
 *   [prefix][header A][A.1][A.2]...[gap][A.7][header B][B.3] question
 */
#ifndef QU_RETRIEVE_PLAN_H
#define QU_RETRIEVE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "index/lexical.h"
#include "store/catalogue.h"

enum {
    QU_PLAN_PAGES = 32,      /* default number of candidate pages */
    QU_PLAN_SHORT_SHARE = 8, /* a document of at most max_pages / 8 pages comes whole */
};

/* Hits below this share of the best one's score are no candidates: a far page costs time and
 * distracts. At .4 the list still holds .997 of XQuAD-en's gold pages (as without a floor) and .984
 * of NQ's (.988), with 6 and 11 pages on average instead of 32 (BENCHMARKS.md). */
#define QU_PLAN_FLOOR 0.4f

typedef struct qu_plan_options {
    int32_t max_pages;       /* headers not counted */
    int64_t prefix_tokens;   /* positions 0 .. prefix_tokens - 1 are the prefix */
    int64_t room_tokens;     /* what the window leaves for documents */
    float floor;             /* QU_PLAN_FLOOR */
} qu_plan_options;

typedef struct qu_plan_page {
    int32_t doc;             /* index into docs */
    int32_t page;            /* 0 = the header */
    int64_t pos;             /* position of its first token */
    float score;             /* of its hit; 0 where it came with its document */
    qu_page record;
} qu_plan_page;

typedef struct qu_plan_doc {
    qu_doc doc;
    int32_t first, n;        /* its pages in the plan, the header included */
    float score;             /* its best hit's */
    bool whole;              /* every page of it is in the plan */
} qu_plan_doc;

typedef struct qu_plan {
    qu_plan_doc *docs;
    qu_plan_page *pages;
    int32_t n_docs, n_pages;
    int64_t n_tokens;        /* in all pages of the plan */
    int64_t end_pos;         /* the position after the last page: the question's */
    bool gaps_closed;
} qu_plan;

/* Make the plan from hits (best first). Hits whose document is gone are passed over, pages that do
 * not fit the room too. An empty plan (n_pages 0) means that nothing was found. Errors: those of
 * the catalogue; QU_ERR_NOMEM. On error *plan is empty. */
qu_status qu_plan_make(qu_plan *plan, qu_txn *txn, const qu_lexical_hit *hits, int32_t n_hits,
                       const qu_plan_options *options, qu_err *err);

void qu_plan_free(qu_plan *plan);

#endif
