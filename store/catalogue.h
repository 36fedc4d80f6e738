/* The catalogue: which documents there are, their text, pages and token ids, and which KV file
 * holds them.
 *
 *     qu_txn *t;
 *     QU_TRY(qu_txn_begin(&t, store, QU_TXN_WRITE, err));
 *     qu_doc d = {.path = "a.txt", .path_len = 5, .content_hash = h};
 *     QU_TRY_OUT(qu_catalogue_next_doc_id(t, &d.doc_id, err));
 *     QU_TRY_OUT(qu_catalogue_put_doc(t, &d, text, n_text, NULL, 0, pages, n_pages, ids, n_ids,
 *                                     err));
 *     st = qu_txn_commit(t, err);       // or qu_txn_abort(t): nothing happened
 *
 * Everything inside one transaction becomes visible at once or not at all, also over a crash.
 * Readers see the state at their begin. Keep transactions short: an open one keeps deleted space
 * from being reused. Every record is checksummed and carries its own key; a right checksum under
 * the wrong key is an error. Every function here may return QU_ERR_CORRUPT (a record fails its
 * check, naming it), QU_ERR_NOMEM, QU_ERR_IO and, when it writes, QU_ERR_FULL and QU_ERR_ARG (read
 * transaction); only further errors are listed. After QU_ERR_ARG, _NOTFOUND and _LIMIT nothing has
 * changed and the transaction goes on; after any other failed write call it can only be aborted,
 * and commit refuses.
 *
 * Threads: a transaction is used by one thread at a time and a write transaction stays in the
 * thread that began it. Any number of read transactions may be open at once, one write transaction.
 */
#ifndef QU_STORE_CATALOGUE_H
#define QU_STORE_CATALOGUE_H

#include "base/buf.h"
#include "base/memory.h"
#include "store/store.h"

typedef struct qu_txn qu_txn;

enum { QU_TXN_READ = 0, QU_TXN_WRITE = 1 };

enum {
    QU_STORE_MAX_PATH = 1 << 16,   /* most bytes in a path and in a title */
    QU_STORE_MAX_META = 1 << 20,   /* most bytes in a meta blob */
    QU_STORE_MAX_NAME = 64,        /* most bytes in a meta blob's name */
};

/* A document: what the catalogue stores as it is, then its path and title. Times are wall clock.
 * put_doc fills in n_pages, n_tokens, text_bytes, map_bytes, text_hash and title_len. */
typedef struct qu_doc {
    uint64_t doc_id;         /* from 1, never reused; a new version of a file is a new document */
    uint64_t kv_id;          /* doc id under which its slices are keyed; 0 in put_doc = doc_id */
    uint64_t kv_file;        /* KV file holding them, 0 = none published yet */
    int32_t n_pages;         /* pages in its page table */
    int32_t kv_pages;        /* leading pages that have KV in kv_file */
    int64_t n_tokens;        /* ids in all pages */
    int64_t text_bytes;      /* extracted UTF-8 */
    int64_t map_bytes;       /* of the source map */
    int64_t size, mtime_ns;  /* of the source file */
    int64_t indexed_ms;
    uint64_t inode, dev;
    qu_hash content_hash;    /* of the file's bytes */
    qu_hash text_hash;       /* qu_hash_bytes(text, n, 0) */
    uint32_t flags;          /* the caller's */
    uint32_t path_len, title_len, zero;
    char format[16], charset[32];
    char *path;              /* path_len bytes, any but NUL, and a NUL behind them */
    char *title;             /* C string, NULL in put_doc = "" */
} qu_doc;

/* A page of a document. Page 0 is the header line. */
typedef struct qu_page {
    int32_t n_tokens;
    uint32_t flags;          /* the caller's */
    int64_t text_start;      /* half-open byte range of the extracted text */
    int64_t text_end;
    qu_hash context;         /* hash chain over everything to its left and itself */
} qu_page;

/* "WHAT of document N is malformed", QU_ERR_CORRUPT. Returns it. */
qu_status qu_doc_damaged(qu_err *err, const char *what, uint64_t doc_id);

/* Free a document's strings and zero it. NULL and a zeroed one are fine. */
void qu_doc_free(qu_doc *doc);

/* Begin a transaction. mode QU_TXN_WRITE needs a store opened with QU_STORE_WRITE and waits for a
 * write transaction of another thread. On error *txn is NULL. A reader that finds its catalogue
 * compacted away by another process moves to the new one here. Errors: QU_ERR_ARG (read-only store,
 * or this thread has a write transaction open). */
qu_status qu_txn_begin(qu_txn **txn, qu_store *store, int mode, qu_err *err);

/* Make it last (synced to disk) and free txn, on error too: then nothing of it happened. KV files
 * that lost their last document by it are unlinked afterwards (a failed unlink is left to gc). */
qu_status qu_txn_commit(qu_txn *txn, qu_err *err);

/* Drop it and free txn. NULL is fine. */
void qu_txn_abort(qu_txn *txn);
QU_OWNER(qu_txn, qu_txn_abort)

/* End it by how things went: commit if st is QU_OK, else abort. Returns st or what the commit
 * said. */
qu_status qu_txn_end(qu_txn *txn, qu_status st, qu_err *err);

/* --- roots: the paths that `index` was given --- */

/* Remember a root; a known one is fine. Errors: QU_ERR_LIMIT (path too long). */
qu_status qu_catalogue_put_root(qu_txn *txn, const char *path, size_t n, qu_err *err);
/* Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_del_root(qu_txn *txn, const char *path, size_t n, qu_err *err);
/* Root number i (from 0, order of insertion) appended to path. Errors: QU_ERR_NOTFOUND past the
 * last. */
qu_status qu_catalogue_root_at(qu_txn *txn, int64_t i, qu_buf *path, qu_err *err);

/* --- documents --- */

/* A doc id that was never given out before (also when this transaction is aborted and another asks:
 * only committed ids count as given out). */
qu_status qu_catalogue_next_doc_id(qu_txn *txn, uint64_t *doc_id, qu_err *err);

/* Store a document under doc->doc_id, replacing whatever document had that path or that id.
 *   text   [n_text] extracted UTF-8
 *   map    [n_map]  source map, opaque here; may be NULL with 0
 *   pages  [n_pages], ids [n_ids]   n_ids is the sum of the pages' n_tokens; ids are in [0, 2^24)
 * What put_doc fills in is stored from these arguments; the fields of *doc are ignored and
 * untouched. Errors: QU_ERR_ARG (id 0 or never given out, empty path, NUL in path, page outside the
 * text, counts that do not add up), QU_ERR_LIMIT (path or title too long). */
qu_status qu_catalogue_put_doc(qu_txn *txn, const qu_doc *doc, const char *text, size_t n_text,
                               const void *map, size_t n_map, const qu_page *pages, int32_t n_pages,
                               const int32_t *ids, int64_t n_ids, qu_err *err);

/* The document with that id or exactly that path. *doc is overwritten, free it with qu_doc_free;
 * zeroed on error. Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_get_doc(qu_txn *txn, uint64_t doc_id, qu_doc *doc, qu_err *err);
qu_status qu_catalogue_find_path(qu_txn *txn, const char *path, size_t n, qu_doc *doc, qu_err *err);

/* The document with the smallest id above after (0 = from the start); doc->doc_id = 0 when there is
 * none. *doc is overwritten, not freed. Documents may be put and deleted between calls. */
qu_status qu_catalogue_next_doc(qu_txn *txn, uint64_t after, qu_doc *doc, qu_err *err);

/* The smallest doc id above after with that content hash, 0 when there is none. Equal hashes are
 * not proof against an adversary: compare the texts before sharing KV. */
qu_status qu_catalogue_find_content(qu_txn *txn, qu_hash content, uint64_t after, uint64_t *doc_id,
                                    qu_err *err);

/* Remove a document and all its records. Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_del_doc(qu_txn *txn, uint64_t doc_id, qu_err *err);

/* Give a document another path and source identity: path, path_len, flags, size, mtime_ns, inode
 * and dev are taken from to. A document that had that path is removed, as rename(2) does. KV is
 * untouched. Errors: QU_ERR_NOTFOUND, QU_ERR_ARG, QU_ERR_LIMIT. */
qu_status qu_catalogue_rename(qu_txn *txn, uint64_t doc_id, const qu_doc *to, qu_err *err);

/* Update size, mtime_ns, inode and dev only. Does not count as a change of documents (generation).
 * Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_touch(qu_txn *txn, uint64_t doc_id, const qu_doc *identity, qu_err *err);

/* Publish: the first kv_pages pages of the document have their slices under kv_id in the sealed KV
 * file kv_file, which is thereby no longer in progress. kv_file 0 with kv_pages 0 takes the KV
 * away. kv_id 0 keeps the document's. Errors: QU_ERR_NOTFOUND; QU_ERR_ARG (not sealed, or more
 * pages than it has). */
qu_status qu_catalogue_set_kv(qu_txn *txn, uint64_t doc_id, uint64_t kv_id, uint64_t kv_file,
                              int32_t kv_pages, qu_err *err);

/* --- contents: all append to or fill the caller's memory --- */

/* Bytes [start, end) of the text appended to out. Costs unpacking one or two chunks of 32 KiB.
 * Errors: QU_ERR_NOTFOUND, QU_ERR_ARG (range outside the text). */
qu_status qu_catalogue_text(qu_txn *txn, uint64_t doc_id, int64_t start, int64_t end, qu_buf *out,
                            qu_err *err);

/* The source map appended to out. Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_source_map(qu_txn *txn, uint64_t doc_id, qu_buf *out, qu_err *err);

/* The page table, malloc'ed [*n], freed by the caller; NULL and 0 when it has no pages.
 * Errors: QU_ERR_NOTFOUND. */
qu_status qu_catalogue_pages(qu_txn *txn, uint64_t doc_id, qu_page **pages, int32_t *n,
                             qu_err *err);

/* One page. Errors: QU_ERR_NOTFOUND (no such document or page). */
qu_status qu_catalogue_page(qu_txn *txn, uint64_t doc_id, int32_t page, qu_page *out, qu_err *err);

/* Token ids of pages [first, first + n_pages) appended to ids as int32. Cheap for one page.
 * Errors: QU_ERR_NOTFOUND (no such document or page). */
qu_status qu_catalogue_ids(qu_txn *txn, uint64_t doc_id, int32_t first, int32_t n_pages,
                           qu_buf *ids, qu_err *err);

/* --- vectors: opaque records for a document's pages, in chunks that the caller numbers --- */

/* Put a chunk, replacing it. Chunks go with their document; they do not
 * count as a change of documents. Errors: QU_ERR_NOTFOUND (no such document), QU_ERR_LIMIT
 * (more than QU_STORE_MAX_META bytes). */
qu_status qu_catalogue_put_vectors(qu_txn *txn, uint64_t doc_id, uint32_t chunk, const void *p,
                                   size_t n, qu_err *err);

/* The first chunk after (*doc_id, *chunk), by document, then number; *doc_id = 0 when there is
 * none. From (0, 0) on it is the first of all: document ids begin at 1. *p [*n] is borrowed until
 * the transaction ends or writes. */
qu_status qu_catalogue_next_vectors(qu_txn *txn, uint64_t *doc_id, uint32_t *chunk, const void **p,
                                    size_t *n, qu_err *err);

/* Delete every chunk of every document. */
qu_status qu_catalogue_clear_vectors(qu_txn *txn, qu_err *err);

/* --- small things --- */

/* Named blobs, e.g. measured speeds. put with n = 0 deletes. get appends to out and gives
 * QU_ERR_NOTFOUND when absent. Errors: QU_ERR_LIMIT (name or blob too long). */
qu_status qu_catalogue_put_meta(qu_txn *txn, const char *name, const void *p, size_t n,
                                qu_err *err);
qu_status qu_catalogue_get_meta(qu_txn *txn, const char *name, qu_buf *out, qu_err *err);

/* Counter raised by every commit that put, removed or renamed documents or changed their pages.
 * Derived files (lexical index, vectors) compare it. Inside a write transaction: the value before
 * it. */
uint64_t qu_catalogue_generation(const qu_txn *txn);

/* KV files in progress, i.e. created and not yet published: the smallest id above after, 0 = none.
 */
qu_status qu_catalogue_next_open_kv(qu_txn *txn, uint64_t after, uint64_t *file_id, qu_err *err);

typedef struct qu_store_counts {
    int64_t n_docs, n_pages, n_kv_pages, n_tokens, n_text_bytes;
    int64_t n_kv_docs;                    /* documents whose every page has KV */
    int64_t n_roots, n_open_kv;
    int64_t catalogue_bytes, kv_bytes;    /* disk space of the files */
    int64_t n_kv_files;                   /* in DIR/kv, in progress included */
} qu_store_counts;

/* Walks all document records: about a microsecond each. */
qu_status qu_catalogue_counts(qu_txn *txn, qu_store_counts *counts, qu_err *err);

#endif
