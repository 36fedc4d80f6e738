/* How much of the disk the KV files may take, and which go when it is too much.
 *
 *     qu_quota *q;
 *     QU_TRY(qu_quota_open(&q, store, cost, model, err));
 *     QU_TRY_OUT(qu_quota_room(q, 0, INFINITY, &fits, err));   // down to the limit
 *     double worth = qu_quota_worth(q, kv_id, n_tokens, bytes);
 *     QU_TRY_OUT(qu_quota_room(q, bytes, worth, &fits, err));  // room for a newcomer, if it is
 *     if (fits) { ... write and publish ...; qu_quota_grew(q, bytes); }  // worth more than those
 *     qu_quota_free(q);
 *
 * A KV file's worth is, summed over its documents, the cost of computing their KV again times how
 * often questions read it of late (store/use.h), by byte. What is worth least goes first, whole
 * files at a time: a pack with all its members, page summaries included, since they lie in the same
 * file. Text, tokens and words are never touched: an evicted document is found and answered from as
 * before, its KV is computed when a question needs it. A document that no question ever read
 * displaces nothing, and one read once displaces nothing that is read often.
 *
 * KV files alone count. The limit is what qu_quota_set was given, else a fifth of what the file
 * system has free and KV files hold already, less where that would leave under 1 GiB (a twentieth
 * of a small disk) free. Threads: one.
 */
#ifndef QU_STORE_QUOTA_H
#define QU_STORE_QUOTA_H

#include "base/memory.h"
#include "store/catalogue.h"

enum { QU_QUOTA_AUTO = -1 };

typedef struct qu_quota_state {
    int64_t limit;      /* bytes that KV files may take now */
    int64_t held;       /* bytes they take, files in progress included */
    int64_t set;        /* what was set, or QU_QUOTA_AUTO */
    int64_t free_bytes; /* of the file system, for us */
} qu_quota_state;

qu_status qu_quota_get(qu_txn *txn, qu_quota_state *state, qu_err *err);

/* bytes >= 0 or QU_QUOTA_AUTO. Errors: those of qu_catalogue_put_meta. */
qu_status qu_quota_set(qu_txn *txn, int64_t bytes, qu_err *err);

typedef struct qu_quota qu_quota;

/* What computing n tokens costs, in any unit. */
typedef double (*qu_quota_cost)(void *ctx, int64_t n_tokens);

/* Needs the lock, and no open transaction. Files that this process is writing are not counted: the
 * caller adds them to the bytes that it asks room for. Errors: those of catalogue.h. */
qu_status qu_quota_open(qu_quota **q, qu_store *s, qu_quota_cost cost, void *ctx, qu_err *err);
void qu_quota_free(qu_quota *q);
QU_OWNER(qu_quota, qu_quota_free)

/* How often the document's KV was read of late, 0 = never; and what its KV of that many bytes is
 * worth: 0 if never. */
double qu_quota_use(const qu_quota *q, uint64_t kv_id);
double qu_quota_worth(const qu_quota *q, uint64_t kv_id, int64_t n_tokens, int64_t bytes);

/* Make room for that many bytes by evicting files worth less than worth. *fits false: that is not
 * possible, and nothing was evicted. Needs no open transaction. */
qu_status qu_quota_room(qu_quota *q, int64_t bytes, double worth, bool *fits, qu_err *err);

/* A file of that many bytes was published. */
void qu_quota_grew(qu_quota *q, int64_t bytes);

int64_t qu_quota_limit(const qu_quota *q);
/* Documents that lost their KV. */
int64_t qu_quota_evicted(const qu_quota *q);

/* The decision alone: of n files by rising worth, how many of the first have to go to free need
 * bytes, each worth less than worth; -1: that cannot be done. */
typedef struct qu_quota_file {
    uint64_t file_id;
    int64_t bytes;
    double worth;
} qu_quota_file;
int64_t qu_quota_pick(const qu_quota_file *files, size_t n, int64_t need, double worth);

#endif
