/* KV that a question had to make itself: kept in memory for the questions that follow, saved at the
 * end.
 *
 *     qu_fresh f = {0};
 *     QU_TRY(qu_fresh_documents(&f, encoder, session, ids, n, err));     // whole documents, kept
 *     const qu_fresh_doc *d = qu_fresh_find(&f, ids[0]);
 *     QU_TRY(qu_fresh_window(&pages, encoder, session, ..., err));       // only some pages of it
 *     ... qu_page_memory_source(d->pages[p]) ...
 *     QU_TRY(qu_fresh_save(&f, session, err));                           // publish whole documents
 *     qu_fresh_free(&f);
 */
#ifndef QU_PIPELINES_FRESH_H
#define QU_PIPELINES_FRESH_H

#include "pipelines/encode.h"

typedef struct qu_fresh_doc {
    uint64_t doc_id;
    qu_page_memory **pages; /* [n_pages] */
    qu_page *records;       /* [n_pages] */
    int32_t n_pages;
} qu_fresh_doc;

/* A slice or summary of a document's pages. Errors: QU_ERR_NOTFOUND. */
qu_status qu_fresh_part(qu_page_memory *const *pages, const qu_encode_part *part,
                        const void **data, size_t *bytes, qu_err *err);

typedef struct qu_fresh {
    qu_fresh_doc *docs;
    int32_t n;
    int64_t cap;
    double flops, ms; /* work done so far and the time it took */
} qu_fresh;

/* A document made before, borrowed until the next call of qu_fresh_documents; NULL: none. */
const qu_fresh_doc *qu_fresh_find(const qu_fresh *f, uint64_t doc_id);

/* Make the KV of those of n whole documents that are not there yet, in passes of several. All of
 * them or none. Errors: those of qu_encode_documents and the catalogue. */
qu_status qu_fresh_documents(qu_fresh *f, qu_encoder *e, qu_session *s, const uint64_t *doc_ids,
                             int32_t n, qu_err *err);

/* The KV of n pages of a document (the header first) as if it consisted of these alone: ids [sum of
 * tokens] in order. out [n] receives page memories that the caller frees. */
qu_status qu_fresh_window(qu_page_memory **out, qu_encoder *e, qu_session *s, const qu_page *pages,
                          int32_t n, const int32_t *ids, qu_err *err);

/* Put whole documents into the store, which is reopened for it and left open for reading. A store
 * that is locked or read-only is left as it is (QU_OK): the next question makes the KV again. */
qu_status qu_fresh_save(qu_fresh *f, qu_session *s, qu_err *err);

void qu_fresh_free(qu_fresh *f);

#endif
