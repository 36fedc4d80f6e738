/* The lexical index: words -> candidate pages, by BM25.
 *
 *     qu_lexical *lx;                                          // writer, under the store's lock
 *     QU_TRY(qu_lexical_open(&lx, "DIR/lexical.idx", QU_LEXICAL_WRITE, err));
 *     QU_TRY(qu_lexical_add(lx, doc, 1, "Handbook", text, n, err));   // each page of the document
 *     QU_TRY(qu_lexical_commit(lx, generation, err));
 *     qu_lexical_close(lx);
 *
 *     QU_TRY(qu_lexical_open(&lx, "DIR/lexical.idx", QU_LEXICAL_READ, err));
 *     QU_TRY(qu_lexical_search(lx, q, strlen(q), NULL, 32, hits, &n, err));
 *
 * The file is derived: it may be deleted at any moment and is rebuilt by adding every page of the
 * catalogue again. It is one immutable file that a commit replaces whole (temporary beside it,
 * fsync, rename), so readers take no lock, are never blocked or changed by a writer, and work on
 * read-only media; a crash leaves the old file. Its bytes depend only on the documents and the
 * generation, not on the order or number of commits that led there. It holds hashes of words, no
 * text; a commit leaves nothing of a removed document.
 *
 * A commit rewrites the whole index, which is about half of the text's size: batch the changes.
 *
 * Words are runs of letters and digits, case and diacritics folded, English endings taken off;
 * scripts without spaces are cut into overlapping pairs or triples (index/words.h).
 *
 * Layout (little-endian), described in lexical_int.h. Thread rule: one thread a handle; any number
 * of handles and processes may read. Writers: one at a time, which the store's lock sees to.
 */
#ifndef QU_INDEX_LEXICAL_H
#define QU_INDEX_LEXICAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/memory.h"
#include "base/status.h"

typedef struct qu_lexical qu_lexical;

enum {
    QU_LEXICAL_READ = 0,
    QU_LEXICAL_WRITE = 1,
};

typedef struct qu_lexical_hit {
    uint64_t doc_id;
    int32_t page;
    float score; /* > 0; comparable within one query only */
} qu_lexical_hit;

/* Which pages a search may return. Zero-initialise; NULL is the same as zeros. */
typedef struct qu_lexical_opts {
    /* false leaves the document out; NULL keeps all. Called at most once a document and search. */
    bool (*keep)(void *ctx, uint64_t doc_id);
    void *ctx;
    int32_t max_per_doc; /* most pages of one document among the hits; 0 = any */
} qu_lexical_opts;

/* Open the index in file. Reading: a missing, damaged, foreign or older-format file is
 * QU_ERR_NOTFOUND, so that the caller rebuilds it. Writing: such a file counts as empty with
 * generation 0, and nothing on disk changes before the commit. *lx is NULL on error; release with
 * qu_lexical_close.
 * Errors: QU_ERR_NOTFOUND, QU_ERR_IO, QU_ERR_NOMEM. */
qu_status qu_lexical_open(qu_lexical **lx, const char *file, unsigned flags, qu_err *err);

/* Release the handle. Additions and removals since the last commit are dropped. NULL is fine. */
void qu_lexical_close(qu_lexical *lx);
QU_OWNER(qu_lexical, qu_lexical_close)

/* Add a page of a document. The pages of one document are added one after another: the first of
 * them replaces whatever the index held of that document, so coming back to a document after
 * another one (or after a commit) starts it anew. Page numbers are the caller's, >= 0 and strictly
 * ascending in a document. Page 0 is the header line: its words count for the document as a title,
 * and it is returned as a hit only if the document has no other page. Without page 0 the title
 * (NULL allowed) of the first added page counts.
 * text: n bytes, any bytes; NULL allowed when n is 0.
 * Errors: QU_ERR_ARG (reader handle, page out of order), QU_ERR_LIMIT (2^31 pages), QU_ERR_NOMEM,
 * and those of a commit, since a large batch is spilled to an unpublished temporary file. After an
 * error other than QU_ERR_ARG close the handle: the file keeps its last committed state. */
qu_status qu_lexical_add(qu_lexical *lx, uint64_t doc_id, int32_t page, const char *title,
                         const char *text, size_t n, qu_err *err);

/* Remove a document; one that is not there is fine. Errors: QU_ERR_ARG (reader), QU_ERR_NOMEM. */
qu_status qu_lexical_remove(qu_lexical *lx, uint64_t doc_id, qu_err *err);

/* Publish everything since the last commit, durably, under the catalogue's generation. The handle
 * can go on adding. Errors: QU_ERR_ARG (reader), QU_ERR_IO, QU_ERR_FULL, QU_ERR_NOMEM,
 * QU_ERR_LIMIT, QU_ERR_CORRUPT (the old file was damaged while open: delete it and rebuild). On
 * error close the handle; the published file is the old one (the new one, whole, if only its
 * directory could not be synced). */
qu_status qu_lexical_commit(qu_lexical *lx, uint64_t generation, qu_err *err);

/* Forget everything, as if the file were new: the first step of a rebuild. Takes effect at the
 * commit.
 * Errors: QU_ERR_ARG (reader). */
qu_status qu_lexical_clear(qu_lexical *lx, qu_err *err);

/* Catalogue generation of the state that was opened or last committed; 0 for an empty index. */
uint64_t qu_lexical_generation(const qu_lexical *lx);

/* Find the k pages (k >= 0) that answer a query of n bytes best; any byte string is a valid query.
 * hits [k] out, best first, ties by (doc_id, page); *n_hits <= k, 0 when no word is found.
 *   score = BM25(page) + 2 BM25(document, its title words counted four times), over words and, at a
 *   quarter of their weight, grams (index/words.h); a word that no page holds gives its grams half
 *   and words of the same letters three quarters. On each of n pages a word of the title counts
 *   .75 (1 - 1/n) times more than it stands there
 * A page is a candidate if it holds a query word or gram; a document that matches by title alone
 * stands with its first page. Very frequent ones are left out where rarer ones suffice; work is
 * bounded by the distinct ones of the first 64 KiB of the query. Only for readers. Errors:
 * QU_ERR_ARG, QU_ERR_NOMEM, QU_ERR_CORRUPT (delete the file and rebuild). */
qu_status qu_lexical_search(qu_lexical *lx, const char *query, size_t n,
                            const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *hits,
                            int32_t *n_hits, qu_err *err);

/* The words of a query that no page holds, for which those like them stand in: as they are written,
 * each with a NUL behind it, appended to words. *n_held: how many pages do hold. Only for readers.
 * Errors: as qu_lexical_search. */
qu_status qu_lexical_unknown(qu_lexical *lx, const char *query, size_t n, qu_buf *words,
                             int64_t *n_held, qu_err *err);

#endif
