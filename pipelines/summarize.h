/* What `quire summarize` is made of: the folder of outputs with its manifest, one document's
 * summary, and how it is written down.
 *
 *   OUT/NAME-HASH.md      a summary; NAME from the document's file name, HASH of its path
 *   OUT/manifest.tsv      what each output was made from
 *   OUT/.lock             one run at a time
 *
 * An output is written beside its place, synced and renamed; then a line goes to the manifest's
 * end. So at every moment each file is whole, and a line speaks of a file that is there. A run that
 * was killed between the two makes that one summary again, the same. The manifest, its columns:
 *
 *   quire summaries 1 <tab> STORE
 *   content <tab> settings <tab> document <tab> bytes <tab> format <tab> path <tab> fault
 *
 * content and settings are hashes (hex) of the document's file and of all that shapes a summary;
 * bytes is the output's size, -1: there is none; fault is empty or why the last try failed; path
 * and fault have %XX for control characters and '%'. The last line of a path counts, and where its
 * content is '-' the path is gone. The end of a run that changed something writes the lines anew,
 * sorted by path. A last line without line end was cut off by a crash and is passed over. Nothing
 * in it depends on a clock.
 */
#ifndef QU_PIPELINES_SUMMARIZE_H
#define QU_PIPELINES_SUMMARIZE_H

#include "pipelines/answer.h"
#include "retrieve/digest.h"

typedef enum qu_synopsis_format {
    QU_SYNOPSIS_MD,
    QU_SYNOPSIS_JSON,
    QU_SYNOPSIS_TXT
} qu_synopsis_format;
#define QU_SYNOPSIS_FORMATS "md|json|txt"
enum { QU_N_SYNOPSIS_FORMATS = 3 };

/* --- summarize_manifest.c --- */

typedef struct qu_manifest_entry {
    char *path;
    qu_hash content, settings; /* zero where no output was ever made */
    uint64_t doc_id;
    int64_t bytes;
    qu_synopsis_format format;
    char *fault; /* NULL or "": none */
} qu_manifest_entry;

typedef struct qu_manifest qu_manifest;

/* Take the folder's lock, read its manifest, remove what a killed run left half-written. The folder
 * is made if need be. store: real path of the store; the manifest of another is refused. wait: wait
 * for the lock until qu_signals_stop. Errors: QU_ERR_LOCKED, QU_ERR_MISMATCH (another store's),
 * QU_ERR_CORRUPT (naming the line), QU_ERR_CANCELLED, QU_ERR_IO, QU_ERR_FULL. */
qu_status qu_manifest_open(qu_manifest **m, const char *dir, const char *store, bool wait,
                           qu_err *err);

/* Release lock and memory; the journal stays as it is. NULL is fine. */
void qu_manifest_free(qu_manifest *m);
QU_OWNER(qu_manifest, qu_manifest_free)

/* The entry of a path or NULL; borrowed until the next put. */
const qu_manifest_entry *qu_manifest_find(const qu_manifest *m, const char *path);

/* Is the entry's output there, with the size it was written with? */
bool qu_manifest_holds(const qu_manifest *m, const qu_manifest_entry *e);

/* Write an output whole and note it; an output of the path in another format is removed. e->bytes
 * is filled in. Errors: QU_ERR_IO, QU_ERR_FULL, QU_ERR_NOMEM: the old output and its line stay. */
qu_status qu_manifest_write(qu_manifest *m, qu_manifest_entry *e, const qu_buf *output,
                            qu_err *err);

/* Note that a path's summary could not be made; an earlier output stays. Errors: as write. */
qu_status qu_manifest_fail(qu_manifest *m, const char *path, const char *fault, qu_err *err);

/* Remove the outputs of every path that is in scope and not there. *n is raised for each. Errors:
 * as write. */
qu_status qu_manifest_sweep(qu_manifest *m, bool (*is_gone)(void *ctx, const char *path), void *ctx,
                            int64_t *n, qu_err *err);

/* Write the manifest anew if this or a killed run added lines. Errors: as write; the journal is as
 * good. */
qu_status qu_manifest_save(qu_manifest *m, qu_err *err);

/* The folder's real path; borrowed. */
const char *qu_manifest_dir(const qu_manifest *m);

/* --- summarize_text.c --- */

/* A summary: its text (with a model), the sentences it consists of or rests on. Owned. */
typedef struct qu_synopsis {
    qu_buf text; /* empty for an extract: the citations are the summary */
    qu_citation *citations;
    int32_t n;
    int32_t words;
    int64_t pages_read, pages; /* with a model: of the document's */
    int64_t generated_tokens;  /* with a model: of all its passes */
} qu_synopsis;

void qu_synopsis_free(qu_synopsis *s);

/* The best sentences of a document. Errors: those of the catalogue and of qu_digest_make. */
qu_status qu_synopsis_extract(qu_synopsis *s, qu_txn *t, const qu_doc *d, qu_digest_method method,
                             int32_t max_words, qu_err *err);

/* --- summarize_model.c --- */

typedef struct qu_summarizer qu_summarizer;

/* A summarizer with the session's model; prompt and session are borrowed. max_pages: of a document
 * that are read; max_words bounds a summary's tokens. side_by_side: further seats may be made, one
 * a thread; KV that is missing is then not saved. Errors: those of the encoder. */
qu_status qu_summarizer_create(qu_summarizer **z, qu_session *s, const char *prompt,
                               int32_t max_pages, int32_t max_words, bool side_by_side,
                               qu_err *err);
/* A further seat beside the first, to be freed before it. */
qu_status qu_summarizer_seat(qu_summarizer **z, const qu_summarizer *first, qu_err *err);
void qu_summarizer_free(qu_summarizer *z);
QU_OWNER(qu_summarizer, qu_summarizer_free)

/* The model's summary of a document and the places it rests on: the same on any seat, beside any
 * others. KV that is not stored is made, and saved where the store is free. Errors:
 * QU_ERR_CANCELLED (qu_signals_stop), QU_ERR_LIMIT (prompt too long), QU_ERR_UNSUPPORTED (no text,
 * or the model wrote none), those of store and model. */
qu_status qu_summarizer_write(qu_summarizer *z, qu_synopsis *s, const qu_doc *d, qu_err *err);

/* Append the summary as a file of that format. method: "extractive, graph". Errors:
 * QU_ERR_NOMEM. */
qu_status qu_synopsis_render(qu_buf *out, const qu_synopsis *s, const qu_doc *d, const char *method,
                            qu_synopsis_format format, qu_err *err);

#endif
