/* What most verbs need open at once: store, model, tokenizer, template, threads.
 *
 *     qu_session s;
 *     qu_status st = qu_session_open(&s, args, QU_SESSION_STORE | QU_SESSION_MODEL, &err);
 *     if (st != QU_OK) return qu_out_error(&err, NULL);
 *     ...
 *     qu_session_close(&s);
 *
 * The store is --store, else $QUIRE_STORE, else ./.quire; the model is --model, else the store's,
 * else $QUIRE_MODEL, else the bundled one. A --model that is not the store's is refused with both
 * names.
 */
#ifndef QU_PIPELINES_SESSION_H
#define QU_PIPELINES_SESSION_H

#include "base/pool.h"
#include "decode/model.h"
#include "decode/template.h"
#include "decode/token.h"
#include "index/lexical.h"
#include "pipelines/options.h"
#include "store/catalogue.h"
#include "store/kvfile.h"
#include "store/store.h"

#define QU_NO_MODEL "no model: give --model FILE.gguf or set QUIRE_MODEL"

enum {
    QU_SESSION_STORE = 1,   /* open the store */
    /* open the model, its tokenizer and the pool; check it against the store */
    QU_SESSION_MODEL = 2,
    QU_SESSION_WRITE = 4,   /* take the store's lock */
    QU_SESSION_CREATE = 8,  /* make the store if there is none (with WRITE and MODEL) */
};

typedef struct qu_session {
    const qu_args *args;
    char *store_dir, *model_path;
    qu_store *store;
    qu_model *model;
    qu_tokenizer *tok;
    qu_template_kind template;
    qu_pool *pool;
    int codec;                 /* qu_codec */
    qu_tokens prefix;          /* the store's frozen prefix, or the template's without a store */
    bool other_numerics;       /* the store's pages were made in another numerics class */
    char numerics[48];         /* this process's class */
} qu_session;

/* Open what flags ask for. codec: the codec of a store that is created. On error everything is
 * closed. Errors: those of store and model; QU_ERR_MISMATCH naming both models. */
qu_status qu_session_open(qu_session *s, const qu_args *args, unsigned flags, int codec,
                          qu_err *err);

/* Open the model at path as --lora, --rope-base, --rope-scale and --device ask. Errors: those of
 * qu_model_open_with and qu_device_attach. */
qu_status qu_session_model(qu_model **m, const qu_args *args, const char *path, qu_err *err);

/* Close all; fine on a zeroed or failed session. */
void qu_session_close(qu_session *s);

/* Close the store and open it again with or without the lock, e.g. to save what a question
 * computed. On error the store is closed (NULL). */
qu_status qu_session_reopen(qu_session *s, bool write, qu_err *err);

/* Put one named blob into the catalogue, in a transaction of its own. */
qu_status qu_session_put_meta(qu_session *s, const char *name, const void *p, size_t n,
                              qu_err *err);

/* Open the lexical index for reading, rebuilding it from the catalogue first where it is missing,
 * damaged or of another generation; rebuilt is written beside the store if it can be, else to a
 * temporary file. While another process indexes, the index it began with serves: its newest
 * documents are missing. */
qu_status qu_session_lexical(qu_session *s, qu_lexical **lx, qu_err *err);

/* Add a document's pages, of which page 0 is its title. text: the document's. */
qu_status qu_session_add_words(qu_lexical *lx, const qu_doc *d, const char *text,
                               const qu_page *pages, int32_t n, qu_err *err);

/* Add every document of the catalogue. */
qu_status qu_session_fill_lexical(qu_txn *t, qu_lexical *lx, qu_err *err);

/* Write the word index of the whole catalogue to path, whatever was there. */
qu_status qu_session_make_lexical(qu_txn *t, const char *path, qu_err *err);

/* Write it where it is in nobody's way (in a folder of its own: TMPDIR may be anyone's). *path is
 * to be given to qu_session_drop_words on every way out; "" is fine there. */
qu_status qu_session_private_words(qu_txn *t, qu_buf *path, qu_err *err);
/* Remove file and folder, free the path. */
void qu_session_drop_words(qu_buf *path);

/* DIR/lexical.idx appended to out. */
qu_status qu_session_lexical_path(const qu_session *s, qu_buf *out, qu_err *err);

#endif
