/* The token loop that `ask` and `complete` share: tokens from a draft until one ends it.
 *
 *     qu_generate g = {.draft = {.kind = kind, .sample = sample, .context = c, .logits = logits,
 *                                .pos = pos, .most = 256},
 *                      .tok = tok, .token = add_token, .ctx = &answer};
 *     QU_TRY(qu_generate_run(&g, err));
 *     ... g.stop, g.stats ...
 *
 * Afterwards the context is as plain decoding would have left it.
 */
#ifndef QU_PIPELINES_GENERATE_H
#define QU_PIPELINES_GENERATE_H

#include <jansson.h>

#include "decode/draft.h"
#include "decode/token.h"

typedef struct qu_generate {
    qu_draft_options draft;
    const qu_tokenizer *tok;
    bool ignore_end;        /* go on after an end token */
    bool wants_probability; /* else token gets 0 */
    /* Called with each token but an end token; *stop = true makes it the last. */
    qu_status (*token)(void *ctx, int32_t id, double probability, bool *stop, qu_err *err);
    /* Called once when the first token is known, before token; NULL: not. */
    void (*first)(void *ctx);
    void *ctx;
    const char *stop;     /* out: why it ended: "length", "end" */
    qu_draft_stats stats; /* out */
} qu_generate;

/* Errors: those of qu_draft_create and qu_draft_next, and token's. */
qu_status qu_generate_run(qu_generate *g, qu_err *err);

/* {"proposed","accepted","passes"} of docs/json.md. */
json_t *qu_generate_json(const qu_draft_stats *s);

#endif
