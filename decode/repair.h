/* Repair: make stored pages fit their company. Pages were computed in their own document's
 * context; here the few tokens that a question attends to most are computed again in the joint
 * context of all pages before them, and their keys and values take the stored ones' place.
 *
 *     qu_repair_report r;
 *     const int32_t *ids[] = {prefix_ids, header_ids, page_ids, ...};      // one a segment
 *     QU_TRY(qu_repair(c, ids, 1, .15, question, n, pos, &r, err)); // segment 0 is right already
 *     QU_TRY(qu_context_step(c, question, n, pos, 1, logits, err)); // answer over what is mended
 *
 * A recomputed token sees earlier positions only: every earlier segment, and its own segment up to
 * itself. Tokens of the question never compete for the budget. All tokens recomputed give the bits
 * of a fresh prefill (codecs f32 and f16; with q8 keys stay finer than a fresh page's); none
 * recomputed leaves every bit as it was. The choice does not depend on the number of threads.
 * Summaries of repaired pages stay as they were.
 * Source: PAPERS.md (CacheBlend, ProphetKV, InfoFlow KV). A context has one user at a time.
 */
#ifndef QU_DECODE_REPAIR_H
#define QU_DECODE_REPAIR_H

#include "decode/context.h"

/* Share of the pages' tokens that is recomputed unless the user says otherwise. */
#define QU_REPAIR_SHARE 0.15

/* A token of the context: which segment, which place in it, its id. */
typedef struct qu_repair_token {
    int32_t segment, at, id;
} qu_repair_token;

typedef struct qu_repair_report {
    int64_t tokens, recomputed; /* in all segments; of these computed again */
    double flops;               /* operations of looking and recomputing */
} qu_repair_report;

/* How much question ids [n] at pos attend to each context token: softmax mass times the value's
 * norm, summed over the question's tokens, layers and heads. *scores: malloc'ed, one a token of the
 * segments in order; the caller frees it. The selection hook is not asked: every slice is read.
 * Leaves no live token. Errors: those of qu_context_step; QU_ERR_ARG after a step. */
qu_status qu_repair_scores(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                           double **scores, qu_err *err);

/* Compute n tokens again, which must ascend by segment and place. Errors: QU_ERR_ARG (order, place,
 * id, after a step), QU_ERR_NOMEM, the sources'. After an error the context must be freed. */
qu_status qu_repair_tokens(qu_context *c, const qu_repair_token *tokens, int32_t n, qu_err *err);

/* Both: recompute share (0..1) of the tokens in segments [first, ...), those with the highest
 * scores, earlier ones among equals. first: segments before it hold what a fresh prefill would (the
 * prefix, a document in its own place). ids [segments] points at each segment's token ids (those
 * before first may be NULL). report may be NULL. Errors: those above; QU_ERR_ARG (share). */
qu_status qu_repair(qu_context *c, const int32_t *const *ids, int32_t first, double share,
                    const int32_t *question, int32_t n, int64_t pos, qu_repair_report *report,
                    qu_err *err);

#endif
