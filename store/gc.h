/* Give back what is no longer needed: after it, bytes of removed documents are in no file of the
 * store.
 *
 *     qu_gc_report r;
 *     QU_TRY(qu_store_gc(store, &r, err));
 *
 * 1. unlinks KV files that no document uses, and temporaries of interrupted runs
 * 2. copies packs that hold members no longer used into new files, publishes those, unlinks the old
 * 3. copies the catalogue record by record into a new file and switches CURRENT to it
 *
 * Step 3 is not LMDB's own compacting copy: that one keeps what stands behind a value on its last
 * page, which may be of deleted records (a test shows it). A KV file in progress is kept while one
 * of its members is still a document. Interrupted at any point the store is whole; the next gc
 * finishes. Readers in other processes keep what they have open.
 */
#ifndef QU_STORE_GC_H
#define QU_STORE_GC_H

#include "store/store.h"

typedef struct qu_gc_report {
    int64_t n_files_removed;       /* KV files and temporaries */
    int64_t n_packs_rewritten;
    int64_t n_packs_damaged;       /* left as they are: run check */
    int64_t bytes_before, bytes_after; /* disk space of catalogue and KV files */
} qu_gc_report;

/* Needs QU_STORE_WRITE, no open transaction, no open writer and no borrowed slice. report may be
 * NULL. Errors: QU_ERR_ARG, QU_ERR_CORRUPT (catalogue damaged: nothing is switched), QU_ERR_FULL,
 * QU_ERR_IO, QU_ERR_NOMEM. */
qu_status qu_store_gc(qu_store *store, qu_gc_report *report, qu_err *err);

#endif
