/* Phase one of indexing: bring the catalogue and the word index in line with the files on disk.
 *
 *     qu_sync_report r = {0};
 *     QU_TRY(qu_sync(&session, roots, n_roots, &options, &r, err));
 *
 * A file whose size, times and inode are known costs a stat. A changed one is read, cut into pages
 * of the store's model's tokens and replaces its old version, of whose KV it keeps the pages before
 * the first change (if it fits the window); one that moved within the roots keeps its KV, and a
 * copy shares it. Each member of an archive or mail is a document of its own, whose identity is its
 * file's; the file is read anew as a whole. What vanished under a root is removed, but never what
 * lies under a folder that could not be read. A root that is gone is reported and nothing under it
 * is touched: it may be an unmounted disk.
 */
#ifndef QU_PIPELINES_SYNC_H
#define QU_PIPELINES_SYNC_H

#include "ingest/document.h"
#include "ingest/walk.h"
#include "pipelines/session.h"

/* qu_doc.flags. A document inside a file (a member of an archive, an attachment) has the path
 * "FILE!MEMBER" and in the flags, from bit QU_DOC_FILE_SHIFT on, the length of FILE; others have 0
 * there. */
enum {
    QU_DOC_HAS_SOURCE = 1, /* byte ranges of the raw file can be given */
    QU_DOC_FILE_SHIFT = 8,
};

/* Bytes of path that name the file; a document inside it has a '!' behind them. */
size_t qu_sync_file_len(const qu_doc *d);

/* Is it, or its file, root or below it? root as for qu_paths_under. */
bool qu_sync_under(const qu_doc *d, const char *root);

/* Its file as it is now against what was read: "current", "changed" or "gone". */
const char *qu_sync_compare(const qu_doc *d);

/* What the walk leaves out, remembered in the store: lists as in .quireignore. */
#define QU_SYNC_EXCLUDE "walk.exclude"
#define QU_SYNC_INCLUDE "walk.include"

typedef struct qu_sync_options {
    const char *program; /* of the children that parse (ingest/child.h); NULL: plain text only */
    /* lines "ENDING=COMMAND" (ingest/filter.h), the first that fits holds; or NULL */
    const char *filters;
    const qu_walk_rules *rules; /* remembered from now on; NULL: those remembered */
    bool dry_run;       /* report only */
    bool quiet_skips;   /* do not name what holds nothing to index */
    bool (*stop)(void); /* asked between files; NULL = never */
} qu_sync_options;

typedef struct qu_sync_report {
    int64_t added, changed, renamed, removed, unchanged;
    int64_t skipped;                       /* binary, empty: nothing to index in them */
    int64_t failed;                        /* unreadable, damaged, too large, vanished roots */
    int64_t text_bytes, n_tokens, n_pages; /* of what was added or changed */
    bool stopped;
} qu_sync_report;

/* Walk the roots (absolute or relative paths) and commit in batches, so that a stop or crash keeps
 * what was done. Skips and failures go to qu_out_note. Errors: those of the store; a bad file is no
 * error. */
qu_status qu_sync(qu_session *s, const char *const *roots, size_t n_roots,
                  const qu_sync_options *options, qu_sync_report *report, qu_err *err);

/* The source map stored with a document: runs, then headings, all of them inside its text. Unpack
 * borrows blob, which must be aligned for int64. Errors: QU_ERR_CORRUPT. */
qu_status qu_sync_unpack_map(const void *blob, size_t n, int64_t text_bytes,
                             const qu_source_run **runs, int64_t *n_runs,
                             const qu_heading **headings, int64_t *n_headings, qu_err *err);

#endif
