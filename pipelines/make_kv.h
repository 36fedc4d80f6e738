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

struct qu_fresh;

typedef struct qu_make_kv_options {
    bool (*stop)(void); /* asked between passes of pages; NULL = never */
    /* only these documents, whose KV is there already and is put into the store; NULL: all */
    const struct qu_fresh *made;
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

/* Evict down to the quota; *evicted documents. */
qu_status qu_make_kv_trim(qu_session *s, int64_t *evicted, qu_err *err);

/* Make KV for what lacks it. A stop is no error. Errors: those of store and context. */
qu_status qu_make_kv(qu_session *s, const qu_make_kv_options *options, qu_make_kv_report *report,
                     qu_err *err);

#endif
