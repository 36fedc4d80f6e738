/* Making KV: the prefix once a store, then documents, each behind it as if there were no other.
 *
 *   prefilled sequence   [prefix][header][page 1][page 2] ... [page n]
 *   positions            0 ..    p       p + h   ...
 *
 * Documents inside the window go through the layers together, up to QU_ENCODE_TOKENS of them: rows
 * of several fill a pass, and the weights are read and dequantised once for all.
 *
 * A document longer than the model's window is streamed: a chunk of up to QU_ENCODE_CHUNK pages
 * sees
 *
 *   [prefix][header][pages looked back at][latest pages][chunk]
 *
 * the latest pages at their true distances, before them, moved up, the earlier pages that the chunk
 * before attended to most (retrieve/lookback.h): each kind fills up to half of what the window
 * leaves. Chunks begin at fixed pages and their lists are kept with the pages, so a resumed
 * document gets the same bits.
 */
#ifndef QU_PIPELINES_ENCODE_H
#define QU_PIPELINES_ENCODE_H

#include "base/memory.h"
#include "decode/page_memory.h"
#include "pipelines/session.h"

enum { QU_ENCODE_CHUNK = 4, QU_ENCODE_TOKENS = 2048 };

typedef struct qu_encoder qu_encoder;

/* Get the prefix's slices ready: from the store, else computed (and kept in the store where it is
 * writable, in a transaction of its own). Errors: those of store and context. */
qu_status qu_encoder_create(qu_encoder **e, qu_session *s, qu_err *err);
void qu_encoder_free(qu_encoder *e);
QU_OWNER(qu_encoder, qu_encoder_free)

/* Attach the prefix to a fresh context at position 0; nothing for an empty prefix. */
qu_status qu_encoder_attach_prefix(const qu_encoder *e, qu_context *c, qu_err *err);

/* Context hash of a page: everything to its left and itself. prev: the page before, or for page 0
 * what qu_encode_context_start gives (prefix; window and policy where the document must be
 * streamed). */
qu_hash qu_encode_context_start(const qu_session *s, int64_t n_tokens);
qu_hash qu_encode_context_next(qu_hash prev, const int32_t *ids, int32_t n);

/* Of a document of that many tokens whose first n_same pages are an older version's: how many of
 * that version's leading pages have the KV that this one needs. Inside the window all of them. A
 * streamed page also depends on the lengths of its chunk's later pages, and what the chunk after it
 * looks back at on its chunk's queries: whole chunks, all but the last of these. */
int32_t qu_encode_kept(const qu_session *s, int64_t n_tokens, int32_t n_same);

/* What belongs to a page: its slices; its summary; where it begins a streamed chunk, the list of
 * the pages that the chunk looks back at, written before the page itself. */
typedef struct qu_encode_part {
    uint8_t kind; /* QU_KV_SLICE, QU_KV_SUMMARY, QU_KV_LOOKBACK */
    int32_t page, layer, kv_head; /* the last two of slices alone */
} qu_encode_part;

/* Where a document's parts go. done: leading pages that are there already and can be read back; get
 * is called for what was put, in this run or before. stop is asked between passes. page_done and
 * stop may be NULL. */
typedef struct qu_encode_output {
    int32_t done;
    qu_status (*get)(void *ctx, const qu_encode_part *part, const void **data, size_t *bytes,
                     qu_err *err);
    qu_status (*put)(void *ctx, const qu_encode_part *part, const void *data, size_t bytes,
                     qu_err *err);
    qu_status (*page_done)(void *ctx, int32_t page, int32_t n_tokens, qu_err *err);
    bool (*stop)(void *ctx);
    void *ctx;
} qu_encode_output;

/* A document: its page table and token ids, page 0 first, and where its parts go. */
typedef struct qu_encode_doc {
    const qu_page *pages;
    int32_t n_pages;
    const int32_t *ids;
    qu_encode_output out;
} qu_encode_doc;

/* QU_ERR_LIMIT where the model's window is too small for a chunk behind that header (page 0). */
qu_status qu_encode_check(const qu_session *s, const qu_page *header, qu_err *err);

/* Make the KV of all pages of n documents. Pages of one are handed out in order, those of several
 * by turns. Errors: QU_ERR_CANCELLED when a stop said so (finished pages were handed out); those of
 * qu_encode_check, of the outputs and of the context; the documents after the error are not
 * begun. */
qu_status qu_encode_documents(const qu_encoder *e, const qu_encode_doc *docs, int32_t n,
                              qu_err *err);

/* Prefill speed of this machine in floating-point operations a second: what the store remembers,
 * else a modest guess. Divides qu_model_prefill_flops to an estimate of seconds. */
double qu_encode_speed(qu_session *s);
/* Remember a measurement in the store (writable): that many operations in that many seconds. Too
 * short a run says little and is not kept. */
qu_status qu_encode_speed_put(qu_session *s, double flops, double seconds, qu_err *err);

#endif
