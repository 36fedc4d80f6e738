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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/status.h"
#include "decode/model.h"
#include "decode/sample.h"
#include "kernels/attend.h"

typedef struct qu_context qu_context;

/* Tokens of one page and the position of its first. 1 <= n <= QU_PAGE_TOKENS. */
typedef struct qu_page_tokens {
    const int32_t *ids;
    int32_t n;
    int64_t pos;
} qu_page_tokens;

/* Bytes of a page's summary: a qu_summary of n tokens for each layer and KV head, [L][G]. */
int64_t qu_page_summary_bytes(const qu_model *m, int32_t n);

/* Where an attached page's slices come from. Both are called from several threads at a time. get's
 * bytes must stay valid until it is called again by the same thread, and have the codec's size for
 * n tokens. summary gives qu_page_summary_bytes, valid as long as the page is attached; a page
 * without (NULL, or QU_ERR_NOTFOUND) is always read, one with is a candidate of selection. key:
 * pages of one model that share key, tokens and codec have the same slices, also in a later
 * context, which may then find them in a device's memory; 0, 0: no other is the same. */
typedef struct qu_page_source {
    qu_status (*get)(void *ctx, int32_t layer, int32_t kv_head, const void **data, size_t *bytes,
                     qu_err *err);
    void *ctx;
    qu_status (*summary)(void *ctx, const void **data, size_t *bytes, qu_err *err);
    uint64_t key[2];
} qu_page_source;

/* Where prefilled slices go: page counts from 0 within the call. Called from the calling thread
 * only; summary (NULL: not made) once a page, after its slices. */
typedef struct qu_page_sink {
    qu_status (*put)(void *ctx, int32_t page, int32_t layer, int32_t kv_head, const void *data,
                     size_t bytes, qu_err *err);
    void *ctx;
    qu_status (*summary)(void *ctx, int32_t page, const void *data, size_t bytes, qu_err *err);
} qu_page_sink;

/* What one KV head of one layer sees of the candidates when it chooses, all borrowed. */
typedef struct qu_sense {
    int32_t layer, kv_head, n_rows, n_pages;
    const float *q; /* [n_rows, D]: tokens times heads of the group, rotated and scaled */
    int64_t ldq;
    /* [n_rows, D/2]: q's squares, added up over the pairs that RoPE turns */
    const float *q2;
    /* [n_parts] all candidates' clusters, turned to their places, with their spread; bias =
     * ln(count), -INF in columns of nothing. In bytes only if the hook says so */
    const qu_attend_kv *parts;
    int32_t n_parts;
    const int32_t *first;       /* [n_pages + 1] range of each page's columns in all parts */
    const int32_t *tokens;      /* [n_pages] */
    const qu_attend_kv *slices; /* [n_pages] whole slices; NULL without reads_keys */
} qu_sense;

/* The default policy in a form that a device can follow by itself: per KV head the pages with the
 * most softmax mass of their clusters a token, spreads counted, that fit budget tokens. heads
 * [L,G]: those at .5 or more read everything; NULL: none. told is called after each choice. */
typedef struct qu_select_plan {
    int64_t budget;
    const float *heads;
    void (*told)(void *ctx, int32_t layer, const int32_t *tokens, int32_t n_pages, int32_t n_heads,
                 const uint8_t *use);
} qu_select_plan;

/* Chooses which candidates each KV head of a layer reads in full. Called in the calling thread. */
typedef struct qu_select_hook {
    /* heads [G]; use [n_pages, G] comes in zero, 1 = read. */
    qu_status (*select)(void *ctx, const qu_sense *heads, int32_t n_heads, uint8_t *use,
                        qu_err *err);
    /* NULL, or told after each choice what a full read would have shown: mass [n_pages, G], the
     * mean over rows of the softmax over candidates alone. Reads every candidate, uncounted. */
    void (*measured)(void *ctx, int32_t layer, int32_t n_pages, int32_t n_heads, const float *mass,
                     const uint8_t *use);
    void *ctx;
    bool reads_keys; /* select looks at whole slices; their keys count as bytes read */
    bool far_field;  /* clusters of pages that were not chosen take part in attention */
    int32_t refresh; /* choose anew at every refresh-th generated token; 0 = never */
    const qu_select_plan *plan; /* on a device instead of select; NULL: the hook is refused there */
    bool bytes; /* candidates and clusters may be held in bytes: not with reads_keys; never on a
                 * device */
} qu_select_hook;

/* codec: how prefilled pages are rounded and attached ones are stored. model and pool are borrowed
 * (pool may be NULL: one thread). Errors: QU_ERR_NOMEM, QU_ERR_ARG. */
qu_status qu_context_create(qu_context **c, const qu_model *model, qu_pool *pool, int codec,
                            qu_err *err);
void qu_context_free(qu_context *c);
QU_OWNER(qu_context, qu_context_free)

/* Append a stored page of n tokens at position pos. Its slices are fetched layer by layer when a
 * step or prefill first reads them. source's ctx must outlive the context. Not after a step
 * (QU_ERR_ARG). */
qu_status qu_context_attach(qu_context *c, int32_t n, int64_t pos, const qu_page_source *source,
                            qu_err *err);

/* Compute and append fresh pages in order. sink may be NULL. Positions ascend; gaps are allowed. A
 * page that does not stand behind the one before it begins another document: this one sees what was
 * there before the call and none of the call's other documents. So several go through the layers
 * together, and each gets the bits that it gets alone; cut the context before a step, which would
 * see them all. On error the pages of this call are not appended. Errors: QU_ERR_ARG (token id,
 * after a step), QU_ERR_NOMEM, QU_ERR_UNSUPPORTED (several documents on a device), the sink's and
 * sources'. */
qu_status qu_context_prefill(qu_context *c, const qu_page_tokens *pages, int32_t n_pages,
                             const qu_page_sink *sink, qu_err *err);

/* Append n live tokens at positions pos .. pos + n - 1, directly after earlier live ones, and write
 * the logits of the last n_logits of them into logits [n_logits,V]. The first step behind the pages
 * is the question: where documents are multiplied in tiles, its rows are, too (qu_linear_prompt).
 * So there a token's bits depend on whether it was in the first step. Errors: QU_ERR_ARG,
 * QU_ERR_NOMEM, the sources'; QU_ERR_CORRUPT when the model's output is not a number. */
qu_status qu_context_step(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                          int32_t n_logits, float *logits, qu_err *err);

/* On a device (decode/device.h), where logits are far: the same, but of the last n_choices tokens
 * only what greedy decoding chooses behind them, choices [n_choices]: what qu_sample_greedy and
 * qu_sample_share make of the logits, the share within 1e-5. Errors: also QU_ERR_UNSUPPORTED (on
 * the processor). */
qu_status qu_context_step_greedy(qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                                 int32_t n_choices, qu_choice *choices, qu_err *err);

/* Forget live tokens beyond the first n: state as if they had never been stepped. */
void qu_context_rewind(qu_context *c, int64_t n);

/* Forget every segment from index first (and all live tokens). */
void qu_context_cut(qu_context *c, int32_t first);

/* Put an attached segment at another position: its keys are fetched and rotated anew when next
 * read. */
void qu_context_move(qu_context *c, int32_t segment, int64_t pos);

/* Look on: watch gets each layer's queries [n_rows,H,D], rotated and scaled, in the calling thread,
 * before they attend; those of a prefill's last layer are never made. NULL: nobody looks. */
void qu_context_watch(qu_context *c,
                      void (*watch)(void *ctx, int32_t layer, const float *q, int32_t n_rows),
                      void *ctx);

/* Use the hook from now on; NULL: every segment is read. The first step after the pages is the
 * question: its tokens, given in one call, choose together (in blocks of 512); afterwards one token
 * in refresh chooses. A token's choice depends on its place alone, not on how tokens are grouped
 * into steps, and rewind brings back what was chosen before. */
void qu_context_select(qu_context *c, const qu_select_hook *hook);

int32_t qu_context_segments(const qu_context *c);
int64_t qu_context_live(const qu_context *c);

/* What attached segments have cost so far. */
typedef struct qu_context_stats {
    int64_t slices_read, bytes_read;
    int64_t slices_evicted; /* that made way for others of the same context on a device */
    double load_ms; /* wall time spent fetching, decoding and rotating */
} qu_context_stats;
qu_context_stats qu_context_stats_get(const qu_context *c);

/* Numerics class of this process: "2/avx512/dnnl-f32": engine number, instruction set, document
 * product. */
void qu_context_numerics(char out[48]);

#endif
