/* Documents that are in no store and questions about them: what the kinds of eval that bring their
 * own text share.
 *
 *     qu_asker a;
 *     QU_TRY(qu_asker_open(&a, &session, &options, err));       // a session without a store
 *     QU_TRY(qu_bed_document(&a, &doc, "Title", text, n, err)); // cut and encoded
 *     QU_TRY(qu_bed_ask(&a, docs, n_docs, "what?", &ans, err));
 *     qu_answer_free(&ans); qu_bed_free_document(&doc); qu_asker_close(&a);
 *
 * One thread.
 */
#ifndef QU_PIPELINES_TESTBED_H
#define QU_PIPELINES_TESTBED_H

#include "pipelines/answer_int.h"

/* Page 0 is the header. */
typedef struct qu_bed_doc {
    int32_t n_pages;
    int64_t n_tokens;
    qu_page *records;       /* [n_pages]; n_tokens is all that counts */
    int32_t *ids;           /* [n_tokens] */
    int64_t *first;         /* [n_pages] index of each page's first token */
    qu_page_memory **pages; /* [n_pages] */
} qu_bed_doc;

/* Make a document of text [n] UTF-8: pages end at sentences. Errors: QU_ERR_ARG (no text), those of
 * qu_encode_documents. On error *d is empty. */
qu_status qu_bed_document(qu_asker *a, qu_bed_doc *d, const char *title, const char *text, size_t n,
                          qu_err *err);
void qu_bed_free_document(qu_bed_doc *d);

/* Ask about the documents, one behind the other as if they were all that was found; no citations.
 * An answer that is the agreed refusal is empty. *ans as for qu_asker_ask. Errors: QU_ERR_LIMIT
 * (beyond the window), those of the context. */
qu_status qu_bed_ask(qu_asker *a, qu_bed_doc *const *docs, int32_t n_docs, const char *question,
                     qu_answer *ans, qu_err *err);

#endif
