/* The state of one sequence: an ordered list of segments of at most QU_PAGE_TOKENS tokens, each
 * with its keys and values, and the forward pass over them.
 *
 *     qu_context *c;
 *     QU_TRY(qu_context_create(&c, model, pool, QU_CODEC_F16, err));
 *     qu_context_attach(c, n, pos, &source, err);         // a stored page: fetched when used
 *     qu_context_prefill(c, pages, n_pages, &sink, err);  // fresh pages: computed, handed out
 *     qu_context_step(c, question, n, pos, 1, logits, err);   // question and generated tokens
 *
 *   segments   [prefix][header][page]...[page][live]...[live]
 *                 attached or prefilled            question, answer
 *
 * A token sees every earlier segment and its own segment up to itself. Numerics rule (DESIGN.md
 * section 4): prefilled pages are rounded to the codec before anything reads them, their own tokens
 * included; partial attentions are merged in segment order; step gives each token the same bits
 * however tokens are grouped. So a document attached from the store and the same document prefilled
 * here answer alike, bit for bit.
 *
 * A context belongs to one thread at a time; model and pool are shared (one running context a
 * pool).
 */
#ifndef QU_DECODE_CONTEXT_H
#define QU_DECODE_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "decode/model.h"

typedef struct qu_context qu_context;

/* Tokens of one page and the position of its first. 1 <= n <= QU_PAGE_TOKENS. */
typedef struct qu_page_tokens {
    const int32_t *ids;
    int32_t n;
    int64_t pos;
} qu_page_tokens;

/* Where an attached page's slices come from. get is called from several threads at a time; the
 * bytes must stay valid until it is called again by the same thread, and have the codec's size for
 * n tokens. */
typedef struct qu_page_source {
    qu_status (*get)(void *ctx, int32_t layer, int32_t kv_head, const void **data, size_t *bytes,
                     qu_err *err);
    void *ctx;
} qu_page_source;

/* Where prefilled slices go: page counts from 0 within the call. Called from the calling thread
 * only. */
typedef struct qu_page_sink {
    qu_status (*put)(void *ctx, int32_t page, int32_t layer, int32_t kv_head, const void *data,
                     size_t bytes, qu_err *err);
    void *ctx;
} qu_page_sink;

/* Selection hook, called once a layer of every step, before attention: q [T,H,D] are the layer's
 * queries, rotated and scaled; use [n_segments,G] comes in all ones and goes out with 0 for a
 * segment that a KV head does not read. Live segments are always read. */
typedef struct qu_select_hook {
    qu_status (*select)(void *ctx, int32_t layer, const float *q, int32_t n_rows, uint8_t *use,
                        int32_t n_segments, qu_err *err);
    void *ctx;
} qu_select_hook;

/* codec: how prefilled pages are rounded and attached ones are stored. model and pool are borrowed
 * (pool may be NULL: one thread). Errors: QU_ERR_NOMEM, QU_ERR_ARG. */
qu_status qu_context_create(qu_context **c, const qu_model *model, qu_pool *pool, int codec,
                            qu_err *err);
void qu_context_free(qu_context *c);

/* Append a stored page of n tokens at position pos. Its slices are fetched layer by layer when a
 * step or prefill first reads them. source's ctx must outlive the context. Not after a step
 * (QU_ERR_ARG). */
qu_status qu_context_attach(qu_context *c, int32_t n, int64_t pos, const qu_page_source *source,
                            qu_err *err);

/* Compute and append fresh pages in order. sink may be NULL. Positions ascend; gaps are allowed. On
 * error the pages of this call are not appended. Errors: QU_ERR_ARG (token id, order, after a
 * step), QU_ERR_NOMEM, the sink's and sources'. */
qu_status qu_context_prefill(qu_context *c, const qu_page_tokens *pages, int32_t n_pages,
                             const qu_page_sink *sink, qu_err *err);

/* Append n live tokens at positions pos .. pos + n - 1, directly after earlier live ones, and write
 * the logits of the last n_logits of them into logits [n_logits,V]. Errors: QU_ERR_ARG,
 * QU_ERR_NOMEM, the sources'; QU_ERR_CORRUPT when the model's output is not a number. */
qu_status qu_context_step(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                          int32_t n_logits, float *logits, qu_err *err);

/* Forget live tokens beyond the first n: state as if they had never been stepped. */
void qu_context_rewind(qu_context *c, int64_t n);

/* Forget every segment from index first (and all live tokens). */
void qu_context_cut(qu_context *c, int32_t first);

/* Remove segments [first, first + n) from the middle: a streamed document drops its oldest pages.
 * */
void qu_context_drop(qu_context *c, int32_t first, int32_t n);

/* Put an attached segment at another position: its keys are fetched and rotated anew when next
 * read. */
void qu_context_move(qu_context *c, int32_t segment, int64_t pos);

/* Use the hook from now on; NULL: every segment is read. */
void qu_context_select(qu_context *c, const qu_select_hook *hook);

int32_t qu_context_segments(const qu_context *c);
int64_t qu_context_live(const qu_context *c);

/* What attached segments have cost so far. */
typedef struct qu_context_stats {
    int64_t slices_read, bytes_read;
    double load_ms; /* wall time spent fetching, decoding and rotating */
} qu_context_stats;
qu_context_stats qu_context_stats_get(const qu_context *c);

/* Numerics class of this process: "1/avx512/dnnl-f32": engine number, instruction set, document
 * product. */
void qu_context_numerics(char out[48]);

#endif
