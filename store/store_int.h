/* What the files of store/ share: the handle, LMDB environments, checksummed records and KV
 * readers. For this folder and its tests.
 *
 * Catalogue records live in LMDB's main database under keys of one tag byte and big-endian numbers,
 * so that a document's records lie together and in order. docs/format.md has the table. Each value
 * is
 *
 *   offset  bytes  field
 *   0       8      XXH3-64 of everything behind it
 *   8       1      n, length of the key
 *   9       n      the key, again: a right record under a wrong key is found out
 *   9 + n   ...    payload
 */
#ifndef QU_STORE_STORE_INT_H
#define QU_STORE_STORE_INT_H

#include <limits.h>
#include <lmdb.h>
#include <pthread.h>

#include "store/kvfile.h"

/* --- the handle --- */

/* A KV file that is open for reading, and its one read transaction. Zero is closed. */
typedef struct qu_kv_view {
    MDB_env *env;
    MDB_txn *txn;
} qu_kv_view;

/* The same, kept; in a list the latest used comes first. */
typedef struct qu_kv_reader qu_kv_reader;
struct qu_kv_reader {
    qu_kv_reader *next;
    uint64_t file_id;
    qu_kv_view view;
    pthread_mutex_t mu;
    bool doomed; /* unlinked meanwhile: close at release, until when slices may be out */
};

struct qu_store {
    char *dir;
    qu_store_config config;
    bool writable;
    int lock_fd;                 /* -1 for readers */
    pthread_mutex_t mu;          /* over all below */
    MDB_env *env; /* catalogue; NULL after a failed reopen: the next begin tries again */
    uint64_t catalogue_no;       /* N of catalogue.N */
    int n_txns;                  /* open transactions: the catalogue may only be switched at 0 */
    bool writing;                /* a write transaction is open, */
    pthread_t write_thread;      /* by this thread: a second one there would wait for itself */
    qu_kv_writer *writers;       /* open and not sealed */
    qu_kv_reader *readers;
};

/* Path of a file inside the store, and of a KV file. Folders so long that one would not fit are
 * refused. */
typedef struct qu_path {
    char s[PATH_MAX];
} qu_path;
qu_path qu_store_path(const qu_store *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
qu_path qu_kv_path(const qu_store *s, uint64_t file_id);

/* Disk space of a file, 0 when it is not there. */
int64_t qu_store_disk_bytes(const char *path);

/* Is that statfs type a file system over a network? */
bool qu_store_is_network_fs(long f_type);

/* --- LMDB --- */

/* Status and message for an LMDB return code; what: "write", subject: a path. */
qu_status qu_lmdb_fail(qu_err *err, int rc, const char *what, const char *subject);

/* Open one LMDB file (MDB_NOSUBDIR and MDB_NOTLS are added). map 0: a large fixed map, made smaller
 * until the system grants it. */
qu_status qu_lmdb_open(MDB_env **env, const char *path, unsigned flags, size_t map, qu_err *err);

/* For QU_OWN; NULL is fine. */
void qu_lmdb_closep(MDB_env **env);
void qu_lmdb_abortp(MDB_txn **txn);
void qu_lmdb_cursorp(MDB_cursor **cursor);

/* Bytes of the environment's pages in use; page_bytes (may be NULL): of one. */
int64_t qu_lmdb_bytes(MDB_env *env, size_t *page_bytes);

/* Open catalogue.N as CURRENT names it into s->env. Caller holds s->mu or is alone. */
qu_status qu_store_open_catalogue(qu_store *s, qu_err *err);

/* --- transactions and records --- */

/* Key tags. Numbers are big-endian 8 bytes, chunk numbers 4. */
enum {
    QU_TAG_STATE = 'S',     /* S                         counters */
    QU_TAG_META = 'm',      /* m name                    blob */
    QU_TAG_ROOT = 'r',      /* r number                  path */
    QU_TAG_DOC = 'd',       /* d doc                     document */
    QU_TAG_PATH = 'p',      /* p hash doc                index */
    QU_TAG_CONTENT = 'c',   /* c hash doc                index */
    QU_TAG_KV = 'k',        /* k file doc                index: users of a KV file */
    QU_TAG_OPEN = 'f',      /* f file                    KV file in progress */
    QU_TAG_TEXT = 't',      /* t doc chunk               32 KiB of text */
    QU_TAG_MAP = 's',       /* s doc chunk               32 KiB of source map */
    QU_TAG_PAGES = 'g',     /* g doc chunk               1024 pages */
    QU_TAG_IDS = 'i',       /* i doc chunk               token ids of 16 pages */
    QU_TAG_VECTORS = 'v',   /* v doc chunk               vectors of pages, opaque */
};

enum {
    QU_CHUNK_BYTES = 1 << 15, QU_CHUNK_PAGES = 1024, QU_CHUNK_IDS = 16,
    QU_REC_HEAD = 9, QU_KEY_MAX = 80,
};

typedef struct qu_rec_key {
    size_t n;
    uint8_t b[QU_KEY_MAX];
} qu_rec_key;

typedef struct qu_state {
    uint64_t next_doc, next_file, generation;
} qu_state;

struct qu_txn {
    qu_store *s;
    MDB_txn *mt;
    bool write, owns_write, docs_changed;
    int unsafe; /* above 0: a change is half done, or failed half done; it can only be aborted */
    qu_state state, state_at_begin;
    qu_buf lost; /* u64 KV files that lost a document: unlinked after commit when it was the last */
};

qu_rec_key qu_key_tag(int tag);
qu_rec_key qu_key_num(int tag, uint64_t a);
qu_rec_key qu_key_num2(int tag, uint64_t a, uint64_t b);
qu_rec_key qu_key_chunk(int tag, uint64_t a, uint32_t chunk);
qu_rec_key qu_key_hash(int tag, qu_hash h);
qu_rec_key qu_key_hash_num(int tag, qu_hash h, uint64_t a);
uint64_t qu_get_be64(const uint8_t *p);
void qu_put_be64(uint8_t *p, uint64_t v);

/* Check one raw record against its key; *payload points into v. Errors: QU_ERR_CORRUPT. */
qu_status qu_rec_verify(const MDB_val *key, const MDB_val *v, const void **payload, size_t *n,
                        qu_err *err);

/* Write, read (payload valid until the next write), delete. get and del give QU_ERR_NOTFOUND. */
qu_status qu_rec_put(qu_txn *t, const qu_rec_key *k, const void *p, size_t n, qu_err *err);
qu_status qu_rec_get(qu_txn *t, const qu_rec_key *k, const void **p, size_t *n, qu_err *err);
qu_status qu_rec_del(qu_txn *t, const qu_rec_key *k, qu_err *err);

/* The first record with a key >= from that starts with the first n_prefix bytes of from: its key in
 * *k, k->n = 0 when there is none. */
qu_status qu_rec_seek(qu_txn *t, const qu_rec_key *from, size_t n_prefix, qu_rec_key *k,
                      qu_err *err);

/* Records of up to 32 KiB (ids: more) compressed by zlib where that helps: u32 raw length, then the
 * bytes. */
qu_status qu_chunk_put(qu_txn *t, const qu_rec_key *k, const void *p, size_t n, qu_err *err);
/* Appended to out. Errors: QU_ERR_CORRUPT (missing, damaged or longer than max). */
qu_status qu_chunk_get(qu_txn *t, const qu_rec_key *k, size_t max, qu_buf *out, qu_err *err);

_Static_assert(offsetof(qu_doc, path) == 192, "stored as it is: no padding");
_Static_assert(sizeof(qu_page) == 40, "stored as it is: no padding");

/* A document as it is stored: path and title are borrowed from the record and end without a NUL.
 * QU_ERR_NOTFOUND. */
qu_status qu_doc_borrow(qu_txn *t, uint64_t doc_id, qu_doc *d, qu_err *err);

/* The smallest number behind prefix that is above after, 0 = none, and its record's payload (p may
 * be NULL): documents, roots, users of a KV file, ... */
qu_status qu_index_next(qu_txn *t, const qu_rec_key *prefix, uint64_t after, uint64_t *id,
                        const void **p, size_t *n, qu_err *err);

/* What each document says of its slices, sorted by file, then kv id: qu_claim appended to list. */
typedef struct qu_claim {
    uint64_t file_id, kv_id, doc_id; /* file_id 0: it has none */
    int32_t kv_pages;
    bool complete;
    int64_t n_tokens;
} qu_claim;
qu_status qu_claims_read(qu_txn *t, qu_buf *list, qu_err *err);

/* Take the KV file from every document that has it, or put new_id in its place. *n counts them. */
qu_status qu_kv_replace(qu_txn *t, uint64_t old_id, uint64_t new_id, int64_t *n, qu_err *err);

/* The index records of a document, from its id, path, content hash and kv_file. */
qu_status qu_indexes_put(qu_txn *t, const qu_doc *d, qu_err *err);

/* Text, source map, pages and ids of a document (contents.c). */
qu_status qu_stream_put(qu_txn *t, int tag, uint64_t doc_id, const void *p, size_t n, qu_err *err);
qu_status qu_stream_get(qu_txn *t, int tag, uint64_t doc_id, int64_t total, int64_t start,
                        int64_t end, qu_buf *out, qu_err *err);
qu_status qu_pages_check_args(const qu_store *s, int64_t n_text, const qu_page *pages,
                              int32_t n_pages, const int32_t *ids, int64_t n_ids, qu_err *err);
qu_status qu_pages_put(qu_txn *t, uint64_t doc_id, const qu_page *pages, int32_t n_pages,
                       const int32_t *ids, qu_err *err);
/* Delete all records whose keys begin so. */
qu_status qu_prefix_del(qu_txn *t, qu_rec_key prefix, qu_err *err);

/* In-progress records of KV files: a new id and its record; its removal, upon which commit unlinks
 * the file; is it there (else QU_ERR_NOTFOUND)? */
qu_status qu_open_kv_add(qu_txn *t, uint64_t *file_id, qu_err *err);
qu_status qu_open_kv_del(qu_txn *t, uint64_t file_id, qu_err *err);
qu_status qu_open_kv_find(qu_txn *t, uint64_t file_id, qu_err *err);

/* Does some document have its slices in that KV file, and is it in progress? */
qu_status qu_kv_used(qu_txn *t, uint64_t file_id, bool *by_doc, bool *open, qu_err *err);

/* --- KV files --- */

enum { QU_KV_KEY_BYTES = 17, QU_KV_HEAD_BYTES = 64, QU_KV_MARKER = 0xFF };

void qu_kv_key_bytes(uint8_t b[QU_KV_KEY_BYTES], const qu_slice_key *k);
qu_slice_key qu_kv_key_parse(const uint8_t b[QU_KV_KEY_BYTES]);

/* "slice FAULT: " and which one it is. Returns st. */
qu_status qu_kv_fail(qu_err *err, qu_status st, const char *fault, const qu_slice_key *k,
                     uint64_t file_id);

/* Check one value: structure, checksum and own key. Errors: QU_ERR_CORRUPT naming file and page. */
qu_status qu_kv_verify(const qu_slice_key *k, uint64_t file_id, const MDB_val *v, qu_hash *binding,
                       const void **payload, size_t *n, qu_err *err);

bool qu_kv_is_writing(qu_store *s, uint64_t file_id);
/* Disk space of the files that this process is writing. */
int64_t qu_kv_writing_bytes(qu_store *s);

qu_status qu_kv_view_open(const qu_store *s, uint64_t file_id, qu_kv_view *v, qu_err *err);
void qu_kv_view_close(qu_kv_view *v);

/* One checked slice; mu, if any, is held during the search. */
qu_status qu_kv_get(MDB_txn *txn, pthread_mutex_t *mu, uint64_t file_id, const qu_slice_key *key,
                    qu_hash binding, const void **payload, size_t *n, qu_err *err);

/* The reader of a file that is being unlinked goes at release. */
void qu_kv_forget(qu_store *s, uint64_t file_id);
void qu_kv_close_readers(qu_store *s);

#endif
