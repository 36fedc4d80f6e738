/* Which candidate pages each KV head of a layer reads in full: small scoring functions behind one
 * interface, one cut by a token budget, one table of heads.
 *
 *     qu_policy *p;
 *     QU_TRY(qu_policy_create(&p, &options, n_layers, n_kv_heads, err));
 *     qu_context_select(c, qu_policy_hook(p));          // before the question's step
 *     ... qu_policy_report(p, layer) ...                // --explain, eval
 *     qu_policy_free(p);
 *
 *   name       a page's score for a KV head                                        source
 *   dense      everything is read                                                  -
 *   streaming  its place: the latest pages                          StreamingLLM, arXiv:2309.17453
 *   page-mean  softmax mass of its mean key  InfLLM's kind, arXiv:2402.04617
 *   quest      bound of its logits from each channel's extremes            Quest, arXiv:2406.10774
 *   squeezed   its best cluster's mass per key, one threshold a layer  Squeezed, arXiv:2411.09688
 *   multipole  its clusters' softmax mass, spread counted, by head  Multipole, arXiv:2506.13059
 *   duo   heads of the table read everything, others stream               Duo, arXiv:2410.10819
 *
 * Scores are means over the choosing rows (question tokens times query heads of the group), the
 * softmax going over the candidates alone. Where quest's paper takes one query, ours takes that
 * mean of its softmax over pages. squeezed's threshold is set anew in each layer so that the budget
 * is met, instead of calibrated once: what it keeps of the paper is that heads share it. One thread
 * at a time; the pool is used inside.
 */
#ifndef QU_RETRIEVE_POLICY_H
#define QU_RETRIEVE_POLICY_H

#include "base/memory.h"
#include "base/pool.h"
#include "decode/context.h"

enum { QU_POLICY_BUDGET = 2048, QU_POLICY_REFRESH = 64 };
#define QU_POLICY_DEFAULT "multipole"

typedef struct qu_policy_options {
    const char *name; /* of the table above */
    int64_t budget;   /* tokens of candidates that a KV head reads in a layer */
    bool far_field;   /* clusters of the other pages take part in attention */
    int32_t refresh;  /* choose anew every so many generated tokens, 0 = never */
    bool measure;     /* fill caught and best of the report: reads every candidate */
    const float
        *heads;    /* [L,G] copied; a head at .5 or more reads everything. NULL: no such head */
    qu_pool *pool; /* borrowed, may be NULL */
    bool bytes; /* pages may be held in bytes (qu_select_hook); never for page-mean and quest */
} qu_policy_options;

/* What one layer chose so far, sums over its choices and heads. caught, best: softmax mass of the
 * chosen pages and of those that the same cut takes knowing the truth, each 0..1 a choice and head;
 * n counts. */
typedef struct qu_policy_layer {
    int64_t slices, tokens, candidate_slices, n;
    double caught, best;
} qu_policy_layer;

typedef struct qu_policy qu_policy;

/* Errors: QU_ERR_ARG (unknown name, budget below 1, duo without a table), QU_ERR_NOMEM. */
qu_status qu_policy_create(qu_policy **p, const qu_policy_options *options, int32_t n_layers,
                           int32_t n_kv_heads, qu_err *err);
void qu_policy_free(qu_policy *p);
QU_OWNER(qu_policy, qu_policy_free)

/* For qu_context_select; NULL for dense. Valid as long as p. */
const qu_select_hook *qu_policy_hook(const qu_policy *p);

/* layer: 0 .. L-1. */
qu_policy_layer qu_policy_report(const qu_policy *p, int32_t layer);

/* With measure: caught / best of each head, means over its choices, [L,G]; 1 where nothing was left
 * out. Borrowed. */
const float *qu_policy_heads(qu_policy *p);

/* Mark in use [n_pages] (stride apart) the pages with the most score a token whose tokens fit the
 * budget, at least one, ties to the earlier page. Errors: QU_ERR_NOMEM. */
qu_status qu_policy_cut(uint8_t *use, int32_t stride, const float *score, const int32_t *tokens,
                        int32_t n_pages, int64_t budget, qu_err *err);

#endif
