/* Read everything in the store and report what is wrong with it; drop what is.
 *
 *     qu_check_stats s;
 *     QU_TRY(qu_store_check(store, print_finding, ctx, &s, err));
 *     if (s.n_problems) ...
 *
 * Checked: every catalogue record (checksum, own key), each document's indexes, text chunks against
 * its length and hash, page table, ids, and for each page below kv_pages every slice [layer][KV
 * head] with key, binding and checksum. KV files that no document uses are notes: the next index
 * run or gc deals with them.
 */
#ifndef QU_STORE_CHECK_H
#define QU_STORE_CHECK_H

#include "store/store.h"

typedef struct qu_check_stats {
    int64_t n_docs, n_records, n_slices;
    int64_t bytes;                 /* payload bytes verified */
    int64_t n_problems, n_notes;
    int64_t n_lost;                /* problems with what nothing in the store can make again */
    int64_t n_removed, n_kv_dropped; /* documents, by a repair */
} qu_check_stats;

/* Called for each finding: status QU_OK is a note, else the kind of problem. doc_id 0 = no one
 * document. */
typedef void qu_check_fn(void *ctx, qu_status status, uint64_t doc_id, const char *message);

/* fn and stats may be NULL. Findings are no error: the return value is QU_OK when everything could
 * be read through. Needs no write lock. Errors: QU_ERR_NOMEM, QU_ERR_IO, QU_ERR_ARG. */
qu_status qu_store_check(qu_store *store, qu_check_fn *fn, void *ctx, qu_check_stats *stats,
                         qu_err *err);

/* Check as above, then drop what is damaged in one transaction, so that the next index run makes it
 * anew: a document with a damaged record goes, damaged or missing KV is taken from its document,
 * indexes are rebuilt. What reads right stays. Reports what it found before; check again to see the
 * result. Needs QU_STORE_WRITE and no open transaction. Errors: as check; QU_ERR_CORRUPT (LMDB's
 * own structure or the counters are damaged: the store must be made anew), QU_ERR_FULL. */
qu_status qu_store_repair(qu_store *store, qu_check_fn *fn, void *ctx, qu_check_stats *stats,
                          qu_err *err);

#endif
