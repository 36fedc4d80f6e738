/* Phase two of indexing: make the KV of every document that lacks it, in packs, resumable page by
 * page.
 *
 *     qu_make_kv_report r = {0};
 *     QU_TRY(qu_make_kv(&session, &options, &r, err));
 *
 * Documents go into one KV file until it holds PACK_BYTES, larger ones into a file of their own. A
 * file is published by one catalogue transaction when it is sealed; an interrupted one is taken up
 * again by the next run. Documents go through the model several at a time (pipelines/encode.h);
 * those with the same text share KV. What questions read most is made first; what finds no room
 * under the quota (store/quota.h) is left out, and made by the question that needs it.
 */
#ifndef QU_PIPELINES_MAKE_KV_H
#define QU_PIPELINES_MAKE_KV_H

#include "pipelines/session.h"
#include "store/quota.h"

typedef struct qu_make_kv_options {
    bool (*stop)(void); /* asked between passes of pages; NULL = never */
    double max_seconds; /* stop after this long; 0 = no limit */
} qu_make_kv_options;

typedef struct qu_make_kv_report {
    int64_t docs, pages, tokens; /* made in this run */
    int64_t shared;              /* documents that took another's KV */
    int64_t failed;              /* documents the model cannot hold */
    int64_t over_quota;          /* documents there was no room for */
    int64_t evicted;             /* documents that lost their KV to the quota */
    double seconds, flops;
    bool stopped;
} qu_make_kv_report;

/* Documents that lack KV, their tokens, and the floating-point operations that making it takes. */
typedef struct qu_make_kv_work {
    int64_t docs, tokens;
    double flops;
} qu_make_kv_work;
qu_status qu_make_kv_missing(qu_session *s, qu_make_kv_work *work, qu_err *err);

/* The quota of the session's store, by this model's cost. */
qu_status qu_make_kv_quota(qu_quota **q, qu_session *s, qu_err *err);

/* Evict down to the quota; *evicted documents. */
qu_status qu_make_kv_trim(qu_session *s, int64_t *evicted, qu_err *err);

/* Bytes that a document's KV takes on the disk, rather too many; and what a pack may grow to. */
int64_t qu_make_kv_bytes(const qu_session *s, int64_t n_tokens, int32_t n_pages);
int64_t qu_make_kv_pack(const qu_quota *q);

/* Make KV for all documents. Errors: those of store and context; a stop is no error. */
qu_status qu_make_kv(qu_session *s, const qu_make_kv_options *options, qu_make_kv_report *report,
                     qu_err *err);

#endif
