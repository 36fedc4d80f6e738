/* Generating tokens, several a pass where they can be guessed: propose, verify, commit or roll
 * back.
 *
 *     qu_draft_options o = {.kind = QU_DRAFT_AUTO, .context = c, .model = m, .logits = logits,
 *                           .pos = pos, .most = 256, .suffix = suffix};
 *     QU_TRY(qu_draft_create(&d, &o, err));
 *     while (n++ < 256 && !qu_draft_ended(d)) {
 *         QU_TRY(qu_draft_next(d, &id, &probability, err));
 *         if (ends(id)) break;
 *     }
 *     qu_draft_finish(d);       // the context is as plain decoding would have left it
 *     qu_draft_free(d);
 *
 * A drafter proposes gamma tokens; one step of gamma + 1 rows gives the logits behind each; tokens
 * are then chosen from the first row on, exactly as plain decoding would choose them, until one
 * differs from the draft; the context forgets the rest. Since a row's bits do not depend on its
 * company and a choice depends on (logits, options, number of the token) alone, the drafts of
 * `ngram` change nothing but the speed: the same tokens come with and without, greedy or sampled.
 *
 *   ngram  what followed the longest suffix of the text so far in the pages or the text itself
 *          (decode/suffix.h); with a quote, what follows in the quoted page
 *   self   the same weights over few pages: a second context with a small budget (RAPID). Greedy:
 *          the same tokens as without. Sampled: a draft x is accepted iff u <= p'(x) / q(x), else
 *          the token is drawn from the residual; the distribution is plain sampling's while
 *          transfer is 0, and is moved towards the drafter's by transfer > 0.
 *   auto   ngram where its expected gain, by the acceptance seen in this answer and the measured
 *          times of passes, is positive, and never so that more than QU_DRAFT_STAKE of the plain
 *          time is at risk
 *
 * A draft belongs to one thread. Source: RAPID, arXiv:2502.20330.
 */
#ifndef QU_DECODE_DRAFT_H
#define QU_DECODE_DRAFT_H

#include "base/memory.h"
#include "decode/context.h"
#include "decode/quote.h"
#include "decode/sample.h"
#include "decode/suffix.h"

/* In the order of --draft's choices. */
typedef enum qu_draft_kind {
    QU_DRAFT_AUTO = 0,
    QU_DRAFT_NONE = 1,
    QU_DRAFT_NGRAM = 2,
    QU_DRAFT_SELF = 3,
} qu_draft_kind;

enum { QU_DRAFT_MAX = 31 }; /* tokens of a draft: verification has at most 32 rows */

/* Share of plain decoding's time that auto may lose to drafts that fail. */
#define QU_DRAFT_STAKE 0.04

typedef struct qu_draft_options {
    qu_draft_kind kind;
    qu_sample sample;
    /* Shown the logits before token number i is chosen; returns it, or -1 for the sampler's. NULL:
     * none. Only with QU_DRAFT_NONE and no quote. */
    int32_t (*choose)(void *ctx, int32_t i, const float *logits);
    void *choose_ctx;
    const qu_model *model;
    qu_context *context; /* has stepped the prompt */
    const float *logits; /* [V] behind its last token; copied */
    int64_t pos;         /* position of the first token to come */
    int64_t most;        /* tokens that will be taken at most: none is drafted beyond */
    qu_suffix *suffix;   /* has the pages and the prompt; grows. NULL: no ngram drafts */
    qu_quote *quote;     /* NULL: the text is free; else only quotes */
    /* self: a context over the same pages without live tokens, and the prompt that it steps when
     * first used. */
    qu_context *small;
    const int32_t *prompt;
    int32_t n_prompt;
    float transfer; /* eta >= 0; > 0 only with self and a temperature: lossy */
} qu_draft_options;

typedef struct qu_draft_stats {
    int64_t proposed, accepted; /* drafted tokens */
    int64_t passes;             /* steps of the context */
} qu_draft_stats;

typedef struct qu_draft qu_draft;

/* Everything in o is borrowed. Errors: QU_ERR_ARG (transfer without self and temperature, self
 * without small or with a quote), QU_ERR_NOMEM. */
qu_status qu_draft_create(qu_draft **d, const qu_draft_options *o, qu_err *err);
void qu_draft_free(qu_draft *d);
QU_OWNER(qu_draft, qu_draft_free)

/* The next token, and the share that the model itself gave it (softmax of its logits as they are;
 * NULL: not wanted). Not after the last of o->most or the
 * end of a quote. Errors: those of
 * qu_context_step and qu_sample_pick. */
qu_status qu_draft_next(qu_draft *d, int32_t *id, double *probability, qu_err *err);

/* Has the quote ended with the last token taken? */
bool qu_draft_ended(const qu_draft *d);

/* The context forgets tokens that were verified and not taken; the last one taken is not in it, as
 * in plain decoding. No qu_draft_next after it. */
void qu_draft_finish(qu_draft *d);

qu_draft_stats qu_draft_stats_get(const qu_draft *d);

#endif
