/* Documents that are in no store, contexts over them, greedy answers: what the kinds of eval that
 * bring their own text share.
 *
 *     qu_bed b;
 *     QU_TRY(qu_bed_open(&b, args, err));                       // model, encoder; no store
 *     QU_TRY(qu_bed_document(&b, &doc, "Title", text, n, err)); // cut and encoded
 *     QU_TRY(qu_bed_place(&b, docs, n_docs, &how, &q, &c, &pos, err));
 *     qu_context_select(c, hook);                               // if wanted
 *     QU_TRY(qu_bed_answer(&b, c, pos, &q, 32, &answer, err));
 *     qu_context_free(c); qu_bed_free_document(&doc); qu_bed_close(&b);
 *
 * One thread.
 */
#ifndef QU_PIPELINES_TESTBED_H
#define QU_PIPELINES_TESTBED_H

#include "pipelines/answer.h"
#include "pipelines/encode.h"

typedef struct qu_bed {
    qu_session s;
    qu_encoder *e;
    float *logits; /* [V] */
} qu_bed;

/* Page 0 is the header. */
typedef struct qu_bed_doc {
    int32_t n_pages;
    int64_t n_tokens;
    qu_page *records;       /* [n_pages]; n_tokens is all that counts */
    int32_t *ids;           /* [n_tokens] */
    int64_t *first;         /* [n_pages] index of each page's first token */
    qu_page_memory **pages; /* [n_pages] */
    bool alone;             /* each page was encoded by itself: see qu_bed_place */
} qu_bed_doc;

/* Open the model that args name and get the prefix ready. On error *b is closed. */
qu_status qu_bed_open(qu_bed *b, const qu_args *args, qu_err *err);
void qu_bed_close(qu_bed *b);

/* Make a document of text [n] UTF-8: pages end at sentences. Errors: QU_ERR_ARG (no text), those of
 * qu_encode_document. On error *d is empty. */
qu_status qu_bed_document(qu_bed *b, qu_bed_doc *d, const char *title, const char *text, size_t n,
                          qu_err *err);
void qu_bed_free_document(qu_bed_doc *d);

typedef struct qu_bed_how {
    qu_fidelity fidelity;
    double repair_share;
} qu_bed_how;

/* *c: prefix and the documents one behind the other; *pos: where the question comes. Headers and
 * the very last page are no candidates of selection. Isolated encodes the documents' pages anew,
 * for good. question is needed for repair only. The documents must outlive *c; the caller frees
 * it. Errors: QU_ERR_LIMIT (beyond the window), those of the context. */
qu_status qu_bed_place(qu_bed *b, qu_bed_doc *const *docs, int32_t n_docs, const qu_bed_how *how,
                       const qu_tokens *question, qu_context **c, int64_t *pos, qu_err *err);

/* Step the question and append the greedy answer's text to answer, outer blanks removed; empty for
 * the agreed refusal. */
qu_status qu_bed_answer(qu_bed *b, qu_context *c, int64_t pos, const qu_tokens *question,
                        int32_t max_tokens, qu_buf *answer, qu_err *err);

/* Tokens of all candidates of selection. */
int64_t qu_bed_candidate_tokens(qu_bed_doc *const *docs, int32_t n_docs);

#endif
