/* How often the KV of each document was read: what the quota decides by (store/quota.h).
 *
 *     qu_use_add(store, kv_ids, n);               // after a question: best effort, takes no lock
 *
 *     qu_use u = {0};
 *     QU_TRY(qu_use_read(&u, store, n_kept, err));    // the quota
 *     double s = qu_use_score(&u, kv_id);
 *     qu_use_free(&u);
 *
 * The record is the file `use` beside the catalogue. Readers only append to it, a record of 32
 * bytes a document, so they stay readers: nothing waits for them and nothing depends on their
 * success. A damaged or cut record is skipped, the file may be deleted at any moment: then all
 * documents count as never used. The writer drops the older half of it now and then; what is
 * appended meanwhile may get lost.
 *
 * A document's score is the number of its uses, each halved for every QU_USE_HALF * n_kept uses of
 * anything that came after it: between "least often" and "least recently", on the scale of what the
 * quota holds.
 * Threads: a qu_use belongs to one thread; qu_use_add may be called by any.
 */
#ifndef QU_STORE_USE_H
#define QU_STORE_USE_H

#include "store/store.h"

enum {
    QU_USE_MAX_BYTES = 8 << 20, /* above this readers append no more */
    QU_USE_HALF = 2,            /* a use counts half after this many uses a document that has KV */
    QU_USE_LEAST = 32,          /* ... but no fewer uses than this */
};

typedef struct qu_use_entry {
    uint64_t kv_id;
    double score;
} qu_use_entry;

/* Zero is an empty one. */
typedef struct qu_use {
    qu_use_entry *v; /* [n] by kv_id */
    size_t n;
} qu_use;

/* Note that a question read the KV of these. Not on read-only media, nor on a full disk. */
void qu_use_add(const qu_store *s, const uint64_t *kv_ids, size_t n);

/* All that was noted; no file: nothing. n_kept: documents that have KV. Makes the file shorter when
 * it has grown and the store is open for writing. Errors: QU_ERR_NOMEM. */
qu_status qu_use_read(qu_use *u, const qu_store *s, size_t n_kept, qu_err *err);

/* 0 for an unknown one. */
double qu_use_score(const qu_use *u, uint64_t kv_id);

void qu_use_free(qu_use *u);

#endif
