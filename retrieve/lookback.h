/* Which earlier pages a streamed chunk looks back at: those that the chunk before it attends to.
 *
 *     qu_lookback *b;
 *     QU_TRY(qu_lookback_create(&b, model, pool, tokens, n_pages, err));
 *     for each page as it is made or read back: qu_lookback_summary(b, page, data, bytes, err);
 *     qu_lookback_begin(b, pos);                           // what follows scores anew
 *     qu_context_watch(c, qu_lookback_watch, b);           // the chunk's queries
 *     ... prefill the chunk ...
 *     QU_TRY(qu_lookback_pick(b, use, n_earlier, budget, err));
 *
 * A few layers sense, every sixteenth row of the chunk. All pages are scored as if they began at
 * pos, so distance alone favours none. Their clusters stay in memory: about 5 bytes a token,
 * sensing layer and channel of a KV head. After RetroLM, arXiv:2502.11444, whose trained bookmarks
 * the clusters stand in for, and which picks for each page and layer; here a chunk has one list.
 */
#ifndef QU_RETRIEVE_LOOKBACK_H
#define QU_RETRIEVE_LOOKBACK_H

#include "base/memory.h"
#include "base/pool.h"
#include "decode/context.h"

/* Part of the context hash of streamed pages: another way to choose is another number. */
#define QU_LOOKBACK_POLICY "sensed/2"

typedef struct qu_lookback qu_lookback;

/* tokens [n_pages] of each page. pool is borrowed, may be NULL. Errors: QU_ERR_NOMEM. */
qu_status qu_lookback_create(qu_lookback **b, const qu_model *m, qu_pool *pool,
                             const int32_t *tokens, int32_t n_pages, qu_err *err);
void qu_lookback_free(qu_lookback *b);
QU_OWNER(qu_lookback, qu_lookback_free)

/* Take a page's summary (qu_page_summary_bytes): from now on it is scored. Errors:
 * QU_ERR_CORRUPT. */
qu_status qu_lookback_summary(qu_lookback *b, int32_t page, const void *data, size_t bytes,
                              qu_err *err);

/* Forget all scores; queries come from positions about pos on. */
void qu_lookback_begin(qu_lookback *b, int64_t pos);

/* A qu_context_watch callback. */
void qu_lookback_watch(void *ctx, int32_t layer, const float *q, int32_t n_rows);

/* Mark in use [n_earlier] the pages among 1 .. n_earlier - 1 that caught most, budget tokens of
 * them at most. Errors: QU_ERR_NOMEM, also of watching. */
qu_status qu_lookback_pick(qu_lookback *b, uint8_t *use, int32_t n_earlier, int64_t budget,
                           qu_err *err);

#endif
