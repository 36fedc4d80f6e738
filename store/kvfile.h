/* KV files: immutable LMDB files of slices. One holds one document version, or several small ones
 * (a pack).
 *
 *     qu_kv_writer *w;
 *     QU_TRY(qu_kv_writer_create(&w, store, 0, err));
 *     for each page: { for each slice: qu_kv_writer_put(w, &key, binding, payload, n, err);
 *                      qu_kv_writer_page_done(w, kv_id, page, err); }
 *     QU_TRY_OUT(qu_kv_writer_seal(w, err));
 *     ... in one catalogue transaction, for each member document:
 *     qu_catalogue_set_kv(t, doc_id, kv_id, qu_kv_writer_file(w), n_pages, err);
 *     qu_kv_writer_free(w);
 *
 *     QU_TRY(qu_store_slice(store, doc.kv_file, &key, qu_kv_binding(store, &page), &p, &n, err));
 *
 * Filled in synced transactions of about 32 MB, resumable page by page: a page's marker is
 * committed with or after its slices, so a marker implies them. A file becomes visible by one
 * catalogue transaction, is never changed after that, and is unlinked when its last document goes.
 * A value is a 64-byte header (magic, version, its own key, length, binding, checksum) and the
 * payload. Values are large enough to sit on LMDB overflow pages, whose data starts 16 bytes into a
 * page: so every payload handed out is 16-byte aligned. A payload of k * 4096 - 80 bytes fills its
 * disk pages exactly.
 * Threads: a writer belongs to one thread; qu_store_slice may be called by any number at once.
 */
#ifndef QU_STORE_KVFILE_H
#define QU_STORE_KVFILE_H

#include "base/memory.h"
#include "store/catalogue.h"

enum {
    QU_KV_SLICE = 0,    /* K and V of one page, layer and KV head */
    QU_KV_LOOKBACK = 2, /* i32 pages that the chunk beginning there looks back at */
    /* summary of a page, all layers and heads: layer 0, head 0. Kind 1 are those of format 1, which
     * nothing reads. */
    QU_KV_SUMMARY = 3,
    QU_KV_COMMIT_BYTES = 32 << 20, /* pending bytes at which page_done commits */
    QU_KV_MAX_PAYLOAD = 64 << 20,
    QU_KV_READERS = 64, /* KV files kept open for reading */
};

typedef struct qu_slice_key {
    uint64_t kv_id;          /* the document's kv_id */
    uint32_t page;
    uint16_t layer, head;    /* head: KV head */
    uint8_t kind;            /* QU_KV_SLICE, QU_KV_SUMMARY or QU_KV_LOOKBACK */
} qu_slice_key;

/* What every slice of that page must be bound to: the store's binding chained with the page's
 * context. */
qu_hash qu_kv_binding(const qu_store *store, const qu_page *page);

/* --- writing: needs a store opened with QU_STORE_WRITE --- */

typedef struct qu_kv_writer qu_kv_writer;

/* Start a KV file (file_id 0: a new id, recorded as in progress in a catalogue transaction of its
 * own, so none may be open in this thread) or resume one in progress with its committed pages.
 * Errors: QU_ERR_ARG (store read-only, write transaction open in this thread, file not in progress
 * or already open), QU_ERR_CORRUPT, QU_ERR_FULL, QU_ERR_IO, QU_ERR_NOMEM. On error *w is NULL. */
qu_status qu_kv_writer_create(qu_kv_writer **w, qu_store *store, uint64_t file_id, qu_err *err);

uint64_t qu_kv_writer_file(const qu_kv_writer *w);

/* Add or replace one slice. payload is copied. Errors: QU_ERR_ARG (n 0 or above QU_KV_MAX_PAYLOAD,
 * key out of the store's layers and heads, sealed), QU_ERR_FULL, QU_ERR_IO, QU_ERR_NOMEM. After an
 * error of any writing call but QU_ERR_ARG the writer only can be freed; what was committed stays.
 */
qu_status qu_kv_writer_put(qu_kv_writer *w, const qu_slice_key *key, qu_hash binding,
                           const void *payload, size_t n, qu_err *err);

/* Read a slice back, pending ones included. *payload is valid until the next put, page_done, flush,
 * seal or free. Errors: QU_ERR_NOTFOUND, QU_ERR_MISMATCH, QU_ERR_CORRUPT. */
qu_status qu_kv_writer_get(qu_kv_writer *w, const qu_slice_key *key, qu_hash binding,
                           const void **payload, size_t *n, qu_err *err);

/* The page has all its slices: mark it and commit when QU_KV_COMMIT_BYTES are pending. Errors as
 * put. */
qu_status qu_kv_writer_page_done(qu_kv_writer *w, uint64_t kv_id, uint32_t page, qu_err *err);

/* Leading complete pages of kv_id in this file, pending ones included: where to resume. */
qu_status qu_kv_writer_n_pages_done(qu_kv_writer *w, uint64_t kv_id, int32_t *n, qu_err *err);

/* Size of the file in bytes, pending values included (within 2 percent): the pack size to decide
 * by. */
int64_t qu_kv_writer_bytes(const qu_kv_writer *w);

/* Commit what is pending and sync, e.g. before a pause. Errors as put. */
qu_status qu_kv_writer_flush(qu_kv_writer *w, qu_err *err);

/* Commit, sync file and folder, close the file. Now qu_catalogue_set_kv accepts it. Errors as put.
 */
qu_status qu_kv_writer_seal(qu_kv_writer *w, qu_err *err);

/* Free w. Unsealed: pending pages are dropped, committed ones stay in progress for a later resume.
 * NULL is fine. */
void qu_kv_writer_free(qu_kv_writer *w);
QU_OWNER(qu_kv_writer, qu_kv_writer_free)

/* Free w and remove its file and in-progress record (a catalogue transaction of its own). */
qu_status qu_kv_writer_discard(qu_kv_writer *w, qu_err *err);

/* --- reading --- */

/* Borrow one slice of a published KV file. *payload points into the map, is 16-byte aligned and
 * valid until qu_store_release_readers or qu_store_close. The header and payload are checked at
 * every call. Errors: QU_ERR_NOTFOUND (no such file: it was replaced meanwhile, read the catalogue
 * again; or no such slice), QU_ERR_MISMATCH (another binding), QU_ERR_CORRUPT (checksum, own key or
 * structure), each naming file and page; QU_ERR_IO, QU_ERR_NOMEM. Any number of threads. */
qu_status qu_store_slice(qu_store *store, uint64_t file_id, const qu_slice_key *key,
                         qu_hash binding, const void **payload, size_t *n, qu_err *err);

/* End the life of all borrowed slices; at most QU_KV_READERS files stay open for the next question,
 * the most recently used ones. No thread may be inside qu_store_slice or use a slice. */
void qu_store_release_readers(qu_store *store);

#endif
