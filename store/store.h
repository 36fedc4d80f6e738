/* The store: a folder that keeps documents (the catalogue) and their KV slices (KV files), both in
 * LMDB. It sees bytes, not tensors. This header opens it; catalogue.h, kvfile.h, gc.h and check.h
 * work on it.
 *
 *     qu_store *s;
 *     QU_TRY(qu_store_open(&s, ".quire", &config, QU_STORE_WRITE, err));   // creates or opens
 *     const qu_store_config *c = qu_store_config_get(s);       // what the store was made with
 *     if (!qu_hash_equal(c->binding, config.binding)) ...      // another model: refuse by name
 *     ...
 *     qu_store_close(s);
 *
 *     DIR/config        frozen at creation, docs/format.md
 *     DIR/lock          the writer's flock and pid
 *     DIR/CURRENT       name of the live catalogue file
 *     DIR/catalogue.N   LMDB; catalogue.N-lock is LMDB's own
 *     DIR/kv/N.kv       one KV file each
 *     DIR/use           which documents' KV questions read, may go at any moment (store/use.h)
 *     anything else     belongs to others: left alone
 *
 * Directories are made 0700, files 0600. One writer at a time over all processes, any number of
 * readers, which take no lock and work on read-only media. Open a folder once per process: LMDB's
 * file locks are per process, so closing a second handle would drop the first one's.
 * Threads: open and close from one thread; what else may run at once is said at each function.
 */
#ifndef QU_STORE_STORE_H
#define QU_STORE_STORE_H

#include "base/hash.h"
#include "base/memory.h"
#include "base/status.h"

enum {
    QU_STORE_FORMAT = 2, /* of everything in the folder; any change of a byte table raises it */
    QU_STORE_WRITE = 1,  /* flag: take the writer's lock */
    QU_STORE_MAX_PREFIX = 1 << 20, /* most prefix ids in a config */
};

typedef struct qu_store qu_store;

/* What a store is made with and never changes: what is kept as it is, then the rest. The strings
 * and ids are borrowed in qu_store_open and owned by the store in qu_store_config_get. format,
 * model_path_len and zero are ignored on creation. */
typedef struct qu_store_config {
    uint32_t page_tokens;     /* P: most tokens in a page */
    uint32_t codec;           /* how slices are encoded; opaque here */
    int32_t n_layers;         /* L */
    int32_t n_kv_heads;       /* G */
    int32_t head_size;        /* D */
    int32_t n_prefix;
    uint32_t model_path_len, zero;
    qu_hash binding;          /* of everything a page depends on besides its own left context */
    qu_hash weights;          /* weights fingerprint */
    qu_hash full_weights;     /* hash of the whole model file, zero when it was not taken */
    char numerics[48];        /* numerics class, text */
    char model_name[128];     /* text */
    uint32_t format;          /* QU_STORE_FORMAT of the store */
    char *model_path;         /* NULL = none recorded */
    int32_t *prefix_ids;      /* [n_prefix] token ids in front of every document */
} qu_store_config;

/* Open the store in folder dir.
 *   create  NULL: it must exist. Else it is made with this config when dir is absent, empty or
 *           holds only the remains of an interrupted creation; an existing store keeps its own
 *           config, which the caller compares. Needs QU_STORE_WRITE.
 *   flags   QU_STORE_WRITE or 0
 * Errors: QU_ERR_NOTFOUND (no store at dir); QU_ERR_LOCKED naming the writer's pid;
 * QU_ERR_UNSUPPORTED (newer format or other byte order, with both; network file system unless
 * read-only); QU_ERR_LIMIT (a name too long); QU_ERR_CORRUPT (damaged config or catalogue);
 * QU_ERR_ARG (dir holds foreign files, config out of range); QU_ERR_FULL, QU_ERR_IO, QU_ERR_NOMEM.
 * On error *store is NULL. */
qu_status qu_store_open(qu_store **store, const char *dir, const qu_store_config *create,
                        unsigned flags, qu_err *err);

/* The model's file lies elsewhere now: kept in the config. Needs the store open for writing.
 * Errors: QU_ERR_IO, QU_ERR_FULL, QU_ERR_NOMEM: the old path stays. */
qu_status qu_store_set_model(qu_store *store, const char *path, qu_err *err);

/* Close it and everything handed out by it: transactions, writers and slices must be done with.
 * NULL is fine. */
void qu_store_close(qu_store *store);
QU_OWNER(qu_store, qu_store_close)

/* The config the store was made with; lives as long as the store. */
const qu_store_config *qu_store_config_get(const qu_store *store);

bool qu_store_is_writable(const qu_store *store);

#endif
